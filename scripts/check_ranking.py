"""Check that the ranking by repeated frames agrees with the true one.

    OMP_NUM_THREADS=1 python scripts/check_ranking.py [-o tables.md] [--seed 0] [--size 256]

Four scenes, three doses, white and correlated noise, 4 to 8 frames with drift and changing
brightness. Every method restores three of the frames; its error is estimated from the others,
and measured against the noise-free expectation of the same frames, which only a simulation knows.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.metrics import LeftOutError, paired_difference, residual_whiteness
from everhart.metrics._blocks import block_means, standard_error
from everhart.noise import estimate_noise
from everhart.report.comparison import NOISY
from everhart.report.frames import FrameJudge, spread
from everhart.restore import make_denoiser
from everhart.restore.names import CLASSICAL, SHIPPED
from everhart.simulate import Converter, Detector, Dose, Microscope, Scan, simulate
from everhart.studies.wafer import wafer_microscope

SCENES = ("nand", "lines", "particles", "stack")
DOSES = {4.0: 4, 16.0: 6, 64.0: 8}  # electrons a pixel at white: number of frames
TURNS = 3
METHODS = (*CLASSICAL, *SHIPPED)
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One stack: what each method truly does, and what is said of it without the truth."""

    name: str
    noise: str
    true: dict[str, float]
    true_blocks: dict[str, NDArray[np.float64]]
    estimated: dict[str, LeftOutError]
    whiteness: dict[str, float]


def microscope(dose: float, noise: str) -> Microscope:
    """Return the microscope of the ReNIn study with 12 bits, few clipped pixels, more drift."""
    detector = wafer_microscope().detector
    if noise == "white":
        detector = Detector(readout_sigma=24.0)
    else:
        detector = replace(detector, readout_sigma=24.0, row_offset_sigma=8.0)
    return replace(
        wafer_microscope(),
        dose=Dose(dose),
        detector=detector,
        scan=Scan(drift_px=0.7),
        converter=Converter(bits=12, black=800.0, white=2800.0),
    )


def run_cell(scene_name: str, dose: float, noise: str, seed: int, size: int) -> Cell:
    """Take the frames, restore them, and judge what comes out with and without the truth."""
    scene = simulate(scene_name, shape=(size, size), seed=seed)
    device = microscope(dose, noise)
    # The generator behind expose_frames, which keeps the expectation of every frame to itself.
    shots = list(device._shots(scene.image, np.random.default_rng(seed + 1), DOSES[dose]))
    frames = [np.asarray(shot) for shot, _, _ in shots]
    turns = spread(len(frames), TURNS)
    judge = FrameJudge(
        lambda number: frames[number].astype(np.float32), len(frames), turns, register=True
    )
    correlation = np.asarray(estimate_noise(frames[0]).correlation)
    true, true_blocks, estimated, whiteness = {}, {}, {}, {}
    for method in (NOISY, *METHODS):
        inputs = [frames[number] for number in turns]
        if method != NOISY:
            denoiser = make_denoiser(method, device="cpu")
            inputs = [np.asarray(denoiser(frame)) for frame in inputs]
        pictures = [frame.astype(np.float32) for frame in inputs]
        errors = [
            (picture - shots[number][1]).astype(np.float64)[region] ** 2
            for picture, number, region in zip(pictures, turns, judge.regions, strict=True)
        ]
        true[method] = float(np.mean(errors))
        true_blocks[method] = block_means(np.mean(errors, axis=0))
        estimated[method] = judge.error(pictures)
        if method != NOISY:
            whiteness[method] = residual_whiteness(
                pictures[0], frames[0], noise_correlation=correlation
            )
    name = f"{scene_name}, {dose:g} e/px, {len(frames)} frames"
    return Cell(name, noise, true, true_blocks, estimated, whiteness)


def kendall(true: dict[str, float], merit: dict[str, float]) -> tuple[float, int, int]:
    """Return Kendall's tau, pairs in true order, and pairs; `merit` is larger the better."""
    pairs = list(combinations(merit, 2))
    right = sum((true[a] < true[b]) == (merit[a] > merit[b]) for a, b in pairs)
    return 2 * right / len(pairs) - 1, right, len(pairs)


