"""Figures, table and curve of the study `defects`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from everhart.io.atomic import atomic_path
from everhart.metrics.defects import OBSERVERS, DefectScores
from everhart.metrics.detection import (
    FALSE_ALARMS_PER_MPX,
    contrast_found,
    detection_rates,
    found_defects,
    invented_blobs,
    kept_contrast,
    lost_and_gained,
)

if TYPE_CHECKING:
    from everhart.studies.defects import DefectStudy

__all__ = ["figures_of", "markdown", "write_curve"]

Scores = Mapping[str, Mapping[str, Sequence[DefectScores]]]

_SHARE: Final = 0.9
_DRAWS: Final = 200
_SIGNIFICANT: Final = 0.01
_PRACTICAL: Final = ("pixel", "window")
"""The observers that an inspection tool can be; `matched` is a bound."""


def figures_of(scores: Scores, raw: str) -> dict[str, Any]:
    """Return the figures of all methods as plain values.

    Parameters
    ----------
    scores
        Scores by method and scene.
    raw
        Name of the method that the others are compared with.
    """
    found = {method: _found(by_scene) for method, by_scene in scores.items()}
    rates, kept, blobs, changes, needed = [], [], [], [], []
    everything = {m: [s for several in v.values() for s in several] for m, v in scores.items()}
    for method, table in found.items():
        for observer in OBSERVERS:
            pooled = detection_rates(table, observer)
            rates.append(pooled.assign(method=method, observer=observer))
            needed += [
                {"method": method, "observer": observer, "radius_px": float(str(radius)), **figure}
                for radius, group in pooled.groupby("radius_px")
                if (figure := _needed(group))
            ]
            for by in (["scene", "radius_px"], ["scene", "radius_px", "contrast"]):
                change = lost_and_gained(table, found[raw], observer, by=by)
                changes.append(change.assign(method=method, observer=observer))
        kept.append(kept_contrast(everything[method]).assign(method=method))
        blobs.append(invented_blobs(everything[method], everything[raw]).assign(method=method))
    frames = {"rates": rates, "kept": kept, "blobs": blobs, "changes": changes}
    record: dict[str, Any] = {
        name: pd.concat(parts, ignore_index=True).to_dict("records")
        for name, parts in frames.items()
    }
    for change in record["changes"]:
        if np.isnan(change["contrast"]):
            change["contrast"] = None  # all contrasts together
    record["contrast_for_90_percent"] = needed
    record["defects"] = len(found[raw])
    record["area_without_defects_mpx"] = sum(s.area_mpx for s in everything[raw])
    return record


def _found(by_scene: Mapping[str, Sequence[DefectScores]]) -> pd.DataFrame:
    """Set the thresholds for every scene on its own, as a tool is set up for a product."""
    tables = [found_defects(several).assign(scene=scene) for scene, several in by_scene.items()]
    return pd.concat(tables, ignore_index=True)


def _needed(group: pd.DataFrame) -> dict[str, float | None]:
    """Return the contrast for 90 % and its spread; None where the largest is not enough."""
    contrast, rate, count = (group[c].to_numpy() for c in ("contrast", "rate", "defects"))
    value = contrast_found(contrast, rate, count, share=_SHARE)
    rng = np.random.default_rng(0)
    draws = [
        contrast_found(contrast, rng.binomial(count, rate) / count, count, share=_SHARE)
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(draws, [0.16, 0.84], method="nearest")
    plain = {"contrast": value, "low": float(low), "high": float(high)}
    return {name: v if np.isfinite(v) else None for name, v in plain.items()}


def markdown(study: DefectStudy, record: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    methods = list(dict.fromkeys(row["method"] for row in record["kept"]))
    text = f"# {study.name}: {study.title}\n\n"
    text += (
        f"Scale `{record['scale']}`: {record['defects']} lumps on squares of "
        f"{record['side_px']} px, {record['area_without_defects_mpx']:.1f} megapixels without "
        f"defects, {FALSE_ALARMS_PER_MPX:g} false alarms a megapixel. Contrast in percent of black "
        "to white.\n"
    )
    for observer, words in OBSERVERS.items():
        text += f"\n## Contrast at which 90 % are found: {observer}\n\nThe observer is {words}.\n\n"
        text += _needed_table(record, methods, observer)
    text += "\n## Contrast kept, in percent\n\nFaint: the lower half of the contrasts.\n\n"
    text += _kept_table(record, methods)
    text += (
        "\n## Found less often than in the raw image\n\nGroups of one scene and radius (all "
        "contrasts) / of one contrast besides where the losses are too many for chance "
        f"(p < {_SIGNIFICANT:g}), and the defects lost and gained overall.\n\n"
    )
    text += _changes_table(record, methods)
    text += (
        "\n## Blobs where there is no defect, per megapixel\n\nAbove the level that raw images "
        "exceed 10 times. Against the pattern / against the method's other images (without what "
        "it does to every image). Bold: more than raw beyond chance.\n\n"
    )
    return text + _blobs_table(record, methods)


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _needed_table(record: Mapping[str, Any], methods: Sequence[str], observer: str) -> str:
    cells = {
        (r["method"], r["radius_px"]): r
        for r in record["contrast_for_90_percent"]
        if r["observer"] == observer
    }
    radii = sorted({radius for _, radius in cells})
    largest = {
        radius: max(r["contrast"] for r in record["rates"] if r["radius_px"] == radius)
        for radius in radii
    }
    reference = methods[0]

    def cell(method: str, radius: float) -> str:
        row, raw = cells[method, radius], cells[reference, radius]
        if row["contrast"] is None:
            return f"> {100 * largest[radius]:.0f}"
        high = "" if row["high"] is None else f"{100 * row['high']:.0f}"
        shown = f"{100 * row['contrast']:.0f} ({100 * row['low']:.0f} to {high})"
        if method == reference:
            return shown
        if raw["contrast"] is None:
            return f"{shown}, > {largest[radius] / row['contrast']:.2f} x"
        return f"{shown}, {raw['contrast'] / row['contrast']:.2f} x"

    head = ["method", *(f"radius {radius:g} px" for radius in radii)]
    return _lines(head, [[m, *(cell(m, radius) for radius in radii)] for m in methods])


def _kept_table(record: Mapping[str, Any], methods: Sequence[str]) -> str:
    table = pd.DataFrame(record["kept"])
    radii = sorted(table["radius_px"].unique())
    middle = {r: table[table["radius_px"] == r]["contrast"].median() for r in radii}
    head = ["method"]
    head += [f"{radius:g} px, {which}" for radius in radii for which in ("faint", "strong")]
    rows = []
    for method in methods:
        own = table[table["method"] == method]
        row = [method]
        for radius in radii:
            part = own[own["radius_px"] == radius]
            faint = part["contrast"] < middle[radius]
            # The error of a share falls with the contrast: weigh by its square.
            row += [
                f"{100 * np.average(half['kept'], weights=half['contrast'] ** 2):.0f}"
                for half in (part[faint], part[~faint])
            ]
        rows.append(row)
    return _lines(head, rows)


def _changes_table(record: Mapping[str, Any], methods: Sequence[str]) -> str:
    table = pd.DataFrame(record["changes"])
    rows = []
    for method in methods[1:]:
        row = [method]
        for observer in OBSERVERS:
            own = table[(table["method"] == method) & (table["observer"] == observer)]
            groups = own[own["contrast"].isna()]
            lowered = [
                f"{(part['p_lost'] < _SIGNIFICANT).sum()} of {len(part)}"
                for part in (groups, own[own["contrast"].notna()])
            ]
            row.append(f"{' / '.join(lowered)}; -{groups['lost'].sum()} +{groups['gained'].sum()}")
        rows.append(row)
    return _lines(["method", *OBSERVERS], rows)


def _blobs_table(record: Mapping[str, Any], methods: Sequence[str]) -> str:
    table = pd.DataFrame(record["blobs"])
    sizes = sorted(table["sigma_px"].unique())

    def cell(row: pd.Series) -> str:
        shown = f"{row['per_mpx']:.1f}"
        return f"**{shown}**" if row["more"] else shown

    rows = []
    for method in methods:
        own = table[table["method"] == method].set_index(["changing", "sigma_px"])
        shown = [
            " / ".join(cell(own.loc[changing, s]) for changing in (False, True)) for s in sizes
        ]
        rows.append([method, *shown, _verdict(record, method)])
    return _lines(["method", *(f"sigma {s:g} px" for s in sizes), "verdict"], rows)


def _verdict(record: Mapping[str, Any], method: str) -> str:
    """Say whether a method makes up more than raw, or hides something from a practical tool."""
    invents = any(r["more"] for r in record["blobs"] if r["method"] == method)
    hides = any(
        r["p_lost"] < _SIGNIFICANT
        for r in record["changes"]
        if r["method"] == method and r["observer"] in _PRACTICAL
    )
    reasons = ["invents"] * invents + ["hides"] * hides
    return ", ".join(reasons) or "no harm shown"


def write_curve(record: Mapping[str, Any], path: Path) -> None:
    """Draw the detection rate against the contrast, a panel an observer and size."""
    from matplotlib.figure import Figure
    from PIL import Image

    table = pd.DataFrame(record["rates"])
    methods = list(dict.fromkeys(table["method"]))
    radii = sorted(table["radius_px"].unique())
    figure = Figure(figsize=(10, 8.2), layout="constrained", dpi=90)
    panels = figure.subplots(len(OBSERVERS), len(radii), sharey=True, squeeze=False)
    for row, observer in zip(panels, OBSERVERS, strict=True):
        for axes, radius in zip(row, radii, strict=True):
            part = table[(table["observer"] == observer) & (table["radius_px"] == radius)]
            for number, method in enumerate(methods):
                own = part[part["method"] == method]
                axes.plot(
                    100 * own["contrast"], 100 * own["rate"], label=method, **_style(number, method)
                )
            axes.axhline(100 * _SHARE, color="0.7", lw=0.8, zorder=0)
            axes.set_xscale("log")
            ticks = [100 * c for c in part["contrast"].unique()[::2]]
            axes.set_xticks(ticks, [f"{t:.3g}" for t in ticks])
            axes.minorticks_off()
            axes.set_title(f"{observer}, radius {radius:g} px", fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("contrast, % of black to white")
    for axes in panels[:, 0]:
        axes.set_ylabel("found, %")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    # A few colours do for lines, and make the file small enough for a page.
    few = Image.open(drawn).convert("RGB").quantize(64)
    with atomic_path(path, overwrite=True) as temporary:
        few.save(temporary, format="PNG", optimize=True)


def _style(number: int, method: str) -> dict[str, Any]:
    if number == 0:
        return {"color": "black", "lw": 2.5}
    if method.startswith("4 frames"):
        return {"color": "tab:red" if "," in method else "black", "lw": 1.5, "ls": "--"}
    from everhart.restore.names import SHIPPED

    if method in SHIPPED:
        return {"color": "tab:red", "lw": 2.5}
    return {"color": f"C{(number - 1) % 10}" if number != 4 else "C8", "lw": 1.0}
