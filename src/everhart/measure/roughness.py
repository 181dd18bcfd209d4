"""Roughness of edges without the noise of finding them: sigma, correlation length, Hurst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import EverhartError, UsageError
from everhart.measure._edge_spectrum import make_tapers
from everhart.measure._root import root_sd
from everhart.measure._roughness_model import (
    Known,
    Model,
    Spectrum,
    Uncertainty,
    bins_summed,
    fit,
)

__all__ = ["Estimate", "Roughness", "fit_roughness"]

Float = NDArray[np.float64]

_FEWEST_ROWS = 64
_STRAIGHT = 1e-5  # of a row
_BEYOND_CHANCE = 4.0  # deviations
_NOTHING = Known()


@dataclass(frozen=True)
class Estimate:
    """A number and its standard deviation."""

    value: float
    sd: float


@dataclass(frozen=True, eq=False)
class Roughness:
    """What a set of edges (or widths) says of its roughness.

    Parameters
    ----------
    biased
        Standard deviation about a straight line, as measured: roughness and noise.
    sigma
        Standard deviation of the roughness alone, of an endless edge.
    noise
        Standard deviation of the noise of one row.
    common
        Standard deviation of what all edges of a row do together (jitter and drift of the scan).
        It is in `biased` and not in `sigma`. 0 where there is one line or it was not asked for.
    correlation_length, hurst
        Of the Palasantzas model. A Hurst exponent above 1 is that of edges which something
        smoothed along the line (a denoiser, a wide probe), not of a self-affine edge.
    frequency, psd, floor, model
        Spectrum: frequency in cycles a unit; measured, fitted noise floor, and fitted model with
        its floor, in units cubed. Two-sided: twice the integral over the positive frequencies is
        the variance.
    kept, noise_kept
        Which part of the variance of the roughness and of the noise is left once a straight line
        is taken out of an edge.
    mean_sd
        Standard deviation of the mean position of one edge, as an estimate for an endless one.
    total_sd, free_sd
        Standard deviations of the variance of one edge, and of that without its noise.
    edges
        Number of independent edges that the spectrum is worth.
    together
        Correlation of the two edges of a line; 0 where edges are no pairs.
    misfit
        Mean squared deviation of the spectrum from the model over its expectation: 1 where the
        model holds.
    fits
        Whether that is what chance allows. Where it is not, all standard deviations of the fit
        are larger by the root of `misfit`.
    """

    biased: Estimate
    sigma: Estimate
    noise: Estimate
    common: Estimate
    correlation_length: Estimate
    hurst: Estimate
    frequency: Float
    psd: Float
    floor: Float
    model: Float
    kept: float
    noise_kept: float
    mean_sd: float
    total_sd: float
    free_sd: float
    edges: float
    together: float
    misfit: float
    fits: bool

    def of_one(self, variance: float) -> tuple[Estimate, Estimate]:
        """Return sigma of a single edge, as measured and without noise, from its variance."""
        off = self.noise.value**2 * self.noise_kept + self.common.value**2
        free = max(variance - off, 0.0) / self.kept
        biased, sigma = float(np.sqrt(variance)), float(np.sqrt(free))
        return (
            Estimate(biased, root_sd(biased, self.total_sd)),
            Estimate(sigma, root_sd(sigma, self.free_sd)),
        )


def fit_roughness(
    edges: ArrayLike,
    dy: float,
    *,
    pairs: bool = False,
    common: bool = False,
    known: Known = _NOTHING,
) -> Roughness:
    """Take the noise of edge detection out of the roughness of edges.

    Noise of finding an edge is independent from row to row, so it adds a constant floor to the
    spectrum [1]_. Spectra through sine tapers, averaged over the edges, are fitted by floor and
    Palasantzas spectrum together, with the likelihood of averaged periodograms [2]_. The model is
    compared in the form that the measurement gives it: windowed, aliased by the rows, without a
    straight line. The unbiased variance is the measured one less that of the floor [3]_, both put
    right for what the straight line took, and for what the blur of the probe along the edge took:
    that is fitted too, from what is `known` of it on. Roughness with a correlation length below one
    row looks like noise, and is taken for it. Standard deviations are those of that estimator
    (Fisher information and the covariance of the windowed spectrum) for as many independent edges
    as there are. Where noise alone explains the spectrum, that of sigma reaches to 0 within two.

    Parameters
    ----------
    edges
        Positions of edges, or widths, shape ``(edges, rows)``, at least 64 rows, finite.
    dy
        Distance of the rows, in the unit of `edges`.
    pairs
        Whether edges 2 i and 2 i + 1 belong to one line and may move together.
    common
        Whether to take out what the edges of all lines do together in a row, which is the scan's
        jitter and not the specimen's. It takes two lines.
    known
        What is known of the blur along the edges, and how correlated the noise of rows is; as if
        nothing is said, little blur and white noise.

    Returns
    -------
    Roughness
        In the unit of `edges`.

    Raises
    ------
    UsageError
        If there are too few rows, or a position is not finite.
    EverhartError
        If all edges are straight.

    References
    ----------
    .. [1] C. A. Mack, "Reducing roughness in extreme ultraviolet lithography", J. Micro/Nanolith.
       MEMS MOEMS 17 (2018), 041006, section 4.
    .. [2] P. Whittle, "Estimation and information in stationary time series", Arkiv foer Matematik
       2 (1953), 423-434.
    .. [3] J. S. Villarrubia, B. D. Bunday, "Unbiased estimation of linewidth roughness", Proc.
       SPIE 5752 (2005), 480-488, eq. 5.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rough = np.cumsum(rng.normal(0, 0.1, (30, 2048)), axis=1)[:, 1024:]
    >>> rough = rough - rough.mean(axis=1, keepdims=True)
    >>> found = fit_roughness(rough + rng.normal(0, 1.0, rough.shape), 1.0)
    >>> bool(abs(found.noise.value - 1) < 0.03)
    True
    """
    positions = np.asarray(edges, np.float64)
    if positions.ndim != 2 or positions.shape[0] < 1 or positions.shape[1] < _FEWEST_ROWS:
        raise UsageError(
            f"Edges of shape {positions.shape} were given: give (edges, rows), with at least "
            f"{_FEWEST_ROWS} rows."
        )
    if not np.isfinite(positions).all() or not 0 < dy < np.inf:
        raise UsageError("Edges or a distance of rows that are not finite were given.")
    sides = 2 if pairs else 1
    if positions.shape[0] % sides:
        raise UsageError(f"{positions.shape[0]} edges were given as pairs: give an even number.")
    left = _without_line(positions)
    if float(np.mean(left**2)) < (_STRAIGHT * dy) ** 2:
        raise EverhartError(
            "All edges are straight lines, as in a drawing: there is no roughness to be measured; "
            "give an image, or edges of one."
        )
    tapers = make_tapers(positions.shape[1])
    spectrum = Spectrum.make(left, tapers, dy, sides, common)
    model = Model(tapers, dy, known)
    return _measured(spectrum, model)


def _without_line(edges: Float) -> Float:
    """Take a straight line out of each edge."""
    t = np.arange(edges.shape[1]) - (edges.shape[1] - 1) / 2
    centred = edges - edges.mean(axis=1, keepdims=True)
    return np.asarray(centred - np.outer(centred @ t / (t @ t), t))


def _measured(spectrum: Spectrum, model: Model) -> Roughness:
    p = fit(spectrum, model)
    expected, slopes = model.log_slopes(p)
    noise_variance = float(np.exp(p[3]))
    rough = model.covariance(p)
    # What is left of an endless edge's variance, and of the noise's, in rows as they were measured.
    kept = model.passed(p)
    noise_kept = model.kept(model.noise)
    noise_free = spectrum.variance - noise_variance * noise_kept
    unbiased = max(noise_free / kept, 0.0)

    together = model.tapers.bin_correlation
    misfit, fits = _misfit(spectrum, expected, together)
    wider = 1.0 if fits else float(np.sqrt(misfit))
    known = Uncertainty.make(slopes, together, model.prior, spectrum.edges)
    # The variance is the sum over the spectrum (both signs of the frequency); the floor goes off.
    share = 2 * expected / (model.tapers.n * model.dy)
    if model.tapers.n % 2 == 0:
        share[-1] /= 2
    on_noise = noise_variance * noise_kept * known.influence[3]
    # The part that is kept is the fitted model's, and as certain as that.
    by_model = -unbiased * model.passed_slopes(p)
    by_model[1] = 0.0  # of a length that noise hides anything may be thought
    moves = (share - on_noise) / kept + by_model @ known.influence
    by_blur = by_model @ known.of_blur - noise_variance * noise_kept / kept * known.of_blur[3]
    # All of what was measured may be noise, but no more.
    most = spectrum.variance / kept
    scatter = np.hypot(_spread(moves, together, spectrum.edges), by_blur / np.sqrt(spectrum.edges))
    variance_sd = min(wider * float(scatter), most)
    # Curvature says nothing of the limit where there is no roughness: the likelihood does.
    variance_sd = max(variance_sd, unbiased / _seen(spectrum, model, expected))
    total_sd = _spread(share, together, spectrum.edges)
    free_sd = wider * _free_sd(share, on_noise, together, spectrum.edges) / kept
    sd = wider * np.sqrt(np.maximum(np.diag(known.covariance), 0) / spectrum.edges)
    biased, sigma = float(np.sqrt(spectrum.total_variance)), float(np.sqrt(unbiased))
    n = model.tapers.n
    lags = (rough + noise_variance * model.noise) * (1 - np.arange(n) / n)
    mean_variance = (2 * lags.sum() - lags[0]) / n
    # The mean course holds, beside what is common, what is left of each edge's own.
    course = lags / spectrum.edges
    course[0] += spectrum.common**2
    common_sd = float(np.sqrt(2 / n * (2 * float(course @ course) - course[0] ** 2)))
    noise = float(np.sqrt(noise_variance))
    return Roughness(
        biased=Estimate(biased, root_sd(biased, total_sd)),
        sigma=Estimate(sigma, root_sd(sigma, variance_sd)),
        noise=Estimate(noise, noise * float(sd[3]) / 2),
        common=Estimate(spectrum.common, root_sd(spectrum.common, common_sd)),
        correlation_length=Estimate(float(np.exp(p[1])), float(np.exp(p[1]) * sd[1])),
        hurst=Estimate(float(p[2]), float(sd[2])),
        frequency=spectrum.frequency,
        psd=spectrum.psd,
        floor=noise_variance * model.floor,
        model=expected,
        kept=kept,
        noise_kept=noise_kept,
        mean_sd=float(np.sqrt(max(mean_variance, 0))),
        total_sd=_spread(share, together, 1.0),
        free_sd=max(min(free_sd, most), variance_sd),
        together=spectrum.together,
        edges=spectrum.edges,
        misfit=misfit,
        fits=fits,
    )


def _misfit(spectrum: Spectrum, expected: Float, together: Float) -> tuple[float, bool]:
    """Return how far the spectrum is from the model, and whether chance allows it."""
    ratio = (spectrum.psd / expected)[2:-2]
    misfit = float(np.mean((ratio - 1) ** 2) * spectrum.edges / together[0])
    band = (together / together[0]) ** 2
    spread = np.sqrt(2 * (2 * float(band.sum()) - 1) / ratio.size)
    return misfit, bool(misfit <= 1 + _BEYOND_CHANCE * spread)


def _seen(spectrum: Spectrum, model: Model, expected: Float) -> float:
    """Return by how many deviations the spectrum with roughness is better than noise alone.

    The root of twice the gain in log likelihood, less what a length and an exponent gain from
    noise; at least 1.
    """
    noise = model.floor * float(np.mean(spectrum.psd / model.floor))

    def misses(what: Float) -> float:
        return float(np.sum(np.log(what) + spectrum.psd / what))

    gain = 2 * spectrum.edges * (misses(noise) - misses(expected))
    return float(np.sqrt(max(gain - 2, 1.0)))


def _free_sd(share: Float, on_noise: Float, together: Float, edges: float) -> float:
    """Return the deviation of one edge's variance without the noise, which all edges tell of."""
    own, others = (
        share - on_noise / edges,
        on_noise / edges * np.sqrt(max(edges - 1, 0.0)),
    )
    return float(np.hypot(_spread(own, together, 1.0), _spread(others, together, 1.0)))


def _spread(weights: Float, together: Float, edges: float) -> float:
    """Return the standard deviation of a weighted sum of relative deviations of the bins."""
    return float(np.sqrt(max(float(bins_summed(weights, together) @ weights), 0) / edges))
