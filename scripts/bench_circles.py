"""Circles: failure rate against dose and method, and time against scikit-image's Hough transform.

    OMP_NUM_THREADS=1 python scripts/bench_circles.py [-o tables.md] [--seeds 2] [--hough]

The wafer of the ReNIn study (108 holes; one normal scene and two structurally different ones)
under its microscope, one frame, at several doses, as it is and denoised. The full size of
3072 x 2048 pixels is timed on one core; `--hough` times scikit-image's on the same image.
`--limits` measures small holes, flat noise and the definitions of the edge instead.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np

import everhart as eh
from everhart.measure.circles import circles, failure_rate
from everhart.restore import make_denoiser
from everhart.simulate import Microscope
from everhart.studies.wafer import TEST_SCENES, wafer_microscope

SHAPE = (1024, 1536)
DOSES = (0.25, 0.5, 1.0, 4.0)
METHODS = ("raw", "median", "nlm", "sem-general")


def at_dose(dose: float) -> Microscope:
    """Return the study's microscope with another dose."""
    microscope = wafer_microscope()
    assert microscope.dose is not None
    return replace(microscope, dose=replace(microscope.dose, arrivals_per_px=dose))


def rates(seeds: int) -> list[str]:
    """Measure the failure rate, and false detections an image."""
    lines = [
        "| scene | dose, e/px at white | " + " | ".join(METHODS) + " |",
        "| --- | --- |" + " --- |" * len(METHODS),
    ]
    denoisers = {name: make_denoiser(name) for name in METHODS if name != "raw"}
    for name, kind in TEST_SCENES.items():
        for dose in DOSES:
            missed = dict.fromkeys(METHODS, 0)
            false = dict.fromkeys(METHODS, 0)
            total = 0
            for seed in range(seeds):
                rng = np.random.default_rng([seed, int(100 * dose)])
                scene = eh.simulate("nand", shape=SHAPE, rng=rng, kind=kind)  # type: ignore[operator]
                truth = scene.truth.tables["holes"]
                total += len(truth)
                image = at_dose(dose).expose(scene, rng, 1).pixels
                for method in METHODS:
                    seen = image if method == "raw" else denoisers[method](image)
                    rate = failure_rate(circles(seen), truth)
                    missed[method] += rate.undetected
                    false[method] += rate.false_detections
            cells = [f"{100 * missed[m] / total:.1f} % + {false[m] / seeds:.1f}" for m in METHODS]
            lines.append(f"| {name} | {dose:g} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


def accuracy(seeds: int) -> list[str]:
    """Measure centre and radius on scenes without noise, and time the full size."""
    lines = [
        "| 3072 x 2048, 108 holes | found + false | centre, rms px | radius, mean error px | "
        "spread px | CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what in ("scene", "one frame, dose 4"):
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            scene = eh.simulate("nand", rng=rng)  # type: ignore[operator]
            truth = scene.truth.tables["holes"]
            image = scene.image if what == "scene" else at_dose(4.0).expose(scene, rng, 1).pixels
            start = time.process_time()
            found = circles(image)
            seconds = time.process_time() - start
            rate = failure_rate(found, truth)
            a, b = rate.pairs.T
            dy, dx = (found[n].to_numpy()[a] - truth[n].to_numpy()[b] for n in ("y_px", "x_px"))
            dr = found.radius_px.to_numpy()[a] - truth.diameter_px.to_numpy()[b] / 2
            rows.append(
                [
                    len(a),
                    rate.false_detections,
                    float(np.sqrt(np.mean(dy**2 + dx**2))),
                    float(dr.mean()),
                    float(dr.std()),
                    seconds,
                ]
            )
        m = np.mean(rows, axis=0)
        lines.append(
            f"| {what} | {m[0]:.1f} + {m[1]:.1f} | {m[2]:.3f} | {m[3]:+.3f} | {m[4]:.3f} | "
            f"{m[5]:.2f} |"
        )
    return lines


def limits(seeds: int) -> list[str]:
    """Measure where it ends: small holes in raw noise, flat noise, and the edge's definition."""
    lines = ["| holes, px | scene | dose 1 | dose 4 | dose 16 |", "| --- | --- | --- | --- | --- |"]
    for shape in ((256, 384), (512, 768)):
        for name, kind in TEST_SCENES.items():
            cells, size = [], 0.0
            for dose in (1.0, 4.0, 16.0):
                missed = false = total = 0
                for seed in range(seeds):
                    rng = np.random.default_rng([seed, int(dose)])
                    scene = eh.simulate("nand", shape=shape, rng=rng, kind=kind)  # type: ignore[operator]
                    truth = scene.truth.tables["holes"]
                    size = float(truth.diameter_px.mean())
                    rate = failure_rate(circles(at_dose(dose).expose(scene, rng, 1)), truth)
                    missed += rate.undetected
                    false += rate.false_detections
                    total += len(truth)
                cells.append(f"{100 * missed / total:.1f} % + {false / seeds:.1f}")
            lines.append(f"| {size:.0f} | {name} | " + " | ".join(cells) + " |")
    found = np.zeros(5, int)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        noise = np.clip(np.rint(rng.normal(128, 30, (512, 768))), 0, 255).astype(np.uint8)
        smooth = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (2, 4)]
        images = [noise, cv2.medianBlur(noise, 3), *smooth, cv2.fastNlMeansDenoising(noise, h=30)]
        found += [len(circles(image)) for image in images]
    lines += [
        "",
        f"circles in 12 images of flat noise (raw, median, Gaussian 2 and 4, nlm): {found}",
    ]
    for shape in ((1024, 1536), (2048, 3072)):
        for kind in ("normal", {"oval": 0.5, "dented": 0.5}):
            rng = np.random.default_rng(1)
            scene = eh.simulate("nand", shape=shape, rng=rng, kind=kind)  # type: ignore[operator]
            truth = scene.truth.tables["holes"]
            for blur in (0, 2):
                image = cv2.GaussianBlur(scene.image, (0, 0), blur) if blur else scene.image
                words = []
                for edge in ("profile", "steepest"):
                    seen = circles(image, edge=edge)  # type: ignore[arg-type]
                    a, b = failure_rate(seen, truth).pairs.T
                    error = seen.radius_px.to_numpy()[a] - truth.diameter_px.to_numpy()[b] / 2
                    far = [seen[n].to_numpy()[a] - truth[n].to_numpy()[b] for n in ("y_px", "x_px")]
                    worst = float(np.hypot(*far).max())
                    words.append(f"{edge} {error.mean():+.2f} px, worst centre {worst:.2f} px")
                lines.append(f"{shape}, {kind}, blur {blur}: radius by {'; '.join(words)}")
    return lines


def hough() -> str:
    """Time scikit-image's circular Hough transform over 26 radii around the true one."""
    from skimage.feature import canny
    from skimage.transform import hough_circle, hough_circle_peaks

    rng = np.random.default_rng(0)
    scene = eh.simulate("nand", rng=rng)  # type: ignore[operator]
    image = at_dose(4.0).expose(scene, rng, 1).pixels
    start = time.process_time()
    edges = canny(image.astype(np.float32), sigma=4)
    radii = np.arange(70, 96)
    space = hough_circle(edges, radii)
    _, x, y, r = hough_circle_peaks(
        space, radii, min_xdistance=100, min_ydistance=100, total_num_peaks=108
    )
    seconds = time.process_time() - start
    rate = failure_rate(np.stack([y, x, r], axis=1), scene.truth.tables["holes"])
    return (
        "scikit-image `canny` + `hough_circle` (26 radii given, 108 peaks asked for): "
        f"{seconds:.1f} CPU s, {rate.undetected} missed, {rate.false_detections} false"
    )


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--hough", action="store_true")
    parser.add_argument("--limits", action="store_true", help="only where it ends")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.limits:
        print("\n".join(limits(arguments.seeds)))
        return
    lines = [
        f"{date.today()}, {platform.machine()}, one core, seeds 0 to {arguments.seeds - 1}",
        "",
    ]
    lines += [*accuracy(arguments.seeds), ""]
    if arguments.hough:
        lines += [hough(), ""]
    print("\n".join(lines), flush=True)
    lines += rates(arguments.seeds)
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
