"""Everhart: restore, segment, synthesise and measure electron micrographs.

The public functions are listed here and loaded when they are first used, so that
``import everhart`` stays quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from everhart.errors import EverhartError, UsageError

if TYPE_CHECKING:
    from everhart import align, io, measure, metrics, noise, report, restore, segment, simulate
    from everhart.align import estimate_shift
    from everhart.io import open_frames, read, write
    from everhart.io.summary import info
    from everhart.micrograph import HistoryEntry, Micrograph, __version__
    from everhart.report import compare
    from everhart.restore import denoise

# Public name -> (module, name in it). A function and the room that it lives in can have the
# same name (`eh.simulate`, `eh.noise`): importing the room sets the module as an attribute of
# this package, so such rooms are callable modules (see `everhart._callable_room`).
_LAZY = {
    "HistoryEntry": ("everhart.micrograph", "HistoryEntry"),
    "Micrograph": ("everhart.micrograph", "Micrograph"),
    "__version__": ("everhart.micrograph", "__version__"),
    "compare": ("everhart.report", "compare"),
    "denoise": ("everhart.restore", "denoise"),
    "estimate_shift": ("everhart.align", "estimate_shift"),
    "info": ("everhart.io.summary", "info"),
    "open_frames": ("everhart.io", "open_frames"),
    "read": ("everhart.io", "read"),
    "write": ("everhart.io", "write"),
}
_ROOMS = (
    "align",
    "io",
    "measure",
    "metrics",
    "noise",
    "report",
    "restore",
    "segment",
    "simulate",
)

__all__ = [
    "EverhartError",
    "HistoryEntry",
    "Micrograph",
    "UsageError",
    "__version__",
    "align",
    "compare",
    "denoise",
    "estimate_shift",
    "info",
    "io",
    "measure",
    "metrics",
    "noise",
    "open_frames",
    "read",
    "report",
    "restore",
    "segment",
    "simulate",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    if name in _ROOMS:
        return import_module(f"everhart.{name}")
    raise AttributeError(f"module 'everhart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
