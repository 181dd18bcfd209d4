"""One image in a gzip, bzip2, xz, zip or tar file, with the side-cars beside it.

A Zarr store in a zip is read where it is, as it is made of many small files.
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from everhart.errors import EverhartError
from everhart.io.formats import zarr
from everhart.io.frame_file import is_mapped
from everhart.io.limits import Limits
from everhart.io.registry import SNIFFED_BYTES, Format
from everhart.io.unpack import kind_of_pack, unpack
from everhart.io.zarr_store import ZipStore, store_root
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]


def _sniff(start: bytes) -> bool:
    return kind_of_pack(start) is not None


def _read(path: Path, limits: Limits) -> Micrograph:
    root = _zarr_root(path)
    if root is not None:
        with closing(ZipStore(path, root)) as store:
            return _named(zarr.read_store(store, limits), root or path.stem, zarr.FORMAT)
    with tempfile.TemporaryDirectory(prefix="everhart-") as folder:
        found = unpack(path, Path(folder), limits)
        try:
            image = found.known.read(found.file, limits)
        except EverhartError as error:  # the file that it names is gone when it is read
            raise type(error)(
                str(error).replace(str(found.file), f"{path}: {found.name}")
            ) from None
        if is_mapped(image.pixels):  # these would hold on to a file that is removed now
            image = replace(image, pixels=np.array(image.pixels))
    return _named(image, found.name, found.known)


def _zarr_root(path: Path) -> str | None:
    """Return the Zarr store in a zip; None if there is none, or this is no zip."""
    with path.open("rb") as file:
        if kind_of_pack(file.read(SNIFFED_BYTES)) != "zip":
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            return store_root(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None  # `unpack` says what is wrong


def _named(image: Micrograph, name: str, known: Format) -> Micrograph:
    own = dict(image.metadata.get("everhart") or {})
    own |= {"packed_name": name, "packed_format": known.name}
    return replace(image, metadata={**image.metadata, "everhart": own})


FORMAT = Format("packed image", (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz"), _sniff, _read)
