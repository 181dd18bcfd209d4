"""The study of guidance: its judge, its distances, and that it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everhart.studies.catalogue import find_study
from everhart.studies.study import SCALES
from everhart.studies.synthesis_guidance import (
    _SIZES,
    LABELS,
    _generator_config,
    _guide_config,
    sliced_distance,
)
from everhart.studies.synthesis_judge import Judge
from everhart.synthesize.classifier_training import ClassifierConfig
from everhart.synthesize.config import DiffusionConfig


def _striped(count: int, rows: bool, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(16) * np.pi / 2)[:, None] * np.ones(16)
    pattern = wave if rows else wave.T
    return [(0.5 * pattern + rng.normal(0, 0.3, (16, 16))).astype(np.float32) for _ in range(count)]


def test_a_judge_tells_what_it_learned_and_is_the_same_again() -> None:
    known = {"rows": _striped(20, True, 0), "columns": _striped(20, False, 1)}
    judge = Judge.trained(known, steps=25, seed=0)
    asked = [*_striped(10, False, 2), *_striped(10, True, 3)]
    said = judge.labels(asked)
    assert said.tolist() == [1] * 10 + [0] * 10
    assert (Judge.trained(known, steps=25, seed=0).labels(asked) == said).all()
    assert judge.labels([]).shape == (0,)


def test_distances_grow_with_what_is_wrong() -> None:
    real, more = _striped(12, True, 0), _striped(12, True, 1)
    wrong = [0.5 * (a + b) for a, b in zip(more, _striped(12, False, 2), strict=True)]
    floor = sliced_distance(more, real)
    assert 0 < floor < sliced_distance(wrong, real) / 2
    assert sliced_distance(real, real) == pytest.approx(0)


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_configs_are_valid_at_every_scale(scale: str, tmp_path: Path) -> None:
    size = _SIZES[scale]
    config = DiffusionConfig.model_validate(_generator_config(size, tmp_path, 0))
    config.network.complete(len(LABELS), 0, 15)
    guide = ClassifierConfig.model_validate(_guide_config(size, tmp_path, tmp_path / "g", 0))
    assert guide.seed != config.seed
    assert guide.data == config.data


def test_the_study_of_guidance_runs(tmp_path: Path) -> None:
    study = find_study("ddpm-guidance")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    ways = [(row["way"], row["strength"]) for row in rows]
    assert ways[:3] == [
        ("real images", None),
        ("no guidance, sorted by the judge", None),
        ("without a classifier", 1.0),
    ]
    assert len(rows) == 9
    # Sorted by the judge, the judge agrees by definition.
    assert rows[1]["agreed_percent"] == 100
    # As many images of a label in every set: a distance depends on how many there are.
    assert len({tuple(row["compared"]) for row in rows}) == 1
    assert all(set(row["distances"]) <= set(LABELS) for row in rows)
    folder = tmp_path / "ddpm-guidance"
    assert "by a classifier" in (folder / "table.md").read_text()
    assert (folder / "seed-0" / "samples.png").stat().st_size > 5000
