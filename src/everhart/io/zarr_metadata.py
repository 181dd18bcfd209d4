"""What the metadata of a Zarr store say: groups, arrays, how chunks are named and packed.

References
----------
.. [1] Zarr core specification 2, https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
.. [2] Zarr core specification 3, https://zarr-specs.readthedocs.io/en/latest/v3/core/
.. [3] Sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everhart.errors import EverhartError, FileFormatError
from everhart.io.zarr_array import Shards, ZarrArray
from everhart.io.zarr_codecs import BytesCodec, CodecError, bytes_codec
from everhart.io.zarr_store import Store

__all__ = ["Json", "Node", "open_node"]

_MOST_METADATA_BYTES = 64 << 20
_MOST_AXES = 16

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A group or an array of a store.

    Parameters
    ----------
    key
        Where it is.
    attributes
        What users and programs say about it.
    is_array
        Whether it is an array; a group otherwise.
    array
        Gives the array, or says what is wrong with it.
    """

    key: str
    attributes: Json
    is_array: bool
    array: Callable[[], ZarrArray]


def open_node(store: Store, key: str) -> Node | None:
    """Open a group or an array; None if there is none.

    Raises
    ------
    FileFormatError
        If its metadata are broken.
    """
    modern = _json(store, key, "zarr.json")
    if modern is not None:
        attributes = modern.get("attributes")
        return Node(
            key,
            attributes if isinstance(attributes, dict) else {},
            modern.get("node_type") == "array",
            lambda: _array(store, key, modern, _array_3),
        )
    old = _json(store, key, ".zarray")
    attributes = _json(store, key, ".zattrs")
    if old is not None:
        return Node(key, attributes or {}, True, lambda: _array(store, key, old, _array_2))
    if attributes is None and _json(store, key, ".zgroup") is None:
        return None

    def none() -> ZarrArray:
        raise _broken(store, key, "it is a group")

    return Node(key, attributes or {}, False, none)


def _json(store: Store, key: str, name: str) -> dict[str, Any] | None:
    data = store.read(f"{key}/{name}".lstrip("/"), _MOST_METADATA_BYTES)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken(store, key, f"{name} is no JSON") from error
    if not isinstance(found, dict):
        raise _broken(store, key, f"{name} is no object")
    return found


def _broken(store: Store, key: str, why: str) -> FileFormatError:
    return FileFormatError(
        f"{store.path} has broken metadata of {key or 'the store'!r} ({why[:120]}): copy the store "
        "again from its source."
    )


def _array(
    store: Store, key: str, meta: Json, read: Callable[[Store, str, Json], ZarrArray]
) -> ZarrArray:
    try:
        return read(store, key, meta)
    except EverhartError:
        raise
    except CodecError as error:
        raise FileFormatError(
            f"{store.path} is packed in a way that is not read ({error}): save it with blosc, "
            "zstd, gzip or no compression."
        ) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _broken(store, key, reason) from error


def _sizes(values: Any, axes: int | None = None) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in values)
    if not 0 < len(sizes) <= _MOST_AXES or len(sizes) != (axes or len(sizes)):
        raise ValueError(f"{len(sizes)} axes")
    if not all(0 < n < 1 << 48 for n in sizes):
        raise ValueError("an axis without a length")
    return sizes


def _array_2(store: Store, key: str, meta: Json) -> ZarrArray:
    shape = _sizes(meta["shape"])
    order = tuple(range(len(shape)))
    steps = [*(meta.get("filters") or ()), *([meta["compressor"]] if meta["compressor"] else ())]
    separator = meta.get("dimension_separator") or "."
    if separator not in (".", "/"):
        raise ValueError("an unknown separator")
    dtype = _dtype(store, meta["dtype"])
    prefix = f"{key}/" if key else ""
    return ZarrArray(
        store=store,
        key=key,
        shape=shape,
        chunk=_sizes(meta["chunks"], len(shape)),
        dtype=dtype,
        fill=_fill(meta.get("fill_value"), dtype),
        order=order if meta.get("order", "C") == "C" else order[::-1],
        codecs=tuple(bytes_codec(str(step["id"]), step) for step in steps),
        chunk_key=lambda place: prefix + separator.join(map(str, place)),
    )


