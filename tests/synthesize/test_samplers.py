"""The samplers: against diffusers, and on Gaussian data where the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from everhart.errors import UsageError
from everhart.synthesize.inpainting import inpaint, repaint_path
from everhart.synthesize.samplers import SAMPLERS, ddim, ddpm, dpm_solver, sample
from everhart.synthesize.schedule import NoiseSchedule, spaced_steps
from everhart.synthesize.tiles import TileGrid, sample_tiled

MEAN = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64)
ROOT = torch.tensor(
    [[0.5, 0, 0, 0], [0.3, 0.4, 0, 0], [-0.2, 0.1, 0.3, 0], [0.1, 0.2, 0.1, 0.35]],
    dtype=torch.float64,
)
COVARIANCE = ROOT @ ROOT.T


def known(schedule: NoiseSchedule) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what the ideal network says of Gaussian data ``(N, 1, 1, 4)``."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.level(int(t[0]))
        away = x.flatten(1) - a * MEAN
        spread = a**2 * COVARIANCE + s**2 * torch.eye(4, dtype=torch.float64)
        noise = (s * away @ torch.linalg.inv(spread)).view_as(x)
        if schedule.prediction == "noise":
            return noise
        return (noise - s * x) / a  # v = a noise - s x0, and x0 = (x - s noise) / a

    return predict


def draws(n: int, seed: int = 0) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((n, 1, 1, 4), generator=generator, dtype=torch.float64), generator


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


# The linear schedule ends with some image left, which costs a first step of the noisiest level.
@pytest.mark.parametrize(("name", "prediction"), [("cosine", "v"), ("linear", "noise")])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gaussian_data_come_out_as_they_are(sampler: Any, prediction: Any, name: Any) -> None:
    schedule = NoiseSchedule(name, 1000, prediction)
    noise, generator = draws(40_000)
    steps = {"ddpm": 1000, "ddim": 1000, "dpm": 50}[sampler]
    found = sample(
        known(schedule), noise, schedule, sampler=sampler, steps=steps, generator=generator
    ).flatten(1)
    assert off(found.mean(0), MEAN) < 0.02
    assert off(torch.cov(found.T), COVARIANCE) < 0.02


SEEN = torch.tensor([0.9, -0.5, 0.0, 0.0], dtype=torch.float64)


def _inpainted(prediction: Any, n: int, **path: int) -> Tensor:
    schedule = NoiseSchedule("cosine", 1000, prediction)
    image = SEEN.view(1, 1, 1, 4).repeat(n, 1, 1, 1)
    hidden = torch.tensor([False, False, True, True]).view(1, 1, 1, 4)
    found = inpaint(known(schedule), image, hidden, schedule, generator=draws(1)[1], **path)
    assert torch.equal(found[..., :2], image[..., :2])
    return found[:, 0, 0, 2:]


def test_what_is_inpainted_has_the_conditional_distribution() -> None:
    drawn = _inpainted("v", 3000, steps=300, jump=10, repeats=40)
    among, across, within = COVARIANCE[:2, :2], COVARIANCE[2:, :2], COVARIANCE[2:, 2:]
    gain = across @ torch.linalg.inv(among)
    assert off(drawn.mean(0), MEAN[2:] + gain @ (SEEN[:2] - MEAN[:2])) < 0.05
    assert off(torch.cov(drawn.T), within - gain @ across.T) < 0.05
    # Without returns the seam is wrong, which is what they are for.
    once = _inpainted("v", 3000, steps=300, jump=10, repeats=1)
    assert off(once.mean(0), MEAN[2:] + gain @ (SEEN[:2] - MEAN[:2])) > 0.2


def test_inpainting_is_the_same_for_either_prediction() -> None:
    path = {"steps": 40, "jump": 5, "repeats": 3}
    torch.testing.assert_close(_inpainted("v", 50, **path), _inpainted("noise", 50, **path))


ORACLE_STEPS = 50


def _network(x: Tensor, t: Tensor) -> Tensor:
    """Any smooth function of an image and its step."""
    return torch.tanh(0.7 * x + torch.sin(t / 200.0).view(-1, 1, 1, 1)) * 0.9


def _by_diffusers(scheduler: Any, noise: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(ORACLE_STEPS)
    x = noise
    for t in scheduler.timesteps:
        said = _network(x, t.expand(len(x)))
        extra = {} if "Solver" in type(scheduler).__name__ else {"generator": generator}
        x = scheduler.step(said, t, x, **extra).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["noise", "v"])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddpm-large", "ddim", "ddim-half", "dpm"])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_the_samplers_are_those_of_diffusers(
    name: Any, sampler: str, spacing: Any, prediction: Any
) -> None:
    diffusers = pytest.importorskip("diffusers")
    schedule = NoiseSchedule(name, 1000, prediction)
    noise, _ = draws(3, seed=1)
    settings = {
        "num_train_timesteps": 1000,
        "trained_betas": schedule.betas.tolist(),
        "prediction_type": {"noise": "epsilon", "v": "v_prediction"}[prediction],
        "timestep_spacing": spacing,
    }
    generator = torch.Generator().manual_seed(5)
    if sampler.startswith("ddpm"):
        variance: Any = "large" if sampler.endswith("large") else "small"
        if (variance, spacing) == ("large", "trailing"):
            pytest.skip("diffusers adds noise after the last step then")
        oracle = diffusers.DDPMScheduler(
            clip_sample=False, variance_type=f"fixed_{variance}", **settings
        )
        wanted = _by_diffusers(oracle, noise, 5)
        found = ddpm(
            _network, noise, schedule, ORACLE_STEPS,
            spacing=spacing, variance=variance, generator=generator,
        )  # fmt: skip
    elif sampler.startswith("ddim"):
        eta = 0.5 if sampler == "ddim-half" else 0.0
        oracle = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **settings)
        step = oracle.step
        oracle.step = lambda *a, **k: step(*a, eta=eta, **k)
        wanted = _by_diffusers(oracle, noise, 5)
        found = ddim(
            _network, noise, schedule, ORACLE_STEPS, eta=eta, spacing=spacing, generator=generator
        )
    else:
        if spacing == "leading":
            pytest.skip("diffusers spaces the leading steps of this solver in another way")
        oracle = diffusers.DPMSolverMultistepScheduler(
            algorithm_type="dpmsolver++", final_sigmas_type="zero", lower_order_final=True,
            euler_at_final=False, **settings,
        )  # fmt: skip
        wanted = _by_diffusers(oracle, noise, 5)
        found = dpm_solver(_network, noise, schedule, ORACLE_STEPS, spacing=spacing)
    assert float((found - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))


@given(count=st.integers(1, 40), jump=st.integers(1, 12), repeats=st.integers(1, 5))
def test_the_path_of_repaint_goes_step_by_step_to_the_end(
    count: int, jump: int, repeats: int
) -> None:
    path = repaint_path(count, jump, repeats)
    assert (path[0], path[-1]) == (count, 0)
    assert set(np.abs(np.diff(path)).tolist()) == {1}
    assert max(path) == count
    stretches = len([level for level in range(0, count, jump) if level + jump <= count])
    assert len(path) - 1 == count + 2 * jump * stretches * (repeats - 1)


@given(steps=st.integers(2, 1000), data=st.data())
def test_spaced_steps_are_distinct_and_falling(steps: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, steps))
    for spacing in ("trailing", "leading"):
        visited = spaced_steps(steps, count, spacing)  # type: ignore[arg-type]
        assert len(visited) == count
        assert (np.diff(visited) < 0).all()
        assert visited[-1] >= 0
        assert visited[0] < steps
    assert spaced_steps(steps, count)[0] == steps - 1


def test_prediction_and_target_undo_each_other() -> None:
    x0, noise = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64, generator=draws(1)[1])
    t = torch.tensor([0, 10, 500, 990])
    for prediction in ("noise", "v"):
        schedule = NoiseSchedule("cosine", 1000, prediction)  # type: ignore[arg-type]
        x = schedule.add_noise(x0, noise, t)
        back, said = schedule.split(x, schedule.target(x0, noise, t), t)
        torch.testing.assert_close(back, x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(said, noise, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_a_shifted_schedule_has_so_much_more_noise(name: Any) -> None:
    plain, shifted = NoiseSchedule(name, 100), NoiseSchedule(name, 100, shift=3.0)
    for t in (0, 20, 50, 98):
        (a, s), (a_there, s_there) = plain.level(t), shifted.level(t)
        assert s_there / a_there == pytest.approx(3 * s / a)
        assert a_there**2 + s_there**2 == pytest.approx(1)
    np.testing.assert_allclose(np.cumprod(1 - shifted.betas), shifted.alpha_bar)


@given(
    shift=st.sampled_from([0.25, 1.0, 2.0, 4.0, 8.0]),
    name=st.sampled_from(["cosine", "linear"]),
    data=st.data(),
)
def test_visited_steps_are_as_noisy_as_those_of_the_plain_schedule(
    shift: float, name: Any, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 200))
    below = data.draw(st.floats(0.05, 1))
    plain, shifted = NoiseSchedule(name, 1000), NoiseSchedule(name, 1000, shift=shift)
    even, found = plain.visited(count, below=below), shifted.visited(count, below=below)
    assert np.array_equal(even, spaced_steps(1000, count)[spaced_steps(1000, count) < 1000 * below])
    assert len(found) == len(even)
    assert (np.diff(found) < 0).all()
    assert ((found >= 0) & (found < 1000)).all()
    if shift == 1:
        assert np.array_equal(found, even)
    if count <= 8:  # then there is room for all of them
        levels = [(shifted.level(int(t))[1], plain.level(int(n))[1])
                  for t, n in zip(found, even, strict=True)]  # fmt: skip
        for own, asked in levels:
            assert own == pytest.approx(asked, abs=0.02)


def test_shares_of_a_shifted_schedule_are_as_noisy() -> None:
    plain, shifted = NoiseSchedule(), NoiseSchedule(shift=4.0)
    for there, wanted in zip(
        shifted.at_shares([0.5, 0.02, 0.06]), plain.at_shares([0.5, 0.02, 0.06]), strict=True
    ):
        assert there < wanted
        assert shifted.level(there)[1] == pytest.approx(plain.level(wanted)[1], abs=0.005)


def test_plain_noise_of_a_shifted_schedule_is_that_of_the_plain_one() -> None:
    plain, shifted = NoiseSchedule(), NoiseSchedule(shift=4.0)
    rng = np.random.default_rng(0)
    levels = [
        np.array([schedule.level(schedule.draw(rng, plain=is_plain))[1] for _ in range(2000)])
        for schedule, is_plain in ((plain, False), (shifted, True), (shifted, False))
    ]
    at = [0.1, 0.3, 0.5, 0.7, 0.9]
    quantiles = [np.quantile(some, at) for some in levels]
    np.testing.assert_allclose(quantiles[1], quantiles[0], atol=0.05)
    assert (quantiles[2] - quantiles[0]).max() > 0.2


@pytest.mark.parametrize("how", ["whole", "tiles", "inpaint"])
def test_every_sampler_visits_the_steps_of_the_plain_schedule(how: str) -> None:
    schedule = NoiseSchedule(shift=4.0)
    seen: list[int] = []

    def predict(x: Tensor, t: Tensor, *_: Any) -> Tensor:
        seen.append(int(t[0]))
        return torch.zeros_like(x)

    noise, generator = draws(1)
    if how == "whole":
        sample(predict, noise, schedule, steps=10, generator=generator)
    elif how == "tiles":
        grid = TileGrid((8, 8), (8, 8))
        sample_tiled(predict, grid, schedule, steps=10)
    else:
        hidden = torch.zeros_like(noise)
        hidden[..., 0] = 1
        inpaint(predict, noise, hidden, schedule, steps=10, jump=1, repeats=1, generator=generator)
    assert sorted(set(seen), reverse=True) == schedule.visited(10).tolist()
    assert seen[-1] < spaced_steps(1000, 10)[-1] / 2  # the even one is 99, and far noisier here


def test_wrong_calls_are_refused() -> None:
    schedule = NoiseSchedule()
    noise, _ = draws(1)
    with pytest.raises(UsageError, match="from 1 to 1000"):
        sample(_network, noise, schedule, steps=1001)
    with pytest.raises(UsageError, match="ddpm"):
        sample(_network, noise, schedule, sampler="ddpn")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cosine"):
        NoiseSchedule("cosin")  # type: ignore[arg-type]
    for shift in (0.0, float("inf")):
        with pytest.raises(UsageError, match="above 0"):
            NoiseSchedule(shift=shift)
    for share in (-0.1, 1.5):
        with pytest.raises(UsageError, match="from 0 to 1"):
            NoiseSchedule(shift=2).at_shares([0.1, share])
    with pytest.raises(UsageError, match="at least 1"):
        repaint_path(3, 0, 1)
