"""The page of formats: its example is run, and its table knows every format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart.errors import FileFormatError, LimitError
from everhart.io import FileWarning, open_frames, registry

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture
def borealis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the format of the page, for one test."""
    monkeypatch.setattr(registry, "_registered", [])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) < 60  # an extension fits one screen
    exec(compile(code, str(PAGE), "exec"), {"__name__": "borealis"})


def write_borealis(path: Path, pixels: np.ndarray, **said: object) -> Path:
    frames, rows, columns = pixels.shape
    kind = {"uint8": "byte", "uint16": "word", "float32": "single"}[str(pixels.dtype)]
    header = {"frames": frames, "rows": rows, "columns": columns, "type": kind, **said}
    path.write_bytes(b"BOREALIS" + json.dumps(header).encode() + b"\n" + pixels.tobytes())
    return path


@pytest.mark.usefixtures("borealis")
def test_the_example_reads(tmp_path: Path, rng: np.random.Generator):
    pixels = rng.integers(0, 4000, (3, 20, 30), dtype=np.uint16)
    path = write_borealis(tmp_path / "a.bor", pixels, step=250, unit="pm", volts=5000, dwell=1e-7)
    image = eh.read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixel_size_nm == (0.25, 0.25)
    assert image.metadata["common"] == {"beam_energy_kev": 5.0, "dwell_time_s": 1e-7}
    assert image.metadata["borealis"]["unit"] == "pm"
    assert image.metadata["everhart"]["pixel_size_source"] == "borealis"
    assert image.metadata["everhart"]["format"] == "Borealis"
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[2].pixels, pixels[2])
    for said in ({}, {"step": 2}, {"step": 1, "unit": "1/nm"}, {"step": "x", "unit": "nm"}):
        assert eh.read(write_borealis(path, pixels, **said)).pixel_size_nm is None
    with pytest.warns(FileWarning, match="not believable"):
        assert eh.read(write_borealis(path, pixels, step=-1, unit="nm")).pixel_size_nm is None


@pytest.mark.usefixtures("borealis")
def test_the_example_refuses_broken_files(tmp_path: Path):
    path = write_borealis(tmp_path / "a.bor", np.zeros((2, 9, 9), np.uint8))
    whole = path.read_bytes()
    for length in range(8, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            eh.read(path)
    path.write_bytes(whole.replace(b'"rows": 9', b'"rows": 9000000000'))
    with pytest.raises(LimitError):
        eh.read(path)
    for wrong in (b'"rows": -9', b'"rows": 0', b'"rows": null', b'"rows": 1e999'):
        path.write_bytes(whole.replace(b'"rows": 9', wrong))
        with pytest.raises(FileFormatError):
            eh.read(path)


def test_every_format_is_in_the_table():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for known in registry.formats():
        named = [row for row in rows if all(f"`{suffix}`" in row for suffix in known.suffixes)]
        assert named, known.name
        assert (known.write is None) == named[0].rstrip(" |").rsplit("|", 1)[1].strip().startswith(
            "no"
        )
