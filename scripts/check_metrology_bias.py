"""What denoising does to measured sizes, over dose: holes and lines with simulated truth.

    OMP_NUM_THREADS=1 python scripts/check_metrology_bias.py RUN_FOLDER [--seeds 5] [--only holes]
        [--doses 5,10,25,100] [--methods median,nlm,bm3d,sem-general] [--table]

A cell is one kind, dose, seed and picture; each is written to RUN_FOLDER as soon as it is known,
and a run that was stopped goes on. `--table` prints the tables of what is there.

Holes: the simulator's wafer, 512 x 768 pixels, 108 holes of 20 px radius. Lines: 20 of 32 nm over
2 um, pixels of 2 nm. Both under a beam of 0.8 px, Poisson noise and pulse heights, and a detector
filter along the scan; 16 bits, in which nothing is clipped. Frames do not drift. F04 is the
mean of 4 frames, and so on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import everhart as eh
from everhart.errors import EverhartError
from everhart.io.atomic import write_text
from everhart.report.metrology import MeasuredKind, Metrology
from everhart.simulate import Beam, Converter, Detector, Dose, Microscope
from everhart.simulate.lines import lines as draw_lines

KINDS: tuple[MeasuredKind, ...] = ("holes", "lines")
DOSES = (5, 10, 25, 100)  # electrons a pixel at white
METHODS = ("median", "nlm", "bm3d", "sem-general")
FRAMES = (1, 2, 4, 8, 16, 32)
HIGHEST_DOSE = 1600  # of a mean of frames: above, means tell nothing new
TAPS = (0.6, 0.3, 0.1)


def scene_of(kind: MeasuredKind, rng: np.random.Generator) -> Any:
    """Draw what is measured."""
    if kind == "holes":
        return eh.simulate("nand", shape=(512, 768), rng=rng)  # type: ignore[operator]
    return draw_lines(
        rng, shape=(1000, 672), pixel_size_nm=2.0, cd_nm=32, pitch_nm=64, offset_px=32,
        sigma_nm=1.0, correlation_length_nm=20.0, hurst=0.75, pair_correlation=0.0,
    )  # fmt: skip


def run(kind: MeasuredKind, dose: int, seed: int, methods: Sequence[str], folder: Path) -> None:
    """Measure all pictures of one scene at one dose that are not known yet."""
    counts = [n for n in FRAMES if n * dose <= HIGHEST_DOSE]
    names = [*(f"F{n:02d}" for n in counts), *methods]
    cells = {name: folder / f"{kind}-{dose:03d}-{seed}-{name}.json" for name in names}
    if all(path.is_file() for path in cells.values()):
        return
    scene = scene_of(kind, np.random.default_rng([seed, KINDS.index(kind)]))
    rng = np.random.default_rng([seed, KINDS.index(kind), dose])
    microscope = Microscope(
        beam=Beam(0.8),
        dose=Dose(dose),
        detector=Detector(taps=TAPS),
        converter=Converter(bits=16, black=2000, white=20000),
    )
    frames = microscope.expose_frames(scene, rng, max(counts))
    _, clean = microscope.expose(scene, rng, 1, return_clean=True)
    truth = Metrology.of_reference(kind, np.asarray(clean.pixels, np.float32), scene.pixel_size_nm)
    noisy = eh.Micrograph(frames.pixels[0], scene.pixel_size_nm)
    for name, path in cells.items():
        if path.is_file():
            continue
        start = time.process_time()
        if name in methods:
            picture = eh.denoise(noisy, method=name).pixels
        else:
            picture = frames.pixels[: int(name[1:])].mean(axis=0, dtype=np.float64)
        made = time.process_time()
        image = eh.Micrograph(np.asarray(picture, np.float32), scene.pixel_size_nm)
        record: dict[str, Any] = {
            "kind": kind, "dose_e_per_px": dose, "seed": seed, "picture": name,
            "features": len(truth.truth.cd), "true_cd_nm": float(truth.truth.cd.mean()),
            "true_roughness_nm": float(truth.truth.roughness.mean()),
        }  # fmt: skip
        try:
            found = getattr(eh.measure, kind)(image)
        except EverhartError as error:
            record |= truth.figures(np.asarray(picture, np.float32))
            record["refused"] = str(error)
        else:
            record |= truth.of_measurement(found)
            record["summary"] = {
                key: value for key, value in found.summary.items() if not isinstance(value, str)
            }
            # Holes give a roughness each, without a mean of them in the summary.
            quoted = found.table[f"cd_sd_{truth.unit}"]
            record["quoted_cd_sd_nm"] = float(quoted.mean())
        record["denoise_cpu_s"] = made - start if name in methods else 0.0
        record["measure_cpu_s"] = time.process_time() - made
        write_text(path, json.dumps(record, indent=1) + "\n", overwrite=True)
        print(path.stem, {k: round(v, 3) for k, v in record.items() if "bias" in k}, flush=True)


def main() -> None:
    """Make what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--doses", default=",".join(map(str, DOSES)))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--table", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    a.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(a.seeds):
        for kind in KINDS:
            if a.only in (None, kind) and not a.table:
                for dose in map(int, a.doses.split(",")):
                    run(kind, dose, seed, a.methods.split(","), a.folder)


if __name__ == "__main__":
    main()
