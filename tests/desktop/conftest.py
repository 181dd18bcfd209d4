"""A window without a screen, with its own settings and folder of results."""

from __future__ import annotations

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6", exc_type=ImportError)
pytest.importorskip("pyqtgraph", exc_type=ImportError)

from PySide6.QtCore import QSettings
from PySide6.QtTest import QTest

from everhart import io, simulate
from everhart.desktop.garbage import collected_here
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


@contextmanager
def opened_window(folder: Path) -> Iterator[MainWindow]:
    """A window with settings and results in a folder."""
    with collected_here():
        yield from _opened(folder)


def _opened(folder: Path) -> Iterator[MainWindow]:
    settings = QSettings(str(folder / "settings.ini"), QSettings.Format.IniFormat)
    window = MainWindow(settings, folder / "results")
    window.resize(1280, 800)
    window.show()
    try:
        yield window
    finally:
        for job in window.work.queue.active:
            window.work.queue.cancel(job)
        wait_until(lambda: not window.work.queue.active)
        window.parts.label.painted.undo_stack.setClean()
        window.parts.label._unsaved.clear()  # or it would ask
        window.close()
        window.deleteLater()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait, on a busy machine too."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        QTest.qWait(10)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_until


def lot(folder: Path, image: Micrograph) -> Path:
    """Make a folder of three micrographs."""
    made = folder / "lot 7"
    made.mkdir()
    for name in ("wafer_10.tif", "wafer_2.tif", "other.png"):
        io.write(image, made / name)
    return made


@pytest.fixture
def folder(tmp_path: Path, wafer: Micrograph) -> Path:
    return lot(tmp_path, wafer)


@pytest.fixture
def make_window(tmp_path: Path, qapp) -> Iterator[Callable[[], MainWindow]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(opened_window(tmp_path))


@pytest.fixture
def window(make_window: Callable[[], MainWindow]) -> MainWindow:
    return make_window()


@pytest.fixture
def shown(window: MainWindow, folder: Path, until) -> MainWindow:
    """The window with an image in it."""
    window.open_paths([folder / "wafer_2.tif"])
    until(lambda: window.parts.viewer.items)
    return window


@pytest.fixture(scope="module")
def compared(tmp_path_factory, wafer: Micrograph, qapp) -> Iterator[MainWindow]:
    """Noisy, median, residual, gaussian and a reference."""
    folder = tmp_path_factory.mktemp("compared")
    image = lot(folder, wafer) / "wafer_2.tif"
    clean = io.write(wafer, folder / "clean.tif")
    with opened_window(folder) as window:
        window.open_paths([image])
        wait_until(lambda: window.parts.viewer.items)
        panel = window.parts.compare
        panel.choose_a("median")
        panel.b.setCurrentIndex(panel.b.findData("gaussian"))
        panel.residual.setChecked(True)
        panel.reference.line.setText(str(clean))
        wait_until(lambda: len(window.parts.viewer.items) == 5)
        yield window
