"""A data set in Python: cells, failures, memory of what was done, the page and the tables."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from everhart.errors import EverhartError, UsageError
from everhart.io import read, write
from everhart.io.record import plain
from everhart.report import compare_dataset, compare_image, render_dataset_html, write_dataset
from everhart.report import dataset as module
from everhart.report.cells import Cell, CellStore
from everhart.report.dataset_html import dataset_csv

METHODS = ("median", "gaussian")
COSTS = ["seconds", "cpu_seconds", "peak_memory_mb"]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with noisy/ and clean/, five pairs of a moving square, the last the noisiest."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(5)
    for sub in ("noisy", "clean"):
        (folder / sub).mkdir()
    for index in range(5):
        clean = np.full((40, 48), 60.0)
        clean[10 : 26 + index, 8 + index : 30] = 170
        noisy = np.clip(np.rint(rng.normal(clean, 8 + 4 * index)), 0, 255)
        write(noisy.astype(np.uint8), folder / "noisy" / f"im{index}.tif")
        write(clean.astype(np.uint8), folder / "clean" / f"im{index}.png")
    return folder


def run(pairs: Path, methods=METHODS, **more):
    return compare_dataset(
        pairs / "noisy", methods, reference=pairs / "clean", alignment="none", **more
    )


def figures_of(compared) -> dict:
    """All figures that do not depend on how busy the machine is."""
    table = compared.table.drop(columns=[c for c in COSTS if c in compared.table.columns])
    return table.to_dict("list")


@pytest.fixture(scope="session")
def compared(pairs):
    return run(pairs)


def test_the_figures_are_those_of_single_images(pairs, compared):
    for index in (0, 4):
        single = compare_image(
            pairs / "noisy" / f"im{index}.tif",
            METHODS,
            reference=pairs / "clean" / f"im{index}.png",
            alignment="none",
        )
        image = compared.images[index]
        for result in single.results:
            for key, value in result.figures.items():
                assert image.figures[result.name][key] == value
    assert compared.judged_by == "affine_psnr_db"
    assert compared.worst_first()[0] == "im4.tif"  # the noisiest


def test_new_figures_appear_by_themselves(pairs, monkeypatch):
    from everhart.report import run as running

    known = running.against_reference
    monkeypatch.setattr(
        running, "against_reference", lambda *a, **k: {**known(*a, **k), "brand_new": 1.5}
    )
    compared = run(pairs, ["median"])
    assert "brand_new" in compared.table.columns
    (head, first, *_) = csv.reader(io.StringIO(dataset_csv(compared)))
    assert dict(zip(head, first, strict=True))["brand_new"] == "1.5"


def test_a_stopped_run_goes_on(pairs, compared, tmp_path, monkeypatch):
    from everhart.report import run as running

    cells = tmp_path / "r.cells"
    calls = 0
    known = running._run

    def counted(images, method, device):
        nonlocal calls
        calls += 1
        if calls == 6:  # the second method of the third image
            raise KeyboardInterrupt
        return known(images, method, device)

    monkeypatch.setattr(running, "_run", counted)
    with pytest.raises(KeyboardInterrupt):
        run(pairs, cells=cells)
    with pytest.raises(UsageError, match="--resume"):
        run(pairs, cells=cells)
    before = calls
    again = run(pairs, cells=cells, resume=True)
    assert calls == before + 2 * 5 - 5
    assert figures_of(again) == figures_of(compared)
    assert again.differences.equals(compared.differences)
    shown = [(image.name, image.reasons) for image in again.shown]
    assert shown == [(image.name, image.reasons) for image in compared.shown]
    for one, other in zip(again.shown, compared.shown, strict=True):
        assert all(np.array_equal(p, other.pictures[n]) for n, p in one.pictures.items())
    # Nothing is left to do, and costs are those that were measured when it was done.
    assert run(pairs, cells=cells, resume=True).table.equals(again.table)
    assert calls == before + 5
    # One more method runs alone.
    more = run(pairs, (*METHODS, "tv"), cells=cells, resume=True)
    assert calls == before + 10
    assert more.wide()[["median"]].equals(compared.wide()[["median"]])


def test_what_a_cell_depends_on_is_looked_at(pairs, tmp_path, monkeypatch):
    from everhart.report import run as running

    mine = tmp_path / "mine"
    shutil.copytree(pairs, mine)
    for index in (3, 4):
        (mine / "noisy" / f"im{index}.tif").unlink()
    cells = tmp_path / "r.cells"
    ran: list[str] = []
    known = running._run
    monkeypatch.setattr(
        running, "_run", lambda i, method, d: ran.append(method) or known(i, method, d)
    )

    def again(**more) -> int:
        ran.clear()
        run(mine, cells=cells, resume=True, **more)
        return len(ran)

    assert again() == 6
    assert again() == 0
    pixels = read(mine / "noisy" / "im1.tif").pixels
    write(255 - pixels, mine / "noisy" / "im1.tif", overwrite=True)
    assert again() == 2
    write(pixels, mine / "clean" / "im2.png", overwrite=True)
    assert again() == 2
    assert again(data_range=200.0) == 6
    monkeypatch.setattr(module, "__version__", "99")
    assert again() == 6
    broken = next(cells.glob("im0.tif.median.*.json"))
    for path in cells.glob("im0.tif.median.*.json"):
        path.write_text(broken.read_text(encoding="utf-8")[:40], encoding="utf-8")
    assert again() == 1


def test_failures_are_listed_and_the_others_go_on(pairs, tmp_path, monkeypatch):
    from everhart.report import run as running

    mine = tmp_path / "mine"
    shutil.copytree(pairs, mine)
    (mine / "noisy" / "im0.tif").write_bytes(b"no picture")
    write(np.zeros((9, 9), np.uint8), mine / "clean" / "im1.png", overwrite=True)
    known = running._run
    count = 0

    def fails(images, method, device):
        nonlocal count
        count += method == "median"
        if method == "median" and count == 2:
            raise ValueError("an unlucky image")
        return known(images, method, device)

    monkeypatch.setattr(running, "_run", fails)
    told = []
    cells = tmp_path / "r.cells"
    compared = run(mine, cells=cells, on_failure=told.append)
    assert [(f.image, f.method) for f in compared.failures] == [
        ("im0.tif", None), ("im1.tif", None), ("im3.tif", "median"),
    ]  # fmt: skip
    assert told == list(compared.failures)
    assert compared.failures[2].message == "ValueError: an unlucky image"
    wide = compared.wide()
    assert list(wide.index) == ["im2.tif", "im3.tif", "im4.tif"]
    assert np.isnan(wide.loc["im3.tif", "median"])
    assert np.isfinite(wide.loc["im3.tif", "gaussian"])
    words = render_dataset_html(compared)
    assert "an unlucky image" in words
    assert "Not all have all images: median (2)" in words
    rows = list(csv.DictReader(io.StringIO(dataset_csv(compared))))
    assert [row["image"] for row in rows if row["error"]] == ["im0.tif", "im1.tif", "im3.tif"]
    healed = run(mine, cells=cells, resume=True)  # what failed is tried again
    assert [(f.image, f.method) for f in healed.failures] == [("im0.tif", None), ("im1.tif", None)]


def test_nothing_at_all_works(pairs, tmp_path):
    (tmp_path / "noisy").mkdir()
    for index in range(2):
        (tmp_path / "noisy" / f"im{index}.tif").write_bytes(b"no picture")
    with pytest.raises(EverhartError, match="None of the 2 images"):
        compare_dataset(tmp_path / "noisy", METHODS, reference=pairs / "clean")


def test_restored_images_are_kept(pairs, tmp_path):
    import everhart as eh

    kept = tmp_path / "kept"
    run(pairs, keep_images=kept)
    image = read(kept / "median" / "im2.tif")
    noisy = read(pairs / "noisy" / "im2.tif")
    assert np.array_equal(image.pixels, eh.denoise(noisy, method="median").pixels)
    assert image.history[-1].operation == "denoise"
    assert sum(1 for _ in kept.rglob("*.tif")) == 10
    with pytest.raises(UsageError, match="exists already"):
        run(pairs, keep_images=kept)
    (kept / "median" / "im2.tif").unlink()
    cells = tmp_path / "r.cells"
    run(pairs, cells=cells)
    run(pairs, cells=cells, resume=True, keep_images=kept)  # the cells are there, an image is not
    assert (kept / "median" / "im2.tif").is_file()


def test_without_reference_and_frames_of_fields(pairs, tmp_path):
    alone = compare_dataset(pairs / "noisy", METHODS)
    assert alone.judged_by == "residual_whiteness"
    rng = np.random.default_rng(3)
    for field in "AB":
        for number in range(3):
            clean = np.full((48, 48), 60.0)
            clean[10:30, 10:30] = 170
            pixels = np.clip(rng.normal(clean, 12), 0, 255).astype(np.uint8)
            write(pixels, tmp_path / f"{field}_{number:03d}.tif")
    fields = compare_dataset(tmp_path, METHODS, fields=True, turns=2)
    assert [image.name for image in fields.images] == ["A_*.tif", "B_*.tif"]
    assert fields.judged_by == "second_frame_psnr_db"
    assert "frames_place" not in fields.table.columns  # it depends on which methods ran together
    assert sorted(fields.images[0].sources) == ["frame 2", "frame 3", "image"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"judge_by": "psnr"}, "psnr_db"),
        ({"judge_by": "second_frame_psnr_db"}, "figure of these images"),
        ({"worst_of": "nlm"}, "one of the methods median, gaussian"),
        ({"tie_margin": -1.0}, "0 or more"),
        ({"tie_margin": float("nan")}, "0 or more"),
    ],
)
def test_wrong_calls(pairs, more, said):
    with pytest.raises(UsageError, match=said):
        run(pairs, **more)


def test_another_figure_and_method(pairs):
    compared = run(pairs, judge_by="ssim", worst_of="gaussian", tie_margin=2.0)
    assert compared.worst_method == "gaussian"
    assert not compared.wins.to_numpy().any()  # no SSIM differs by 2
    assert "SSIM" in compared.verdict


def test_a_folder_that_is_not_ours_is_left_alone(pairs, tmp_path):
    precious = tmp_path / "r.cells"
    precious.mkdir()
    (precious / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match="not made by Everhart"):
        run(pairs, cells=precious, overwrite=True)
    assert (precious / "thesis.txt").read_text(encoding="utf-8") == "precious"


def test_cells_keep_every_number(tmp_path):
    store = CellStore.open(tmp_path / "c.cells", resume=False, overwrite=False)
    figures = {"a": 0.1 + 0.2, "b": float("inf"), "c": float("-inf"), "d": float("nan")}
    store.save("k" * 64, "x/../y", Cell("m", figures, {"shape": [1, 2]}))
    found = store.load("k" * 64, "x/../y")
    assert found is not None
    assert str(found.figures) == str(figures)
    assert store.load("j" * 64, "x/../y") is None
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "c.cells"}


def test_one_image_at_a_time_is_in_memory(pairs, tmp_path, monkeypatch):
    """Pictures of an image are gone before the next one is begun."""
    import gc
    import weakref

    from everhart.report import run as running

    alive: list[weakref.ref] = []
    most = 0
    known = running._run

    def watched(images, method, device):
        nonlocal most
        found = known(images, method, device)
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        alive.extend(weakref.ref(one) for one in found[0])
        return found

    monkeypatch.setattr(running, "_run", watched)
    compared = run(pairs)
    del compared
    assert len(alive) == 10
    assert most <= 1  # the one of the method before


class Page(HTMLParser):
    VOID = frozenset({"meta", "link", "img", "input", "br", "line", "circle", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_needs_nothing_else(compared):
    text = render_dataset_html(compared)
    assert text.startswith("<!DOCTYPE html>")
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(source.startswith("data:") for source in page.sources)
    assert "default-src 'none'" in text
    pictures = sum(len(image.pictures) for image in compared.shown)
    assert sum(s.startswith("data:image/png") for s in page.sources) == pictures
    for said in ("im4.tif", "Worst of", "95 % interval", "5 images, 2 methods"):
        assert said in text


def test_names_are_text(pairs, tmp_path):
    if sys.platform == "win32":
        pytest.skip("Windows has no such file names")
    evil = tmp_path / "<img src=x onerror=alert(1)>.tif"
    shutil.copy(pairs / "noisy" / "im0.tif", evil)
    text = render_dataset_html(compare_dataset([evil], ["median"]))
    assert "<img src=x" not in text
    Page(text)


def test_files_beside_the_page(compared, tmp_path):
    paths = write_dataset(compared, tmp_path / "r.html")
    record = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(plain(compared.to_dict())))
    assert record["worst_first"][0] == "im4.tif"
    assert record["wins"]["median"] == {
        str(k): int(v) for k, v in compared.wins.loc["median"].items()
    }
    rows = list(csv.DictReader(io.StringIO(paths["csv"].read_text(encoding="utf-8"))))
    assert len(rows) == 15
    assert rows[0]["height_px"] == "40"
    for row in rows:
        assert float(row["psnr_db"]) == compared.wide("psnr_db").loc[row["image"], row["method"]]
    with pytest.raises(UsageError, match="exists already"):
        write_dataset(compared, tmp_path / "r.html")


def test_a_thousand_images_stay_a_small_page():
    from everhart.report.dataset_result import DatasetComparison, DatasetImage, ShownImage

    rng = np.random.default_rng(0)
    methods = tuple(f"method-{i}" for i in range(9))
    facts = {"shape": [192, 192], "dtype": "uint8", "pixel_size_nm": [2.0, 2.0],
             "data_range": 255.0, "crop_yx_px": [0, 0]}  # fmt: skip
    images = tuple(
        DatasetImage(
            f"folder/image-{i:04d}.tif",
            {"image": "0" * 64},
            None,
            facts,
            {m: {"affine_psnr_db": float(rng.normal(30, 2))} for m in ("noisy", *methods)},
        )
        for i in range(1000)
    )
    compared = DatasetComparison(images, methods, (), "affine_psnr_db", 0.05)

    def crop(image: str, method: str, role: str):
        return rng.integers(0, 256, (192, 192), dtype=np.uint8)

    from everhart.report.dataset_shown import choose_shown

    whole = choose_shown(compared, crop)
    assert 10 <= len(whole.shown) <= 14
    assert isinstance(whole.shown[0], ShownImage)
    text = render_dataset_html(whole)
    assert len(text) < 20e6
    Page(text)
