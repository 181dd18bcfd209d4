"""Copies: which synthetic images repeat an image that was learned from, and do they vary at all.

An image and its copy have the same noise. Two images of one kind of specimen have the same
pattern, and noise that has nothing to do with each other: what two real images have in common in
their fine detail is the band that a synthetic image and its nearest training image must keep to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["CopyReport", "find_copies", "likeness"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_COARSE_PX = 2.0
_STRUCTURE_PX = 4.0
_Z = 4.5


@dataclass(frozen=True, eq=False)
class CopyReport:
    """Which images are copies, and how varied the images are.

    Parameters
    ----------
    nearest
        For each synthetic image, the number of the training image that it is most like.
    fine, coarse
        Likeness to it in fine detail and in structure, ``(made,)``, each the largest over all
        training images.
    fine_limit, coarse_limit
        Where the band of the real images ends, in which no training image is repeated.
    copies
        Numbers of the synthetic images beyond either.
    diversity
        Variance of the structure (blurred by 4 px) from image to image, of the synthetic over
        that of the real ones: 1 where they vary as much.
    """

    nearest: NDArray[np.intp]
    fine: Float
    coarse: Float
    fine_limit: float
    coarse_limit: float
    copies: tuple[int, ...]
    diversity: float

    @property
    def share(self) -> float:
        """Share of the synthetic images that are copies."""
        return len(self.copies) / len(self.fine)


def likeness(images: Sequence[Image], others: Sequence[Image]) -> tuple[Float, Float]:
    """Return the largest correlation of each image with each other, over all shifts and mirrors.

    Parameters
    ----------
    images, others
        Images of one size.

    Returns
    -------
    fine, coarse
        ``(images, others)``: of fine detail (what a blur of 2 px takes away) and of what is left.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    >>> fine, _ = likeness([image], [np.roll(image[::-1], 5, axis=0), image.T.copy()])
    >>> bool(fine[0, 0] > 0.8 > 0.3 > fine[0, 1])
    True
    """
    shape = images[0].shape
    found = []
    for fine in (True, False):
        ours = _spectra(images, fine)
        # A copy that was mirrored is one still.
        mirrored = [[i, i[::-1], i[:, ::-1], i[::-1, ::-1]] for i in others]
        flat = [np.ascontiguousarray(i) for four in mirrored for i in four]
        theirs = np.conj(_spectra(flat, fine))
        rows = [np.fft.irfft2(a * theirs, s=shape).max(axis=(1, 2)) for a in ours]
        found.append(np.stack(rows).reshape(len(images), len(others), 4).max(axis=2))
    return found[0], found[1]


def find_copies(
    made: Sequence[Image], learned: Sequence[Image], held_out: Sequence[Image]
) -> CopyReport:
    """Find the synthetic images that repeat a training image.

    Parameters
    ----------
    made
        Synthetic images.
    learned
        What the model learned from.
    held_out
        Real images that it did not learn from, four at least: they set the band.

    Returns
    -------
    CopyReport
        The copies by number, and the diversity.

    Raises
    ------
    UsageError
        If images are of several sizes, or there are too few.
    """
    if len(held_out) < 4 or not made or not learned:
        raise UsageError(
            f"{len(made)} synthetic, {len(learned)} training and {len(held_out)} other real images "
            "were given: copies are told by the band of at least 4 real images that were not "
            "learned from."
        )
    if len({image.shape for image in (*made, *learned, *held_out)}) > 1:
        raise UsageError("Images of several sizes were given: give images of one size.")
    fine, coarse = likeness(made, learned)
    real_fine, real_coarse = likeness(held_out, learned)
    limits = [_limit(real.max(axis=1)) for real in (real_fine, real_coarse)]
    beyond = (fine.max(axis=1) > limits[0]) | (coarse.max(axis=1) > limits[1])
    variety, real_variety = (_variety(images) for images in (made, held_out))
    return CopyReport(
        np.argmax(fine, axis=1),
        fine.max(axis=1),
        coarse.max(axis=1),
        limits[0],
        limits[1],
        tuple(int(n) for n in np.flatnonzero(beyond)),
        variety / max(real_variety, 1e-12),
    )


def _spectra(images: Sequence[Image], fine: bool) -> NDArray[np.complex128]:
    """Return spectra of images of mean 0 and norm 1, whose products are correlations."""
    rows = []
    for image in images:
        smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), _COARSE_PX), np.float64)
        part = image - smooth if fine else smooth
        part = part - part.mean()
        rows.append(np.fft.rfft2(part / max(float(np.linalg.norm(part)), 1e-12)))
    return np.stack(rows)


def _limit(values: Float) -> float:
    """Return where a band of correlations ends, beyond which hardly a real image would be."""
    z = np.arctanh(np.clip(values, -0.999999, 0.999999))
    middle = float(np.median(z))
    # The scatter of a few values is itself unsure: not less than that of the values' own range.
    scatter = max(1.4826 * float(np.median(np.abs(z - middle))), float(np.ptp(z)) / 6, 0.005)
    return float(np.tanh(max(middle + _Z * scatter, float(z.max()))))


def _variety(images: Sequence[Image]) -> float:
    """Return how much the structure differs from image to image, in squared grey levels."""
    smooth = [np.asarray(cv2.GaussianBlur(image, (0, 0), _STRUCTURE_PX)) for image in images]
    return float(np.var(np.stack(smooth), axis=0, dtype=np.float64).mean())
