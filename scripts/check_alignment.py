"""Accuracy and speed of the two ways to find a shift: PSNR matching and cross-correlation.

    EVERHART_DATA=path OMP_NUM_THREADS=1 python scripts/check_alignment.py [-o tables.md] [--seed 0]

Simulated: `nand`, `lines` and `particles` under the study's microscope at several doses, two
frames that are whole or fractions of a pixel apart. Real: the pairs of `sem-pairs`, an affine match
of grey levels done first for PSNR matching. Speed: one pair of 3072 x 2048.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import everhart as eh
from everhart.align import common_margin, estimate_shift, match_psnr, shift_image
from everhart.simulate import Microscope, Scan
from everhart.studies.wafer import wafer_microscope

SHAPE = (512, 512)
DOSES = (1.0, 4.0, 16.0, 64.0)  # electrons a pixel at white
REPEATS = 12
Array = NDArray[np.float64]


def moved_pair(
    scene: eh.simulate.Scene, microscope: Microscope, rng: np.random.Generator, shift: Array
) -> tuple[eh.Micrograph, eh.Micrograph]:
    """Return a frame of a scene and one of the moved scene, each with its own noise."""
    image = scene.image
    moved = np.clip(shift_image(image.astype(np.float64), (shift[0], shift[1])), 0, 1)
    inside = (slice(48, -48), slice(48, -48))  # what a border repeats stays outside
    frames = [
        microscope.expose(np.ascontiguousarray(part[inside], np.float32), rng)
        for part in (image, moved)
    ]
    return frames[0], frames[1]


def simulated(seed: int) -> list[str]:
    """Measure the error against known shifts."""
    lines = [
        "| scene | dose, e/px at white | cross-correlation, rms error px (worst) | "
        "PSNR, crop 256 | PSNR, whole frame | rounding alone |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("nand", "lines", "particles"):
        for dose in DOSES:
            microscope = replace(wafer_microscope(), scan=Scan())
            assert microscope.dose is not None
            microscope = replace(microscope, dose=replace(microscope.dose, arrivals_per_px=dose))
            errors: dict[str, list[float]] = {"phase": [], "crop": [], "whole": [], "round": []}
            for n in range(REPEATS):
                rng = np.random.default_rng([seed, n, int(dose)])
                shape = (SHAPE[0] + 96, SHAPE[1] + 96)
                scene = eh.simulate(name, shape=shape, rng=rng)  # type: ignore[operator]
                # Less than half a period of the lattices, which no method can tell apart.
                shift = rng.uniform(-6, 6, 2) if n % 3 else np.rint(rng.uniform(-6, 6, 2))
                fixed, moving = moved_pair(scene, microscope, rng, shift)
                found = {
                    "phase": estimate_shift(moving, fixed, max_shift_px=12),
                    "crop": match_psnr(moving, fixed, max_shift_px=12).shift_px,
                    "whole": match_psnr(moving, fixed, crop_px=None, max_shift_px=12).shift_px,
                    "round": tuple(-np.rint(shift)),
                }
                for key, value in found.items():
                    errors[key].append(float(np.hypot(*(np.array(value) + shift))))
            cells = [
                f"{np.sqrt(np.mean(np.square(e)) / 2):.3f} ({max(e):.2f})" for e in errors.values()
            ]
            lines.append(f"| `{name}` | {dose:g} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


def grey_matched(image: Array, target: Array) -> Array:
    """Return an image with the mean and the contrast that the target's structure has."""
    a, b = gaussian_filter(image, 3), gaussian_filter(target, 3)
    slope = float(np.cov(a.ravel(), b.ravel())[0, 1] / a.var())
    return np.asarray((image - a.mean()) * slope + b.mean())


