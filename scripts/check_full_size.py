"""Images in tiles: gradients and noise at the seams, and whether a pitch runs through.

    OMP_NUM_THREADS=1 python scripts/check_full_size.py MODEL --real DIR [--size 256x256] [-n 4]

MODEL is a generator of vertical lines that learned from patches, DIR holds the images that it
learned from. The grid of tiles moves from step to step; the seams are those of the last step,
which would show most.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

import everhart as eh
from everhart.cli.options import height_and_width
from everhart.errors import EverhartError
from everhart.synthesize.full_size import levels_for
from everhart.synthesize.generator import Generator
from everhart.synthesize.schedule import spaced_steps
from everhart.synthesize.tiles import TileGrid, shift_at

Image = NDArray[np.float64]


def seam_ratios(image: Image, grid: TileGrid, shift: float) -> tuple[float, float]:
    """Return gradient and noise variance at the ends of tiles over those elsewhere.

    Only along the lines: across them the pattern has gradients of its own.
    """
    starts = grid.starts(0, shift)
    ends = {n for s in starts for n in (s, s + grid.tile[0]) if 0 < n < grid.shape[0]}
    at = np.zeros(grid.shape[0] - 1, bool)
    at[[n - 1 for n in ends]] = True
    steps = np.abs(np.diff(image, axis=0)).mean(axis=1)
    grain = (image - median_filter(image, (5, 1))).var(axis=1)
    weights = grid.weights(0, starts)
    shared = np.zeros(grid.shape[0])
    for start, weight in zip(starts, weights, strict=True):
        shared[start : start + len(weight)] += (weight > 0.25) & (weight < 0.75)
    between = shared > 0
    return (
        float(steps[at].mean() / steps[~at].mean()),
        float(grain[between].mean() / grain[~between].mean()),
    )


def pitches(image: eh.Micrograph) -> list[float]:
    """Return the pitch of the whole, of its thirds from the top down, and from left to right."""
    down, across = (n // 3 for n in image.shape)
    parts = [
        image.pixels,
        *(image.pixels[n * down : (n + 1) * down] for n in range(3)),
        *(image.pixels[:, n * across : (n + 1) * across] for n in range(3)),
    ]
    found = []
    for part in parts:
        try:
            lines = eh.measure.lines(eh.Micrograph(part, image.pixel_size_nm))
            found.append(float(lines.summary["pitch_nm"]))
        except EverhartError as error:
            print(f"  no pitch: {error}")
            found.append(float("nan"))
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("-n", type=int, default=4)
    parser.add_argument("-o", "--output", type=Path, help="folder of the images")
    given = parser.parse_args()
    shape = height_and_width(given.size)
    generator = Generator.load(given.model)
    finest = levels_for(generator.said.stages, generator.shape, shape)[-1]
    visited = spaced_steps(generator.schedule.steps, given.steps)
    last = shift_at(int((visited < 0.6 * generator.schedule.steps).sum()) - 1)
    grid = TileGrid(shape, finest.tile)
    real = [eh.read(path) for path in sorted(given.real.iterdir())]
    for what, images in (("real", real[: given.n]), ("made", None)):
        start = time.process_time()
        drawn = images or generator.synthesize(given.n, size=shape, steps=given.steps)
        seconds = (time.process_time() - start) / given.n
        print(f"{what}: {len(drawn)} images, {seconds:.1f} CPU s each")
        for number, image in enumerate(drawn):
            gradient, noise = seam_ratios(np.asarray(image.pixels, float), grid, last)
            whole, *thirds = pitches(image)
            down, across = ((max(t) / min(t) - 1) * 100 for t in (thirds[:3], thirds[3:]))
            print(
                f"  {number}: gradient {gradient:.3f}, noise variance {noise:.3f}, "
                f"pitch {whole:.2f} nm, thirds differ by {down:.2f} % from the top down, "
                f"by {across:.2f} % from left to right"
            )
            if images is None and given.output is not None:
                given.output.mkdir(exist_ok=True)
                eh.write(image, given.output / f"made_{number}.tif", overwrite=True)


if __name__ == "__main__":
    main()
