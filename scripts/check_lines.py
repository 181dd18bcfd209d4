"""Accuracy of line widths and unbiased roughness, and of the errors that are quoted with them.

    OMP_NUM_THREADS=1 python scripts/check_lines.py [--only edges|frames|turned|denoised|speed]
        [--runs 100] [--frames 20] [--seed 0] [-o tables.md]

`edges`: drawn edges with white noise, no image. `frames`: simulated images at several doses.
`turned`: such images with the lines along the scan. `denoised`: those of `frames`, denoised first
and without the history that says so, as nothing would be quoted of them. `speed`: one image of
3072 x 2048 with 48 lines.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import everhart as eh
from everhart.measure.lines import lines
from everhart.measure.roughness import fit_roughness
from everhart.simulate import Beam, Detector, Dose, Microscope
from everhart.simulate.lines import lines as draw_lines
from everhart.simulate.roughness import rough_edges

SIGMA, LENGTH, HURST = 1.0, 20.0, 0.75  # nm, nm
DY, ROWS, LINES = 2.0, 1000, 20  # nm
FINER = 8  # edges are drawn on finer rows, so that the rows alias what is rougher
DOSES = (5, 20, 100)  # electrons a pixel at white


class Found(NamedTuple):
    """One figure of one run: value, its standard deviation, and the truth."""

    value: float
    sd: float
    truth: float


def cell(found: Sequence[Found]) -> list[str]:
    """Return mean, spread, mean quoted deviation, and part of the runs that it covers."""
    value, sd, truth = (np.array(column) for column in zip(*found, strict=True))
    covered = float(np.mean(np.abs(value - truth) <= sd))
    spread = float(np.std(value, ddof=1)) if len(value) > 1 else float("nan")
    return [f"{value.mean():.3f} ± {spread:.3f}", f"{sd.mean():.3f}", f"{100 * covered:.0f} %"]


def table(title: str, names: Sequence[str], rows: Sequence[tuple[str, list[list[Found]]]]) -> str:
    """Make a table with three columns for each name."""
    head = [title]
    for name in names:
        head += [name, "quoted", "covers"]
    text = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for label, figures in rows:
        text.append("| " + " | ".join([label, *(c for f in figures for c in cell(f))]) + " |")
    return "\n".join(text)


def edges(runs: int, seed: int) -> str:
    """Fit drawn edges with noise."""
    names = ("sigma, nm", "correlation length, nm", "Hurst", "noise, nm")
    rows = []
    for noise in (0.0, 0.5, 1.0, 1.5):
        figures: list[list[Found]] = [[] for _ in names]
        biased = []
        for run in range(runs):
            rng = np.random.default_rng([seed, run, int(10 * noise)])
            fine = rough_edges(
                2 * LINES, ROWS * FINER, rng,
                sigma=SIGMA, correlation_length=LENGTH / DY * FINER, hurst=HURST,
            )  # fmt: skip
            drawn = fine[:, ::FINER] + rng.normal(0, noise, (2 * LINES, ROWS))
            fit = fit_roughness(drawn, DY)
            biased.append(fit.biased.value)
            for figure, found, truth in zip(
                figures,
                (fit.sigma, fit.correlation_length, fit.hurst, fit.noise),
                (SIGMA, LENGTH, HURST, noise),
                strict=True,
            ):
                figure.append(Found(found.value, found.sd, truth))
        rows.append((f"{noise} nm (biased sigma {np.mean(biased):.3f})", figures))
    return table("edge noise", names, rows)


RAW, TURNED = "raw", "turned"
NAMES = ("LER 3 sigma, nm", "LWR 3 sigma, nm", "correlation length, nm", "Hurst", "CD - truth, nm")


def frame(
    dose: float, rng: np.random.Generator, *, turned: bool = False
) -> tuple[eh.Micrograph, float]:
    """Return an image of 20 whole lines over 2 um, and the mean CD that was drawn."""
    scene = draw_lines(
        rng, shape=(ROWS, 672), pixel_size_nm=DY, cd_nm=32, pitch_nm=64, offset_px=16 + 16,
        sigma_nm=SIGMA, correlation_length_nm=LENGTH, hurst=HURST, pair_correlation=0.0,
    )  # fmt: skip
    microscope = Microscope(
        beam=Beam(0.8), dose=Dose(dose), detector=Detector(taps=(0.6, 0.3, 0.1))
    )
    drawn = scene.truth.tables["lines"]
    seen = eh.Micrograph(np.ascontiguousarray(scene.image.T), DY) if turned else scene
    return microscope.expose(seen, rng), float(drawn[drawn.complete].cd_nm.mean())


def measured(image: eh.Micrograph, cd_nm: float) -> tuple[list[Found], str]:
    """Measure an image, without a word of what it shows."""
    s = lines(image).summary
    nan = float("nan")
    truths = (3 * SIGMA, 3 * np.sqrt(2) * SIGMA, LENGTH, HURST, 0.0)
    keys = ("ler_3sigma_unbiased", "lwr_3sigma_unbiased", "correlation_length", "", "cd")
    found = []
    for key, truth in zip(keys, truths, strict=True):
        value, sd = (s[f"{key}{sd}_nm"] if key else s[f"hurst{sd}"] for sd in ("", "_sd"))
        value = nan if value is None else value - (cd_nm if key == "cd" else 0)
        found.append(Found(value, nan if sd is None else sd, truth))
    told = f"{s['ler_3sigma_nm']:.2f}, noise {s['edge_noise_nm']:.2f}, misfit {s['misfit']:.2f}"
    return found, told


def frames(runs: int, seed: int, methods: Sequence[str]) -> str:
    """Measure simulated images, as they are and denoised."""
    rows = []
    for dose in DOSES:
        for method in methods:
            figures: list[list[Found]] = [[] for _ in NAMES]
            told = ""
            for run in range(runs):
                rng = np.random.default_rng([seed, run, dose])
                image, cd_nm = frame(dose, rng, turned=method == TURNED)
                if method not in (RAW, TURNED):
                    restored = eh.denoise(image, method=method)
                    image = eh.Micrograph(restored.pixels, restored.pixel_size_nm)
                found, told = measured(image, cd_nm)
                for figure, value in zip(figures, found, strict=True):
                    figure.append(value)
            rows.append((f"{dose} e/px, {method} (biased LER {told})", figures))
            print(table("", NAMES, rows[-1:]).splitlines()[-1], flush=True)
    return table("dose, method", NAMES, rows)


def speed(seed: int) -> str:
    """Time one large image."""
    rng = np.random.default_rng(seed)
    scene = draw_lines(rng, shape=(2048, 3072), pixel_size_nm=1.0, cd_nm=32, pitch_nm=64)
    image = Microscope(beam=Beam(1.0), dose=Dose(20)).expose(scene, rng)
    cpu = []
    for _ in range(3):
        start = time.process_time()
        found = lines(image)
        cpu.append(time.process_time() - start)
    return f"3072 x 2048, {found.summary['count']} whole lines: {min(cpu):.2f} CPU s"


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--methods", default="sem-general,nlm")
    parser.add_argument("--only", choices=("edges", "frames", "turned", "denoised", "speed"))
    a = parser.parse_args()
    parts: dict[str, Callable[[], str]] = {
        "edges": lambda: edges(a.runs, a.seed),
        "frames": lambda: frames(a.frames, a.seed, (RAW,)),
        "turned": lambda: frames(a.frames, a.seed, (TURNED,)),
        "denoised": lambda: frames(max(a.frames // 5, 2), a.seed, a.methods.split(",")),
        "speed": lambda: speed(a.seed),
    }
    text = ""
    for name, part in parts.items():
        if a.only in (None, name):
            text += f"{part()}\n\n"
    print(text)
    if a.output is not None:
        a.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
