"""``everhart info``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everhart.cli.options import JsonPath, Overwrite, PixelSize
from everhart.cli.outputs import check_outputs, make_folder, write_json
from everhart.cli.progress import track
from everhart.cli.run import describe, say_error
from everhart.errors import UsageError
from everhart.micrograph import __version__

if TYPE_CHECKING:
    from everhart.io import Drift, FrameGroup
    from everhart.io.summary import FileInfo


_MOST_LINES = 50  # more frames are for --json


def info(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Image files, folders or patterns.")
    ],
    details: Annotated[
        bool, typer.Option("--details", help="All properties of each of several files.")
    ] = False,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Print the vendor's whole tree of metadata.")
    ] = False,
    drift: Annotated[
        bool,
        typer.Option(
            "--drift", help="Find the drift of the frames of stacks, and of files in a series."
        ),
    ] = False,
    thumbnail: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Write a small picture (.png); for several files a folder of them.",
        ),
    ] = None,
    pixel_size_nm: PixelSize = None,
    overwrite: Overwrite = False,
    json_path: JsonPath = None,
) -> None:
    """Say what is in image files.

    Shape, dtype, frames, pixel size and where it is from, beam, scan, stage, data bar, saturation,
    noise. Of a long stack, three frames are read. Files that count up by name and are alike are
    named as a series of frames.

    \b
    Examples:
      everhart info image.tif
      everhart info scans/ --json scans.json
      everhart info film.mrc --drift --thumbnail film.png
    """
    from everhart.io import image_paths

    sources = image_paths(inputs)
    pictures = _pictures(thumbnail, sources)
    in_folder = thumbnail is not None and len(sources) > 1
    check_outputs([json_path], overwrite=overwrite, inputs=sources)
    check_outputs(
        pictures.values(), overwrite=overwrite, inputs=sources, others=[json_path],
        in_new_folder=in_folder,
    )  # fmt: skip
    if in_folder and thumbnail is not None:
        make_folder(thumbnail)

    found: dict[Path, FileInfo] = {}
    failed: dict[Path, str] = {}
    for source in track(sources, "info"):
        try:
            found[source] = _look(source, pictures.get(source), pixel_size_nm, overwrite)
        except Exception as error:  # the others are looked at all the same
            failed[source] = describe(error)
    groups = _series(found)
    drifts = _drifts(groups, pixel_size_nm, failed) if drift else {}
    _say(sources, found, failed, drifts, details=details, metadata=metadata)
    _say_series(groups, drifts, found)
    if json_path is not None:
        document = {
            "operation": "info",
            "version": __version__,
            "files": [
                _record(source, found, failed, pictures.get(source), metadata) for source in sources
            ],
            "series": [_series_record(group, drifts) for group in groups if group.n_frames > 1],
        }
        write_json(json_path, document, overwrite=overwrite)
    if failed:
        raise typer.Exit(1)


def _look(
    source: Path, picture: Path | None, pixel_size_nm: float | None, overwrite: bool
) -> FileInfo:
    from everhart.io import open_frames, write
    from everhart.io.summary import info as look

    found = look(source, pixel_size_nm=pixel_size_nm)
    if picture is not None:
        import warnings

        from everhart.io.thumbnail import thumbnail

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in `found`
            with open_frames([source], pixel_size_nm=pixel_size_nm) as stack:
                small = thumbnail(stack[0])
        write(small, picture, overwrite=overwrite)
    return found


def _series(found: Mapping[Path, FileInfo]) -> list[FrameGroup]:
    from everhart.io.frames import FrameKind, group_by_kind

    return group_by_kind(
        {
            path: (FrameKind(info.shape[1:], info.dtype, info.pixel_size_nm), info.n_frames)
            for path, info in found.items()
        }
    )


def _drifts(
    groups: Sequence[FrameGroup], pixel_size_nm: float | None, failed: dict[Path, str]
) -> dict[str, Drift]:
    import warnings

    from everhart.cli.progress import progress_bar
    from everhart.io import open_frames

    drifts = {}
    for group in groups:
        if group.n_frames < 2:
            continue
        try:
            with warnings.catch_warnings(), progress_bar(f"drift of {group.name}") as progress:
                warnings.simplefilter("ignore")  # they were shown with the file
                with open_frames(group.paths, pixel_size_nm=pixel_size_nm) as stack:
                    drifts[_key(group)] = stack.drift(progress=progress.update)
        except Exception as error:
            say_error(f"{group.name}: {describe(error)}")
            failed.setdefault(group.paths[0], describe(error))
    return drifts


def _key(group: FrameGroup) -> str:
    return str(group.paths[0])


def _say(
    sources: Sequence[Path],
    found: Mapping[Path, FileInfo],
    failed: Mapping[Path, str],
    drifts: Mapping[str, Drift],
    *,
    details: bool,
    metadata: bool,
) -> None:
    from everhart.cli.info_text import drift_words, print_details, print_table, tree_lines

    if len(sources) > 1 and not (details or metadata):
        print_table([found.get(source) or (source.name, failed[source]) for source in sources])
        return
    for index, source in enumerate(sources):
        if index:
            typer.echo("")
        if source not in found:
            say_error(failed[source] if len(sources) == 1 else f"{source.name}: {failed[source]}")
            continue
        info, of_stack = found[source], drifts.get(str(source))
        more = [("drift", drift_words(of_stack))] if of_stack and info.n_frames > 1 else []
        print_details(info, more)
        if metadata:
            for line in tree_lines(info.metadata, 1):
                typer.echo(line)


def _say_series(
    groups: Sequence[FrameGroup], drifts: Mapping[str, Drift], found: Mapping[Path, FileInfo]
) -> None:
    from everhart.cli.info_text import drift_lines, drift_words

    for group in groups:
        if len(group.paths) > 1:
            words = f"{group.name}: {group.n_frames} files alike, frames if they show one field"
            if _key(group) in drifts:
                words += f"; drift {drift_words(drifts[_key(group)])}"
            typer.echo(words)
        elif len(found) > 1 and _key(group) in drifts:
            typer.echo(f"{group.name}: drift {drift_words(drifts[_key(group)])}")
        if _key(group) in drifts and group.n_frames <= _MOST_LINES:
            typer.echo(" frame         y        x")
            for line in drift_lines(drifts[_key(group)]):
                typer.echo(line)


def _record(
    source: Path,
    found: Mapping[Path, FileInfo],
    failed: Mapping[Path, str],
    picture: Path | None,
    metadata: bool,
) -> dict[str, Any]:
    if source not in found:
        return {"path": str(source), "error": failed[source]}
    record = found[source].to_dict()
    if picture is not None:
        record["thumbnail"] = str(picture)
    if metadata:
        record["metadata"] = dict(found[source].metadata)
    return record


def _series_record(group: FrameGroup, drifts: Mapping[str, Drift]) -> dict[str, Any]:
    drift = drifts.get(_key(group))
    return {
        "name": group.name,
        "files": [str(path) for path in group.paths],
        "n_frames": group.n_frames,
        "drift": None if drift is None else drift.table(),
    }


def _pictures(thumbnail: Path | None, sources: Sequence[Path]) -> dict[Path, Path]:
    """Return where the small picture of each file goes."""
    if thumbnail is None:
        return {}
    is_file = thumbnail.suffix.lower() == ".png" and not thumbnail.is_dir()
    if len(sources) == 1 and not thumbnail.is_dir():
        if not is_file:
            raise UsageError(f"--thumbnail {thumbnail} was given: its name must end in .png.")
        return {sources[0]: thumbnail}
    if is_file:
        raise UsageError(
            f"--thumbnail {thumbnail} was given for {len(sources)} files: give a folder for their "
            "pictures."
        )
    targets = {source: thumbnail / f"{source.name}.png" for source in sources}
    if len({str(path).casefold() for path in targets.values()}) < len(targets):
        raise UsageError("Two of the files have the same name: look at them one folder at a time.")
    return targets
