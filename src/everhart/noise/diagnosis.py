"""Diagnosis of noise: from one image, from repeated frames, or against a clean reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of
from everhart.noise.advice import Advice, advise
from everhart.noise.correlation import autocorrelation
from everhart.noise.estimate import clipping, estimate_noise, mid_grey
from everhart.noise.model import MAX_LAG_PX, NoiseEstimate

__all__ = ["NoiseReport", "diagnose"]

Float = NDArray[np.float64]

_TARGET_PSNR_DB = 40.0
_BINS = 16
_MAX_SHIFT_PX = 40.0


@dataclass(frozen=True, eq=False)
class NoiseReport:
    """What is known of the noise of an image, and what to do about it.

    Parameters
    ----------
    source
        What it was measured on: ``"single image"``, ``"repeated frames"`` or ``"reference"``.
    noise
        The noise of one frame; its `correlation` is the Pearson correlation map.
    n_frames
        Number of frames.
    shifts_px
        ``(dy, dx)`` by which frames (or the reference) were moved onto the first frame.
    grey_range
        Grey levels that are in use: 0.5th and 99.5th percentile of the smoothed image.
    psnr_db
        Peak signal-to-noise ratio of one frame, the peak being the extent of `grey_range`.
    equivalent_frames
        Number of frames with the noise of this one whose average has the noise of a target:
        ``sigma**2 / sigma_target**2``. The target is, against a reference, the reference itself;
        for repeated frames, their own mean, so that the figure is at most about the number
        of frames, and less where they share noise; for a single image, a noise of 1 % of the
        grey range (40 dB). NaN where the target has no noise that can be measured.
    equivalent_frames_meaning
        The same in words.
    advice
        What to do, the most important first.
    """

    source: str
    noise: NoiseEstimate
    n_frames: int
    shifts_px: tuple[tuple[float, float], ...]
    grey_range: tuple[float, float]
    psnr_db: float
    equivalent_frames: float
    equivalent_frames_meaning: str
    advice: tuple[Advice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-serialisable dict; None for what is not known."""
        return {
            "source": self.source,
            "n_frames": self.n_frames,
            "shifts_px": [list(shift) for shift in self.shifts_px],
            "grey_range": list(self.grey_range),
            "psnr_db": _finite(self.psnr_db),
            "equivalent_frames": _finite(self.equivalent_frames),
            "equivalent_frames_meaning": self.equivalent_frames_meaning,
            "noise": self.noise.to_dict(),
            "advice": [item.to_dict() for item in self.advice],
        }

    def __str__(self) -> str:
        noise = self.noise
        lags_x = " ".join(f"{value:+.2f}" for value in noise.correlation_along("x")[1:4])
        lags_y = " ".join(f"{value:+.2f}" for value in noise.correlation_along("y")[1:4])
        line = f"variance = {noise.readout_variance:.4g}"
        if noise.signal_dependent:
            zero = f"(grey - {noise.pedestal:.4g})" if noise.pedestal else "grey"
            line = f"variance = {noise.gain:.4g} * {zero} + {noise.readout_variance:.4g}"
        frames = f", {self.n_frames} frames" if self.n_frames > 1 else ""
        skew = f"{noise.skew:+.2f}" if math.isfinite(noise.skew) else "not known"
        worth = (
            f"{self.equivalent_frames:.3g} ({self.equivalent_frames_meaning})"
            if math.isfinite(self.equivalent_frames)
            else "not known"
        )
        rows = [
            ("measured on", f"{self.source}{frames}"),
            ("sigma", f"{noise.sigma:.4g} grey levels ({self.psnr_db:.1f} dB)"),
            ("model", line),
            ("correlation x", f"{lags_x} at lags 1 to 3 px"),
            ("correlation y", f"{lags_y} at lags 1 to 3 px"),
            ("skew", f"{skew} at mid grey"),
            ("saturated", f"{noise.saturated_low:.2%} black, {noise.saturated_high:.2%} white"),
            ("equivalent frames", worth),
        ]
        lines = [f"{name:18} {value}" for name, value in rows]
        return "\n".join(lines + [f"- {item.message}" for item in self.advice])


