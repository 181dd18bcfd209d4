"""A form made of a JSON schema: one line for each parameter, with its default and help."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from everhart.errors import UsageError

__all__ = ["SchemaForm"]

_LARGEST = 2**31 - 1
_NOTHING = ""


@dataclass(frozen=True)
class _Field:
    label: str
    widget: QWidget
    get: Callable[[], Any]
    put: Callable[[Any], None]
    default: Any


class SchemaForm(QWidget):
    """Asks for the parameters of an operation.

    Parameters
    ----------
    schema
        JSON schema of an object.
    choices
        Values to offer for parameters that are free text, such as names of methods.
    parent
        Owner.
    """

    changed = Signal()

    def __init__(
        self,
        schema: Mapping[str, Any],
        choices: Mapping[str, list[str]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._fields: dict[str, _Field] = {}
        layout = QFormLayout(self)
        self._layout = layout
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, told in schema.get("properties", {}).items():
            field = self._field(name, told, (choices or {}).get(name))
            self._fields[name] = field
            label = QLabel(f"{field.label}:")
            label.setBuddy(field.widget)
            words = str(told.get("description", "")).replace("--", "")  # of the command line
            for part in (label, field.widget):
                part.setToolTip(f"<p>{words}</p>")
                part.setWhatsThis(words)
            field.widget.setAccessibleName(field.label)
            field.widget.setAccessibleDescription(words)
            layout.addRow(label, field.widget)
        if not self._fields:
            layout.addRow(QLabel("There is nothing to choose."))

    def values(self) -> dict[str, Any]:
        """Return what was chosen; parameters that have their default are left out.

        Raises
        ------
        UsageError
            If a number cannot be read.
        """
        found = {name: field.get() for name, field in self._fields.items()}
        return {k: v for k, v in found.items() if v != self._fields[k].default}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Choose values; those that are not named get their default."""
        for name, field in self._fields.items():
            field.put(values.get(name, field.default))

    def add_row(self, words: str, widget: QWidget) -> None:
        """Add a line that is no parameter, in line with the others."""
        self._layout.addRow(words, widget)

    def widget(self, name: str) -> QWidget:
        """Return the widget of a parameter."""
        return self._fields[name].widget

    def _field(self, name: str, told: Mapping[str, Any], choices: list[str] | None) -> _Field:
        label = name.replace("_", " ").capitalize()
        for suffix, unit in ((" px", "px"), (" nm", "nm")):
            if label.endswith(suffix):
                label = f"{label.removesuffix(suffix)}, {unit}"
        options = [told, *told.get("anyOf", ())]
        is_optional = any(option.get("type") == "null" for option in options)
        main = next((o for o in options if o.get("type") not in (None, "null")), told)
        default = told.get("default")
        if "enum" in main:
            return self._choice(label, list(main["enum"]), default, is_optional)
        kind = main.get("type")
        if kind == "boolean":
            return self._switch(label, default)
        if kind == "integer" and not is_optional:
            return self._count(label, main, default)
        if choices is not None and kind == "string":
            return self._text_choice(label, choices, default)
        return self._text(label, main, told, default)

    def _choice(self, label: str, values: list[Any], default: Any, is_optional: bool) -> _Field:
        box = QComboBox()
        if is_optional:
            box.addItem("(none)", None)
        for value in values:
            box.addItem(str(value), value)
        box.currentIndexChanged.connect(self.changed)

        def put(value: Any) -> None:
            box.setCurrentIndex(max(box.findData(value), 0))

        put(default)
        return _Field(label, box, box.currentData, put, default)

    def _switch(self, label: str, default: Any) -> _Field:
        box = QCheckBox()
        box.toggled.connect(self.changed)

        def put(value: Any) -> None:
            box.setChecked(bool(value))

        put(default)
        return _Field(label, box, box.isChecked, put, bool(default))

    def _count(self, label: str, told: Mapping[str, Any], default: Any) -> _Field:
        box = QSpinBox()
        box.setRange(int(told.get("minimum", -_LARGEST)), int(told.get("maximum", _LARGEST)))
        box.valueChanged.connect(self.changed)

        def put(value: Any) -> None:
            box.setValue(int(value or 0))

        put(default)
        return _Field(label, box, box.value, put, default)

    def _text_choice(self, label: str, choices: list[str], default: Any) -> _Field:
        box = QComboBox()
        box.setEditable(True)
        box.addItem("(default)")
        box.addItems(choices)
        box.currentTextChanged.connect(self.changed)

        def get() -> Any:
            text = box.currentText().strip()
            return default if text in (_NOTHING, "(default)") else text

        def put(value: Any) -> None:
            box.setCurrentText("(default)" if value is None else str(value))

        put(default)
        return _Field(label, box, get, put, default)

    def _text(
        self, label: str, told: Mapping[str, Any], around: Mapping[str, Any], default: Any
    ) -> _Field:
        line = QLineEdit()
        words = around.get("default_words") or around.get("metavar") or ""
        line.setPlaceholderText(str(words))
        line.setClearButtonEnabled(True)
        line.setInputMethodHints(Qt.InputMethodHint.ImhNoPredictiveText)
        line.textChanged.connect(self.changed)

        def get() -> Any:
            text = line.text().strip()
            return default if not text else _parsed(text, told, label)

        def put(value: Any) -> None:
            shown = _NOTHING if value is None or value == default else value
            if isinstance(shown, (list, tuple)):
                shown = ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in shown)
            line.setText(f"{shown:g}" if isinstance(shown, float) else str(shown))

        if default is not None and not isinstance(default, (list, tuple)) and not words:
            line.setPlaceholderText(str(default))
        elif isinstance(default, (int, float)):
            line.setPlaceholderText(f"{default:g}")
        put(default)
        return _Field(label, line, get, put, default)


def _parsed(text: str, told: Mapping[str, Any], label: str) -> Any:
    """Read a value of the type that the schema says; its limits are the operation's affair."""
    kind = told.get("type")
    if kind == "array":
        items = told.get("items") or (told.get("prefixItems") or [{}])[0]
        return [_parsed(part.strip(), items, label) for part in text.split(",") if part.strip()]
    if kind in ("number", "integer"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            raise UsageError(
                f"{label}: {text!r} was given: it is a number, such as "
                f"{json.dumps(told.get('default', 1))}."
            ) from None
    return text
