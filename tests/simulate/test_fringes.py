from __future__ import annotations

import numpy as np
import pytest

from everhart.simulate.fringes import add_fringes


@pytest.mark.parametrize("seed", range(12))
def test_fringes_are_periodic_and_leave_the_rest(seed: int) -> None:
    flat = np.full((128, 128), 0.5, np.float32)
    fringed = add_fringes(flat, np.random.default_rng(seed))
    assert fringed.dtype == np.float32
    assert 0 <= fringed.min() < fringed.max() <= 1
    assert abs(fringed.mean() - 0.5) < 0.02
    # A few waves hold nearly all of the power: 1 % of the spectrum more than half of it.
    power = np.sort((np.abs(np.fft.rfft2(fringed - fringed.mean())) ** 2).ravel())[::-1]
    assert power[: len(power) // 100].sum() > 0.5 * power.sum()
    assert np.array_equal(fringed, add_fringes(flat, np.random.default_rng(seed)))
