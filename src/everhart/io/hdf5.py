"""HDF5 files of strangers: only what lies in the file itself, and no more of it than allowed.

A file can have links to other files, datasets whose bytes are in other files, and chunks that
decompress to anything. Links are followed only where they are hard ones, and a dataset's claims
are checked before it is read.

The HDF5 library itself is C code that trusts the structure of a file more than the readers here
do. A file that is made to crash it will do so: read files of strangers by
:func:`everhart.io.read_isolated`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, FileFormatError
from everhart.io.bitmap import broken
from everhart.io.hdf5_chunks import chunks_of, read_part
from everhart.io.hdf5_heap import check_heaps
from everhart.io.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import h5py

__all__ = [
    "attribute",
    "attributes",
    "check_dataset",
    "child",
    "children",
    "group_in",
    "is_hdf5",
    "open_hdf5",
    "small_array",
]

_MAGIC = b"\x89HDF\r\n\x1a\n"
# The first block can stand behind a block of the user's, of 512 bytes or a multiple.
_STARTS = (0, 512, 1024, 2048)
_MOST_CHILDREN = 65_536
_MOST_ATTRIBUTES = 512
_MOST_VALUES, _MOST_VALUE_BYTES = 4096, 1 << 20
_SMALL_BYTES = 64 << 20
# The library needs microseconds to find each chunk, be it there or not.
_MOST_CHUNKS, _CHUNK_FILE_BYTES = 262_144, 1024


def is_hdf5(start: bytes) -> bool:
    """Say whether these first bytes are those of an HDF5 file."""
    return any(start.startswith(_MAGIC, at) for at in _STARTS)


def open_hdf5(path: Path) -> h5py.File:
    """Open a file to read it; the caller closes it.

    Raises
    ------
    FileFormatError
        If it is broken or truncated.
    """
    import h5py

    check_heaps(path)
    try:
        # Locks are refused on many network drives, and a reader does not need one.
        return h5py.File(path, "r", locking=False)
    except Exception as error:
        raise broken(path, error) from error


def child(group: h5py.Group, name: str) -> Any:
    """Return the group or dataset of a name; None if there is none in this very file.

    Soft and external links are not followed: they can lead into other files.
    """
    import h5py

    key = name.encode("utf-8", "surrogateescape")
    if not group.id.links.exists(key):
        return None
    if group.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
        return None
    return group[key]


def group_in(group: h5py.Group, *names: str) -> h5py.Group | None:
    """Return the group at the end of a path of names, or None."""
    import h5py

    found: Any = group
    for name in names:
        found = child(found, name)
        if not isinstance(found, h5py.Group):
            return None
    return found


def children(group: h5py.Group) -> Iterator[str]:
    """Give the names in a group, in their order; the first 65,536 at most."""
    names: list[bytes] = []

    def add(name: bytes) -> int | None:
        names.append(name)
        return 1 if len(names) >= _MOST_CHILDREN else None

    group.id.links.iterate(add)
    yield from (name.decode("utf-8", "surrogateescape") for name in names)


def attribute(item: Any, name: str) -> Any:
    """Return a small attribute as plain numbers or text; None if it is not there or neither."""
    import h5py

    if name not in item.attrs:
        return None
    stored = item.attrs.get_id(name)
    kind = stored.dtype
    is_text = h5py.check_string_dtype(kind) is not None
    count = math.prod(stored.shape)
    if count > _MOST_VALUES or count * kind.itemsize > _MOST_VALUE_BYTES:
        return None
    if not (is_text or kind.kind in "buif"):
        return None
    value = item.attrs[name]
    if isinstance(value, (h5py.Empty, str, bytes)):
        return None if isinstance(value, h5py.Empty) else _text(value)
    value = np.asarray(value).tolist()
    return [_text(one) for one in value] if isinstance(value, list) else _text(value)


def attributes(item: Any) -> dict[str, Any]:
    """Return the small attributes of a group or dataset."""
    found = {}
    for number, name in enumerate(item.attrs):
        if number >= _MOST_ATTRIBUTES:
            break
        value = attribute(item, name)
        if value is not None:
            found[_text(name)] = value
    return found


def _text(value: Any) -> Any:
    """Decode text; what is none is given back."""
    if isinstance(value, str):  # with surrogates for what was no UTF-8
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value.partition(b"\0")[0].decode("utf-8", "replace")
    return value


def small_array(path: Path, dataset: h5py.Dataset, *, column: int | None = None) -> NDArray[Any]:
    """Read what is metadata: 64 MB of numbers at most, and no bomb.

    Parameters
    ----------
    path
        The file.
    dataset
        A dataset of one dimension, or of two.
    column
        The column to read, of two dimensions.

    Returns
    -------
    ndarray
        The numbers, of shape ``(n,)``.

    Raises
    ------
    ValueError
        If it is larger, or holds no numbers, or is of another shape.
    FileFormatError
        If its bytes are not in this file, or it is compressed out of proportion.
    """
    shape = dataset.shape
    if shape is None or len(shape) != (1 if column is None else 2) or 0 in shape:
        raise ValueError(f"it has the shape {shape}")
    if dataset.dtype.kind not in "buif":
        raise ValueError("it holds no numbers")
    if shape[0] * dataset.dtype.itemsize > _SMALL_BYTES:
        raise ValueError(f"it has {shape[0]:,} values")
    check_dataset(path, dataset, DEFAULT_LIMITS)
    bounds = [(0, int(shape[0])), *([] if column is None else [(column, column + 1)])]
    return read_part(dataset, chunks_of(path, dataset), bounds).ravel()


def check_dataset(path: Path, dataset: h5py.Dataset, limits: Limits) -> None:
    """Check that the bytes of a dataset are in the file, and how they are packed.

    The size of the whole is the caller's to check.

    Raises
    ------
    FileFormatError
        If they are in another file, were never written, or are packed in a way that is not
        known.
    LimitError
        If a chunk of it claims to be too large.
    """
    import h5py

    try:
        plan = dataset.id.get_create_plist()
        layout = plan.get_layout()
        elsewhere = layout == h5py.h5d.VIRTUAL or plan.get_external_count() > 0
        filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
        chunk = plan.get_chunk() if layout == h5py.h5d.CHUNKED else None
        stored = dataset.id.get_storage_size()
    except EverhartError:
        raise
    except Exception as error:
        raise broken(path, error) from error
    name = _text(dataset.name or "")
    if elsewhere:
        raise FileFormatError(
            f"{path} has the pixels of {name!r} in other files, which are not opened: copy them "
            "into one file, as by the program h5repack."
        )
    if stored == 0:
        raise FileFormatError(
            f"{path} has no pixels in {name!r}, as after an acquisition that was broken off: get "
            "the file again from its source."
        )
    for code, _, _, said in filters:
        if not h5py.h5z.filter_avail(code):
            known = _text(said) or "no name"
            raise FileFormatError(
                f"{path} is packed by the HDF5 filter {code} ({known[:40]}), which is not at hand: "
                "unpack it with the program h5repack, or export it as TIFF."
            )
    if chunk is not None:
        _check_chunks(path, dataset, chunk, limits)


def _check_chunks(
    path: Path, dataset: h5py.Dataset, chunk: tuple[int, ...], limits: Limits
) -> None:
    file_bytes = path.stat().st_size
    # The library unpacks whole chunks, however little of one is asked for.
    limits.check(
        f"A chunk in {path}",
        height=1,
        width=math.prod(chunk),
        itemsize=dataset.dtype.itemsize,
        file_bytes=file_bytes,
    )
    count = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk, strict=True))
    if count > _MOST_CHUNKS + file_bytes // _CHUNK_FILE_BYTES:
        raise FileFormatError(
            f"{path} claims {count:,} chunks of {' x '.join(map(str, chunk))} pixels in "
            f"{file_bytes:,} bytes, which take too long to look up: write it with larger ones, as "
            "by the program h5repack."
        )
