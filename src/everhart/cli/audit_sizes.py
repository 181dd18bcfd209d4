"""The measurement that ``everhart audit --measure`` makes: that of ``everhart measure``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.cli.progress import track
from everhart.errors import EverhartError, UsageError

if TYPE_CHECKING:
    from everhart.micrograph import Micrograph
    from everhart.synthesize.sizes import SizeSet

__all__ = ["Measuring"]

_MISSING = (
    ", and nothing is measured in nanometres without one: give it (--pixel-size-nm 1.5), or ask "
    "for pixels (--measure-with unit=px)."
)


class Measuring:
    """A measurement with its options, for synthetic and real images alike.

    Parameters
    ----------
    kind
        One of ``everhart measure``, such as ``"lines"``.
    options
        Its options as ``NAME=VALUE``, such as ``"polarity=dark"``.

    Raises
    ------
    UsageError
        If an option is unknown or its value not allowed.
    """

    def __init__(self, kind: str, options: Sequence[str]) -> None:
        from everhart.operations import OPERATIONS
        from everhart.operations.measurements import PREFIX
        from everhart.synthesize.sizes import sizes_of

        values: dict[str, Any] = {}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise UsageError(
                    f"--measure-with {option!r} was given: give NAME=VALUE, such as polarity=dark."
                )
            values[name.strip().replace("-", "_")] = value.strip()
        operation = OPERATIONS[PREFIX + kind]
        checked = operation.check(values)
        run = operation.prepare(checked)

        def measure(image: Micrograph) -> Mapping[str, NDArray[np.float64]]:
            return sizes_of(run([image], {}).measurements[0])

        self.kind = kind
        self.parameters = checked.model_dump()
        self._measure: Callable[[Micrograph], Mapping[str, NDArray[np.float64]]] = measure

    def of_made(self, images: Sequence[Micrograph]) -> SizeSet:
        """Measure synthetic images.

        Raises
        ------
        UsageError
            If one has no pixel size, and is to be measured in nm.
        """
        from everhart.synthesize.sizes import measure_sizes

        self._check(images, "synthetic")
        return measure_sizes(track(images, "synthetic"), self._measure)

    def of_real(self, images: Sequence[Micrograph]) -> SizeSet:
        """Measure real images.

        Raises
        ------
        UsageError
            If one has no pixel size, and is to be measured in nm.
        EverhartError
            If none can be measured.
        """
        from everhart.synthesize.sizes import measure_sizes

        self._check(images, "real")
        found = measure_sizes(track(images, "real"), self._measure)
        if images and not found.measured:
            raise EverhartError(
                f"None of the {len(images)} real images can be measured by --measure {self.kind}, "
                f"of the first: {found.reasons[0]}"
            )
        return found

    def check(self, pixel_size_nm: object, what: str) -> None:
        """Check that there is a pixel size where something is measured in nm.

        Raises
        ------
        UsageError
            If there is none.
        """
        if pixel_size_nm is None and self.parameters["unit"] == "nm":
            raise UsageError(f"{what} has no pixel size{_MISSING}")

    def _check(self, images: Sequence[Micrograph], which: str) -> None:
        missing = sum(image.pixel_size_nm is None for image in images)
        if missing and self.parameters["unit"] == "nm":
            raise UsageError(
                f"{missing} of {len(images)} {which} images have no pixel size{_MISSING}"
            )
