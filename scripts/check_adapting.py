"""Measure what adapting the shipped model to a microscope brings, and that it never costs.

For each simulated microscope outside of the range that `sem-general` was trained on: repeated
frames of one field of a scene, `examples/adapt.yaml` on them, and the PSNR against the truth on
other fields, before and after.

    python scripts/check_adapting.py -o runs/adapting [--microscopes few-electrons,...] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from everhart.io import write
from everhart.metrics import psnr
from everhart.restore import make_denoiser
from everhart.restore.train import train
from everhart.simulate import Microscope, simulate
from everhart.simulate.components import Beam, Converter, Detector, Dose, Scan

CONFIG = Path(__file__).parents[1] / "examples" / "adapt.yaml"

# What NoiseRange draws: noise up to 45 % of the grey range, decays up to 1.5 px, a probe of up to
# 1.5 px, row offsets of up to 30 % of the noise. Each of these is outside of it in one way.
MICROSCOPES: dict[str, Callable[[], Microscope]] = {
    "slow-detector": lambda: Microscope(
        beam=Beam(0.8),
        dose=Dose(6.0),
        detector=Detector(tuple(np.exp(-np.arange(12) / 4.0) / np.exp(-np.arange(12) / 4.0).sum())),
        converter=Converter(8, black=30, white=200),
    ),
    "few-electrons": lambda: Microscope(
        beam=Beam(0.8),
        dose=Dose(0.7),
        detector=Detector((1.0,), readout_sigma=2.0),
        converter=Converter(8, black=20, white=120),
    ),
    "restless-rows": lambda: Microscope(
        beam=Beam(2.5),
        dose=Dose(8.0),
        scan=Scan(jitter_px=0.3),
        detector=Detector((0.6, 0.4), readout_sigma=4.0, row_offset_sigma=18.0),
        converter=Converter(8, black=40, white=190),
    ),
}


def expose(folder: Path, microscope: Microscope, scene: str, seed: int, frames: int) -> None:
    """Write the frames of a field."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    field = simulate(scene, shape=(512, 512), seed=seed)
    for number in range(frames):
        image = microscope.expose(field, rng)
        write(image, folder / f"F01_{number:03d}.tif", overwrite=True)


def judge(method: str, microscope: Microscope, scenes: list[str], seed: int) -> dict[str, float]:
    """Return the PSNR against the truth, in dB, on a field of each scene that was not used."""
    denoise, figures = make_denoiser(method), {}
    for number, scene in enumerate(scenes):
        place = 900 + 10 * seed + number
        rng = np.random.default_rng([place, 2])
        field = simulate(scene, shape=(512, 512), seed=place)
        image, clean = microscope.expose(field, rng, return_clean=True)
        restored = np.asarray(denoise(image.pixels.astype(np.float32)), np.float64)
        figures[f"{scene} {number}"] = psnr(restored, clean.pixels, data_range=255)
    return figures


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--microscopes", default=",".join(MICROSCOPES))
    parser.add_argument("--scene", default="nand")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--fields", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=1)
    words = parser.parse_args()
    results: dict[str, Any] = {}
    cases = [(n, s) for s in range(words.seeds) for n in words.microscopes.split(",")]
    for name, seed in cases:
        microscope, folder = MICROSCOPES[name](), words.output / f"{name}-{seed}"
        for field in range(words.fields):
            place = folder / "frames" / f"field_{field}"
            expose(place, microscope, words.scene, 10 * seed + field, words.frames)
        start = time.process_time()
        model = train(
            CONFIG,
            folder / "run",
            [
                f"seed={seed}",
                f"data.0.folder={folder / 'frames'}",
                f"validation.0.folder={folder / 'frames'}",
                f"optimiser.max_cpu_minutes={words.minutes}",
            ],
        )
        minutes = (time.process_time() - start) / 60
        scenes = [words.scene, words.scene, "lines", "particles"]
        before = judge("sem-general", microscope, scenes, seed)
        after = judge(str(model), microscope, scenes, seed)
        gains = {field: round(after[field] - before[field], 2) for field in before}
        key = f"{name}, seed {seed}"
        results[key] = {"cpu_minutes": round(minutes, 2), "before_db": before, "gain_db": gains}
        print(f"{key}: {minutes:.1f} CPU-minutes, gains {gains}", flush=True)
        text = json.dumps(results, indent=2) + "\n"
        (words.output / "results.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