def diagnose(
    image: Micrograph | ArrayLike | Sequence[Micrograph],
    reference: Micrograph | ArrayLike | None = None,
) -> NoiseReport:
    """Diagnose the noise of a micrograph.

    Parameters
    ----------
    image
        One image ``(H, W)``, or repeated frames of one field: a stack ``(N, H, W)`` or a sequence
        of images; NaN where there are no pixels. With a single image the noise is estimated
        (:func:`everhart.noise.estimate_noise`). With frames it is measured, on their differences
        after registration to sub-pixel; nothing of the specimen is in those. Frames are
        moved by Fourier phases, which leave the noise's spectrum as it is.
    reference
        Clean image of the same field, such as an average of many frames. It is registered and
        matched in grey levels, and the noise measured on the difference. A stack is
        then judged by its first frame.

    Returns
    -------
    NoiseReport
        Correlation map, variance against mean, skew, saturation, equivalent frame count, advice.

    Raises
    ------
    UsageError
        If shapes differ or an image is smaller than 16 x 16 pixels.

    Notes
    -----
    Variance, correlation and skew are taken where the specimen is flat and nothing is clipped. Of a
    difference to a reference, whatever varies more slowly than 20 pixels (charging,
    drift of brightness) is not counted as noise.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ramp = np.tile(np.linspace(50, 200, 128), (128, 1))
    >>> frames = rng.poisson(ramp, size=(4, 128, 128)).astype(float)
    >>> report = diagnose(frames)
    >>> report.source, round(report.noise.gain, 1), report.noise.white
    ('repeated frames', 1.0, True)
    """
    frames = _frames(image)
    if min(frames.shape[-2:]) < 16:
        raise UsageError(
            f"An image of {frames.shape[-2]} x {frames.shape[-1]} pixels was given: a diagnosis of "
            "noise needs at least 16 x 16."
        )
    if reference is not None:
        report = _against_reference(_filled(frames[0]), _filled(np.asarray(field_of(reference))))
    elif len(frames) > 1:
        report = _from_frames(_filled(frames))
    else:
        report = _from_single(frames[0])
    return replace(report, advice=advise(report.noise, report.n_frames, report.psnr_db))


def _frames(image: Any) -> NDArray[Any]:
    """Return frames ``(N, H, W)``."""
    many = isinstance(image, Sequence) and image and all(isinstance(m, Micrograph) for m in image)
    views = [field_of(m) for m in image] if many else [field_of(image)]
    views = [view[None] if view.ndim == 2 else view for view in views]
    shapes = sorted({view.shape[1:] for view in views})
    if len(shapes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in shapes)
        raise UsageError(
            f"Frames of different shapes were given ({listed}): repeated frames show one field in "
            "one format; diagnose other images one by one."
        )
    return np.concatenate(views)


