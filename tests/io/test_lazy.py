"""Mapped pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.errors import FileFormatError
from everhart.io import lazy


@given(
    offset=st.integers(0, 9),
    dtype=st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f4", "<f8"]),
    mapped=st.booleans(),
    gap=st.integers(0, 5),
)
def test_what_lies_in_a_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, offset: int, dtype: str, mapped: bool, gap: int
) -> None:
    path = tmp_path_factory.mktemp("map") / "pixels"
    frames = np.arange(3 * 4 * 5).astype(dtype).reshape(3, 4, 5)
    path.write_bytes(bytes(offset) + b"".join(f.tobytes() + bytes(gap) for f in frames))
    item = np.dtype(dtype).itemsize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "MAPPED_BYTES", 0 if mapped else 1 << 20)
        out = lazy.map_pixels(
            path, offset=offset, shape=(3, 4, 5), dtype=dtype,
            strides=(20 * item + gap, 5 * item, item),
        )  # fmt: skip
    np.testing.assert_array_equal(out, frames)
    assert out.dtype == np.dtype(dtype).newbyteorder("=")
    before = path.read_bytes()
    out[0, 0, 0] = 7
    assert out[0, 0, 0] == 7
    assert path.read_bytes() == before


def test_a_short_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pixels"
    path.write_bytes(bytes(99))
    with pytest.raises(FileFormatError, match="truncated"):
        lazy.map_pixels(path, offset=0, shape=(10, 10), dtype="u1")
    with pytest.raises(FileFormatError, match="truncated"):
        lazy.map_pixels(path, offset=0, shape=(2**62, 2**62), dtype="u2")


def test_a_large_file_costs_nothing_until_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "pixels"
    with path.open("wb") as file:
        file.truncate(16 << 30)  # sparse
    out = lazy.map_pixels(path, offset=64, shape=(8, 16384, 32768), dtype="<u2")
    assert out[7, 5, 5] == 0
