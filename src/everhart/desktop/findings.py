"""What was found out: measurements over their images, tables, metrics; and how these lead on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject

from everhart.desktop.marks import Marks, read_outlines, row_of
from everhart.desktop.metrics_rows import Metrics, metrics_of
from everhart.desktop.results import Record
from everhart.desktop.table import read_rows
from everhart.operations.measurements import PREFIX

if TYPE_CHECKING:
    from everhart.desktop.window import MainWindow

__all__ = ["Findings", "object_words"]


class Findings(QObject):
    """Shows results that are no images.

    Parameters
    ----------
    window
        The window.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window
        self.parts = window.parts
        self.report: Path | None = None
        """The report of the last comparison or audit."""
        self._shown: Record | None = None
        self._metrics: Metrics | None = None
        self._images: dict[str, Path] = {}
        parts = self.parts
        parts.viewer.hovered.connect(self._hover)
        parts.viewer.picked.connect(self._pick)
        parts.table.row_chosen.connect(self._take_row)
        parts.plot.row_chosen.connect(self._take_point)
        window.work.measured.connect(self._take_measured)
        window.work.told.connect(self._take_told)

    # -- measurements ---------------------------------------------------------------------
    def marks_of(self, path: Path) -> Marks | None:
        """Return the outlines of the last measurement of an image, None if there is none."""
        record = self.window.work.measurements.get(path)
        if record is None:
            return None
        kind = record.operation.removeprefix(PREFIX)
        outlines = read_outlines(record.folder / "outlines.json")
        table = read_rows(record.folder / f"{kind}.csv")
        return Marks(outlines, row_of(kind, outlines, table), table)

    def tell_active(self) -> None:
        """Show the table of the image with the focus; metrics stay, to go through them."""
        item = self.parts.viewer.active
        is_metrics = self._shown is not None and self._shown.operation == "compare"
        if item is not None and not is_metrics:
            self._show_measurement(item.picture.path)

    def records_to_save(self) -> list[Record]:
        """Return the measurements whose tables are saved: of all selected images, of one kind."""
        if self._shown is None or not self._shown.operation.startswith(PREFIX):
            return []
        several = [self.window.work.measurements.get(path) for path in self.window.targets]
        same = [r for r in several if r is not None and r.operation == self._shown.operation]
        return same if len(same) > 1 else [self._shown]

    def _take_measured(self, _: Any, record: Record) -> None:
        path, viewer = record.sources[0], self.parts.viewer
        for item in viewer.items:
            if item.picture.path == path and not item.is_residual:
                viewer.set_marks(item, self.marks_of(path))
        if viewer.active is not None and viewer.active.picture.path == path:
            self._show_measurement(path)
            self.parts.show_results(self.parts.table)
        warning = record.summary.get("warning")
        if warning:
            self.window.say(f"{path.name}: {warning}", "warning")

    def _show_measurement(self, path: Path) -> None:
        record = self.window.work.measurements.get(path)
        if record is None or record is self._shown:
            return
        self._shown = record
        kind = record.operation.removeprefix(PREFIX)
        rows = read_rows(record.folder / f"{kind}.csv")
        item = self.parts.viewer.active
        kinds = item.marks.kinds if item is not None and item.marks is not None else ()
        self.parts.table.show_table(_title(record, path), rows, kinds=kinds)

    def _hover(self, index: int | None) -> None:
        item = self.parts.viewer.active
        if index is None or item is None or item.marks is None:
            self.parts.hover.setText("")
            return
        outline, row = item.marks.outlines[index], item.marks.rows[index]
        told = outline.label or outline.kind
        self.parts.hover.setText(told if row is None else object_words(item.marks.table[row]))

    def _pick(self, index: int | None) -> None:
        item = self.parts.viewer.active
        if index is None or item is None or item.marks is None:
            return
        row = item.marks.rows[index]
        if row is not None:
            self._show_measurement(item.picture.path)
            self.parts.show_results(self.parts.table)
            self.parts.table.mark_row(row)

    # -- metrics and other figures --------------------------------------------------------
    def _take_told(self, _: Any, record: Record) -> None:
        if "report.html" in record.files:
            self.report = record.folder / "report.html"
        if record.operation == "audit":
            return  # its view tells of it
        self._shown = record
        if record.operation == "compare":
            self._show_metrics(record)
        else:
            rows = [{"figure": k, "value": str(v)} for k, v in record.summary.items()]
            title = f"{record.words.capitalize()} of {record.sources[0].name}"
            self.parts.table.show_table(title, rows, can_save=False)
        self.parts.show_results(self.parts.table)

    def _show_metrics(self, record: Record) -> None:
        metrics = metrics_of(record.summary, [path.name for path in record.sources])
        self._metrics = metrics
        self._images = {path.name: path for path in record.sources}
        worst = metrics.worst_by_image()
        self.window.library.set_metrics(
            {path: worst[name] for name, path in self._images.items() if name in worst}
        )
        self.parts.plot.show_metrics(metrics)
        self.parts.table.show_table(
            "Metrics by compare; click a row to see it",
            metrics.rows,
            columns=metrics.columns,
            can_save=False,
            sort_by=metrics.headline,
            descending=metrics.worst_is_high,
        )

    def _take_row(self, row: int) -> None:
        viewer = self.parts.viewer
        if self._shown is None:
            return
        if self._shown.operation == "compare":
            self._take_point(row)
        elif viewer.active is not None and viewer.active.marks is not None:
            viewer.light(frozenset(viewer.active.marks.of_row(row)), look=True)

    def _take_point(self, row: int) -> None:
        """Show the image, restored by the method, that a row of metrics is about."""
        if self._metrics is None:
            return
        told = self._metrics.rows[row]
        path = self._images.get(told["image"])
        if path is not None:
            self.parts.compare.choose_a(told["method"])
            self.parts.browser.select(path)


def object_words(row: Mapping[str, str]) -> str:
    """Say what a row of a table is about: its number, size and uncertainty.

    Examples
    --------
    >>> object_words({"file": "a.tif", "hole": "3", "cd_nm": "40.123", "cd_sd_nm": "0.212"})
    'hole 3, cd 40.12 ± 0.21 nm'
    """
    names = list(row)
    key = next((name for name in names if name != "file"), "")
    words = [f"{key} {row[key]}"]
    for name in names:
        start, _, unit = name.rpartition("_")
        sd = f"{start}_sd_{unit}"
        if unit in ("nm", "px") and sd in row and start not in ("x", "y") and row[name]:
            spread = f" ± {float(row[sd]):.2g}" if row[sd] else ""
            words.append(f"{start.replace('_', ' ')} {float(row[name]):.2f}{spread} {unit}")
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
