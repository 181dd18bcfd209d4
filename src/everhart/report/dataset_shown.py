"""Which images of a data set the report has pictures of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from everhart.report.comparison import NOISY
from everhart.report.dataset_result import DatasetComparison, ShownImage

__all__ = ["CROP_PX", "REFERENCE", "choose_shown"]

Crop = Callable[[str, str, str], NDArray[np.uint8] | None]

CROP_PX: Final = 192
"""Side of a crop."""

REFERENCE: Final = "reference"

_WORST: Final = 3
# A crop of noise is no smaller as PNG, and a third larger in HTML: 10 MB of these, whatever the
# number of methods, leave the report well below the 20 MB that mail servers take.
_MAX_PIXELS: Final = 7_500_000


def choose_shown(compared: DatasetComparison, crop: Crop) -> DatasetComparison:
    """Add crops of the worst, the median and the best image, and of the worst of each method.

    Parameters
    ----------
    compared
        The comparison.
    crop
        ``crop(image, method, role)`` gives a crop that was kept; role is ``"picture"`` or
        ``"reference"``.

    Returns
    -------
    DatasetComparison
        The same with crops, the worst image first.
    """
    shown: list[ShownImage] = []
    pixels = 0
    for name, reasons in _wanted(compared).items():
        pictures: dict[str, NDArray[np.uint8]] = {}
        for method in compared.names:
            found = crop(name, method, "picture")
            if found is not None:
                pictures[method] = found
        reference = crop(name, NOISY, REFERENCE)
        if reference is not None:
            pictures[REFERENCE] = reference
        pixels += sum(picture.size for picture in pictures.values())
        if shown and pixels > _MAX_PIXELS:
            break
        shown.append(ShownImage(name, tuple(reasons), pictures))
    place = {name: number for number, name in enumerate(compared.worst_first())}
    shown.sort(key=lambda image: place.get(image.name, -1))  # an image where it failed is worse yet
    return replace(compared, shown=tuple(shown))


def _wanted(compared: DatasetComparison) -> dict[str, list[str]]:
    """Return the images to show with the reasons for it, the most wanted first."""
    wanted: dict[str, list[str]] = {}

    def add(name: str, reason: str) -> None:
        wanted.setdefault(name, []).append(reason)

    method = compared.worst_method
    order = compared.worst_first()
    if not order:
        return wanted
    add(order[0], f"worst of {method}")
    add(order[len(order) // 2], f"median of {method}")
    add(order[-1], f"best of {method}")
    for place, name in enumerate(order[1:_WORST], start=2):
        add(name, f"{_ordinal(place)} worst of {method}")
    for other in compared.methods:
        worst = compared.worst_first(other)
        if other != method and worst:
            add(worst[0], f"worst of {other}")
    return wanted


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
