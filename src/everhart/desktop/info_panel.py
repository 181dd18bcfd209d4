"""What is known of an image: size, calibration, history, metadata, warnings."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QTextBrowser, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from everhart.desktop.reading import Picture

__all__ = ["InfoPanel"]


class InfoPanel(QWidget):
    """Shows what is known of an image.

    Parameters
    ----------
    parent
        Owner.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QTextBrowser()
        self.text.setAccessibleName("About the image, and its history")
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["Metadata", "Value"])
        self.tree.setAccessibleName("Metadata of the microscope")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.tree, 1)

    def show_picture(self, picture: Picture | None) -> None:
        """Show another image."""
        self.tree.clear()
        if picture is None:
            self.text.clear()
            return
        image = picture.image
        size = image.pixel_size_nm
        lines = [
            ("File", str(picture.path)),
            ("Size", f"{image.shape[1]} × {image.shape[0]} px, {image.dtype}"),
            ("Frame", f"{picture.frame + 1} of {picture.frames}" if picture.frames > 1 else ""),
            ("Pixel size", _pixel_size(size)),
            ("Data bar", f"{image.data_bar_rows} rows" if image.data_bar_rows else ""),
        ]
        rows = "".join(
            f"<tr><td><b>{name}</b>&nbsp;</td><td>{html.escape(value)}</td></tr>"
            for name, value in lines
            if value
        )
        history = "".join(
            f"<li><b>{html.escape(entry.operation)}</b>{_parameters(entry.parameters)}<br>"
            f"{_model(entry.model_hash)}Everhart {html.escape(entry.version)}, "
            f"{html.escape(entry.time)}</li>"
            for entry in image.history
        )
        warnings = "".join(f"<p>⚠ {html.escape(words)}</p>" for words in picture.warnings)
        told = f"<ol>{history}</ol>" if history else "<p>Nothing was done to it yet.</p>"
        self.text.setHtml(f"<table>{rows}</table>{warnings}<p><b>History</b></p>{told}")
        _fill(self.tree.invisibleRootItem(), image.metadata)
        for number in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(number)
            if item is not None:
                item.setExpanded(True)
        self.tree.resizeColumnToContents(0)


def _pixel_size(size: tuple[float, float] | None) -> str:
    if size is None:
        return "not known: lengths are in pixels; give it in Run"
    if size[0] == size[1]:
        return f"{size[0]:.5g} nm"
    return f"{size[1]:.5g} nm in x, {size[0]:.5g} nm in y"


def _parameters(values: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return f": {html.escape(told)}" if told else ""


def _model(sha256: str | None) -> str:
    return "" if sha256 is None else f"model {html.escape(sha256[:12])}…, "


def _fill(parent: QTreeWidgetItem, values: Any) -> None:
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in items:
        item = QTreeWidgetItem([str(name)])
        parent.addChild(item)
        if isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 8):
            _fill(item, value)
        else:
            text = str(value)
            item.setText(1, text if len(text) < 400 else f"{text[:400]}…")
            item.setToolTip(1, item.text(1))
