"""What each metric sees: one wafer, spoiled in eight ways to the same PSNR.

    python scripts/check_metrics.py

prints the table of docs/concepts/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter, shift
from scipy.optimize import brentq

from everhart import metrics
from everhart.simulate import nand

Image = NDArray[np.float64]

PSNR_DB = 26.0
SIDE_PX = 512


def specimen() -> Image:
    """Return contact holes, as a microscope's optics show them, black at 0 and white at 255."""
    scene = nand(np.random.default_rng(0), shape=(SIDE_PX, SIDE_PX), pixel_size_nm=2.0)
    brightness = gaussian_filter(np.asarray(scene.image, np.float64), 1.0)
    return 40 + 160 * (brightness - brightness.min()) / np.ptp(brightness)


def spoilers(clean: Image) -> dict[str, Callable[[float], Image]]:
    """Return what spoils an image, the more the larger its argument."""
    rng = np.random.default_rng(1)
    white = rng.normal(size=clean.shape)
    coarse = gaussian_filter(rng.normal(size=clean.shape), 4)
    shading = np.linspace(-1, 1, clean.shape[1]) * np.ones((clean.shape[0], 1))
    y, x = np.mgrid[: clean.shape[0], : clean.shape[1]]
    spots = np.zeros(clean.shape)
    for row, column in rng.integers(20, SIDE_PX - 20, (40, 2)):
        spots += np.hypot(y - row, x - column) < 4
    return {
        "offset": lambda t: clean + t,
        "gain 1 - t": lambda t: clean * (1 - t),
        "shading": lambda t: clean + t * shading,
        "white noise": lambda t: clean + t * white,
        "blotches of 4 px": lambda t: clean + t * coarse / coarse.std(),
        "blur": lambda t: gaussian_filter(clean, t),
        "shift": lambda t: shift(clean, (0, t), order=1, mode="nearest"),
        "40 spots": lambda t: clean + t * spots,
    }


def figures(image: Image, clean: Image) -> list[str]:
    """Return a row of the table."""
    full = {"data_range": 255.0}
    values = [
        metrics.affine_psnr(image, clean, **full),
        metrics.ssim(image, clean, **full),
        metrics.ms_ssim(image, clean, **full),
        metrics.fsim(image, clean, **full),
        metrics.fsim(image, clean, binning=1, **full),
        metrics.edge_figure_of_merit(image, clean),
        metrics.gmsd(image, clean, **full),
        metrics.edge_preservation_index(image, clean),
        metrics.uiq(image, clean),
        metrics.cnr(image, reference=clean),
    ]
    digits = [1, 3, 3, 3, 3, 3, 3, 3, 3, 1]
    return ["inf" if v > 99 else f"{v:.{d}f}" for v, d in zip(values, digits, strict=True)]


def main() -> None:
    """Print the table."""
    clean = specimen()
    rows = [["none", *figures(clean, clean)]]
    for name, spoil in spoilers(clean).items():

        def miss(t: float, spoil: Callable[[float], Image] = spoil) -> float:
            error = spoil(t)
            return min(metrics.psnr(error, clean, data_range=255.0), 99.0) - PSNR_DB

        strength = brentq(miss, 1e-3, 0.99 if name.startswith("gain") else 300.0, xtol=1e-4)
        rows.append([f"{name} ({strength:.2g})", *figures(spoil(strength), clean)])
    noisy = clean + 30 * np.random.default_rng(2).normal(size=clean.shape)
    rows.append(["white noise (30), raw", *figures(noisy, clean)])
    rows.append(["the same, Gaussian (1.5)", *figures(gaussian_filter(noisy, 1.5), clean)])
    rows.append(["the same, median 5 x 5", *figures(median_filter(noisy, 5), clean)])
    heads = ["spoiled by", "PSNR, affine", "SSIM", "MS-SSIM", "FSIM", "FSIM, full", "Edges"]
    heads += ["GMSD", "EPI", "UIQ", "CNR"]
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
