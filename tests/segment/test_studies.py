"""The studies of segmentation: splits that are honest, and runs at the smallest scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everhart.studies.catalogue import find_study
from everhart.studies.segment import digest_of
from everhart.studies.segment_features import clustered_scores, features_table
from everhart.studies.segment_sets import labelled_set
from everhart.studies.segment_table import epochs_to, pretraining_table
from everhart.studies.study import SCALES


def test_slices_of_alpt_near_a_tested_one_are_not_learned_from(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERHART_DATA", str(shared_data))
    known = labelled_set("alpt", tmp_path, 0, 0)
    assert known is not None
    # Two stacks of 15 slices, two patches a slice, some of them missing.
    assert {place.part for place in known.places} == {"1-00", "1-01", "2-00", "2-01"}
    assert max(place.slice for place in known.places) == 14
    for number in range(3):
        split = known.split(number)
        tested = {known.places[n].slice for n in split.tested}
        learned = {known.places[n].slice for n in split.learned}
        assert min(abs(a - b) for a in tested for b in learned) == 3
        assert set(split.labelled(3)) <= set(split.shown) <= set(split.learned)
    # The nearest other slice of the same part is nearly the same picture: what a gap is for.
    truths = known.truths()
    every = range(len(truths))
    copied = [truths[known.nearest(every, n)] for n in every]
    same = np.mean([(a == b).mean() for a, b in zip(copied, truths, strict=True)])
    others = np.mean([(truths[n - 1] == truths[n]).mean() for n in every])
    assert same > others + 0.1


def test_real_sets_are_left_out_without_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERHART_DATA", raising=False)
    assert labelled_set("isbi", tmp_path, 0, 0) is None


def test_clusters_without_a_class_are_wrong() -> None:
    truth = np.repeat([0, 1], 8)[None]
    clusters = truth.copy()
    clusters[0, :4] = 2
    found = clustered_scores([clusters], [truth])
    assert found["mean_iou"] == pytest.approx((0.5 + 1) / 2)


def test_the_table_of_features_says_how_far_the_choice_is_below_the_best() -> None:
    def row(what: str, group: int, value: float, tried: bool = False) -> dict[str, object]:
        own = {"what": what, "labels": 0, "seed": 0, "group": group, "ari": value}
        return {**own, "mean_iou": value - 0.1, **({"tried": True} if tried else {})}

    rows = [
        row("a", 0, 0.8, True), row("b", 0, 0.7, True), row("chosen without labels", 0, 0.78),
        row("a", 1, 0.6, True), row("b", 1, 0.9, True), row("chosen without labels", 1, 0.88),
        row("grey levels", 1, 0.95),
    ]  # fmt: skip
    table = features_table("t", rows)
    assert "| a | 0 | 0.700 +- 1.271 | 0.600 +- 1.271 | 2 |" in table
    assert "of its group: 0.020 +- 0.000 in ARI, 0.020 +- 0.000 in mIoU." in table


def test_what_is_labelled_shows_the_rarest_class_best(tmp_path: Path) -> None:
    known = labelled_set("particles", tmp_path, 64, 12)
    assert known is not None
    split = known.split(1)
    assert not set(split.learned) & set(split.tested)
    area = {n: int((truth == 1).sum()) for n, truth in enumerate(known.truths())}
    others = [area[n] for n in split.learned if n not in split.shown]
    assert min(area[n] for n in split.shown) >= max(others)
    assert set(split.labelled(3)) == set(split.shown)
    assert split.labelled(1) == (max(split.learned, key=area.__getitem__),)
    # Of more labels than fields that show it well, these are some.
    for count in range(4, len(split.learned)):
        labelled = split.labelled(count)
        assert len(set(labelled)) == count
        assert set(split.shown) < set(labelled) < set(split.learned)


def test_a_cell_is_of_its_settings_wherever_the_data_lie() -> None:
    config = {"data": {"folder": "/a"}, "optimiser": {"steps": 240}}
    assert digest_of(config) == digest_of(config | {"data": {"folder": "/b"}})
    assert digest_of(config) != digest_of(config | {"optimiser": {"steps": 300}})
    assert digest_of(config, None) != digest_of(config, {"optimiser": {"steps": 600}})


def test_tables_say_how_far_above_the_random_start_and_how_soon() -> None:
    same = {"set": "alpt", "labels": "1", "mean_dice": 0.9, "boundary_f1_2_px": 0.5,
            "rare_dice": 0.6}  # fmt: skip
    rows = [
        {**same, "split": 0, "start": "random", "mean_iou": 0.8, "curve": [0.1, 0.4, 0.8]},
        {**same, "split": 1, "start": "random", "mean_iou": 0.5, "curve": [0.1, 0.4, 0.8]},
        {**same, "split": 0, "start": "poisson", "mean_iou": 0.85, "curve": [0.5, 0.8, 0.9]},
        {**same, "split": 1, "start": "poisson", "mean_iou": 0.55, "curve": [0.5, 0.6, 0.7]},
        {**same, "split": 0, "start": "copied", "mean_iou": 0.4},
    ]
    table = pretraining_table("t", rows)
    # Splits differ by .3, and yet the difference to the random start is the same in both.
    poisson = next(line for line in table.splitlines() if "| poisson |" in line)
    assert "| 0.700 +- 1.906 | 0.050 +- 0.000 | 0.900" in poisson
    assert poisson.endswith("| 2, - of 3 | 2 |")
    assert "| alpt | 1 | copied | 0.400 | - | 0.900 | 0.600 | 0.500 | - | 1 |" in table
    assert epochs_to([0.1, 0.2], 0.5) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segment-pretraining", "segment-magnification"])
def test_smoke(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    record = find_study(name).run(SCALES["smoke"], tmp_path, seeds=None, progress=said.append)
    assert record["rows"]
    assert (tmp_path / name / "table.md").is_file()
    count = len(said)
    again = find_study(name).run(SCALES["smoke"], tmp_path, seeds=None, progress=said.append)
    assert again == record
    assert len(said) == count  # nothing was computed anew
