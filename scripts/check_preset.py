"""Compare the preset `tin-balls` with the real images that it was fitted to, and with others.

    python scripts/check_preset.py            # the comparison, as Markdown
    python scripts/check_preset.py --fit      # the fit that the preset's numbers come from

The real pairs are looked for in EVERHART_DATA, else in ../shared/data beside the repository
(docs/data.md says how to get them). The preset was fitted to the `time*` pairs; the `line*` pairs
are other fields of the same specimen, of which the fit knows nothing.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.align import register_pair
from everhart.io import read
from everhart.simulate import Microscope, NoiseModel
from everhart.simulate.fit import fit_noise_moments
from everhart.simulate.residuals import PatchMoments, flat_patches, patch_moments

PATCH_PX = 16
MAX_LAG = 4
FLATNESS = 1.5
# Shots of the noisy kind in a clean image: 30 us over 100 ns; 50 lines over 1.
SHOTS = {"time": 300.0, "line": 50.0}
# Grey levels of the comparison: background and dark balls, then the range of the large balls.
BINS = ((12, 21), (21, 35), (120, 142), (142, 160), (160, 176), (176, 192), (192, 225))


@dataclass(frozen=True)
class Moments:
    """Mean moments at a grey level."""

    level: float
    variance: float
    along: NDArray[np.float64]
    down: NDArray[np.float64]
    skew: float
    clipped: float
    n_patches: int


def data_folder() -> Path:
    """Return the folder of the real pairs."""
    folder = os.environ.get("EVERHART_DATA")
    root = Path(folder) if folder else Path(__file__).parents[2] / "shared" / "data"
    return root / "sem-pairs"


def real_moments(folder: Path, kind: str) -> PatchMoments:
    """Measure the noise in the flat patches of all pairs of a kind, registered."""
    parts = []
    for path in sorted(folder.glob(f"{kind}*_noisy.png")):
        clean = read(path.with_name(path.name.replace("_noisy", "_clean")))
        a, b, _ = register_pair(read(path), clean)
        corners = flat_patches(b, PATCH_PX, tolerance=FLATNESS)
        if len(corners):
            parts.append(
                patch_moments(
                    a,
                    b,
                    corners,
                    patch_px=PATCH_PX,
                    max_lag=MAX_LAG,
                    reference_shots=SHOTS[kind],
                    full_scale=(0, 255),
                )
            )
    return PatchMoments.concatenate(parts)


def summary(patches: PatchMoments) -> Moments:
    """Average the moments of patches."""
    covariance = patches.covariance.mean(axis=0)
    return Moments(
        float(patches.level.mean()),
        float(covariance[0]),
        covariance[1:] / covariance[0],
        patches.covariance_down.mean(axis=0)[1:] / covariance[0],
        float(patches.third.mean() / covariance[0] ** 1.5),
        float(patches.clipped.mean()),
        len(patches),
    )


class SimulatedLevels:
    """Moments of exposures of flat scenes, against the grey level that comes out."""

    def __init__(self, microscope: Microscope, seed: int = 0, size: int = 512) -> None:
        rng = np.random.default_rng(seed)
        # Above full scale too: what clips at 255 has a mean below it.
        signals = np.concatenate([np.arange(4, 60, 4), np.arange(60, 300, 10)]) / 255
        rows = []
        for signal in signals:
            flat = np.full((size, size), signal, np.float32)
            pixels = np.asarray(microscope.expose(flat, rng), np.float64)
            noise = pixels - pixels.mean()
            along = [np.mean(noise[:, : size - j] * noise[:, j:]) for j in range(MAX_LAG + 1)]
            down = [np.mean(noise[: size - j] * noise[j:]) for j in range(MAX_LAG + 1)]
            clipped = np.mean((pixels <= 0) | (pixels >= 255))
            rows.append([pixels.mean(), *along, *down, np.mean(noise**3), clipped])
        self.table = np.array(rows)

    def at(self, levels: NDArray[np.float64]) -> Moments:
        """Return the mean moments over patches of these grey levels."""
        columns = [np.interp(levels, self.table[:, 0], c).mean() for c in self.table.T[1:]]
        along, down = np.array(columns[: MAX_LAG + 1]), np.array(columns[MAX_LAG + 1 : -2])
        return Moments(
            float(levels.mean()),
            float(along[0]),
            along[1:] / along[0],
            down[1:] / along[0],
            float(columns[-2] / along[0] ** 1.5),
            float(columns[-1]),
            len(levels),
        )


def compare(real: PatchMoments, simulated: SimulatedLevels) -> list[tuple[Moments, Moments]]:
    """Return (real, simulated) for each range of grey levels that has at least 10 patches."""
    pairs = []
    for low, high in BINS:
        part = real.select((real.level >= low) & (real.level < high))
        if len(part) >= 10:
            pairs.append((summary(part), simulated.at(part.level)))
    return pairs


def overall(real: PatchMoments, simulated: SimulatedLevels) -> tuple[Moments, Moments]:
    """Return (real, simulated) over all patches that clip less than 0.2 % of their pixels."""
    part = real.select(real.clipped <= 0.002)
    return summary(part), simulated.at(part.level)


def table(kind: str, pairs: list[tuple[Moments, Moments]]) -> str:
    """Write the comparison as a Markdown table."""
    lines = [
        "| pairs | grey level | patches | variance real / sim. | ratio | lag 1 real / sim. "
        "| lag 2 | lag 3 | down 1 | skew real / sim. | clipped real / sim. |",
        "| --- " * 11 + "|",
    ]
    for real, sim in pairs:
        lags = [f"{real.along[j]:.3f} / {sim.along[j]:.3f}" for j in range(3)]
        lines.append(
            f"| `{kind}*` | {real.level:.0f} | {real.n_patches} "
            f"| {real.variance:.1f} / {sim.variance:.1f} | {sim.variance / real.variance:.3f} "
            f"| {' | '.join(lags)} | {real.down[0]:.3f} / {sim.down[0]:.3f} "
            f"| {real.skew:.3f} / {sim.skew:.3f} "
            f"| {100 * real.clipped:.2f} % / {100 * sim.clipped:.2f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the comparison, or the fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="print the fit of the time* pairs")
    arguments = parser.parse_args()
    folder = data_folder()
    if not folder.is_dir():
        raise SystemExit("The real pairs are not here: set EVERHART_DATA (see docs/data.md).")
    if arguments.fit:
        for kind in SHOTS:
            model: NoiseModel = fit_noise_moments(real_moments(folder, kind))
            print(kind, model)
        return
    simulated = SimulatedLevels(Microscope.preset("tin-balls"))
    for kind in SHOTS:
        real = real_moments(folder, kind)
        print(table(kind, compare(real, simulated)))
        everything, predicted = overall(real, simulated)
        rounded = [
            " ".join(f"{value:.3f}" for value in values[:3])
            for values in (everything.along, predicted.along, everything.down, predicted.down)
        ]
        print(
            f"\nAll {everything.n_patches} patches with less than 0.2 % clipped, lags 1 to 3: "
            f"along {rounded[0]} (simulated {rounded[1]}), "
            f"down {rounded[2]} (simulated {rounded[3]}).\n"
        )


if __name__ == "__main__":
    main()
