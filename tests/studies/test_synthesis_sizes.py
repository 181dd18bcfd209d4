"""Fins are measured as they were drawn; what shows no fins is said to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from everhart import Micrograph
from everhart.errors import EverhartError
from everhart.simulate import Camera, simulate
from everhart.studies.synthesis_sizes import FinSizes


def _stack(seed: int, width_nm: float, height_nm: float, size_px: int = 128) -> Micrograph:
    rng = np.random.default_rng(seed)
    scene = simulate(
        "stack", shape=(size_px, size_px), rng=rng, fins=2, texture=0.02,
        fin_width_nm=width_nm, fin_height_nm=height_nm,
        oxide_nm=1.2, high_k_nm=2.2, metal_nm=6.0,
    )  # fmt: skip
    return Camera().expose(scene, rng, 1)


def test_fins_have_the_sizes_that_were_drawn() -> None:
    drawn = [(8.0, 18.0), (7.5, 19.0), (8.6, 17.2), (8.2, 18.6)]
    images = [_stack(n, *sizes) for n, sizes in enumerate(drawn)]
    measure = FinSizes([np.asarray(image.pixels) for image in images])
    found = [measure(image) for image in images]
    heights = np.array([f["fin_height_nm"] for f in found])
    widths = np.array([f["fin_width_nm"] for f in found])
    assert heights.shape == (4, 2)
    assert np.allclose(heights, [[h] for _, h in drawn], atol=0.35)
    # To the middle of the layer: wider than the fin by the same in all images.
    beyond = widths.mean(axis=1) - [w for w, _ in drawn]
    assert 3.5 < beyond.mean() < 6
    assert np.ptp(beyond) < 0.6
    assert all(f["fin_pitch_nm"][0] == pytest.approx(25.6, abs=0.5) for f in found)


def test_fins_that_are_not_there_have_no_size() -> None:
    real = [_stack(n, 8.0, 18.0) for n in range(2)]
    measure = FinSizes([np.asarray(image.pixels) for image in real])
    upside_down = Micrograph(np.asarray(real[0].pixels)[::-1].copy(), real[0].pixel_size_nm)
    with pytest.raises(EverhartError, match="two fins"):
        measure(upside_down)
    with pytest.raises(EverhartError, match="pixel size"):
        measure(Micrograph(real[0].pixels))


def test_what_a_poor_generator_draws_has_no_absurd_sizes() -> None:
    real = [_stack(n, 8.0, 18.0) for n in range(2)]
    measure = FinSizes([np.asarray(image.pixels) for image in real])
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128].astype(np.float32)
    refused = 0
    for number in range(60):
        # Bent so strongly that flanks lean and tops slope.
        bend = [
            cv2.GaussianBlur(rng.normal(0, 1, (128, 128)).astype(np.float32), (0, 0), 10) * 180
            for _ in range(2)
        ]
        pixels = np.asarray(real[number % 2].pixels, np.float32)
        warped = cv2.remap(
            pixels, x + bend[0], y + bend[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        try:
            found = measure(Micrograph(warped, real[0].pixel_size_nm))
        except EverhartError:
            refused += 1
            continue
        for name in ("fin_height_nm", "fin_width_nm"):
            assert (found[name] > 0).all()
            assert (found[name] < 51.2).all()
    assert 0 < refused < 60
