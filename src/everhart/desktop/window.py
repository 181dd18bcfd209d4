"""The window: what is in it, and what its parts tell each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PySide6.QtCore import QSettings, QStandardPaths
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QMainWindow
from typing_extensions import override

from everhart.desktop.actions import ActionSpec, add_actions
from everhart.desktop.background import Background
from everhart.desktop.commands import Commands
from everhart.desktop.composer import Composer, Wanted
from everhart.desktop.jobs import Job
from everhart.desktop.layout import Layout
from everhart.desktop.library import Entry, Library
from everhart.desktop.local import LocalBackend
from everhart.desktop.marks import Marks, read_outlines, row_of
from everhart.desktop.metrics_rows import Metrics, metrics_of
from everhart.desktop.opening import Opened, find_images
from everhart.desktop.reading import Reader
from everhart.desktop.results import Record, ResultStore
from everhart.desktop.run_panel import methods_of
from everhart.desktop.service import ServiceMenu
from everhart.desktop.table import read_rows
from everhart.desktop.thumbnails import Thumbnails
from everhart.desktop.viewer import Item
from everhart.desktop.work import Work
from everhart.operations.measurements import PREFIX

__all__ = ["MainWindow"]


class MainWindow(QMainWindow):
    """The window of the client.

    Parameters
    ----------
    settings
        What is remembered; that of the user if None.
    results
        Folder of results; that of the user if None.
    """

    def __init__(self, settings: QSettings | None = None, results: Path | None = None) -> None:
        super().__init__()
        self.setWindowTitle("Everhart")
        self.setAcceptDrops(True)
        self.settings = settings or QSettings()
        data = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppDataLocation)
        self._scratch = TemporaryDirectory(prefix="everhart-", ignore_cleanup_errors=True)
        scratch = Path(self._scratch.name)
        self.background = Background(3, self)
        self._loading = Background(1, self)
        self.reader = Reader(scratch)
        self.thumbnails = Thumbnails(self.reader.thumbnail, self)
        self.library = Library(self)
        self.local = LocalBackend(scratch)
        self.work = Work(ResultStore(results or Path(data) / "results"), self.local, self)
        self.composer = Composer(self.reader, self._loading, self)
        self.parts = Layout(
            self, self.library, self.thumbnails, self.work, self.reader, self.background
        )
        self.commands = Commands(self)
        self.service = ServiceMenu(self)
        self.specs: list[ActionSpec] = [
            *self.commands.specs(),
            *self.service.specs(),
            *self.commands.help_specs(),
        ]
        self.actions_by_name: dict[str, QAction] = {}
        self.actions_by_name.update(add_actions(self, self.specs))
        self.parts.add_toolbar(self, self.actions_by_name)
        self._frame = 0
        self._metrics: Metrics | None = None
        self._plotted: Metrics | None = None
        self._asked: list[Job] = []
        self._metric_images: dict[str, Path] = {}
        self._table_records: list[Record] = []
        self.report: Path | None = None
        """The report of the last comparison."""
        self._connect()
        self.show_operations()
        self._restore()
        self.background.submit(self.reader.warm, lambda _: None, self.say)

    # -- opening --------------------------------------------------------------------------
    def open_paths(self, paths: Sequence[Path]) -> None:
        """Open files and folders."""

        def work() -> tuple[Opened, list[Entry]]:
            found = find_images(paths)
            return found, self.work.earlier(entry.path for entry in found.entries)

        def done(found: tuple[Opened, list[Entry]]) -> None:
            self._take_opened(paths, *found)

        self.background.submit(work, done, self.say)

    def _take_opened(self, paths: Sequence[Path], found: Opened, earlier: list[Entry]) -> None:
        for fault in found.faults:
            self.say(fault)
        if not found.entries:
            return
        self.thumbnails.forget()
        before = [] if found.is_folder else list(self.library.entries)
        self.library.replace([*before, *found.entries, *earlier])
        self.settings.setValue("opened", [str(path) for path in paths])
        self.parts.browser.select(found.entries[0].path)
        self.setWindowTitle(f"{paths[0].name} - Everhart")

    # -- showing --------------------------------------------------------------------------
    @property
    def targets(self) -> list[Path]:
        """The files that operations are meant for: those selected, or the one with the focus."""
        selected = [entry.path for entry in self.parts.browser.selected]
        active = self.parts.viewer.active
        shown = [item.picture.path for item in self.parts.viewer.items]
        if len(selected) > 1 or active is None or active.is_residual:
            return selected
        # What is selected and could not be read is not shown: the image before is not meant.
        return [active.picture.path] if not selected or selected[0] in shown else selected

    @property
    def base(self) -> Entry | None:
        """The image that others are compared with."""
        selected = self.parts.browser.selected
        if not selected:
            return None
        return self.library.entry(selected[0].family) or selected[0]

    def compose(self) -> None:
        """Show what is selected, with what was chosen to be beside it."""
        selected = self.parts.browser.selected
        base = self.base
        if base is None:
            return
        panel = self.parts.compare
        shown = {base.path: Wanted(base.path, base.name, self._frame)}
        for method in panel.methods:
            entry = self._result(base, method)
            if entry is not None:
                shown.setdefault(entry.path, Wanted(entry.path, entry.name))
        for entry in selected[:6]:
            frame = self._frame if entry is base else 0
            shown.setdefault(entry.path, Wanted(entry.path, entry.name, frame))
        if panel.reference_path is not None:
            words = f"reference: {panel.reference_path.name}"
            shown.setdefault(panel.reference_path, Wanted(panel.reference_path, words))
        active = list(shown).index(selected[0].path)
        self.composer.show(list(shown.values()), active, residual=panel.residual.isChecked())

    def _result(self, base: Entry, method: str) -> Entry | None:
        """Return the image that a method made of one, None if there is none."""
        for entry in reversed(self.library.results_of(base.path)):
            record = entry.record
            if record is not None and record.operation == "denoise" and record.words == method:
                return entry
        return None

    def _ask_for_methods(self, base: Entry) -> None:
        """Run what is to be compared and is not there; only for the image that is looked at."""
        for job in self._asked:
            if job.request.images != (base.path,):
                self.work.queue.cancel(job)
        self._asked = [job for job in self._asked if not job.has_ended]
        for method in self.parts.compare.methods:
            parameters = {"method": method}
            is_there = self._result(base, method) is not None
            if not is_there and not self.work.is_running("denoise", parameters, base.path):
                self._asked.append(self.work.run("denoise", parameters, [base.path]))

    def _take_composed(self, items: list[Item], active: int) -> None:
        for item in items:
            record = self.work.measurements.get(item.picture.path)
            if record is not None and not item.is_residual:
                item.marks = self._marks(record)
        if len(items) > active and items[active].is_residual:
            active += 1
        self.parts.viewer.show_items(items, active)
        first = items[0].picture
        self.parts.show_frames(first.frames, first.frame)
        base = self.base
        if base is not None and first.path == base.path:
            self._ask_for_methods(base)
        for warning in first.warnings:
            self.say(f"{first.path.name}: {warning}", "warning")

    def _take_frame(self, number: int) -> None:
        self._frame = number - 1
        self.compose()

    def _choose(self, entries: list[Entry]) -> None:
        self._frame = 0
        self.parts.run.tell_selection(len(entries))
        self.compose()

    def _tell_active(self) -> None:
        """Show what is known of the image with the focus."""
        item = self.parts.viewer.active
        self.parts.contrast.show_rendering(None if item is None else item.rendering)
        self.parts.info.show_picture(None if item is None else item.picture)
        self._draw_profile()
        if item is not None:
            self._show_measurement(item.picture.path)
            if not item.is_residual:
                self.parts.label.show_picture(item.picture, item.rendering)

    def _draw_profile(self) -> None:
        viewer = self.parts.viewer
        self.parts.profile.show_profile(viewer.items, viewer.state.profile)

    # -- running --------------------------------------------------------------------------
    def run(
        self,
        operation: str,
        parameters: dict[str, Any] | None = None,
        roles: dict[str, Path] | None = None,
        pixel_size_nm: float | None = None,
    ) -> None:
        """Run an operation on what is selected."""
        targets = self.targets
        if not targets:
            self.say("No image is selected: open one, or choose it in the list.")
            return
        values = self.parts.run.values_of(operation) if parameters is None else parameters
        self.work.run(operation, values, targets, roles, pixel_size_nm)
        if len(targets) > 1:
            self.parts.show_results(self.parts.jobs)

    def show_operations(self) -> None:
        """Offer what can be run where jobs run now."""

        def done(found: Any) -> None:
            self.parts.run.show_operations(found)
            self.parts.compare.show_methods(methods_of(found))

        self.background.submit(self.work.backend.operations, done, self.say)

    def run_metrics(self) -> None:
        """Run ``compare`` with the chosen methods on what is selected."""
        panel = self.parts.compare
        base = self.base
        selected = [entry.family for entry in self.parts.browser.selected]
        if base is None:
            self.say("No image is selected: open one, or choose it in the list.")
            return
        parameters = {"methods": panel.methods} if panel.methods else {}
        roles = {} if panel.reference_path is None else {"reference": panel.reference_path}
        self.work.run("compare", parameters, dict.fromkeys(selected), roles)
        self.parts.show_results(self.parts.jobs)

    def _take_made(self, job: Any, entry: Entry) -> None:
        self.library.add(entry)
        several = job.total > 1 and job.request.operation != "align"
        if several or job.request.operation == "synthesize":
            return
        # Not while somebody looks at another image.
        base = self.base
        if base is None or base.path in (entry.family, entry.path):
            chosen = self.parts.compare.methods
            if entry.record is not None and entry.record.words in chosen:
                self.compose()
            else:
                self.parts.browser.select(entry.path)

    def _open_made(self, path: Path) -> None:
        self.parts.views.setCurrentWidget(self.parts.images)
        self.parts.browser.select(path)

    def _take_measured(self, _: Any, record: Record) -> None:
        path = record.sources[0]
        viewer = self.parts.viewer
        for item in viewer.items:
            if item.picture.path == path and not item.is_residual:
                viewer.set_marks(item, self._marks(record))
        if viewer.active is not None and viewer.active.picture.path == path:
            self._show_measurement(path)
            self.parts.show_results(self.parts.table)

    def _take_told(self, _: Any, record: Record) -> None:
        if record.operation == "audit":
            self.report = record.folder / "report.html"
            return
        if record.operation == "compare":
            self._metrics = metrics_of(record.summary, [path.name for path in record.sources])
            self._metric_images = {path.name: path for path in record.sources}
            self._table_records = [record]
            self.parts.plot.show_metrics(self._metrics)
            self._plotted = self._metrics
            worst = self._metrics.worst_by_image()
            self.library.set_metrics(
                {path: worst[name] for name, path in self._metric_images.items() if name in worst}
            )
            self.parts.table.show_table(
                "Metrics by compare; click a row to see it",
                self._metrics.rows,
                columns=self._metrics.columns,
                can_save=False,
                sort_by=self._metrics.headline,
                descending=self._metrics.worst_is_high,
            )
        else:
            rows = [{"figure": k, "value": str(v)} for k, v in record.summary.items()]
            self._metrics, self._table_records = None, [record]
            title = f"{record.words.capitalize()} of {record.sources[0].name}"
            self.parts.table.show_table(title, rows, can_save=False)
        self.parts.show_results(self.parts.table)
        if "report.html" in record.files:
            self.report = record.folder / "report.html"

    def _end(self, job: Any) -> None:
        if job.state == "done":
            failed = f", {job.failed} failed" if job.failed else ""
            self.statusBar().showMessage(f"{job.words}: {job.done} of {job.total}{failed}", 8000)

    # -- measurements ---------------------------------------------------------------------
    def _marks(self, record: Record) -> Marks:
        kind = record.operation.removeprefix(PREFIX)
        outlines = read_outlines(record.folder / "outlines.json")
        return Marks(outlines, row_of(kind, outlines, read_rows(record.folder / f"{kind}.csv")))

    def _show_measurement(self, path: Path) -> None:
        record = self.work.measurements.get(path)
        if record is None:
            return
        self._metrics, self._table_records = None, [record]
        kind = record.operation.removeprefix(PREFIX)
        rows = read_rows(record.folder / f"{kind}.csv")
        item = self.parts.viewer.active
        marks = None if item is None else item.marks
        self.parts.table.show_table(
            _title(record, path), rows, kinds=() if marks is None else marks.kinds
        )

    def table_records(self) -> list[Record]:
        """Return the measurements whose tables are saved: of all selected images, of one kind."""
        if not self._table_records:
            return []
        kind = self._table_records[0].operation
        several = [self.work.measurements.get(path) for path in self.targets]
        records = [record for record in several if record is not None and record.operation == kind]
        return records if len(records) > 1 else self._table_records

    def _take_row(self, row: int) -> None:
        viewer = self.parts.viewer
        if self._metrics is not None:
            self._show_row(self._metrics.rows[row])
        elif viewer.active is not None and viewer.active.marks is not None:
            viewer.light(frozenset(viewer.active.marks.of_row(row)), look=True)

    def _take_point(self, row: int) -> None:
        if self._plotted is not None:
            self._show_row(self._plotted.rows[row])

    def _show_row(self, told: Mapping[str, str]) -> None:
        """Show the image, restored by the method, that a row of metrics is about."""
        path = self._metric_images.get(told["image"])
        if path is not None:
            self.parts.compare.choose_a(told["method"])
            self.parts.browser.select(path)

    def _hover(self, index: int | None) -> None:
        item = self.parts.viewer.active
        if index is None or item is None or item.marks is None:
            self.parts.hover.setText("")
            return
        self.parts.hover.setText(self._words_of(item.marks, index))

    def _pick(self, index: int | None) -> None:
        item = self.parts.viewer.active
        if index is None or item is None or item.marks is None:
            return
        row = item.marks.rows[index]
        if row is not None:
            self.parts.show_results(self.parts.table)
            self.parts.table.mark_row(row)

    def _words_of(self, marks: Marks, index: int) -> str:
        """Say number, size and uncertainty of what is under the mouse."""
        outline, row = marks.outlines[index], marks.rows[index]
        rows = self.parts.table.model.rows
        if row is None or row >= len(rows):
            return outline.label or outline.kind
        return object_words(rows[row])

    def _tell_cursor(self) -> None:
        self.parts.tell_cursor()

    # -- manners --------------------------------------------------------------------------
    def say(self, text: str, kind: str = "error") -> None:
        """Show a sentence above the images."""
        self.parts.messages.say(text, kind)

    def _connect(self) -> None:
        parts, work = self.parts, self.work
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self.commands.colour_plots)
        self.commands.colour_plots()
        parts.browser.chosen.connect(self._choose)
        parts.browser.save_wanted.connect(self.commands.save_entry)
        parts.viewer.active_changed.connect(self._tell_active)
        parts.viewer.hovered.connect(self._hover)
        parts.viewer.picked.connect(self._pick)
        parts.viewer.state.cursor_moved.connect(self._tell_cursor)
        parts.viewer.state.marked.connect(self._draw_profile)
        parts.contrast.levels_changed.connect(lambda b, w: parts.viewer.set_levels((b, w)))
        parts.frame.valueChanged.connect(self._take_frame)
        parts.run.run_wanted.connect(self.run)
        parts.run.refused.connect(self.say)
        parts.compare.changed.connect(self.compose)
        parts.compare.mode_changed.connect(parts.viewer.set_mode)
        parts.compare.metrics_wanted.connect(self.run_metrics)
        parts.table.row_chosen.connect(self._take_row)
        parts.plot.row_chosen.connect(self._take_point)
        parts.table.hidden_changed.connect(parts.viewer.hide_kinds)
        parts.table.save_wanted.connect(self.commands.save_table)
        parts.label.said.connect(self.say)
        parts.synthesize.said.connect(self.say)
        parts.synthesize.open_wanted.connect(self._open_made)
        parts.table.save_as_wanted.connect(self.commands.save_table_as)
        self.composer.composed.connect(self._take_composed)
        self.composer.failed.connect(self.say)
        work.made.connect(self._take_made)
        work.measured.connect(self._take_measured)
        work.told.connect(self._take_told)
        work.failed.connect(self.say)
        work.ended.connect(self._end)

    def _restore(self) -> None:
        geometry = self.settings.value("geometry")
        if geometry is None or not self.restoreGeometry(geometry):
            self.resize(1280, 800)
        state = self.settings.value("state")
        if state is not None:
            self.restoreState(state)

    def reopen(self) -> None:
        """Open what was open when the window was closed last; what is gone is left out."""
        value = self.settings.value("opened") or []
        names = [value] if isinstance(value, str) else list(value)
        paths = [Path(name) for name in names if Path(name).exists()]
        if paths:
            self.open_paths(paths)

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        files = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if files:
            event.acceptProposedAction()
            self.open_paths([Path(name) for name in files])

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.commands.may_close():
            event.ignore()
            return
        self.settings.setValue("geometry", self.saveGeometry())
        self.settings.setValue("state", self.saveState())
        self.settings.sync()
        self.work.queue.shut()
        self.service.close()
        self.thumbnails.close()
        self.background.close()
        self._loading.close()
        self.local.close()
        self.reader.close()
        self._scratch.cleanup()
        super().closeEvent(event)


def object_words(row: Mapping[str, str]) -> str:
    """Say what a row of a table is about: its number, size and uncertainty."""
    names = list(row)
    key = next((name for name in names if name != "file"), "")
    words = [f"{key} {row[key]}"]
    for name in names:
        start, _, unit = name.rpartition("_")
        sd = f"{start}_sd_{unit}"
        if unit in ("nm", "px") and sd in row and start not in ("x", "y") and row[name]:
            value, spread = float(row[name]), float(row[sd] or "nan")
            words.append(f"{start.replace('_', ' ')} {value:.2f} ± {spread:.2g} {unit}")
        if len(words) == 3:
            break
    return ", ".join(words)


def _title(record: Record, path: Path) -> str:
    kind = record.operation.removeprefix(PREFIX)
    summary = record.summary
    words = f"{kind.capitalize()} of {path.name}"
    for unit in ("nm", "px"):
        for name in (f"mean_cd_{unit}", f"cd_{unit}", f"mean_diameter_{unit}"):
            if isinstance(summary.get(name), (int, float)):
                sd = summary.get(f"{name.removesuffix(unit)}sd_{unit}")
                spread = f" ± {sd:.2g}" if isinstance(sd, (int, float)) else ""
                label = name.removesuffix(f"_{unit}").replace("_", " ").replace("cd", "CD")
                return f"{words}: {label} {summary[name]:.2f}{spread} {unit}"
    return words
