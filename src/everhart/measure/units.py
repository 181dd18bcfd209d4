"""The unit that a measurement is in: nanometres, or pixels where that was asked for."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from everhart.errors import UsageError, unknown_name
from everhart.micrograph import Micrograph

__all__ = ["Unit", "UnitName", "unit_of"]

UnitName = Literal["nm", "px"]


class Unit(NamedTuple):
    """Size of a pixel in the unit of a measurement.

    Attributes
    ----------
    name
        ``"nm"`` or ``"px"``: the end of the names of columns, such as ``cd_nm``.
    y
        Height of a pixel in the unit.
    x
        Width of a pixel in the unit.
    """

    name: UnitName
    y: float
    x: float


def unit_of(image: Any, unit: UnitName = "nm") -> Unit:
    """Return the size of an image's pixels, or refuse to guess it.

    Parameters
    ----------
    image
        A micrograph, or an array (which has no pixel size).
    unit
        ``"nm"``, or ``"px"`` to measure in pixels.

    Returns
    -------
    Unit
        Height and width of a pixel.

    Raises
    ------
    UsageError
        If nanometres are asked for and the pixel size is unknown, or the unit is.

    Examples
    --------
    >>> unit_of(Micrograph([[0.0]], pixel_size_nm=1.5))
    Unit(name='nm', y=1.5, x=1.5)
    """
    if unit == "px":
        return Unit("px", 1.0, 1.0)
    if unit != "nm":
        raise unknown_name("unit", str(unit), ("nm", "px"))
    size = image.pixel_size_nm if isinstance(image, Micrograph) else None
    if size is None:
        raise UsageError(
            "The image has no pixel size, and nothing is measured in nanometres without one: give "
            "it (--pixel-size-nm 1.5, or Micrograph(pixels, pixel_size_nm=1.5)), or ask for "
            "pixels (--unit px, or unit='px')."
        )
    return Unit("nm", size[0], size[1])
