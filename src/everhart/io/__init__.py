"""Read and write micrographs: pixels, calibration, metadata, data bar, history."""

from __future__ import annotations

from everhart.io.atomic import OutputExistsError

__all__ = ["OutputExistsError"]
