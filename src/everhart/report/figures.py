"""The figures of a comparison: which there are, what they are called, and computing them."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError

if TYPE_CHECKING:
    from everhart.metrics import LeftOutError

__all__ = [
    "FIGURES",
    "Figure",
    "against_reference",
    "default_data_range",
    "from_frames",
    "of_residual",
    "shift_keeping_noise",
]

Float32 = NDArray[np.float32]


_FSIM_PX = 1024
"""Edge of the part of a large image whose FSIM is taken at full resolution."""


@dataclass(frozen=True)
class Figure:
    """A column of the table.

    Parameters
    ----------
    key
        Name in the JSON.
    title
        Head of the column.
    unit
        Unit, or "".
    digits
        Digits after the point.
    best
        ``"high"``, ``"low"``, ``"zero"`` (nearest to 0) or ``""`` where none is better.
    words
        What it is and how to read it.
    main
        Whether it stands in the first table; else in one that is opened, and in JSON and CSV.
    """

    key: str
    title: str
    unit: str
    digits: int
    best: str
    words: str
    main: bool = True

    def merit(self, value: float) -> float:
        """Return a number that is larger the better; minus infinity for NaN."""
        if math.isnan(value) or not self.best:
            return -math.inf
        return {"high": value, "low": -value, "zero": -abs(value)}[self.best]


def _size_figures(unit: str) -> tuple[Figure, ...]:
    """Return the figures of measured sizes; pixels are for images of unknown scale."""
    return (
        Figure(
            f"cd_bias_{unit}",
            "CD bias",
            unit,
            3,
            "zero",
            "Mean difference of the measured CD from that of the same hole or line in the "
            "reference.",
        ),
        Figure(
            f"cd_spread_{unit}",
            "CD spread",
            unit,
            3,
            "low",
            "Standard deviation of that difference from one hole or line to the next. It is low "
            "too where all were drawn alike: look at the bias and at the roughness beside it.",
        ),
        Figure(
            f"roughness_bias_{unit}",
            "Roughness bias",
            unit,
            3,
            "zero",
            "Measured roughness less that of the reference, noise taken out of both: of lines the "
            "unbiased LWR, of holes the mean CER, three standard deviations. Below 0 "
            "edges were smoothed; above 0 noise is taken for roughness.",
        ),
    )


FIGURES: Final[dict[str, Figure]] = {
    figure.key: figure
    for figure in (
        Figure(
            "psnr_db",
            "PSNR",
            "dB",
            2,
            "high",
            "Peak signal-to-noise ratio against the reference, grey levels as they are: a picture "
            "of another brightness or contrast is punished for it.",
        ),
        Figure(
            "affine_psnr_db",
            "PSNR, affine",
            "dB",
            2,
            "high",
            "PSNR after the gain and offset that bring the picture closest to the reference. The "
            "figure to compare methods by where reference and image were taken at another "
            "dwell time or contrast.",
        ),
        Figure(
            "ssim",
            "SSIM",
            "",
            3,
            "high",
            "Structural similarity, Gaussian window of 11 x 11 pixels; 1 for equal pictures.",
        ),
        Figure(
            "ms_ssim",
            "MS-SSIM",
            "",
            3,
            "high",
            "Structural similarity over several scales: closer to what an eye sees at a distance.",
        ),
        Figure(
            "fsim",
            "FSIM",
            "",
            3,
            "high",
            "Feature similarity: whether lines and edges stand out in the same places, with the "
            "same gradients; 1 for equal pictures. The shorter side is averaged to about 256 "
            "pixels first, as the paper has it, so what is finer does not count.",
        ),
        Figure(
            "edge_figure_of_merit",
            "Edges",
            "",
            3,
            "high",
            "Pratt's figure of merit: the share of edges that are where the reference has them, "
            "less for each pixel of distance; edges that faded and edges made of noise lower it.",
        ),
        Figure(
            "fsim_full_resolution",
            "FSIM, full",
            "",
            3,
            "high",
            "Feature similarity without averaging pixels first: the finest detail, and noise, "
            "count. Of the middle 1024 x 1024 pixels of a larger image.",
            main=False,
        ),
        Figure(
            "gmsd",
            "GMSD",
            "",
            4,
            "low",
            "Gradient magnitude similarity deviation: how unevenly the gradients are kept; 0 for "
            "equal pictures. An error that is the same everywhere hardly shows.",
            main=False,
        ),
        Figure(
            "edge_preservation_index",
            "EPI",
            "",
            3,
            "high",
            "Edge preservation index: correlation of the Laplacians, which sees the finest detail "
            "and noise most; the reference's own noise bounds it.",
            main=False,
        ),
        Figure(
            "uiq",
            "UIQ",
            "",
            3,
            "high",
            "Universal quality index: SSIM without its constants, in windows of 8 x 8 pixels. "
            "Planes count as much as structure, and any noise in a plane is a 0 there.",
            main=False,
        ),
        Figure(
            "cnr",
            "CNR",
            "",
            2,
            "",
            "Contrast to noise between the dark and the bright region, which are found in the "
            "reference by a threshold and lose their borders. Blur raises it, hence nothing is "
            "marked as best.",
            main=False,
        ),
        Figure(
            "frames_place",
            "Place",
            "",
            0,
            "low",
            "Place by the error that the other frames tell: 1 + the number of rows that are better "
            "by more than two standard errors of the paired difference. Rows that share a place "
            "are tied.",
        ),
        Figure(
            "second_frame_psnr_db",
            "Est. PSNR",
            "dB",
            2,
            "high",
            "PSNR from the error that the other frames of the field tell. Their noise had no part "
            "in the restoration, so the squared difference from their mean is the error plus the "
            "variance of that mean, which the frames themselves give.",
        ),
        Figure(
            "second_frame_psnr_uncertainty_db",
            "± ",
            "dB",
            2,
            "",
            "One standard error of the estimated PSNR, from the scatter over the image. Two "
            "methods can be told apart better than that: most of it is the same for both.",
        ),
        Figure(
            "second_frame_rmse",
            "Est. error",
            "levels",
            2,
            "low",
            "Root of the estimated mean squared error, in grey levels. Empty where the estimate is "
            "below zero: the error is then smaller than the estimate's own uncertainty.",
        ),
        Figure(
            "second_frame_rmse_uncertainty",
            "± ",
            "levels",
            2,
            "",
            "One standard error of the estimated error, from the scatter over the image.",
        ),
        Figure(
            "residual_whiteness",
            "Whiteness",
            "",
            3,
            "high",
            "Whether the removed part has the correlations of the noise and no others: 1 if so. "
            "Low where structure was removed too, and where noise was left.",
        ),
        Figure(
            "structure_leakage",
            "Leakage",
            "",
            3,
            "zero",
            "Whether the removed part is stronger along edges, which noise is not: 0 if it knows "
            "nothing of the specimen; above 0 edges were blurred away; below 0 noise was left "
            "along them.",
        ),
        Figure(
            "defects_kept_percent",
            "Defects kept",
            "%",
            0,
            "",
            "Contrast of the planted defects that is in the picture, of a simulated image whose "
            "truth lies beside it: 100 all, 0 none.",
        ),
        Figure(
            "defects_found_percent",
            "Defects found",
            "%",
            0,
            "high",
            "Planted defects found by thresholding the difference from the known pattern without "
            "defects (means of 3 x 3 pixels, against their local scatter), with ten false alarms a "
            "megapixel allowed in this very picture.",
        ),
        Figure(
            "invented_per_mpx",
            "Invented",
            "/Mpx",
            0,
            "low",
            "Blobs a megapixel, away from defects, that are not in the truth and are stronger than "
            "what the noise of the image as it was taken makes ten times a megapixel: the largest "
            "count of three sizes.",
        ),
        Figure(
            "features_missed",
            "Missed",
            "",
            1,
            "low",
            "Holes or lines that are measured in the reference and not in the picture; all of them "
            "where nothing can be measured.",
        ),
        Figure(
            "features_false",
            "False",
            "",
            1,
            "low",
            "Holes or lines that are measured in the picture and not in the reference.",
        ),
        *(_size_figures("nm")),
        *(_size_figures("px")),
        Figure("seconds", "Time", "s", 2, "low", "Wall-clock time of one call on this image."),
        Figure("cpu_seconds", "CPU", "s", 2, "low", "CPU time of all threads of that call."),
        Figure(
            "peak_memory_mb",
            "Memory",
            "MB",
            0,
            "low",
            "Largest growth of the resident memory during the call.",
        ),
    )
}
"""Every figure by key, in the order of the table's columns."""


