"""Measured sizes: a wrong CD is found where grey levels are right, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart import Micrograph
from everhart.errors import EverhartError, UsageError
from everhart.measure import lines, particles
from everhart.synthesize.audit import audit
from everhart.synthesize.distances import DISTANCES
from everhart.synthesize.sizes import SizeSet, compare_sizes, mean_words, measure_sizes, sizes_of

NM = 0.8


def _lines(seed: int, *, cd_px: float = 11.0) -> Micrograph:
    """Lines of a CD and 22 pixels of pitch, half of the image whatever the CD is."""
    rng = np.random.default_rng(seed)
    cd = cd_px + rng.normal(0, 0.15)
    x = np.arange(96) - rng.uniform(0, 22)
    away = np.abs((x + 11) % 22 - 11) - cd / 2  # px outside of the edge of a line
    image = 60 + 110 / (1 + np.exp(away / 0.6)) + rng.normal(0, 8, (96, 96))
    return Micrograph(image.astype(np.float32), NM)


def _measured(image: Micrograph) -> Mapping[str, np.ndarray]:
    return sizes_of(lines(image))


REAL = [_lines(n) for n in range(24)]
REAL_SIZES = measure_sizes(REAL, _measured)


def test_real_lines_are_as_real_and_have_their_sizes() -> None:
    others = measure_sizes([_lines(n) for n in range(100, 112)], _measured)
    report = compare_sizes("lines", others, REAL_SIZES)
    assert report.made == (12, 12)
    assert report.real == (24, 24)
    sizes = {s.name: s for s in report.sizes}
    cd, pitch = sizes["cd_nm"], sizes["pitch_nm"]
    assert cd.real[0] == pytest.approx(11 * NM, rel=0.02)
    assert pitch.made[0] == pytest.approx(22 * NM, rel=0.01)
    assert cd.ratio is not None
    assert cd.ratio.low < 1.25
    assert 0.4 < cd.ratio.value < 2
    assert {"lines", "cd_nm, scatter in an image"} <= set(sizes)
    assert sizes["cd_nm, scatter in an image"].real[0] < cd.real[1]


def test_a_wrong_cd_is_found_where_grey_levels_are_right() -> None:
    # As many pixels in lines as in spaces, in each set: brightness says nothing.
    made = [_lines(n, cd_px=10 if n % 2 else 12) for n in range(100, 116)]
    report = compare_sizes("lines", measure_sizes(made, _measured), REAL_SIZES)
    fields = [[(i.pixels - 115) / 100 for i in images] for images in (made, REAL)]
    found = audit(
        fields[0], [(_lines(n).pixels - 115) / 100 for n in range(200, 203)], fields[1],
        sizes=report,
    )  # fmt: skip
    grey = found.ratios[0]
    assert grey.low < 1.25
    (cd,) = (s for s in report.sizes if s.name == "cd_nm")
    assert cd.ratio is not None
    assert cd.ratio.low > 1.25
    assert cd.made[0] == pytest.approx(cd.real[0], rel=0.02)  # right in the mean, at that
    assert cd.made[1] > 2 * cd.real[1]
    assert "cd_nm" in found.summary()
    told = found.to_dict()["measured"]
    assert told["sizes"]["cd_nm"]["ratio"][1] == cd.ratio.low
    assert told["measured_images"] == {"made": [16, 16], "real": [24, 24]}
    # They are listed, and are no part of the mean.
    assert [r.name for r in found.ratios] == list(DISTANCES)


def test_images_that_cannot_be_measured_are_counted_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    noise = [Micrograph(rng.normal(0, 8, (96, 96)).astype(np.float32), NM) for _ in range(3)]
    found = measure_sizes([REAL[0], *noise, *REAL[1:4]], _measured)
    assert found.measured == 4
    assert sorted(found.reasons) == [1, 2, 3]
    report = compare_sizes("lines", found, REAL_SIZES)
    assert report.made == (4, 7)
    assert "4 of 7 synthetic" in report.summary()
    assert set(report.to_dict()["not_measured"]) == {"1", "2", "3"}
    none = compare_sizes("lines", measure_sizes(noise, _measured), REAL_SIZES)
    assert none.made == (0, 3)
    assert all(s.ratio is None for s in none.sizes)
    assert none.to_dict()["sizes"]["cd_nm"]["made"] == {"mean": None, "sd": None, "n": 0}
    assert "none" in none.summary()


def test_a_wrong_call_is_no_image_that_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="pixel size"):
        measure_sizes([Micrograph(REAL[0].pixels)], _measured)


def test_particles_at_the_border_have_no_size() -> None:
    y, x = np.mgrid[:96, :96]
    rng = np.random.default_rng(1)
    image = rng.normal(60, 5, (96, 96))
    for cy, cx in ((30, 30), (60, 66), (95, 20)):
        image += 90 * (np.hypot(y - cy, x - cx) < 11)
    found = sizes_of(particles(image.astype(np.float32), unit="px"))
    assert found["particles"].tolist() == [2]
    assert found["diameter_px"] == pytest.approx([22, 22], rel=0.05)


def test_what_is_the_same_in_all_real_images_has_no_ratio() -> None:
    two = SizeSet(tuple({"fins": np.array([2.0])} for _ in range(16)))
    three = SizeSet(tuple({"fins": np.array([2.0 + n % 2])} for n in range(16)))
    (size,) = compare_sizes("fins", three, two).sizes
    assert size.ratio is None
    assert size.distance == pytest.approx(0.5, abs=0.05)
    assert (size.made[0], size.real[0], size.floor) == (2.5, 2.0, 0.0)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_ratios_know_no_unit(scale: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.normal(0, 1, rng.integers(1, 4)) for _ in range(20)]

    def report(scale: float, offset: float) -> float:
        sets = [
            SizeSet(tuple({"cd": scale * v + offset} for v in some))
            for some in (values[:8], values[8:])
        ]
        (size,) = compare_sizes("lines", sets[0], sets[1]).sizes
        assert size.ratio is not None
        assert size.ratio.low <= size.ratio.value <= size.ratio.high
        return size.ratio.value

    assert report(scale, offset) == pytest.approx(report(1, 0), rel=1e-6)


def test_equal_distributions_give_about_one_over_seeds() -> None:
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        sets = [SizeSet(tuple({"cd": rng.normal(20, 1, 4)} for _ in range(n))) for n in (30, 60)]
        (size,) = compare_sizes("lines", sets[0], sets[1], seed).sizes
        assert size.ratio is not None
        values.append(size.ratio.value)
    assert np.mean(values) == pytest.approx(1, abs=0.15)


def test_digits_are_those_that_the_scatter_allows() -> None:
    assert mean_words((0.07881, 0.0552, 5)) == "0.079 ± 0.055"
    assert mean_words((1234.5, 151.0, 5), "+-") == "1234 +- 151"
    assert mean_words((2.0, 0.0, 5)) == "2.0000 ± 0.0000"


def test_an_image_of_two_folders_counts_once(tmp_path: Path) -> None:
    from everhart import write
    from everhart.synthesize.audit_images import audit_images

    for folder in ("all", "learned"):
        (tmp_path / folder).mkdir()
    for n, image in enumerate(REAL[:10]):
        write(image, tmp_path / "all" / f"{n}.tif")
        if n < 4:
            write(image, tmp_path / "learned" / f"{n}.tif")
    found = audit_images(
        [REAL[20].pixels], [str(tmp_path / "all")], learned=[str(tmp_path / "learned")]
    )
    assert (len(found.learned), len(found.held_out)) == (4, 6)
    assert len(found.held_out_micrographs) == 6
    assert found.held_out_micrographs[0].pixel_size_nm == (NM, NM)


def test_a_pixel_that_is_no_number_is_refused(tmp_path: Path) -> None:
    from everhart import write
    from everhart.synthesize.audit_images import audit_images, read_made

    pixels = np.asarray(REAL[0].pixels, np.float32)
    pixels[3, 4] = np.nan
    write(Micrograph(pixels), tmp_path / "broken.tif")
    with pytest.raises(UsageError, match=r"broken\.tif"):
        read_made([str(tmp_path)])
    with pytest.raises(UsageError, match=r"broken\.tif"):
        audit_images([pixels], [str(tmp_path)])


def test_real_images_none_of_which_can_be_measured_are_refused() -> None:
    from everhart.cli.audit_sizes import Measuring

    rng = np.random.default_rng(0)
    noise = [Micrograph(rng.normal(0, 8, (96, 96)).astype(np.float32), NM) for _ in range(2)]
    measuring = Measuring("lines", ["direction=vertical"])
    with pytest.raises(EverhartError, match="None of the 2 real images"):
        measuring.of_real(noise)
    assert measuring.of_made(noise).measured == 0
    with pytest.raises(UsageError, match=r"unit=px"):
        measuring.of_made([Micrograph(noise[0].pixels)])
    with pytest.raises(UsageError, match="NAME=VALUE"):
        Measuring("lines", ["vertical"])
    with pytest.raises(UsageError, match="direction"):
        Measuring("lines", ["direction=up"])
    with pytest.raises(UsageError, match="polarity"):
        Measuring("lines", ["polarty=dark"])