def _array_3(store: Store, key: str, meta: Json) -> ZarrArray:
    shape = _sizes(meta["shape"])
    if meta["chunk_grid"]["name"] != "regular":
        raise CodecError(f"the chunk grid {str(meta['chunk_grid']['name'])[:40]!r}")
    if meta.get("storage_transformers"):
        raise CodecError("storage transformers")
    chunk = _sizes(meta["chunk_grid"]["configuration"]["chunk_shape"], len(shape))
    order, dtype, codecs, inner = _steps(store, meta["codecs"], meta["data_type"], len(shape))
    shards = None
    if inner is not None:
        size = _sizes(inner["chunk_shape"], len(shape))
        if order != tuple(range(len(shape))) or codecs or any(
            n % m for n, m in zip(chunk, size, strict=True)
        ):  # fmt: skip
            raise CodecError("shards that are packed themselves")
        index_codecs = inner.get("index_codecs") or [{"name": "bytes"}, {"name": "crc32c"}]
        _, index_dtype, packing, _ = _steps(store, index_codecs, "uint64", len(shape) + 1)
        if not index_dtype.newbyteorder("<").isnative or any(
            step.name != "crc32c" for step in packing
        ):  # its length must be known to find it
            raise CodecError("an index of chunks that is packed")
        shards = Shards(chunk, inner.get("index_location", "end") == "end", packing)
        chunk = size
        order, dtype, codecs, deeper = _steps(store, inner["codecs"], meta["data_type"], len(shape))
        if deeper is not None:
            raise CodecError("shards in shards")
    names = meta.get("dimension_names")
    return ZarrArray(
        store=store,
        key=key,
        shape=shape,
        chunk=chunk,
        dtype=dtype,
        fill=_fill(meta.get("fill_value"), dtype),
        order=order,
        codecs=codecs,
        chunk_key=_chunk_key_3(f"{key}/" if key else "", meta.get("chunk_key_encoding") or {}),
        axes=_names(names, len(shape)),
        shards=shards,
    )


def _steps(
    store: Store, codecs: Sequence[Any], data_type: Any, axes: int
) -> tuple[tuple[int, ...], np.dtype[Any], tuple[BytesCodec, ...], Json | None]:
    """Return order of the axes, dtype, what packs the bytes, and the configuration of shards."""
    order: tuple[int, ...] = tuple(range(axes))
    dtype = _dtype(store, data_type)
    packing: list[BytesCodec] = []
    shards: Json | None = None
    turned_to_bytes = False
    for step in codecs:
        step = {"name": step} if isinstance(step, str) else step
        name, configuration = str(step["name"]), step.get("configuration") or {}
        if not turned_to_bytes and name == "transpose":
            wanted = tuple(int(n) for n in configuration["order"])
            if sorted(wanted) != list(range(axes)):
                raise ValueError("an order that is none")
            order = tuple(order[n] for n in wanted)
        elif not turned_to_bytes and name == "bytes":
            turned_to_bytes = True
            dtype = dtype.newbyteorder(">" if configuration.get("endian") == "big" else "<")
        elif not turned_to_bytes and name == "sharding_indexed":
            turned_to_bytes, shards = True, configuration
        elif turned_to_bytes:
            packing.append(bytes_codec(name, configuration))
        else:
            raise CodecError(f"the codec {name[:40]!r}")
    if not turned_to_bytes:
        raise ValueError("no codec that makes bytes")
    return order, dtype, tuple(packing), shards


def _chunk_key_3(prefix: str, encoding: Json) -> Callable[[tuple[int, ...]], str]:
    name, configuration = encoding.get("name", "default"), encoding.get("configuration") or {}
    separator = configuration.get("separator", "/" if name == "default" else ".")
    if name not in ("default", "v2") or separator not in (".", "/"):
        raise CodecError(f"chunks that are named by {str(name)[:40]!r}")
    start = prefix + ("c" + separator if name == "default" else "")
    return lambda place: start + separator.join(map(str, place))


def _names(names: Any, axes: int) -> tuple[str, ...] | None:
    if isinstance(names, list) and len(names) == axes and all(isinstance(n, str) for n in names):
        return tuple(names)
    return None


_TYPE_2 = re.compile(r"([<>|])([biufc])(\d{1,2})")
_TYPES_3 = {"bool": "b1", **{f"{kind}{bits}": f"{kind[0]}{bits // 8}"
            for kind, sizes in (("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)),
                                ("float", (16, 32, 64))) for bits in sizes}}  # fmt: skip


def _dtype(store: Store, name: Any) -> np.dtype[Any]:
    """Return a dtype of pixels; no other is made, as some of them run code."""
    text = str(name)
    found = _TYPE_2.fullmatch(text)
    if text.startswith("complex") or (found and found[2] == "c"):
        raise FileFormatError(
            f"{store.path} holds complex numbers (such as a Fourier transform) and no image: save "
            "its modulus, or the image that it was made from."
        )
    code = _TYPES_3.get(text)
    if found:
        code = found[1] + found[2] + found[3]
    try:
        dtype = np.dtype(code) if code else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.itemsize > 8:
        raise FileFormatError(
            f"{store.path} holds {text[:60]!r} in place of pixels: bool, integers and floats of at "
            "most 64 bits are read."
        )
    return dtype


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    if value is None:
        return dtype.type(0)
    if isinstance(value, str) and value.startswith("0x"):
        bits = np.array(int(value, 16), f"u{dtype.itemsize}")
        return bits.view(dtype.newbyteorder("="))[()]
    if dtype.kind == "f":
        return dtype.type(float(value))  # also of "NaN" and "Infinity"
    return dtype.type(bool(value) if dtype.kind == "b" else int(value))
