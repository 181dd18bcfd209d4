"""Quality, time and memory of the denoisers on the same images, as a table and a picture.

    python scripts/bench_methods.py [-o table.md] [--picture pareto.png] [--model NAME=FILE ...] \
        [--repeats 3] [--threads 2] [--results rows.json]

Time and memory are those of a process of its own on one image of 3072x2048 pixels,
`everhart denoise image.tif -o out.tif`, as the operating system reports them. The cost of starting
up is measured on a 64x64 image and taken off for the column "denoising". A learned model is run
twice, in bfloat16 where the processor has it, and in float32. Quality is the PSNR of that
simulated image and, where EVERHART_DATA names the real images, the affine-matched PSNR of some of
the `line*` pairs, which no model has seen. `--results` keeps each row for a run that goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from evaluate_denoising import line_pairs

import everhart as eh
from everhart.metrics import affine_psnr, psnr
from everhart.restore import CLASSICAL, SHIPPED, make_denoiser
from everhart.simulate import Microscope

_SINGLE = """
import sys
import everhart as eh
from everhart.restore import make_denoiser
denoiser = make_denoiser(model=sys.argv[3], precision="fp32")
eh.write(denoiser(eh.read(sys.argv[1])), sys.argv[2], overwrite=True)
"""


@dataclass(frozen=True)
class Contender:
    """A method, or a model and its precision."""

    name: str
    model: str | None = None
    fp32: bool = False

    def command(self, image: Path, out: Path) -> list[str]:
        """Return the command that denoises a file."""
        if self.fp32:
            return ["-c", _SINGLE, str(image), str(out), str(self.model)]
        chosen = ["--method", self.name] if self.model is None else ["--model", self.model]
        call = ["-m", "everhart", "denoise", str(image), "-o", str(out), "--overwrite"]
        return [*call, *chosen]

    def denoise(self, image: np.ndarray) -> np.ndarray:
        """Denoise an array."""
        if self.model is None:
            return np.asarray(make_denoiser(self.name)(image))
        precision = "fp32" if self.fp32 else "auto"
        return np.asarray(make_denoiser(model=self.model, precision=precision)(image))


@dataclass(frozen=True)
class Row:
    """What was found for one contender; quality is NaN where there are no real images."""

    name: str
    denoising_s: float
    cpu_s: float
    wall_s: float
    peak_mb: float
    simulated_db: float
    real_db: float


def run(command: list[str], threads: int) -> tuple[float, float, float]:
    """Run Python and return CPU seconds, wall seconds and peak memory in MB."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *command], environment)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command[-6:])} failed")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def real_quality(denoise: object, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the mean affine-matched PSNR on the real pairs."""
    assert callable(denoise)
    if not pairs:
        return float("nan")
    found = [
        affine_psnr(np.asarray(denoise(noisy), float), clean, data_range=255)
        for noisy, clean in pairs
    ]
    return float(np.mean(found))


def markdown(rows: list[Row], raw: tuple[float, float]) -> str:
    """Write the table; methods that no other one beats in both time and quality are marked."""
    text = (
        "| method | denoising, CPU s | file to file, CPU s | wall s | peak MB | simulated, dB "
        "| real pairs, dB | on the front |\n" + "| --- " * 8 + "|\n"
    )
    fronts = {"simulated": front(rows, "simulated_db"), "real": front(rows, "real_db")}
    text += f"| (none) | | | | | {raw[0]:.2f} | {raw[1]:.2f} | |\n"
    for row in rows:
        shown = (
            f"{row.denoising_s:.2f} | {row.cpu_s:.2f} | {row.wall_s:.2f} | {row.peak_mb:.0f} "
            f"| {row.simulated_db:.2f} | {row.real_db:.2f}"
        )
        where = ", ".join(part for part, names in fronts.items() if row.name in names)
        text += f"| {row.name} | {shown} | {where} |\n"
    return text


def front(rows: list[Row], quality: str) -> list[str]:
    """Return the names of the Pareto front of quality against CPU time, the quickest first."""
    best, names = -np.inf, []
    for row in sorted(rows, key=lambda row: row.cpu_s):
        if getattr(row, quality) > best:
            best = getattr(row, quality)
            names.append(row.name)
    return names


def draw(rows: list[Row], raw: tuple[float, float], file: Path) -> None:
    """Draw the gain in dB against CPU time, the area of a point its memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    parts = [("simulated_db", raw[0], "simulated image")]
    if np.isfinite(raw[1]):
        parts.append(("real_db", raw[1], "real pairs, grey levels matched"))
    figure, axes = plt.subplots(
        1, len(parts), figsize=(5.2 * len(parts), 4.2), squeeze=False, layout="constrained"
    )
    for axis, (quality, noisy, title) in zip(axes[0], parts, strict=True):
        known = {row.name: row for row in rows}
        chain = [known[name] for name in front(rows, quality)]
        gains = [getattr(row, quality) - noisy for row in chain]
        axis.step([row.cpu_s for row in chain], gains, where="post", color="0.75", zorder=1)
        for row in rows:
            gain = getattr(row, quality) - noisy
            colour = "tab:blue" if row.name in CLASSICAL else "tab:orange"
            hollow = row.name.endswith("fp32")
            axis.scatter(
                row.cpu_s, gain, s=row.peak_mb / 8, zorder=2, edgecolors=colour,
                facecolors="none" if hollow else colour, alpha=0.8,
            )  # fmt: skip
            # Where another point is in the way on the right, the name stands on the left.
            crowded = any(
                1.1 < other.cpu_s / row.cpu_s < 1.7
                and abs(getattr(other, quality) - getattr(row, quality)) < 0.4
                for other in rows
            )
            axis.annotate(
                row.name, (row.cpu_s, gain), xytext=(-8 if crowded else 8, 3), fontsize=8,
                textcoords="offset points", ha="right" if crowded else "left",
            )  # fmt: skip
        axis.set_xscale("log")
        ticks = [2, 5, 10, 20, 50]
        axis.set_xticks(ticks, map(str, ticks))
        axis.minorticks_off()
        axis.margins(x=0.2, y=0.12)
        axis.set_xlabel("CPU seconds for 3072 x 2048 pixels, file to file")
        axis.set_ylabel("gain in PSNR, dB")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--results", type=Path, metavar="FILE.json")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pairs", type=int, default=5, help="number of real pairs")
    parser.add_argument("--methods", nargs="*", default=list(CLASSICAL))
    parser.add_argument("--model", action="append", default=list(SHIPPED), metavar="NAME=FILE")
    arguments = parser.parse_args()
    contenders = [Contender(name) for name in arguments.methods]
    for text in arguments.model:
        name, _, file = text.partition("=")
        contenders += [Contender(name, file or name), Contender(f"{name} fp32", file or name, True)]
    known: dict[str, Row] = {}
    if arguments.results and arguments.results.exists():
        stored = json.loads(arguments.results.read_text(encoding="utf-8"))
        known = {row["name"]: Row(**row) for row in stored}

    rng = np.random.default_rng(0)
    scene = eh.simulate("nand", shape=(2048, 3072), seed=0)  # type: ignore[operator]
    noisy, clean = Microscope.preset("tin-balls").expose(scene, rng, return_clean=True)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    if "EVERHART_DATA" in os.environ:
        found = line_pairs(Path(os.environ["EVERHART_DATA"]))
        step = max(1, 30 // arguments.pairs)
        pairs = [(a, b) for _, _, a, b in itertools.islice(found, 0, step * arguments.pairs, step)]
    raw = (psnr(np.asarray(noisy, float), clean, data_range=255), real_quality(np.asarray, pairs))
    with tempfile.TemporaryDirectory() as folder:
        large, small, out = (Path(folder) / name for name in ("large.tif", "small.tif", "out.tif"))
        eh.write(noisy, large)
        eh.write(noisy.pixels[:64, :64], small)
        for contender in contenders:
            if contender.name in known:
                continue
            starts, runs = (
                [run(contender.command(file, out), arguments.threads) for _ in range(count)]
                for file, count in ((small, arguments.repeats), (large, arguments.repeats))
            )
            cpu, wall, memory = (statistics.median(column) for column in zip(*runs, strict=True))
            start_up = statistics.median(row[0] for row in starts)
            quality = psnr(np.asarray(eh.read(out), float), clean, data_range=255)
            real = real_quality(contender.denoise, pairs)
            row = Row(contender.name, cpu - start_up, cpu, wall, memory, quality, real)
            known[contender.name] = row
            print(row, flush=True)
            if arguments.results:
                stored = [asdict(row) for row in known.values()]
                arguments.results.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    rows = [known[contender.name] for contender in contenders]
    text = (
        f"Measured on {date.today()} with `python scripts/bench_methods.py --threads "
        f"{arguments.threads} --repeats {arguments.repeats}` on {os.cpu_count()} cores "
        f"({platform.machine()}); medians.\n\n{markdown(rows, raw)}"
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    if arguments.picture:
        draw(rows, raw, arguments.picture)


if __name__ == "__main__":
    main()
