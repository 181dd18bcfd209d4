"""Run and measure: results beside their input, tables as the command line writes them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QListView,
    QWidget,
)

from everhart import io
from everhart.cli import main
from everhart.desktop.backend import Outcome, Request
from everhart.desktop.form import SchemaForm
from everhart.desktop.jobs import Job
from everhart.desktop.library import Entry
from everhart.desktop.local import LocalBackend
from everhart.desktop.marks import Marks, row_of
from everhart.desktop.results import Record, ResultStore
from everhart.desktop.saving import free_name, save_tables
from everhart.desktop.table import SortedTable, TableModel
from everhart.desktop.window import MainWindow
from everhart.desktop.work import Work
from everhart.errors import UsageError
from everhart.measure.result import Outline
from everhart.micrograph import Micrograph
from everhart.operations import OPERATIONS


def test_a_form_for_every_operation(qtbot):
    for operation in OPERATIONS.values():
        form = SchemaForm(operation.parameters.model_json_schema())
        qtbot.addWidget(form)
        assert form.values() == {}  # defaults are left to the operation
        operation.check(form.values())


def test_what_is_typed_reaches_the_operation(qtbot):
    operation = OPERATIONS["measure-holes"]
    form = SchemaForm(operation.parameters.model_json_schema())
    qtbot.addWidget(form)
    polarity, radius = form.widget("polarity"), form.widget("radius_px")
    assert isinstance(polarity, QComboBox)
    assert isinstance(radius, QLineEdit)
    polarity.setCurrentText("bright")
    qtbot.keyClicks(radius, "20, 40.5")
    checked = operation.check(form.values())
    assert (checked.polarity, checked.radius_px) == ("bright", (20.0, 40.5))
    form.set_values({"radius_px": [1.0, 2.0]})
    assert form.values() == {"radius_px": [1.0, 2.0]}
    radius.setText("many")
    with pytest.raises(UsageError, match="'many' was given"):
        form.values()


def click(qtbot, widget: QWidget) -> None:
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def test_first_time_path_in_six_clicks(window: MainWindow, folder: Path, until, qtbot, tmp_path):
    """Open a noisy image, denoise it, measure the holes, save the table."""
    window.settings.setValue("folder", str(folder))
    clicks = 0
    buttons = {
        name: window.parts.toolbar.widgetForAction(action)
        for name, action in window.actions_by_name.items()
    }

    def choose_in_dialog() -> None:
        nonlocal clicks
        dialog = window.findChild(QFileDialog)
        view = dialog.findChild(QListView, "listView")
        until(lambda: view.model().rowCount(view.rootIndex()) == 3)
        index = next(
            view.model().index(row, 0, view.rootIndex())
            for row in range(3)
            if view.model().index(row, 0, view.rootIndex()).data() == "wafer_2.tif"
        )
        place = view.visualRect(index).center()
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
        click(qtbot, dialog.findChild(QDialogButtonBox).buttons()[0])
        clicks += 2

    QTimer.singleShot(300, choose_in_dialog)
    click(qtbot, buttons["open"])
    clicks += 1
    until(lambda: window.parts.viewer.items)
    click(qtbot, buttons["denoise"])
    clicks += 1
    until(lambda: len(window.parts.viewer.items) == 2)
    noisy, clean = (item.picture.image.pixels for item in window.parts.viewer.items)
    assert clean.std() < noisy.std()
    click(qtbot, buttons["holes"])
    clicks += 1
    until(lambda: window.parts.table.save.isVisible() and window.parts.table.model.rows)
    click(qtbot, window.parts.table.save)
    clicks += 1
    saved = folder / "wafer_2-holes.csv"
    assert window.parts.messages.text.startswith(f"Saved: {saved}")
    assert clicks <= 6

    # The same numbers, to the byte, as the command line's.
    restored = window.parts.viewer.items[1].picture.path
    expected = tmp_path / "wafer_2-holes.csv"
    assert main(["measure", "holes", str(restored), "-o", str(expected)]) == 0
    assert saved.read_bytes() == expected.read_bytes()
    beside = sorted(path.name for path in folder.glob("*.csv"))
    assert beside == sorted(path.name for path in tmp_path.glob("*.csv"))
    # A second time nothing is replaced.
    click(qtbot, window.parts.table.save)
    assert (folder / "wafer_2-holes-2.csv").read_bytes() == saved.read_bytes()


def test_outlines_are_switched_hovered_and_found_in_the_table(shown: MainWindow, until):
    shown.run("measure-holes", {"unit": "nm"})
    until(lambda: shown.parts.viewer.active.marks)
    marks, table = shown.parts.viewer.active.marks, shown.parts.table
    index = next(i for i, o in enumerate(marks.outlines) if o.kind == "edge")
    row = table.model.rows[marks.rows[index]]
    middle = marks.middle(index)
    assert marks.at(middle, 2.0, frozenset()) == index
    assert marks.at(middle, 2.0, frozenset({"edge"})) is None
    assert (middle.x(), middle.y()) == pytest.approx(
        (float(row["x_px"]), float(row["y_px"])), abs=2
    )
    shown.findings._hover(index)
    told = shown.parts.hover.text()
    assert told.startswith(f"hole {row['hole']}, cd {float(row['cd_nm']):.2f} ± ")
    assert told.endswith(" nm")
    shown.findings._pick(index)
    current = table.view.currentIndex()
    assert table.sorted.mapToSource(current).row() == marks.rows[index]
    assert table.switch("edge").isVisible()
    table.switch("edge").click()
    assert shown.parts.viewer.active_pane.hidden == {"edge"}
    pane = shown.parts.viewer.active_pane
    hidden = pane.grab().toImage()
    table.switch("edge").click()
    assert pane.grab().toImage() != hidden
    # Row to outline.
    table.row_chosen.emit(marks.rows[index])
    assert pane.lit == {index}
    assert pane.state.centre == middle
    # A picture for the file, and the measurement is there again after a restart.
    record = shown.work.measurements[shown.parts.viewer.active.picture.path]
    assert "overlay.png" in record.files


def test_rows_of_lines_and_defects():
    line = np.array([[0.0, 0.0], [9.0, 0.0]])
    right, second = (line + np.array([0, off]) for off in (5, 9))
    pair = [Outline(line, "4"), Outline(right, ""), Outline(second, "5")]
    assert row_of("lines", pair, [{"line": "4"}, {"line": "5"}]) == [0, 0, 1]
    circles = [Outline(line, "bridge", closed=True), Outline(line, "break", closed=True)]
    assert row_of("defects", circles, [{"kind": "bridge"}, {"kind": "break"}]) == [0, 1]
    marks = Marks(pair, [0, 0, 1])
    assert marks.at(QPointF(5.3, 4), 1.0, frozenset()) == 1
    assert marks.at(QPointF(2.5, 4), 1.0, frozenset()) is None
    assert marks.of_row(0) == [0, 1]


def test_a_batch_goes_on_after_a_file_that_fails(window, folder: Path, until):
    (folder / "broken.tif").write_bytes(b"")
    window.open_paths([folder])
    until(lambda: window.library.rowCount() == 4)
    window.parts.browser.list.selectAll()
    assert window.parts.run.button.text() == "&Run on 4 images"
    window.run("denoise", {"method": "median"})
    until(lambda: window.work.queue.jobs and window.work.queue.jobs[0].has_ended)
    (job,) = window.work.queue.jobs
    assert (job.state, job.done, job.failed) == ("done", 4, 1)
    assert "0 bytes" in window.parts.messages.text
    assert window.library.rowCount() == 7
    (made,) = window.library.results_of(folder / "wafer_2.tif")
    assert made.record.words == "median"
    assert io.read(made.path).history[-1].operation == "denoise"


def test_a_job_is_cancelled_and_the_next_one_runs(shown: MainWindow, until):
    first = shown.work.run("denoise", {"method": "bm3d"}, shown.targets * 50)
    waiting = shown.work.run("denoise", {"method": "tv"}, shown.targets)
    last = shown.work.run("denoise", {"method": "median"}, shown.targets)
    until(lambda: first.state == "running")
    shown.work.queue.cancel(waiting)
    assert waiting.state == "cancelled"
    shown.parts.jobs.cancel_one()
    until(lambda: last.has_ended)
    assert (first.state, last.state) == ("cancelled", "done")


def test_a_wrong_parameter_and_a_missing_pixel_size_cost_a_sentence(shown, tmp_path, until, wafer):
    shown.run("denoise", {"method": "medain"})
    until(lambda: "did you mean 'median'" in shown.parts.messages.text)
    io.write(Micrograph(wafer.pixels), tmp_path / "plain.tif")
    shown.open_paths([tmp_path / "plain.tif"])
    until(lambda: shown.parts.viewer.items[0].picture.path.name == "plain.tif")
    shown.run("measure-holes", {})
    until(lambda: "plain.tif" in shown.parts.messages.text)
    assert "pixel size" in shown.parts.messages.text
    shown.parts.run.pixel_size.setValue(2.4)
    shown.actions_by_name["holes"].trigger()
    until(lambda: shown.parts.table.model.rows)
    assert "cd_nm" in shown.parts.table.model.columns


def test_results_are_there_after_a_restart(make_window, folder: Path, until):
    first = make_window()
    first.open_paths([folder / "wafer_2.tif"])
    until(lambda: first.parts.viewer.items)
    first.run("denoise", {"method": "median"})
    until(lambda: len(first.parts.viewer.items) == 2)
    first.run("measure-holes", {"unit": "px"})
    until(lambda: first.parts.viewer.active.marks and not first.work.queue.active)
    first.close()
    second = make_window()
    second.reopen()
    until(lambda: second.library.rowCount() == 2)
    (made,) = second.library.results_of(folder / "wafer_2.tif")
    second.parts.browser.select(made.path)
    until(lambda: len(second.parts.viewer.items) == 2 and second.parts.viewer.active.marks)
    assert "median" in second.parts.info.text.toPlainText()  # the history


def test_results_go_to_the_trash_and_images_do_not(
    shown: MainWindow, folder: Path, until, monkeypatch: pytest.MonkeyPatch
):
    trashed: list[str] = []
    monkeypatch.setattr(
        "everhart.desktop.commands.QFile.moveToTrash", lambda name: not trashed.append(name)
    )
    shown.run("denoise", {"method": "median"})
    until(lambda: len(shown.parts.viewer.items) == 2)
    (made,) = shown.library.results_of(folder / "wafer_2.tif")
    shown.actions_by_name["trash"].trigger()
    assert trashed == [str(made.record.folder)]
    until(lambda: len(shown.parts.viewer.items) == 1)
    shown.actions_by_name["trash"].trigger()
    assert "No result is selected" in shown.parts.messages.text
    assert len(trashed) == 1


def test_tables_of_several_images_are_joined(tmp_path: Path):
    records = []
    for number, text in enumerate(("file,hole,cd_nm\na.tif,1,20.5\n", "file,hole\nb.tif,1\n")):
        made = tmp_path / str(number)
        made.mkdir()
        (made / "holes.csv").write_text(text)
        (made / "holes_lattice.csv").write_text(f"file\n{number}\n")
        files = ("holes.csv", "holes_lattice.csv", "outlines.json")
        records.append(Record(made, (), "measure-holes", {}, "", files))
    first, second = save_tables(records, tmp_path / "lot.csv", overwrite=False)
    assert first.read_text() == "file,hole,cd_nm\na.tif,1,20.5\nb.tif,1,\n"
    assert (second.name, second.read_text()) == ("lot_lattice.csv", "file\n0\n1\n")
    with pytest.raises(UsageError, match="exists"):
        save_tables(records, tmp_path / "lot.csv", overwrite=False)
    assert free_name(tmp_path / "lot.csv", records).name == "lot-2.csv"


def test_numbers_are_sorted_as_numbers():
    model = TableModel()
    model.show_rows([{"a": v} for v in ("10", "9.5", "", "-1", "x")])
    table = SortedTable(model)
    table.sort(0, Qt.SortOrder.AscendingOrder)
    shown = [table.index(row, 0).data(Qt.ItemDataRole.ToolTipRole) for row in range(5)]
    assert shown == ["-1", "9.5", "10", "x", ""]


def test_names_that_are_taken_are_not_taken_again(tmp_path: Path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "a-2.csv").touch()
    assert free_name(tmp_path / "a.csv").name == "a-3.csv"


def test_the_program_ends_with_status_0(folder: Path, tmp_path: Path):
    """As a user starts it: in a process of its own, with an image."""
    done = subprocess.run(
        [sys.executable, "-m", "everhart", "desktop", str(folder), "--quit-after-s", "1.5"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_closes_the_window(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "everhart", "desktop", "--quit-after-s", "60"],
        env=_environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # Qt says something of its screen once the window is there
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def test_without_a_screen_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main(["desktop"]) == 2
    assert "There is no screen" in capsys.readouterr().err


def test_neither_torch_nor_the_service_is_needed_for_the_window():
    script = (
        "import sys\n"
        "for name in ('httpx', 'fastapi', 'sqlalchemy', 'dbos', 'pydantic_settings'):\n"
        "    sys.modules[name] = None\n"
        "import everhart.desktop.window, everhart.service.tasks, everhart.service.run_operation\n"
        "sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


def _environment(home: Path) -> dict[str, str]:
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(home))
    return {**os.environ, **homes, "QT_QPA_PLATFORM": "offscreen"}


def test_of_several_images_of_a_result_one_goes_to_the_trash(
    shown: MainWindow, folder: Path, tmp_path: Path, until, monkeypatch: pytest.MonkeyPatch
):
    trashed: list[str] = []
    monkeypatch.setattr(
        "everhart.desktop.commands.QFile.moveToTrash", lambda name: not trashed.append(name)
    )
    source = folder / "wafer_2.tif"
    made = tmp_path / "made"
    made.mkdir()
    names = ("synthetic_0.tif", "synthetic_1.tif")
    for name in names:
        shutil.copy(source, made / name)
    record = Record(made, (source,), "synthesize", {}, "this computer", names)
    for name in names:
        shown.library.add(Entry(made / name, 0, source, record))
    shown.parts.browser.select(made / names[0])
    until(lambda: shown.parts.browser.selected[0].path == made / names[0])
    shown.actions_by_name["trash"].trigger()
    assert trashed == [str(made / names[0])]
    assert [entry.path.name for entry in shown.library.results_of(source)] == [names[1]]


def test_what_is_being_saved_is_saved_when_the_window_is_closed(
    shown: MainWindow, folder: Path, tmp_path: Path, until, monkeypatch: pytest.MonkeyPatch
):
    """And what comes to be at its name after the question is not replaced."""
    go_on = threading.Event()
    shown.saving.submit(go_on.wait, lambda _: None, lambda _: None)
    entry = shown.library.entry(folder / "wafer_2.tif")
    assert entry is not None
    for name in ("taken.tif", "saved.tif"):
        answer = (str(tmp_path / name), "")
        monkeypatch.setattr(
            "everhart.desktop.commands.QFileDialog.getSaveFileName",
            lambda *_, answer=answer: answer,
        )
        shown.commands.save_entry(entry)
    (tmp_path / "taken.tif").write_text("of somebody else")
    shown.close()
    go_on.set()
    until(lambda: (tmp_path / "saved.tif").exists())
    assert (io.read(tmp_path / "saved.tif").pixels == io.read(entry.path).pixels).all()
    assert (tmp_path / "taken.tif").read_text() == "of somebody else"


def test_a_record_that_cannot_be_written_costs_a_sentence(tmp_path: Path, qapp):
    """As on a full disk: the folder of the outcome is not there."""
    backend = LocalBackend(tmp_path)
    work = Work(ResultStore(tmp_path), backend)
    said: list[str] = []
    work.failed.connect(said.append)
    image = tmp_path / "a.tif"
    job = Job(1, Request("denoise", {}, (image,)), backend)
    work.queue.came.emit(job, Outcome((image,), tmp_path / "gone", ("restored.tif",)))
    assert len(said) == 1
    assert "does not exist" in said[0]
    backend.close()
