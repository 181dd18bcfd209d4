"""``everhart segment``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import (
    Task,
    check_outputs,
    make_folder,
    plan_image_outputs,
    plan_pictures,
    write_json,
)
from everhart.cli.progress import track
from everhart.cli.run import describe, say_error
from everhart.cli.segment_truth import judge, true_labels
from everhart.errors import UsageError
from everhart.micrograph import Micrograph, __version__
from everhart.operations import OPERATIONS, Run

if TYPE_CHECKING:
    from everhart.operations import Outcome

_OPERATION = OPERATIONS["segment"]
_SUFFIXES = (".tif", ".tiff", ".png")


@with_parameters_of(_OPERATION)
def segment(
    inputs: Inputs,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The label image, .tif or .png; for several images a folder.",
        ),
    ],
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png",
            help="Draw the labels over the image; for several images, a folder.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="True label images, of the images' names, with the label values that the model "
            "was trained with; the scores go to --report and --json.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="OUT.html", help="Scores and pictures, for --truth."),
    ] = None,
    overwrite: Overwrite = False,
    pixel_size_nm: PixelSize = None,
    json_path: JsonPath = None,
    **parameters: Any,
) -> None:
    """Tell the classes of an image's pixels apart, or its objects.

    Label images have the numbers of classes from 0, or with --instances of objects from 1; names
    of classes and the pixel size stand in the file.

    \b
    Examples:
      everhart segment image.tif -o labels.tif --model run/model.safetensors --overlay seen.png
      everhart segment scans/ -o labels/ --model run/model.safetensors --instances
      everhart segment scans/ -o labels/ --clusters 4
      everhart segment scans/ -o labels/ --model generator/model.safetensors --clusters 6
      everhart segment test/ -o said/ --model run/model.safetensors --truth labels/ --report r.html
      everhart measure particles labels.tif --labels -o particles.csv
    """
    checked = _OPERATION.check(parameters)
    tasks, _ = plan_image_outputs(
        inputs, output, overwrite=overwrite, operation="segment", suffix=".tif"
    )
    if tasks[0].output.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"The output {tasks[0].output} was given: label images are {', '.join(_SUFFIXES)}."
        )
    sources = [task.source for task in tasks]
    written: list[Path | None] = [task.output for task in tasks]
    check_outputs([json_path], overwrite=overwrite, inputs=sources, others=written)
    pictures = plan_pictures("--overlay", overlay, sources, (".png",))
    several = len(tasks) > 1
    check_outputs(
        pictures,
        overwrite=overwrite,
        inputs=sources,
        others=[*written, json_path],
        in_new_folder=several,
    )
    if (truth is None) != (report is None):
        raise UsageError("--truth and --report go together: give both, or leave both.")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {report} was given: its name must end in .html.")
    truths = [] if truth is None else true_labels(truth, sources)
    others = [*written, json_path, *pictures]
    check_outputs([report], overwrite=overwrite, inputs=[*sources, *truths], others=others)
    run = _OPERATION.prepare(checked)
    make_folder(tasks[0].output.parent)
    if overlay is not None and several:
        make_folder(overlay)
    # Clusters are those of all images together; a model takes one image after the other.
    together = checked.clusters is not None and several
    batches = (
        [list(zip(tasks, pictures, strict=True))]
        if together
        else [[pair] for pair in zip(tasks, pictures, strict=True)]
    )
    records: list[dict[str, Any]] = []
    failures = 0
    for batch in track(batches, "segment") if not together else batches:
        try:
            records += _segment(batch, run, overwrite, pixel_size_nm)
        except Exception as error:  # a batch goes on after a file that fails
            if len(batches) == 1:
                raise
            failures += 1
            ((task, _),) = batch
            say_error(f"{task.source.name}: {describe(error)}")
            records.append({"input": str(task.source), "output": None, "error": describe(error)})
    document: dict[str, Any] = {
        "operation": "segment",
        "version": __version__,
        "images": records,
    }
    if report is not None and not failures:
        document["scores"] = judge(tasks, truths, checked, report, overwrite=overwrite)
    if json_path is not None:
        write_json(json_path, document, overwrite=overwrite)
    if several:
        done = len(tasks) - failures
        typer.echo(f"{done} of {len(tasks)} images written to {tasks[0].output.parent}.", err=True)
    if failures:
        raise typer.Exit(1)


def _segment(
    batch: Sequence[tuple[Task, Path | None]],
    run: Run,
    overwrite: bool,
    pixel_size_nm: float | None,
) -> list[dict[str, Any]]:
    """Segment files together, write what came of them and return the records."""
    from everhart.io import read, write

    started = time.process_time()
    images = [read(task.source, pixel_size_nm=pixel_size_nm) for task, _ in batch]
    outcome: Outcome = run(images, {})
    records = []
    for (task, picture), image, labels, result in zip(
        batch, images, outcome.micrographs, outcome.results, strict=True
    ):
        write(labels, task.output, overwrite=overwrite)
        if picture is not None:
            _draw(image, labels, picture, overwrite=overwrite)
        records.append(
            {
                "input": str(task.source),
                "output": str(task.output),
                "overlay": None if picture is None else str(picture),
                "shape": list(labels.shape),
                "pixel_size_nm": labels.pixel_size_nm,
                **result,
            }
        )
    seconds = round((time.process_time() - started) / len(records), 3)
    return [{**record, "cpu_seconds": seconds} for record in records]


def _draw(image: Micrograph, labels: Micrograph, path: Path, *, overwrite: bool) -> None:
    import io

    from PIL import Image

    from everhart.io.atomic import write_bytes
    from everhart.segment.overlay import draw_labels

    if image.ndim != 2:
        raise UsageError("A stack was given with --overlay: a picture is of one image; leave it.")
    objects = labels.metadata["labels"]["kind"] == "objects"
    stream = io.BytesIO()
    Image.fromarray(draw_labels(image, labels, objects=objects)).save(stream, "PNG")
    write_bytes(path, stream.getvalue(), overwrite=overwrite)
