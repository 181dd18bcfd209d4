"""Repeated frames as training data: which file is what, and that nothing is shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart import UsageError, write
from everhart.restore.frames_source import Frames, FramesConfig, load_frames


def _scene(seed: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    image = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return 60 + 130 * (image - image.min()) / np.ptp(image)


def _frame(scene: np.ndarray, count: int, seed: int, sigma: float = 20.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma / np.sqrt(count), scene.shape)
    return (scene + noise).clip(0, 255).astype(np.uint8)


def _wafer(folder: Path, counts: tuple[int, ...] = (1, 1, 8), scenes: int = 2) -> Path:
    for number in range(scenes):
        place = folder / f"scene_{number}"
        place.mkdir(parents=True)
        seen: dict[int, int] = {}
        for position, count in enumerate(counts):
            copy = seen[count] = seen.get(count, -1) + 1
            image = _frame(_scene(number), count, 100 * number + position)
            write(image, place / f"F{count:02d}_{copy:03d}.tif")
    return folder


def _config(folder: Path, **more: object) -> FramesConfig:
    return FramesConfig.model_validate({"kind": "frames", "folder": str(folder)} | more)


def test_names_say_what_the_frames_are(tmp_path: Path) -> None:
    source = load_frames(_config(_wafer(tmp_path)), 0, "n2n")
    assert [scene.name for scene in source.scenes] == ["scene_0", "scene_1"]
    assert {n: len(v) for n, v in source.scenes[0].images.items()} == {1: 2, 8: 1}
    assert load_frames(_config(tmp_path), 0, "rn2n").target_frames == [8, 8]
    assert load_frames(_config(tmp_path), 0, "supervised").target_frames == [8, 8]
    assert load_frames(_config(tmp_path), 0, "n2v").target_frames == [None, None]
    assert load_frames(_config(tmp_path), 0, "n2v", judged=True).target_frames == [8, 8]


def test_what_simulate_writes_is_understood(tmp_path: Path) -> None:
    from everhart.cli import main

    words = ["simulate", "nand", "-o", str(tmp_path / "made"), "-n", "2", "--size", "128x160"]
    assert main([*words, "--frames", "1,8", "--seed", "3"]) == 0
    source = load_frames(_config(tmp_path / "made"), 0, "rn2n")
    assert [scene.name for scene in source.scenes] == ["nand_0000", "nand_0001"]
    assert {n: len(v) for n, v in source.scenes[1].images.items()} == {1: 1, 8: 1}
    with pytest.raises(
        UsageError, match=r"nand_0000 has 1 x F01, 1 x F08, and n2n .* needs 2 x F01"
    ):
        load_frames(_config(tmp_path / "made"), 0, "n2n")


def test_stacks_and_plain_images_are_single_frames(tmp_path: Path) -> None:
    stack = np.stack([_frame(_scene(0), 1, seed) for seed in range(5)])
    write(stack, tmp_path / "field.tif")
    (tmp_path / "other").mkdir()
    for seed in range(3):
        write(_frame(_scene(1), 1, 10 + seed), tmp_path / "other" / f"shot{seed}.png")
    source = load_frames(_config(tmp_path, names="plain"), 0, "n2n")
    assert {s.name: len(s.images[1]) for s in source.scenes} == {"field.tif": 5, "other": 3}
    relaxed = load_frames(_config(tmp_path, names="plain", exclude=["shot*"]), 0, "supervised")
    assert relaxed.target_frames == [4]


@pytest.mark.parametrize(
    ("file", "settings", "recipe", "words"),
    [
        ("frame1.tif", {}, "n2n", "frame1.tif in .* does not say how many frames"),
        ("F00_000.tif", {}, "n2n", "F00_000.tif in .* does not say how many"),
        (None, {"target_frames": 16}, "rn2n", "needs 1 x F16, or 17 x F01 to average"),
        (None, {"exclude": ["F08*"]}, "rn2n", "needs 1 x F08, or 9 x F01"),
        (None, {"exclude": ["F01_001*"]}, "n2n", "1 x F01, 1 x F08, and n2n .* needs 2 x F01"),
        (None, {"exclude": ["F01*"]}, "rn2n", "1 x F08, and rn2n from F01 to F08 needs 1 x F01"),
        (None, {"exclude": ["*"]}, "n2n", "holds no frames"),
        ("F01_009.tif", {}, "n2n", "F01_009.tif has the shape .40, 50. and F01_000.tif"),
    ],
)
def test_wrong_folders_are_explained(
    tmp_path: Path, file: str | None, settings: dict, recipe: str, words: str
) -> None:
    _wafer(tmp_path, scenes=1)
    if file is not None:
        write(_frame(_scene(0, (40, 50)), 1, 0), tmp_path / "scene_0" / file)
    with pytest.raises(UsageError, match=words):
        load_frames(_config(tmp_path, **settings), 0, recipe)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 12),
    st.dictionaries(st.sampled_from([2, 4, 8]), st.integers(1, 3)),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2**32),
)
def test_input_and_target_never_share_a_frame(
    singles: int, files: dict[int, int], input_frames: int, target_frames: int, seed: int
) -> None:
    """Each image is its own number, so that a shared frame is seen."""
    images = {n: [np.full((4, 4), 100 * n + k) for k in range(c)] for n, c in files.items()}
    if singles:
        images[1] = [np.full((4, 4), 100 + k) for k in range(singles)]
    if not images:
        return
    scene = Frames("scene", images)
    if scene.lacks(input_frames, target_frames):
        return
    given_, wanted = scene.draw(np.random.default_rng(seed), input_frames, target_frames)
    inputs = {int(i[0, 0]) for i in scene.chosen(input_frames, given_)}
    targets = {int(i[0, 0]) for i in scene.chosen(target_frames, wanted)}
    assert not inputs & targets
    for numbers, count in ((inputs, input_frames), (targets, target_frames)):
        assert sum(number // 100 for number in numbers) == count  # so many frames are in it


def test_noise_of_input_and_target_is_independent(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = _wafer(tmp_path, (1,) * 5)
    source = load_frames(_config(folder, target_frames=4, registration="none"), 0, "rn2n")
    scene, clean = source.scenes[0], _scene(0)
    assert source.draw_judged(rng, 64)[2] == pytest.approx(1 / 5)
    for _ in range(5):
        chosen = scene.draw(rng, 1, 4)
        first, others = (
            np.mean(scene.chosen(n, k), axis=0) - clean for n, k in zip((1, 4), chosen, strict=True)
        )
        assert abs(np.corrcoef(first.ravel(), others.ravel())[0, 1]) < 0.05


def test_drift_is_undone_by_whole_pixels(tmp_path: Path) -> None:
    large = _scene(3, (140, 170))
    place = tmp_path / "scene"
    place.mkdir()
    for number, (dy, dx) in enumerate([(0, 0), (3, -5), (-4, 2)]):
        cut = large[20 + dy : 116 + dy, 20 + dx : 148 + dx]
        write(_frame(cut, 1, number, 8.0), place / f"F01_{number:03d}.tif")
    source = load_frames(_config(tmp_path), 0, "n2n")
    frames = [f.astype(float) for f in source.scenes[0].images[1]]
    assert source.scenes[0].images[1][0].dtype == np.uint8
    assert frames[0].shape == (96 - 7, 128 - 7)
    assert max(np.std(f - frames[0]) for f in frames[1:]) < 1.1 * 8 * np.sqrt(2)


def test_fixed_crops_come_back_and_others_do_not(tmp_path: Path) -> None:
    _wafer(tmp_path)
    fixed = load_frames(_config(tmp_path, fixed_crops=3, flips=False), 7, "n2n")
    fresh = load_frames(_config(tmp_path), 7, "n2n")
    assert not fixed.flips
    counts = [
        len({s.draw(np.random.default_rng(n), 32)[0].tobytes() for n in range(40)})
        for s in (fixed, fresh)
    ]
    assert counts == [3, 40]


def test_a_part_of_the_rows_is_kept_for_validation(tmp_path: Path) -> None:
    _wafer(tmp_path)
    above = load_frames(_config(tmp_path, rows=[0, 0.75], registration="none"), 0, "n2n")
    below = load_frames(_config(tmp_path, rows=[0.75, 1], registration="none"), 0, "n2n")
    whole = load_frames(_config(tmp_path, registration="none"), 0, "n2n").scenes[0].images[1][0]
    parts = [s.scenes[0].images[1][0] for s in (above, below)]
    assert np.array_equal(np.concatenate(parts), whole)
    with pytest.raises(ValueError, match="first and the last of the height"):
        _config(tmp_path, rows=[0.75, 0.5])
