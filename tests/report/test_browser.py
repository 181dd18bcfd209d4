"""The page in a real browser: slider, choices, crops, table, and silence on the network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart.report import Comparison, compare, write_html
from everhart.report.pairing import Item

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,900",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver_binary = shutil.which("chromedriver")
    if binary is None or driver_binary is None:
        pytest.skip("no chromium with its chromedriver was found")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # chromium does not start as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_binary))
    yield driver
    driver.quit()


def open_page(browser: Any, comparison: Comparison, path: Path) -> Any:
    browser.get(write_html(comparison, path).as_uri())
    WebDriverWait(browser, 20).until(lambda b: drawn(b) > 0)
    return browser


def drawn(browser: Any, section: str = "#image-0") -> int:
    """Count the canvases that show more than one grey level."""
    return browser.execute_script(
        """return [...document.querySelectorAll(arguments[0] + ' canvas')].filter((canvas) => {
             const item = canvas.closest('li');
             if (item.hidden || !canvas.width) return false;
             const ink = canvas.getContext('2d');
             const data = ink.getImageData(0, 0, canvas.width, canvas.height).data;
             return new Set(data.filter((_, i) => i % 4 === 0)).size > 1;
           }).length""",
        section,
    )


@pytest.fixture
def page(browser, with_reference: Comparison, tmp_path: Path) -> Any:
    return open_page(browser, with_reference, tmp_path / "report.html")


def find(page: Any, selector: str) -> Any:
    return page.find_element(By.CSS_SELECTOR, selector)


def split_of(page: Any) -> float:
    """Where the divider really is, in percent of the picture's width."""
    return page.execute_script(
        """const frame = document.querySelector('.stage').getBoundingClientRect();
           const line = document.querySelector('.divider').getBoundingClientRect();
           return 100 * (line.left + line.width / 2 - frame.left) / frame.width;"""
    )


def complaints(page: Any) -> list[str]:
    """What the browser's console holds, but for its advice on this test's own reading of pixels."""
    messages = [entry["message"] for entry in page.get_log("browser")]
    return [message for message in messages if "getImageData" not in message]


def test_no_errors_and_no_requests(browser, with_reference: Comparison, tmp_path: Path):
    browser.get_log("performance")  # what the browser did before
    page = open_page(browser, with_reference, tmp_path / "report.html")
    for label in page.find_elements(By.CSS_SELECTOR, ".crops fieldset label"):
        label.click()
    assert complaints(page) == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requested = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.startswith("file:") for url in requested)
    # chrome: is the browser's own drawing of form fields
    assert [u for u in requested if not u.startswith(("file:", "data:", "chrome:"))] == []
    assert len([url for url in requested if url.startswith("file:")]) == 1


def test_slider_by_keyboard_and_pointer(page):
    slider = find(page, "input.split")
    assert split_of(page) == pytest.approx(50, abs=0.5)
    slider.send_keys(Keys.HOME)
    assert split_of(page) == pytest.approx(0, abs=0.5)
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert split_of(page) == pytest.approx(5, abs=0.5)
    assert "% noisy" in slider.get_attribute("aria-valuetext")
    stage = find(page, ".stage")
    width = stage.size["width"]
    ActionChains(page).move_to_element_with_offset(stage, 0, 0).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    assert split_of(page) == pytest.approx(75, abs=1)
    assert float(slider.get_attribute("value")) == pytest.approx(75, abs=1)


def test_any_two_pictures(page):
    left, right = Select(find(page, "select.left")), Select(find(page, "select.right"))
    names = [option.text for option in left.options]
    assert names == ["noisy", "median", "gaussian", "tv", "reference"]
    assert left.first_selected_option.text == "noisy"
    assert right.first_selected_option.text in ("median", "gaussian", "tv")
    left.select_by_visible_text("tv")
    right.select_by_visible_text("reference")
    over, under = find(page, ".over"), find(page, ".under")
    assert over.get_attribute("alt") == "Left of the divider: tv"
    assert under.get_attribute("alt") == "Right of the divider: reference"
    sources = over.get_attribute("src"), under.get_attribute("src")
    assert sources[0] != sources[1]
    find(page, ".swap").click()
    assert (under.get_attribute("src"), over.get_attribute("src")) == sources
    assert left.first_selected_option.text == "reference"
    assert find(page, ".tag-left").text == "reference"


