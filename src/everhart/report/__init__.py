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
from everhart.report.dataset import compare_dataset
from everhart.report.dataset_html import render_dataset_html, write_dataset
from everhart.report.dataset_result import DatasetComparison
from everhart.report.html import render_html, write_html
from everhart.report.run import compare, compare_image, provenance

__all__ = [
    "Alignment",
    "Comparison",
    "Cost",
    "DatasetComparison",
    "ImageComparison",
    "MethodResult",
    "Source",
    "compare",
    "compare_dataset",
    "compare_image",
    "provenance",
    "render_dataset_html",
    "render_html",
    "write_dataset",
    "write_html",
]
