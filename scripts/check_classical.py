"""Measure the classical denoisers on the real SEM pairs, untold.

    EVERHART_DATA=path python scripts/check_classical.py [--fields 30] [--kind line]

The clean image is laid on the noisy one to a fraction of a pixel, borders are cut, the data
range is 255 of 8 bits; raw grey levels, and after an affine match.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from everhart.align import common_margin, estimate_shift, shift_image
from everhart.metrics import affine_psnr, psnr, ssim
from everhart.noise import estimate_noise
from everhart.restore.classical import METHODS, choose_parameters, denoise_classical


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=10)
    parser.add_argument("--kind", choices=("line", "time"), default="line")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    root = os.environ.get("EVERHART_DATA")
    data = Path(root) if root else Path(__file__).parents[2] / "shared" / "data"
    noisy_files = sorted((data / "sem-pairs").glob(f"{arguments.kind}*_noisy.png"))
    scores: dict[str, list[tuple[float, ...]]] = {}
    for file in noisy_files[: arguments.fields]:
        noisy = np.asarray(Image.open(file))
        clean = np.asarray(Image.open(file.with_name(file.name.replace("noisy", "clean"))))
        shift = estimate_shift(clean, noisy, max_shift_px=40)
        inside = common_margin(shift)
        truth = shift_image(clean.astype(np.float32), shift)[inside]
        noise = estimate_noise(noisy)
        for method in ("noisy", *METHODS):
            start = time.perf_counter()
            result = noisy.astype(np.float32)
            if method != "noisy":
                if arguments.verbose:
                    print(file.stem, method, choose_parameters(result, method, noise))
                start = time.perf_counter()
                result = denoise_classical(result, method, noise)
            seconds = time.perf_counter() - start
            cut = np.clip(result, 0, 255)[inside]
            row = (
                psnr(cut, truth, data_range=255),
                ssim(cut, truth, data_range=255),
                affine_psnr(cut, truth, data_range=255),
                seconds,
            )
            scores.setdefault(method, []).append(row)
    print(f"{'method':10} {'PSNR/dB':>8} {'SSIM':>6} {'affine/dB':>9} {'s/image':>8}")
    for method, rows in scores.items():
        values = np.mean(rows, axis=0)
        print("{:10} {:8.2f} {:6.3f} {:9.2f} {:8.2f}".format(method, *values))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(noisy_files[: arguments.fields])} fields; peak memory of the process {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()
