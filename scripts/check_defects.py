"""Defects: detection rates, false alarms, position bias, limits and time; as Markdown.

    OMP_NUM_THREADS=1 python scripts/check_defects.py [--seeds 20] [--part clean ...] [-o tables.md]

Single frames of the simulator's scenes, exposed by the microscope of the wafer study: noise that
is correlated along the scan line, drift, jitter and charging.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.stats import beta, gamma

import everhart as eh
from everhart.measure.defects import defects
from everhart.simulate.components import Dose
from everhart.studies.wafer import wafer_microscope

SHAPES = {"nand": (512, 768), "lines": (512, 768)}
KINDS = {
    "nand": ("missing_hole", "dent", "particle"),
    "lines": ("bridge", "break", "dent", "particle"),
}
DOSES = (4.0, 16.0, 64.0)
RATES = (0.01, 1.0)
DISC_PX = 8.0
CONTRASTS = (0.5, 1.0)  # of the limit that the table states
DISCS = 4  # in an image
GREY_LEVELS = 170.0  # of the microscope, from 0 to 1 of the scene


def scene_of(name: str, seed: int, planted: tuple[str, ...] = ()) -> Any:
    """Return a scene."""
    rng = np.random.default_rng([seed, 5])
    return eh.simulate(name, shape=SHAPES[name], rng=rng, defects=planted)  # type: ignore[operator]


def frame_of(scene: Any, seed: int, dose: float) -> Any:
    """Return one frame."""
    microscope = replace(wafer_microscope(), dose=Dose(dose))
    frame = microscope.expose(scene, np.random.default_rng([seed, 6]), 1)
    return np.asarray(frame.pixels).reshape(scene.shape)


def nearest(table: pd.DataFrame, y: float, x: float) -> tuple[float, int]:
    """Return the distance to the nearest row, and which it is."""
    if not len(table):
        return np.inf, -1
    apart = np.hypot(np.asarray(table.y_px) - y, np.asarray(table.x_px) - x)
    return float(apart.min()), int(np.argmin(apart))


def planted_defects(seeds: int) -> list[str]:
    """Find the planted defects of each kind."""
    lines = [
        "| scene | dose, e/px | kind | planted | found | detected | kind right | called unknown | "
        "y bias, px | x bias, px | spread y, x, px | quoted sd y, x, px | not planted, an image |",
        "| --- |" + " --- |" * 12,
    ]
    for name, kinds in KINDS.items():
        border = 75.0 if name == "nand" else 0.0
        for dose in DOSES:
            rows: dict[str, list[tuple[Any, ...]]] = {k: [] for k in kinds}
            false = 0
            for seed in range(seeds):
                scene = scene_of(name, seed, kinds)
                found = defects(frame_of(scene, seed, dose), unit="px").table
                truth = scene.truth.tables["defects"]
                for row in truth.itertuples():
                    inside = min(
                        row.y_px, row.x_px, scene.shape[0] - row.y_px, scene.shape[1] - row.x_px
                    )
                    if inside < border and row.kind == "missing_hole":
                        continue  # at the end of the array: not told from the end
                    reach = 0.5 * max(row.height_px, row.width_px) + 3
                    apart, i = nearest(found, row.y_px, row.x_px)
                    if apart < reach:
                        f = found.iloc[i]
                        rows[row.kind].append(
                            (True, f.kind, f.y_px - row.y_px, f.x_px - row.x_px, f.y_sd_px,
                             f.x_sd_px)
                        )  # fmt: skip
                    else:
                        rows[row.kind].append((False,))
                for row in found.itertuples():
                    apart = np.hypot(truth.y_px - row.y_px, truth.x_px - row.x_px)
                    reach = 0.75 * np.maximum(truth.height_px, truth.width_px) + 5
                    false += int((apart > reach).all())
            for kind in kinds:
                hit = [r for r in rows[kind] if r[0]]
                values = np.array([r[2:] for r in hit], float).reshape(-1, 4)
                right = np.mean([r[1] == kind for r in hit]) if hit else np.nan
                open_ = np.mean([r[1] == "unknown" for r in hit]) if hit else np.nan
                m = values.mean(axis=0) if len(hit) else np.full(4, np.nan)
                s = values.std(axis=0) if len(hit) else np.full(4, np.nan)
                q = np.median(values, axis=0) if len(hit) else np.full(4, np.nan)
                lines.append(
                    f"| {name} | {dose:g} | {kind} | {len(rows[kind])} | {len(hit)} | "
                    f"{100 * len(hit) / max(len(rows[kind]), 1):.0f} % | {100 * right:.0f} % | "
                    f"{100 * open_:.0f} % | {m[0]:+.2f} | {m[1]:+.2f} | {s[0]:.2f}, {s[1]:.2f} | "
                    f"{q[2]:.2f}, {q[3]:.2f} | {false / seeds:.2f} |"
                )
                print(lines[-1], flush=True)
    return lines


def interval(count: int, images: int) -> str:
    """Return alarms an image with their exact 95 % interval, of a Poisson count."""
    low = gamma.ppf(0.025, count) / images if count else 0.0
    high = gamma.ppf(0.975, count + 1) / images
    return f"{count / images:.3g} ({low:.2g} to {high:.2g})"


def clean_images(seeds: int) -> list[str]:
    """Count alarms in images without defects, at two rates from one list of peaks."""
    lines = ["| scene | dose, e/px | images | " + " | ".join(
        f"alarms an image where {rate:g} is stated" for rate in RATES) + " |",
        "| --- |" + " --- |" * (2 + len(RATES))]  # fmt: skip
    for name in KINDS:
        for dose in DOSES:
            expected: list[float] = []
            for seed in range(1000, 1000 + seeds):
                found = defects(frame_of(scene_of(name, seed), seed, dose), unit="px",
                                false_alarms=max(RATES))  # fmt: skip
                expected += list(found.table.expected_by_chance)
            counts = [sum(e <= rate for e in expected) for rate in RATES]
            cells = " | ".join(interval(count, seeds) for count in counts)
            lines.append(f"| {name} | {dose:g} | {seeds} | {cells} |")
            print(lines[-1], flush=True)
    return lines


def discs(seeds: int) -> list[str]:
    """Plant discs at the stated limit, anywhere where the pattern is, and at half of it."""
    lines = [
        f"| scene | dose, e/px | limit for a disc of {DISC_PX:g} px, of the pattern's contrast | "
        + " | ".join(f"found at {c:g} x limit" for c in CONTRASTS) + " |",
        "| --- |" + " --- |" * (2 + len(CONTRASTS)),
    ]  # fmt: skip
    for name in KINDS:
        for dose in DOSES:
            hits: dict[float, list[bool]] = {c: [] for c in CONTRASTS}
            level = []
            for seed in range(2000, 2000 + seeds):
                scene = scene_of(name, seed)
                clean = defects(frame_of(scene, seed, dose), unit="px")
                limits, size = clean.tables["limits"], np.log(clean.tables["limits"].size_px)
                at, relative = (
                    float(np.exp(np.interp(np.log(DISC_PX), size, np.log(limits[key]))))
                    for key in ("contrast", "contrast_relative")
                )
                level.append(relative)
                rng = np.random.default_rng([seed, 8])
                height, width = scene.shape
                columns = (np.arange(DISCS) + rng.uniform(0.3, 0.7, DISCS)) * (width - 180)
                places = np.stack(
                    [rng.uniform(90, height - 90, DISCS), 90 + columns / DISCS], axis=1
                )
                y, x = np.indices(scene.shape)
                for contrast in CONTRASTS:
                    image = scene.image.copy()
                    for place in places:
                        disc = np.clip(
                            DISC_PX / 2 + 0.5 - np.hypot(y - place[0], x - place[1]), 0, 1
                        )
                        image += (disc * contrast * at / GREY_LEVELS).astype(np.float32)
                    marked = replace(scene, image=image)
                    table = defects(frame_of(marked, seed, dose), unit="px").table
                    hits[contrast] += [nearest(table, *p)[0] < 8 for p in places]
            cells = []
            for contrast in CONTRASTS:
                n, k = len(hits[contrast]), sum(hits[contrast])
                low, high = beta.ppf((0.025, 0.975), (k, k + 1), (n - k + 1, n - k))
                cells.append(
                    f"{k} of {n}, {100 * k / n:.0f} % ({100 * np.nan_to_num(low):.0f} to "
                    f"{100 * np.nan_to_num(high, nan=1.0):.0f})"
                )
            lines.append(f"| {name} | {dose:g} | {np.mean(level):.2f} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def seconds() -> list[str]:
    """Time large images."""
    lines = ["| 3072 x 2048 | CPU s, one core |", "| --- | --- |"]
    for name in KINDS:
        scene = eh.simulate(name, shape=(2048, 3072), seed=1)  # type: ignore[operator]
        frame = frame_of(scene, 1, 4.0)
        spent = []
        for _ in range(2):
            start = time.process_time()
            defects(frame, unit="px")
            spent.append(time.process_time() - start)
        lines.append(f"| {name} | {min(spent):.1f} to {max(spent):.1f} |")
    return lines


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--part", choices=("clean", "discs", "planted", "time"), nargs="*")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    text = []
    for part, title, table in (
        ("clean", "Images without defects", lambda: clean_images(arguments.seeds)),
        ("discs", "Discs at the stated limit", lambda: discs(max(arguments.seeds // 2, 1))),
        ("planted", "Planted defects", lambda: planted_defects(max(arguments.seeds // 2, 1))),
        ("time", "Time", seconds),
    ):
        if arguments.part and part not in arguments.part:
            continue
        lines = table()
        text += [f"## {title}", "", *lines, ""]
        print("\n".join(text[-len(lines) - 3 :]), flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
