"""EM-TrivialAugment: one change a sample that a microscope could have made, and the model is told.

TrivialAugment [1]_ takes one random operation of random strength for each sample. Here the
operations are those of electron microscopes, image and mask are changed alike, and the noise
stays what it is: what interpolation or blur takes from it is put back. The model is told what was
done [2]_, so that samples, which are drawn with nothing told, do not inherit it.

References
----------
.. [1] S. Mueller, F. Hutter, "TrivialAugment: tuning-free yet state-of-the-art data
   augmentation", ICCV 2021.
.. [2] T. Karras et al., "Elucidating the design space of diffusion-based generative models",
   NeurIPS 2022, appendix F.2: non-leaking augmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from everhart.errors import unknown_name

__all__ = ["OPERATIONS", "AugmentConfig", "Augmented", "augment"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]
Mask = NDArray[np.int64]


class Augmented(NamedTuple):
    """A changed sample.

    Attributes
    ----------
    pixels, mask
        What became of them, of the same shapes.
    told
        One number an operation: its signed strength, -1 to 1; zero for those not done.
    """

    pixels: Image
    mask: Mask | None
    told: NDArray[np.float32]


@dataclass(frozen=True)
class _Sample:
    pixels: Image
    mask: Mask | None
    noise: float
    """Standard deviation of the noise."""


_Change = Callable[[_Sample, float, np.random.Generator], tuple[Image, Mask | None]]


def augment(
    pixels: Image,
    mask: Mask | None,
    rng: np.random.Generator,
    operations: tuple[str, ...],
    *,
    strength: float = 1.0,
    unchanged: float = 0.1,
) -> Augmented:
    """Change a sample by one operation at random.

    Parameters
    ----------
    pixels
        Image ``(H, W)`` in units in which its grey levels span about -1 to 1.
    mask
        Classes of its pixels, or None.
    rng
        Decides on operation and strength.
    operations
        Names of :data:`OPERATIONS`, of which one is taken.
    strength
        Largest strength, as a part of the full one.
    unchanged
        Share of the samples that are left as they are.

    Returns
    -------
    Augmented
        The sample, and what the model is told of it.

    Examples
    --------
    >>> image = np.arange(12, dtype=np.float32).reshape(3, 4)
    >>> done = augment(image, None, np.random.default_rng(0), ("flip_x",), unchanged=0)
    >>> bool((done.pixels == image[:, ::-1]).all()), float(done.told[0])
    (True, 1.0)
    """
    told = np.zeros(len(OPERATIONS), np.float32)
    if not operations or rng.random() < unchanged:
        return Augmented(pixels, mask, told)
    name = operations[int(rng.integers(len(operations)))]
    amount = float(strength * rng.uniform(-1, 1))
    change, one_sided = _CHANGES[name]
    if one_sided:
        amount = abs(amount)
    if name.startswith("flip"):
        amount = 1.0
    told[OPERATIONS.index(name)] = amount
    sample = _Sample(pixels, mask, _noise_level(pixels))
    changed, changed_mask = change(sample, amount, rng)
    return Augmented(np.ascontiguousarray(changed, np.float32), changed_mask, told)


# Full strengths: what an operator would still call the same image.
_ANGLE_DEG, _SHEAR, _STRETCH = 4.0, 0.06, 0.06
_GAIN, _OFFSET, _GAMMA, _SHADING = 0.3, 0.2, 0.4, 0.25
_DRIFT_PX, _JITTER_PX, _BLUR_PX = 3.0, 0.8, 1.2
_DOSE_LEFT, _CONTAMINATION, _CHARGING = 0.35, 0.35, 0.3


def _flip_x(s: _Sample, _: float, __: np.random.Generator) -> tuple[Image, Mask | None]:
    return s.pixels[:, ::-1], None if s.mask is None else s.mask[:, ::-1]


def _flip_y(s: _Sample, _: float, __: np.random.Generator) -> tuple[Image, Mask | None]:
    return s.pixels[::-1], None if s.mask is None else s.mask[::-1]


def _rotate(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    angle = np.deg2rad(_ANGLE_DEG * amount)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _affine(s, turn, rng)


def _shear(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    return _affine(s, np.array([[1, _SHEAR * amount], [0, 1]]), rng)


def _stretch(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    # Along one axis: a magnification would change the pitch in both.
    factors = [1.0, 1.0]
    factors[int(rng.integers(2))] += _STRETCH * amount
    return _affine(s, np.diag(factors), rng)


def _gain(s: _Sample, amount: float, _: np.random.Generator) -> tuple[Image, Mask | None]:
    return s.pixels * np.float32(1 + _GAIN * amount), s.mask


def _offset(s: _Sample, amount: float, _: np.random.Generator) -> tuple[Image, Mask | None]:
    return s.pixels + np.float32(_OFFSET * amount), s.mask


def _gamma(s: _Sample, amount: float, _: np.random.Generator) -> tuple[Image, Mask | None]:
    low, high = float(s.pixels.min()), float(s.pixels.max())
    span = max(high - low, 1e-6)
    unit = (s.pixels - low) / span
    return (low + span * unit ** float(np.exp(_GAMMA * amount))).astype(np.float32), s.mask


def _shading(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    y, x = _grid(s.pixels.shape)
    angle = rng.uniform(0, 2 * np.pi)
    return s.pixels + np.float32(_SHADING * amount) * (
        np.cos(angle) * x + np.sin(angle) * y
    ), s.mask


def _drift(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    rows = np.linspace(-1, 1, s.pixels.shape[0])
    bend = np.cos(np.pi * (rows + rng.uniform(-1, 1)))
    return _rows_moved(s, _DRIFT_PX * amount * (rows + 0.5 * bend), rng)


def _jitter(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    by_px = np.asarray(rng.standard_normal(s.pixels.shape[0]) * _JITTER_PX * amount, np.float64)
    return _rows_moved(s, by_px, rng)


def _defocus(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    sigma = max(_BLUR_PX * amount, 1e-3)
    blurred = _blurred(s.pixels, sigma)
    # The specimen is blurred; the noise comes after the beam.
    kept = cv2.getGaussianKernel(2 * round(4 * sigma) + 3, sigma)
    share = float(np.sum(kept**2)) ** 2
    return _renoised(blurred, s.noise * np.sqrt(1 - share), rng), s.mask


def _dose(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    # Binomial thinning to a part p of the electrons and rescaling multiplies the variance by 1 / p;
    # the noise of an electron count grows with the signal.
    left = 1 - (1 - _DOSE_LEFT) * amount
    level = s.pixels - s.pixels.min()
    local = _blurred(level, 2.0)
    shape = np.sqrt(local / max(float(local.mean()), 1e-6))
    added = s.noise * np.sqrt(1 / left - 1) * shape
    return s.pixels + (added * rng.standard_normal(s.pixels.shape)).astype(np.float32), s.mask


def _contamination(
    s: _Sample, amount: float, rng: np.random.Generator
) -> tuple[Image, Mask | None]:
    # A rectangle that was scanned before is darker, with soft edges.
    height, width = s.pixels.shape
    spot = np.zeros((height, width), np.float32)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    bottom = top + int(rng.integers(height // 4 + 1, height + 1))
    spot[top:bottom, left : left + int(rng.integers(width // 4 + 1, width + 1))] = 1
    spot = _blurred(spot, max(1.0, 0.03 * min(height, width)))
    return s.pixels - np.float32(_CONTAMINATION * amount) * spot, s.mask


def _charging(s: _Sample, amount: float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    # Charge decays along the scan line behind what is bright, and takes from the signal.
    decay = float(np.exp(-1 / rng.uniform(6, 30)))
    bright = np.maximum(_blurred(s.pixels, 1.5) - np.float32(s.pixels.mean()), 0)
    charge = np.empty_like(bright)
    held = np.zeros(bright.shape[0], np.float32)
    for column in range(bright.shape[1]):
        held = np.float32(decay) * held + np.float32(1 - decay) * bright[:, column]
        charge[:, column] = held
    peak = max(float(charge.max()), 1e-6)
    return s.pixels - np.float32(_CHARGING * amount) * charge / np.float32(peak), s.mask


# Each with whether its strength has one sign alone.
_CHANGES: dict[str, tuple[_Change, bool]] = {
    "flip_x": (_flip_x, True),
    "flip_y": (_flip_y, True),
    "rotate": (_rotate, False),
    "shear": (_shear, False),
    "stretch": (_stretch, False),
    "gain": (_gain, False),
    "offset": (_offset, False),
    "gamma": (_gamma, False),
    "shading": (_shading, True),
    "drift": (_drift, False),
    "jitter": (_jitter, True),
    "defocus": (_defocus, True),
    "dose": (_dose, True),
    "contamination": (_contamination, True),
    "charging": (_charging, True),
}
OPERATIONS: tuple[str, ...] = tuple(_CHANGES)
"""The operations by name, in the order of what the model is told."""


class AugmentConfig(BaseModel):
    """Config of the augmentation."""

    model_config = ConfigDict(extra="forbid")

    operations: tuple[str, ...] = Field(
        OPERATIONS, min_length=1, description="of which one is taken for each sample"
    )
    strength: float = Field(1.0, gt=0, le=1, description="largest strength, part of the full one")
    unchanged: float = Field(0.1, ge=0, lt=1, description="share of the samples left as they are")

    @field_validator("operations")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in OPERATIONS:
                raise ValueError(str(unknown_name("operation", name, OPERATIONS)))
        return names


def _noise_level(pixels: Image) -> float:
    """Estimate the noise from second differences across the scan lines, where it is independent."""
    # Immerkaer's idea in one direction: (1, -2, 1) has a variance of 6; the median is robust.
    second = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
    return float(np.median(np.abs(second)) / 0.6745 / np.sqrt(6)) if len(second) else 0.0


def _blurred(image: Image, sigma: float) -> Image:
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


def _renoised(image: Image, sigma: float | Image, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(image.shape).astype(np.float32)
    return np.asarray(image + np.asarray(sigma, np.float32) * noise, np.float32)


def _affine(s: _Sample, matrix: Float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    """Move image and mask by a matrix about the middle, given for (x, y)."""
    height, width = s.pixels.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y0, x0 = (height - 1) / 2, (width - 1) / 2
    from_x = matrix[0, 0] * (x - x0) + matrix[0, 1] * (y - y0) + x0
    from_y = matrix[1, 0] * (x - x0) + matrix[1, 1] * (y - y0) + y0
    return _moved(s, from_y, from_x, rng)


def _rows_moved(s: _Sample, by_px: Float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    y, x = np.mgrid[: s.pixels.shape[0], : s.pixels.shape[1]].astype(np.float64)
    return _moved(s, y, x + by_px[:, None], rng)


def _moved(s: _Sample, y: Float, x: Float, rng: np.random.Generator) -> tuple[Image, Mask | None]:
    """Interpolate image and mask at other places, and put back the noise that it costs."""
    from_x, from_y = x.astype(np.float32), y.astype(np.float32)
    moved = np.asarray(
        cv2.remap(s.pixels, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        np.float32,
    )
    # Linear weights 1 - f and f leave (1 - f)^2 + f^2 of the variance, in each direction.
    left = np.ones(s.pixels.shape)
    for places in (x, y):
        part = places - np.floor(places)
        left *= (1 - part) ** 2 + part**2
    changed = _renoised(moved, (s.noise * np.sqrt(1 - left)).astype(np.float32), rng)
    if s.mask is None:
        return changed, None
    mask = cv2.remap(
        s.mask.astype(np.float32),
        from_x,
        from_y,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return changed, mask.astype(np.int64)


def _grid(shape: tuple[int, ...]) -> tuple[Image, Image]:
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    return y[:, None] * np.ones_like(x), np.ones_like(y)[:, None] * x
