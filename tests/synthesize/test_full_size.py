"""Large images from a reduced whole: on a random field whose spectrum is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from everhart.synthesize.full_size import (
    Level,
    _enlarged,
    _interpolated,
    draw_full_size,
    levels_for,
    reduced_shape,
)
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.tiles import Corner, PredictTiles

SCHEDULE = NoiseSchedule("cosine", 1000, "noise")
SIZE, BY = 256, 4
FREQUENCY = np.fft.fftfreq(SIZE)
RADIUS = np.hypot(FREQUENCY[:, None], FREQUENCY[None])


def _spectrum() -> np.ndarray:
    """Structure a few pixels long, and grain."""
    structure = np.exp(-2 * (np.pi * RADIUS * 4.0) ** 2)
    return np.asarray(0.25 * structure / structure.mean() + 0.15**2)


def _reduced(spectrum: np.ndarray) -> np.ndarray:
    """Return the spectrum of means over blocks: what lies on one another is added up."""
    box = np.zeros((SIZE, SIZE))
    box[:BY, :BY] = BY**-2
    seen = spectrum * np.abs(np.fft.fft2(box)) ** 2
    small = SIZE // BY
    return np.asarray(seen.reshape(BY, small, BY, small).mean(axis=(0, 2)))


def _ideal(level: Level) -> PredictTiles:
    spectrum = torch.from_numpy(_spectrum() if level.reduction == 1 else _reduced(_spectrum()))

    def predict(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
        del corners
        a, s = SCHEDULE.level(int(t[0]))
        return torch.fft.ifft2(torch.fft.fft2(x) * (s / (a**2 * spectrum + s**2))).real.float()

    return predict


def test_details_and_whole_have_the_spectrum_that_they_should() -> None:
    levels = [Level(BY, (SIZE, SIZE)), Level(1, (SIZE, SIZE))]
    power = np.zeros((SIZE, SIZE))
    for seed in range(3):
        image = draw_full_size(_ideal, levels, (SIZE, SIZE), SCHEDULE, seed=seed, steps=100)
        power += np.abs(np.fft.fft2(image.numpy())) ** 2 / SIZE**2 / 3
    for low, high in ((0.01, 0.05), (0.05, 0.09), (0.09, 0.13), (0.13, 0.2), (0.2, 0.5)):
        band = (low <= RADIUS) & (high > RADIUS)
        found = power[band].mean() / _spectrum()[band].mean()
        assert found == pytest.approx(1, abs=0.08), (low, high)


def test_an_enlarged_image_has_the_means_that_it_had() -> None:
    small = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 17)).astype(np.float32))
    large = _enlarged(small, 4, (46, 68))
    assert large.shape == (46, 68)
    means = large[:44].reshape(11, 4, 17, 4).mean(dim=(1, 3))
    assert float((means - small[:11]).std()) < 0.05  # of white noise, which is the worst
    tall = torch.from_numpy(np.random.default_rng(1).normal(size=(150, 9)).astype(np.float32))
    at_once = _interpolated(tall, 2)  # in bands it is the same
    torch.testing.assert_close(_enlarged(tall, 2, (299, 18)), at_once[:299])
    assert _enlarged(torch.zeros(3, 3), 1.5, (5, 5)).shape == (5, 5)


@pytest.mark.parametrize("reduction", [1, 3, 8])
def test_reduced_images_cover_all(reduction: int) -> None:
    for size in range(1, 30):
        small = reduced_shape((size, 2 * size), reduction)
        assert small[0] * reduction >= size
        assert (small[1] - 1) * reduction < 2 * size


def test_an_image_that_fits_into_a_tile_needs_no_other_level() -> None:
    stages: list[tuple[int | None, int]] = [(64, 4), (None, 2), (64, 1)]
    assert [level.reduction for level in levels_for(stages, (256, 256), (64, 60))] == [1]
    assert [level.reduction for level in levels_for(stages, (256, 256), (256, 256))] == [2, 1]
    assert [level.reduction for level in levels_for(stages, (256, 256), (900, 256))] == [4, 2, 1]
