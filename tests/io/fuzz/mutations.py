"""Files made wrong: cut off, or with bits, numbers and pieces of them changed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Files = Mapping[str, bytes]

_NUMBERS = (
    0, 1, 2, 3, -1, -2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
    0x80000000, 0xFFFFFFFF, 0x100000000, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
_TEXTS = (
    b"0", b"-1", b"1", b"65536", b"2147483648", b"4294967295", b"99999999999999999999", b"1e400",
    b"nan", b"-inf", b"", b"x", b"[", b"None",
)  # fmt: skip
_DIGITS = re.compile(rb"\d+(?:\.\d+)?")


def cut(files: Files, main: str, part: int, parts: int) -> dict[str, bytes]:
    """Cut the main file off; the first parts are close together at the start, and the last at
    the end, where headers and directories are."""
    data = files[main]
    n = len(data)
    step = parts // 4
    if part < step:
        length = part * part // 2
    elif part >= 3 * step:
        length = n - 1 - (parts - 1 - part) ** 2 // 2
    else:
        length = n * (part - step + 1) // (2 * step + 1)
    return {**files, main: data[: min(max(length, 0), n - 1)]}


def mutate(
    rng: np.random.Generator, files: Files, main: str, others: Sequence[bytes]
) -> dict[str, bytes]:
    """Change one file in one to four ways.

    Parameters
    ----------
    rng
        Decides.
    files
        Contents by name.
    main
        The file that is read; the others are beside it.
    others
        Other files of the format, to take pieces from.
    """
    names = sorted(files)
    name = main if main in files and rng.random() < 0.85 else names[int(rng.integers(len(names)))]
    data = bytearray(files[name])
    for _ in range(1 + int(rng.geometric(0.5)) % 4):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        data = change(rng, data, others) if data else data
    if rng.random() < 0.5:
        data = _with_checksums(data)
    return {**files, name: bytes(data)}


def _place(rng: np.random.Generator, n: int) -> int:
    """Choose a byte: anywhere, or near the start or the end, where the structure is."""
    kind = rng.random()
    if kind < 0.3:
        return int(rng.integers(n))
    near = int(n ** rng.random()) - 1  # evenly on a logarithmic scale
    return max(0, near if kind < 0.8 else n - 1 - near)


def _flip(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    for _bit in range(int(rng.integers(1, 9))):
        data[_place(rng, len(data))] ^= 1 << int(rng.integers(8))
    return data


def _run(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start = _place(rng, len(data))
    n = min(len(data) - start, int(2 ** rng.uniform(0, 7)))
    kind = int(rng.integers(4))
    new = bytes([(0, 255, 32)[kind]]) * n if kind < 3 else rng.bytes(n)
    data[start : start + n] = new
    return data


def _number(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    size = int(rng.choice([1, 2, 4, 8], p=[0.1, 0.3, 0.4, 0.2]))
    start = _place(rng, len(data))
    if rng.random() < 0.7:
        start -= start % min(size, 4)
    order = "little" if rng.random() < 0.6 else "big"
    was = int.from_bytes(data[start : start + size], order)
    choices = (*_NUMBERS, len(data), len(data) - 1, len(data) + 1, start)
    near = (was + 1, was - 1, 2 * was, was // 2, was << 8, was + 0x1000)
    if rng.random() < 0.6:
        value = choices[int(rng.integers(len(choices)))]
    else:
        value = near[int(rng.integers(len(near)))]
    new = (value % 256**size).to_bytes(size, order)
    data[start : start + size] = new[: len(data) - start]
    return data


def _text(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """Replace a number that is written in digits."""
    found = list(_DIGITS.finditer(data[: 1 << 16]))
    if not found:
        return _number(rng, data, _)
    place = found[int(rng.integers(len(found)))]
    data[place.start() : place.end()] = _TEXTS[int(rng.integers(len(_TEXTS)))]
    return data


def _piece(rng: np.random.Generator, n: int) -> slice:
    start = _place(rng, n)
    return slice(start, min(n, start + int(2 ** rng.uniform(0, 12))))


def _delete(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    del data[_piece(rng, len(data))]
    return data


def _repeat(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    piece = _piece(rng, len(data))
    data[piece.stop : piece.stop] = data[piece] * int(rng.choice([1, 1, 2, 16]))
    return data


def _move(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """Write one piece over another place."""
    piece = _piece(rng, len(data))
    start = _place(rng, len(data))
    new = data[piece]
    data[start : start + len(new)] = new
    return data


def _splice(rng: np.random.Generator, data: bytearray, others: Sequence[bytes]) -> bytearray:
    other = others[int(rng.integers(len(others)))] if others else bytes(data)
    if not other:
        return data
    piece = _piece(rng, len(other))
    start = piece.start if rng.random() < 0.5 else _place(rng, len(data))
    data[start : start + piece.stop - piece.start] = other[piece]
    return data


def _shorten(rng: np.random.Generator, data: bytearray, _: Sequence[bytes]) -> bytearray:
    if rng.random() < 0.3:
        del data[_place(rng, len(data)) :]
    return data


def _with_checksums(data: bytearray) -> bytearray:
    """Make the checksums of a PNG right again, behind which its readers would look at nothing."""
    place = 8 if data.startswith(b"\x89PNG") else len(data)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 <= len(data):
            data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return data


_Change = Callable[[np.random.Generator, bytearray, Sequence[bytes]], bytearray]
_CHANGES: tuple[_Change, ...] = (
    _flip, _flip, _run, _number, _number, _number, _text, _delete, _repeat, _move, _splice,
    _shorten,
)  # fmt: skip
