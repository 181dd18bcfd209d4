"""The audit: real images pass, copies and wrong images do not."""

from __future__ import annotations

import numpy as np
import pytest

from everhart.errors import UsageError
from everhart.simulate import Microscope, simulate
from everhart.simulate.components import Beam, Converter, Detector, Dose
from everhart.synthesize.audit import Audit, audit
from everhart.synthesize.copies import find_copies

MICROSCOPE = Microscope(
    beam=Beam(0.8), dose=Dose(20.0), detector=Detector((0.7, 0.3), readout_sigma=3.0),
    converter=Converter(8, black=30, white=200), name="audit",
)  # fmt: skip


def _real(first: int, count: int) -> list[np.ndarray]:
    images = []
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        scene = simulate("stack", shape=(64, 64), rng=rng)
        images.append(MICROSCOPE.expose(scene, rng).pixels.astype(np.float32))
    return images


LEARNED, HELD_OUT, OTHERS = _real(0, 15), _real(100, 40), _real(300, 24)


@pytest.fixture(scope="module")
def of_real() -> Audit:
    return audit(OTHERS, LEARNED, HELD_OUT)


def test_real_images_pass(of_real: Audit) -> None:
    assert of_real.copies.copies == ()
    assert of_real.ratios_count
    assert 0.8 < of_real.geometric_mean < 1.3
    assert all(r.low < 1.25 and 0.6 < r.value < 1.7 for r in of_real.ratios)
    assert of_real.auc < 0.68
    assert of_real.noise_ratio == pytest.approx(1, abs=0.05)
    assert of_real.copies.diversity == pytest.approx(1, abs=0.2)
    assert "geometric mean" in of_real.summary()
    assert of_real.to_dict()["copies"] == []


@pytest.mark.parametrize("how", ["exact", "moved", "noisy", "brighter"])
def test_copies_are_named(how: str) -> None:
    rng = np.random.default_rng(1)
    made = list(OTHERS[:12])
    for n in (2, 5, 9):
        image = LEARNED[n]
        if how == "moved":
            image = np.roll(image, (3, -5), axis=(0, 1))
        elif how == "noisy":
            image = image + rng.normal(0, 6, image.shape).astype(np.float32)
        elif how == "brighter":
            image = 1.2 * image - 20
        made[n] = image
    found = find_copies(made, LEARNED, HELD_OUT)
    assert found.copies == (2, 5, 9)
    assert found.nearest[[2, 5, 9]].tolist() == [2, 5, 9]


def test_a_model_that_only_copies_does_not_pass() -> None:
    found = audit([LEARNED[n % 15] for n in range(30)], LEARNED, HELD_OUT)
    assert len(found.copies.copies) == 30
    assert not found.ratios_count
    assert "mean nothing" in found.summary()


def test_images_that_are_all_alike_do_not_pass() -> None:
    rng = np.random.default_rng(0)
    scene = simulate("stack", shape=(64, 64), rng=rng)
    same = [MICROSCOPE.expose(scene, rng).pixels.astype(np.float32) for _ in range(16)]
    found = audit(same, LEARNED, HELD_OUT)
    assert found.copies.diversity < 0.7
    assert not found.ratios_count


@pytest.mark.parametrize("how", ["smooth", "noisy", "dark"])
def test_wrong_images_are_told_from_real_ones(how: str, of_real: Audit) -> None:
    import cv2

    made = []
    for n, image in enumerate(OTHERS):
        if how == "smooth":
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), np.float32)
        elif how == "noisy":
            noise = np.random.default_rng(n).normal(0, 20, image.shape)
            image = image + noise.astype(np.float32)
        else:
            image = image - 25
        made.append(image)
    found = audit(made, LEARNED, HELD_OUT)
    assert found.geometric_mean > 1.5 * of_real.geometric_mean
    assert found.auc > 0.85
    if how != "dark":
        assert abs(found.noise_ratio - 1) > 0.1


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4 and 8"):
        audit(OTHERS[:3], LEARNED, HELD_OUT)
    with pytest.raises(UsageError, match="one size"):
        find_copies([np.zeros((8, 8), np.float32)], LEARNED, HELD_OUT)
