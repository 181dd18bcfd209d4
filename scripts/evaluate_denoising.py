"""Measure the denoisers; writes the tables that end docs/results/denoising.md.

    EVERHART_DATA=path python scripts/evaluate_denoising.py -o tables.md \
        [--rows rows.csv] [--model NAME=FILE ...] [--part real pairs simulated]

Three parts: the real `line*` pairs (registered by a shift, borders cut), real clean images that
the shipped model was not trained on, and simulated scenes of seeds that it was not trained on,
the last two with noise of three doses. The data range is that of 8 bits. The classical methods,
which take 20 CPU-minutes, 5 of them for `bm3d`, are read from the rows of an earlier run where
there are any: add a method, and only its column is computed.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity

import everhart as eh
from everhart.align import register_pair
from everhart.metrics import affine_psnr, ms_ssim, psnr, ssim
from everhart.restore import make_denoiser
from everhart.simulate.sampling import apply_taps, sample_noise

CLASSICAL = ("median", "gaussian", "bilateral", "nlm", "tv", "wavelet", "bm3d")

DOSES = {"low": 8.0, "medium": 40.0, "high": 200.0}
"""Arrivals a pixel at white. Noise at mid grey: 35, 16 and 7 % of the grey range."""
TAPS = (0.584, 0.343, 0.061, 0.013)
HELD_OUT = (
    "litho_test1",
    "litho_test_analysis_raw_half_lines",
    "nasa_EBC1_032919_6_100cyc0007",
    "nasa_inst_Slice1Top_4608_0_5120_512",
    "rebco_fei16",
    "sem2surface_Indent_20230912_7kV_spot4.5_FOV100um_multiBSE_A_05",
)
Image = np.ndarray
Methods = dict[str, Callable[[Image], Image]]


def line_pairs(data: Path) -> Iterator[tuple[str, str, Image, Image]]:
    """Yield the 30 real test pairs, 8 bit."""
    for file in sorted((data / "sem-pairs").glob("line*_noisy.png")):
        clean = eh.read(file.with_name(file.name.replace("noisy", "clean")))
        noisy, moved, _ = register_pair(eh.read(file), clean, model="shift")
        yield "line pairs", file.stem, noisy.astype(np.uint8), moved


def expose(clean: Image, dose: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """Expose a scene of 0 to 1: 8-bit image, black at 20, white at 200, and its expectation."""
    signal = 20 + 180 * clean
    noisy = sample_noise(signal, rng, gain=90 / dose, taps=TAPS, readout_sigma=2.0)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), apply_taps(signal, TAPS)


def held_out(data: Path) -> Iterator[tuple[str, str, Image, Image]]:
    """Yield crops of real clean images under simulated noise of three doses.

    The images are binned, up to 4 x 4, as far as 256 pixels remain: what noise and JPEG grain they
    have would else count as truth, and be the largest part of the error (25 dB for litho).
    """
    for number, stem in enumerate(HELD_OUT):
        (file,) = (data / "sem-clean").glob(stem + ".*")
        pixels = np.asarray(eh.read(file).field_of_view, np.float32)
        size = min(4, min(pixels.shape) // 256)
        rows, columns = (n // size for n in pixels.shape)
        blocks = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size)
        pixels = blocks.mean((1, 3))
        top, left = (max(0, (n - 448) // 2) for n in pixels.shape)
        crop = pixels[top : top + 448, left : left + 448]
        low, high = np.percentile(crop, (0.1, 99.9))
        clean = np.clip((crop - low) / (high - low), 0, 1)
        for dose in DOSES:
            noisy, expected = expose(clean, DOSES[dose], np.random.default_rng([5, number]))
            yield f"{stem.split('_')[0]} {number} ({dose} dose)", stem, noisy, expected


def simulated(_: Path) -> Iterator[tuple[str, str, Image, Image]]:
    """Yield the four scenes, of seeds never trained on, three doses."""
    for scene in ("nand", "lines", "particles", "stack"):
        for seed in (101, 102):
            clean = eh.simulate(scene, shape=(448, 448), seed=seed).image  # type: ignore[operator]
            for dose in DOSES:
                noisy, expected = expose(clean, DOSES[dose], np.random.default_rng(seed))
                yield f"{scene} ({dose} dose)", f"{scene}{seed}", noisy, expected


def scores(restored: Image, truth: Image) -> dict[str, float]:
    """Compute metrics with the data range 255."""
    out = restored.astype(np.float64)
    return {
        "PSNR": psnr(out, truth, data_range=255),
        "affine PSNR": affine_psnr(out, truth, data_range=255),
        "SSIM 7x7": structural_similarity(out, truth.astype(np.float64), data_range=255),
        "SSIM": ssim(out, truth, data_range=255),
        "MS-SSIM": ms_ssim(out, truth, data_range=255),
    }


def evaluate(
    images: Iterator[tuple[str, str, Image, Image]], methods: Methods, rows: Path | None
) -> pd.DataFrame:
    """Run every method on every image; classical ones only where `rows` does not have them."""
    known = pd.read_csv(rows) if rows is not None and rows.is_file() else pd.DataFrame()
    old = {(r["cell"], r["image"], r["method"]): r for r in known.to_dict("records")}
    table = []
    for cell, name, noisy, truth in images:
        for method, run in methods.items():
            key = (cell, name, method)
            if method in ("noisy", *CLASSICAL) and key in old:
                table.append(old[key])
                continue
            start = time.process_time()
            restored = run(noisy)
            cpu = time.process_time() - start
            row = {"cell": cell, "image": name, "method": method, "CPU s": cpu}
            table.append(row | scores(restored, truth))
            old[key] = table[-1]
        print(cell, name, flush=True)
        if rows is not None:
            pd.DataFrame(list(old.values())).to_csv(rows, index=False)
    return pd.DataFrame(table)


def by_method(table: pd.DataFrame) -> pd.DataFrame:
    """Average over images, one row a method."""
    means = table.drop(columns=["cell", "image"]).groupby("method", sort=False).mean()
    return means.round({c: 2 if "PSNR" in c or c == "CPU s" else 3 for c in means.columns})


def by_cell(table: pd.DataFrame, learned: str) -> pd.DataFrame:
    """Tabulate the PSNR of every cell, the best classical method and the gain over it."""
    cells = table.pivot_table(index="cell", columns="method", values="PSNR", sort=False)
    best = cells[list(CLASSICAL)].max(axis=1)
    cells = cells[["noisy", *CLASSICAL, learned]]
    cells["gain over the best classical"] = cells[learned] - best
    return cells.round(2)


def markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown."""
    header = [table.index.name or "", *map(str, table.columns)]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for index, row in table.iterrows():
        lines.append("| " + " | ".join([str(index), *(f"{v:g}" for v in row)]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the call and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--rows", type=Path, metavar="FILE.csv")
    parser.add_argument("--part", nargs="+", default=["pairs", "real", "simulated"])
    parser.add_argument("--learned-only", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ["EVERHART_DATA"])
    methods: Methods = {"noisy": lambda image: image}
    if not arguments.learned_only:
        methods |= {name: make_denoiser(name) for name in CLASSICAL}
    methods["sem-general"] = make_denoiser()
    extra: Methods = {}
    for text in arguments.model:
        name, _, file = text.partition("=")
        extra[name] = make_denoiser(model=file)
    processor = platform.processor() or platform.machine()
    text = f"Measured on {date.today()}, {os.cpu_count()} cores ({processor}), "
    text += f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}.\n"
    if "pairs" in arguments.part:
        table = evaluate(line_pairs(data), methods | extra, arguments.rows)
        text += "\n## The 30 `line*` pairs\n\n" + markdown(by_method(table))
    for part, images, title in (
        ("real", held_out, "Held-out clean real images, simulated noise"),
        ("simulated", simulated, "Simulated scenes, seeds not trained on"),
    ):
        if part in arguments.part:
            table = evaluate(images(data), methods, arguments.rows)
            text += f"\n## {title}\n\n{markdown(by_method(table))}"
            if not arguments.learned_only:
                cells = by_cell(table, "sem-general")
                gain = cells["gain over the best classical"]
                text += f"\nPSNR in dB of every cell (mean gain {gain.mean():.2f} dB, "
                text += f"least {gain.min():.2f} dB):\n\n{markdown(cells)}"
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
