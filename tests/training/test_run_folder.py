"""A run goes on with the settings that it was started with, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from everhart.errors import UsageError
from everhart.training.config import OptimiserConfig
from everhart.training.run_folder import CONFIG_NAME, check_run, start_run


class Config(BaseModel):
    """What a training's config has in common with others."""

    seed: int = 0
    optimiser: OptimiserConfig = OptimiserConfig(steps=10)


def test_a_run_of_a_version_before_goes_on_with_the_defaults_of_what_is_new(tmp_path: Path) -> None:
    start_run(tmp_path, Config())
    saved = tmp_path / CONFIG_NAME
    said = yaml.safe_load(saved.read_text())
    del said["optimiser"]["devices"]
    saved.write_text(yaml.safe_dump(said))
    assert not check_run(tmp_path, Config(), resume=True)
    other = Config(optimiser=OptimiserConfig(steps=10, learning_rate=1.0))
    with pytest.raises(UsageError, match="other settings"):
        check_run(tmp_path, other, resume=True)


@pytest.mark.parametrize("text", ["seed: [", "seed: many", "- 1", ""])
def test_a_damaged_config_is_one_of_other_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text)
    with pytest.raises(UsageError, match="other settings"):
        check_run(tmp_path, Config(), resume=True)
