"""`write`: one writer for every file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from everhart.errors import unknown_name
from everhart.io.atomic import atomic_folder, atomic_path, check_output
from everhart.io.registry import folder_format, format_to_write
from everhart.micrograph import Micrograph

__all__ = ["write"]


def write(
    image: Micrograph | ArrayLike,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    data_bar: Literal["keep", "crop"] = "keep",
) -> Path:
    """Write a micrograph, whole or not at all.

    Parameters
    ----------
    image
        Micrograph or array of shape ``(H, W)`` or ``(N, H, W)``.
    path
        Name of the output; its suffix says the format. TIFF (``.tif``, ``.tiff``) holds
        every dtype and stacks, with a calibration that ImageJ reads; PNG holds one image of
        uint8, uint16 or bool; EMD (``.emd``) and Zarr (``.zarr``, a folder of OME-NGFF) hold
        every dtype and stacks, MRC (``.mrc``) those of few bits. All of them keep history and
        metadata. NPY holds pixels only.
    overwrite
        Whether an existing file, or folder of Zarr, may be replaced.
    data_bar
        ``"keep"`` or ``"crop"`` the rows of the microscope's data bar.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    UsageError
        If the suffix is unknown, the format cannot hold the dtype or a stack, the folder
        does not exist, or the file exists and `overwrite` is false.
    EverhartError
        If the disk is full or writing is not permitted.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(np.zeros((8, 8), np.uint8), Path(folder) / "blank.png").name
    'blank.png'
    """
    if data_bar not in ("keep", "crop"):
        raise unknown_name("treatment of the data bar", str(data_bar), ("keep", "crop"))
    path = Path(path)
    save = format_to_write(path)
    check_output(path, overwrite=overwrite)
    if not isinstance(image, Micrograph):
        image = Micrograph(np.asarray(image))
    if data_bar == "crop":
        image = image.crop_data_bar()
    atomic = atomic_path if folder_format(path) is None else atomic_folder
    with atomic(path, overwrite=overwrite) as temporary:
        save(image, temporary)
    return path
