"""Self-contained HTML reports with pictures to compare."""

from __future__ import annotations

from everhart.report.comparison import (
    Alignment,
    Comparison,
    ImageComparison,
    MethodResult,
    Source,
)
from everhart.report.cost import Cost
from everhart.report.html import render_html, write_html
from everhart.report.run import compare, compare_image, provenance

__all__ = [
    "Alignment",
    "Comparison",
    "Cost",
    "ImageComparison",
    "MethodResult",
    "Source",
    "compare",
    "compare_image",
    "provenance",
    "render_html",
    "write_html",
]
