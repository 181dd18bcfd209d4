"""``everhart compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line, describe, say_error
from everhart.errors import EverhartError, UsageError
from everhart.operations import OPERATIONS

_OPERATION = OPERATIONS["compare"]


@with_parameters_of(_OPERATION)
def compare(
    inputs: Inputs,
    report: Annotated[
        Path,
        typer.Option(
            "--report", "-o", metavar="OUT.html", help="The report; OUT.json is written beside it."
        ),
    ],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A clean image of the field, for all inputs; or give one for each input.",
        ),
    ] = None,
    second_frame: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A second noisy image of the field, from which the error is estimated.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    pixel_size_nm: PixelSize = None,
    json_path: JsonPath = None,
    **parameters: Any,
) -> None:
    """Show methods side by side in an HTML report.

    With a reference: PSNR, SSIM and MS-SSIM. With several frames of the field (a stack, or
    files with --one-field): an estimate of the error, and methods ranked by it. With
    neither: what the removed part looks like.

    \b
    Examples:
      everhart compare noisy.tif --methods median,nlm,sem-general --report report.html
      everhart compare noisy.tif --reference clean.tif --report report.html
      everhart compare frames/ --one-field --report report.html
      everhart compare first.tif --second-frame second.tif --report report.html
    """
    checked = _OPERATION.check(parameters)
    from everhart.io import image_paths

    sources = image_paths(inputs)
    more_frames: list[Path] = []
    if checked.one_field:
        sources, more_frames = sources[:1], sources[1:]
    references = _for_each(reference, sources, "--reference")
    seconds = _for_each(second_frame, sources, "--second-frame")
    outputs = _outputs(report, json_path)
    involved = [p for p in (*sources, *more_frames, *references, *seconds) if p is not None]
    check_outputs(outputs, overwrite=overwrite, inputs=involved)

    from everhart.report import Comparison, compare_image, provenance, write_html
    from everhart.report.methods import check_methods

    check_methods(checked.methods)
    compared, failures = [], 0
    with progress_bar("compare") as progress:
        steps = len(sources) * len(checked.methods)
        for index, source in enumerate(sources):

            def step(method: str, done: int, base: int = index, name: str = source.name) -> None:
                progress.update(base * len(checked.methods) + done, steps, f"{name} {method}")

            try:
                compared.append(
                    compare_image(
                        source,
                        checked.methods,
                        reference=references[index],
                        second_frame=seconds[index],
                        more_frames=more_frames,
                        alignment=checked.alignment,
                        data_range=checked.data_range,
                        device=checked.device,
                        turns=checked.turns,
                        pixel_size_nm=pixel_size_nm,
                        on_method=step,
                    )
                )
            except EverhartError as error:  # a batch goes on after a file that fails
                if len(sources) == 1:
                    raise
                failures += 1
                say_error(f"{source.name}: {describe(error)}")
    if not compared:
        raise EverhartError(f"None of the {len(sources)} images could be compared.")
    comparison = Comparison(tuple(compared), provenance=provenance(command_line()))
    write_html(comparison, report, overwrite=overwrite)
    for path in outputs[1:]:
        write_json(path, comparison.to_dict(), overwrite=overwrite)
    typer.echo(comparison.summary())
    typer.echo(f"The report is {report}", err=True)
    if failures:
        raise typer.Exit(1)


def _outputs(report: Path, json_path: Path | None) -> list[Path]:
    if report.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"The report {report} was given: its name must end in .html, such as "
            f"{report.with_suffix('.html').name}."
        )
    beside = report.with_suffix(".json")
    if json_path is None or json_path == beside:
        return [report, beside]
    return [report, beside, json_path]


def _for_each(files: list[Path] | None, sources: list[Path], option: str) -> list[Path | None]:
    """Give every input its file: none, the same for all, or each its own."""
    if not files:
        return [None] * len(sources)
    for path in files:
        if not path.is_file():
            raise UsageError(f"{option} {path} does not exist: give an image file.")
    if len(files) == 1:
        return [files[0]] * len(sources)
    if len(files) != len(sources):
        raise UsageError(
            f"{len(files)} files were given with {option} for {len(sources)} images: give one for "
            "all, or one for each in the same order."
        )
    return list(files)