def real(folder: Path) -> list[str]:
    """Compare both methods on the real pairs: where they disagree, and what they leave."""
    rows: dict[str, list[list[float]]] = {"time": [], "line": []}
    for file in sorted(folder.glob("*_noisy.png")):
        noisy = eh.read(file).field_of_view.astype(np.float64)
        clean = eh.read(file.with_name(file.name.replace("noisy", "clean"))).field_of_view
        phase = estimate_shift(clean, noisy, max_shift_px=40)
        # Grey levels are matched where the images lie on each other; the shift of the match is
        # the search's own, found again afterwards.
        matched = grey_matched(clean.astype(np.float64), noisy)
        whole = match_psnr(matched, noisy, crop_px=None, max_shift_px=40).shift_px
        crop = match_psnr(matched, noisy, crop_px=256, max_shift_px=40).shift_px
        inside = common_margin((8.0, 8.0))
        smooth = gaussian_filter(noisy, 1.5)
        residual = []
        for shift in (phase, whole, crop, (0.0, 0.0)):
            moved = shift_image(matched, (float(shift[0]), float(shift[1])))
            residual.append(float(np.std((smooth - moved)[inside])))
        apart = [float(np.max(np.abs(np.subtract(s, phase)))) for s in (whole, crop)]
        rows[file.name[:4]].append([float(np.hypot(*phase)), *apart, *residual])
    lines = [
        "| pairs | drift px, median (largest) | PSNR whole frame within 0.75 px of correlation | "
        "PSNR crop 256 | residual, grey levels: correlation | PSNR whole | PSNR crop | unmoved |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, table in rows.items():
        t = np.array(table)
        agree = [
            f"{int((t[:, k] <= 0.75).sum())} of {len(t)}, worst {t[:, k].max():.2f}" for k in (1, 2)
        ]
        cells = [f"`{kind}*` ({len(t)})", f"{np.median(t[:, 0]):.2f} ({t[:, 0].max():.2f})", *agree]
        cells += [f"{v:.2f}" for v in t[:, 3:].mean(axis=0)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def speed(seed: int) -> list[str]:
    """Time a full search on one pair of 3072 x 2048."""
    lines = ["| search of a 3072 x 2048 pair | CPU s | wall s |", "| --- | --- | --- |"]
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 65536, (2048, 3072))
    scene = gaussian_filter(scene.astype(np.float64), 2)
    scene = (scene - scene.min()) / np.ptp(scene)
    eight, sixteen = (scene * 255).astype(np.uint8), (scene * 65535).astype(np.uint16)
    for title, image, crop in (
        ("PSNR, +-40 px, crop 256, 8 bit", eight, 256),
        ("PSNR, +-40 px, whole frame, 8 bit", eight, None),
        ("PSNR, +-40 px, whole frame, 16 bit", sixteen, None),
        ("PSNR, +-40 px, whole frame, float", scene, None),
        ("cross-correlation, to 0.01 px", eight, 0),
    ):
        moving = np.roll(image, (7, -23), (0, 1))
        times = []
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            if crop == 0:
                found: tuple[float, ...] = estimate_shift(moving, image, max_shift_px=40)
            else:
                found = match_psnr(moving, image, crop_px=crop).shift_px
            times.append((time.process_time() - cpu, time.perf_counter() - wall))
            assert np.allclose(found, (-7, 23), atol=0.05), found
        cpu, wall = min(times)
        lines.append(f"| {title} | {cpu:.2f} | {wall:.2f} |")
    return lines


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("simulated", "real", "speed"))
    arguments = parser.parse_args()
    lines = [f"{date.today()}, {platform.machine()}, seed {arguments.seed}", ""]
    if arguments.only in (None, "speed"):
        lines += [*speed(arguments.seed), ""]
    if arguments.only in (None, "real") and "EVERHART_DATA" in os.environ:
        lines += [*real(Path(os.environ["EVERHART_DATA"]) / "sem-pairs"), ""]
    if arguments.only in (None, "simulated"):
        lines += [*simulated(arguments.seed), ""]
    text = "\n".join(lines)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
