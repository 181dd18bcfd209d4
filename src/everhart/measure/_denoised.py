"""What is not said of an image that was denoised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from everhart.measure.result import Measurement
from everhart.micrograph import Micrograph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["withhold_if_denoised"]


def withhold_if_denoised(
    found: Measurement, image: Micrograph | ArrayLike, also: Sequence[str] = ()
) -> Measurement:
    """Leave out the standard deviations of what was measured on a denoised image.

    Noise that a denoiser leaves depends on its neighbours and on the pattern, and the denoiser
    moves edges by itself; one image does not tell by how much. In simulation the errors were 2
    to 4 times what the noise that is left makes one expect.

    Parameters
    ----------
    found
        The measurement.
    image
        What it was made on: its history says whether it was denoised.
    also
        Beginnings of the names of further figures that are left out.

    Returns
    -------
    Measurement
        Without them (NaN in tables, None in the summary) and with a ``warning`` that says so;
        what was given if the image was not denoised.
    """
    entries = image.history if isinstance(image, Micrograph) else ()
    methods = [str(e.parameters.get("method", "")) for e in entries if e.operation == "denoise"]
    if not methods:
        return found

    def withheld(name: str) -> bool:
        return "_sd" in name or name.startswith(tuple(also))

    summary: dict[str, Any] = {k: None if withheld(k) else v for k, v in found.summary.items()}
    by = f" by {methods[-1]}" if methods[-1] else ""
    what = "no standard deviations" + (" and no roughness without noise" if also else "")
    summary["warning"] = (
        f"The image was denoised{by}: what that did to edges cannot be told from the specimen, so "
        f"{what} can be given; measure the image as it was taken."
    )
    tables = {name: _without(table, withheld) for name, table in found.tables.items()}
    return replace(found, table=_without(found.table, withheld), summary=summary, tables=tables)


def _without(table: pd.DataFrame, withheld: Any) -> pd.DataFrame:
    return table.assign(**{name: np.nan for name in table.columns if withheld(str(name))})
