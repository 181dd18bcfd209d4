"""Denoisers that need no training, set by the noise of the image and by nothing else.

All of them work on an image whose noise has standard deviation 1 at every grey level: it
is stabilised where the noise depends on the signal, divided by sigma where it does
not. Strengths are in units of that noise, so that 8 bits, 16 bits with an offset and floats
are all the same. What remains to be chosen (how wide, how strong) depends on
the picture and on the correlation of the noise; it is chosen by the least estimated error
(:mod:`everhart.restore.risk`), or given by the caller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError, unknown_name
from everhart.noise.estimate import estimate_noise
from everhart.noise.model import NoiseEstimate
from everhart.restore import _filters as filters
from everhart.restore.names import CLASSICAL
from everhart.restore.risk import estimated_risk, noise_probe
from everhart.restore.stabilise import Anscombe

__all__ = ["METHODS", "check_parameters", "choose_parameters", "denoise_classical"]

Float32 = NDArray[np.float32]

METHODS: tuple[str, ...] = CLASSICAL

_TILE = 1024  # bounds the memory: about 20 times a tile in the hungriest method (wavelet)
_SAMPLE = 112  # side of the parts of the image on which parameters are tried out
_SAMPLES = 3  # ... in each direction


@dataclass(frozen=True)
class _Method:
    """A filter, the values of each parameter that are tried, coarse first, and its support."""

    run: Callable[..., Float32]
    candidates: Mapping[str, tuple[float, ...]]
    halo: Callable[[Mapping[str, float]], int]
    stabilise: bool = True
    whole: bool = False  # run on the whole image, not in tiles


_METHODS: Mapping[str, _Method] = {
    "median": _Method(
        filters.median,
        {"size_px": (3, 5, 7, 9, 13)},
        lambda p: int(p["size_px"]) // 2 + 1,
        stabilise=False,
    ),
    "gaussian": _Method(
        filters.gaussian,
        {"sigma_px": (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 4.0)},
        lambda p: math.ceil(4 * p["sigma_px"]) + 1,
        stabilise=False,
    ),
    "bilateral": _Method(
        filters.bilateral,
        {"sigma_px": (1.0, 1.4, 2.0, 2.8, 4.0), "strength": (2.0, 3.0, 4.0, 6.0, 9.0)},
        lambda p: math.ceil(3 * p["sigma_px"]) + 1,
    ),
    "nlm": _Method(
        filters.nlm,
        {"strength": (0.5, 0.7, 0.9, 1.2), "patch_px": (5, 7, 9)},
        lambda p: int(p["patch_px"]) // 2 + filters.NLM_REACH_PX + 1,
    ),
    "tv": _Method(filters.tv, {"weight": (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)}, lambda _: 48),
    "wavelet": _Method(
        filters.wavelet,
        {"strength": (0.7, 1.0, 1.4, 2.0, 2.8)},
        lambda _: filters.WAVELET_HALO_PX,
    ),
    "bm3d": _Method(filters.bm3d, {"strength": (0.8, 1.0, 1.25, 1.6)}, lambda _: 0, whole=True),
}


def denoise_classical(
    pixels: NDArray[Any], method: str, noise: NoiseEstimate | None = None, **parameters: float
) -> Float32:
    """Denoise one image by a method that needs no training.

    Parameters
    ----------
    pixels
        Image of shape ``(H, W)``, finite, of any range; computed in float32.
    method
        One of :data:`METHODS`:

        ``median``
            Median over ``size_px`` x ``size_px`` pixels (odd).
        ``gaussian``
            Gaussian of standard deviation ``sigma_px``.
        ``bilateral``
            Bilateral filter [1]_ of ``sigma_px`` in space and ``strength``, in standard
            deviations of the noise, in grey level.
        ``nlm``
            Non-local means [2]_, patches of ``patch_px`` x ``patch_px`` (odd); ``strength`` is
            the decay of weights, in standard deviations of the noise.
        ``tv``
            Total variation [3]_ (Rudin, Osher, Fatemi) of ``weight``, in standard deviations.
        ``bm3d``
            Collaborative filtering of blocks that look alike (:mod:`everhart.restore.bm3d`);
            ``strength`` times the noise is taken out. Correlation of the noise is allowed for.
        ``wavelet``
            Undecimated wavelet shrinkage, the threshold of BayesShrink [4]_ at every
            coefficient times ``strength``; the noise of each subband from its correlation.
    noise
        Noise of the image; estimated from it if None.
    **parameters
        Parameters of the method, as named above; the others are set from the noise.

    Returns
    -------
    ndarray
        float32, shape ``(H, W)``, in the grey levels of the input. An image without noise comes
        back as it is.

    Raises
    ------
    UsageError
        If the method or a parameter is not known, a parameter is out of its range, or the
        array is not a single image.

    References
    ----------
    .. [1] C. Tomasi, R. Manduchi, "Bilateral filtering for gray and color images", ICCV
       (1998), 839-846.
    .. [2] A. Buades, B. Coll, J.-M. Morel, "A non-local algorithm for image denoising", CVPR
       (2005), 60-65; fast: J. Darbon et al., ISBI (2008), 1331-1334.
    .. [3] A. Chambolle, "An algorithm for total variation minimization and applications",
       Journal of Mathematical Imaging and Vision 20 (2004), 89-97.
    .. [4] S. G. Chang, B. Yu, M. Vetterli, "Adaptive wavelet thresholding for image denoising and
       compression", IEEE Transactions on Image Processing 9 (2000), 1532-1546.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = np.kron([[50.0, 150.0], [150.0, 50.0]], np.ones((32, 32)))
    >>> noisy = rng.normal(clean, 20).astype(np.float32)
    >>> restored = denoise_classical(noisy, "tv")
    >>> bool(np.mean((restored - clean) ** 2) < 0.1 * np.mean((noisy - clean) ** 2))
    True
    """
    recipe = _recipe(method)
    image = _checked_image(pixels)
    check_parameters(method, parameters)
    if np.ptp(image) == 0:
        return image.copy()
    if noise is None:
        noise = _estimated(image)
    if noise.sigma <= 0:
        return image.copy()
    stable, restore = _unit_noise(image, noise, recipe.stabilise)
    full = _tuned(recipe, stable, noise, parameters)
    return restore(_in_tiles(recipe, stable, noise, full))


def choose_parameters(
    pixels: NDArray[Any], method: str, noise: NoiseEstimate | None = None, **parameters: float
) -> dict[str, float]:
    """Return the parameters that :func:`denoise_classical` uses for an image.

    Parameters
    ----------
    pixels, method, noise, **parameters
        As for :func:`denoise_classical`; parameters that are given are kept.

    Returns
    -------
    dict
        Every parameter of the method by name; lengths in pixels, strengths in standard
        deviations of the noise. What was given, for an image without noise.

    Raises
    ------
    UsageError
        As :func:`denoise_classical`.
    """
    recipe = _recipe(method)
    image = _checked_image(pixels)
    check_parameters(method, parameters)
    if np.ptp(image) == 0:
        return dict(parameters)
    if noise is None:
        noise = _estimated(image)
    if noise.sigma <= 0:
        return dict(parameters)
    stable, _ = _unit_noise(image, noise, recipe.stabilise)
    return _tuned(recipe, stable, noise, parameters)


def _recipe(method: str) -> _Method:
    if method not in _METHODS:
        raise unknown_name("method", method, METHODS)
    return _METHODS[method]


def _checked_image(pixels: NDArray[Any]) -> Float32:
    image = np.asarray(pixels)
    if image.ndim != 2 or image.size == 0:
        raise UsageError(
            f"An array of shape {image.shape} was given: a classical denoiser takes one image "
            "(height, width); call it once a frame."
        )
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise UsageError(
            "An image with NaN or infinite pixels was given: classical denoisers need finite "
            "pixels; fill them first (everhart.denoise does)."
        )
    return image


def check_parameters(method: str, parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a method before it is run.

    Parameters
    ----------
    method
        One of :data:`METHODS`.
    parameters
        As for :func:`denoise_classical`.

    Raises
    ------
    UsageError
        If the method or a parameter is not known, or a value is out of its range.
    """
    candidates = _recipe(method).candidates
    for name, value in parameters.items():
        if name not in candidates:
            raise unknown_name(f"parameter of {method}", name, candidates)
        odd = name in ("size_px", "patch_px")
        number = isinstance(value, Real) and 0 < float(value) < math.inf
        if not number or (odd and value % 2 != 1):
            allowed = "an odd number of pixels" if odd else "a positive number"
            raise UsageError(f"{name}={value!r} was given for {method}: give {allowed}.")


