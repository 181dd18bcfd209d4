"""The window: what is in it, and what its parts tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from everhart.desktop.findings import Findings
from everhart.desktop.jobs import Job
from everhart.desktop.layout import Layout
from everhart.desktop.library import Entry, Library
from everhart.desktop.local import LocalBackend
from everhart.desktop.opening import Opened, find_images
from everhart.desktop.reading import Reader
from everhart.desktop.results import ResultStore
from everhart.desktop.run_panel import methods_of
from everhart.desktop.service import ServiceMenu
from everhart.desktop.thumbnails import Thumbnails
from everhart.desktop.viewer import Item
from everhart.desktop.work import Work

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
        self.saving = Background(1, self)
        self.reader = Reader(scratch)
        self.thumbnails = Thumbnails(self.reader.thumbnail, self)
        self.library = Library(self)
        self.local = LocalBackend(scratch)
        self.work = Work(ResultStore(results or Path(data) / "results"), self.local, self)
        self.composer = Composer(self.reader, self._loading, self)
        self.parts = Layout(
            self, self.library, self.thumbnails, self.work, self.reader, self.background
        )
        self.findings = Findings(self)
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
        self._asked: list[Job] = []
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

    @property
    def given_pixel_size_nm(self) -> float | None:
        """The pixel size that was given in place of what files say."""
        return self.parts.run.pixel_size.value() or None

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
        wanted = list(shown.values())
        size = self.given_pixel_size_nm
        if size is not None:
            # In every caption, so that it is not forgotten for images of another one.
            told = f"{size:g} nm/px given"
            wanted = [
                replace(one, caption=f"{one.caption} ({told})", pixel_size_nm=size)
                for one in wanted
            ]
        self.composer.show(wanted, active, residual=panel.residual.isChecked())

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
                size = self.given_pixel_size_nm
                job = self.work.run("denoise", parameters, [base.path], pixel_size_nm=size)
                self._asked.append(job)

    def _take_composed(self, items: list[Item], active: int) -> None:
        for item in items:
            if not item.is_residual:
                item.marks = self.findings.marks_of(item.picture.path)
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
            self.findings.tell_active()
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
    ) -> None:
        """Run an operation on what is selected."""
        targets = self.targets
        if not targets:
            self.say("No image is selected: open one, or choose it in the list.")
            return
        values = self.parts.run.values_of(operation) if parameters is None else parameters
        self.work.run(operation, values, targets, roles, self.given_pixel_size_nm)
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
        images = dict.fromkeys(selected)
        self.work.run("compare", parameters, images, roles, self.given_pixel_size_nm)
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

    def _end(self, job: Any) -> None:
        if job.state == "done":
            failed = f", {job.failed} failed" if job.failed else ""
            self.statusBar().showMessage(f"{job.words}: {job.done} of {job.total}{failed}", 8000)

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
        parts.viewer.state.cursor_moved.connect(parts.tell_cursor)
        parts.viewer.state.marked.connect(self._draw_profile)
        parts.contrast.levels_changed.connect(lambda b, w: parts.viewer.set_levels((b, w)))
        parts.frame.valueChanged.connect(self._take_frame)
        parts.run.run_wanted.connect(self.run)
        parts.run.refused.connect(self.say)
        parts.run.pixel_size.valueChanged.connect(lambda *_: self.compose())
        parts.compare.changed.connect(self.compose)
        parts.compare.mode_changed.connect(parts.viewer.set_mode)
        parts.compare.metrics_wanted.connect(self.run_metrics)
        parts.table.hidden_changed.connect(parts.viewer.hide_kinds)
        parts.table.save_wanted.connect(self.commands.save_table)
        parts.label.said.connect(self.say)
        parts.synthesize.said.connect(self.say)
        parts.synthesize.open_wanted.connect(self._open_made)
        parts.table.save_as_wanted.connect(self.commands.save_table_as)
        self.composer.composed.connect(self._take_composed)
        self.composer.failed.connect(self.say)
        work.made.connect(self._take_made)
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
        self.saving.close(finish=True)
        self.local.close()
        self.reader.close()
        self._scratch.cleanup()
        super().closeEvent(event)
