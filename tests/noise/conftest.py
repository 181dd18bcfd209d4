"""What the tests of noise share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="session")
def simulated() -> ModuleType:
    """Scenes and noise of known truth."""
    spec = importlib.util.spec_from_file_location(
        "simulated", Path(__file__).with_name("simulated.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sem_pair(shared_data: Path):
    """Function that reads a noisy and a clean image of the shared SEM pairs by name."""
    from PIL import Image

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        folder = shared_data / "sem-pairs"
        return tuple(
            np.asarray(Image.open(folder / f"{name}_{kind}.png")) for kind in ("noisy", "clean")
        )

    return read
