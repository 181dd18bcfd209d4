"""What a vendor's metadata says, and how its values are read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from everhart.io.calibration import nm_per

__all__ = [
    "Tree",
    "VendorData",
    "count",
    "decoded",
    "ini_tree",
    "iso_time",
    "known",
    "length_nm",
    "number",
    "quantity",
    "section",
    "time_readings",
    "times",
    "xml_root",
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
    bar_rows
        Rows of the data bar, where the vendor counts these instead.
    """

    name: str
    tree: dict[str, Any]
    common: dict[str, Any] = field(default_factory=dict)
    pixel_size_nm: tuple[Any, Any] | None = None
    field_rows: int | None = None
    bar_rows: int | None = None


_TIME_FORMS = (
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
)

# Windows writes the numbers of half of the world with a comma: 1,5e-09.
_COMMA = re.compile(r"\s*[-+]?\d*,\d+(?:[eE][-+]?\d+)?\s*")
# Longer texts are no number with a unit, and would keep the expression below busy.
_LONGEST_QUANTITY = 100
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_DEEPEST = 64
_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0,
    "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip


def section(tree: Tree, name: str) -> Tree:
    """Return a branch of a tree, empty where there is none."""
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def number(*values: Any) -> float | None:
    """Return the first value that is a finite number."""
    for value in values:
        if isinstance(value, str) and _COMMA.fullmatch(value):
            value = value.replace(",", ".")
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(found):
            return found
    return None


def quantity(value: Any, *units: str) -> float | None:
    """Return a number with a unit in that unit without prefix.

    Parameters
    ----------
    value
        A number, or text such as ``"15000 Volt"`` or ``"1,5 kV"``.
    units
        What the unit can be called. A number alone is in this unit; one in another is None.

    Examples
    --------
    >>> quantity("15 kV", "V", "Volt"), quantity("15000 Volt", "V", "Volt"), quantity("3 mA", "V")
    (15000.0, 15000.0, None)
    """
    match = _quantity(value)
    if match is None:
        return number(value)
    found, given = number(match[1]), match[2]
    for unit in units:
        if not given or given == unit:
            return found
        if given.endswith(unit) and given.removesuffix(unit) in _PREFIXES:
            return times(found, _PREFIXES[given.removesuffix(unit)])
    return None


def _quantity(value: Any) -> re.Match[str] | None:
    if not isinstance(value, str) or len(value) > _LONGEST_QUANTITY:
        return None
    return _QUANTITY.fullmatch(value)


def length_nm(value: Any, unit: str) -> float | None:
    """Return a length in nm.

    Parameters
    ----------
    value
        A number, or text with or without a unit, such as ``"558.2 pm"`` or ``"1µm"``.
    unit
        The unit where none is given.

    Examples
    --------
    >>> length_nm("558.2 pm", "m"), length_nm("1um", "m"), length_nm(2e-9, "m")
    (0.5582, 1000.0, 2.0)
    """
    match = _quantity(value)
    found = number(match[1] if match else value)
    factor = nm_per((match[2] if match else "") or unit)
    return None if factor is None else times(found, factor)


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
        readings = time_readings(text)
        if len(readings) == 1:  # 08/09/2021 can be August or September: not known
            return readings.pop().isoformat(timespec="seconds")
    return None


def time_readings(text: str) -> set[datetime]:
    """Return the times that a date and a time of day, as some country writes them, can mean.

    Examples
    --------
    >>> len(time_readings("08/09/2021 4:14:04 PM")), len(time_readings("31/09/2021 16:14:04"))
    (2, 0)
    """
    readings = set()
    for form in _TIME_FORMS:
        try:
            readings.add(datetime.strptime(text, form))
        except ValueError:
            continue
    return readings


def decoded(raw: bytes) -> str:
    """Decode a vendor's text, which says of its encoding at most a byte order mark."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace").rstrip("\0")
    if raw[:2] and raw[1:2] == b"\0" and raw[:1] != b"\0":
        return raw.decode("utf-16-le", errors="replace").rstrip("\0")
    for encoding in ("utf-8-sig", "cp932", "cp1252"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Latin µ and Å pass for half-width kana in Japanese Windows: these are no units.
        if encoding != "cp932" or not re.search("[\uff61-\uff9f]", text):
            return text
    return raw.decode("latin-1")


def ini_tree(text: str) -> dict[str, Any]:
    """Read sections of names and values, as in Windows' INI files.

    Values are the text as it is written; what stands before the first section comes under "".
    """
    tree: dict[str, Any] = {}
    branch: dict[str, str] = {}
    tree[""] = branch
    for line in text.replace("\0", "").splitlines():
        line = line.strip()
        if line.startswith("[") and "]" in line:
            branch = tree.setdefault(line[1 : line.index("]")].strip(), {})
            continue
        name, equals, value = line.partition("=")
        if equals and name.strip():
            branch[name.strip()] = value.strip()
    if not tree[""]:
        del tree[""]
    return tree


def xml_root(text: str) -> Any:
    """Parse XML to its root element.

    Raises
    ------
    ValueError
        If it is no XML, or has a document type.
    """
    from xml.etree import ElementTree as ET

    if re.search(r"<!(DOCTYPE|ENTITY)", text):  # entities can be made to fill the memory
        raise ValueError("XML with a document type")
    # The text is decoded already, whatever it says of its encoding.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", _up_to_null(text))
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(str(error)) from error


def _up_to_null(text: str) -> str:
    """Leave out what is behind the end of a text in a field of a fixed length."""
    return text.lstrip("\0\ufeff \r\n\t").partition("\0")[0].rstrip()


def xml_tree(text: str) -> dict[str, Any]:
    """Read XML as a tree; a name that comes again makes a list.

    Raises
    ------
    ValueError
        If it is no XML, or has a document type.
    """
    tree = _element(xml_root(text))
    if not isinstance(tree, dict):
        raise ValueError("XML without elements")
    return tree


def _element(element: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"XML nested deeper than {_DEEPEST}")
    children = list(element)
    if not children:
        return (element.text or "").strip()
    tree: dict[str, Any] = {}
    for child in children:
        name = str(child.tag).rpartition("}")[2]
        if name not in tree:
            tree[name] = _element(child, depth + 1)
        elif isinstance(tree[name], list):
            tree[name].append(_element(child, depth + 1))
        else:
            tree[name] = [tree[name], _element(child, depth + 1)]
    return tree
