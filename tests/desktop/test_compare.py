"""Compare: panes that are linked, the residual, the profile, and metrics that lead to images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QSizeF, Qt
from PySide6.QtGui import QWheelEvent

from everhart import io
from everhart.desktop.profile_panel import along_line
from everhart.desktop.window import MainWindow
from everhart.micrograph import Micrograph


def test_all_beside_each_other(compared: MainWindow):
    viewer = compared.parts.viewer
    captions = [item.caption for item in viewer.items]
    assert captions[0:2] == ["wafer_2.tif", "median"]
    assert captions[2] == "residual: wafer_2.tif − median"
    assert captions[3:] == ["gaussian", "reference: clean.tif"]
    noisy, median, residual = (item.rendering.pixels.astype(float) for item in viewer.items[:3])
    assert np.allclose(residual, noisy - median)
    low, high = viewer.items[2].rendering.levels
    assert low == -high  # 0 is grey
    assert len(viewer.panes) == 5
    assert all(pane.isVisible() for pane in viewer.panes)
    # One contrast for all but the residual.
    compared.parts.contrast.white.setValue(180)
    levels = [item.rendering.levels for item in viewer.items]
    assert levels[0] == levels[1] == levels[3] == levels[4]
    assert levels[0][1] == 180
    assert levels[2] == (low, high)


def test_zoom_and_cursor_are_linked(compared: MainWindow, qtbot):
    first, second, *_ = compared.parts.viewer.panes
    before = second.to_screen
    event = QWheelEvent(
        QPointF(50, 60), QPointF(50, 60), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    first.wheelEvent(event)
    assert second.to_screen.m11() == pytest.approx(1.44 * before.m11())
    assert second.to_screen.m11() == first.to_screen.m11()
    assert second.state.centre == first.state.centre
    inside = first.state.to_screen(QPointF(40, 30), QSizeF(first.size())).toPoint()
    qtbot.mouseMove(first, inside + QPoint(1, 0))
    qtbot.mouseMove(first, inside)
    cursor = first.state.cursor
    assert (cursor.x(), cursor.y()) == pytest.approx((40, 30), abs=1)
    told = compared.parts.position.text()
    assert "nm" in told
    assert len(told.split("grey")[1].split(",")) == 5


def test_flicker_and_swipe(compared: MainWindow, qtbot, until):
    viewer = compared.parts.viewer
    compared.actions_by_name["flicker"].trigger()
    (pane,) = viewer.panes
    first = pane.caption
    until(lambda: pane.caption != first, 10)
    compared.actions_by_name["swipe"].trigger()
    (pane,) = viewer.panes
    left_only = pane.grab().toImage()
    middle = QPoint(pane.width() // 2, pane.height() // 2)
    qtbot.mousePress(pane, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(pane, middle + QPoint(-100, 0))
    qtbot.mouseRelease(pane, Qt.MouseButton.LeftButton, pos=middle + QPoint(-100, 0))
    assert pane._swipe == pytest.approx(0.5 - 100 / pane.width(), abs=0.01)
    assert pane.grab().toImage() != left_only
    assert pane.tool == "pan"
    compared.actions_by_name["tiles"].trigger()
    assert len(viewer.panes) == 5


def test_profile_across_all_images(compared: MainWindow):
    line = (QPointF(10, 20), QPointF(60, 20))
    compared.parts.viewer.state.mark("profile", line)
    curves = compared.parts.profile.plot.getPlotItem().listDataItems()
    assert [curve.name() for curve in curves] == [i.caption for i in compared.parts.viewer.items]
    x, y = curves[0].getData()
    pixels = compared.parts.viewer.items[0].rendering.pixels
    assert y == pytest.approx(pixels[20, 10:61].astype(float))
    assert x[-1] == pytest.approx(50 * 2.4)


def test_a_profile_between_pixels_and_outside():
    pixels = np.add.outer(np.arange(30.0), 10 * np.arange(40.0))
    values = along_line(pixels, QPointF(2.5, 3.5), QPointF(8.5, 9.5))
    assert values[0] == pytest.approx(28.5)
    assert values[-1] == pytest.approx(94.5)
    outside = along_line(pixels, QPointF(-5, 3), QPointF(5, 3))
    assert np.isnan(outside[0])
    assert outside[-1] == 53
    assert np.isnan(along_line(pixels, QPointF(100, 100), QPointF(120, 100))).all()


@pytest.mark.slow
def test_metrics_worst_first_lead_to_the_image(window: MainWindow, folder: Path, until, wafer):
    rng = np.random.default_rng(0)
    noisier = wafer.pixels + rng.normal(0, 40, wafer.shape)
    io.write(
        Micrograph(noisier.clip(0, 255).astype(np.uint8), 2.4), folder / "wafer_10.tif",
        overwrite=True,
    )  # fmt: skip
    io.write(wafer, folder.parent / "clean.tif")
    window.open_paths([folder])
    until(lambda: window.library.rowCount() == 3)
    window.parts.compare.choose_a("median")
    window.parts.compare.reference.line.setText(str(folder.parent / "clean.tif"))
    until(lambda: not window.work.queue.active and not window.composer.is_busy)
    window.parts.browser.select(folder / "wafer_2.tif", folder / "wafer_10.tif")
    window.run_metrics()
    table = window.parts.table
    until(lambda: any("affine_psnr_db" in row for row in table.model.rows))
    shown = [
        {c: table.sorted.index(r, i).data() for i, c in enumerate(table.model.columns)}
        for r in range(table.sorted.rowCount())
    ]
    figures = [float(row["affine_psnr_db"]) for row in shown if row["affine_psnr_db"] != "inf"]
    assert figures == sorted(figures)
    assert (shown[0]["image"], shown[0]["method"]) == ("wafer_10.tif", "noisy")
    assert window.findings.report is not None
    assert "<html" in window.findings.report.read_text("utf-8")
    window.parts.browser.order.setCurrentIndex(2)  # worst first
    assert (
        window.parts.browser.shown.entry_at(window.parts.browser.shown.index(0, 0)).path
        == folder / "wafer_10.tif"
    )
    window.parts.browser.select(folder / "other.png")
    until(lambda: window.parts.viewer.items[0].caption == "other.png")
    window.parts.plot.row_chosen.emit(
        next(i for i, told in enumerate(table.model.rows) if told["image"] == "wafer_2.tif")
    )
    until(lambda: window.parts.viewer.items[0].caption == "wafer_2.tif")
    assert len(window.parts.plot.plot.getPlotItem().items) == 2  # a method each
    row = next(r for r, told in enumerate(shown) if told["method"] == "median")
    table.view.selectRow(row)
    until(lambda: [i.caption for i in window.parts.viewer.items][:2] == ["wafer_10.tif", "median"])
