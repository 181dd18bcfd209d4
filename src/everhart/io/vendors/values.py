"""What a vendor's metadata says, and how its values are read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = [
    "Tree",
    "VendorData",
    "count",
    "iso_time",
    "known",
    "number",
    "section",
    "times",
    "xml_tree",
]

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class VendorData:
    """What a vendor's tag says.

    Parameters
    ----------
    name
        Key of the vendor's tree in the metadata.
    tree
        What the vendor wrote.
    common
        The same under the common names.
    pixel_size_nm
        ``(y, x)`` in nm as written, not yet checked; None if not there.
    field_rows
        Rows of the image that are specimen, or None if not there.
    """

    name: str
    tree: dict[str, Any]
    common: dict[str, Any] = field(default_factory=dict)
    pixel_size_nm: tuple[Any, Any] | None = None
    field_rows: int | None = None


_TIME_FORMS = (
    "%d.%m.%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M:%S %p",
)


def section(tree: Tree, name: str) -> Tree:
    """Return a branch of a tree, empty where there is none."""
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def number(*values: Any) -> float | None:
    """Return the first value that is a finite number."""
    for value in values:
        try:
            found = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(found):
            return found
    return None


def count(*values: Any) -> int | None:
    """Return the first value that is a number above zero, as an integer."""
    for value in values:
        found = number(value)
        if found is not None and found >= 1:
            return int(found)
    return None


def times(value: float | None, factor: float) -> float | None:
    """Scale a value to another unit."""
    # Rounded to 12 digits, so that 10000 V is 10 keV and 1e-3 leaves no trace.
    return None if value is None else float(f"{value * factor:.12g}")


def known(**values: Any) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def iso_time(*values: Any) -> str | None:
    """Return the first value that is one certain time, in ISO 8601."""
    for value in values:
        if isinstance(value, datetime):
            return value.isoformat(timespec="seconds")
        text = str(value).strip()
        try:
            return datetime.fromisoformat(text).isoformat(timespec="seconds")
        except ValueError:
            pass
        readings = set()
        for form in _TIME_FORMS:
            try:
                readings.add(datetime.strptime(text, form).isoformat(timespec="seconds"))
            except ValueError:
                continue
        if len(readings) == 1:  # 08/09/2021 can be August or September: not known
            return readings.pop()
    return None


def xml_tree(text: str) -> dict[str, Any]:
    """Read XML as a tree; a name that comes again makes a list.

    Raises
    ------
    ValueError
        If it is no XML, or has a document type.
    """
    from xml.etree import ElementTree as ET

    if re.search(r"<!(DOCTYPE|ENTITY)", text):  # entities can be made to fill the memory
        raise ValueError("XML with a document type")
    try:
        root = ET.fromstring(text.strip().strip("\0"))
    except ET.ParseError as error:
        raise ValueError(str(error)) from error
    tree = _element(root)
    if not isinstance(tree, dict):
        raise ValueError("XML without elements")
    return tree


def _element(element: Any) -> Any:
    children = list(element)
    if not children:
        return (element.text or "").strip()
    tree: dict[str, Any] = {}
    for child in children:
        name = str(child.tag).rpartition("}")[2]
        if name not in tree:
            tree[name] = _element(child)
        elif isinstance(tree[name], list):
            tree[name].append(_element(child))
        else:
            tree[name] = [tree[name], _element(child)]
    return tree
