"""Advice on what to do about a noise, in words and in codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from everhart.noise.model import NoiseEstimate

__all__ = ["Advice", "advise"]

_CORRELATED = 0.1
_CLIPPED = 0.005
_SKEWED = 0.5
_QUIET_DB = 45.0


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Parameters
    ----------
    code
        Stable name of the finding, to be read by machine, such as ``"correlated-x"``.
    message
        What was found and what to do, in one sentence.
    methods
        Methods and recipes that suit, best first; names that ``--method`` and ``train`` know.
    """

    code: str
    message: str
    methods: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the advice as a JSON-serialisable dict."""
        return {"code": self.code, "message": self.message, "methods": list(self.methods)}


def advise(noise: NoiseEstimate, n_frames: int, psnr_db: float) -> tuple[Advice, ...]:
    """Return what to do about a noise, the most important first.

    Parameters
    ----------
    noise
        Noise of one frame.
    n_frames
        Number of repeated frames at hand.
    psnr_db
        Peak signal-to-noise ratio of one frame.

    Returns
    -------
    tuple of Advice
        At least one, on the method.
    """
    out = [_method(noise, n_frames, psnr_db)]
    if abs(noise.correlation_along("y")[1]) > _CORRELATED:
        out.append(_across(noise))
    if noise.gain > 0:
        out.append(
            Advice(
                "signal-dependent",
                f"the variance grows with the signal (slope {noise.gain:.3g} grey levels): "
                "everhart's classical methods stabilise it; for others, apply the generalised "
                "Anscombe transform first",
            )
        )
    elif noise.gain < 0:
        out.append(
            Advice(
                "inverted",
                f"the variance falls with the signal (slope {noise.gain:.3g}): the contrast looks "
                "inverted, or highlights are compressed; check the detector's settings",
            )
        )
    for fraction, end, remedy in (
        (noise.saturated_low, "black", "raise the brightness"),
        (noise.saturated_high, "white", "lower the contrast or the brightness"),
    ):
        if fraction > _CLIPPED:
            out.append(
                Advice(
                    f"saturated-{end}",
                    f"{fraction:.1%} of the pixels are clipped at {end}: their grey level is lost "
                    f"and no method brings it back; {remedy} on the microscope",
                )
            )
    if math.isfinite(noise.skew) and noise.skew > _SKEWED:
        out.append(
            Advice(
                "skewed",
                f"the noise has a skew of {noise.skew:.2f}: there are few electrons in a pixel, "
                "and a median, or a network trained with L1, gives grey levels that are too dark; "
                "use a mean or a squared loss",
                ("sem-general", "nlm"),
            )
        )
    return tuple(out)


def _method(noise: NoiseEstimate, n_frames: int, psnr_db: float) -> Advice:
    r_x, r_y = float(noise.correlation_along("x")[1]), float(noise.correlation_along("y")[1])
    if psnr_db > _QUIET_DB:
        return Advice(
            "quiet",
            f"the noise is {psnr_db:.0f} dB below the grey range: there is little to gain from "
            "denoising",
        )
    lag, along = (r_x, "along the scan line") if abs(r_x) >= abs(r_y) else (r_y, "across the lines")
    if abs(lag) > _CORRELATED:
        frames = (
            f"use noise2noise on the {n_frames} frames at hand"
            if n_frames > 1
            else "use noise2noise on repeated frames"
        )
        return Advice(
            "correlated-x" if along.startswith("along") else "correlated-y",
            f"lag-1 r = {lag:.2f} {along}: blind-spot training would keep this noise; {frames}, or "
            "the shipped model",
            ("sem-general", "n2n") if n_frames == 1 else ("n2n", "sem-general"),
        )
    reach = float(np.abs(noise.correlation_along("x")[1:]).max())
    if n_frames > 1:
        return Advice(
            "frames",
            f"{n_frames} repeated frames with noise that is white (|r| up to {reach:.2f}): "
            "noise2noise on them learns this very specimen; averaging them is the safe start",
            ("n2n", "sem-general"),
        )
    return Advice(
        "white",
        f"the noise is white (|r| up to {reach:.2f}): the shipped model, any classical method or "
        "blind-spot training on this image will do",
        ("sem-general", "n2v", "nlm"),
    )


def _across(noise: NoiseEstimate) -> Advice:
    r_y = float(noise.correlation_along("y")[1])
    return Advice(
        "filtered",
        f"lag-1 r = {r_y:.2f} from line to line: detectors of a scanning microscope do not do "
        "that; the image was smoothed, resized or compressed, or it is a camera's; go back to the "
        "raw frames where there are any",
    )