def _estimated(image: Float32) -> NoiseEstimate:
    if min(image.shape) < 8:
        # Too small for a map of correlations; the difference of neighbours must do.
        side = math.sqrt(
            0.5 * float(np.mean(np.diff(image, axis=int(np.argmax(image.shape))) ** 2))
        )
        return NoiseEstimate.constant(side)
    return estimate_noise(image)


def _unit_noise(
    image: Float32, noise: NoiseEstimate, stabilise: bool
) -> tuple[Float32, Callable[[Float32], Float32]]:
    """Return the image in units of its noise, and the way back."""
    if stabilise and noise.signal_dependent:
        transform = Anscombe(noise.gain, noise.pedestal, noise.readout_variance)
        return transform.forward(image), transform.inverse
    centre, sigma = np.float32(np.median(image)), np.float32(noise.sigma)
    return (image - centre) / sigma, lambda stable: stable * sigma + centre


def _tuned(
    recipe: _Method, stable: Float32, noise: NoiseEstimate, given: Mapping[str, float]
) -> dict[str, float]:
    """Choose what was not given by the least estimated error, one parameter after another."""
    chosen = {
        name: given.get(name, values[len(values) // 2])
        for name, values in recipe.candidates.items()
    }
    open_names = [name for name in recipe.candidates if name not in given]
    if not open_names:
        return chosen
    parts = [(part, noise_probe(part.shape, noise.correlation)) for part in _sample(stable)]
    known: dict[tuple[float, ...], float] = {}

    def risk(trial: Mapping[str, float]) -> float:
        key = tuple(trial.values())
        if key not in known:
            run = _bound(recipe, noise, trial)
            known[key] = sum(estimated_risk(run, part, probe) for part, probe in parts)
        return known[key]

    for _ in range(2 if len(open_names) > 1 else 1):
        for name in open_names:
            values = recipe.candidates[name]
            chosen[name] = min(values, key=lambda value: risk({**chosen, name: value}))
    return chosen


def _sample(image: Float32) -> list[Float32]:
    """Return parts of the image that stand for it: all of a small one, a grid of a large one."""
    if image.size <= 1.5 * (_SAMPLES * _SAMPLE) ** 2 / 2:
        return [image]
    starts = [
        np.unique(np.linspace(0, max(n - _SAMPLE, 0), _SAMPLES).astype(int)) for n in image.shape
    ]
    corners = [(y, x) for row, y in enumerate(starts[0]) for x in starts[1][row % 2 :: 2]]
    return [image[y : y + _SAMPLE, x : x + _SAMPLE] for y, x in corners]


def _bound(
    recipe: _Method, noise: NoiseEstimate, parameters: Mapping[str, float]
) -> Callable[[Float32], Float32]:
    return lambda image: recipe.run(image, noise.correlation, **parameters)


def _in_tiles(
    recipe: _Method, image: Float32, noise: NoiseEstimate, parameters: Mapping[str, float]
) -> Float32:
    run, halo = _bound(recipe, noise, parameters), recipe.halo(parameters)
    if recipe.whole:
        return run(image)
    out = np.empty_like(image)
    for rows in _spans(image.shape[0]):
        for columns in _spans(image.shape[1]):
            top, left = max(rows.start - halo, 0), max(columns.start - halo, 0)
            tile = np.ascontiguousarray(image[top : rows.stop + halo, left : columns.stop + halo])
            inside = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            out[rows, columns] = run(tile)[inside]
    return out


def _spans(length: int) -> Iterator[slice]:
    count = math.ceil(length / _TILE)
    edges = np.linspace(0, length, count + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        yield slice(int(start), int(stop))
