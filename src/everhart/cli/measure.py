"""``everhart measure``: one command for each kind of measurement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from everhart.cli.cluster import Cluster, each, on_cluster, stamp
from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import check_outputs, make_folder, plan_pictures, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import describe, say_error
from everhart.errors import UsageError
from everhart.micrograph import Micrograph, __version__
from everhart.operations import OPERATIONS, Run
from everhart.operations.base import Operation
from everhart.operations.measurements import FURTHER_TABLES, MEASUREMENTS, PREFIX
from everhart.operations.tables import csv_text, joined_tables

if TYPE_CHECKING:
    import pandas as pd

    from everhart.measure.result import Measurement

# What --plot draws of a kind.
_PLOTS = {
    "lines": "the spectra of roughness with their fit and noise",
    "particles": "the distribution of sizes",
}

measure = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Measure, in nm with uncertainty.\n\n"
    "Example: everhart measure holes image.tif -o holes.csv --overlay holes.png",
)


@measure.callback()
def _group() -> None:
    """Keep the kind as a word of its own, however many kinds there are."""


_HELP = """{summary}

One row an object; units in the column names, and beside an estimate its standard deviation
(_sd). The data bar is left out. Without a pixel size nothing is measured in nm: give it, or
ask for --unit px.

\b
Examples:
  everhart measure {kind} image.tif -o {kind}.csv --json summary.json
  everhart measure {kind} lot7/ -o lot7.csv --overlay lot7-drawn --pixel-size-nm 0.8
  everhart measure {kind} lot7/ -o lot7.csv --cluster local
