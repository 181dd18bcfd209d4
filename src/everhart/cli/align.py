"""``everhart align``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.options import JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.errors import UsageError
from everhart.micrograph import __version__
from everhart.operations import OPERATIONS

_OPERATION = OPERATIONS["align"]


@with_parameters_of(_OPERATION)
def align(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FRAMES...",
            help="A stack, or files, folders and stacks of frames in the order of time.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="The aligned stack (.tif), or its average."
        ),
    ],
    overwrite: Overwrite = False,
    pixel_size_nm: PixelSize = None,
    json_path: JsonPath = None,
    **parameters: Any,
) -> None:
    """Lay frames of one field of view on each other.

    Drift is found against the first frame, or the mean, and taken out. Moving by a fraction of
    a pixel smooths the noise; --whole-pixels leaves it as it is. The data bar is cut off.

    \b
    Examples:
      everhart align series.tif -o aligned.tif --json drift.json
      everhart align frame_*.tif -o mean.tif --average --reference mean
      everhart align series.tif -o frames.tif --whole-pixels
    """
    from everhart.io import image_paths, open_frames, write

    checked = _OPERATION.check(parameters)
    sources = image_paths(inputs)
    if output.is_dir():
        raise UsageError(
            f"The output {output} is a folder: aligned frames are one file; give its name."
        )
    check_outputs([output], overwrite=overwrite, inputs=sources)
    check_outputs([json_path], overwrite=overwrite, inputs=sources, others=[output])
    with open_frames(inputs, pixel_size_nm=pixel_size_nm) as frames:
        _check_held(output, frames.dtype, average=checked.average)
        with progress_bar("align") as progress:
            progress.update(0, 1, f"{len(frames)} frames")
            outcome = _OPERATION.prepare(checked)(frames, {})
        names = [str(path) for path in frames.paths]
    (aligned,), (result,) = outcome.micrographs, outcome.results
    write(aligned, output, overwrite=overwrite)
    _say(result)
    if json_path is not None:
        rows = [
            {"input": name, "frame_of_input": names[:n].count(name), **row}
            for n, (name, row) in enumerate(zip(names, result["frames"], strict=True))
        ]
        document = {
            "operation": "align",
            "version": __version__,
            "output": str(output),
            "shape": list(aligned.shape),
            "dtype": str(aligned.dtype),
            "pixel_size_nm": aligned.pixel_size_nm,
            "parameters": checked.model_dump(),
            "border_px": result["border_px"],
            "frames": rows,
        }
        write_json(json_path, document, overwrite=overwrite)


def _check_held(output: Path, dtype: Any, *, average: bool) -> None:
    """Let a format that cannot hold the result say so before the work."""
    import tempfile

    import numpy as np

    from everhart.io import write

    small = np.zeros((32, 32), np.float32) if average else np.zeros((2, 32, 32), dtype)
    with tempfile.TemporaryDirectory() as folder:
        write(small, Path(folder) / output.name)


def _say(result: dict[str, Any]) -> None:
    frames = result["frames"]
    far = max(frames, key=lambda row: row["drift_y_px"] ** 2 + row["drift_x_px"] ** 2)
    words = f"largest drift {far['drift_y_px']:g}, {far['drift_x_px']:g} px (y, x)"
    if far["drift_y_nm"] is not None:
        words += f" = {far['drift_y_nm']:.4g}, {far['drift_x_nm']:.4g} nm"
    top, bottom, left, right = result["border_px"]
    words += f" in frame {far['frame']}; {top + bottom} rows and {left + right} columns cut off."
    typer.echo(f"{len(frames)} frames aligned: {words}", err=True)
    limited = [row["frame"] for row in frames if row["at_limit"]]
    if limited:
        typer.echo(
            f"everhart: warning: {len(limited)} frame(s), the first of them number {limited[0]}, "
            "lie at the limit of the search: look at them, or give a larger --max-shift-px.",
            err=True,
        )