def default_data_range(pixels: NDArray[np.generic], reference: Float32 | None) -> float:
    """Return the grey levels from black to white that PSNR and SSIM are computed with.

    Parameters
    ----------
    pixels
        Image ``(H, W)`` with its own dtype.
    reference
        Reference, or None.

    Returns
    -------
    float
        255 for 8-bit images, 1 for bool. Cameras fill 16 bits only in part, and floats have no
        range of their own: for these the range of the reference's values or, where there is
        none, of the smoothed image's, so that it does not grow with the noise.
    """
    if pixels.dtype == np.uint8:
        return 255.0
    if pixels.dtype == np.bool_:
        return 1.0
    values = np.asarray(pixels if reference is None else reference, np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return 1.0
    if reference is None:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(np.where(finite, values, np.median(values[finite])), 2.0)
        return float(np.ptp(values)) or 1.0
    return float(np.ptp(values[finite])) or 1.0


def against_reference(
    picture: Float32, reference: Float32, *, data_range: float
) -> dict[str, float]:
    """Compute the figures against a reference on which the picture lies."""
    from everhart import metrics

    found = {
        "psnr_db": metrics.psnr(picture, reference, data_range=data_range),
        "affine_psnr_db": metrics.affine_psnr(picture, reference, data_range=data_range),
    }
    if min(picture.shape) >= 11:
        found["ssim"] = metrics.ssim(picture, reference, data_range=data_range)
        found["ms_ssim"] = metrics.ms_ssim(picture, reference, data_range=data_range)
        found |= _of_features(picture, reference, data_range=data_range)
    return found


def _of_features(picture: Float32, reference: Float32, *, data_range: float) -> dict[str, float]:
    from everhart import metrics

    if not (np.isfinite(picture).all() and np.isfinite(reference).all()):
        return {}
    fsim = metrics.fsim(picture, reference, data_range=data_range)
    binned = metrics.fsim_binning(picture.shape) > 1
    found = {
        "fsim": fsim,
        "edge_figure_of_merit": metrics.edge_figure_of_merit(picture, reference),
        "fsim_full_resolution": metrics.fsim(
            _middle(picture), _middle(reference), data_range=data_range, binning=1
        )
        if binned
        else fsim,
        "gmsd": metrics.gmsd(picture, reference, data_range=data_range),
        "edge_preservation_index": metrics.edge_preservation_index(picture, reference),
        "uiq": metrics.uiq(picture, reference),
    }
    with contextlib.suppress(EverhartError):  # many specimens have no two regions
        found["cnr"] = metrics.cnr(picture, reference=reference)
    return found


def _middle(image: Float32) -> Float32:
    """Return the middle of a large image: all of it would cost ten seconds of a core a method."""
    top, left = (max(0, n - _FSIM_PX) // 2 for n in image.shape)
    return image[top : top + _FSIM_PX, left : left + _FSIM_PX]


def from_frames(error: LeftOutError, *, data_range: float) -> dict[str, float]:
    """Return the figures of an error that was estimated from the other frames.

    The keys date from when there was one other frame.
    """
    rmse = math.sqrt(error.mse) if error.mse > 0 else math.nan
    return {
        "second_frame_psnr_db": error.psnr(data_range=data_range),
        "second_frame_psnr_uncertainty_db": error.psnr_standard_error_db,
        "second_frame_rmse": rmse,
        "second_frame_rmse_uncertainty": error.standard_error / (2 * rmse),
        "second_frame_mse": error.mse,
        "second_frame_mse_uncertainty": error.standard_error,
    }


def of_residual(
    picture: Float32, noisy: Float32, noise_correlation: NDArray[np.floating] | None
) -> dict[str, float]:
    """Compute the figures that need nothing but the image itself."""
    from everhart import metrics

    if np.array_equal(picture, noisy) or min(picture.shape) < 16:
        return {}
    return {
        "residual_whiteness": metrics.residual_whiteness(
            picture, noisy, noise_correlation=noise_correlation
        ),
        "structure_leakage": metrics.structure_leakage(picture, noisy),
    }


def shift_keeping_noise(
    image: Float32, shift_px: tuple[float, float], margin_px: int = 32
) -> Float32:
    """Move an image by a fraction of a pixel without changing the variance of its noise.

    Splines smooth: they take away part of the noise that a second-frame estimate wants to
    know. A phase ramp in the Fourier transform keeps the power at every frequency.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``.
    shift_px
        ``(dy, dx)``, as of :func:`everhart.align.shift_image`.
    margin_px
        Mirrored border against the wrap-around; at most the image's size less one.

    Returns
    -------
    ndarray
        float32, of the same shape.
    """
    from scipy.fft import fft2, ifft2
    from scipy.ndimage import fourier_shift

    if not any(shift_px):
        return image
    reach = [margin_px + math.ceil(abs(s)) for s in shift_px]
    pad = [(min(r, n - 1),) * 2 for r, n in zip(reach, image.shape, strict=True)]
    padded = np.pad(image.astype(np.float64), pad, mode="reflect")
    moved = ifft2(fourier_shift(fft2(padded), shift_px)).real
    (top, _), (left, _) = pad
    height, width = image.shape
    return np.asarray(moved[top : top + height, left : left + width], np.float32)
