"""What ``everhart info`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from everhart.io.drift import Drift
from everhart.io.summary import FileInfo

__all__ = ["details", "drift_lines", "drift_words", "print_details", "print_table", "tree_lines"]

_LABEL_WIDTH = 18
_HEADER = (
    "file", "format", "image", "dtype", "pixel size", "from", "field of view", "beam", "noise sigma"
)  # fmt: skip


def print_details(found: FileInfo, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print what is in one file, a line a property, and its warnings."""
    typer.secho(str(found.path.name), bold=True)
    for label, value in (*details(found), *more):
        typer.echo(f"  {label:{_LABEL_WIDTH}}{value}")
    for warning in found.warnings:
        typer.secho(f"  {'warning':{_LABEL_WIDTH}}{warning}", fg="yellow")


def print_table(rows: Sequence[FileInfo | tuple[str, str]]) -> None:
    """Print one line a file; of a broken one, its name and the error."""
    header = (
        "file",
        "format",
        "image",
        "dtype",
        "pixel size",
        "from",
        "field, um",
        "beam",
        "noise",
    )
    cells = [header, *(_cells(row) for row in rows if isinstance(row, FileInfo))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[0] = max(widths[0], *(len(row[0]) for row in rows if isinstance(row, tuple)), 0)
    if len(cells) > 1:
        typer.secho(_line(_HEADER, widths), bold=True)
    for row in rows:
        if isinstance(row, tuple):
            typer.echo(f"{row[0]:{widths[0]}}  " + typer.style(f"error: {row[1]}", fg="red"))
            continue
        typer.echo(_line(_cells(row), widths))
        for warning in row.warnings:
            typer.secho(f"{'':{widths[0]}}  warning: {warning}", fg="yellow")


def details(found: FileInfo) -> Iterator[tuple[str, str]]:
    """Yield what is in a file, as label and value; what is not known is left out."""
    common = found.metadata.get("common") or {}
    yield "format", found.format
    frames = f"{found.n_frames:,} frames of " if found.n_frames > 1 else ""
    yield "image", f"{frames}{_size(found)} px, {found.dtype}"
    source = f" ({found.pixel_size_source})" if found.pixel_size_source else ""
    yield "pixel size", f"{_pixel_size(found) or 'not known'}{source}"
    if found.field_of_view_um is not None:
        yield "field of view", f"{_area(found.field_of_view_um)} (height x width)"
    if found.data_bar_rows:
        yield "data bar", f"{found.data_bar_rows} rows ({found.data_bar_source})"
    yield from _conditions(common)
    grey = found.grey
    if grey.mean is None:
        yield "grey levels", "none: no pixel is finite"
    else:
        levels = f"{grey.smallest:.6g} to {grey.largest:.6g}, mean {grey.mean:.6g}"
        bad = f"; {grey.not_finite:.2%} NaN or infinite" if grey.not_finite else ""
        yield "grey levels", levels + bad
        yield "saturated", f"{grey.saturated_low:.2%} black, {grey.saturated_high:.2%} white"
    if found.noise is not None:
        yield "noise", str(found.noise)
    if len(found.looked_at) < found.n_frames:
        numbers = ", ".join(map(str, found.looked_at))
        yield "looked at", f"frames {numbers} of {found.n_frames:,} for grey levels, 0 for noise"
    if found.history:
        yield "history", ", ".join(found.history)


def _conditions(common: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the imaging conditions of the common tree."""
    made = [str(common[name]) for name in ("instrument", "software") if common.get(name)]
    if made:
        yield "instrument", ", ".join(made)
    beam = [
        str(common["beam"]) if common.get("beam") else "",
        _quantity(common.get("beam_energy_kev"), "keV"),
        _scaled(common.get("beam_current_pa"), 1e-12, "A"),
    ]
    if any(beam):
        yield "beam", ", ".join(word for word in beam if word)
    scan = [
        f"{word} {_scaled(common[name], 1, 's')}"
        for word, name in (("dwell", "dwell_time_s"), ("exposure", "exposure_time_s"))
        if common.get(name)
    ]
    scan += [
        f"{common[name]:g} {word} integrations"
        for word, name in (("line", "line_integration"), ("frame", "frame_integration"))
        if isinstance(common.get(name), int | float) and common[name] > 1
    ]
    if scan:
        yield "scan", ", ".join(scan)
    seen = [str(common[name]) for name in ("detector", "signal") if common.get(name)]
    if seen:
        yield "detector", ", ".join(dict.fromkeys(seen))
    if isinstance(common.get("magnification"), int | float):
        yield "magnification", f"{common['magnification']:,.6g} x"
    if common.get("working_distance_mm") is not None:
        yield "working distance", _quantity(common["working_distance_mm"], "mm")
    stage = common.get("stage") or {}
    places = [
        f"{name.rsplit('_', 1)[0]} {_quantity(value, unit)}"
        for unit, suffix in (("mm", "_mm"), ("deg", "_deg"))
        for name, value in stage.items()
        if name.endswith(suffix) and value is not None
    ]
    if places:
        yield "stage", ", ".join(places)
    if common.get("acquisition_time"):
        yield "time", str(common["acquisition_time"])


def drift_words(drift: Drift) -> str:
    """Say in one line how far frames drifted."""
    rows = drift.table()
    far = max(rows, key=lambda row: row["drift_y_px"] ** 2 + row["drift_x_px"] ** 2)
    if len(rows) == 1 or not far["frame"]:
        return "none that can be seen"
    words = f"up to {far['drift_y_px']:+.2f}, {far['drift_x_px']:+.2f} px (y, x)"
    if far["drift_y_nm"] is not None:
        words += f" = {far['drift_y_nm']:+.3g}, {far['drift_x_nm']:+.3g} nm"
    words += f" in frame {far['frame']}"
    if drift.at_limit:
        words += f"; {len(drift.at_limit)} frames lie at the limit of the search"
    return words


def drift_lines(drift: Drift) -> Iterator[str]:
    """Yield one line a frame."""
    for row in drift.table():
        nm = ""
        if row["drift_y_nm"] is not None:
            nm = f"  {row['drift_y_nm']:+10.3f} {row['drift_x_nm']:+10.3f} nm"
        yield f"{row['frame']:6d}  {row['drift_y_px']:+8.2f} {row['drift_x_px']:+8.2f} px{nm}"


def tree_lines(tree: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Yield a tree of metadata, one line a value."""
    pad = "  " * indent
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield f"{pad}{name}"
            yield from tree_lines(value, indent + 1)
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            for number, item in enumerate(value):
                yield f"{pad}{name} {number}"
                yield from (
                    tree_lines(item, indent + 1) if isinstance(item, Mapping) else [str(item)]
                )
        else:
            text = " ".join(str(value).split())
            yield f"{pad}{name}: {text if len(text) <= 200 else text[:197] + '...'}"


def _cells(found: FileInfo) -> tuple[str, ...]:
    common = found.metadata.get("common") or {}
    frames = f"{found.n_frames:,} x " if found.n_frames > 1 else ""
    field = found.field_of_view_um
    return (
        found.path.name,
        found.format,
        frames + _size(found),
        str(found.dtype),
        _pixel_size(found) or "-",
        found.pixel_size_source or "-",
        "-" if field is None else _area(field),
        _quantity(common.get("beam_energy_kev"), "keV") or "-",
        "-" if found.noise is None else f"{found.noise.sigma:.3g}",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _size(found: FileInfo) -> str:
    return f"{found.shape[1]} x {found.shape[2]}"


def _pixel_size(found: FileInfo) -> str:
    if found.pixel_size_nm is None:
        return ""
    y, x = found.pixel_size_nm
    if abs(y - x) <= 1e-4 * max(y, x):
        return _length(x)
    return f"{_length(y)} x {_length(x)} (y, x)"


def _length(size_nm: float) -> str:
    # 0.5 nm and 1500 nm are easier to compare than 500 pm and 1.5 um.
    return f"{size_nm:.5g} nm" if 0.1 <= size_nm < 1e4 else _scaled(size_nm, 1e-9, "m")


def _area(size_um: tuple[float, float]) -> str:
    height, width = size_um
    for unit, scale in (("mm", 1e-3), ("um", 1.0), ("nm", 1e3)):
        if max(size_um) * scale >= 1:
            return f"{height * scale:.4g} x {width * scale:.4g} {unit}"
    return f"{height * 1e6:.4g} x {width * 1e6:.4g} pm"


def _quantity(value: Any, unit: str) -> str:
    return f"{value:.5g} {unit}" if isinstance(value, int | float) else ""


def _scaled(value: Any, factor: float, unit: str) -> str:
    """Write a quantity with the prefix that gives it one to three digits before the point."""
    if not isinstance(value, int | float):
        return ""
    amount = float(value) * factor
    for prefix, size in (("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9), ("p", 1e-12)):
        if abs(amount) >= size * 0.9999995:
            return f"{amount / size:.5g} {prefix}{unit}"
    return f"{amount / 1e-12:.5g} p{unit}"
