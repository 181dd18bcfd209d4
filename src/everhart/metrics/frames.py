"""The error of a denoiser from repeated frames, and methods ranked by it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from everhart.errors import UsageError
from everhart.metrics._blocks import block_means, standard_error
from everhart.metrics._pair import Float, as_pair, checked_range
from everhart.micrograph import Micrograph, field_of

__all__ = [
    "LeftOutError",
    "LeftOutTarget",
    "RankedMethod",
    "left_out_error",
    "left_out_target",
    "paired_difference",
    "rank_methods",
]

_SIGNIFICANT = 2.0  # standard errors of the paired difference


@dataclass(frozen=True, eq=False)
class LeftOutTarget:
    """The frames that a denoiser did not see, as far as its error needs them.

    Parameters
    ----------
    mean
        Their mean, ``(H, W)``.
    noise_variance
        Unbiased estimate of the variance of the noise of `mean`, pixel by pixel, in squared
        grey levels. Single pixels of it are all but noise; only means over many count.
    """

    mean: Float
    noise_variance: Float


@dataclass(frozen=True, eq=False)
class LeftOutError:
    """Error of a denoiser, estimated from the frames that it did not see.

    Parameters
    ----------
    mse
        Estimate of the mean squared error against the unknown clean image, in squared grey
        levels. Unbiased, and so below 0 now and then where the error is tiny.
    standard_error
        Standard error of `mse`, from the scatter of blocks of the image.
    noise_variance
        Variance of the noise of the target that was taken off, in squared grey levels.
    blocks
        `mse` of each block, ``(rows, columns)``, mean over the restored frames.
    """

    mse: float
    standard_error: float
    noise_variance: float
    blocks: Float = field(repr=False)

    def psnr(self, *, data_range: float) -> float:
        """Return the estimate as a PSNR in dB; NaN where the estimated error is below 0."""
        value_range = checked_range(data_range)
        return 10 * math.log10(value_range**2 / self.mse) if self.mse > 0 else math.nan

    @property
    def psnr_standard_error_db(self) -> float:
        """Standard error of the PSNR in dB; NaN where the estimated error is below 0."""
        relative = self.standard_error / self.mse if self.mse > 0 else math.nan
        return 10 / math.log(10) * relative


@dataclass(frozen=True)
class RankedMethod:
    """Place of a method among others.

    Parameters
    ----------
    name
        Name of the method.
    place
        1 + the number of methods that are better by more than two standard errors of the paired
        difference. Several methods may share a place.
    tied_with
        Methods from which it differs by less, the best first.
    """

    name: str
    place: int
    tied_with: tuple[str, ...]


def left_out_target(
    others: Iterable[Micrograph | ArrayLike], own: Micrograph | ArrayLike | None = None
) -> LeftOutTarget:
    """Prepare the frames that judge what is made of another one.

    Parameters
    ----------
    others
        Frames ``(H, W)`` of the field, registered to the one that is restored, in its brightness.
        They are taken one at a time.
    own
        The frame that is restored, as it was before: needed where `others` is a single frame.
        The variance of that one's noise is then taken from the difference of the two, as if both
        had the same.

    Returns
    -------
    LeftOutTarget
        Mean and variance of the noise.

    Raises
    ------
    UsageError
        If no frame is given, one is without `own`, or shapes differ.
    """
    mean: Float | None = None
    squares = np.zeros(())
    count = 0
    for frame in others:
        given = np.asarray(field_of(frame), np.float64)
        if mean is None:
            mean, squares = given.copy(), np.zeros_like(given)
        elif given.shape != mean.shape:
            raise UsageError(
                f"Frames of shape {mean.shape} and {given.shape} were given: they must be of one "
                "shape; register and crop them first."
            )
        count += 1
        step = given - mean  # Welford: no difference of large sums
        mean = mean + step / count
        squares += step * (given - mean)
    if mean is None:
        raise UsageError("No other frame was given: give at least one that was not restored.")
    if count > 1:
        return LeftOutTarget(mean, squares / (count * (count - 1)))
    if own is None:
        raise UsageError(
            "A single other frame was given, which does not tell its own noise: give the frame "
            "that was restored too, as it was before."
        )
    first, second = as_pair(own, mean)
    return LeftOutTarget(mean, 0.5 * (first - second) ** 2)


def left_out_error(
    denoised: Sequence[Micrograph | ArrayLike], targets: Sequence[LeftOutTarget]
) -> LeftOutError:
    """Estimate the mean squared error of a denoiser from frames that it did not see.

    With frames ``y_i = x + n_i``, ``d`` made of ``y_1`` alone and ``m`` the mean of the other
    ``N - 1``, ``E (d - m)**2 = E (d - x)**2 + var(m)`` [1]_, for the noise of ``m`` knows nothing
    of ``d``. ``var(m)`` comes from how these ``N - 1`` differ, so that the estimate is the mean of
    ``(d - y_j) (d - y_k)`` over all ``j != k``: nothing is assumed of the noise but mean zero and
    independence from frame to frame. It may be correlated, grow with the signal, and be stronger
    in one frame than in the next. Only two frames need equal variances.

    Parameters
    ----------
    denoised
        What the denoiser made of one or several frames, ``(H, W)`` each.
    targets
        For each the other frames, from :func:`left_out_target`; all of one shape, showing the
        same part of the specimen.

    Returns
    -------
    LeftOutError
        Mean over the restored frames; the standard error is from the scatter of blocks of the
        image once these means are taken, so that what restored frames share does not count twice.

    Raises
    ------
    UsageError
        If numbers or shapes differ.

    References
    ----------
    .. [1] J. Lehtinen et al., "Noise2Noise: learning image restoration without clean data",
       ICML (2018), section 2.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> clean = np.zeros((256, 256))
    >>> frames = clean + rng.normal(size=(4, *clean.shape))
    >>> estimate = left_out_error([0.5 * frames[0]], [left_out_target(frames[1:])])
    >>> abs(estimate.mse - 0.25) < 3 * estimate.standard_error  # the true one is 0.25
    True
    """
    if not denoised or len(denoised) != len(targets):
        raise UsageError(
            f"{len(denoised)} restored frames and {len(targets)} targets were given: give one "
            "target for each, and at least one."
        )
    maps = []
    for picture, target in zip(denoised, targets, strict=True):
        restored, mean = as_pair(picture, target.mean)
        maps.append((restored - mean) ** 2 - target.noise_variance)
    if len({found.shape for found in maps}) > 1:
        raise UsageError(
            f"Restored frames of shapes {', '.join(str(found.shape) for found in maps)} were "
            "given: crop them to the part that all show."
        )
    error = np.mean(maps, axis=0)
    blocks = block_means(error)
    taken_off = float(np.mean([target.noise_variance.mean() for target in targets]))
    return LeftOutError(float(error.mean()), standard_error(blocks), taken_off, blocks)


def paired_difference(a: LeftOutError, b: LeftOutError) -> tuple[float, float]:
    """Return by how much the error of one denoiser exceeds that of another on the same frames.

    The noise of the frames that judge, and most of what is difficult in the image, is the same for
    both and drops out: the difference is known far better than either error.

    Parameters
    ----------
    a, b
        Errors from the same targets.

    Returns
    -------
    difference, standard_error : float
        Of the mean squared errors, ``a - b``, in squared grey levels.

    Raises
    ------
    UsageError
        If they are of images of different sizes.
    """
    if a.blocks.shape != b.blocks.shape:
        raise UsageError(
            f"Errors of {a.blocks.shape} and {b.blocks.shape} blocks were given: compare methods "
            "that restored the same frames."
        )
    return a.mse - b.mse, standard_error(a.blocks - b.blocks)


def rank_methods(errors: Mapping[str, LeftOutError]) -> list[RankedMethod]:
    """Rank methods by their estimated error, the best first, and say which are tied.

    Two methods are tied where their errors differ by less than two standard errors of the
    paired difference.

    Parameters
    ----------
    errors
        Errors from the same targets by the name of the method.

    Returns
    -------
    list of RankedMethod
        In the order of the estimates.

    Raises
    ------
    UsageError
        As :func:`paired_difference`.
    """
    order = sorted(errors, key=lambda name: errors[name].mse)
    ranked = []
    for name in order:
        tied, better = [], 0
        for other in order:
            if other == name:
                continue
            difference, uncertainty = paired_difference(errors[name], errors[other])
            if difference > _SIGNIFICANT * uncertainty:
                better += 1
            # Written so that a NaN uncertainty ties: one block tells nothing of the scatter.
            elif not abs(difference) > _SIGNIFICANT * uncertainty:
                tied.append(other)
        ranked.append(RankedMethod(name, better + 1, tuple(tied)))
    return ranked
