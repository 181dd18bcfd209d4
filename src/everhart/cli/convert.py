"""``everhart convert``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize
from everhart.cli.outputs import (
    check_outputs,
    is_folder,
    make_folder,
    plan_image_outputs,
    write_json,
)
from everhart.cli.progress import track
from everhart.cli.run import describe, say_error
from everhart.errors import UsageError, unknown_name
from everhart.micrograph import HistoryEntry, Micrograph, __version__

if TYPE_CHECKING:
    from everhart.io import FrameStack
    from everhart.io.conversion import Scale

Frames = Literal["average", "first", "all"]
DataBar = Literal["keep", "crop"]


class _Job(NamedTuple):
    """Inputs that become one output: one file, or the frames of one field."""

    sources: list[Path]
    output: Path

    def __str__(self) -> str:
        return self.sources[0].name


@dataclass(frozen=True)
class _Wish:
    """What is to be done with the images on the way."""

    frames: Frames | None
    align: bool
    data_bar: DataBar
    dtype: str | None
    scale: Scale | None
    pixel_size_nm: float | None
    overwrite: bool


def convert(
    inputs: Inputs,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The output file; for several images a folder, in which they keep their names.",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FORMAT", help="Suffix of outputs in a folder, such as tif."),
    ] = None,
    frames: Annotated[
        Frames | None,
        typer.Option(
            help="Of a stack: its average, its first frame, or all. Several inputs with one output "
            "file are taken as frames of one field."
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Take out drift before frames are averaged.")
    ] = False,
    data_bar: Annotated[
        DataBar,
        typer.Option(help="Keep the microscope's data bar under the image, or cut it off."),
    ] = "keep",
    dtype: Annotated[
        Literal["uint8", "uint16", "float32"] | None,
        typer.Option(help="Another dtype; grey levels that it does not hold need --scale."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="What becomes black and white: minmax (of the image), dtype (of the old dtype), "
            "BLACK,WHITE (two grey levels); or round, which keeps grey levels as whole numbers.",
        ),
    ] = None,
    pixel_size_nm: PixelSize = None,
    overwrite: Overwrite = False,
    json_path: JsonPath = None,
) -> None:
    """Write images in another format, with their calibration.

    Grey levels are never scaled unless --scale says how; history and metadata go along
    where the format can hold them.

    \b
    Examples:
      everhart convert image.dm3 -o image.tif
      everhart convert scans/ -o pngs/ --to png --dtype uint8 --scale minmax
      everhart convert film.mrc -o mean.tif --frames average --align
      everhart convert frame_*.tif -o film.tif --frames all
    """  # fmt: skip
    wish = _Wish(frames, align, data_bar, dtype, _parsed(scale), pixel_size_nm, overwrite)
    if scale is not None and dtype is None:
        raise UsageError(f"--scale {scale} was given without --dtype: say what to scale to.")
    if align and frames != "average":
        raise UsageError(
            "--align was given without --frames average: aligned frames are written by "
            "`everhart align`."
        )
    jobs, notes = _plan(inputs, output, _suffix(to), wish)
    if json_path is not None:
        check_outputs(
            [json_path],
            overwrite=overwrite,
            inputs=[source for job in jobs for source in job.sources],
            others=[job.output for job in jobs],
        )
    for note in notes:
        typer.echo(note, err=True)

    records: list[dict[str, Any]] = []
    failures = 0
    for job in track(jobs, "convert"):
        make_folder(job.output.parent)
        try:
            records += _convert(job, wish)
        except Exception as error:  # a batch goes on after a file that fails
            if len(jobs) == 1:
                raise
            failures += 1
            say_error(f"{job}: {describe(error)}")
            records.append({"input": str(job.sources[0]), "output": None, "error": describe(error)})
    if json_path is not None:
        document = {"operation": "convert", "version": __version__, "images": records}
        write_json(json_path, document, overwrite=overwrite)
    lost = [record for record in records if record.get("pixel_size_nm") and _is_bare(record)]
    if lost:
        which = f"{len(lost)} NPY files hold" if len(lost) > 1 else "An NPY file holds"
        typer.echo(f"{which} pixels only, without the pixel size.", err=True)
    if len(jobs) > 1:
        done = len(jobs) - failures
        typer.echo(f"{done} of {len(jobs)} inputs written to {jobs[0].output.parent}.", err=True)
    if failures:
        raise typer.Exit(1)


def _plan(
    words: list[str], output: str, suffix: str | None, wish: _Wish
) -> tuple[list[_Job], list[str]]:
    from everhart.io import image_paths
    from everhart.io.registry import writable_suffixes

    sources, target = image_paths(words), Path(output)
    one_file = target.suffix.lower() in writable_suffixes() and not is_folder(output)
    if one_file and suffix not in (None, target.suffix.lower()):
        raise UsageError(f"--to {suffix} and the output {output} were given: give one of them.")
    if one_file and len(sources) > 1 and wish.frames is not None:
        check_outputs([target], overwrite=wish.overwrite, inputs=sources)
        return [_Job(sources, target)], []
    if one_file and len(sources) > 1:
        raise UsageError(
            f"{len(sources)} images and the output {output} were given: give a folder, or, if they "
            "are frames of one field, --frames average, first or all."
        )
    if one_file:  # also the one image of a folder
        words = [str(sources[0])]
    tasks, notes = plan_image_outputs(
        words, output, overwrite=wish.overwrite, operation="convert", suffix=suffix
    )
    return [_Job([task.source], task.output) for task in tasks], notes


def _convert(job: _Job, wish: _Wish) -> list[dict[str, Any]]:
    """Convert the inputs of a job and return the records of the outputs."""
    from everhart.io import open_frames, read

    if len(job.sources) == 1 and wish.frames in (None, "all") and _holds_stacks(job.output):
        image = read(job.sources[0], pixel_size_nm=wish.pixel_size_nm)
        return [_write(image, job.output, job, wish)]
    with open_frames(job.sources, pixel_size_nm=wish.pixel_size_nm) as stack:
        if wish.frames == "average":
            return [_write(_average(stack, wish, job), job.output, job, wish)]
        if wish.frames == "first" or len(stack) == 1:
            return [_write(stack[0], job.output, job, wish)]
        if _holds_stacks(job.output):
            return [_write(stack.to_micrograph(), job.output, job, wish)]
        if wish.frames is None:
            raise UsageError(
                f"{job} is a stack of {len(stack)} frames, and {job.output.suffix} holds one "
                "image: give --frames average, first or all."
            )
        return _write_each(stack, job, wish)


def _average(stack: FrameStack, wish: _Wish, job: _Job) -> Micrograph:
    from everhart.cli.progress import progress_bar

    with progress_bar(f"average of {job}") as progress:
        return stack.mean(align=wish.align, progress=progress.update)


def _write_each(stack: FrameStack, job: _Job, wish: _Wish) -> list[dict[str, Any]]:
    """Write one file a frame, all with the same scaling."""
    from everhart.io.conversion import grey_ends

    digits = max(3, len(str(len(stack) - 1)))
    outputs = [
        job.output.with_name(f"{job.output.stem}_{number:0{digits}d}{job.output.suffix}")
        for number in range(len(stack))
    ]
    check_outputs(outputs, overwrite=wish.overwrite, inputs=job.sources)
    if wish.scale == "minmax":
        ends = [grey_ends(frame, "minmax") for frame in stack]
        whole = (min(black for black, _ in ends), max(white for _, white in ends))
        wish = replace(wish, scale=whole)
    return [_write(frame, output, job, wish) for frame, output in zip(stack, outputs, strict=True)]


def _write(image: Micrograph, output: Path, job: _Job, wish: _Wish) -> dict[str, Any]:
    from everhart.io import OutputExistsError, write
    from everhart.io.conversion import change_dtype

    if wish.dtype is not None:
        image = change_dtype(image, wish.dtype, wish.scale)
    said = {
        "inputs": [source.name for source in job.sources[:100]],
        "output": output.name,
        "frames": wish.frames,
        "data_bar": wish.data_bar,
        "dtype": wish.dtype,
        "pixel_size_nm": wish.pixel_size_nm,
    }
    entry = HistoryEntry("convert", {k: v for k, v in said.items() if v is not None})
    image = replace(image, history=(*image.history, entry))
    try:
        write(image, output, overwrite=wish.overwrite, data_bar=wish.data_bar)
    except OutputExistsError:
        raise
    except UsageError as error:
        if wish.dtype is not None:
            raise
        raise UsageError(
            f"{str(error).rstrip('.')}; here, give --dtype uint8, uint16 or float32 and, where "
            "grey levels do not fit into it, --scale minmax, BLACK,WHITE or round."
        ) from error
    return {
        "input": str(job.sources[0]),
        "n_inputs": len(job.sources),
        "output": str(output),
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "pixel_size_nm": image.pixel_size_nm,
        "history": [entry.to_dict() for entry in image.history],
    }


def _holds_stacks(output: Path) -> bool:
    from everhart.io.registry import formats

    return all(
        known.stacks
        for known in formats()
        if known.write is not None and output.suffix.lower() in known.suffixes
    )


def _is_bare(record: dict[str, Any]) -> bool:
    return str(record["output"]).lower().endswith(".npy")


def _suffix(to: str | None) -> str | None:
    from everhart.io import writable_suffixes

    if to is None:
        return None
    suffix = "." + to.lower().removeprefix(".")
    if suffix not in writable_suffixes():
        raise unknown_name("format to write", to, [s[1:] for s in writable_suffixes()])
    return suffix


def _parsed(scale: str | None) -> Scale | None:
    """Return a word for a scaling, or its two grey levels."""
    from everhart.io.conversion import SCALES

    if scale is None or scale in SCALES:
        return scale
    try:
        black, white = (float(part) for part in scale.split(","))
    except ValueError:
        raise UsageError(
            f"--scale {scale} was given: give {', '.join(SCALES)}, or two grey levels such as "
            "0,4095."
        ) from None
    return black, white