"""


def _command(operation: Operation[Any], kind: str) -> Callable[..., None]:
    """Make the command of one kind, with the options of its operation."""
    compares = "reference" in operation.roles
    has_plot = kind in _PLOTS

    def run(
        inputs: Inputs,
        output: Annotated[
            Path, typer.Option("--output", "-o", metavar="TABLE.csv", help="The table.")
        ],
        overlay: Annotated[
            Path | None,
            typer.Option(
                metavar="OUT.png",
                help="Draw what was measured over the image; for several images, a folder.",
            ),
        ] = None,
        reference: Path | None = None,
        plot: Path | None = None,
        overwrite: Overwrite = False,
        pixel_size_nm: PixelSize = None,
        json_path: JsonPath = None,
        cluster: Cluster = None,
        **parameters: Any,
    ) -> None:
        if reference is not None and not compares:
            raise UsageError(f"--reference was given: {kind} are measured without one; leave it.")
        if plot is not None and not has_plot:
            raise UsageError(f"--plot was given: {kind} have no figure; leave it.")
        _measure(
            operation, kind, inputs, output, overlay, reference, plot, overwrite, pixel_size_nm,
            json_path, cluster, parameters,
        )  # fmt: skip

    # What is known here only cannot be said in the signature, which is evaluated elsewhere.
    option = typer.Option(metavar="FILE", help="An image to compare with.", hidden=not compares)
    run.__annotations__["reference"] = Annotated[Path | None, option]
    words = f"Draw {_PLOTS.get(kind, '')}; for several images, a folder."
    drawn = typer.Option(metavar="OUT.png", help=words, hidden=not has_plot)
    run.__annotations__["plot"] = Annotated[Path | None, drawn]
    run.__doc__ = _HELP.format(kind=kind, summary=operation.summary)
    return with_parameters_of(operation)(run)


for _operation in MEASUREMENTS:
    _kind = _operation.name.removeprefix(PREFIX)
    measure.command(_kind)(_command(OPERATIONS[_operation.name], _kind))


def _measure(
    operation: Operation[Any],
    kind: str,
    inputs: list[str],
    output: Path,
    overlay: Path | None,
    reference: Path | None,
    plot: Path | None,
    overwrite: bool,
    pixel_size_nm: float | None,
    json_path: Path | None,
    cluster: str | None,
    parameters: dict[str, Any],
) -> None:
    from everhart.io import image_paths

    checked = operation.check(parameters)
    sources = image_paths(inputs)
    if output.suffix.lower() != ".csv":
        raise UsageError(f"The output {output} was given: a table is written as .csv.")
    if reference is not None and not reference.is_file():
        raise UsageError(f"--reference {reference} does not exist: give an image file.")
    involved = [*sources, *([reference] if reference else [])]
    tables = [output, *(_beside(output, f"{output.stem}_{t}") for t in FURTHER_TABLES[kind])]
    check_outputs(tables, overwrite=overwrite, inputs=involved)
    check_outputs([json_path], overwrite=overwrite, inputs=involved, others=tables)
    pictures = plan_pictures("--overlay", overlay, sources, (".png",))
    in_folder = overlay is not None and len(sources) > 1
    check_outputs(
        pictures,
        overwrite=overwrite,
        inputs=involved,
        others=[*tables, json_path],
        in_new_folder=in_folder,
    )
    plots = plan_pictures("--plot", plot, sources, (".png",))
    plots_in_folder = plot is not None and len(sources) > 1
    check_outputs(
        plots,
        overwrite=overwrite,
        inputs=involved,
        others=[*tables, json_path, *pictures],
        in_new_folder=plots_in_folder,
    )
    # A wrong parameter, or a reference that cannot be read, is answered before any work.
    _prepared(operation.name, checked.model_dump_json())
    if reference is not None:
        _reference(reference, pixel_size_nm)
    if in_folder and overlay is not None:
        make_folder(overlay)
    if plots_in_folder and plot is not None:
        make_folder(plot)

    jobs = [
        _Job(source, name, picture, drawn)
        for source, name, picture, drawn in zip(
            sources, _names(sources), pictures, plots, strict=True
        )
    ]
    work = MeasureFile(
        operation.name, checked.model_dump_json(), reference, pixel_size_nm, overwrite
    )
    done: dict[_Job, tuple[Measurement, dict[str, Any]] | Exception] = {}
    with progress_bar(kind) as progress:
        progress.update(0, len(jobs), str(jobs[0]))
        for number, (job, outcome) in enumerate(_spread(work, jobs, cluster), 1):
            progress.update(number, len(jobs), str(job))
            done[job] = outcome
            _say(job, outcome, kind, alone=len(jobs) == 1)
    measured: list[tuple[str, Measurement]] = []
    records: list[dict[str, Any]] = []
    failures = 0
    for job in jobs:  # on a cluster they are done in another order
        outcome = done[job]
        if isinstance(outcome, Exception):
            failures += 1
            records.append({"input": str(job.source), "error": describe(outcome)})
        else:
            measured.append((job.name, outcome[0]))
            records.append(outcome[1])
    if measured:
        for path, table in _tables(measured, output).items():
            _write_table(table, path, overwrite=overwrite)
    if json_path is not None:
        document = {
            "operation": operation.name,
            "version": __version__,
            "parameters": checked.model_dump(),
            "reference": None if reference is None else _file(reference),
            "output": str(output) if measured else None,
            "images": records,
        }
        write_json(json_path, document, overwrite=overwrite)
    if len(jobs) == 1 and isinstance(outcome := done[jobs[0]], Exception):
        raise outcome
    if failures:
        raise typer.Exit(1)


class _Job(NamedTuple):
    """One image, its name in the table, and where its pictures go."""

    source: Path
    name: str
    picture: Path | None
    drawn: Path | None

    def __str__(self) -> str:
        return self.source.name

    def absolute(self) -> _Job:
        """Return the same files by their whole paths."""
        picture, drawn = (p if p is None else p.absolute() for p in (self.picture, self.drawn))
        return _Job(self.source.absolute(), self.name, picture, drawn)


@dataclass(frozen=True)
class MeasureFile:
    """The work for one image; it can be sent to another process."""

    operation: str
    parameters: str
    """The parameters of the operation as JSON."""
    reference: Path | None
    pixel_size_nm: float | None
    overwrite: bool

    def __call__(self, job: _Job) -> tuple[Measurement, dict[str, Any]]:
        """Measure one image, draw what is asked for, and return tables and record."""
        from everhart.io import read

        roles = {}
        if self.reference is not None:
            roles["reference"] = _reference(self.reference, self.pixel_size_nm)
        image = read(job.source, pixel_size_nm=self.pixel_size_nm)
        run = _prepared(self.operation, self.parameters)
        (found,) = run([image.crop_data_bar()], roles).measurements
        if job.picture is not None:
            from everhart.measure.overlay import write_overlay

            write_overlay(image, found, job.picture, overwrite=self.overwrite)
        if job.drawn is not None:
            from everhart.measure.plot import write_plot

            write_plot(found, job.drawn, overwrite=self.overwrite)
        record = _record(job, image, found)
        return replace(found, outlines=()), record  # which are drawn, and long


@lru_cache(maxsize=1)
def _prepared(operation: str, parameters: str) -> Run:
    """Return the run of the parameters; a process that does many files prepares it once."""
    known = OPERATIONS[operation]
    return known.prepare(known.parameters.model_validate_json(parameters))


def _reference(path: Path, pixel_size_nm: float | None) -> Micrograph:
    return _kept_reference(path, pixel_size_nm, stamp(path))


@lru_cache(maxsize=1)
def _kept_reference(
    path: Path, pixel_size_nm: float | None, _: tuple[int, int] | None
) -> Micrograph:
    from everhart.io import read

    return read(path, pixel_size_nm=pixel_size_nm).crop_data_bar()


def _spread(
    work: MeasureFile, jobs: Sequence[_Job], cluster: str | None
) -> Iterator[tuple[_Job, tuple[Measurement, dict[str, Any]] | Exception]]:
    """Do the work here or on a cluster, whose workers are in folders of their own."""
    if cluster is None:
        yield from each(work, jobs)
        return
    whole = {job.absolute(): job for job in jobs}
    there = replace(
        work,
        reference=None if work.reference is None else work.reference.absolute(),
        overwrite=True,  # by what a lost worker has done
    )
    for sent, outcome in on_cluster(there, list(whole), cluster):
        job = whole[sent]
        if isinstance(outcome, Exception):
            yield job, outcome
        else:  # records name files as they were given
            yield job, (outcome[0], {**outcome[1], **_named(job)})


def _say(
    job: _Job,
    outcome: tuple[Measurement, dict[str, Any]] | Exception,
    kind: str,
    *,
    alone: bool,
) -> None:
    """Say what came of one image; the error of an only one is raised later."""
    if isinstance(outcome, Exception):
        if not alone:
            say_error(f"{job.name}: {describe(outcome)}")
        return
    found = outcome[0]
    rows = len(found.table)
    typer.echo(f"{job.name}: {rows} row{'s' * (rows != 1)} of {kind}", err=True)
    if found.summary.get("warning"):
        typer.echo(f"{job.name}: warning: {found.summary['warning']}", err=True)


def _names(sources: Sequence[Path]) -> list[str]:
    """Return what the column `file` says: the name, or the path where names are not unique."""
    names = [source.name for source in sources]
    return names if len(set(names)) == len(names) else [str(source) for source in sources]


def _tables(measured: Sequence[tuple[str, Measurement]], output: Path) -> dict[Path, pd.DataFrame]:
    """Join the tables of all inputs; further ones get the name of the first and their own."""
    joined = joined_tables(measured, output.stem)
    return {_beside(output, stem): joined[stem] for stem in joined}


def _beside(output: Path, stem: str) -> Path:
    return output.with_name(f"{stem}{output.suffix}")


def _write_table(table: pd.DataFrame, path: Path, *, overwrite: bool) -> None:
    from everhart.io.atomic import write_text

    write_text(path, csv_text(table), overwrite=overwrite)


def _file(path: Path) -> dict[str, Any]:
    """Return the name of a file and the hash of what is in it."""
    entry: dict[str, Any] = {"input": str(path), "sha256": None}
    if path.is_file():  # an image may be a folder, as of Zarr
        with path.open("rb") as stream:
            entry["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return entry


def _record(job: _Job, image: Micrograph, found: Measurement) -> dict[str, Any]:
    own = image.metadata.get("everhart")
    return {
        **_file(job.source),
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "data_bar_rows": image.data_bar_rows,
        "pixel_size_nm": image.pixel_size_nm,
        "pixel_size_source": own.get("pixel_size_source") if isinstance(own, dict) else None,
        "history": [entry.to_dict() for entry in image.history],
        **_named(job),
        "rows": len(found.table),
        "summary": dict(found.summary),
    }


def _named(job: _Job) -> dict[str, Any]:
    """Return the files of a job as they were given."""
    return {
        "input": str(job.source),
        "overlay": None if job.picture is None else str(job.picture),
        "plot": None if job.drawn is None else str(job.drawn),
    }
