"""The queue as a table, with a button that cancels."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.jobs import Job, JobQueue

__all__ = ["JobsPanel"]


class JobsPanel(QWidget):
    """Shows all jobs of this session.

    Parameters
    ----------
    queue
        The jobs.
    parent
        Owner.
    """

    def __init__(self, queue: JobQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._queue = queue
        self.words = QLabel("No job runs.")
        self.progress = QProgressBar()
        self.progress.setMaximumWidth(220)
        self.progress.setAccessibleName("Progress of all jobs")
        self.progress.hide()
        self.cancel = QPushButton("&Cancel job")
        self.cancel.setToolTip("Stop the selected job, or the one that runs (Ctrl+.)")
        self.view = QTableView()
        self.view.setModel(queue)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(22)
        self.view.horizontalHeader().setStretchLastSection(True)
        self.view.setAccessibleName("Jobs")
        for column, width in enumerate((150, 150, 90, 170)):
            self.view.setColumnWidth(column, width)
        row = QHBoxLayout()
        row.addWidget(self.words, 1)
        row.addWidget(self.progress)
        row.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addLayout(row)
        layout.addWidget(self.view, 1)
        self.cancel.clicked.connect(self.cancel_one)
        for signal in (queue.dataChanged, queue.rowsInserted):
            signal.connect(lambda *_: self._tell())
        self._tell()

    def cancel_one(self) -> None:
        """Stop the job that is selected, or else the oldest that has not ended."""
        chosen = self.view.selectionModel().selectedRows()
        jobs: list[Job] = [self._queue.job_at(index) for index in chosen]
        jobs = [job for job in jobs if not job.has_ended] or self._queue.active[-1:]
        for job in jobs:
            self._queue.cancel(job)

    def _tell(self) -> None:
        active = self._queue.active
        self.cancel.setEnabled(bool(active))
        self.progress.setVisible(bool(active))
        if not active:
            self.words.setText("No job runs.")
            return
        total, done = sum(job.total for job in active), sum(job.done for job in active)
        # One image has no steps to count: the bar moves to and fro.
        self.progress.setRange(0, total if total > 1 else 0)
        self.progress.setValue(done)
        running = next((job for job in reversed(active) if job.state == "running"), active[-1])
        waiting = len(active) - 1
        more = f"; {waiting} more wait" if waiting else ""
        self.words.setText(f"{running.words}: {running.word or running.state}{more}")
