"""Segmentation with few labels: networks that start from denoisers, features of generators.

The room can be called: ``everhart.segment(image, model)`` is :func:`segment`.
"""

from __future__ import annotations

from everhart._callable_room import make_callable
from everhart.segment.apply import Segmentation, make_segmentation, segment

__all__ = ["Segmentation", "make_segmentation", "segment"]

make_callable(__name__, "segment")
