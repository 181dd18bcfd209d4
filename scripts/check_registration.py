"""Show what registration leaves on the real pairs, by a shift and by an affine map.

    EVERHART_DATA=path python scripts/check_registration.py

Affine-matched PSNR of the noisy image under a Gaussian filter (sigma 1.5) against the registered
clean image, and the stretch found, averaged over the pairs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

import everhart as eh
from everhart.align import register_pair
from everhart.metrics import affine_psnr

MODELS: tuple[Literal["shift", "affine"], ...] = ("shift", "affine")


def main() -> None:
    """Print the table."""
    folder = Path(os.environ["EVERHART_DATA"]) / "sem-pairs"
    for kind in ("time", "line"):
        for model in MODELS:
            figures, stretch = [], []
            for file in sorted(folder.glob(f"{kind}*_noisy.png")):
                clean = eh.read(file.with_name(file.name.replace("noisy", "clean")))
                fixed, moved, matrix = register_pair(eh.read(file), clean, model=model)
                figures.append(affine_psnr(gaussian_filter(fixed, 1.5), moved, data_range=255))
                stretch.append(np.diag(matrix[:, :2]) - 1)
            y, x = 100 * np.mean(stretch, axis=0)
            print(f"{kind:5} {model:7} {np.mean(figures):.2f} dB, stretch y {y:.2f} % x {x:.2f} %")


if __name__ == "__main__":
    main()
