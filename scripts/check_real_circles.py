"""Circles on real pairs of tin balls: missed and false behind denoisers, against the clean image.

    OMP_NUM_THREADS=1 [EVERHART_DATA=...] python scripts/check_real_circles.py RUN_FOLDER
        [--methods nlm,bm3d,sem-general] [--images 13] [--table]

The `line*` pairs (0.1 us a pixel against the mean of 50 lines), which no shipped model has seen,
one of each group of overlapping fields. The clean image is laid on the noisy one; its circles are
the reference. Radii are left to the detector. A found circle stands for a reference circle if its
centre and its radius are within a quarter of the radius, one for one. Found ones are false if they
stand for none, whatever its size.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import everhart as eh
from everhart.align import register_pair
from everhart.io.atomic import write_text
from everhart.measure.circles import circles, failure_rate

METHODS = ("nlm", "bm3d", "sem-general")
SMALLEST_PX = (4.0, 8.0)  # radius from which circles count; the first is the detector's own


def fields(folder: Path) -> list[str]:
    """Return the first field of each group of `line` fields that overlap."""
    with (folder / "fields.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["field"].startswith("line")]
    return sorted({row["overlap_group"]: row["field"] for row in reversed(rows)}.values())


def cell(folder: Path, name: str, methods: list[str]) -> dict[str, Any]:
    """Find the circles of one field in all pictures."""
    noisy, clean = (
        eh.read(folder / f"{name}_{kind}.png").field_of_view for kind in ("noisy", "clean")
    )
    image = np.asarray(noisy, np.float32)
    kept, laid, _ = register_pair(
        image, np.asarray(clean, np.float32), model="affine", max_shift_px=40.0
    )
    top, left = ((n - m) // 2 for n, m in zip(image.shape, kept.shape, strict=True))
    true = circles(laid, polarity="bright")
    counts: dict[str, Any] = {}
    for method in ("noisy", *methods):
        picture = noisy if method == "noisy" else eh.denoise(noisy, method=method)
        seen = np.asarray(picture)[top : top + kept.shape[0], left : left + kept.shape[1]]
        found = circles(seen, polarity="bright")
        matched = failure_rate(found, true)
        hit = np.zeros(len(true), bool)
        stands = np.zeros(len(found), bool)
        stands[matched.pairs[:, 0]], hit[matched.pairs[:, 1]] = True, True
        counts[method] = [
            {
                "total": int((true.radius_px >= least).sum()),
                "missed": int((~hit & (true.radius_px >= least)).sum()),
                "false": int((~stands & (found.radius_px >= least)).sum()),
            }
            for least in SMALLEST_PX
        ]
    return counts


def table(records: list[dict[str, Any]], methods: list[str]) -> str:
    """Return the sums over the fields."""
    heads = [
        f"{what}, radius {least:g} px and more"
        for least in SMALLEST_PX
        for what in ("missed", "false")
    ]
    lines = ["| picture | " + " | ".join(heads) + " |", "| --- " * 5 + "|"]
    for method in ("noisy", *methods):
        cells = []
        for k in range(len(SMALLEST_PX)):
            total, missed, false = (
                sum(record[method][k][key] for record in records)
                for key in ("total", "missed", "false")
            )
            cells += [f"{100 * missed / total:.1f} % of {total}", str(false)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{len(records)} fields"])


def main() -> None:
    """Find what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--images", type=int)
    parser.add_argument("--table", action="store_true")
    a = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    a.folder.mkdir(parents=True, exist_ok=True)
    data = os.environ.get("EVERHART_DATA")
    pairs = (Path(data) if data else Path(__file__).parents[2] / "shared" / "data") / "sem-pairs"
    methods = a.methods.split(",")
    records = []
    for name in fields(pairs)[: a.images]:
        path = a.folder / f"{name}.json"
        if not path.is_file():
            if a.table:
                continue
            write_text(path, json.dumps(cell(pairs, name, methods), indent=1) + "\n")
        records.append(json.loads(path.read_text(encoding="utf-8")))
        print(name, {k: v[0] for k, v in records[-1].items()}, flush=True)
    print(table(records, methods))


if __name__ == "__main__":
    main()
