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
from numpy.typing import NDArray

import everhart as eh
from everhart.errors import EverhartError
from everhart.io.atomic import write_text
from everhart.report.metrology import MeasuredKind, Metrology
from everhart.simulate import Beam, Converter, Detector, Dose, Microscope
from everhart.simulate.lines import lines as draw_lines

KINDS: tuple[MeasuredKind, ...] = ("holes", "lines")
DOSES = (5, 10, 25, 100)  # electrons a pixel at white
METHODS = ("median", "nlm", "bm3d", "sem-general")
FRAMES = (1, 4, 16)
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


_FEWEST = 3  # images from which the error of a roughness is told
Cells = dict[tuple[str, int, str], list[dict[str, Any]]]


def read_cells(folder: Path) -> Cells:
    """Return the records by kind, dose and picture."""
    cells: Cells = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = (record["kind"], record["dose_e_per_px"], record["picture"])
        cells.setdefault(key, []).append(record)
    return cells


def values_of(records: Sequence[dict[str, Any]], key: str) -> NDArray[np.float64]:
    """Return a figure of those records that have it."""
    return np.array([record[key] for record in records if key in record], np.float64)


def told(values: NDArray[np.float64], digits: int = 2) -> str:
    """Return mean and spread over the images."""
    if not values.size:
        return "-"
    spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
    return f"{values.mean():+.{digits}f}{spread}"


def plain(values: NDArray[np.float64]) -> str:
    """Return the mean, without a sign."""
    return f"{values.mean():.2f}" if values.size else "-"


def figures_table(cells: Cells, kind: str) -> str:
    """Return what every picture measures."""
    rough = {"holes": "CER", "lines": "LWR"}[kind]
    # What is quoted for a line is that of an endless line, and no error of this picture.
    quotes = kind == "holes"
    lines = [
        "| dose, e/px | picture | images | CD bias, nm | CD spread, nm "
        f"{'| quoted sd, nm ' * quotes}| {rough} 3 sigma bias, nm | missed + false |",
        "| --- " * (7 + quotes) + "|",
    ]
    for (of, dose, picture), records in sorted(cells.items(), key=_order):
        if of != kind:
            continue
        total = sum(record["features"] for record in records)
        missed, false = (
            sum(record[f"features_{key}"] for record in records) for key in ("missed", "false")
        )
        spread = values_of(records, "cd_spread_nm")
        quoted = values_of(records, "quoted_cd_sd_nm")
        lines.append(
            f"| {dose} | {picture} | {len(records)} | {told(values_of(records, 'cd_bias_nm'))} "
            f"| {plain(spread)} {f'| {plain(quoted)} ' * quotes}"
            f"| {told(values_of(records, 'roughness_bias_nm'))} "
            f"| {missed:.0f} + {false:.0f} of {total} |"
        )
    return "\n".join(lines)


def worth(error: float, errors: Sequence[tuple[int, float]]) -> str:
    """Return the number of averaged frames that have an error, on a line of logarithms."""
    if not np.isfinite(error):
        return "-"
    counts = np.log([count for count, _ in errors])
    falling = np.minimum.accumulate([value for _, value in errors])
    if error > falling[0]:
        return "< 1"
    if error < falling[-1]:
        return f"> {errors[-1][0]}"
    return f"{np.exp(np.interp(-np.log(error), -np.log(falling), counts)):.1f}"


def worth_table(cells: Cells, kind: str, methods: Sequence[str]) -> str:
    """Return how many frames one denoised frame is worth."""

    def root_mean(squares: NDArray[np.float64], least: int = 1) -> float:
        return float(np.sqrt(squares.mean())) if squares.size >= least else float("nan")

    def spread(records: Sequence[dict[str, Any]]) -> float:
        return root_mean(values_of(records, "cd_spread_nm") ** 2)

    def whole(records: Sequence[dict[str, Any]]) -> float:
        spreads, biases = (values_of(records, f"cd_{key}_nm") for key in ("spread", "bias"))
        return root_mean(spreads**2 + biases**2)

    def roughness(records: Sequence[dict[str, Any]]) -> float:
        # A single number an image: the error of one says nothing.
        return root_mean(values_of(records, "roughness_bias_nm") ** 2, least=_FEWEST)

    lines = [
        "| dose, e/px | method | CD, bias taken out | CD, with its bias | roughness |",
        "| --- " * 5 + "|",
    ]
    for dose in sorted({key[1] for key in cells if key[0] == kind}):
        for method in methods:
            records = cells.get((kind, dose, method), [])
            if not records:
                continue
            seeds = {record["seed"] for record in records}
            row = []
            for error in (spread, whole, roughness):
                means = [
                    (count, error([r for r in averages if r["seed"] in seeds]))
                    for count in FRAMES
                    if (averages := cells.get((kind, dose, f"F{count:02d}")))
                ]
                row.append(worth(error(records), means))
            lines.append(f"| {dose} | {method} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _order(item: tuple[tuple[str, int, str], Any]) -> tuple[int, int, str]:
    (_, dose, picture), _ = item
    place = METHODS.index(picture) + 1 if picture in METHODS else 0
    return dose, place, picture


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
    cells = read_cells(a.folder)
    for kind in KINDS:
        print(f"\n## {kind}\n\n{figures_table(cells, kind)}\n")
        print(worth_table(cells, kind, a.methods.split(",")))


if __name__ == "__main__":
    main()
