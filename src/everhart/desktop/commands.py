"""What the menus do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QBuffer, QFile, QIODevice, QStandardPaths, QUrl
from PySide6.QtGui import QDesktopServices, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QMessageBox,
    QTextBrowser,
    QVBoxLayout,
)

from everhart.desktop import theme
from everhart.desktop.actions import ActionSpec, help_html, separator
from everhart.desktop.background import sentence
from everhart.desktop.library import Entry
from everhart.desktop.plots import colour_plot
from everhart.desktop.saving import free_name, save_image, save_tables
from everhart.io import readable_suffixes, writable_suffixes
from everhart.io.atomic import write_bytes
from everhart.micrograph import __version__
from everhart.operations.measurements import MEASUREMENTS, PREFIX

if TYPE_CHECKING:
    from everhart.desktop.window import MainWindow

__all__ = ["Commands"]

_TOOLS = {
    "pan": ("&Move", "V", "Drag to move the images"),
    "ruler": ("R&uler", "U", "Drag to measure a distance in nm"),
    "region": ("Re&gion", "G", "Drag to measure a region: size in nm, mean and SD"),
    "profile": ("&Profile", "P", "Drag a line for the profile of all images"),
}


class Commands:
    """The commands of a window.

    Parameters
    ----------
    window
        The window.
    """

    def __init__(self, window: MainWindow) -> None:
        self.window = window

    def specs(self) -> list[ActionSpec]:
        """Return all actions, in the order of the menus."""
        key = QKeySequence.StandardKey
        file, view, run, tools = "&File", "&View", "&Run", "&Tools"
        parts = self.window.parts
        measures = [
            ActionSpec(
                operation.name.removeprefix(PREFIX),
                run,
                operation.name.removeprefix(PREFIX).capitalize(),
                lambda name=operation.name: self.window.run(name),
                f"Ctrl+{number}",
                operation.summary.replace("--reference", "a reference"),
            )
            for number, operation in enumerate(MEASUREMENTS, start=1)
        ]
        dragging = [
            ActionSpec(name, tools, words, self._tool(name), keys, tip, name == "pan")
            for name, (words, keys, tip) in _TOOLS.items()
        ]
        return [
            ActionSpec("open", file, "&Open…", self.open, key.Open, "Open images"),
            ActionSpec(
                "open_folder", file, "Open &folder…", self.open_folder, "Ctrl+Shift+O",
                "Open all images of a folder",
            ),
            separator(file),
            ActionSpec("save", file, "&Save as…", self.save, key.Save, "Save the image"),
            ActionSpec(
                "save_table", file, "Save &table", self.save_table, "Ctrl+E",
                "Save the table as CSV beside the image",
            ),
            ActionSpec(
                "save_table_as", file, "Save t&able as…", self.save_table_as, "Ctrl+Shift+E"
            ),
            ActionSpec(
                "save_view", file, "Save &view as…", self.save_view, "Ctrl+Shift+S",
                "Save the images as they are shown, as PNG",
            ),
            ActionSpec("report", file, "Open &report", self.open_report, "Ctrl+R",
                       "Open the report of compare in the browser"),
            ActionSpec("save_report", file, "Save r&eport as…", self.save_report),
            ActionSpec("trash", file, "Move result to the &trash", self.trash, key.Delete,
                       "Move the selected results to the trash; images that were opened stay"),
            separator(file),
            ActionSpec("quit", file, "&Quit", self.window.close, key.Quit),
            ActionSpec("denoise", run, "&Denoise", lambda: self.window.run("denoise"), "Ctrl+D",
                       "Take the noise out of the selected images"),
            *measures,
            ActionSpec("metrics", run, "&Metrics by compare", self.window.run_metrics, "Ctrl+M",
                       "Run compare on the selected images"),
            separator(run),
            ActionSpec("run", run, "&Run the form", parts.run.run, "Ctrl+Return",
                       "Run the operation of the form on the selected images"),
            ActionSpec("cancel", run, "&Cancel job", parts.jobs.cancel_one, "Ctrl+.",
                       "Stop the selected job, or the one that runs"),
            *dragging,
            separator(tools),
            ActionSpec("undo", tools, "&Undo in labels", parts.label.undo.trigger, key.Undo),
            ActionSpec("redo", tools, "Re&do in labels", parts.label.redo.trigger, key.Redo),
            ActionSpec("save_labels", tools, "Save &labels…", parts.label.ask_to_save,
                       "Ctrl+Alt+S"),
            ActionSpec("next", view, "&Next image", lambda: parts.browser.step(1), "PgDown"),
            ActionSpec("previous", view, "Pre&vious image", lambda: parts.browser.step(-1), "PgUp"),
            ActionSpec("filter", view, "Filter by &name", parts.browser.filter.setFocus, key.Find),
            separator(view),
            ActionSpec("fit", view, "&Fit", parts.viewer.fit, "0", "Show the images whole"),
            ActionSpec("full", view, "&1:1", lambda: parts.viewer.zoom_to(1), "1",
                       "One pixel of the image for one of the screen"),
            ActionSpec("zoom_in", view, "Zoom &in", lambda: parts.viewer.zoom_by(1.5), "+"),
            ActionSpec("zoom_out", view, "Zoom &out", lambda: parts.viewer.zoom_by(1 / 1.5), "-"),
            separator(view),
            ActionSpec("view_images", view, "&Images", self._view("images"), "Alt+1"),
            ActionSpec("view_label", view, "La&bel", self._view("label"), "Alt+2",
                       "Make label images with brush and polygon"),
            ActionSpec("view_synthesize", view, "S&ynthesise", self._view("synthesize"), "Alt+3",
                       "Draw images with a generator, and audit it"),
            separator(view),
            ActionSpec("tiles", view, "Side by side (&tiles)",
                       lambda: parts.compare.choose_mode("tiles"), "T"),
            ActionSpec("flicker", view, "F&licker",
                       lambda: parts.compare.choose_mode("flicker"), "F"),
            ActionSpec("swipe", view, "&Swipe", lambda: parts.compare.choose_mode("swipe"), "S"),
            ActionSpec("residual", view, "&Residual", parts.compare.residual.toggle, "D",
                       "Show the image minus A"),
            separator(view),
            ActionSpec("dock_images", view, "List of ima&ges", self._dock("images"), "F2",
                       is_checked=True),
            ActionSpec("dock_tools", view, "T&ools", self._dock("tools"), "F3", is_checked=True),
            ActionSpec("dock_results", view, "Res&ults", self._dock("results"), "F4",
                       is_checked=True),
            ActionSpec("dark", view, "&Dark", self.set_dark, "Ctrl+Shift+D",
                       "Dark or light colours; the system's choice at first",
                       is_checked=theme.is_dark()),
        ]  # fmt: skip

    def help_specs(self) -> list[ActionSpec]:
        """Return the actions of the last menu."""
        help_ = "&Help"
        return [
            ActionSpec(
                "keys", help_, "&Keys", self.show_keys, QKeySequence.StandardKey.HelpContents,
                "Show all keys",
            ),
            ActionSpec("about", help_, "&About Everhart", self.show_about),
        ]  # fmt: skip

    # -- file -----------------------------------------------------------------------------
    def open(self) -> None:
        """Ask for images and open them."""
        patterns = " ".join(f"*{suffix}" for suffix in readable_suffixes())
        names, _ = QFileDialog.getOpenFileNames(
            self.window, "Open images", self._folder(), f"Micrographs ({patterns});;All files (*)"
        )
        if names:
            self._remember(Path(names[0]).parent)
            self.window.open_paths([Path(name) for name in names])

    def open_folder(self) -> None:
        """Ask for a folder and open it."""
        name = QFileDialog.getExistingDirectory(self.window, "Open a folder", self._folder())
        if name:
            self._remember(Path(name))
            self.window.open_paths([Path(name)])

    def save(self) -> None:
        """Ask for a name and save the image with the focus."""
        selected = self.window.parts.browser.selected
        if len(selected) > 1:
            self.save_several(selected)
            return
        item = self.window.parts.viewer.active
        entry = None if item is None else self.window.library.entry(item.picture.path)
        if entry is None:
            self.window.say("No image has the focus: choose the one to save.")
        else:
            self.save_entry(entry)

    def save_several(self, entries: Sequence[Entry]) -> None:
        """Ask for a folder and save images into it, under names that are free."""
        name = QFileDialog.getExistingDirectory(
            self.window, f"Save {len(entries)} images into a folder", self._folder()
        )
        if not name:
            return

        def work() -> int:
            for entry in entries:
                suffix = entry.path.suffix if entry.path.suffix in writable_suffixes() else ".tif"
                target = free_name(Path(name) / f"{self._origin(entry.path).stem}{suffix}")
                save_image(entry.path, target, overwrite=False)
            return len(entries)

        self.window.saving.submit(
            work,
            lambda count: self.window.say(f"Saved: {count} images in {name}", "done"),
            self.window.say,
        )

    def save_entry(self, entry: Entry) -> None:
        """Ask for a name and save an image of the list."""
        origin = self._origin(entry.path)
        words = "" if entry.record is None else f"-{entry.record.words.replace(' ', '-')}"
        suffix = entry.path.suffix if entry.path.suffix in writable_suffixes() else ".tif"
        wanted = free_name(origin.with_name(f"{origin.stem}{words}{suffix}"))
        patterns = " ".join(f"*{suffix}" for suffix in writable_suffixes())
        # The dialog asks before an existing file is chosen.
        name, _ = QFileDialog.getSaveFileName(
            self.window, "Save the image", str(wanted), f"Images ({patterns})"
        )
        if name:
            target = Path(name)
            is_asked = target.exists()  # what comes there from now on was not asked about
            self.window.saving.submit(
                lambda: save_image(entry.path, target, overwrite=is_asked),
                lambda path: self.window.say(f"Saved: {path}", "done"),
                self.window.say,
            )

    def save_table(self) -> None:
        """Save the table beside the image that was opened, under a name that is free."""
        records = self.window.findings.records_to_save()
        if not records:
            self.window.say("There is no table of a measurement: measure something first.")
            return
        wanted = self._table_name()
        try:
            paths = save_tables(records, free_name(wanted, records), overwrite=False)
        except Exception as error:
            self.window.say(f"{sentence(error)} Use Save CSV as… for another folder.")
            return
        self.window.say(f"Saved: {', '.join(str(path) for path in paths)}", "done")

    def save_table_as(self) -> None:
        """Ask for a name and save the table."""
        records = self.window.findings.records_to_save()
        if not records:
            self.window.say("There is no table of a measurement: measure something first.")
            return
        wanted = free_name(self._table_name(), records)
        name, _ = QFileDialog.getSaveFileName(
            self.window, "Save the table", str(wanted), "Tables (*.csv)"
        )
        if not name:
            return
        try:
            paths = save_tables(records, Path(name), overwrite=Path(name).exists())
        except Exception as error:
            self.window.say(sentence(error))
            return
        self.window.say(f"Saved: {', '.join(str(path) for path in paths)}", "done")

    def save_view(self) -> None:
        """Ask for a name and save what is shown as a picture."""
        viewer = self.window.parts.viewer
        if viewer.active is None:
            self.window.say("Nothing is shown: open an image first.")
            return
        wanted = free_name(self._origin(viewer.active.picture.path).with_suffix(".view.png"))
        name, _ = QFileDialog.getSaveFileName(
            self.window, "Save the view", str(wanted), "Pictures (*.png)"
        )
        if not name:
            return
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        viewer.grab().toImage().save(buffer, b"PNG")
        try:
            write_bytes(name, buffer.data().data(), overwrite=Path(name).exists())
        except Exception as error:
            self.window.say(sentence(error))
            return
        self.window.say(f"Saved: {name}", "done")

    def trash(self) -> None:
        """Move the selected results to the trash."""
        entries = [e for e in self.window.parts.browser.selected if e.record is not None]
        if not entries:
            self.window.say("No result is selected: images that were opened are not deleted here.")
            return
        for entry in entries:
            # One of several images of a result goes alone.
            is_alone = entry.record is not None and len(entry.record.images) == 1
            gone = entry.path.parent if is_alone else entry.path
            is_moved: Any = QFile.moveToTrash(str(gone))  # its stub says a pair
            if not is_moved:
                self.window.say(f"{gone} cannot be moved to the trash.")
                continue
            self.window.library.remove(entry.path)
        self.window.parts.browser.select(self._origin(entries[0].family))

    def open_report(self) -> None:
        """Open the report of the last comparison in the browser."""
        report = self._report()
        if report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(report)))

    def save_report(self) -> None:
        """Ask for a name and save the report of the last comparison."""
        report = self._report()
        if report is None:
            return
        name, _ = QFileDialog.getSaveFileName(
            self.window, "Save the report", str(Path(self._folder()) / "report.html"),
            "Reports (*.html)",
        )  # fmt: skip
        if name:
            try:
                write_bytes(name, report.read_bytes(), overwrite=Path(name).exists())
            except Exception as error:
                self.window.say(sentence(error))
                return
            self.window.say(f"Saved: {name}", "done")

    def _report(self) -> Path | None:
        report = self.window.findings.report
        if report is None:
            self.window.say("There is no report yet: run compare first (Ctrl+M).")
        return report

    def _table_name(self) -> Path:
        records = self.window.findings.records_to_save()
        kind = records[0].operation.removeprefix(PREFIX)
        origin = self._origin(records[0].sources[0])
        stem = kind if len(records) > 1 else f"{origin.stem}-{kind}"
        return origin.with_name(f"{stem}.csv")

    def _origin(self, path: Path) -> Path:
        """Return the file that was opened and from which another one came."""
        entry = self.window.library.entry(path)
        while entry is not None and entry.source is not None:
            path = entry.source
            entry = self.window.library.entry(path)
        return path

    def _folder(self) -> str:
        home = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.PicturesLocation)
        return str(self.window.settings.value("folder") or home)

    def _remember(self, folder: Path) -> None:
        self.window.settings.setValue("folder", str(folder))

    # -- view and tools -------------------------------------------------------------------
    def _tool(self, name: str) -> Callable[[bool], None]:
        def choose(is_on: bool) -> None:
            actions = self.window.actions_by_name
            if is_on:
                self.window.parts.viewer.set_tool(name)
                for other in _TOOLS:
                    if other != name:
                        actions[other].setChecked(False)
                if name == "profile":
                    self.window.parts.show_results(self.window.parts.profile)
            elif not any(actions[tool].isChecked() for tool in _TOOLS):
                actions["pan"].setChecked(True)

        return choose

    def _view(self, name: str) -> Callable[[], None]:
        parts = self.window.parts
        return lambda: parts.views.setCurrentWidget(getattr(parts, name))

    def _dock(self, name: str) -> Callable[[bool], None]:
        return lambda is_on: self.window.parts.docks[name].setVisible(is_on)

    def set_dark(self, is_dark: bool) -> None:
        """Take dark or light colours."""
        theme.set_dark(is_dark)
        self.window.settings.setValue("dark", is_dark)
        self.colour_plots()

    def colour_plots(self) -> None:
        """Give the plot the colours of the window."""
        colours = ("#1e1e1e", "#d8d8d8") if theme.is_dark() else ("#ffffff", "#202020")
        for panel in (self.window.parts.profile, self.window.parts.plot):
            colour_plot(panel.plot, *colours)

    def may_close(self) -> bool:
        """Ask before jobs are stopped."""
        if self.window.parts.label.has_unsaved:
            answer = QMessageBox.question(
                self.window, "Everhart", "There are labels that were not saved. Quit all the same?"
            )
            if answer != QMessageBox.StandardButton.Yes:
                return False
        active = self.window.work.queue.active
        if not active:
            return True
        count = f"{len(active)} jobs run" if len(active) > 1 else "A job runs"
        answer = QMessageBox.question(
            self.window, "Everhart", f"{count}. Stop and quit? Results that are there are kept."
        )
        return answer == QMessageBox.StandardButton.Yes

    # -- help -----------------------------------------------------------------------------
    def show_keys(self) -> None:
        """Show all keys."""
        dialog = QDialog(self.window)
        dialog.setWindowTitle("Keys")
        text = QTextBrowser()
        text.setHtml(help_html(self.window.specs, self.window.actions_by_name))
        layout = QVBoxLayout(dialog)
        layout.addWidget(text)
        dialog.resize(460, 620)
        dialog.show()

    def show_about(self) -> None:
        """Say what this is."""
        QMessageBox.about(
            self.window,
            "About Everhart",
            f"Everhart {__version__}: restores, measures and compares electron micrographs.<br>"
            "Apache-2.0; with Qt (LGPL) through PySide6, and pyqtgraph (MIT).",
        )
