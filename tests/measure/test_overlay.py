"""Overlays: what was measured stays visible under its name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from everhart.measure.overlay import draw_overlay
from everhart.measure.result import Measurement, Outline


@pytest.mark.parametrize("y", [3.0, 40.0])
def test_words_do_not_hide_a_small_object(y: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([y + 2.5 * np.sin(angle), 60 + 2.5 * np.cos(angle)], axis=1)
    outline = Outline(circle, "bridge", closed=True)
    image = np.tile(np.arange(120, dtype=np.uint8), (80, 1))
    parts = (Measurement("defects", pd.DataFrame(), {}, drawn) for drawn in ((), (outline,)))
    plain, drawn = (draw_overlay(image, part) for part in parts)
    at = int(y)
    assert (drawn[at - 1 : at + 2, 59:62] == plain[at - 1 : at + 2, 59:62]).all()
    assert (drawn != plain).sum() > 300  # the words are somewhere


@pytest.mark.parametrize("kind", ["edge", "missing"])
def test_an_edge_is_drawn_on_its_nearest_pixel(kind: str) -> None:
    points = np.stack([np.arange(10.0, 60.0), np.full(50, 30.8)], axis=1)
    found = Measurement("lines", pd.DataFrame(), {}, [Outline(points, kind=kind)])
    drawn = draw_overlay(np.zeros((80, 120), np.uint8), found)
    assert np.unique(np.nonzero(drawn.any(axis=2))[1]).tolist() == [31]
