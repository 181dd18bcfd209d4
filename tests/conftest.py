"""What all tests share: one thread each, and the real data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run; HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("everhart", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everhart"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two threads on a busy machine spin at barriers and are slower than one."""
    import cv2

    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real micrographs; the test is skipped where it is absent."""
    folder = os.environ.get("EVERHART_DATA")
    path = Path(folder) if folder else Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real micrographs are not here; set EVERHART_DATA (see docs/data.md)")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)
