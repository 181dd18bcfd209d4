"""Read and write micrographs: pixels, calibration, metadata, data bar, history."""

from __future__ import annotations

from everhart.io.atomic import OutputExistsError
from everhart.io.data_bar import find_data_bar
from everhart.io.drift import Drift
from everhart.io.frame_stack import FrameStack
from everhart.io.frames import FrameGroup, group_frames, open_frames
from everhart.io.isolated import read_isolated
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.paths import image_paths
from everhart.io.reading import read
from everhart.io.registry import Format, readable_suffixes, register, writable_suffixes
from everhart.io.warning import FileWarning
from everhart.io.writing import write

__all__ = [
    "DEFAULT_LIMITS",
    "Drift",
    "FileWarning",
    "Format",
    "FrameGroup",
    "FrameStack",
    "Limits",
    "OutputExistsError",
    "find_data_bar",
    "group_frames",
    "image_paths",
    "open_frames",
    "read",
    "read_isolated",
    "readable_suffixes",
    "register",
    "writable_suffixes",
    "write",
]