def tables(cells: list[Cell]) -> list[str]:
    """Return the tables in Markdown."""
    lines = [
        "| scene, dose, frames | noise | tau, frames | tau, whiteness | best: true | "
        "best: by frames | dB lost | est. - true PSNR, mean dB | largest pull |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    totals: dict[str, list[int]] = {}
    taus: dict[str, list[float]] = {}
    pulls = []
    for cell in cells:
        by_frames = {method: -error.mse for method, error in cell.estimated.items()}
        methods_only = {m: v for m, v in by_frames.items() if m != NOISY}
        for kind, merit in (
            ("frames", by_frames),
            ("frames, methods only", methods_only),
            ("whiteness", cell.whiteness),
        ):
            tau, right, count = kendall(cell.true, merit)
            taus.setdefault(kind, []).append(tau)
            totals.setdefault(f"{kind}: pairs in true order", []).append(right)
            totals.setdefault(f"{kind}: pairs", []).append(count)
        declared = wrong = reversed_ = 0
        for a, b in combinations(cell.estimated, 2):
            difference, uncertainty = paired_difference(cell.estimated[a], cell.estimated[b])
            if abs(difference) > 2 * uncertainty:
                declared += 1
                apart = cell.true[a] - cell.true[b]
                wrong += apart * difference < 0
                clear = abs(apart) > 2 * standard_error(cell.true_blocks[a] - cell.true_blocks[b])
                reversed_ += apart * difference < 0 and clear
        totals.setdefault("declared", []).append(declared)
        totals.setdefault("declared and wrong", []).append(wrong)
        totals.setdefault("declared, wrong, and truly apart", []).append(reversed_)
        best = min(cell.true, key=lambda m: cell.true[m])
        chosen = max(by_frames, key=lambda m: by_frames[m])
        bias = [
            10 * math.log10(cell.true[m] / e.mse) for m, e in cell.estimated.items() if e.mse > 0
        ]
        pull = [(e.mse - cell.true[m]) / e.standard_error for m, e in cell.estimated.items()]
        pulls += pull
        lost = 10 * math.log10(cell.true[chosen] / cell.true[best])
        lines.append(
            f"| {cell.name} | {cell.noise} | {taus['frames'][-1]:.2f} | {taus['whiteness'][-1]:.2f}"
            f" | {best} | {chosen} | {lost:.2f} | {np.mean(bias):+.2f} | "
            f"{max(pull, key=abs):+.1f} |"
        )
    lines += ["", "| over all stacks | |", "| --- | --- |"]
    for kind, values in taus.items():
        lines.append(f"| Kendall's tau, mean (lowest): {kind} | {np.mean(values):.3f} "
                     f"({min(values):.2f}) |")  # fmt: skip
        correct = sum(totals[f"{kind}: pairs in true order"])
        tried = sum(totals[f"{kind}: pairs"])
        share = correct / tried
        lines.append(f"| pairs in true order: {kind} | {correct} of {tried} ({share:.1%}) |")
    told = sum(totals["declared"])
    pairs = sum(totals["frames: pairs"])
    misled = sum(totals["declared and wrong"])
    clearly = sum(totals["declared, wrong, and truly apart"])
    lines += [
        f"| pairs declared different | {told} of {pairs} ({told / pairs:.1%}) |",
        f"| ... in the wrong order | {misled} ({misled / told:.2%}) |",
        f"| ... and truly apart by two standard errors | {clearly} |",
        f"| (estimate - truth) / standard error: mean, standard deviation | "
        f"{np.mean(pulls):+.2f}, {np.std(pulls):.2f} |",
    ]
    return lines


def main() -> None:
    """Run all cells and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    start = time.process_time()
    cells = []
    for noise in ("white", "correlated"):
        for number, scene in enumerate(SCENES):
            for dose in DOSES:
                seed = 1000 * arguments.seed + 10 * number
                cells.append(run_cell(scene, dose, noise, seed, arguments.size))
                print(f"{noise} {cells[-1].name}", flush=True)
    seconds = time.process_time() - start
    heading = (
        f"{date.today()}, seed {arguments.seed}, {arguments.size} x {arguments.size} px, "
        f"{platform.machine()}, {os.cpu_count()} CPUs, {seconds:.0f} CPU-seconds; "
        f"{', '.join(METHODS)}."
    )
    text = "\n".join([heading, "", *tables(cells), ""])
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
