"""Labels that are painted, undone and saved; generators that are asked for images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QSizeF, Qt

from everhart import io
from everhart.desktop.backend import Request
from everhart.desktop.generator_backend import GeneratorBackend
from everhart.desktop.mask import Mask
from everhart.desktop.window import MainWindow
from everhart.errors import EverhartError
from everhart.service.compute import CancelledError


@pytest.fixture
def labelling(shown: MainWindow, qtbot) -> MainWindow:
    shown.actions_by_name["view_label"].trigger()
    qtbot.waitUntil(shown.parts.label.isVisible)
    return shown


def point(window: MainWindow, x: float, y: float):
    pane = window.parts.label.pane
    return pane.state.to_screen(QPointF(x, y), QSizeF(pane.size())).toPoint()


def test_a_stroke_covers_what_the_brush_touches():
    mask = Mask()
    mask.start(np.zeros((60, 80), np.uint8))
    mask.begin_stroke()
    mask.paint(QPointF(20, 30), QPointF(50, 30), 5, 3)
    mask.end_stroke("Brush")
    assert mask.labels[30, 20] == mask.labels[34, 35] == mask.labels[30, 53] == 3
    assert mask.labels[38, 35] == mask.labels[30, 60] == 0
    rows = np.nonzero(mask.labels[:, 35])[0]
    assert len(rows) == pytest.approx(10, abs=1)


def test_brush_polygon_undo_and_redo_with_the_mouse(labelling: MainWindow, qtbot):
    view = labelling.parts.label
    view.brush.setValue(12)
    qtbot.mousePress(view.pane, Qt.MouseButton.LeftButton, pos=point(labelling, 60, 50))
    qtbot.mouseMove(view.pane, point(labelling, 120, 50))
    qtbot.mouseRelease(view.pane, Qt.MouseButton.LeftButton, pos=point(labelling, 120, 50))
    assert view.painted.labels[50, 90] == 1
    stroke = view.painted.labels.copy()
    view.tools["polygon"].trigger()
    view.label.setValue(2)
    for corner in ((150, 100), (250, 100), (250, 160)):
        qtbot.mouseClick(view.pane, Qt.MouseButton.LeftButton, pos=point(labelling, *corner))
    qtbot.keyClick(view.pane, Qt.Key.Key_Return)
    both = view.painted.labels.copy()
    assert both[115, 235] == 2
    assert both[150, 160] == 0
    assert (both == 2).sum() == pytest.approx(100 * 60 / 2, rel=0.05)
    labelling.actions_by_name["undo"].trigger()
    assert (view.painted.labels == stroke).all()
    labelling.actions_by_name["undo"].trigger()
    assert not view.painted.labels.any()
    labelling.actions_by_name["redo"].trigger()
    labelling.actions_by_name["redo"].trigger()
    assert (view.painted.labels == both).all()
    view.tools["erase"].trigger()
    qtbot.mouseClick(view.pane, Qt.MouseButton.LeftButton, pos=point(labelling, 90, 50))
    assert view.painted.labels[50, 90] == 0


def test_labels_are_saved_as_a_label_image_and_opened_again(labelling, tmp_path: Path):
    view = labelling.parts.label
    view.painted.fill([QPointF(10, 10), QPointF(40, 10), QPointF(10, 40)], 7)
    painted = view.painted.labels.copy()
    assert view.has_unsaved
    view.save(tmp_path / "labels.png")
    assert not view.has_unsaved
    saved = io.read(tmp_path / "labels.png")
    assert (saved.pixels == painted).all()
    assert saved.pixels.dtype == np.uint8
    assert saved.pixel_size_nm == pytest.approx((2.4, 2.4))
    view.save(tmp_path / "labels.png")
    assert "exists" in labelling.parts.messages.text  # not replaced silently
    from everhart.desktop.label_view import _read

    assert (_read(tmp_path / "labels.png", painted.shape) == painted).all()
    with pytest.raises(EverhartError, match="open the labels of this image"):
        _read(tmp_path / "labels.png", (4, 4))


def test_labels_of_an_image_wait_for_it(labelling: MainWindow, folder: Path, until):
    view = labelling.parts.label
    view.painted.fill([QPointF(10, 10), QPointF(40, 10), QPointF(10, 40)], 7)
    labelling.open_paths([folder / "other.png"])
    until(lambda: labelling.parts.viewer.items[0].picture.path.name == "other.png")
    assert not view.painted.labels.any()
    labelling.parts.browser.select(folder / "wafer_2.tif")
    until(lambda: view.painted.labels.any())


@pytest.mark.slow
def test_a_generator_that_is_none_costs_a_sentence(window: MainWindow, folder: Path, until):
    view = window.parts.synthesize
    view.draw.click()
    assert "No generator was chosen" in window.parts.messages.text
    view.model.line.setText(str(folder / "wafer_2.tif"))
    view.audit.click()
    assert "No real images were chosen" in window.parts.messages.text
    view.draw.click()
    until(lambda: window.work.queue.jobs[0].has_ended)
    assert window.work.queue.jobs[0].state == "failed"
    assert "wafer_2.tif" in window.parts.messages.text


def test_drawing_can_be_cancelled(tmp_path: Path):
    request = Request("synthesize", {"n": 1}, (tmp_path / "model.safetensors",))
    with pytest.raises(CancelledError):
        GeneratorBackend().run(request, tmp_path, print, print, lambda: True)


def test_labels_that_were_not_saved_are_kept_while_others_are_looked_at(
    labelling: MainWindow, folder: Path, tmp_path: Path, until
):
    view = labelling.parts.label

    def look_at(name: str) -> None:
        labelling.open_paths([folder / name])
        until(lambda: view._picture.path == folder / name)

    view.painted.begin_stroke()
    view.painted.paint(QPointF(20, 20), QPointF(60, 20), 5, 1)
    view.painted.end_stroke("Brush")
    painted = view.painted.labels.copy()
    for _ in range(2):  # the second time without a stroke in between
        look_at("wafer_10.tif")
        assert not view.painted.labels.any()
        assert view.has_unsaved
        look_at("wafer_2.tif")
        assert (view.painted.labels == painted).all()
    view.save(tmp_path / "labels.png")
    assert not view.has_unsaved
    look_at("wafer_10.tif")
    look_at("wafer_2.tif")
    assert (view.painted.labels == painted).all()
    assert not view.has_unsaved


def test_opened_labels_do_not_take_strokes_away(labelling: MainWindow, tmp_path: Path, until):
    view = labelling.parts.label
    there = np.full(view.painted.labels.shape, 7, np.uint8)
    source = io.write(there, tmp_path / "labels.png")
    view.open(source)
    until(lambda: view.painted.labels[0, 0] == 7)
    assert not view.has_unsaved
    view.painted.begin_stroke()
    view.painted.paint(QPointF(60, 50), QPointF(120, 50), 6, 1)
    view.painted.end_stroke("Brush")
    stroke = view.painted.labels.copy()
    view.open(source)
    until(lambda: (view.painted.labels == 7).all())
    view.painted.undo_stack.undo()
    assert np.array_equal(view.painted.labels, stroke)
