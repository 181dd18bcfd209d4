"""Specimens with faint defects for the study `defects`, and the microscope that images them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.metrics.defects import DefectTrial
from everhart.simulate import Beam, Converter, Detector, Dose, Microscope, simulate
from everhart.simulate.defects import paint_particle
from everhart.simulate.presets import preset_parts

__all__ = ["Specimen", "add_lump", "inspection_microscope", "make_specimen"]

Image = NDArray[np.float32]

_SPACING_PX = 48  # so far apart, defects do not help one another


def inspection_microscope() -> Microscope:
    """Return the microscope of the study.

    Dose and detector of the preset fitted to real pairs (`tin-balls`). Black and white leave room
    in the 8 bits, so that no defect and no noise is cut off.
    """
    parts = preset_parts("tin-balls")
    return Microscope(
        beam=Beam(parts["beam"].sigma_px),
        dose=Dose(parts["dose"].arrivals_per_px),
        detector=Detector(parts["detector"].taps, readout_sigma=0.8),
        converter=Converter(8, black=20, white=140),
        name="inspection",
    )


@dataclass(frozen=True, eq=False)
class Specimen:
    """A pattern and several placements of defects on it.

    Parameters
    ----------
    trial
        Noise-free truth in grey levels.
    brightness
        Scene brightness without defects, ``(H, W)``.
    marked_brightness
        Scene brightness with each placement, ``(M, H, W)``.
    microscope
        What images it: without drift, jitter or memory, so that all exposures have one expectation.
    """

    trial: DefectTrial
    brightness: Image
    marked_brightness: Image
    microscope: Microscope

    def expose(self, rng: np.random.Generator, shots: int) -> tuple[list[Image], list[Image]]:
        """Take one image of each placement, and as many without defects, as float32.

        They are not rounded after the mean over shots: rounding is no matter of denoising.
        """

        def take(brightness: Image) -> Image:
            shot = self.microscope.expose(brightness, rng, shots, quantise=False)
            return np.asarray(shot.pixels, np.float32)

        return (
            [take(b) for b in self.marked_brightness],
            [take(self.brightness) for _ in self.marked_brightness],
        )


def make_specimen(
    scene: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    placements: int,
    kinds: Mapping[float, Sequence[float]],
    microscope: Microscope | None = None,
    pixel_size_nm: float | None = None,
) -> Specimen:
    """Make a scene and plant bright lumps on it, all sizes and contrasts in every image.

    Parameters
    ----------
    scene
        Name of a scene.
    shape
        ``(H, W)`` in pixels.
    rng
        Source of randomness.
    placements
        Number of images with defects.
    kinds
        Contrasts by mean radius in px: the scene brightness that a lump adds in its middle (1 is
        black to white).
    microscope
        What images it, :func:`inspection_microscope` where None.
    pixel_size_nm
        Pixel size of the scene; its own where None.

    Returns
    -------
    Specimen
        Pattern, placements and their truth.
    """
    pattern = simulate(scene, shape=shape, pixel_size_nm=pixel_size_nm, rng=rng).image
    microscope = inspection_microscope() if microscope is None else microscope
    all_kinds = [(float(r), float(c)) for r, several in kinds.items() for c in several]
    marked, rows = [], []
    for image in range(placements):
        brightness = pattern.copy()
        places = _places(shape, rng)
        # On from where the last image ended, so that all kinds are equally frequent.
        first = image * len(places)
        drawn = [all_kinds[(first + i) % len(all_kinds)] for i in range(len(places))]
        for (y, x), (radius, contrast) in zip(places, drawn, strict=True):
            add_lump(brightness, rng, radius, contrast, y_px=y, x_px=x)
            rows.append((image, y, x, radius, contrast))
        marked.append(brightness)
    columns = ["image", "y_px", "x_px", "radius_px", "contrast"]

    def ideal(brightness: Image) -> Image:
        # Without drift and jitter the expectation is the same in every exposure.
        exact = replace(microscope, dose=None)
        _, clean = exact.expose(brightness, np.random.default_rng(0), return_clean=True)
        return np.asarray(clean.pixels, np.float32)

    trial = DefectTrial(
        ideal(pattern), np.stack([ideal(b) for b in marked]), pd.DataFrame(rows, columns=columns)
    )
    return Specimen(trial, pattern, np.stack(marked), microscope)


def add_lump(
    brightness: Image,
    rng: np.random.Generator,
    radius_px: float,
    contrast: float,
    *,
    y_px: float | None = None,
    x_px: float | None = None,
) -> None:
    """Add a lump to a scene, in place.

    Parameters
    ----------
    brightness
        Scene brightness, ``(H, W)``; above 1 it is not cut off.
    rng
        Source of randomness (shape, position).
    radius_px
        Mean radius.
    contrast
        Scene brightness that it adds in its middle.
    y_px, x_px
        Centre; drawn inside of the image where None.
    """
    lump = np.zeros(brightness.shape, np.float32)
    paint_particle(lump, rng, radius_px, y_px=y_px, x_px=x_px, brightness=1.0)
    brightness += np.float32(contrast) * lump


def _places(shape: tuple[int, int], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return points at least 31 px apart and 32 px from the border, in random order."""
    jitter = (_SPACING_PX - 31) / 2
    rows, columns = (np.arange(32 + jitter, n - 32 - jitter, _SPACING_PX) for n in shape)
    grid = [(float(y), float(x)) for y in rows for x in columns]
    moved = [(y + rng.uniform(-jitter, jitter), x + rng.uniform(-jitter, jitter)) for y, x in grid]
    return [moved[i] for i in rng.permutation(len(moved))]
