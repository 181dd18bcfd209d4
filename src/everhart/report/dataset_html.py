"""A comparison on a data set as one HTML file that needs nothing else, and as tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from everhart.report.comparison import format_value
from everhart.report.cost import HOW_MEASURED
from everhart.report.dataset_result import DatasetComparison, DatasetImage, ShownImage
from everhart.report.dataset_table import mean_first
from everhart.report.figures import FIGURES
from everhart.report.html import environment, figures_table
from everhart.report.pictures import data_uri

__all__ = ["dataset_csv", "dataset_outputs", "render_dataset_html", "write_dataset"]

_MOST_ROWS: Final = 2000  # more make a page that no browser scrolls well
_MOST_FAILURES: Final = 200
_STRIP_WIDTH: Final = 960
_ROW_PX: Final = 30
_TICKS: Final = 6


def dataset_outputs(report: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the files of a report by what they hold: ``html``, ``json``, ``csv``."""
    path = Path(report)
    return {"html": path, "json": path.with_suffix(".json"), "csv": path.with_suffix(".csv")}


def write_dataset(
    compared: DatasetComparison, report: str | os.PathLike[str], *, overwrite: bool = False
) -> dict[str, Path]:
    """Write a comparison on a data set: the page, and CSV and JSON beside it.

    Parameters
    ----------
    compared
        What :func:`everhart.report.compare_dataset` gave.
    report
        Name of the page; the others differ in the suffix.
    overwrite
        Whether existing files may be replaced.

    Returns
    -------
    dict
        The files, as of :func:`dataset_outputs`.

    Raises
    ------
    UsageError
        If one exists and `overwrite` is false, or the folder does not exist.
    """
    import json

    from everhart.io.atomic import check_output, write_text
    from everhart.io.record import plain

    paths = dataset_outputs(report)
    for path in paths.values():
        check_output(path, overwrite=overwrite)
    document = json.dumps(plain(compared.to_dict()), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(paths["json"], document + "\n", overwrite=overwrite)
    write_text(paths["csv"], dataset_csv(compared), overwrite=overwrite)
    write_text(paths["html"], render_dataset_html(compared), overwrite=overwrite)
    return paths


def dataset_csv(compared: DatasetComparison) -> str:
    """Return the figures as CSV: one line an image and method, with what failed.

    Parameters
    ----------
    compared
        The comparison.

    Returns
    -------
    str
        Columns ``image, sha256, reference, method, height_px, width_px, dtype, pixel_size_y_nm,
        pixel_size_x_nm, data_range``, one a figure by its key, and ``error``.
    """
    import pandas as pd

    keys = list(compared.table.columns[2:])
    rows: list[dict[str, Any]] = [
        {**_facts(image), "method": method, **image.figures[method]}
        for image in compared.images
        for method in compared.names
        if method in image.figures
    ]
    rows += [
        {"image": f.image, "method": f.method or "", "error": f.message} for f in compared.failures
    ]
    columns = [*_facts(compared.images[0]), "method", *keys, "error"]
    columns.insert(3, columns.pop(columns.index("method")))
    table = pd.DataFrame(rows, columns=columns)
    whole = {"height_px": "Int64", "width_px": "Int64"}  # and no value where an image failed
    table = table.astype(whole)
    return str(table.to_csv(index=False, lineterminator="\n"))


def render_dataset_html(compared: DatasetComparison) -> str:
    """Return a comparison on a data set as the text of a self-contained HTML page.

    Parameters
    ----------
    compared
        What :func:`everhart.report.compare_dataset` gave.

    Returns
    -------
    str
        HTML with styles, script and pictures in it; it loads nothing from anywhere.
    """
    judged = FIGURES[compared.judged_by]
    having = set(compared.overall["figure"])
    names = mean_first(compared.wide(), compared.judged_by)
    order = compared.worst_first()
    wide = compared.wide()
    unjudged = [name for name in wide.index if name not in set(order)]
    order = [*order, *unjudged]
    n = len(compared.images)
    page = environment().get_template("dataset.html")
    return page.render(
        title=f"{n} image{'s' if n != 1 else ''}, {len(compared.methods)} methods",
        verdict=compared.verdict,
        overall=_overall(compared, names),
        overall_words=_overall_words(compared),
        judged=judged,
        margin=f"{compared.tie_margin:g} {judged.unit}".strip(),
        strip=_strip(compared, names),
        wins=_wins(compared, names),
        differences=[_difference(row, judged.digits) for row in _records(compared.differences)],
        shown=[_shown(image, compared) for image in compared.shown],
        per_image=_per_image(compared, order[:_MOST_ROWS]),
        left_out=max(0, len(order) - _MOST_ROWS),
        worst_method=compared.worst_method,
        failures=compared.failures[:_MOST_FAILURES],
        provenance=compared.provenance,
        settings=_settings(compared),
        explanations=[figure for key, figure in FIGURES.items() if key in having],
        how_measured=HOW_MEASURED,
    )


def _facts(image: DatasetImage) -> dict[str, Any]:
    size = image.facts.get("pixel_size_nm") or [np.nan, np.nan]
    height, width = image.facts["shape"][-2:]
    return {
        "image": image.name,
        "sha256": image.sources["image"],
        "reference": image.reference or "",
        "height_px": height,
        "width_px": width,
        "dtype": image.facts["dtype"],
        "pixel_size_y_nm": size[0],
        "pixel_size_x_nm": size[1],
        "data_range": image.facts["data_range"],
    }


def _records(table: Any) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _overall(compared: DatasetComparison, names: list[str]) -> dict[str, Any]:
    """Return the table of means, with the spread after each."""
    means: dict[str, dict[str, float]] = {name: {} for name in names}
    spread: dict[tuple[str, str], float] = {}
    for row in _records(compared.overall):
        means[row["method"]][row["figure"]] = row["mean"]
        spread[row["method"], row["figure"]] = row["sd"]
    view = figures_table(means, compared.averages)
    for table in filter(None, (view, view["more"])):
        for line in table["rows"]:
            for cell, column in zip(line["cells"], table["columns"], strict=True):
                sd = spread.get((line["name"], column["key"]), np.nan)
                if cell["text"] and np.isfinite(sd):
                    cell["text"] += f" ± {format_value(column['key'], sd)}"
    return view


def _overall_words(compared: DatasetComparison) -> str:
    counts = compared.wide().notna().sum()
    text = (
        f"Mean ± standard deviation over {int(counts.max())} images; the best method of each "
        "column is marked."
    )
    fewer = [f"{name} ({n})" for name, n in counts.items() if n < counts.max()]
    if fewer:
        text += (
            f" Not all have all images: {', '.join(fewer)}; means over different images do not "
            "compare, so judge by the differences within each image below."
        )
    return text


def _strip(compared: DatasetComparison, names: list[str]) -> dict[str, Any]:
    """Return where the dots of the picture of all images lie."""
    wide = compared.wide()[names].replace([np.inf, -np.inf], np.nan)
    values = wide.to_numpy(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    span = (high - low) or 1.0
    left = 30 + 8 * min(max(len(name) for name in names), 30)
    reach = _STRIP_WIDTH - left - 24

    def x(value: float) -> float:
        return round(left + reach * (value - low) / span, 1)

    rows = []
    for index, name in enumerate(names):
        y = 18 + index * _ROW_PX
        own = wide[name].dropna().to_numpy(np.float64)
        mean, sd = (float(own.mean()), float(own.std())) if own.size else (np.nan, np.nan)
        rows.append(
            {
                "name": name if len(name) <= 30 else "…" + name[-29:],
                "y": y,
                # a line of no length is a dot, and many of them are one path
                "dots": " ".join(f"M{x(float(value))} {y}h0" for value in own),
                "mean": x(mean) if own.size else None,
                "low": x(max(mean - sd, low)) if own.size else None,
                "high": x(min(mean + sd, high)) if own.size else None,
            }
        )
    step = 10.0 ** np.floor(np.log10(span / _TICKS))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= _TICKS)
    ticks = np.arange(np.ceil(low / step) * step, high + step * 1e-6, step)
    return {
        "width": _STRIP_WIDTH,
        "height": 18 + len(names) * _ROW_PX + 14,
        "left": left,
        "rows": rows,
        "ticks": [{"x": x(float(tick)), "text": f"{tick + 0.0:.6g}"} for tick in ticks],
    }


def _wins(compared: DatasetComparison, names: list[str]) -> dict[str, Any]:
    wins = compared.wins
    of = max(len(compared.images), 1)
    rows = []
    for name in names:
        counts = [None if other == name else int(wins.at[name, other]) for other in names]  # type: ignore[arg-type]
        cells = [None if n is None else {"count": n, "share": round(n / of, 3)} for n in counts]
        rows.append({"name": name, "cells": cells})
    return {"names": names, "rows": rows}


def _difference(row: dict[str, Any], digits: int) -> dict[str, Any]:
    def signed(value: float) -> str:
        return f"{value:+.{digits}f}" if np.isfinite(value) else "–"

    interval = "–"
    if np.isfinite(row["low"]):
        interval = f"{signed(row['low'])} to {signed(row['high'])}"
    p = row["p_holm"]
    return {
        **row,
        "difference": signed(row["difference"]),
        "interval": interval,
        "p": "< 0.001" if p < 0.001 else f"{p:.3f}",
    }


def _per_image(compared: DatasetComparison, order: list[str]) -> dict[str, Any]:
    """Return the judged figure of every image, a column a method."""
    key = compared.judged_by
    figure = FIGURES[key]
    by_image = {image.name: image.figures for image in compared.images}
    rows = []
    for name in order:
        values = {m: by_image[name].get(m, {}).get(key, np.nan) for m in compared.names}
        merits = {m: figure.merit(value) for m, value in values.items() if m in compared.methods}
        best = max(merits, key=lambda m: merits[m])
        cells = [
            {
                "text": format_value(key, value),
                "value": "" if np.isnan(value) else repr(float(value)),
                "best": method == best and len(merits) > 1 and np.isfinite(merits[best]),
            }
            for method, value in values.items()
        ]
        rows.append({"name": name, "cells": cells})
    columns = [{"title": name, "unit": "", "words": figure.words} for name in compared.names]
    return {"head": "Image", "columns": columns, "rows": rows}


def _shown(image: ShownImage, compared: DatasetComparison) -> dict[str, Any]:
    found = next(one for one in compared.images if one.name == image.name)
    key = compared.judged_by
    unit = FIGURES[key].unit
    pictures = []
    for name, grey in image.pictures.items():
        text = format_value(key, found.figures.get(name, {}).get(key))
        pictures.append(
            {
                "name": name,
                "uri": data_uri(grey),
                "width": grey.shape[1],
                "height": grey.shape[0],
                "value": f"{text} {unit}".strip() if text else "",
            }
        )
    row, column = found.facts["crop_yx_px"]
    height, width = next(iter(image.pictures.values())).shape
    where = f"Crop of {width} x {height} px from column {column}, row {row}"
    size = found.facts.get("pixel_size_nm")
    if size:
        where += f", {size[1] * width:.4g} nm wide"
    reasons = ", ".join(image.reasons)
    return {
        "name": image.name,
        "reasons": reasons[0].upper() + reasons[1:],
        "place": where + ".",
        "pictures": pictures,
    }


def _settings(compared: DatasetComparison) -> list[tuple[str, str]]:
    told = []
    for name, value in compared.settings.items():
        words = name.replace("_", " ").capitalize()
        if name == "methods":
            methods = [
                m["method"] + (f" (sha256 {m['model_sha256']})" if "model_sha256" in m else "")
                for m in value
            ]
            told.append((words, ", ".join(methods)))
        elif value is not None:
            told.append((words, str(value)))
    return told
