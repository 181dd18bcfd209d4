"""One image in a gzip, bzip2, xz, zip or tar file, with the side-cars beside it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from everhart.errors import EverhartError
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.io.unpack import kind_of_pack, unpack
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]


def _sniff(start: bytes) -> bool:
    return kind_of_pack(start) is not None


def _read(path: Path, limits: Limits) -> Micrograph:
    with tempfile.TemporaryDirectory(prefix="everhart-") as folder:
        found = unpack(path, Path(folder), limits)
        try:
            image = found.known.read(found.file, limits)
        except EverhartError as error:  # the file that it names is gone when it is read
            raise type(error)(
                str(error).replace(str(found.file), f"{path}: {found.name}")
            ) from None
        # Mapped pixels would hold on to a file that is removed now.
        pixels = np.array(image.pixels)
    own = dict(image.metadata.get("everhart") or {})
    own |= {"packed_name": found.name, "packed_format": found.known.name}
    return replace(image, pixels=pixels, metadata={**image.metadata, "everhart": own})


FORMAT = Format("packed image", (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz"), _sniff, _read)
