"""`everhart simulate`: how its words are taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(("word", "pitch_nm"), [("4e1", 40.0), ("40", 40.0), ("4.e+1", 40.0)])
def test_numbers_may_have_an_exponent(run, tmp_path: Path, word: str, pitch_nm: float):
    made = tmp_path / "made"
    result = run(
        "simulate", "lines", "-o", made, "--size", "32x32", "--set", f"pitch_nm={word}",
        "--json", made / "made.json",
    )  # fmt: skip
    assert result.status == 0, result.err
    truth = json.loads((made / "lines_0000_truth.json").read_text(encoding="utf-8"))
    assert truth["parameters"]["pitch_nm"] == pitch_nm
    assert json.loads((made / "made.json").read_text(encoding="utf-8"))["scene"] == "lines"


def test_json_is_no_image(run, tmp_path: Path):
    made = tmp_path / "made"
    result = run(
        "simulate", "lines", "-o", made, "--size", "32x32",
        "--json", made / "lines_0000_truth.json",
    )  # fmt: skip
    assert result.status == 2
    assert "same file" in result.err
    assert not made.exists()
