"""Measure how much of a ring networks paint into holes that have hardly one.

The training wafer of the ReNIn studies has a ring in every hole; half of the holes of the test
image "different B" have one of an eighth of that contrast: a defect that a network that knows
the wafer by heart would hide. Prints the ring's contrast in percent of that of the normal wafer.

    everhart study run renin-recipe --scale cpu -o runs/studies-cpu --seeds 1
    python scripts/check_rings.py runs/studies-cpu [--scale cpu] [--seed 0]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.metrics import affine_match
from everhart.studies.catalogue import find_study
from everhart.studies.runner import denoiser_of
from everhart.studies.study import SCALES, Study
from everhart.studies.wafer import TestImage, make_wafer

_HALF_WIDTH_PX, _ASIDE_PX = 1.5, 6.0


def ring_contrast(image: NDArray[np.float64], holes: pd.DataFrame) -> NDArray[np.float64]:
    """Return how much brighter each hole's ring is than what lies inside and outside of it."""
    found = []
    places = holes[["y_px", "x_px", "ring_radius_px"]].to_numpy(np.float64)
    for centre_y, centre_x, ring_px in places.tolist():
        reach = int(ring_px + 2 * _ASIDE_PX)
        top, left = round(centre_y) - reach, round(centre_x) - reach
        part = image[max(0, top) : top + 2 * reach + 1, max(0, left) : left + 2 * reach + 1]
        y, x = np.mgrid[: part.shape[0], : part.shape[1]]
        radius = np.hypot(y + max(0, top) - centre_y, x + max(0, left) - centre_x)

        def level(
            offset: float,
            away: NDArray[np.float64] = radius - ring_px,
            pixels: NDArray[np.float64] = part,
        ) -> float:
            return float(pixels[np.abs(away - offset) < _HALF_WIDTH_PX].mean())

        found.append(level(0) - (level(_ASIDE_PX) + level(-_ASIDE_PX)) / 2)
    return np.asarray(found)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    folder = words.folder.resolve()
    scale, study = SCALES[words.scale], find_study("renin-recipe")
    assert isinstance(study, Study)
    wafer = make_wafer(folder / "data" / f"seed_{words.seed}", scale.shape, words.seed)
    images = {image.name: image for image in wafer.test_images()}
    faint, normal = images["different B"], images["normal"]
    holes = faint.holes[faint.holes["kind"] == "faint-ring"]
    full = ring_contrast(np.asarray(normal.clean[1], np.float64), normal.holes).mean()

    def said(restored: NDArray[np.float64], image: TestImage, which: pd.DataFrame) -> str:
        gain, offset = affine_match(restored, image.clean[1])
        percent = 100 * ring_contrast(gain * restored + offset, which) / full
        return f"{percent.mean():.0f} ± {percent.std():.0f}"

    truth = np.asarray(faint.clean[1], np.float64)
    print("| method | holes with a faint ring, % | normal holes, % |")
    print("| --- | --- | --- |")
    print(f"| truth | {said(truth, faint, holes)} | 100 |")
    for row in study.rows:
        denoise = denoiser_of(row, scale, wafer, folder / "models", words.seed)
        figures = [
            said(np.asarray(denoise(image.frames[1].pixels), np.float64), image, which)
            for image, which in ((faint, holes), (normal, normal.holes))
        ]
        print(f"| {row.title} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
