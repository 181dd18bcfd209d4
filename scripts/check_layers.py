"""Layers against truth: thickness, its scatter and roughness over simulated cross-sections.

    OMP_NUM_THREADS=1 python scripts/check_layers.py [-n 100] [--seed 0]

Planar gate stacks whose thicknesses, roughness, tilt and dose are drawn at random, seen by a
scanning detector or by a camera, measured by `everhart.measure.layers` with nothing set by hand.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.measure.layers import layers
from everhart.micrograph import Micrograph
from everhart.simulate import Camera, Converter, Detector, Dose, Microscope, Scene, stack

Float = NDArray[np.float64]
DOSES = (5.0, 10.0, 30.0, 100.0, 1000.0)


@dataclass
class Tally:
    """What was measured and what is true, in nm."""

    thickness: list[tuple[float, float, float, float]] = field(default_factory=list)
    scatter: list[tuple[float, float, float]] = field(default_factory=list)
    roughness: list[tuple[float, float, float]] = field(default_factory=list)
    tilt: list[tuple[float, float]] = field(default_factory=list)
    sections: int = 0
    failed: int = 0


def turned(scene: Scene, tilt_deg: float) -> NDArray[np.float32]:
    """Return the scene turned about its centre, its borders continued."""
    height, width = scene.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -tilt_deg, 1.0)
    seen = cv2.warpAffine(
        scene.image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(seen, 0, 1).astype(np.float32)


def section(seed: list[int], dose: float, tally: Tally) -> None:
    """Measure one random cross-section."""
    rng = np.random.default_rng(seed)
    scene = stack(
        rng,
        fins=0,
        oxide_nm=rng.uniform(1.0, 3.0),
        high_k_nm=rng.uniform(1.5, 4.0),
        metal_nm=rng.uniform(3.0, 9.0),
        roughness_nm=rng.uniform(0.05, 0.4),
        correlation_length_nm=rng.uniform(2.0, 6.0),
    )
    tilt = float(rng.uniform(-8, 8))
    image = turned(scene, tilt)
    # White far below full scale, so that noise is not clipped.
    converter = Converter(bits=16, black=500, white=5000)
    if rng.random() < 0.5:
        taken = Camera(dose_e_per_px=dose, converter=converter).expose(image, rng)
    else:
        scan = Microscope(dose=Dose(dose), detector=Detector(taps=(0.6, 0.4)), converter=converter)
        taken = scan.expose(image, rng)
    assert isinstance(taken, Micrograph)
    tally.sections += 1
    try:
        found = layers(Micrograph(taken.pixels, scene.pixel_size_nm))
    except EverhartError:
        tally.failed += 1
        return
    if len(found.table) != 3:
        tally.failed += 1
        return
    nm = scene.pixel_size_nm[0]
    truth = scene.truth.tables["layers"][::-1]
    table = found.table
    tally.thickness += zip(
        table["thickness_nm"], truth["mean_thickness_nm"], truth["thickness_nm"],
        table["thickness_sd_nm"], strict=True,
    )  # fmt: skip
    tally.scatter += zip(
        table["thickness_3sigma_nm"] / 3, truth["sigma_thickness_nm"],
        table["thickness_3sigma_sd_nm"] / 3, strict=True,
    )  # fmt: skip
    edges = scene.truth.edges_px
    assert edges is not None
    x = np.arange(edges.shape[1])
    true = [float((e - np.polyval(np.polyfit(x, e, 1), x)).std()) * nm for e in edges]
    lines = found.tables["interfaces"]
    tally.roughness += zip(lines["roughness_nm"], true, lines["roughness_sd_nm"], strict=True)
    tally.tilt.append((found.summary["tilt_deg"], tilt))


def determination(measured: Float, true: Float) -> float:
    """Return 1 less the squared errors over the variance of the truth: no fit in between."""
    return float(1 - np.sum((measured - true) ** 2) / np.sum((true - true.mean()) ** 2))


def row(name: str, tally: Tally) -> str:
    """Return one line of the table."""
    if not tally.thickness:
        return f"| {name} | {tally.sections} | {tally.failed} |" + " - |" * 8
    thickness, scatter = np.array(tally.thickness), np.array(tally.scatter)
    rough, tilt = np.array(tally.roughness), np.array(tally.tilt)
    error = thickness[:, 0] - thickness[:, 1]
    covered = np.mean(np.abs(thickness[:, 0] - thickness[:, 2]) < thickness[:, 3])
    rough_covered = np.mean(np.abs(rough[:, 0] - rough[:, 1]) < rough[:, 2])
    return (
        f"| {name} | {tally.sections} | {tally.failed} "
        f"| {determination(thickness[:, 0], thickness[:, 1]):.4f} "
        f"| {error.mean():+.3f} ± {error.std():.3f} | {100 * covered:.0f} % "
        f"| {determination(scatter[:, 0], scatter[:, 1]):.3f} "
        f"| {determination(rough[:, 0], rough[:, 1]):.3f} "
        f"| {(rough[:, 0] - rough[:, 1]).mean():+.3f} ± {(rough[:, 0] - rough[:, 1]).std():.3f} "
        f"| {100 * rough_covered:.0f} % "
        f"| {np.sqrt(np.mean((tilt[:, 0] - tilt[:, 1]) ** 2)):.3f} |"
    )


def wrong_inputs(seed: int) -> list[str]:
    """Return what is answered to images that have no layers."""
    rng = np.random.default_rng(seed)
    white = rng.normal(100, 20, (20, 384, 512))
    scan = Microscope(dose=Dose(10.0), detector=Detector(taps=(0.6, 0.4)))
    flat = np.full((384, 512), 0.5, np.float32)
    counts = {"white noise": 0, "correlated shot noise": 0, "one step": 0}
    step = np.where(np.arange(384)[:, None] < 200, 80.0, 120.0)
    for image in white:
        counts["white noise"] += _refused(image)
        shot = scan.expose(flat, rng)
        assert isinstance(shot, Micrograph)
        counts["correlated shot noise"] += _refused(shot.pixels)
        counts["one step"] += _refused(image + step)
    return [f"| {name} | {count} of {len(white)} |" for name, count in counts.items()]


def _refused(image: NDArray[np.generic]) -> bool:
    try:
        layers(image, unit="px")
    except EverhartError:
        return True
    return False


def speed(seed: int) -> str:
    """Return the time that a large image takes."""
    rng = np.random.default_rng(seed)
    scene = stack(rng, fins=0, shape=(2048, 3072))
    taken = Microscope(dose=Dose(10.0)).expose(scene, rng)
    start = time.process_time()
    found = layers(taken)
    return f"{time.process_time() - start:.2f} CPU s, {len(found.table)} layers"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="cross-sections")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    total = Tally()
    print(
        "| dose, e/px | sections | not measured | R2 thickness | thickness error, nm "
        "| thickness_sd covers | R2 sigma of thickness | R2 roughness | roughness error, nm "
        "| roughness_sd covers | tilt rms, deg |\n" + "| --- " * 11 + "|"
    )
    for k, dose in enumerate(DOSES):
        tally = Tally()
        for i in range(k, arguments.n, len(DOSES)):
            section([arguments.seed, i], dose, tally)
        print(row(f"{dose:g}", tally), flush=True)
        for name in ("thickness", "scatter", "roughness", "tilt"):
            getattr(total, name).extend(getattr(tally, name))
        total.sections += tally.sections
        total.failed += tally.failed
    print(row("all", total))
    print("\n| no layers in it | refused |\n| --- | --- |")
    print("\n".join(wrong_inputs(arguments.seed)))
    print(f"\n3072 x 2048 pixels: {speed(arguments.seed)}")


if __name__ == "__main__":
    main()
