"""Sizes measured in synthetic and in real images: CD, pitch, thickness, diameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.synthesize.ratio import Ratio, draws_of, ratio_of

if TYPE_CHECKING:
    from everhart.measure.result import Measurement
    from everhart.micrograph import Micrograph

__all__ = [
    "MEASURED_KINDS",
    "ComparedSize",
    "SizeReport",
    "SizeSet",
    "compare_sizes",
    "mean_words",
    "measure_sizes",
    "sizes_of",
]

Float = NDArray[np.float64]

_FEWEST = (4, 8)
"""Synthetic and real images with a quantity, below which there is no ratio: as of an audit."""


class _Kind(NamedTuple):
    objects: tuple[str, ...]  # columns of the table
    figures: tuple[str, ...]  # of the summary
    each: str = ""  # column that tells objects of different kinds apart


MEASURED_KINDS: Mapping[str, _Kind] = {
    "lines": _Kind(("cd",), ("pitch", "lwr_3sigma_unbiased", "ler_3sigma_unbiased")),
    "layers": _Kind(("thickness",), (), "layer"),
    "particles": _Kind(("diameter", "circularity"), ()),
    "holes": _Kind(("cd", "ellipticity"), ("pitch_a", "pitch_b")),
}
"""Measurements whose sizes can be compared, and what is compared of each."""


@dataclass(frozen=True, eq=False)
class SizeSet:
    """What was measured in a set of images.

    Parameters
    ----------
    images
        For each image the values by quantity, of each object; None where it cannot be measured.
    reasons
        Why not, by number of the image.
    """

    images: tuple[Mapping[str, Float] | None, ...]
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """Number of images that could be measured."""
        return sum(image is not None for image in self.images)

    def of(self, name: str) -> list[Float]:
        """Return the values of a quantity, an array for each image that has it."""
        found = (image[name] for image in self.images if image is not None and name in image)
        return [values for values in found if values.size]


@dataclass(frozen=True)
class ComparedSize:
    """A quantity in synthetic and in real images.

    Parameters
    ----------
    name
        With its unit, such as ``cd_nm``.
    ratio
        Wasserstein distance of its distribution from that of real images, over that of real images
        from each other; None where too few images have it, or it is the same in all real ones.
    distance, floor
        These distances themselves, in the unit.
    made, real
        Mean and standard deviation over all objects, and the number of images with it; NaN
        where there are none.
    """

    name: str
    ratio: Ratio | None
    distance: float
    floor: float
    made: tuple[float, float, int]
    real: tuple[float, float, int]


@dataclass(frozen=True, eq=False)
class SizeReport:
    """What was compared.

    Parameters
    ----------
    kind
        What was measured, such as ``"lines"``.
    sizes
        The quantities.
    made, real
        Number of images that could be measured, and of all.
    reasons
        Of the synthetic images that could not be measured: number, and why.
    """

    kind: str
    sizes: tuple[ComparedSize, ...]
    made: tuple[int, int]
    real: tuple[int, int]
    reasons: Mapping[int, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-serialisable dict."""
        return {
            "kind": self.kind,
            "measured_images": {"made": list(self.made), "real": list(self.real)},
            "not_measured": {str(n): why for n, why in self.reasons.items()},
            "sizes": {
                s.name: {
                    "ratio": None
                    if s.ratio is None
                    else [s.ratio.value, s.ratio.low, s.ratio.high],
                    "distance": _number(s.distance),
                    "distance_real": _number(s.floor),
                    "made": {"mean": _number(s.made[0]), "sd": _number(s.made[1]), "n": s.made[2]},
                    "real": {"mean": _number(s.real[0]), "sd": _number(s.real[1]), "n": s.real[2]},
                }
                for s in self.sizes
            },
        }

    def summary(self) -> str:
        """Return the figures in lines to read."""
        wide = max([20, *(len(s.name) for s in self.sizes)])
        lines = [
            f"{f'{self.kind}, measured in':{wide}} {self.made[0]:8d} of {self.made[1]} synthetic "
            f"and {self.real[0]} of {self.real[1]} real images"
        ]
        for s in self.sizes:
            said = "       -" if s.ratio is None else f"{s.ratio.value:8.2f}"
            band = "" if s.ratio is None else f" ({s.ratio.low:.2f} to {s.ratio.high:.2f})"
            lines.append(
                f"{s.name:{wide}} {said}{band}; {mean_words(s.made, '+-')}, "
                f"real {mean_words(s.real, '+-')}"
            )
        return "\n".join(lines)