def test_pictures_lie_on_one_another(page):
    frames = page.execute_script(
        """return ['.over', '.under', '.stage'].map((s) => {
             const r = document.querySelector(s).getBoundingClientRect();
             return [r.left, r.top, r.width, r.height].map(Math.round); })"""
    )
    assert frames[0] == frames[1] == frames[2]
    width, height = page.execute_script(
        "const i = document.querySelector('.over'); return [i.naturalWidth, i.naturalHeight]"
    )
    assert frames[0][2] / frames[0][3] == pytest.approx(width / height, rel=0.01)


def choose(page: Any, what: str, value: str) -> None:
    find(page, f'input[name="image-0-{what}"][value="{value}"]').find_element(
        By.XPATH, ".."
    ).click()


def captions(page: Any) -> list[str]:
    return [
        element.text
        for element in page.find_elements(By.CSS_SELECTOR, "#image-0 .grid figcaption b")
        if element.is_displayed()
    ]


def test_same_crop_of_every_picture(page):
    assert captions(page) == ["noisy", "median", "gaussian", "tv", "reference"]
    WebDriverWait(page, 10).until(lambda b: drawn(b) == 5)
    choose(page, "show", "removed")
    assert captions(page) == ["median", "gaussian", "tv"]
    WebDriverWait(page, 10).until(lambda b: drawn(b) == 3)
    assert "Removed = noisy" in find(page, ".reading:not([hidden])").text
    choose(page, "show", "error")
    assert captions(page) == ["noisy", "median", "gaussian", "tv"]
    WebDriverWait(page, 10).until(lambda b: drawn(b) == 4)


def crop_px(page: Any) -> int:
    return int(find(page, ".field").text.split()[1])


