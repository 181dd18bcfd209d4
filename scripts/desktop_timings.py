"""Time what a person waits for in the window: click to picture, pan and zoom, 1,000 thumbnails.

    python scripts/desktop_timings.py [--screen offscreen]

Frames are drawn by the processor, as Qt does without a screen. CPU time is that of this process
and of the children that decode.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main() -> None:
    """Print the timings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screen", default="offscreen", help="platform of Qt")
    os.environ["QT_QPA_PLATFORM"] = parser.parse_args().screen
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from everhart.desktop.application import make_application
    from everhart.desktop.garbage import collected_here

    make_application()
    with tempfile.TemporaryDirectory() as folder, collected_here():
        measure(Path(folder))


def cpu_s() -> float:
    """Return the CPU time of this process and its children, in s."""
    import psutil

    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children())]
    return sum(t.user + t.system for t in times)


def measure(folder: Path) -> None:
    """Open a window and time it."""
    from PySide6.QtCore import QPointF, QSettings
    from PySide6.QtTest import QTest

    from everhart import io
    from everhart.desktop.application import make_application
    from everhart.desktop.window import MainWindow
    from everhart.micrograph import Micrograph

    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir()
    for number in range(5):
        pixels = rng.normal(30000, 5000, (2048, 3072)).clip(0, 65535).astype(np.uint16)
        io.write(Micrograph(pixels, 1.2), images / f"large_{number}.tif")
    many = folder / "many"
    many.mkdir()
    small = rng.integers(0, 255, (512, 512), dtype=np.uint8)
    first = io.write(Micrograph(small), many / "0000.tif").read_bytes()
    for number in range(1, 1000):
        (many / f"{number:04d}.tif").write_bytes(first)

    app = make_application()
    window = MainWindow(
        QSettings(str(folder / "s.ini"), QSettings.Format.IniFormat), folder / "results"
    )
    window.resize(1280, 800)
    window.show()

    def wait(until: Callable[[], object]) -> float:
        started = time.perf_counter()
        while not until():
            app.processEvents()
            time.sleep(0.001)
        return time.perf_counter() - started

    def shown() -> str:
        items = window.parts.viewer.items
        return items[0].picture.path.name if items else ""

    window.open_paths([images])
    wait(lambda: shown() == "large_0.tif")
    QTest.qWait(1500)  # thumbnails

    print("3072 x 2048, 16 bit: click to picture, s (asked: at most 0.5)")
    for number in range(1, 5):
        index = window.parts.browser.shown.index_of(images / f"large_{number}.tif")
        cpu = cpu_s()
        started = time.perf_counter()
        window.parts.browser.list.setCurrentIndex(index)
        wait(lambda number=number: shown() == f"large_{number}.tif")
        window.parts.viewer.active_pane.repaint()
        wall = time.perf_counter() - started
        print(f"  {wall:.3f} wall, {cpu_s() - cpu:.3f} CPU")

    pane = window.parts.viewer.active_pane
    for name, step in (
        ("pan", lambda k: pane.state.pan(QPointF(7 * np.cos(k / 9), 5))),
        ("zoom", lambda k: pane.state.zoom_by(1.06 if k < 60 else 1 / 1.06, QPointF(1500, 1000))),
    ):
        walls, cpus = [], []
        for k in range(120):
            cpu, started = time.process_time(), time.perf_counter()
            step(k)
            pane.repaint()
            app.processEvents()
            walls.append(time.perf_counter() - started)
            cpus.append(time.process_time() - cpu)
        told = "  ".join(
            f"{word} median {1e3 * np.median(values):.1f}, worst {1e3 * max(values):.1f}"
            for word, values in (("wall", walls), ("CPU", cpus))
        )
        print(f"{name}, ms a frame of 120 (asked: none over 50): {told}")

    cpu, started = cpu_s(), time.perf_counter()
    window.open_paths([many])
    wait(lambda: window.library.rowCount() == 1000 and shown() == "0000.tif")
    print(
        f"1,000 images: {time.perf_counter() - started:.3f} s to the first picture, "
        f"{cpu_s() - cpu:.3f} s CPU"
    )
    bar = window.parts.browser.list.verticalScrollBar()
    walls, cpus = [], []
    for k in range(100):
        cpu, started = time.process_time(), time.perf_counter()
        bar.setValue(bar.maximum() * k // 99)
        window.parts.browser.list.viewport().repaint()
        app.processEvents()
        walls.append(time.perf_counter() - started)
        cpus.append(time.process_time() - cpu)
    print(
        f"scrolling through them, ms a frame: wall median {1e3 * np.median(walls):.1f}, "
        f"worst {1e3 * max(walls):.1f}  CPU median {1e3 * np.median(cpus):.1f}, "
        f"worst {1e3 * max(cpus):.1f}"
    )
    window.close()


if __name__ == "__main__":
    main()
