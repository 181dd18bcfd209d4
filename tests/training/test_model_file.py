from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from everhart.errors import FileFormatError, UsageError
from everhart.training.model_file import (
    ModelCard,
    ModelHeader,
    load_model,
    read_header,
    save_model,
)

HEADER = ModelHeader(
    kind="denoiser", architecture="X", config={"widths": [1]}, card=ModelCard(name="x", seed=3)
)
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3)}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    path = save_model(tmp_path / "m.safetensors", HEADER, WEIGHTS, dtype=dtype)  # type: ignore[arg-type]
    loaded = load_model(path, "denoiser")
    assert loaded.header == HEADER
    assert torch.equal(loaded.weights["a"], WEIGHTS["a"])
    assert loaded.weights["a"].dtype == torch.float32
    assert len(loaded.sha256) == 64


def test_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.safetensors", HEADER, WEIGHTS)
    with pytest.raises(UsageError, match="kind 'denoiser', and a 'segmenter'"):
        load_model(path, "segmenter")
    with pytest.raises(UsageError, match="no model file"):
        load_model(tmp_path / "none.safetensors", "denoiser")
    with pytest.raises(UsageError, match=r"name it \*\.safetensors"):
        save_model(tmp_path / "m.pt", HEADER, WEIGHTS)
    with pytest.raises(UsageError, match="exists"):
        save_model(path, HEADER, WEIGHTS)


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_damaged_files(tmp_path: Path, keep: int) -> None:
    path = save_model(tmp_path / "m.safetensors", HEADER, WEIGHTS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match="no model file"):
        read_header(path)


def test_foreign_and_future_weights(tmp_path: Path) -> None:
    foreign = tmp_path / "f.safetensors"
    save_file(WEIGHTS, str(foreign))
    with pytest.raises(FileFormatError, match="without an Everhart header"):
        read_header(foreign)
    future = tmp_path / "g.safetensors"
    header = json.loads(HEADER.model_dump_json()) | {"format_version": 99}
    save_file(WEIGHTS, str(future), metadata={"everhart": json.dumps(header)})
    with pytest.raises(FileFormatError, match="update everhart"):
        read_header(future)


def test_a_later_format_may_have_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    header = json.loads(HEADER.model_dump_json()) | {"format_version": 2, "shape": "round"}
    save_file(WEIGHTS, str(path), metadata={"everhart": json.dumps(header)})
    with pytest.raises(FileFormatError, match="update everhart"):
        read_header(path)


def test_figures_that_are_not_finite_can_be_read_back(tmp_path: Path) -> None:
    card = ModelCard(name="x", metrics={"gain_db": float("-inf")})
    header = HEADER.model_copy(update={"card": card})
    assert read_header(save_model(tmp_path / "m.safetensors", header, WEIGHTS)) == header
