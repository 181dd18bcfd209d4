"""A guard against training on noise that a recipe cannot remove."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.restore.frames_source import FramesSource
from everhart.restore.source_base import Source
from everhart.restore.sources import PairSource

__all__ = ["RecipeWarning", "check_noise"]

_CORRELATED = 0.1
_WINDOW_PX = 384
_SCENES = 2


class RecipeWarning(UserWarning):
    """A recipe will not do on these images what it is for."""


def check_noise(recipe: str, sources: Sequence[Source], scan_line_px: int = 0) -> float:
    """Warn if a blind-spot recipe is about to learn noise that is correlated.

    Parameters
    ----------
    recipe
        ``"n2v"`` or ``"fbi"``.
    sources
        Sources of the training images; simulated noise is not looked at.
    scan_line_px
        Pixels along the scan line that are hidden on either side of a blind spot.

    Returns
    -------
    float
        Correlation of largest magnitude between a pixel's noise and that of one which the network
        sees; 0 if no source has images.

    Warns
    -----
    RecipeWarning
        If it is above 0.1.
    """
    from everhart.noise import NoiseEstimate, diagnose, estimate_noise

    worst, lag = 0.0, (0, 0)
    for frames in _noisy_images(sources):
        found: NoiseEstimate = (
            diagnose(np.stack(frames)).noise if len(frames) > 1 else estimate_noise(frames[0])
        )
        correlation = found.correlation.copy()
        middle = correlation.shape[0] // 2
        hidden = min(scan_line_px, middle)
        correlation[middle, middle - hidden : middle + hidden + 1] = 0
        at = np.unravel_index(int(np.abs(correlation).argmax()), correlation.shape)
        if abs(float(correlation[at])) > abs(worst):
            worst = float(correlation[at])
            lag = abs(int(at[0]) - middle), abs(int(at[1]) - middle)
    if abs(worst) > _CORRELATED:
        where = f"at {lag[1]} px along the scan line" if not lag[0] else f"at {lag} px (y, x)"
        mask = "masking.scan_line_px, " if recipe == "n2v" and not lag[0] else ""
        warnings.warn(
            f"The noise of the training images is correlated (r = {worst:.2f} {where}), and a "
            f"blind spot does not hide it: {recipe} will keep much of it; use n2n or rn2n on "
            f"repeated frames, {mask}or the shipped model sem-general.",
            RecipeWarning,
            stacklevel=2,
        )
    return worst


def _noisy_images(sources: Sequence[Source]) -> list[list[NDArray[Any]]]:
    """Return the middles of some images, the frames of one scene together."""
    images: list[list[NDArray[Any]]] = []
    for source in sources:
        if isinstance(source, FramesSource):
            scenes = range(min(_SCENES, len(source.scenes)))
            images += [source.single_frames(scene) for scene in scenes]
        elif isinstance(source, PairSource):
            images += [[noisy] for noisy, _ in source.pairs[:_SCENES]]
    return [[_middle(frame) for frame in frames] for frames in images if frames]


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    window = tuple(
        slice((n - min(n, _WINDOW_PX)) // 2, (n + min(n, _WINDOW_PX)) // 2) for n in image.shape
    )
    return image[window]
