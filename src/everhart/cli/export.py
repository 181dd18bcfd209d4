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

_NAMES = {"denoiser": "denoiser", "segment": "segmentation"}
"""What a user calls the kinds of models that can be exported."""


def export(
    output: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME_OR_FILE", help="A denoiser or a segmentation."),
    ],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Of a denoiser: integers of 8 bits in all levels but the finest; nothing is "
            "written if that costs more than 0.1 dB.",
        ),
    ] = False,
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
      everhart export -m sem-general small.onnx --int8
    """
    from everhart.restore.models import find_model

    path = find_model(model)
    check_outputs([json_path], overwrite=overwrite, inputs=[path], others=[output])
    exported = _exported(path, output, int8=int8, overwrite=overwrite)
    said = exported.metadata
    name = _NAMES[said["kind"]]
    typer.echo(
        f"{output}: a {name} for images in multiples of {said['stride_px']} pixels; "
        f"it differs from PyTorch by at most {exported.difference:.1g} of the output.",
        err=True,
    )
    if int8:
        typer.echo(f"{output}: int8 costs, in dB of PSNR: {said['int8_loss_db']}", err=True)
    if json_path is not None:
        document = {
            "operation": "export",
            "model": str(path),
            "output": str(output),
            "largest_difference": exported.difference,
            "metadata": dict(said),
        }
        write_json(json_path, document, overwrite=overwrite)


def _exported(path: Path, output: Path, *, int8: bool, overwrite: bool) -> Exported:
    from everhart.training.model_header import read_header

    kind = read_header(path).kind
    if kind == "denoiser":
        from everhart.restore.onnx_export import export_denoiser

        return export_denoiser(path, output, int8=int8, overwrite=overwrite)
    if int8:
        raise UsageError(
            f"--int8 was given for {path}, a model of the kind {kind!r}: it is for denoisers; "
            "leave it."
        )
    if kind == "segment":
        from everhart.segment.onnx_export import export_segmenter

        return export_segmenter(path, output, overwrite=overwrite)
    raise UsageError(
        f"{path} is a model of the kind {kind!r}: a denoiser or a segmentation can be exported."
    )
