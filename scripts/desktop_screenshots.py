"""Draw the pictures of the desktop client in docs/assets, from a made-up wafer.

    python scripts/desktop_screenshots.py -o docs/assets
    QT_SCALE_FACTOR=2 python scripts/desktop_screenshots.py -o /tmp/double

The window is 1280 x 800 points large, so at a scale of 2 the pictures have twice the pixels.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

SIZE = (1280, 800)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--generator", type=Path, help="a trained generator, for its view")
    given = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given.output.mkdir(parents=True, exist_ok=True)
    from everhart.desktop.application import make_application
    from everhart.desktop.garbage import collected_here

    make_application()
    # A name that can be shown.
    folder = Path(tempfile.gettempdir()) / "micrographs"
    folder.mkdir()
    try:
        with collected_here():
            draw(folder, given.output, given.generator)
    finally:
        shutil.rmtree(folder)


def specimen(folder: Path) -> Path:
    """Make the images of a lot, and the average of many frames of one."""
    from everhart import io, simulate

    lot = folder / "lot 7"
    lot.mkdir()
    for number in range(1, 7):
        rng = np.random.default_rng(number)
        scene = simulate("nand", shape=(480, 640), pixel_size_nm=1.6, rng=rng)
        camera = simulate.Microscope()
        shot = np.random.default_rng([number, 1])
        noisy, clean = camera.expose(scene, shot, 1, return_clean=True)
        io.write(noisy, lot / f"wafer_{number:02d}.tif")
        if number == 1:
            io.write(clean, folder / "average.tif")
    rng = np.random.default_rng(9)
    lines = simulate("lines", shape=(480, 640), pixel_size_nm=0.8, rng=rng)
    io.write(simulate.Microscope().expose(lines, rng, 1), lot / "lines_01.tif")
    return lot


def draw(folder: Path, output: Path, generator: Path | None) -> None:
    """Open the window, go through its views, and keep a picture of each."""
    from PySide6.QtCore import QPointF, QSettings
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QDialog

    from everhart.desktop.signing_in import SignInDialog
    from everhart.desktop.theme import set_dark
    from everhart.desktop.window import MainWindow

    set_dark(False)
    lot = specimen(folder)
    settings = QSettings(str(folder / "s.ini"), QSettings.Format.IniFormat)
    window = MainWindow(settings, folder / "results")
    window.resize(*SIZE)
    window.show()
    parts = window.parts

    def wait(until: Callable[[], object], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(parts.messages.text)
            QTest.qWait(20)
        QTest.qWait(400)

    def keep(name: str) -> None:
        QTest.qWait(150)
        keep_widget(window, output / f"desktop-{name}.png")

    def captions() -> list[str]:
        return [item.caption for item in parts.viewer.items]

    window.open_paths([lot])
    wait(lambda: captions() == ["lines_01.tif"])
    parts.browser.select(lot / "wafer_01.tif")
    wait(lambda: captions() == ["wafer_01.tif"])
    wait(lambda: len(window.library._icons) == window.library.rowCount())  # thumbnails
    parts.viewer.state.mark("ruler", (QPointF(200, 150), QPointF(320, 190)))
    parts.tools.setCurrentWidget(parts.info)
    keep("look")
    parts.viewer.state.mark("ruler", None)
    parts.tools.setCurrentWidget(parts.run)

    window.run("denoise", {})
    wait(lambda: len(captions()) == 2)
    window.run("measure-holes", {"unit": "nm"})
    wait(lambda: parts.table.model.rows)
    parts.table.view.selectRow(4)
    parts.viewer.fit()
    parts.run.choose("measure-holes")
    keep("measure")
    parts.run.choose("denoise")

    parts.tools.setCurrentWidget(parts.compare)
    parts.browser.select(lot / "wafer_01.tif")
    parts.compare.choose_a("sem-general")
    wait(lambda: len(captions()) == 2)
    parts.compare.b.setCurrentIndex(parts.compare.b.findData("nlm"))
    wait(lambda: len(captions()) == 3)
    parts.compare.residual.setChecked(True)
    parts.compare.reference.line.setText(str(folder / "average.tif"))
    wait(lambda: len(captions()) == 5)
    parts.viewer.state.mark("profile", (QPointF(60, 178), QPointF(330, 178)))
    parts.show_results(parts.profile)
    keep("compare")
    parts.viewer.state.mark("profile", None)

    parts.browser.select(lot / "wafer_01.tif", lot / "wafer_02.tif", lot / "wafer_03.tif")
    parts.compare.reference.line.clear()
    wait(lambda: not window.work.queue.active and not window.composer.is_busy)
    window.run_metrics()
    wait(lambda: any("residual_whiteness" in row for row in parts.table.model.rows))
    parts.compare.choose_mode("swipe")
    keep("metrics")
    parts.show_results(parts.plot)
    keep("plot")
    parts.compare.choose_mode("tiles")

    window.work.run("denoise", {"method": "tv"}, [lot / f"wafer_{n:02d}.tif" for n in range(1, 7)])
    window.work.run("denoise", {"method": "median"}, [lot / "lines_01.tif"])
    parts.tools.setCurrentWidget(parts.run)
    parts.show_results(parts.jobs)
    (folder / "broken.tif").write_bytes(b"")
    window.open_paths([folder / "broken.tif"])
    wait(lambda: parts.messages.isVisible())
    keep("run")
    wait(lambda: not window.work.queue.active)
    parts.messages.clear()

    parts.compare.a.setCurrentIndex(0)
    parts.compare.b.setCurrentIndex(0)
    parts.compare.residual.setChecked(False)
    parts.browser.select(lot / "wafer_01.tif")
    wait(lambda: captions() == ["wafer_01.tif"])
    window.actions_by_name["view_label"].trigger()
    QTest.qWait(100)
    label = parts.label
    label.painted.begin_stroke()
    label.painted.paint(QPointF(80, 300), QPointF(400, 330), 14, 1)
    label.painted.end_stroke("Brush")
    label.painted.fill([QPointF(x, y) for x, y in ((90, 80), (300, 60), (260, 200))], 2)
    label.choose("polygon")
    label.pane.corners = [QPointF(420, 100), QPointF(560, 120), QPointF(540, 240)]
    window.actions_by_name["dock_results"].setChecked(False)
    keep("label")
    label.pane.corners = []
    window.actions_by_name["view_synthesize"].trigger()
    if generator is not None:
        parts.synthesize.model.line.setText(str(generator))
        parts.synthesize.steps.setValue(20)
        parts.synthesize.sampler.setCurrentText("dpm")
        parts.synthesize.draw.click()
        wait(lambda: not window.work.queue.active, 1200)
        wait(lambda: parts.synthesize.grid.count() and not parts.synthesize.pending)
    keep("synthesise")
    window.actions_by_name["view_images"].trigger()
    window.actions_by_name["dock_results"].setChecked(True)

    window.service.ask()
    dialog = window.findChild(SignInDialog)
    dialog.url.setText("https://everhart.example")
    dialog.token.setText("not a real token")
    QTest.qWait(100)
    keep_widget(dialog, output / "desktop-sign-in.png")
    dialog.reject()
    window.commands.show_keys()
    QTest.qWait(100)
    keys = next(d for d in window.findChildren(QDialog) if d.windowTitle() == "Keys")
    keep_widget(keys, output / "desktop-keys.png")
    keys.close()
    window.actions_by_name["dark"].setChecked(True)
    parts.tools.setCurrentWidget(parts.compare)
    parts.compare.choose_a("nlm")
    wait(lambda: captions() == ["wafer_01.tif", "nlm"])
    parts.viewer.state.mark("profile", (QPointF(60, 178), QPointF(330, 178)))
    parts.show_results(parts.profile)
    keep("dark")
    label.painted.undo_stack.setClean()
    window.close()


def keep_widget(widget: QWidget, path: Path) -> None:
    """Keep a picture of a widget; 256 colours are enough, and half of the bytes."""
    from PIL import Image

    widget.grab().save(str(path))
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
