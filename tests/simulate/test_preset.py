"""The preset against the real pairs that it stands for (docs/results/simulator.md)."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from everhart.simulate import Microscope, preset_names


@pytest.fixture(scope="module")
def check():
    path = Path(__file__).parents[2] / "scripts" / "check_preset.py"
    spec = importlib.util.spec_from_file_location("check_preset", path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules["check_preset"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["time", "line"])
def test_the_preset_has_the_noise_of_the_real_pairs(kind, shared_data, check):
    real = check.real_moments(shared_data / "sem-pairs", kind)
    simulated = check.SimulatedLevels(Microscope.preset("tin-balls"))
    everything, predicted = check.overall(real, simulated)
    np.testing.assert_allclose(predicted.along[:3], everything.along[:3], atol=0.02)
    np.testing.assert_allclose(predicted.down[:3], everything.down[:3], atol=0.01)
    levels = check.compare(real, simulated)
    assert len(levels) >= 5
    for measured, model in levels:
        assert model.variance == pytest.approx(measured.variance, rel=0.1)
    middle = min(levels, key=lambda pair: abs(pair[0].level - 135))
    assert middle[1].skew == pytest.approx(middle[0].skew, abs=0.1)


def test_presets_can_be_used(rng):
    for name in preset_names():
        image = Microscope.preset(name).expose(np.full((32, 32), 0.5, np.float32), rng)
        assert image.pixels.std() > 0
