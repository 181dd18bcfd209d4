from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from everhart import UsageError
from everhart.training.config import OptimiserConfig, load_config


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sizes: list[int] = [1, 2]
    optimiser: OptimiserConfig = OptimiserConfig()


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("name: a\nsizes: [3, 4]\noptimiser: {steps: 7}\n")
    return path


def test_overrides_reach_into_sections_and_lists(config_file: Path) -> None:
    config = load_config(_Config, config_file, ["optimiser.steps=9", "sizes.1=8", "name=b c"])
    assert (config.optimiser.steps, config.sizes, config.name) == (9, [3, 8], "b c")
    assert load_config(_Config, config_file, ["name=*.tif"]).name == "*.tif"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.stepz=1", "did you mean 'steps'"),
        ("optimiser.steps=0", "optimiser.steps = 0 was given"),
        ("optimiser.precision=half", "optimiser.precision = 'half' was given"),
        ("steps", "write key=value"),
        ("name.first=x", "no section"),
        ("sizes.7=1", "no section"),
        ("name=[", "no YAML"),
        ("nam=x", "did you mean 'name'"),
    ],
)
def test_wrong_settings_are_named(config_file: Path, override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        load_config(_Config, config_file, [override])


@pytest.mark.parametrize(
    ("text", "words"),
    [("- 1\n", "no settings"), ("a: [", "no YAML"), ("sizes: [1]\n", "name is missing")],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_config(_Config, path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no config file"):
        load_config(_Config, tmp_path / "none.yaml")


class _Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["square"]
    edge_px: int


class _Disc(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["disc"]
    radius_px: int


class _Shapes(BaseModel):
    shapes: list[Annotated[_Square | _Disc, Field(discriminator="kind")]]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("{kind: disc}", "shapes.0.radius_px is missing: .* as shapes.0.radius_px=VALUE"),
        ("{kind: disc, radius_px: 1, radus: 2}", "shapes.0.radus: .*did you mean 'radius_px'"),
        ("{kind: square, edge_px: a}", "shapes.0.edge_px = 'a' was given"),
        ("{kind: oval}", "shapes.0 = .*'disc'"),
    ],
)
def test_settings_in_a_choice_are_named_as_they_are_written(
    tmp_path: Path, shape: str, words: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"shapes: [{shape}]\n")
    with pytest.raises(UsageError, match=words):
        load_config(_Shapes, path)
