"""`fit_noise`: the parameters of a microscope's noise from its own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.micrograph import Array, Micrograph, field_of
from everhart.simulate.noise_model import NoiseModel
from everhart.simulate.residuals import PatchMoments, flat_patches, patch_moments
from everhart.simulate.scene import Image

__all__ = ["NoiseModel", "fit_noise", "fit_noise_moments"]


def fit_noise(
    noisy: Micrograph | Array | Sequence[Micrograph | Array],
    clean: Micrograph | Array | Sequence[Micrograph | Array] | None = None,
    *,
    clean_shots: float = np.inf,
    register: bool = True,
    patch_px: int = 16,
    n_taps: int = 4,
    flatness: float | None = None,
    black: float | None = None,
) -> NoiseModel:
    """Fit the noise of a microscope to pairs of images, or to repeated frames of one field.

    Parameters
    ----------
    noisy
        Noisy image, or a sequence of them; or, without `clean`, a stack (or a sequence) of at
        least two frames of one field of view, of shape ``(N, H, W)``.
    clean
        Low-noise image of each noisy one, of the same shape. It may have drifted.
    clean_shots
        Number of shots of the noisy kind that make up a clean image (ratio of their exposure);
        infinite where a clean image has no noise of its own.
    register
        Whether to lay the images on each other first: clean ones by an affine map
        (:func:`everhart.align.register_pair`), frames by whole pixels.
    patch_px
        Side of the flat patches in which noise is measured.
    n_taps
        Number of taps of the detector filter, 1 to ``patch_px // 4``.
    flatness
        Largest deviation of the lightly blurred reference from a plane in a patch, in grey
        levels; where None the flattest quarter of the patches is used.
    black
        Grey level of no signal where it is known; where None it is fitted.

    Returns
    -------
    NoiseModel
        The fitted noise.

    Raises
    ------
    UsageError
        If the inputs do not belong together.
    EverhartError
        If the images have too little flat area.

    Notes
    -----
    In a patch of mean grey level g the autocovariance along the scan at lag j is
    ``A_j (g - black)``, plus ``readout_sigma**2`` at lag 0. Lines are fitted to it over grey
    levels, weighted by its scatter. The lines at lags above 0 cross zero at `black`; then the
    offset at lag 0 is the readout. The sum of the ``A_j`` over all lags, positive and negative, is
    ``2 gain``, and their spectral factorisation [1]_ gives the taps: of the filters
    with this autocorrelation the one with its weight up front, which an electronic low-pass
    has.

    References
    ----------
    .. [1] G. Wilson, "Factorization of the covariance generating function of a pure moving
       average process", SIAM J. Numer. Anal. 6 (1969), 1-7.
    """
    if not (int(n_taps) == n_taps and 1 <= n_taps <= patch_px // 4):
        raise UsageError(
            f"n_taps = {n_taps!r} was given with patch_px = {patch_px!r}: give a whole number from "
            "1 to a quarter of the patch's side."
        )
    if not clean_shots > 0:
        raise UsageError(f"clean_shots = {clean_shots!r} was given: it must be positive.")
    if clean is None:
        pairs = _frame_pairs(noisy, register)
    else:
        pairs = _image_pairs(noisy, clean, register, clean_shots)
    parts = []
    for shot, reference, shots, full_scale in pairs:
        corners = flat_patches(reference, patch_px, share=0.25, tolerance=flatness)
        if len(corners):
            parts.append(
                patch_moments(
                    shot,
                    reference,
                    corners,
                    patch_px=patch_px,
                    max_lag=n_taps,
                    reference_shots=shots,
                    full_scale=full_scale,
                )
            )
    if not parts:
        raise EverhartError(
            "The images have no flat patch to measure noise in: give a larger flatness, a smaller "
            "patch_px or other images."
        )
    return fit_noise_moments(PatchMoments.concatenate(parts), n_taps=n_taps, black=black)


def fit_noise_moments(
    moments: PatchMoments, *, n_taps: int = 4, black: float | None = None
) -> NoiseModel:
    """Fit the noise to moments that were measured already; see :func:`fit_noise`.

    Parameters
    ----------
    moments
        Moments of patches from any number of images.
    n_taps, black
        See :func:`fit_noise`.

    Returns
    -------
    NoiseModel
        The fitted noise.
    """
    # Clipping narrows the distribution; two pixels in a thousand at the end of the scale change
    # the variance by less than one per cent.
    used = moments.select(moments.clipped <= 0.002)
    if len(used) < 8:
        raise EverhartError(
            f"Only {len(used)} flat patches without clipped pixels were found and 8 are needed: "
            "give more images, a larger flatness or a smaller patch_px."
        )
    level = used.level
    row_variance = float(used.row_covariance.mean())
    # The filter's faint tail and leftovers of the picture look like an offset of rows too: count
    # it only where it is significant and more than one per cent of the variance.
    scatter = float(used.row_covariance.std()) / np.sqrt(len(used))
    if row_variance < max(3 * scatter, 0.01 * float(used.covariance[:, 0].mean())):
        row_variance = 0.0
    covariance = used.covariance[:, :n_taps] - row_variance
    weight = np.ones(len(used))
    slopes = np.zeros(n_taps)
    offsets = np.zeros(n_taps)
    spread = float(level.std()) > 0.02 * max(float(level.mean()), 1e-9)
    for _ in range(5):
        slopes, offsets, zero = _fit_lines(level, covariance, weight, black, spread)
        modelled = slopes[0] * (level - zero) + offsets[0]
        floor = 0.02 * max(float(np.median(covariance[:, 0])), 1e-12)
        weight = 1 / np.maximum(modelled, floor) ** 2
    readout = float(np.sqrt(max(offsets[0], 0.0)))
    total = float(slopes[0] + 2 * slopes[1:].sum())
    if slopes[0] <= 0 or total <= 0:
        model = NoiseModel(0.0, (1.0,), float(np.sqrt(max(np.average(covariance[:, 0]), 0))), zero)
    else:
        taps = factor_autocovariance(slopes)
        gain = float(taps.sum() ** 2 / 2)
        model = NoiseModel(gain, tuple(float(t) for t in taps / taps.sum()), readout, zero)
    ratio, compound = _pulse_kind(used.third, model.third_moment(level), weight)
    predicted = model.variance(level)
    return replace(
        model,
        # Equal pulses of twice the height have the same variance, and a ratio of 1 of their own.
        gain=model.gain if compound else 2 * model.gain,
        compound=compound,
        skew_ratio=ratio if compound else 1.5 * ratio,
        row_offset_sigma=float(np.sqrt(row_variance)),
        r2=_explained(covariance[:, 0], covariance[:, 0] - predicted, predicted),
        n_patches=len(used),
        n_pixels=used.n_pixels,
        level_range=(float(level.min()), float(level.max())),
    )


def factor_autocovariance(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the minimum-phase filter whose autocorrelation is given.

    Parameters
    ----------
    covariance
        Autocovariance at lags 0, 1, ... of a moving average; where noise in it makes its
        spectrum negative somewhere, the nearest non-negative one is factored.

    Returns
    -------
    ndarray
        Taps ``h`` with ``sum(h[i] h[i + j]) = covariance[j]``, as many as lags were given.

    Examples
    --------
    >>> h = np.array([0.6, 0.3, 0.1])
    >>> r = np.correlate(h, h, "full")[2:]
    >>> bool(np.allclose(factor_autocovariance(r), h, atol=1e-6))
    True
    """
    n = 1024  # the cepstrum of a spectrum this smooth has died away long before
    frequency = np.arange(n) * (2 * np.pi / n)
    lags = np.arange(1, covariance.size)
    spectrum = covariance[0] + 2 * (
        covariance[1:, None] * np.cos(lags[:, None] * frequency[None, :])
    ).sum(axis=0)
    spectrum = np.maximum(spectrum, 1e-6 * covariance[0])
    cepstrum = np.fft.ifft(np.log(spectrum)).real
    # Twice the causal half of the cepstrum of the amplitude: Kolmogorov's construction.
    fold = np.zeros(n)
    fold[0], fold[n // 2] = 0.5, 0.5
    fold[1 : n // 2] = 1.0
    filter_ = np.fft.ifft(np.exp(np.fft.fft(cepstrum * fold))).real[: covariance.size]
    # The taps beyond the last lag are cut: keep the gain, which sets the variance of sums.
    wanted = np.sqrt(max(covariance[0] + 2 * covariance[1:].sum(), 0.0))
    return np.asarray(filter_ * (wanted / max(filter_.sum(), 1e-12)), np.float64)


def _fit_lines(
    level: NDArray[np.float64],
    covariance: NDArray[np.float64],
    weight: NDArray[np.float64],
    black: float | None,
    spread: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit ``A_j (level - black) + readout^2 [j = 0]``; return A, the offsets and black."""

    def line(values: NDArray[np.float64]) -> tuple[float, float, float]:
        """Slope, value at level 0, and standard error of the level at which the line is 0."""
        middle = np.average(level, weights=weight)
        mean = np.average(values, weights=weight)
        lever = np.average((level - middle) ** 2, weights=weight)
        slope = float(np.average((level - middle) * (values - mean), weights=weight) / lever)
        left = values - mean - slope * (level - middle)
        noise = np.sqrt(np.average(left**2, weights=weight) / level.size)
        error = noise * np.sqrt(1 + middle**2 / lever) / max(abs(slope), 1e-12)
        return slope, float(mean - slope * middle), float(error)

    zero = 0.0 if black is None else float(black)
    if black is None and spread and covariance.shape[1] > 1:
        # The lines of the lags above 0 have no readout in them: they end at the black level. Each
        # lag counts by its slope. White noise has no such lines: then black stays 0.
        first = np.array([line(covariance[:, j])[0] for j in range(1, covariance.shape[1])])
        slope, offset, error = line(covariance[:, 1:] @ np.maximum(first, 0))
        if slope > 0 and error < 0.05 * float(np.ptp(level)):
            zero = -offset / slope
    above = level - zero
    slopes = np.array(
        [
            np.average(above * covariance[:, j], weights=weight)
            / np.average(above**2, weights=weight)
            for j in range(covariance.shape[1])
        ]
    )
    offsets = np.zeros_like(slopes)
    if spread:
        slope, offset, _ = line(covariance[:, 0])
        readout = offset + slope * zero
        if readout > 0:
            slopes[0], offsets[0] = slope, readout
    return slopes, offsets, zero


def _pulse_kind(
    third: NDArray[np.float64], modelled: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, bool]:
    """Return measured over modelled third moment, and whether pulses are exponential.

    Equal pulses give 2/3 of the third moment of exponential ones; less than half-way between the
    two by more than the scatter counts as equal.
    """
    known = np.isfinite(third)
    scale = float((modelled * weight)[known].sum())
    if not known.any() or scale <= 0:
        return float("nan"), True
    ratio = float((third * weight)[known].sum()) / scale
    error = float(np.sqrt((((third - ratio * modelled) * weight)[known] ** 2).sum())) / scale
    return ratio, ratio + error > 5 / 6


def _explained(
    values: NDArray[np.float64], residual: NDArray[np.float64], predicted: NDArray[np.float64]
) -> float:
    """Share of the variation of a patch's variance beyond sampling scatter that is explained."""
    order = np.argsort(predicted)
    groups = np.array_split(order, max(min(20, values.size // 8), 2))
    means = np.array([values[g].mean() for g in groups])
    misfit = np.array([residual[g].mean() for g in groups])
    scatter = np.array([values[g].std() / np.sqrt(max(g.size, 1)) for g in groups])
    variation = float(np.mean((means - means.mean()) ** 2) - np.mean(scatter**2))
    left = max(float(np.mean(misfit**2) - np.mean(scatter**2)), 0.0)
    return 1 - left / variation if variation > 0 else float("nan")


_Pair = tuple[Image, Image, float, tuple[float, float]]


def _scale_of(image: Array) -> tuple[float, float]:
    """Return the grey levels at which a converter clips."""
    if image.dtype.kind in "ui":
        return 0.0, float(np.iinfo(image.dtype).max)
    return -np.inf, np.inf


def _as_list(
    images: Micrograph | Array | Sequence[Micrograph | Array],
) -> list[Array]:
    if isinstance(images, Micrograph | np.ndarray):
        pixels = field_of(images)
        return list(pixels) if pixels.ndim == 3 else [pixels]
    return [field_of(image) for image in images]


def _image_pairs(
    noisy: Micrograph | Array | Sequence[Micrograph | Array],
    clean: Micrograph | Array | Sequence[Micrograph | Array],
    register: bool,
    clean_shots: float,
) -> list[_Pair]:
    from everhart.align import register_pair

    shots, references = _as_list(noisy), _as_list(clean)
    if len(shots) != len(references):
        raise UsageError(
            f"{len(shots)} noisy and {len(references)} clean images were given: give one clean "
            "image for each noisy one."
        )
    pairs = []
    for shot, reference in zip(shots, references, strict=True):
        if shot.shape != reference.shape or shot.ndim != 2:
            raise UsageError(
                f"A noisy image of shape {shot.shape} was given with a clean one of "
                f"{reference.shape}: both are single frames of the same (height, width)."
            )
        a, b = np.asarray(shot, np.float32), np.asarray(reference, np.float32)
        if register:
            a, b, _ = register_pair(shot, reference)
        pairs.append((a, b, clean_shots, _scale_of(shot)))
    return pairs


def _frame_pairs(
    frames: Micrograph | Array | Sequence[Micrograph | Array], register: bool
) -> list[_Pair]:
    """Pair each frame with the mean of the others."""
    from everhart.align import estimate_shift

    images = _as_list(frames)
    shapes = {image.shape for image in images}
    if len(images) < 2 or len(shapes) != 1 or images[0].ndim != 2:
        raise UsageError(
            f"{len(images)} frames of shapes {sorted(shapes)} were given without a clean image: "
            "give at least two frames of one shape, or clean images."
        )
    scale = _scale_of(images[0])
    stack = np.stack([np.asarray(image, np.float32) for image in images])
    if register:
        # By whole pixels: interpolation would change the noise that is to be measured.
        shifts = np.rint(
            [(0.0, 0.0)] + [estimate_shift(frame, stack[0]) for frame in stack[1:]]
        ).astype(int)
        stack = _common_part(stack, shifts)
    total = stack.sum(axis=0)
    count = len(stack)
    return [
        (frame, (total - frame) / np.float32(count - 1), float(count - 1), scale) for frame in stack
    ]


def _common_part(stack: Image, shifts: NDArray[np.int64]) -> Image:
    """Cut from each frame, moved by its shift, the part that all share."""
    height, width = stack.shape[1:]
    low, high = np.maximum(shifts.max(axis=0), 0), np.minimum(shifts.min(axis=0), 0)
    if low[0] - high[0] >= height or low[1] - high[1] >= width:
        raise EverhartError("The frames share no part of the field of view: check their order.")
    parts = []
    for frame, (dy, dx) in zip(stack, shifts, strict=True):
        parts.append(
            frame[
                low[0] - dy : height + high[0] - dy,
                low[1] - dx : width + high[1] - dx,
            ]
        )
    return np.stack(parts)
