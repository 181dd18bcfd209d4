"""``everhart noise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.options import Inputs, JsonPath, Overwrite
from everhart.cli.outputs import check_outputs, make_folder, plan_pictures, write_json
from everhart.cli.progress import track
from everhart.cli.run import describe, say_error
from everhart.errors import UsageError
from everhart.micrograph import __version__


def noise(
    inputs: Inputs,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A clean image of the same field, for all inputs."),
    ] = None,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="The inputs are repeated frames of one field of view."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="OUT.png",
            help="Write the correlation map as a picture; for several images, a folder.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json_path: JsonPath = None,
) -> None:
    """Say what the noise of images is, and what to do about it.

    Correlation, variance against grey level, skew, saturation, equivalent frame count. A
    stack is taken as repeated frames of one field of view.

    \b
    Examples:
      everhart noise image.tif --map correlation.png
      everhart noise noisy.tif --reference clean.tif --json noise.json
      everhart noise frame1.tif frame2.tif frame3.tif --frames
    """
    from everhart.io import image_paths

    sources = image_paths(inputs)
    if reference is not None and not reference.is_file():
        raise UsageError(f"--reference {reference} does not exist: give an image file.")
    if frames and reference is not None:
        raise UsageError(
            "--frames and --reference were both given: noise is measured against a reference or "
            "between frames; give one of them."
        )
    groups = [sources] if frames else [[source] for source in sources]
    firsts = [group[0] for group in groups]
    pictures = plan_pictures("--map", picture, firsts, (".png", ".pdf", ".svg"))
    involved = [*sources, *([reference] if reference else [])]
    check_outputs([json_path], overwrite=overwrite, inputs=involved)
    in_folder = picture is not None and len(groups) > 1
    check_outputs(
        pictures,
        overwrite=overwrite,
        inputs=involved,
        others=[json_path],
        in_new_folder=in_folder,
    )
    if in_folder and picture is not None:
        make_folder(picture)

    from everhart.io import read

    clean = None if reference is None else read(reference)
    records: list[dict[str, Any]] = []
    failures = 0
    for index, group in enumerate(track(groups, "noise")):
        name = group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
        try:
            records.append(_diagnose(group, clean, pictures[index], name, overwrite))
        except Exception as error:  # a batch goes on after a file that fails
            if len(groups) == 1:
                raise
            failures += 1
            say_error(f"{name}: {describe(error)}")
            records.append({"inputs": [str(path) for path in group], "error": describe(error)})
    if json_path is not None:
        document = {"operation": "noise", "version": __version__, "images": records}
        write_json(json_path, document, overwrite=overwrite)
    if failures:
        raise typer.Exit(1)


def _diagnose(
    group: list[Path], clean: Any, picture: Path | None, name: str, overwrite: bool
) -> dict[str, Any]:
    from everhart.io import read
    from everhart.noise import diagnose
    from everhart.noise.picture import write_picture

    images = [read(path) for path in group]
    report = diagnose(images if len(images) > 1 else images[0], reference=clean)
    typer.echo(f"{name}\n{report}\n")
    if picture is not None:
        write_picture(report, picture, title=name, overwrite=overwrite)
    return {
        "inputs": [str(path) for path in group],
        "picture": None if picture is None else str(picture),
        **report.to_dict(),
    }