def sizes_of(found: Measurement) -> dict[str, Float]:
    """Return what is compared of a measurement: the values of each object by quantity.

    Parameters
    ----------
    found
        Of one of :data:`MEASURED_KINDS`.

    Returns
    -------
    dict
        Arrays by quantity, named as the columns of the table and the figures of the summary.
    """
    kind, table = MEASURED_KINDS[found.kind], found.table
    if "border" in table:  # what is cut has no size
        table = table[~table["border"]]
    sizes = {found.kind: np.array([float(len(table))])}
    for name in kind.objects:
        column = next(c for c in (f"{name}_nm", f"{name}_px", name) if c in table)
        if kind.each:
            groups = {
                f"{column} of {kind.each} {of}": rows for of, rows in table.groupby(kind.each)
            }
        else:
            groups = {column: table}
        for title, rows in groups.items():
            sizes[title] = rows[column].to_numpy(np.float64)
    for name in kind.figures:
        for key in (f"{name}_nm", f"{name}_px"):
            if found.summary.get(key) is not None:
                sizes[key] = np.array([float(found.summary[key])])
    return sizes


def measure_sizes(
    images: Iterable[Micrograph], measure: Callable[[Micrograph], Mapping[str, Float]]
) -> SizeSet:
    """Measure a set of images; those that cannot be measured are counted, with the reason.

    Parameters
    ----------
    images
        Micrographs, in their own grey levels.
    measure
        Gives the values of each object by quantity, as :func:`sizes_of`.

    Returns
    -------
    SizeSet
        The values; where an image has several objects, also how they scatter in it: objects of
        one image are made by one process, and more alike than those of different ones.

    Raises
    ------
    UsageError
        If the measurement cannot be made of any image, such as for want of a pixel size.
    """
    measured: list[Mapping[str, Float] | None] = []
    reasons: dict[int, str] = {}
    for number, image in enumerate(images):
        try:
            found = measure(image)
        except UsageError:
            raise
        except EverhartError as error:
            measured.append(None)
            reasons[number] = str(error)
            continue
        sizes: dict[str, Float] = {}
        for name, values in found.items():
            finite = values[np.isfinite(values)]
            sizes[name] = finite
            if finite.size > 1:
                sizes[f"{name}, scatter in an image"] = np.array([finite.std(ddof=1)])
        measured.append(sizes)
    return SizeSet(tuple(measured), reasons)


def compare_sizes(kind: str, made: SizeSet, real: SizeSet, seed: int = 0) -> SizeReport:
    """Compare the distributions of all quantities of synthetic with those of real images.

    Parameters
    ----------
    kind
        What was measured.
    made, real
        What was found.
    seed
        Of the resamples.

    Returns
    -------
    SizeReport
        Ratios, means and counts. Images are resampled, with all objects in them.
    """
    names = dict.fromkeys(
        name for images in (real, made) for image in images.images if image for name in image
    )
    rng = np.random.default_rng([seed, 1])
    sizes = [_compared(name, made.of(name), real.of(name), rng) for name in names]
    ours, reals = ((found.measured, len(found.images)) for found in (made, real))
    return SizeReport(kind, tuple(sizes), ours, reals, dict(made.reasons))


def _compared(
    name: str, ours: list[Float], real: list[Float], rng: np.random.Generator
) -> ComparedSize:
    from scipy.stats import wasserstein_distance

    def distance(rows: NDArray[np.intp], others: NDArray[np.intp], of_real: bool) -> float:
        values = real if of_real else ours
        return float(
            wasserstein_distance(
                np.concatenate([values[n] for n in rows]),
                np.concatenate([real[n] for n in others]),
            )
        )

    ratio, found, floor = None, float("nan"), float("nan")
    if len(ours) >= _FEWEST[0] and len(real) >= _FEWEST[1]:
        draws = draws_of(len(ours), len(real), rng)
        ratio, found, floor = ratio_of(name, distance, draws)
    return ComparedSize(name, ratio, found, floor, _moments(ours), _moments(real))


def _moments(values: list[Float]) -> tuple[float, float, int]:
    if not values:
        return float("nan"), float("nan"), 0
    every = np.concatenate(values)
    return float(every.mean()), float(every.std()), len(values)


def mean_words(moments: tuple[float, float, int], sign: str = "±") -> str:
    """Return mean and standard deviation in words, with the digits that the latter allows.

    Examples
    --------
    >>> mean_words((17.9412, 0.8531, 128))
    '17.94 ± 0.85'
    """
    mean, sd, images = moments
    if not images:
        return "none"
    digits = 1 - int(np.floor(np.log10(sd))) if sd > 1e-9 else 4
    digits = min(max(digits, 0), 6)
    return f"{mean:.{digits}f} {sign} {sd:.{digits}f}"


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
