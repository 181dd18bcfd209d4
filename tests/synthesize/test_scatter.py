"""The noise that the default sampler adds: exact on Gaussian images, however few the steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from everhart.synthesize.even_filters import REACH_PX, fitted_filters
from everhart.synthesize.samplers import Predict, sample
from everhart.synthesize.scatter import Scatter, _at_one_time, measure_scatter
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.tiles import TileGrid, sample_tiled

EDGE = 24
ROW, COLUMN = np.abs(np.fft.fftfreq(EDGE))[:, None], np.abs(np.fft.fftfreq(EDGE))[None]
SPECTRUM = torch.from_numpy(0.02 + 0.3 * np.exp(-((ROW / 0.2) ** 2) - (COLUMN / 0.12) ** 2))


def images(n: int, seed: int) -> Tensor:
    """Return Gaussian images of a spectrum that is not the same along rows and columns."""
    white = torch.randn((n, 1, EDGE, EDGE), generator=torch.Generator().manual_seed(seed))
    found: Tensor = torch.fft.ifft2(torch.fft.fft2(white.double()) * SPECTRUM.sqrt()).real
    return found


def known(schedule: NoiseSchedule, seen: float = 1.0) -> Predict:
    """Return what the ideal network says of them, or one that sees this share of fine shapes."""
    share = torch.from_numpy(np.where(np.hypot(ROW, COLUMN) > 0.15, seen, 1.0))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.level(int(t[0]))
        gain = share * a * SPECTRUM / (a**2 * SPECTRUM + s**2)
        x0 = torch.fft.ifft2(torch.fft.fft2(x) * gain).real
        said: Tensor = (a * x - x0) / s
        return said

    return predict


def power(drawn: Tensor) -> Tensor:
    found = (torch.fft.fft2(drawn).abs() ** 2).mean(dim=(0, 1)) / EDGE**2
    coarse: Tensor = torch.nn.functional.avg_pool2d(torch.fft.fftshift(found)[None], 6)[0]
    return coarse


def scatter_of(schedule: NoiseSchedule) -> Scatter:
    return measure_scatter(lambda _: known(schedule), images(96, 1), schedule, batch_size=48)


@pytest.mark.parametrize("tiled", [False, True])
def test_twenty_steps_give_the_spectrum_that_the_images_have(tiled: bool) -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    scatter = Scatter.from_header(scatter_of(schedule).to_header())
    predict = known(schedule)
    wanted = torch.nn.functional.avg_pool2d(torch.fft.fftshift(SPECTRUM)[None], 6)[0]

    def off(variance: Any) -> float:
        if tiled:
            one = [
                sample_tiled(
                    lambda x, t, _: predict(x.double(), t),
                    TileGrid((EDGE, EDGE), (EDGE, EDGE)),
                    schedule,
                    variance=variance,
                    steps=20,
                    seed=(n,),
                )
                for n in range(60)
            ]
            drawn = torch.stack(one)[:, None].double()
        else:
            generator = torch.Generator().manual_seed(3)
            noise = torch.randn((400, 1, EDGE, EDGE), generator=generator, dtype=torch.float64)
            drawn = sample(
                predict, noise, schedule, steps=20, variance=variance, generator=generator
            )
        return float((power(drawn) / wanted - 1).abs().mean())

    assert off(scatter.draw) < (0.04 if tiled else 0.02)
    if tiled:
        return
    # What it is for: with one variance for all frequencies, steps as long as these miss it.
    assert off("large") > 0.1
    assert off("small") > 0.1


def test_what_is_drawn_has_the_spectrum_and_the_strength_that_were_measured() -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    scatter = scatter_of(schedule)
    t = int(scatter.times[9])
    nothing = torch.zeros((300, 1, EDGE, EDGE), dtype=torch.float64)
    drawn = scatter.draw(
        nothing, nothing, schedule, t, torch.Generator().manual_seed(0),
    )  # fmt: skip
    a, s = schedule.level(t)
    left = SPECTRUM * s**2 / (a**2 * SPECTRUM + s**2)
    assert float(drawn.var()) == pytest.approx(float(left.mean()), rel=0.03)
    assert drawn.shape[-1] == EDGE
    assert scatter.power.shape[1:] == (REACH_PX + 1,) * 2


def test_shot_noise_is_drawn_stronger_in_the_bright() -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    bright = torch.zeros((16, 1, 32, 32))
    bright[..., 16:] = 1.0
    strength = 0.05 + 0.25 * bright
    generator = torch.Generator().manual_seed(0)
    real = bright + strength * torch.randn(bright.shape, generator=generator)

    def predictor(some: slice) -> Predict:
        def predict(x: Tensor, t: Tensor) -> Tensor:
            a, s = schedule.level(int(t[0]))
            spread, there = strength[some] ** 2, bright[some]
            x0 = there + a * spread / (a**2 * spread + s**2) * (x - a * there)
            return (a * x - x0) / s

        return predict

    scatter = measure_scatter(predictor, real, schedule)
    drawn = sample(
        predictor(slice(0, 16)), torch.randn(bright.shape, generator=generator), schedule,
        steps=50, variance=scatter.draw, generator=generator,
    )  # fmt: skip
    for half in (slice(0, 16), slice(16, 32)):
        left, there = (x[..., half] - bright[..., half] for x in (drawn, real))
        assert float(left.std()) == pytest.approx(float(there.std()), rel=0.08)


def test_what_a_network_sees_too_weakly_is_put_right() -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    predict = known(schedule, 0.93)
    scatter = measure_scatter(lambda _: predict, images(96, 1), schedule, batch_size=48)
    noise = torch.randn(
        (200, 1, EDGE, EDGE), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    wanted = torch.nn.functional.avg_pool2d(torch.fft.fftshift(SPECTRUM)[None], 6)[0]

    def off(variance: Any) -> float:
        drawn = sample(
            predict, noise, schedule,
            steps=20, variance=variance, generator=torch.Generator().manual_seed(4),
        )  # fmt: skip
        return float((power(drawn) / wanted - 1).abs().mean())

    assert off(scatter.draw) < 0.03
    # The same with the mean taken as it is.
    without = ("slope", "noise_slope", "biases")
    header = {n: v for n, v in scatter.to_header().items() if n not in without}
    assert off(Scatter.from_header(header).draw) > 0.06


def test_what_a_network_takes_for_noise_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that adds something of its own: less of what it sees is to be believed."""
    schedule = NoiseSchedule("cosine", 1000, "v")
    ideal = known(schedule)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.level(int(t[0]))
        x0 = a * x - s * ideal(x, t)
        # Products of pixels that are far apart have nothing in common with either.
        far = x.roll(5, -1) * x.roll(-5, -2)
        x0 = x0 + 0.4 * x0.std() * (far - far.mean()) / far.std()
        return (a * x - x0) / s

    start = torch.randn(
        (200, 1, EDGE, EDGE), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    wanted = power(images(400, 5))

    def strength() -> float:
        scatter = measure_scatter(lambda _: predict, images(96, 1), schedule, batch_size=48)
        drawn = sample(
            predict, start, schedule,
            steps=60, variance=scatter.draw, generator=torch.Generator().manual_seed(4),
        )  # fmt: skip
        return float((power(drawn) / wanted).mean())

    assert strength() == pytest.approx(1, abs=0.05)

    def without_noise(wanted: Any, first: Any, second: Any, known_cells: int) -> Any:
        return fitted_filters(wanted, first, 0 * second, known_cells)

    # By what is seen of the image alone the image is right at each step, and no longer after it.
    monkeypatch.setattr("everhart.synthesize.scatter.fitted_filters", without_noise)
    assert strength() > 1.08


def test_skewed_noise_is_drawn_skewed() -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    generator = torch.Generator().manual_seed(0)
    # The square of normal numbers, and a network that takes noise as normal.
    normal = torch.randn((40, 1, 32, 32), generator=generator, dtype=torch.float64)
    real = 0.2 * (normal + 0.15 * (normal**2 - 1))
    spread = float(real.var())

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.level(int(t[0]))
        return (a * x - a * spread / (a**2 * spread + s**2) * x) / s

    def skewness(x: Tensor) -> float:
        return float(((x - x.mean()) ** 3).mean() / x.var() ** 1.5)

    scatter = measure_scatter(lambda _: predict, real, schedule)
    drawn = sample(
        predict, torch.randn(real.shape, generator=generator, dtype=torch.float64), schedule,
        steps=50, variance=scatter.draw, generator=generator,
    )  # fmt: skip
    assert skewness(real) > 0.7
    assert skewness(drawn) == pytest.approx(skewness(real), abs=0.15)
    assert float(drawn.std()) == pytest.approx(float(real.std()), rel=0.02)


def test_pixels_at_the_limits_of_the_image_have_groups_like_others() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(-0.4, 1.5, (8, 1, 32, 32)).clip(-1.2, 1.2)  # 30 % dark, 15 % bright
    real = seen + rng.normal(0, 0.3, seen.shape)
    noise = rng.normal(size=seen.shape)
    found = _at_one_time(seen, noise, real, 0.4)
    assert (found["levels"][0], found["levels"][-1]) == pytest.approx((-1.2, 1.2), abs=0.01)
    assert found["gains"] == pytest.approx(np.ones(14), abs=0.15)
    assert not _at_one_time(seen, noise, real, 0.5)["biases"].any()


def test_a_model_of_before_is_taken_as_symmetric() -> None:
    scatter = scatter_of(NoiseSchedule("cosine", 1000, "v"))
    old = {
        n: v
        for n, v in scatter.to_header().items()
        if n not in ("slope", "noise_slope", "biases", "fine_gains", "skews")
    }
    read = Scatter.from_header(old)
    assert np.all(read.slope == 1)
    assert not read.noise_slope.any()
    assert not read.biases.any()
    assert not read.skews.any()
    assert np.array_equal(read.fine_gains, read.gains)


def drawn_once(
    seen: NDArray[np.float64], known: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw from what is seen, by what images are off by from it."""
    t, schedule = 60, NoiseSchedule()
    a, s = schedule.level(t)
    noise = rng.normal(size=seen.shape)
    rows = _at_one_time(seen, noise, known, s)
    scatter = Scatter(np.array([t - 1, t + 1]), **{n: np.stack([v, v]) for n, v in rows.items()})
    start = torch.from_numpy(seen)
    x = a * start + s * torch.from_numpy(noise)
    drawn = start + scatter.draw(x, start, schedule, t, torch.Generator().manual_seed(0))
    found: NDArray[np.float64] = drawn.numpy()
    return found


def test_uncertain_edges_add_nothing_to_the_finest_grain() -> None:
    """Shot noise on lines whose edges are not known well, over a slope from dark to bright."""
    rng = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * np.arange(64) / 16)[None] * np.ones((64, 1))
    seen = 0.5 * wave + np.linspace(-0.4, 0.4, 64)[:, None]
    smooth = ndimage.gaussian_filter(rng.normal(size=(48, 1, 64, 64)), (0, 0, 3, 3), mode="wrap")
    wrong = 4.0 * (1 - wave**2) * smooth
    shot = 0.12 * np.sqrt(seen + 1.0) * rng.normal(size=wrong.shape)
    seen = np.broadcast_to(seen, wrong.shape).copy()
    known = seen + wrong + shot
    drawn = drawn_once(seen, known, rng)

    def finest(images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance of fourth differences down the columns: at edges, in the bright, in the dark."""
        fine = np.diff(images, n=4, axis=-2)[:, 0] ** 2
        along = np.abs(wave[0])
        at_edges = fine[..., along < 0.1].mean()
        bright, dark = (fine[..., sign * wave[0] > 0.9].mean() for sign in (1, -1))
        return np.array([at_edges, bright, dark])

    assert finest(drawn) == pytest.approx(finest(known), rel=0.08)


def test_as_much_grain_is_drawn_as_makes_that_of_images() -> None:
    """A network that sees half of the grain in the bright and, too strongly, that in the dark."""
    rng = np.random.default_rng(0)
    bright = np.zeros((48, 1, 48, 48), bool)
    bright[..., 24:] = True
    level = np.where(bright, 0.5, -0.5)
    grain = np.where(bright, 0.15, 0.06) * rng.normal(size=level.shape)
    other = np.where(bright, 0.0, 0.05) * rng.normal(size=level.shape)
    seen, known = level + np.where(bright, 0.5, 0.8) * grain + other, level + grain
    drawn = drawn_once(seen, known, rng)

    def finest(images: NDArray[np.float64]) -> list[float]:
        fine = np.diff(images, n=4, axis=-2) ** 2
        return [float(fine[..., half].mean()) for half in (slice(0, 22), slice(26, 48))]

    assert finest(drawn) == pytest.approx(finest(known), rel=0.2)
