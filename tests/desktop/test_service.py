"""A real service on loopback: the same results as here, and what happens when it is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QLineEdit

from everhart import io
from everhart.client import Client
from everhart.desktop.signing_in import SignInDialog
from everhart.desktop.window import MainWindow
from everhart.micrograph import Micrograph

from ..service.served import Server, serving  # noqa: TID252 - tests are no package


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


def sign_in(window: MainWindow, url: str, until, token: str = "") -> None:
    window.service.ask()
    dialog = window.findChild(SignInDialog)
    dialog.url.setText(url)
    dialog.token.setText(token)
    assert dialog.token.echoMode() == QLineEdit.EchoMode.Password
    dialog.accept()
    until(lambda: window.work.backend is not window.local or window.parts.messages.text)


@pytest.mark.slow  # a server is started
def test_the_same_operations_and_results_as_here(shown: MainWindow, folder, server, until):
    here = [operation.name for operation in shown.local.operations()]
    shown.run("denoise", {"method": "median"})
    until(lambda: len(shown.parts.viewer.items) == 2)
    shown.parts.browser.select(folder / "wafer_2.tif")
    until(lambda: len(shown.parts.viewer.items) == 1)
    sign_in(shown, server.url, until)
    until(lambda: shown.parts.where.text() == server.url)
    assert [operation.name for operation in shown.work.backend.operations()] == here
    shown.run("denoise", {"method": "median"})
    until(lambda: len(shown.library.results_of(folder / "wafer_2.tif")) == 2)
    first, second = shown.library.results_of(folder / "wafer_2.tif")
    assert second.record.where == server.url
    assert (io.read(first.path).pixels == io.read(second.path).pixels).all()
    # A job that fails there costs the sentence that it costs here.
    shown.parts.browser.select(folder / "wafer_2.tif")
    until(lambda: len(shown.parts.viewer.items) == 1)
    shown.run("measure-lines", {"unit": "nm"})
    until(lambda: shown.work.queue.jobs[0].has_ended)
    assert shown.work.queue.jobs[0].state == "failed"
    assert shown.parts.messages.text.startswith("wafer_2.tif")
    shown.service.sign_out()
    assert shown.work.backend is shown.local


@pytest.mark.slow  # a server is started
def test_images_of_the_service_are_opened(window: MainWindow, folder: Path, server, until):
    other = folder.parent / "from the microscope.tif"
    io.write(Micrograph(np.eye(80, dtype=np.uint8) * 200, 2.4), other)
    with Client(server.url) as client:
        client.upload(other)
    sign_in(window, server.url, until)
    until(lambda: window.service.backend is not None)
    window.service.open_images("microscope")
    until(lambda: window.parts.viewer.items)
    (item,) = window.parts.viewer.items
    assert item.picture.path.name == "from the microscope.tif"
    assert item.picture.image.pixel_size_nm == (2.4, 2.4)
    window.service.open_images("no such name")
    until(lambda: "no images of such a name" in window.parts.messages.text)


def test_a_wrong_address_costs_a_sentence_and_a_token_is_not_told(
    window: MainWindow, until, tmp_path: Path
):
    sign_in(window, "http://127.0.0.1:1", until, token="evh_secret-token")
    assert "does not answer" in window.parts.messages.text
    assert window.work.backend is window.local
    window.settings.sync()
    kept = Path(window.settings.fileName())
    assert not kept.exists() or "secret" not in kept.read_text()
    assert "secret" not in window.parts.messages.text


@pytest.mark.slow  # two servers are started
def test_a_service_that_is_killed_and_comes_back(shown: MainWindow, folder, tmp_path, until):
    place = tmp_path / "served"
    with serving(place) as first:
        sign_in(shown, first.url, until)
        until(lambda: shown.service.backend is not None)
        port = int(first.url.rsplit(":", 1)[1])
        image = folder / "wafer_2.tif"
        job = shown.work.run("denoise", {"method": "median"}, [image])
        until(lambda: job.has_ended)
        assert job.state == "done"
        first.kill()
        killed = time.monotonic()
        waiting = shown.work.run("denoise", {"method": "gaussian"}, [image])
        until(lambda: shown.parts.service_bar.isVisible(), 10)
        assert time.monotonic() - killed < 5
        assert "does not answer" in shown.parts.service_bar.text
        # Nothing is blocked: images are shown meanwhile.
        shown.open_paths([folder / "other.png"])
        until(lambda: shown.parts.viewer.items[0].picture.path.name == "other.png", 10)
        until(lambda: "waits for the service" in waiting.word, 10)
        assert not waiting.has_ended
    with serving(place, port=port):
        until(lambda: not shown.parts.service_bar.isVisible(), 30)
        until(lambda: waiting.has_ended, 60)
        assert waiting.state == "done"
        assert len(shown.library.results_of(folder / "wafer_2.tif")) == 2
        shown.service.sign_out()
