"""Random microscopes for training: the range of noise that a general denoiser must meet."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Image: TypeAlias = NDArray[np.float32]


class NoiseRange(BaseModel):
    """Ranges from which the microscope of each training sample is drawn.

    Grey levels are those of a scene from 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma: tuple[float, float] = Field(
        (0.01, 0.45), description="noise at mid grey, drawn log-uniformly"
    )
    white: float = Field(0.3, ge=0, le=1, description="share of samples with white noise")
    decay_px: tuple[float, float] = Field(
        (0.2, 1.5), description="decay of the detector filter along the scan line, in pixels"
    )
    row_noise: float = Field(0.2, ge=0, le=1, description="share of samples with row offsets")
    blur_px: tuple[float, float] = Field((0.0, 1.5), description="sigma of the beam, in pixels")
    quantised: float = Field(0.6, ge=0, le=1, description="share of samples clipped to 8 bit")

    @field_validator("sigma", "decay_px", "blur_px")
    @classmethod
    def _ordered(cls, given: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        low, high = given
        if not 0 <= low <= high < math.inf or (info.field_name == "sigma" and low == 0):
            least = "above 0" if info.field_name == "sigma" else "of at least 0"
            raise ValueError(f"give the lowest and the highest value, both {least}")
        return given

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw the parameters of one microscope."""
        from everhart.simulate.presets import preset_parts
        from everhart.simulate.sampling import exponential_taps

        kind = rng.random()
        if kind < self.white:
            taps: tuple[float, ...] = (1.0,)
        elif kind < self.white + 0.5 * (1 - self.white):
            taps = exponential_taps(float(rng.uniform(*self.decay_px)), cutoff=0.02)
        else:  # the measured filter, a little varied
            taps = tuple(
                np.asarray(preset_parts("tin-balls")["detector"].taps)
                * np.exp(rng.normal(0, 0.25, 4))
            )
        sigma = float(np.exp(rng.uniform(*np.log(self.sigma))))
        return {
            "sigma": sigma,
            "shot_share": float(np.sqrt(rng.random())),
            "pedestal": float(rng.uniform(0, 0.3)),
            "contrast": float(rng.uniform(0.4, 1.0)),
            "taps": taps,
            "compound": bool(rng.random() < 0.7),
            "row_sigma": sigma * float(rng.uniform(0, 0.3)) * (rng.random() < self.row_noise),
            # Squared: images of a fine probe, or binned ones, are as sharp as pixels can be.
            "blur_px": self.blur_px[0] + float(np.ptp(self.blur_px) * rng.random() ** 2),
            "quantised": bool(rng.random() < self.quantised),
        }

    def corrupt(self, scene: Image, rng: np.random.Generator) -> tuple[Image, Image]:
        """Image a scene with a random microscope.

        Parameters
        ----------
        scene
            Brightness from 0 to 1, of shape ``(H, W)``.
        rng
            Source of randomness.

        Returns
        -------
        noisy, expected
            One exposure, and what it would be without noise, on the same grey scale.
        """
        import cv2

        from everhart.simulate.sampling import apply_taps, sample_noise

        p = self.draw(rng)
        if p["blur_px"] > 0.3:
            scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), p["blur_px"]), np.float32)
        signal = np.float32(p["pedestal"]) + np.float32(p["contrast"]) * scene
        expected = apply_taps(signal, p["taps"])
        filtered = sum(t * t for t in p["taps"]) / sum(p["taps"]) ** 2
        # Mid grey has the variance sigma^2, shared between shot noise and readout.
        shot = p["shot_share"] * p["sigma"] ** 2
        middle = p["pedestal"] + 0.5 * p["contrast"]
        gain = shot / (middle * filtered * (2 if p["compound"] else 1))
        noisy = sample_noise(
            signal,
            rng,
            gain=gain,
            taps=p["taps"],
            readout_sigma=float(np.sqrt(p["sigma"] ** 2 - shot)),
            row_offset_sigma=p["row_sigma"],
            compound=p["compound"],
        )
        if p["quantised"]:
            top = p["pedestal"] + 1.15 * p["contrast"] + rng.uniform(0, 4) * p["sigma"]
            bottom = min(0.0, p["pedestal"] - rng.uniform(0, 4) * p["sigma"])
            noisy = _quantise(noisy, bottom, top)
            expected = np.clip(expected, bottom, top)
        return noisy, expected


def _quantise(image: Image, bottom: float, top: float) -> Image:
    """Clip and round to 256 levels, as an 8-bit converter does."""
    step = np.float32((top - bottom) / 255)
    levels = np.clip(np.rint((image - np.float32(bottom)) / step), 0, 255)
    return np.asarray(levels * step + np.float32(bottom), np.float32)
