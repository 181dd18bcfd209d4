"""The parts of the microscope: small frozen settings, each of which can be left out.

All lengths are in pixels of the image, all levels are in grey levels of the output, and x is
the direction of the scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.simulate.scene import Image, check_range

__all__ = ["Beam", "BrightnessDrift", "Charging", "Converter", "Detector", "Dose", "Scan"]


@dataclass(frozen=True)
class Beam:
    """The probe: an anisotropic Gaussian.

    Parameters
    ----------
    sigma_px
        Geometric mean of the standard deviations along the two principal axes.
    astigmatism
        ``ln(major / minor)``; 0 for a round probe.
    angle_deg
        Direction of the major axis, from +x towards +y.
    """

    sigma_px: float = 0.8
    astigmatism: float = 0.0
    angle_deg: float = 0.0

    def __post_init__(self) -> None:
        check_range("sigma_px", self.sigma_px, 0)
        check_range("astigmatism", self.astigmatism, 0, 3)
        check_range("angle_deg", self.angle_deg, -360, 360)

    def apply(self, image: Image) -> Image:
        """Blur an image with the probe."""
        if self.sigma_px == 0:
            return image
        if self.astigmatism == 0:
            return np.asarray(
                cv2.GaussianBlur(image, (0, 0), self.sigma_px, borderType=cv2.BORDER_REFLECT)
            )
        return np.asarray(
            cv2.filter2D(image, cv2.CV_32F, self.kernel(), borderType=cv2.BORDER_REFLECT)
        )

    def kernel(self) -> Image:
        """Return the probe on a grid of pixels, integrated over them, with sum 1."""
        major = self.sigma_px * np.exp(self.astigmatism / 2)
        minor = self.sigma_px * np.exp(-self.astigmatism / 2)
        reach = max(int(np.ceil(4 * major)), 1)
        # Five points a pixel in each direction, so that a narrow axis is not lost between pixels.
        offsets = (np.arange(5 * (2 * reach + 1)) - (5 * (2 * reach + 1) - 1) / 2) / 5
        y, x = offsets[:, None], offsets[None, :]
        turn = np.radians(self.angle_deg)
        u = (x * np.cos(turn) + y * np.sin(turn)) / major
        v = (-x * np.sin(turn) + y * np.cos(turn)) / minor
        fine = np.exp(-0.5 * (u * u + v * v))
        size = 2 * reach + 1
        kernel = fine.reshape(size, 5, size, 5).sum(axis=(1, 3))
        return np.asarray(kernel / kernel.sum(), np.float32)


@dataclass(frozen=True)
class Charging:
    """A dark shadow that trails behind bright features along the scan.

    Parameters
    ----------
    strength
        Fraction of the mean excess brightness just scanned that is taken away.
    length_px
        Length over which the charge leaks away.
    """

    strength: float = 0.1
    length_px: float = 30.0

    def __post_init__(self) -> None:
        check_range("strength", self.strength, 0, 1)
        check_range("length_px", self.length_px, 0.1)

    def apply(self, image: Image) -> Image:
        """Darken an image behind its bright features."""
        from scipy.signal import lfilter

        keep = float(np.exp(-1 / self.length_px))
        level = image.mean(axis=1, keepdims=True)
        excess = np.maximum(image - level, 0)
        trail = lfilter([0.0, 1 - keep], [1.0, -keep], excess, axis=1).astype(np.float32)
        return np.asarray(np.maximum(image - np.float32(self.strength) * trail, 0), np.float32)


@dataclass(frozen=True)
class BrightnessDrift:
    """Slow change of the brightness while a frame is scanned.

    Parameters
    ----------
    sigma
        Standard deviation of the relative change from the top to the bottom of a frame; a half
        period of a sine of half this strength is added.
    """

    sigma: float = 0.02

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma, 0, 1)

    def draw(self, height: int, rng: np.random.Generator) -> Image:
        """Return the factor of each row, shape ``(H, 1)``; 1 in the mean over draws."""
        row = (np.arange(height) + 0.5) / height
        ramp = rng.normal(0, self.sigma) * (row - 0.5)
        wave = rng.normal(0, self.sigma / 2) * np.sin(np.pi * row + rng.uniform(0, 2 * np.pi))
        return np.asarray(np.maximum(1 + ramp + wave, 0)[:, None], np.float32)


@dataclass(frozen=True)
class Scan:
    """Where the beam really is.

    Parameters
    ----------
    drift_px
        Standard deviation, in y and in x, of the drift speed in pixels a frame. The speed is
        kept from frame to frame up to `drift_change`, and the image is sheared by it too: a row
        at the bottom of a frame is scanned later. The middle of the first frame is in place.
    drift_change
        Relative random change of the speed from one frame to the next, 0 to 1.
    jitter_px
        Standard deviation of the displacement of a single row along x.
    """

    drift_px: float = 0.0
    drift_change: float = 0.3
    jitter_px: float = 0.0

    def __post_init__(self) -> None:
        check_range("drift_px", self.drift_px, 0)
        check_range("drift_change", self.drift_change, 0, 1)
        check_range("jitter_px", self.jitter_px, 0)

    def drift(self, n_shots: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the position of the middle of each frame and its speed, ``(n, 2, 2)``."""
        speed = rng.normal(0, self.drift_px, 2)
        position = np.zeros(2)
        path = np.empty((n_shots, 2, 2))
        for i in range(n_shots):
            path[i] = position, speed
            change = rng.normal(0, self.drift_px, 2)
            new = np.sqrt(1 - self.drift_change**2) * speed + self.drift_change * change
            position = position + (speed + new) / 2
            speed = new
        return path

    def displace(
        self, image: Image, position: NDArray[np.float64], rng: np.random.Generator
    ) -> Image:
        """Move the specimen by a drift (position, speed) and the rows by their jitter."""
        height, width = image.shape
        row = (np.arange(height) + 0.5) / height - 0.5
        dy, dx = (position[0][i] + position[1][i] * row for i in range(2))
        if self.jitter_px > 0:
            dx = dx + rng.normal(0, self.jitter_px, height)
        if not (np.any(dy) or np.any(dx)):
            return image
        y = (np.arange(height) - dy).astype(np.float32)
        x = np.arange(width, dtype=np.float32)[None, :] - dx.astype(np.float32)[:, None]
        # OpenCV's cubic of remap works on 1/32 px; rows that only move along x stay whole in y.
        moved = cv2.remap(
            image,
            x,
            np.broadcast_to(y[:, None], image.shape).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(np.maximum(moved, 0), np.float32)


@dataclass(frozen=True)
class Dose:
    """How many electrons are detected, and how unequal their pulses are.

    Parameters
    ----------
    arrivals_per_px
        Mean number of detected electrons in a pixel of scene brightness 1.
    compound
        Whether pulse heights are exponential (they are behind a scintillator and a photo
        multiplier); else all are equal.
    """

    arrivals_per_px: float = 60.0
    compound: bool = True

    def __post_init__(self) -> None:
        check_range("arrivals_per_px", self.arrivals_per_px, 1e-3)


@dataclass(frozen=True)
class Detector:
    """The detector's memory and electronics.

    Parameters
    ----------
    taps
        Causal filter along the scan line; see :func:`everhart.simulate.apply_taps`, and
        :func:`everhart.simulate.exponential_taps` for an exponential decay.
    readout_sigma
        White noise of the electronics, in grey levels.
    row_offset_sigma
        Standard deviation of the brightness offset of a row, in grey levels.
    """

    taps: tuple[float, ...] = (1.0,)
    readout_sigma: float = 0.0
    row_offset_sigma: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", tuple(float(t) for t in self.taps))
        if not self.taps or not np.isfinite(self.taps).all() or sum(self.taps) <= 0:
            raise UsageError(
                f"Taps {self.taps!r} were given: give finite numbers with a positive sum."
            )
        check_range("readout_sigma", self.readout_sigma, 0)
        check_range("row_offset_sigma", self.row_offset_sigma, 0)


@dataclass(frozen=True)
class Converter:
    """Brightness and contrast, and the analogue-to-digital converter.

    Parameters
    ----------
    bits
        1 to 16; up to 8 give uint8, more give uint16.
    black, white
        Grey level of scene brightness 0 and 1; `white` is full scale where None.
    """

    bits: int = 8
    black: float = 0.0
    white: float | None = None

    def __post_init__(self) -> None:
        if int(self.bits) != self.bits or not 1 <= self.bits <= 16:
            raise UsageError(f"bits = {self.bits!r} was given: give a whole number from 1 to 16.")
        check_range("black", self.black, -1e6, 1e6)
        if self.white is not None:
            check_range("white", self.white, -1e6, 1e6)
        if self.white_level <= self.black:
            raise UsageError(
                f"white = {self.white_level:g} and black = {self.black:g} were given: white must "
                "be above black."
            )

    @property
    def full_scale(self) -> int:
        """Largest grey level."""
        return int(2**self.bits - 1)

    @property
    def white_level(self) -> float:
        """Grey level of scene brightness 1."""
        return float(self.full_scale if self.white is None else self.white)

    @property
    def contrast(self) -> float:
        """Grey levels from scene brightness 0 to 1."""
        return self.white_level - self.black

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Dtype of the converted image."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    def convert(self, grey: Image) -> NDArray[np.generic]:
        """Round and clip grey levels."""
        return np.clip(np.rint(grey), 0, self.full_scale).astype(self.dtype)
