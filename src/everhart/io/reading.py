"""`read`: one reader for every file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from everhart.errors import EverhartError
from everhart.io.data_bar import find_data_bar
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.registry import format_to_read
from everhart.micrograph import Micrograph

__all__ = ["read"]


def read(
    path: str | os.PathLike[str],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Micrograph:
    """Read a micrograph.

    The format is recognised by the content of the file. What its header claims is checked
    against `limits` before anything is decoded.

    Parameters
    ----------
    path
        The file, of any format in ``docs/formats.md``: TIFF of every microscope, PNG, JPEG, BMP,
        NPY, MRC, DM3 and DM4, EMD, SER and EMI, Zarr, or one of these in an archive.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, instead of what the file says.
    limits
        Largest image, stack and compression ratio that are accepted.

    Returns
    -------
    Micrograph
        Grey pixels in the file's dtype, shape ``(H, W)`` or ``(N, H, W)``; the pixel size
        ``(y, x)`` in nm, None where the file does not tell; the rows of its data bar.
        ``metadata["everhart"]`` says in ``"pixel_size_source"`` and ``"data_bar_source"``
        where these are from, ``metadata["common"]`` has the imaging conditions under one set
        of names, and other keys what the vendor wrote.

    Raises
    ------
    UsageError
        If there is no such file.
    FileFormatError
        If the file is of an unknown format, broken, truncated, or holds no grey image.
    LimitError
        If it claims more than the limits allow.

    Warns
    -----
    FileWarning
        If a vendor tag is broken, a colour image is converted to grey, or the pixel size is
        from a plain resolution tag.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from everhart.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = Micrograph(np.zeros((32, 48), np.uint16), pixel_size_nm=1.5)
    ...     image = read(write(image, Path(folder) / "image.tif"))
    >>> image
    <Micrograph 32 x 48 uint16, 1.5 x 1.5 nm/px, 0 operations>
    """
    path = Path(path)
    known = format_to_read(path)
    try:
        image = known.read(path, limits)
    except OSError as error:
        raise EverhartError(f"{path} cannot be read: {error.strerror or error}.") from error
    own = dict(image.metadata.get("everhart") or {})
    rows = image.data_bar_rows
    if own.get("data_bar_source") is None:
        rows = find_data_bar(image.pixels)
        own["data_bar_source"] = "picture" if rows else None
    if pixel_size_nm is not None:
        own["pixel_size_source"] = "given"
    metadata = {**image.metadata, "everhart": {**own, "format": known.name}}
    size = image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
    # `Micrograph` makes a pair of a single number
    return replace(image, metadata=metadata, pixel_size_nm=size, data_bar_rows=rows)  # type: ignore[arg-type]
