"""Names that strangers give: kept as text, and never a path."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean_name", "file_name"]

LONGEST = 255
_UNSAFE = re.compile(r"[^\w.\- ()+,=@]")
# Names that Windows keeps for devices, whatever follows the dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def clean_name(name: str) -> str:
    r"""Return a name as it is kept: one line of text, without a folder.

    Examples
    --------
    >>> clean_name("../../etc/passwd"), clean_name("C:\\scans\\lot 7.tif"), clean_name("")
    ('passwd', 'lot 7.tif', 'image')
    """
    last = re.split(r"[/\\]", name)[-1]
    # Control characters, and those that turn the direction of reading: x\u202efit.exe
    shown = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return shown.strip()[:LONGEST] or "image"


def file_name(name: str) -> str:
    """Return a name that every file system takes.

    Examples
    --------
    >>> file_name("a:b*.tif"), file_name("..."), file_name("con.tif")
    ('a_b_.tif', 'image', '_con.tif')
    """
    safe = _UNSAFE.sub("_", clean_name(name)).strip(". ")
    if _DEVICES.match(safe):
        safe = f"_{safe}"
    if len(safe.encode()) > 150:  # the suffix says something, the middle of a long name does not
        stem, dot, suffix = safe.rpartition(".")
        safe = f"{(stem or suffix)[:40]}{dot}{suffix[:10]}"
    return safe or "image"
