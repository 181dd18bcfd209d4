"""`NoiseModel`: the noise of one shot in a few numbers, and what follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.simulate.components import Beam, Converter, Detector, Dose
from everhart.simulate.microscope import Microscope
from everhart.simulate.sampling import sample_noise
from everhart.simulate.scene import Image

__all__ = ["NoiseModel"]


@dataclass(frozen=True)
class NoiseModel:
    """Noise of one shot: arrivals with unequal pulses, detector filter, readout.

    Parameters
    ----------
    gain
        Grey levels of a mean pulse.
    taps
        Causal filter along the scan line, sum 1.
    readout_sigma
        White noise after the filter, in grey levels.
    black
        Grey level at which no electron arrives.
    row_offset_sigma
        Standard deviation of the brightness offset of a row, in grey levels.
    compound
        Whether pulse heights are exponential rather than equal.
    r2
        Share of the variation of the patches' variance over grey levels that the model explains,
        once the scatter that so few pixels must have is taken out; 1 is a perfect fit.
    skew_ratio
        Measured over modelled third moment; 1 is a perfect fit, 2/3 would be equal pulses in place
        of exponential ones. NaN where it could not be measured.
    n_patches, n_pixels
        How much flat area it was fitted to.
    level_range
        Lowest and highest mean grey level of that area.
    """

    gain: float
    taps: tuple[float, ...]
    readout_sigma: float
    black: float = 0.0
    row_offset_sigma: float = 0.0
    compound: bool = True
    r2: float = float("nan")
    skew_ratio: float = float("nan")
    n_patches: int = 0
    n_pixels: int = 0
    level_range: tuple[float, float] = (float("nan"), float("nan"))

    def variance(self, level: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variance at a mean grey level, without clipping."""
        return self.autocovariance(level, 0)[..., 0]

    def autocovariance(
        self, level: float | NDArray[np.float64], max_lag: int
    ) -> NDArray[np.float64]:
        """Return the autocovariance along the scan line at lags 0 to `max_lag` (last axis)."""
        signal = np.maximum(np.asarray(level, np.float64) - self.black, 0)
        shot = (2 if self.compound else 1) * self.gain * signal
        taps = np.asarray(self.taps)
        overlap = np.zeros(max_lag + 1)
        for lag in range(min(max_lag + 1, taps.size)):
            overlap[lag] = taps[: taps.size - lag] @ taps[lag:]
        white = np.zeros(max_lag + 1)
        white[0] = self.readout_sigma**2
        return np.asarray(shot[..., None] * overlap + white + self.row_offset_sigma**2, np.float64)

    def skew(self, level: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the skewness at a mean grey level, without clipping."""
        return np.asarray(self.third_moment(level) / self.variance(level) ** 1.5, np.float64)

    def third_moment(self, level: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the third central moment at a mean grey level, without clipping."""
        signal = np.maximum(np.asarray(level, np.float64) - self.black, 0)
        pulses = (6 if self.compound else 1) * self.gain**2 * signal
        return np.asarray(pulses * (np.asarray(self.taps) ** 3).sum(), np.float64)

    def sample(self, expected: Image, rng: np.random.Generator) -> Image:
        """Draw a noisy image around expected grey levels ``(H, W)``; not clipped or rounded."""
        noisy = sample_noise(
            expected - np.float32(self.black),
            rng,
            gain=self.gain,
            taps=self.taps,
            readout_sigma=self.readout_sigma,
            row_offset_sigma=self.row_offset_sigma,
            compound=self.compound,
        )
        return np.asarray(noisy + np.float32(self.black), np.float32)

    def microscope(
        self, *, bits: int = 8, white: float | None = None, beam: Beam | None = None, name: str = ""
    ) -> Microscope:
        """Return a microscope with this noise.

        Parameters
        ----------
        bits, white
            See :class:`everhart.simulate.Converter`.
        beam
            Its probe.
        name
            Its name.
        """
        converter = Converter(bits=bits, black=self.black, white=white)
        return Microscope(
            beam=beam,
            dose=Dose(converter.contrast / self.gain, self.compound) if self.gain > 0 else None,
            detector=Detector(self.taps, self.readout_sigma, self.row_offset_sigma),
            converter=converter,
            name=name,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the model as a JSON-serialisable dict."""
        return asdict(self)
