"""``everhart segment``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from everhart.cli.cluster import Cluster, each, model_stamp, on_cluster, with_whole_path
from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import (
    Task,
    check_outputs,
    make_folder,
    plan_image_outputs,
    plan_pictures,
    write_json,
)
from everhart.cli.progress import progress_bar
from everhart.cli.run import describe, say_error
from everhart.cli.segment_truth import judge, true_labels
from everhart.errors import UsageError
from everhart.micrograph import Micrograph, __version__
from everhart.operations import OPERATIONS, Parameters, Run

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
    cluster: Cluster = None,
    **parameters: Any,
) -> None:
    """Tell the classes of an image's pixels apart, or its objects.

    Label images have the numbers of classes from 0, or with --instances of objects from 1; names
    of classes and the pixel size stand in the file.

    \b
    Examples:
      everhart segment image.tif -o labels.tif --model run/model.safetensors --overlay seen.png
      everhart segment scans/ -o labels/ --model run/model.safetensors --instances
      everhart segment scans/ -o labels/ --model run/model.safetensors --cluster local
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
    # Clusters are those of all images together; a model takes one image after the other.
    together = checked.clusters is not None and several
    if together and cluster is not None:
        raise UsageError(
            "--cluster and --clusters were given: clusters are those of all images together, which "
            "one process finds; leave --cluster."
        )
    _prepared(checked.model_dump_json())  # one that is wrong is answered before any work
    make_folder(tasks[0].output.parent)
    if overlay is not None and several:
        make_folder(overlay)
    files = [_File(*pair) for pair in zip(tasks, pictures, strict=True)]
    batches = [_Batch(tuple(files))] if together else [_Batch((file,)) for file in files]
    work = SegmentFiles(checked.model_dump_json(), overwrite, pixel_size_nm)
    outcomes: dict[_Batch, list[dict[str, Any]] | Exception] = {}
    with progress_bar("segment") as progress:
        if not together:
            progress.update(0, len(batches), str(batches[0]))
        for number, (batch, outcome) in enumerate(_spread(work, batches, checked, cluster), 1):
            if not together:
                progress.update(number, len(batches), str(batch))
            if isinstance(outcome, Exception):
                if len(batches) == 1:
                    raise outcome
                say_error(f"{batch}: {describe(outcome)}")
            outcomes[batch] = outcome
    records: list[dict[str, Any]] = []
    failures = 0
    for batch in batches:  # on a cluster they are done in another order
        outcome = outcomes[batch]
        if isinstance(outcome, Exception):
            failures += 1
            source = batch.files[0].task.source
            records.append({"input": str(source), "output": None, "error": describe(outcome)})
        else:
            records += outcome
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


class _File(NamedTuple):
    """An image, its labels, and where the picture of them goes."""

    task: Task
    picture: Path | None

    def absolute(self) -> _File:
        """Return the same files by their whole paths."""
        task = Task(self.task.source.absolute(), self.task.output.absolute())
        return _File(task, None if self.picture is None else self.picture.absolute())

    def named(self) -> dict[str, Any]:
        """Return the files as they were given, for the record."""
        return {
            "input": str(self.task.source),
            "output": str(self.task.output),
            "overlay": None if self.picture is None else str(self.picture),
        }


class _Batch(NamedTuple):
    """Images that are segmented together."""

    files: tuple[_File, ...]

    def __str__(self) -> str:
        return self.files[0].task.source.name


@dataclass(frozen=True)
class SegmentFiles:
    """The work for some files; it can be sent to another process."""

    parameters: str
    """The parameters of the operation as JSON."""
    overwrite: bool
    pixel_size_nm: float | None

    def __call__(self, batch: _Batch) -> list[dict[str, Any]]:
        """Segment files together, write what came of them and return the records."""
        from everhart.io import read, write

        started = time.process_time()
        images = [read(file.task.source, pixel_size_nm=self.pixel_size_nm) for file in batch.files]
        outcome: Outcome = _prepared(self.parameters)(images, {})
        records = []
        for file, image, labels, result in zip(
            batch.files, images, outcome.micrographs, outcome.results, strict=True
        ):
            write(labels, file.task.output, overwrite=self.overwrite)
            if file.picture is not None:
                _draw(image, labels, file.picture, overwrite=self.overwrite)
            said = {"shape": list(labels.shape), "pixel_size_nm": labels.pixel_size_nm}
            records.append({**file.named(), **said, **result})
        seconds = round((time.process_time() - started) / len(records), 3)
        return [{**record, "cpu_seconds": seconds} for record in records]


def _prepared(parameters: str) -> Run:
    """Return the run of the parameters; a process that does many files loads the model once."""
    return _kept(parameters, model_stamp(_OPERATION.parameters.model_validate_json(parameters)))


@lru_cache(maxsize=1)
def _kept(parameters: str, _: tuple[int, int] | None) -> Run:
    return _OPERATION.prepare(_OPERATION.parameters.model_validate_json(parameters))


def _spread(
    work: SegmentFiles, batches: Sequence[_Batch], checked: Parameters, cluster: str | None
) -> Iterator[tuple[_Batch, list[dict[str, Any]] | Exception]]:
    """Do the work here or on a cluster, whose workers are in folders of their own."""
    if cluster is None:
        yield from each(work, batches)
        return
    whole = {_Batch(tuple(file.absolute() for file in batch.files)): batch for batch in batches}
    there = replace(
        work,
        parameters=with_whole_path(checked).model_dump_json(),
        overwrite=True,  # by what a lost worker has done
    )
    for sent, outcome in on_cluster(there, list(whole), cluster):
        batch = whole[sent]
        if isinstance(outcome, Exception):
            yield batch, outcome
        else:  # records name files as they were given
            pairs = zip(outcome, batch.files, strict=True)
            yield batch, [{**record, **file.named()} for record, file in pairs]


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