def _filled(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels with the median in place of NaN and infinities, which spread in a spectrum."""
    finite = np.isfinite(pixels)
    if finite.all():
        return pixels
    if not finite.any():
        raise UsageError(
            "An image without a single finite pixel was given: there is no noise in it."
        )
    return np.where(finite, pixels, np.median(pixels[finite]))


def _from_single(image: NDArray[Any]) -> NoiseReport:
    noise = estimate_noise(image)
    grey_range, psnr_db = _scale(image, noise)
    target = (grey_range[1] - grey_range[0]) / 10 ** (_TARGET_PSNR_DB / 20)
    return NoiseReport(
        source="single image",
        noise=noise,
        n_frames=1,
        shifts_px=(),
        grey_range=grey_range,
        psnr_db=psnr_db,
        equivalent_frames=max(1.0, _ratio(noise.sigma, target)) if target > 0 else math.nan,
        equivalent_frames_meaning=(
            f"frames like this one to average for {_TARGET_PSNR_DB:.0f} dB, noise of 1 % of the "
            "grey range"
        ),
    )


def _from_frames(frames: NDArray[Any]) -> NoiseReport:
    from everhart.align import common_margin, estimate_shift

    low, high, clipped = _clipping_of(frames)
    values = frames.astype(np.float64)
    shifts = [(0.0, 0.0)]
    shifts += [estimate_shift(f, values[0], max_shift_px=_max_shift(f)) for f in values[1:]]
    largest = (max(abs(s[0]) for s in shifts), max(abs(s[1]) for s in shifts))
    inside = common_margin(largest)
    moved = np.stack([_shifted(f, s)[inside] for f, s in zip(values, shifts, strict=True)])
    # Brightness and contrast drift from frame to frame; the first frame sets them.
    mean = moved.mean(axis=0)
    moved = np.stack([_level_matched(frame, mean) for frame in moved])
    mean = moved.mean(axis=0)
    unusable = clipped[inside]
    # Neighbours in time: what drifts slowly cancels.
    differences = (moved[1:] - moved[:-1]) / math.sqrt(2)
    noise = _measured(differences, mean, unusable)
    if len(frames) > 2:
        # n - (mean of the others) has the third cumulant of n, less that of the mean.
        others = (moved.sum(axis=0) - moved) / (len(moved) - 1)
        skew = _skew(moved - others, mean, unusable)
        count = len(moved) - 1
        skew *= (1 + 1 / count) ** 1.5 / (1 - 1 / count**2)
    else:
        # The difference of two frames is symmetric and has forgotten the skew.
        skew = float(np.mean([estimate_noise(frame).skew for frame in frames]))
    noise = replace(noise, skew=skew, saturated_low=low, saturated_high=high)
    grey_range, psnr_db = _scale(mean, noise)
    return NoiseReport(
        source="repeated frames",
        noise=noise,
        n_frames=len(frames),
        shifts_px=tuple(shifts),
        grey_range=grey_range,
        psnr_db=psnr_db,
        equivalent_frames=_ratio(
            float(np.median([estimate_noise(frame).sigma for frame in moved[:8]])),
            estimate_noise(mean).sigma,
        ),
        equivalent_frames_meaning=(
            f"independent frames like one of these that the mean of all {len(frames)} is worth"
        ),
    )


def _against_reference(image: NDArray[Any], reference: NDArray[Any]) -> NoiseReport:
    from everhart.align import common_margin, estimate_shift, shift_image

    if reference.ndim == 3:
        reference = reference.mean(axis=0)
    if image.shape != reference.shape:
        raise UsageError(
            f"An image of shape {image.shape} and a reference of shape {reference.shape} were "
            "given: both must show the same field in the same format."
        )
    low, high, clipped = _clipping_of(image[None])
    fixed, clean = image.astype(np.float64), reference.astype(np.float64)
    shift = estimate_shift(clean, fixed, max_shift_px=_max_shift(clean))
    inside = common_margin(shift)
    # The clean image is the one that is moved: interpolation would change the noise.
    moved, fixed = shift_image(clean, shift)[inside], fixed[inside]
    matched = _level_matched(moved, fixed)
    residual = fixed - matched
    unusable = clipped[inside]
    noise = _measured(_without_background(residual)[None], matched, unusable)
    noise = replace(
        noise,
        skew=_skew(residual[None], matched, unusable),
        saturated_low=low,
        saturated_high=high,
    )
    spread = float(moved.std())
    gain = float(matched.std()) / spread if spread > 0 else 1.0
    grey_range, psnr_db = _scale(matched, noise)
    return NoiseReport(
        source="reference",
        noise=noise,
        n_frames=1,
        shifts_px=(shift,),
        grey_range=grey_range,
        psnr_db=psnr_db,
        equivalent_frames=_ratio(noise.sigma, gain * estimate_noise(reference).sigma),
        equivalent_frames_meaning="frames like this one that the reference is worth",
    )


def _measured(noises: Float, level: Float, unusable: NDArray[np.bool_]) -> NoiseEstimate:
    """Return the estimate from fields of nothing but noise, ``(N, H, W)``, and the grey level."""
    flat = _flat_mask(level, unusable)
    lags = min(MAX_LAG_PX, min(level.shape) // 3)
    correlation = np.mean([autocorrelation(n, lags, mask=flat) for n in noises], axis=0)
    full = np.zeros((2 * MAX_LAG_PX + 1, 2 * MAX_LAG_PX + 1))
    margin = MAX_LAG_PX - lags
    full[margin : margin + 2 * lags + 1, margin : margin + 2 * lags + 1] = correlation
    squares = np.mean(noises**2, axis=0)[flat]
    order = np.argsort(level[flat], kind="stable")
    groups = np.array_split(order, int(np.clip(order.size // 500, 1, _BINS)))
    levels = np.array([float(level[flat][g].mean()) for g in groups])
    variances = np.array([float(squares[g].mean()) for g in groups])
    counts = np.array([float(g.size) for g in groups])
    return NoiseEstimate.from_line(levels, variances, counts, float(level.mean()), full)


def _flat_mask(level: Float, unusable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the flatter half of the pixels at each grey level, without what is clipped."""
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, uniform_filter

    gradient = gaussian_gradient_magnitude(level, 1.5, mode="nearest")
    smooth = gaussian_filter(level, 1.5, mode="nearest")
    usable = uniform_filter(unusable.astype(np.float64), 15, mode="reflect") <= 0.01
    if usable.sum() < 64:
        usable = np.ones(level.shape, bool)
    index = np.flatnonzero(usable)
    order = index[np.argsort(smooth.ravel()[index], kind="stable")]
    mask = np.zeros(level.size, bool)
    for group in np.array_split(order, _BINS if order.size > 100 * _BINS else 1):
        steepness = gradient.ravel()[group]
        mask[group[steepness <= np.median(steepness)]] = True
    return mask.reshape(level.shape)


def _skew(noises: Float, level: Float, unusable: NDArray[np.bool_]) -> float:
    flat = _flat_mask(level, unusable)
    middle = mid_grey(level[flat])
    values = [noise[flat][middle] for noise in noises]
    centred = np.concatenate([v - v.mean() for v in values])
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / variance**1.5 if variance > 0 else math.nan


def _without_background(residual: Float) -> Float:
    from scipy.ndimage import gaussian_filter

    return np.asarray(residual - gaussian_filter(residual, 20.0, mode="reflect"))


def _level_matched(image: Float, reference: Float) -> Float:
    from scipy.ndimage import gaussian_filter

    from everhart.metrics import affine_match

    # On smoothed images: noise in the regressor would flatten the slope.
    gain, offset = affine_match(
        gaussian_filter(image, 3.0, mode="nearest"), gaussian_filter(reference, 3.0, mode="nearest")
    )
    return gain * image + offset


def _shifted(frame: Float, shift_px: tuple[float, float]) -> Float:
    """Move a frame by Fourier phases, mirrored at its borders, so that white noise stays white."""
    from scipy.fft import irfft, rfft, rfftfreq

    for axis, shift in enumerate(shift_px):
        if shift == 0:
            continue
        length = frame.shape[axis]
        doubled = np.concatenate([frame, np.flip(frame, axis)], axis=axis)
        phase = np.exp(-2j * math.pi * shift * rfftfreq(2 * length))
        turned = rfft(doubled, axis=axis) * (phase[:, None] if axis == 0 else phase)
        moved = irfft(turned, n=2 * length, axis=axis)
        frame = moved[:length] if axis == 0 else moved[:, :length]
    return frame


def _clipping_of(frames: NDArray[Any]) -> tuple[float, float, NDArray[np.bool_]]:
    found = [clipping(frame) for frame in frames]
    low, high = (float(np.mean([f[i] for f in found])) for i in (0, 1))
    return low, high, np.any([f[2] for f in found], axis=0)


def _scale(image: NDArray[Any], noise: NoiseEstimate) -> tuple[tuple[float, float], float]:
    """Return the grey range in use, and the PSNR of the noise over it."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image.astype(np.float64), 2.0, mode="nearest")
    low, high = (float(v) for v in np.quantile(smooth[np.isfinite(smooth)], (0.005, 0.995)))
    if noise.sigma <= 0:
        return (low, high), math.inf
    extent = high - low
    return (low, high), 20 * math.log10(extent / noise.sigma) if extent > 0 else -math.inf


def _max_shift(frame: NDArray[Any]) -> float:
    return float(min(_MAX_SHIFT_PX, min(frame.shape) / 4))


def _ratio(sigma: float, target: float) -> float:
    if target <= 0:
        return math.nan
    ratio = sigma / target
    return ratio * ratio


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