def test_magnification_is_exact(page):
    shown = page.execute_script("return document.querySelector('.grid canvas').clientWidth")
    for zoom in (1, 2, 4):
        choose(page, "zoom", str(zoom))
        side = min(shown // zoom, 210)
        assert crop_px(page) == pytest.approx(side, abs=8 if zoom == 1 else 0)
    assert "nm wide" in find(page, ".field").text


def test_crop_moves_by_click_and_by_key(page):
    choose(page, "zoom", "4")
    box = find(page, ".cropbox")
    before = find(page, ".field").text
    stage = find(page, ".stage")
    ActionChains(page).move_to_element_with_offset(
        stage, -stage.size["width"] // 4, -stage.size["height"] // 4
    ).click().perform()
    clicked = find(page, ".field").text
    assert clicked != before
    assert split_of(page) == pytest.approx(50, abs=0.5)  # a click is no drag
    box.send_keys(Keys.ARROW_RIGHT)
    moved = find(page, ".field").text
    columns = [int(text.split("column ")[1].split(",")[0]) for text in (clicked, moved)]
    assert columns[1] == columns[0] + 8


def column(page: Any, index: int) -> list[str]:
    rows = page.find_elements(By.CSS_SELECTOR, "#image-0-table tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[index].text for row in rows]


def test_table_sorts(page):
    heads = page.find_elements(By.CSS_SELECTOR, "#image-0-table thead button")
    titles = [head.text for head in heads]
    psnr = next(i for i, title in enumerate(titles) if title.startswith("PSNR"))
    heads[psnr].click()
    values = [float(text.split()[0]) for text in column(page, psnr)]
    assert values == sorted(values, reverse=True)
    head = heads[psnr].find_element(By.XPATH, "..")
    assert head.get_attribute("aria-sort") == "descending"
    heads[psnr].send_keys(Keys.ENTER)
    assert [float(text.split()[0]) for text in column(page, psnr)] == sorted(values)
    time = next(i for i, title in enumerate(titles) if title.startswith("Time"))
    for _ in range(2):  # the image itself took no time: last in either order
        heads[time].click()
        assert column(page, 0)[-1] == "noisy"
    heads[0].click()
    assert column(page, 0) == ["gaussian", "median", "noisy", "tv"]


def luminance(colour: str) -> float:
    parts = [int(float(v)) / 255 for v in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_can_be_read(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    ground = luminance(
        page.execute_script("return getComputedStyle(document.body).backgroundColor")
    )
    assert (ground < 0.1) == (scheme == "dark")
    for selector in ("body", ".muted", ".kind", "td.best", "#image-0-table tbody tr", "select"):
        ink, own = page.execute_script(
            "const s = getComputedStyle(document.querySelector(arguments[0]));"
            "return [s.color, s.backgroundColor]",
            selector,
        )
        behind = ground if own == "rgba(0, 0, 0, 0)" else luminance(own)
        high, low = max(luminance(ink), behind), min(luminance(ink), behind)
        assert (high + 0.05) / (low + 0.05) >= 4.5, selector  # WCAG 2.2, 1.4.3


def test_nothing_overflows_a_laptop_or_a_phone(page):
    try:
        for width in (1366, 500):
            page.set_window_size(width, 800)
            overflow = page.execute_script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0
    finally:
        page.set_window_size(1366, 900)


def test_several_images_open_one_by_one(browser, noisy, tmp_path: Path):
    comparison = compare([noisy, noisy], ["median", "gaussian"])
    page = open_page(browser, comparison, tmp_path / "several.html")
    assert not find(page, "#image-1 .viewer").is_displayed()
    find(page, "#image-1 summary").click()
    WebDriverWait(page, 10).until(lambda b: drawn(b, "#image-1") == 3)
    assert find(page, "#summary-table").is_displayed()
    assert complaints(page) == []


def test_large_image_shows_full_resolution_crops(browser, rng, tmp_path: Path):
    large = np.full((900, 1800), 60, np.uint8)
    # Stripes of single pixels: any picture made smaller would show them as grey.
    large[400:600:2, 1200:1500] = 200
    comparison = compare(large, ["median"], reference=large, alignment="none")
    page = open_page(browser, comparison, tmp_path / "large.html")
    choose(page, "zoom", "4")
    levels = page.execute_script(
        """const canvas = document.querySelector('#image-0 canvas');
           const ink = canvas.getContext('2d');
           const data = ink.getImageData(0, 0, canvas.width, canvas.height).data;
           return [...new Set(data.filter((_, i) => i % 4 === 0))]"""
    )
    assert len(levels) == 2


def test_a_data_set(browser, noisy, specimen, tmp_path: Path):
    from everhart.io import write
    from everhart.report import compare_dataset, write_dataset

    rng = np.random.default_rng(4)
    for index in range(3):
        again = np.clip(rng.normal(specimen[:96, :128], 8 + 8 * index), 0, 255).astype(np.uint8)
        write(again, tmp_path / f"im{index}.tif")
    (tmp_path / "clean").mkdir()
    write(specimen[:96, :128].astype(np.float32), tmp_path / "clean" / "im.tif")
    items = [
        Item(f"im{i}.tif", tmp_path / f"im{i}.tif", tmp_path / "clean" / "im.tif") for i in range(3)
    ]
    compared = compare_dataset(items, ["median", "gaussian"], alignment="none", data_range=255)
    path = write_dataset(compared, tmp_path / "set.html")["html"]
    browser.get(path.as_uri())
    assert complaints(browser) == []
    sizes = browser.execute_script(
        """return [...document.querySelectorAll('.crops-row img')].map((image) =>
             [image.naturalWidth, image.clientWidth / image.clientHeight])"""
    )
    assert len(sizes) == 3 * 4
    assert all(width > 0 and ratio == pytest.approx(1, abs=0.02) for width, ratio in sizes)
    rows = "#images-table tbody th"
    names = [element.text for element in browser.find_elements(By.CSS_SELECTOR, rows)]
    assert names == ["im2.tif", "im1.tif", "im0.tif"]  # the worst first
    heads = browser.find_elements(By.CSS_SELECTOR, "#images-table thead button")
    heads[2].click()  # by PSNR of the median, from high to low
    names = [element.text for element in browser.find_elements(By.CSS_SELECTOR, rows)]
    assert names == ["im0.tif", "im1.tif", "im2.tif"]
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
