"""Microscopes whose parameters were fitted to real ones."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from everhart.errors import unknown_name
from everhart.simulate.components import (
    Beam,
    BrightnessDrift,
    Charging,
    Converter,
    Detector,
    Dose,
    Scan,
)

__all__ = ["preset_names", "preset_parts", "preset_record"]

_PARTS = {
    "beam": Beam,
    "charging": Charging,
    "brightness_drift": BrightnessDrift,
    "scan": Scan,
    "dose": Dose,
    "detector": Detector,
    "converter": Converter,
}


@cache
def _records() -> dict[str, dict[str, Any]]:
    text = files("everhart.simulate").joinpath("presets.json").read_text(encoding="utf-8")
    records: dict[str, dict[str, Any]] = json.loads(text)
    return records


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_records())


def preset_record(name: str) -> dict[str, Any]:
    """Return a preset as it is stored: what it was fitted to, and the parts.

    Parameters
    ----------
    name
        Name of the preset.

    Raises
    ------
    UsageError
        For an unknown name.
    """
    records = _records()
    if name not in records:
        raise unknown_name("preset", str(name), records)
    return dict(records[name])


def preset_parts(name: str) -> dict[str, Any]:
    """Return the arguments of :class:`everhart.simulate.Microscope` for a preset."""
    parts = preset_record(name)["parts"]
    return {key: _PARTS[key](**value) for key, value in parts.items()} | {"name": name}
