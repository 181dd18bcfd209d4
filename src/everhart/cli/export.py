"""``everhart export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everhart.cli.options import JsonPath, Overwrite
from everhart.cli.outputs import check_outputs, write_json
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.training.onnx_file import Exported


def export(
    output: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME_OR_FILE", help="A denoiser or a segmentation."),
    ],
    overwrite: Overwrite = False,
    json_path: JsonPath = None,
) -> None:
    """Write a model as ONNX, for other programs and devices.

    The graph takes normalised images (N, 1, height, width) of any number and size that is a
    multiple of its stride; what it needs to be used (normalisation, stride, border, classes,
    licence, hash of the model) stands in the file's metadata. It is compared with PyTorch before
    it is written.

    \b
    Examples:
      everhart export -m sem-general sem-general.onnx
      everhart export -m run/model.safetensors particles.onnx --json particles.json
    """
    from everhart.restore.models import find_model

    path = find_model(model)
    check_outputs([json_path], overwrite=overwrite, inputs=[path], others=[output])
    exported = _exported(path, output, overwrite=overwrite)
    said = exported.metadata
    typer.echo(
        f"{output}: a {said['kind']} for images in multiples of {said['stride_px']} pixels; it "
        f"differs from PyTorch by at most {exported.difference:.1g} of the output.",
        err=True,
    )
    if json_path is not None:
        document = {
            "operation": "export",
            "model": str(path),
            "output": str(output),
            "largest_difference": exported.difference,
            "metadata": dict(said),
        }
        write_json(json_path, document, overwrite=overwrite)


def _exported(path: Path, output: Path, *, overwrite: bool) -> Exported:
    from everhart.training.model_header import read_header

    kind = read_header(path).kind
    if kind == "denoiser":
        from everhart.restore.onnx_export import export_denoiser

        return export_denoiser(path, output, overwrite=overwrite)
    if kind == "segment":
        from everhart.segment.onnx_export import export_segmenter

        return export_segmenter(path, output, overwrite=overwrite)
    raise UsageError(
        f"{path} is a model of the kind {kind!r}: a denoiser or a segmentation can be exported."
    )
