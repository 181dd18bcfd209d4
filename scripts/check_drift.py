"""How well drift is found in noise: against the running mean, the first frame, the one before.

The figures of docs/how-to/frames.md: ``python scripts/check_drift.py``, half a CPU-minute.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter

from everhart.align import estimate_shift, shift_image
from everhart.io.drift import RunningMean

N_FRAMES, REACH_PX, RUNS = 16, 20.0, 3


def main() -> None:
    """Print the table."""
    print("| noise sigma | against the mean | against the first | frame to frame |")
    print("| --- | --- | --- | --- |")
    for sigma in (2, 4, 6, 8):
        errors = np.mean([_errors(sigma, seed) for seed in range(RUNS)], axis=0)
        print(f"| {sigma} | " + " | ".join(f"{error:.2f}" for error in errors) + " |")


def _errors(sigma: float, seed: int) -> list[float]:
    """Return root mean square errors in px of one run."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.normal(size=(200, 200)), 3)
    scene /= scene.std()
    drift = np.cumsum(rng.normal(0, 0.8, (N_FRAMES, 2)), axis=0)
    drift -= drift[0]
    frames = [
        (shift_image(scene, (d[0], d[1])) + rng.normal(0, sigma, scene.shape))[30:-30, 30:-30]
        for d in drift
    ]
    total = RunningMean(REACH_PX)
    steps = [estimate_shift(b, a, max_shift_px=REACH_PX) for a, b in pairwise(frames)]
    shifts = (
        [total.add(frame).shift_px for frame in frames],
        [estimate_shift(frame, frames[0], max_shift_px=REACH_PX) for frame in frames],
        np.cumsum([(0.0, 0.0), *steps], axis=0),
    )
    return [float(np.sqrt(np.mean((-np.asarray(s) - drift) ** 2))) for s in shifts]


if __name__ == "__main__":
    main()
