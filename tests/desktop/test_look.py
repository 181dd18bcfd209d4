"""Look: the list, the image, its contrast; and what cannot be opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, QSizeF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from everhart import io
from everhart.desktop.library import Entry, Library, SortedLibrary
from everhart.desktop.rendering import Rendering
from everhart.desktop.view_state import ViewState
from everhart.desktop.window import MainWindow
from everhart.micrograph import Micrograph


def names(window: MainWindow) -> list[str]:
    shown = window.parts.browser.shown
    return [shown.entry_at(shown.index(row, 0)).name for row in range(shown.rowCount())]


def grey(rendering: Rendering, y: int, x: int) -> int:
    image, factor = rendering.level(1.0)
    assert factor == 1
    return image.pixelColor(x, y).red()


def test_a_folder_is_dropped_filtered_and_sorted(window: MainWindow, folder: Path, until, qtbot):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(folder))])
    window.dropEvent(
        QDropEvent(
            QPointF(300, 300), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    until(lambda: window.parts.viewer.items)
    assert names(window) == ["other.png", "wafer_2.tif", "wafer_10.tif"]  # numbers as numbers
    browser = window.parts.browser
    qtbot.keyClicks(browser.filter, "WAFER")
    assert names(window) == ["wafer_2.tif", "wafer_10.tif"]
    assert browser.count.text() == "2 of 3 images"
    browser.filter.clear()
    for number, name in enumerate(("wafer_10.tif", "other.png", "wafer_2.tif")):
        os.utime(folder / name, (1e9 + number, 1e9 + number))
    window.open_paths([folder])
    until(lambda: window.library.entry(folder / "other.png").modified == 1e9 + 1)
    browser.order.setCurrentIndex(browser.order.findData("date"))
    assert names(window) == ["wafer_2.tif", "other.png", "wafer_10.tif"]
    until(lambda: len(window.library._icons) == 3)  # the thumbnails came


def test_the_image_has_its_levels_scale_and_grey_values(shown: MainWindow, wafer: Micrograph):
    (item,) = shown.parts.viewer.items
    pane = shown.parts.viewer.active_pane
    assert pane.pixel_size_nm == (2.4, 2.4)
    assert pane.value_at(QPointF(7.4, 5.4)) == wafer.pixels[5, 7]
    assert pane.value_at(QPointF(-0.6, 0)) is None
    shown.parts.contrast.white.setValue(200)
    shown.parts.contrast.black.setValue(100)
    assert item.rendering.levels == (100, 200)
    row, column = np.argwhere(wafer.pixels > 100)[0]
    expected = np.clip(round((int(wafer.pixels[row, column]) - 100) * 2.55), 0, 255)
    assert abs(grey(item.rendering, row, column) - expected) <= 1
    shown.parts.contrast.auto.click()
    assert item.rendering.levels == item.rendering.own_levels


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_contrast_of_every_dtype(dtype):
    pixels = np.linspace(0, 20000, 400 * 600).reshape(400, 600).astype(dtype)
    rendering = Rendering(pixels, levels=(5000, 15000))
    middle = np.argmin(np.abs(pixels[200].astype(float) - 10000))
    assert grey(rendering, 200, int(middle)) == pytest.approx(127, abs=2)
    assert (grey(rendering, 0, 0), grey(rendering, 399, 599)) == (0, 255)
    assert rendering.counts.sum() == pixels.size
    small, factor = rendering.level(0.25)
    assert (small.width(), small.height(), factor) == (150, 100, 4)


def test_not_a_number_is_drawn_and_not_counted():
    pixels = np.full((80, 80), np.nan, np.float32)
    assert grey(Rendering(pixels), 0, 0) == 0
    pixels[10:] = 4.0
    assert Rendering(pixels).counts.sum() == 70 * 80


def test_zoom_keeps_what_is_under_the_mouse():
    state, size = ViewState(), QSizeF(400, 300)
    state.ratio = 1.5  # pixels that are higher than wide
    state.fit(1000, 500, size)
    point = QPointF(90, 220)
    before = state.to_image(point, size)
    state.zoom_by(3.7, before)
    after = state.to_image(point, size)
    assert (after.x(), after.y()) == pytest.approx((before.x(), before.y()))
    corner = state.to_screen(QPointF(1, 1), size) - state.to_screen(QPointF(0, 0), size)
    assert corner.y() / corner.x() == pytest.approx(1.5)


def test_ruler_is_in_nm(shown: MainWindow, qtbot):
    pane = shown.parts.viewer.active_pane
    shown.actions_by_name["ruler"].trigger()
    at = [pane.state.to_screen(p, QSizeF(pane.size())) for p in (QPointF(20, 30), QPointF(50, 70))]
    press, release = (point.toPoint() for point in at)
    qtbot.mousePress(pane, Qt.MouseButton.LeftButton, pos=press)
    qtbot.mouseMove(pane, release + QPoint(3, 0))
    qtbot.mouseMove(pane, release)
    qtbot.mouseRelease(pane, Qt.MouseButton.LeftButton, pos=release)
    words, unit = pane._ruler_words().split()
    assert unit == "nm"
    assert float(words) == pytest.approx(50 * 2.4, rel=0.02)
    pane.state.mark("region", (QPointF(10, 20), QPointF(40, 60)))
    pixels = pane.rendering.pixels[20:61, 10:41]
    assert pane._region_words() == (
        f"72 nm × 96 nm; mean {pixels.mean():.4g}, SD {pixels.std():.3g}"
    )
    shown.actions_by_name["pan"].trigger()
    assert not shown.actions_by_name["ruler"].isChecked()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.tif", b"", "0 bytes"),
        ("broken.tif", b"II*\0" + b"\xff" * 60, "broken.tif"),
        ("text.tif", b"no image at all", "of no format"),
    ],
)
def test_what_cannot_be_read_costs_a_sentence(
    shown: MainWindow, tmp_path: Path, until, name: str, content: bytes, said: str
):
    (tmp_path / name).write_bytes(content)
    shown.open_paths([tmp_path / name])
    until(lambda: said in shown.parts.messages.text)
    assert shown.parts.messages.isVisible()
    assert len(shown.parts.viewer.items) == 1  # what was open is not lost
    assert shown.library.rowCount() == 2


def test_a_folder_without_rights_costs_a_sentence(shown: MainWindow, tmp_path: Path, until):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("this user may read everything")
        shown.open_paths([locked])
        until(lambda: "cannot be listed" in shown.parts.messages.text)
    finally:
        locked.chmod(0o700)


def test_a_folder_without_images_costs_a_sentence(shown: MainWindow, tmp_path: Path, until):
    (tmp_path / "none").mkdir()
    shown.open_paths([tmp_path / "none"])
    until(lambda: "holds no images" in shown.parts.messages.text)
    assert shown.library.rowCount() == 1


def test_lots_of_a_run_are_opened_together(window: MainWindow, folder: Path, until):
    window.open_paths([folder.parent])
    until(lambda: window.library.rowCount() == 3)


def test_a_stack_is_stepped_through(window: MainWindow, tmp_path: Path, until):
    frames = np.stack([np.full((70, 80), 10 * n, np.uint16) for n in range(1, 4)])
    frames[:, 0, 0] = 0
    io.write(Micrograph(frames), tmp_path / "stack.tif")
    window.open_paths([tmp_path / "stack.tif"])
    until(lambda: window.parts.viewer.items)
    assert window.parts.frame.isVisible()
    assert window.parts.frame.suffix() == " of 3"
    window.parts.frame.setValue(3)
    until(lambda: window.parts.viewer.items[0].picture.image.pixels[5, 5] == 30)


def test_without_calibration_lengths_are_in_pixels(window: MainWindow, tmp_path: Path, until):
    io.write(Micrograph(np.eye(64, dtype=np.uint8) * 99), tmp_path / "plain.png")
    window.open_paths([tmp_path / "plain.png"])
    until(lambda: window.parts.viewer.items)
    state = window.parts.viewer.state
    state.mark("ruler", (QPointF(0, 0), QPointF(3, 4)))
    assert window.parts.viewer.active_pane._ruler_words() == "5 px"
    assert "not known" in window.parts.info.text.toPlainText()
    window.parts.run.pixel_size.setValue(2.5)
    until(lambda: window.parts.viewer.items[0].caption == "plain.png (2.5 nm/px given)")
    assert window.parts.viewer.active_pane._ruler_words() == "12.5 nm"


def test_only_what_is_seen_asks_for_a_thumbnail(window: MainWindow, tmp_path: Path, qtbot):
    asked: list[Path] = []
    window.library.thumbnail_wanted.disconnect()
    window.library.thumbnail_wanted.connect(asked.append)
    paths = [tmp_path / f"{n}.tif" for n in range(1000)]
    window.library.replace(Entry(path, 0.0) for path in paths)
    qtbot.wait(50)
    first = len(asked)
    assert 0 < first < 60
    window.parts.browser.list.scrollToBottom()
    qtbot.wait(50)
    assert paths[-1] in asked
    assert len(asked) < 120


def test_worst_first_and_results_after_their_source():
    library = Library()
    a, b = Path("a.tif"), Path("b.tif")
    library.replace([Entry(a, 1.0), Entry(b, 2.0)])
    library.set_metrics({a: 30.0, b: 20.0})
    shown = SortedLibrary(library)
    shown.sort_by("metric")
    assert [shown.entry_at(shown.index(i, 0)).path for i in range(2)] == [b, a]


def test_a_file_in_two_parts_has_a_thumbnail_and_is_run(
    window: MainWindow, shared_data: Path, tmp_path: Path, until
):
    """The pixels of EMI are in a SER file beside it."""
    for name in ("128x128-TEM_search.emi", "128x128-TEM_search_1.ser"):
        shutil.copy(shared_data / "formats" / "tia" / name, tmp_path / name)
    path = tmp_path / "128x128-TEM_search.emi"
    assert window.reader.thumbnail(path, 64).shape == (64, 64)
    window.open_paths([path])
    until(lambda: window.parts.viewer.items)
    window.run("denoise", {"method": "median"})
    until(lambda: len(window.parts.viewer.items) == 2)
