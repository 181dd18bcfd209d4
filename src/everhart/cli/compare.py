"""``everhart compare``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.compare_dataset import MANY, named_by_folder, run_dataset
from everhart.cli.options import JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line, describe, say_error
from everhart.errors import EverhartError, UsageError
from everhart.operations import OPERATIONS

_OPERATION = OPERATIONS["compare"]


@with_parameters_of(_OPERATION)
def compare(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN...", help="Image files or folders of images.", show_default=False
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", "-o", metavar="OUT.html", help="The report; OUT.json is written beside it."
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE_OR_FOLDER",
            help="A clean image of the field, for all inputs; one for each input; or a folder or "
            "pattern in which each input has one by its name.",
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
    fields: Annotated[
        bool,
        typer.Option(
            "--fields",
            help="Files that differ in a running number are frames of one field; a data set of "
            "such fields.",
        ),
    ] = False,
    data_set: Annotated[
        bool | None,
        typer.Option(
            "--data-set/--no-data-set",
            help="Statistics over all images, or a section an image.",
            show_default=f"a data set if --reference is a folder or there are more than {MANY} "
            "images",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Data set: go on with what a run before left.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="OUT.yaml", help="Data set: repeat the run of these settings."),
    ] = None,
    keep_images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data set: write restored images to DIR/METHOD/."),
    ] = None,
    judge_by: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURE",
            help="Data set: the figure that decides wins and worst cases, such as ssim.",
            show_default="PSNR, affine-matched",
        ),
    ] = None,
    tie_margin: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Data set: a difference up to which two methods are tied in an image.",
            show_default="0.05 dB, or 0.001 of SSIM and the like",
        ),
    ] = None,
    worst_of: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Data set: the method whose worst images come first.",
            show_default="the best on average",
        ),
    ] = None,
    **parameters: Any,
) -> None:
    """Show methods side by side in an HTML report.

    With a reference: PSNR, SSIM and MS-SSIM. With several frames of the field (a stack, or
    files with --one-field): an estimate of the error, and methods ranked by it. With
    neither: what the removed part looks like. With a reference and --measure: what methods, and
    means of the frames, do to measured sizes. Of a data set: means, paired differences, who wins
    in how many images, and the worst cases; OUT.csv and OUT.yaml beside it, and OUT.cells, from
    which --resume goes on.

    \b
    Examples:
      everhart compare noisy.tif --methods median,nlm,sem-general --report report.html
      everhart compare noisy.tif --reference clean.tif --report report.html
      everhart compare frames/ --one-field --report report.html
      everhart compare first.tif --second-frame second.tif --report report.html
      everhart compare noisy/ --reference clean/ --report report.html
      everhart compare holes.tif --reference clean.tif --measure holes --report report.html
      everhart compare --config report.yaml --report again.html
    """
    if config is not None:
        _only_with_config(context)
        from everhart.report.dataset_config import read_config

        run_dataset(
            read_config(config),
            _checked_report(report or config.with_suffix(".html")),
            overwrite=overwrite,
            resume=resume,
            keep_images=keep_images,
            json_path=json_path,
            config_path=config,
        )
        return
    if not inputs:
        raise UsageError("No input was given: name at least one image file or folder.")
    if report is None:
        raise UsageError("No report was given: add --report OUT.html.")
    checked = _OPERATION.check(parameters)
    from everhart.io import image_paths

    by_name = named_by_folder(reference)
    asked = [
        f"--{name.replace('_', '-')}"
        for name in ("fields", "resume", "keep_images", "judge_by", "tie_margin", "worst_of")
        if _was_given(context, name)
    ]
    if data_set is None:
        data_set = bool(by_name or asked) or (
            not checked.one_field and not second_frame and len(image_paths(inputs)) > MANY
        )
    if data_set:
        if checked.one_field or second_frame:
            raise UsageError(
                "A data set was asked for together with "
                f"{'--one-field' if checked.one_field else '--second-frame'}: frames of several "
                "fields are told apart by their names with --fields."
            )
        from everhart.report.dataset_config import DatasetConfig

        run_dataset(
            DatasetConfig(
                images=inputs,
                references=[str(path) for path in reference or ()],
                match="names" if by_name else "order",
                fields=fields,
                methods=list(checked.methods),
                alignment=checked.alignment,
                data_range=checked.data_range,
                device=checked.device,
                turns=checked.turns,
                measure=checked.measure,
                pixel_size_nm=pixel_size_nm,
                judge_by=judge_by,
                tie_margin=_checked_margin(tie_margin),
                worst_of=worst_of,
            ),
            _checked_report(report),
            overwrite=overwrite,
            resume=resume,
            keep_images=keep_images,
            json_path=json_path,
        )
        return
    if asked:
        raise UsageError(f"{asked[0]} is for data sets: leave out --no-data-set.")
    if by_name:
        from everhart.report.pairing import find_items

        items = find_items(inputs, references=reference)
        inputs = [str(item.image) for item in items]
        reference = [item.reference for item in items if item.reference is not None]
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
                        measure=checked.measure,
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


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _only_with_config(context: typer.Context) -> None:
    """Refuse what the settings say already."""
    allowed = {"config", "report", "overwrite", "resume", "keep_images", "json_path"}
    for name in context.params:
        if name not in allowed and _was_given(context, name):
            what = "Images were" if name == "inputs" else f"--{name.replace('_', '-')} was"
            raise UsageError(
                f"{what} given together with --config: the settings say that already; change "
                "the file, or call without --config."
            )


def _checked_margin(margin: float | None) -> float | None:
    if margin is not None and not 0 <= margin < math.inf:
        raise UsageError(f"--tie-margin {margin:g} was given: give 0 or a positive number.")
    return margin


def _checked_report(report: Path) -> Path:
    if report.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"The report {report} was given: its name must end in .html, such as "
            f"{report.with_suffix('.html').name}."
        )
    return report


def _outputs(report: Path, json_path: Path | None) -> list[Path]:
    _checked_report(report)
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
