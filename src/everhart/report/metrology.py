"""What denoising does to measured sizes: a picture measured against its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, unknown_name

if TYPE_CHECKING:
    from everhart.measure.result import Measurement
    from everhart.measure.units import UnitName

__all__ = ["MEASURED_KINDS", "MeasuredKind", "Metrology", "check_measured"]

Float32 = NDArray[np.float32]
Float = NDArray[np.float64]

MeasuredKind = Literal["holes", "lines"]

MEASURED_KINDS: Final[tuple[str, ...]] = get_args(MeasuredKind)
"""What a comparison can measure."""

_NEAR = 0.25  # of the pitch of lines; of the radius of holes, as in matching


@dataclass(frozen=True, eq=False)
class _Sizes:
    """Places, sizes and roughness of what was measured in one picture.

    Parameters
    ----------
    circles
        ``(n, 3)``: place (y, x) and the radius that a place may be off by a quarter of.
    cd
        ``(n,)``.
    roughness
        ``(n,)``, three standard deviations with the noise taken out; of lines one for all.
    """

    circles: Float
    cd: Float
    roughness: Float


@dataclass(frozen=True, eq=False)
class Metrology:
    """Measures pictures of a field whose reference has been measured.

    Reference and picture are measured in the same way and with the same convention of
    the edge, so what they differ by is not the convention's. With a reference that is itself
    noisy its own error is part of every figure.

    Parameters
    ----------
    kind
        ``"holes"`` or ``"lines"``.
    unit
        ``"nm"``, or ``"px"`` where the size of a pixel is unknown.
    pixel_size_nm
        ``(y, x)``, or None.
    truth
        What the reference measures.
    """

    kind: MeasuredKind
    unit: UnitName
    pixel_size_nm: tuple[float, float] | None
    truth: _Sizes

    @classmethod
    def of_reference(
        cls, kind: MeasuredKind, reference: Float32, pixel_size_nm: tuple[float, float] | None
    ) -> Metrology:
        """Measure the reference.

        Parameters
        ----------
        kind
            ``"holes"`` or ``"lines"``.
        reference
            ``(H, W)``.
        pixel_size_nm
            ``(y, x)``; None for figures in pixels.

        Raises
        ------
        EverhartError
            If the reference cannot be measured.
        """
        unit: UnitName = "px" if pixel_size_nm is None else "nm"
        try:
            found = _measure(kind, reference, pixel_size_nm, unit)
        except EverhartError as error:
            raise EverhartError(
                f"{kind.capitalize()} were to be measured, and the reference cannot be: {error}"
            ) from error
        return cls(kind, unit, pixel_size_nm, _SIZES[kind](found, unit))

    def figures(self, picture: Float32) -> dict[str, float]:
        """Return the figures of a picture by their keys in ``FIGURES``.

        Parameters
        ----------
        picture
            ``(H, W)``, of the same field as the reference.

        Returns
        -------
        dict
            ``features_missed`` and ``features_false``; where any were found also the mean
            error of the CD, its standard deviation between features (none of a single one), and
            the error of the roughness. A picture in which nothing can be measured misses all.
        """
        try:
            found = _measure(self.kind, picture, self.pixel_size_nm, self.unit)
        except EverhartError:
            return {"features_missed": float(len(self.truth.cd)), "features_false": 0.0}
        return self.of_measurement(found)

    def of_measurement(self, found: Measurement) -> dict[str, float]:
        """Return the figures of what a picture measures; as :meth:`figures`.

        Parameters
        ----------
        found
            A measurement of this kind and in this unit.
        """
        from everhart.measure.matching import failure_rate

        sizes = _SIZES[self.kind](found, self.unit)
        matched = failure_rate(sizes.circles, self.truth.circles, centre_tolerance=_NEAR)
        figures = {
            "features_missed": float(matched.undetected),
            "features_false": float(matched.false_detections),
        }
        if not len(matched.pairs):
            return figures
        here, there = matched.pairs.T
        error = sizes.cd[here] - self.truth.cd[there]
        rougher = sizes.roughness[here] - self.truth.roughness[there]
        figures[f"cd_bias_{self.unit}"] = float(error.mean())
        if len(error) > 1:
            figures[f"cd_spread_{self.unit}"] = float(error.std(ddof=1))
        figures[f"roughness_bias_{self.unit}"] = float(rougher.mean())
        return figures


def check_measured(kind: str | None) -> None:
    """Check what is to be measured, before any method is run.

    Raises
    ------
    UsageError
        If it is of no kind that a comparison can measure.
    """
    if kind is not None and kind not in MEASURED_KINDS:
        raise unknown_name("kind of measurement", kind, MEASURED_KINDS)


def _measure(
    kind: MeasuredKind,
    picture: Float32,
    pixel_size_nm: tuple[float, float] | None,
    unit: UnitName,
) -> Measurement:
    from everhart.measure import holes, lines
    from everhart.micrograph import Micrograph

    run: Any = {"holes": holes, "lines": lines}[kind]
    measured: Measurement = run(Micrograph(picture, pixel_size_nm=pixel_size_nm), unit=unit)
    return measured


def _of_holes(found: Measurement, unit: str) -> _Sizes:
    table = found.table
    cd = table[f"cd_{unit}"].to_numpy(np.float64)
    circles = np.stack([table[f"y_{unit}"], table[f"x_{unit}"], cd / 2], axis=1)
    return _Sizes(circles, cd, table[f"cer_3sigma_{unit}"].to_numpy(np.float64))


def _of_lines(found: Measurement, unit: str) -> _Sizes:
    centre = found.table[f"center_{unit}"].to_numpy(np.float64)
    pitch = np.full(len(centre), float(found.summary[f"pitch_{unit}"]))
    # The spectrum is fitted to all widths at once: one roughness for all lines.
    roughness = np.full(len(centre), float(found.summary[f"lwr_3sigma_unbiased_{unit}"]))
    circles = np.stack([np.zeros_like(centre), centre, pitch], axis=1)
    return _Sizes(circles, found.table[f"cd_{unit}"].to_numpy(np.float64), roughness)


_SIZES: Final[Mapping[str, Callable[[Measurement, str], _Sizes]]] = {
    "holes": _of_holes,
    "lines": _of_lines,
}
