"""The page as text: it needs nothing else, and nothing in it becomes markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart.report import Comparison, Source, compare, render_html, write_html


class Page(HTMLParser):
    """Collect what a page refers to, and check that its elements close."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "action", "srcset", "data"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def test_page_needs_nothing_else(with_reference: Comparison):
    text = render_html(with_reference)
    page = Page(text)
    assert all(address.startswith("data:") for address in page.addresses)
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\(", text.split("<script type")[0])
    assert outside == []
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))


def test_page_states_how_the_figures_came_about(with_reference: Comparison):
    dy, dx = with_reference.images[0].alignment["reference"].shift_px
    words = " ".join(Page(render_html(with_reference)).text.split())
    for said in (
        "Data range 255 grey levels.",
        "MS-SSIM over 5 scales.",
        f"The reference was moved by {dy:+.2f} px in y and {dx:+.2f} px in x",
        "columns were cut at each border",
        "All pictures show grey levels",
        "one scale for all: black −",
        "sampled every 5 ms",
        with_reference.images[0].source.sha256,
        eh.__version__,
    ):
        assert said in words


def test_first_table_is_short_and_the_rest_opens(with_reference: Comparison):
    text = render_html(with_reference)
    (first,) = re.findall(r'<table class="figures" id="image-0-table">.*?</table>', text, re.S)
    (more,) = re.findall(r'<details class="more">.*?</details>', text, re.S)
    for title in ("PSNR", "SSIM", "MS-SSIM", "FSIM", "Edges"):
        assert re.search(rf">{title}( <small>dB</small>)?</button>", first)
    for title in ("FSIM, full", "GMSD", "EPI", "UIQ", "CNR"):
        assert f">{title}<" in more
        assert f">{title}<" not in first
    assert 'id="image-0-table-more"' in more
    assert more.count('class="number best"') == 4  # no method is best by CNR
    assert "Universal quality index" in Page(text).text


def test_page_without_a_reference_has_no_more_figures(noisy):
    assert 'class="more"' not in render_html(compare(noisy, ["median"]))


def test_names_are_text(noisy):
    evil = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>.tif'
    comparison = compare(noisy, ["median"])
    image = replace(comparison.images[0], source=Source(evil, "0" * 64))
    text = render_html(Comparison((image,), {"everhart": "1", "command": evil}))
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert evil in Page(text).text


def test_data_of_the_script(with_reference: Comparison):
    text = render_html(with_reference)
    (block,) = re.findall(r'<script type="application/json" class="data">(.*?)</script>', text)
    data = json.loads(block)
    names = [picture["name"] for picture in data["pictures"]]
    assert names == ["noisy", "median", "gaussian", "tv", "reference"]
    assert data["pixelSizeNm"] == 5.0
    for picture in data["pictures"]:
        assert (picture["removed"] is None) == (picture["name"] in ("noisy", "reference"))
        assert (picture["error"] is None) == (picture["name"] == "reference")
        assert picture["detail"] is None  # the image is small: the overview has every pixel


def test_large_images_are_kept_manageable(rng):
    coarse = rng.integers(50, 200, (20, 30))
    large = np.kron(coarse, np.ones((64, 64))).astype(np.uint8)
    text = render_html(compare(large, ["gaussian"]))
    (block,) = re.findall(r'<script type="application/json" class="data">(.*?)</script>', text)
    data = json.loads(block)
    assert (data["width"], data["height"]) == (1920, 1280)
    assert data["region"]["w"] <= 768
    assert all(picture["detail"] for picture in data["pictures"])


def test_second_frame_and_single_frame_say_so(frames, noisy):
    two = Page(render_html(compare(frames, ["median"]))).text
    assert "PSNR estimated from the other frames" in two
    assert "every method restored frames 1, 2, 3 in turn, seeing no other" in two
    assert "Place" in two
    one = Page(render_html(compare(noisy, ["median"]))).text
    assert "only the removed part can be judged" in one
    assert "knows nothing of the specimen" in " ".join(one.split())


def test_several_images_have_a_summary(noisy, specimen):
    page = Page(render_html(compare([noisy, noisy], ["median"], reference=specimen)))
    assert "summary-table" in page.ids
    assert {"image-0", "image-1"} <= set(page.ids)
    assert "Best PSNR, affine of 2 images: median in 2." in page.text


def test_write(with_reference: Comparison, tmp_path: Path):
    path = write_html(with_reference, tmp_path / "r.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(eh.UsageError, match="exists already"):
        write_html(with_reference, path)
    write_html(with_reference, path, overwrite=True)
    with pytest.raises(eh.UsageError, match="does not exist"):
        write_html(with_reference, tmp_path / "missing" / "r.html")
