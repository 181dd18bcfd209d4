"""The data of the studies, and the table that is made of their figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart.errors import UsageError
from everhart.io import read
from everhart.metrics import psnr
from everhart.studies.catalogue import STUDIES, find_study
from everhart.studies.study import SCALES, Ordering, Row, Study
from everhart.studies.table import markdown, outcome, summary
from everhart.studies.wafer import make_wafer


@pytest.fixture(scope="module")
def wafer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wafer")
    make_wafer(folder, (256, 384), 0)
    return folder


def test_the_wafer_has_eight_scenes_of_108_holes(wafer_folder: Path) -> None:
    scenes = sorted((wafer_folder / "train").iterdir())
    assert len(scenes) == 5
    names = sorted(file.name for file in scenes[0].iterdir())
    assert names == [
        "F01_000.tif", "F01_001.tif", "F02_000.tif", "F04_000.tif",
        "F08_000.tif", "F16_000.tif", "F32_000.tif", "F64_000.tif",
    ]  # fmt: skip
    images = make_wafer(wafer_folder, (256, 384), 0).test_images()
    assert [image.name for image in images] == ["normal", "different A", "different B"]
    assert [len(image.holes) for image in images] == [108, 108, 108]
    assert set(images[0].holes["kind"]) == {"normal"}
    assert "normal" not in set(images[1].holes["kind"]) | set(images[2].holes["kind"])


def test_frames_average_and_share_no_noise(wafer_folder: Path) -> None:
    image = make_wafer(wafer_folder, (256, 384), 0).test_images()[0]
    values = {
        n: psnr(image.frames[n].pixels.astype(float), image.clean[n], data_range=255)
        for n in (1, 4, 16, 64)
    }
    # The variance falls with the number of shots; less at the end, where rounding and clipping are.
    assert 14.5 < values[1] < 16
    assert 5.3 < values[4] - values[1] < 6.4
    assert 5.0 < values[16] - values[4] < 6.4
    scene = wafer_folder / "train" / "scene_0"
    first, second = (read(scene / f"F01_{n:03d}.tif").pixels.astype(float) for n in (0, 1))
    flat = slice(100, 140), slice(100, 140)
    assert not np.array_equal(first[flat], second[flat])


def test_a_wafer_is_made_once(wafer_folder: Path) -> None:
    file = wafer_folder / "test" / "normal" / "F01_000.tif"
    before = file.stat().st_mtime_ns
    make_wafer(wafer_folder, (256, 384), 0)
    assert file.stat().st_mtime_ns == before


def _cell(row: str, seed: int, db: float, failures: float) -> dict[str, Any]:
    figures = {"psnr_db": db, "ssim": 0.5, "failure_percent": failures, "false_circles": 0.0}
    figures |= {"hough_failure_percent": failures, "hough_false_circles": 0.0}
    figures["affine_psnr_db"] = db + 0.5
    images = {"normal": figures, "different A": figures, "different B": {**figures}}
    images["different B"] = {**figures, "psnr_db": db + 2}
    return {"row": row, "seed": seed, "training_cpu_s": 3.0, "figures": images}


def test_orderings_are_judged_over_seeds() -> None:
    cells = [
        _cell("a", 0, 30, 4),
        _cell("a", 1, 32, 2),
        _cell("b", 0, 29, 5),
        _cell("b", 1, 32.5, 1),
    ]
    table = summary(cells)
    assert table.loc[0, "different psnr_db"] == 31
    mean, spread, holds = outcome(Ordering("a", "b", "normal psnr_db"), table)
    assert (mean, holds) == (0.25, True)
    assert spread == pytest.approx(1.0607, abs=1e-3)
    assert outcome(Ordering("b", "a", "normal psnr_db"), table)[2] is False
    assert outcome(Ordering("b", "a", "normal psnr_db", within=0.3), table)[2] is True
    # Fewer failures are better.
    assert outcome(Ordering("a", "b", "normal failure_percent"), table)[:1] == (0.0,)
    study = Study("s", "t", [Row("a", "A"), Row("b", "B")], [Ordering("b", "a", "normal psnr_db")])
    record = {"scale": "smoke", "shape": [4, 6], "figures": cells}
    text = markdown(study, record)
    assert "| B beats A, normal: PSNR (dB) | - | -0.25 +- 1.06 | **no** |" in text
    assert "| A | - | 31.00 +- 1.41 |" in text


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_rows_that_it_has(name: str) -> None:
    study = find_study(name)
    if not isinstance(study, Study):
        return
    keys = [row.key for row in study.rows]
    assert len(set(keys)) == len(keys)
    named = {k for o in study.orderings for k in (o.better, o.worse)} | set(study.pictures)
    assert named <= set(keys)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(UsageError, match="renin-table2"):
        find_study("renin-tabel2")
    assert set(SCALES) == {"smoke", "cpu", "gpu"}
