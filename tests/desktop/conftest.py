"""A window without a screen, with its own settings and folder of results."""

from __future__ import annotations

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6", exc_type=ImportError)
pytest.importorskip("pyqtgraph", exc_type=ImportError)

from PySide6.QtCore import QSettings

from everhart import io, simulate
from everhart.desktop.window import MainWindow
from everhart.micrograph import Micrograph


@pytest.fixture(scope="session")
def wafer() -> Micrograph:
    """Contact holes in noise, 2.4 nm a pixel, uint8."""
    rng = np.random.default_rng(1)
    return _noisy(simulate("nand", shape=(192, 288), pixel_size_nm=2.4, rng=rng), 3)  # type: ignore[operator]


def _noisy(scene: simulate.Scene, seed: int) -> Micrograph:
    image = simulate.Microscope().expose(scene, np.random.default_rng(seed), 1)
    assert isinstance(image, Micrograph)
    return image


@pytest.fixture
def folder(tmp_path: Path, wafer: Micrograph) -> Path:
    """A folder of three micrographs."""
    made = tmp_path / "lot 7"
    made.mkdir()
    for name in ("wafer_10.tif", "wafer_2.tif", "other.png"):
        io.write(wafer, made / name)
    return made


@pytest.fixture
def make_window(tmp_path: Path, qtbot) -> Iterator[Callable[[], MainWindow]]:
    made: list[MainWindow] = []

    def make() -> MainWindow:
        settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
        window = MainWindow(settings, tmp_path / "results")
        window.resize(1280, 800)
        window.show()
        qtbot.waitExposed(window)
        made.append(window)
        return window

    yield make
    for window in made:
        for job in window.work.queue.active:
            window.work.queue.cancel(job)
        qtbot.waitUntil(lambda: not window.work.queue.active, timeout=30_000)  # noqa: B023
        window.close()
        window.deleteLater()


@pytest.fixture
def window(make_window: Callable[[], MainWindow]) -> MainWindow:
    return make_window()


@pytest.fixture
def until(qtbot) -> Callable[[Callable[[], object]], None]:
    """Wait, on a busy machine too."""

    def wait(condition: Callable[[], object], seconds: float = 60) -> None:
        qtbot.waitUntil(lambda: bool(condition()), timeout=round(seconds * 1000))

    return wait


@pytest.fixture
def shown(window: MainWindow, folder: Path, until) -> MainWindow:
    """The window with an image in it."""
    window.open_paths([folder / "wafer_2.tif"])
    until(lambda: window.parts.viewer.items)
    return window
