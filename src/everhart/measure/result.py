"""What a measurement gives back: a table, its summary, and what is drawn over the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Measurement", "Outline"]


@dataclass(frozen=True, eq=False)
class Outline:
    """A line drawn over the image.

    Parameters
    ----------
    points
        ``(n, 2)``: y and x in pixels, pixel centres at whole numbers.
    label
        Number or name that is written beside it; may be empty.
    kind
        What it is, which decides its colour: ``"edge"`` for what was measured, ``"doubt"`` for
        what was found and not measured, ``"missing"`` for what should be there and is not.
    closed
        Whether the last point is joined to the first.
    """

    points: NDArray[np.float64]
    label: str = ""
    kind: str = "edge"
    closed: bool = False


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement of one image.

    Parameters
    ----------
    kind
        ``"holes"``, ``"lines"``, ``"layers"``, ``"particles"`` or ``"defects"``.
    table
        One row an object; units in the names of the columns, and beside each estimate its
        standard deviation (``cd_nm``, ``cd_sd_nm``).
    summary
        Figures of the whole image, plain numbers and strings; None for what cannot be told. It
        says the edge convention used (``edge_convention``).
    outlines
        What is drawn over the image.
    tables
        More tables by name, such as ``"psd"``.
    """

    kind: str
    table: pd.DataFrame
    summary: Mapping[str, Any]
    outlines: Sequence[Outline] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
