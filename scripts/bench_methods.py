"""Time and memory of the denoisers, from file to file, on one 3072x2048 image.

    python scripts/bench_methods.py [-o tables.md] [--repeats 3] [--threads 2]

Each run is a process of its own, `everhart denoise image.tif -o out.tif`, whose CPU time and
peak memory the operating system reports. The cost of starting up is measured on a 64x64 image and
taken off for the column "denoising".
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

import everhart as eh
from everhart.metrics import psnr
from everhart.restore import CLASSICAL, SHIPPED
from everhart.simulate import Microscope


def run(arguments: list[str], threads: int) -> tuple[float, float, float]:
    """Run `everhart` and return CPU seconds, wall seconds and peak memory in MB."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    command = [sys.executable, "-m", "everhart", *arguments]
    process = os.posix_spawn(sys.executable, command, environment)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"everhart {' '.join(arguments)} failed")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--methods", nargs="+", default=[*SHIPPED, *CLASSICAL])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    scene = eh.simulate("nand", shape=(2048, 3072), seed=0)  # type: ignore[operator]
    noisy, clean = Microscope.preset("tin-balls").expose(scene, rng, return_clean=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        large, small, out = (Path(folder) / name for name in ("large.tif", "small.tif", "out.tif"))
        eh.write(noisy, large)
        eh.write(noisy.pixels[:64, :64], small)
        for method in arguments.methods:
            call = ["-o", str(out), "--method", method, "--overwrite"]
            starts = [run(["denoise", str(small), *call], arguments.threads) for _ in range(3)]
            runs = [
                run(["denoise", str(large), *call], arguments.threads)
                for _ in range(arguments.repeats)
            ]
            cpu, wall, memory = (statistics.median(column) for column in zip(*runs, strict=True))
            start_up = statistics.median(row[0] for row in starts)
            quality = psnr(np.asarray(eh.read(out), float), clean, data_range=255)
            rows.append((method, cpu - start_up, cpu, wall, memory, quality))
            print(rows[-1], flush=True)
    raw = psnr(np.asarray(noisy, float), clean, data_range=255)
    text = (
        f"Measured on {date.today()} with `python scripts/bench_methods.py --threads "
        f"{arguments.threads} --repeats {arguments.repeats}` on {os.cpu_count()} cores "
        f"({platform.machine()}); medians. The noisy image has {raw:.2f} dB.\n\n"
        "| method | denoising, CPU s | file to file, CPU s | wall s | peak MB | PSNR, dB |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
    )
    for method, *figures in rows:
        shown = [f"{f:.2f}" if i != 3 else f"{f:.0f}" for i, f in enumerate(figures)]
        text += f"| {method} | " + " | ".join(shown) + " |\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
