"""Holes: CD spread, bias and coverage against dose, placement, roughness, time; as Markdown.

    OMP_NUM_THREADS=1 python scripts/check_holes.py [--seeds 4] [-o tables.md]

The wafer of the simulator at holes of 20 px radius, under a microscope with a beam of 0.8 px
and Poisson noise alone. The truth of a CD is that of the same image without noise, measured with
the same convention; the model of the edge is held against the scene's own contour.
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
from scipy.spatial import cKDTree

import everhart as eh
from everhart.measure.holes import holes
from everhart.measure.result import Measurement
from everhart.simulate import Microscope
from everhart.simulate.components import Beam, Converter, Detector, Dose
from everhart.studies.wafer import wafer_microscope

SHAPE = (512, 768)
DOSES = (5.0, 10.0, 25.0, 100.0)
ASKED = {5.0: 0.15, 10.0: 0.11, 25.0: 0.065, 100.0: 0.053}
TAPS = (0.5841, 0.3417, 0.059, 0.0153)


def microscope(dose: float, taps: tuple[float, ...] = (1.0,)) -> Microscope:
    """Return a beam, Poisson noise and a detector, and nothing that moves or charges."""
    return Microscope(
        beam=Beam(sigma_px=0.8),
        charging=None,
        brightness_drift=None,
        scan=None,
        dose=Dose(dose, compound=False),
        detector=Detector(taps=taps),
        converter=Converter(bits=16, black=2000, white=20000),
    )


def pairs(found: Measurement, truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the same holes."""
    apart, index = cKDTree(truth[["y_px", "x_px"]].to_numpy()).query(
        found.table[["y_px", "x_px"]].to_numpy()
    )
    near = apart < 5
    return found.table[near].reset_index(drop=True), truth.iloc[index[near]].reset_index(drop=True)


def against_dose(seeds: int, mean_dose: bool) -> list[str]:
    """Measure frames of the same scenes at several doses."""
    name = "e/px, mean of the image" if mean_dose else "e/px at white"
    lines = [
        f"| {name} | asked for | CD spread, px | bias, px | quoted sd, px | within 1 sd | "
        "x spread, quoted, px | LCDU, true, px | found of 108 |",
        "| --- |" + " --- |" * 8,
    ]
    for dose in DOSES:
        rows: list[list[float]] = []
        for seed in range(seeds):
            rng = np.random.default_rng([seed, int(dose)])
            scene: Any = eh.simulate("nand", shape=SHAPE, rng=rng)  # type: ignore[operator]
            white = dose / float(scene.image.mean()) if mean_dose else dose
            frame, clean = microscope(white).expose(scene, rng, 1, return_clean=True)
            noiseless = holes(replace(frame, pixels=np.asarray(clean)), unit="px")
            found = holes(frame, unit="px")
            table, true = pairs(found, noiseless.table)
            error = (table.cd_px - true.cd_px).to_numpy()
            within = np.abs(error - error.mean()) < table.cd_sd_px
            away = table.x_px - true.x_px
            rows.append(
                [
                    error.std(), error.mean(), table.cd_sd_px.mean(), within.mean(), away.std(),
                    table.x_sd_px.mean(), found.summary["lcdu_3sigma_unbiased_px"],
                    3 * true.cd_px.std(), len(table),
                ]
            )  # fmt: skip
        m = np.mean(rows, axis=0)
        lines.append(
            f"| {dose:g} | {ASKED[dose]:g} | {m[0]:.3f} | {m[1]:+.3f} | {m[2]:.3f} | "
            f"{100 * m[3]:.0f} % | {m[4]:.3f}, {m[5]:.3f} | {m[6]:.3f}, {m[7]:.3f} | {m[8]:.0f} |"
        )
    return lines


def others(seeds: int) -> list[str]:
    """Measure what is not a matter of the dose."""
    lines = ["| what | figure |", "| --- | --- |"]
    model, scatter, shifts, corrected, placed = [], [], [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 1])
        scene: Any = eh.simulate("nand", shape=SHAPE, rng=rng)  # type: ignore[operator]
        truth = scene.truth.tables["holes"]
        _, clean = microscope(100.0).expose(scene, rng, 1, return_clean=True)
        table, true = pairs(holes(np.asarray(clean), unit="px", edge="model"), truth)
        model.append((table.cd_px - true.diameter_px).mean())
        scatter.append((table.cd_px - true.diameter_px).std())
        frame = microscope(100.0, TAPS).expose(scene, rng, 1)
        raw, known = holes(frame, unit="px"), holes(frame, unit="px", detector_taps=TAPS)
        for found, into in ((raw, shifts), (known, corrected)):
            table, true = pairs(found, truth)
            into.append((table.x_px - true.x_px).mean())
        key = "placement_x_3sigma_px"
        placed.append((raw.summary[key], known.summary[key]))
    a, b = np.mean(placed, axis=0)
    lines += [
        f"| edge=model, no noise: CD against the scene's contour | {np.mean(model):+.3f} px, "
        f"spread {np.mean(scatter):.3f} px |",
        f"| x behind the detector's filter, unknown / given | {np.mean(shifts):+.3f} / "
        f"{np.mean(corrected):+.3f} px |",
        f"| placement 3 sigma x, filter unknown / given | {a:.4f} / {b:.4f} px |",
    ]
    seconds = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        scene = eh.simulate("nand", rng=rng)  # type: ignore[operator]
        frame = wafer_microscope().expose(scene, rng, 1)
        start = time.process_time()
        count = holes(frame).summary["count"]
        seconds.append(time.process_time() - start)
    lines.append(
        f"| 3072 x 2048, {count} holes, one core | {min(seconds):.1f} to {max(seconds):.1f} CPU s |"
    )
    return lines


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    lines = [*against_dose(arguments.seeds, mean_dose=False), ""]
    lines += [*against_dose(arguments.seeds, mean_dose=True), "", *others(arguments.seeds)]
    print("\n".join(lines), flush=True)
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
