"""Particles against truth: counts, diameters and touching ones over seeds, and on real images.

    OMP_NUM_THREADS=1 [EVERHART_DATA=...] python scripts/check_particles.py [--seeds 6] [--real]

Simulated spheres (log-normal sizes, some overlapping) under a scanning microscope, and rods and
pairs of disks that touch, drawn here. `--real`: noisy and clean frames of tin balls (sem-pairs),
and bright-field particles against labels drawn by people (tem-seg).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import everhart as eh
from everhart.errors import EverhartError
from everhart.measure.particles import particles
from everhart.micrograph import Micrograph
from everhart.simulate import Converter, Detector, Dose, Microscope
from everhart.simulate import particles as sphere_scene

Float = NDArray[np.float64]
DOSES = (5.0, 10.0, 30.0, 100.0, 1000.0)
SCENES = {
    "apart": {"median_diameter_nm": 120, "sigma_log": 0.3, "coverage": 0.3, "overlap": 0.0},
    "crowded": {"median_diameter_nm": 120, "sigma_log": 0.3, "coverage": 0.45, "overlap": 0.1},
    "tin balls": {},
}


def microscope(dose: float) -> Microscope:
    """Return a microscope whose noise is not clipped."""
    return Microscope(
        dose=Dose(dose),
        detector=Detector(taps=(0.6, 0.4)),
        converter=Converter(bits=16, black=1000, white=9000),
    )


def matched(y: Float, x: Float, size: Float, true: Float) -> tuple[NDArray[np.intp], Float]:
    """Return the true particle of each found one (or -1), one to one, and their distance."""
    owner = np.full(y.size, -1)
    away = np.hypot(y[:, None] - true[:, 0], x[:, None] - true[:, 1])
    cost = np.where(away < 0.25 * true[:, 2], away / true[:, 2], np.inf)
    cost[np.abs(size[:, None] / true[:, 2] - 1) > 0.25] = np.inf
    taken: set[int] = set()
    for flat in np.argsort(cost, axis=None):
        i, j = (int(v) for v in np.unravel_index(flat, cost.shape))
        if not np.isfinite(cost[i, j]):
            break
        if owner[i] < 0 and j not in taken:
            owner[i] = j
            taken.add(j)
    return owner, away


def spheres(seeds: int) -> None:
    """Print how spheres are found and measured at several doses."""
    print(
        "| scene | dose, e/px | complete, 10 px and more | found | false | diameter error, px "
        "| of single ones | diameter_sd covers |\n" + "| --- " * 8 + "|"
    )
    for name, settings in SCENES.items():
        for dose in DOSES:
            total = found = false = 0
            errors, covered, single = [], [], []
            for seed in range(seeds):
                rng = np.random.default_rng([seed, int(dose)])
                scene = sphere_scene(rng, **settings)  # type: ignore[arg-type]
                taken = microscope(dose).expose(scene, rng)
                assert isinstance(taken, Micrograph)
                truth = scene.truth.tables["particles"]
                seen = truth[truth["visible"] > 0.9]
                table = particles(taken.pixels, unit="px", polarity="bright").table
                table = table[~table["border"]]
                places = seen[["y_px", "x_px", "diameter_px"]].to_numpy()
                size = table["diameter_px"].to_numpy()
                owner, _ = matched(table["y_px"].to_numpy(), table["x_px"].to_numpy(), size, places)
                counted = (seen["complete"] & (seen["diameter_px"] >= 10)).to_numpy()
                total += int(counted.sum())
                found += int(counted[owner[owner >= 0]].sum())
                false += int(((owner < 0) & (size >= 10)).sum())
                good = (owner >= 0) & counted[owner]
                error = size[good] - places[owner[good], 2]
                errors.append(error)
                covered.append(np.abs(error) < table["diameter_sd_px"].to_numpy()[good])
                single.append(error[~table["touching"].to_numpy()[good]])
            error, alone = np.concatenate(errors), np.concatenate(single)
            print(
                f"| {name} | {dose:g} | {total} | {100 * found / total:.1f} % | {false} "
                f"| {error.mean():+.2f} ± {error.std():.2f} | {alone.mean():+.2f} ± "
                f"{alone.std():.2f} | {100 * np.concatenate(covered).mean():.0f} % |",
                flush=True,
            )


def drawn(kind: str, rng: np.random.Generator, size: int = 160) -> tuple[NDArray[np.float32], int]:
    """Return an image of two touching disks or of one rod, and the number of particles."""
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-2, 2)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "rod":
        width = rng.uniform(7, 15)
        distance = np.hypot(np.maximum(np.abs(u) - rng.uniform(1, 4) * width, 0), v) - width
    else:
        one = rng.uniform(10, 24)
        two = one * rng.uniform(0.5, 1.0)
        apart = (one + two) * {"touching": 1.0, "overlapping by 15 %": 0.85}[kind]
        distance = np.minimum(np.hypot(u + apart / 2, v) - one, np.hypot(u - apart / 2, v) - two)
    inside = np.clip(0.5 - distance, 0, 1)
    return (0.15 + 0.5 * inside).astype(np.float32), 1 if kind == "rod" else 2


def splitting(count: int) -> None:
    """Print how many pairs are cut, and how many rods are not."""
    doses = (10.0, 100.0)
    print("\n| drawn | " + " | ".join(f"right at {d:g} e/px" for d in doses) + " |")
    print("| --- " * (1 + len(doses)) + "|")
    for kind in ("touching", "overlapping by 15 %", "rod"):
        cells = []
        for dose in doses:
            right = 0
            for seed in range(count):
                rng = np.random.default_rng([seed, int(dose)])
                image, number = drawn(kind, rng)
                taken = microscope(dose).expose(image, rng)
                assert isinstance(taken, Micrograph)
                table = particles(taken.pixels, unit="px", polarity="bright").table
                right += int(len(table) == number)
            cells.append(f"{right} of {count}")
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def real(folder: Path) -> None:
    """Print what is found on real images."""
    print("\n| tin balls, noisy / clean | particles | d50, nm | d90, nm |\n" + "| --- " * 4 + "|")
    for name in ("time005", "time014", "time048", "line006", "line022", "line048"):
        cells = []
        for kind in ("noisy", "clean"):
            pixels = np.asarray(eh.read(folder / "sem-pairs" / f"{name}_{kind}.png").pixels)
            image = Micrograph(pixels, pixel_size_nm=5.828)
            cells.append(particles(image, polarity="bright", min_diameter_px=10).summary)
        print(
            f"| {name} | "
            + " | ".join(
                f"{cells[0][key]:.0f} / {cells[1][key]:.0f}"
                for key in ("particles", "d50_nm", "d90_nm")
            )
            + " |",
            flush=True,
        )
    labelled = found = refused = 0
    ratios: list[float] = []
    files = sorted((folder / "tem-seg" / "emps-instances").glob("*.png"))
    for file in files:
        labels = np.asarray(eh.read(file).pixels)
        pixels = np.asarray(eh.read(folder / "tem-seg" / "emps-images" / file.name).pixels)
        try:
            true = particles(labels, labels=True, unit="px").table
            true = true[~true["border"] & (true["diameter_px"] >= 10)]
        except EverhartError:
            continue
        labelled += len(true)
        try:
            table = particles(pixels, unit="px", polarity="dark").table
        except EverhartError:
            refused += 1
            continue
        size = table["diameter_px"].to_numpy()
        places = true[["y_px", "x_px", "diameter_px"]].to_numpy()
        owner, _ = matched(table["y_px"].to_numpy(), table["x_px"].to_numpy(), size, places)
        found += int((owner >= 0).sum())
        ratios += (size[owner >= 0] / places[owner[owner >= 0], 2]).tolist()
    print(
        f"\nBright-field particles of {len(files)} published figures: {found} of {labelled} "
        f"labelled ones found (centre and diameter to 25 %), median diameter over the label's "
        f"{np.median(ratios):.3f}, {refused} images refused"
    )


def speed() -> None:
    """Print the time that a large image takes."""
    rng = np.random.default_rng(0)
    scene = sphere_scene(rng, shape=(2048, 3072), median_diameter_nm=200, sigma_log=0.5)
    taken = microscope(20.0).expose(scene, rng)
    start = time.process_time()
    found = particles(taken)
    print(f"\n3072 x 2048: {time.process_time() - start:.2f} CPU s, {len(found.table)} particles")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--real", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    spheres(arguments.seeds)
    splitting(10 * arguments.seeds)
    speed()
    if arguments.real:
        data = os.environ.get("EVERHART_DATA")
        real(Path(data) if data else Path(__file__).parents[2] / "shared" / "data")


if __name__ == "__main__":
    main()
