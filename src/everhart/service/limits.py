"""What files may claim to hold, from the settings, and how it is said when they claim more."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final

from everhart.io.limits import Limits
from everhart.service.settings import Settings

__all__ = ["limit_explained", "limits_of"]

# How readers end what they say of a limit, for those who call them from Python.
_LIMIT: Final = re.compile(
    r"(?:if you trust it, )?read it with (?:a )?(?:larger )?limits=Limits\((\w+)=[^)]*\)"
)
_SETTINGS: Final = {
    "max_pixels_per_plane": "max_pixels",
    "max_decoded_bytes": "max_decoded_mb",
    "max_frames": "max_frames",
    "max_ratio": "max_ratio",
}


def limits_of(settings: Settings) -> dict[str, Any]:
    """Return what a file may claim to hold."""
    limits = Limits(
        max_pixels_per_plane=settings.max_pixels,
        max_decoded_bytes=int(settings.max_decoded_mb * 1e6),
        max_frames=settings.max_frames,
        max_ratio=settings.max_ratio,
    )
    return asdict(limits)


def limit_explained(message: str) -> str:
    """Return what a reader says of a limit, with the setting that changes it here.

    Examples
    --------
    >>> limit_explained("a.tif claims 7 frames, where 5 are allowed; if you trust it, read it "
    ...                 "with limits=Limits(max_frames=7).")
    'a.tif claims 7 frames, where 5 are allowed; who runs the service can raise max_frames.'
    """
    return _LIMIT.sub(_setting, message)


def _setting(found: re.Match[str]) -> str:
    name = _SETTINGS.get(found[1])
    if name is None:
        return "give a file with fewer"
    return f"who runs the service can raise {name}"
