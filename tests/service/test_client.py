"""The Python client does all of it in a few lines, and goes on when the server restarts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everhart import io
from everhart.client import Client, Result, ResultFile, ServiceError
from everhart.errors import UsageError

from .served import Server, tiff


@pytest.fixture
def client(server: Server):
    with Client(server.url) as made:
        yield made


def test_from_file_to_files(client: Client, tmp_path: Path):
    source = tmp_path / "näme 1.tif"
    source.write_bytes(tiff(60))
    assert "denoise" in [operation.name for operation in client.operations()]
    image = client.upload(source)
    assert (image.name, image.height, image.width) == (source.name, 64, 96)
    assert client.upload(source) == image == client.image(image.id)
    assert image in list(client.images(name="näme"))
    assert client.preview(image.id, longest_px=32).startswith(b"\x89PNG")
    events = []
    job = client.run("denoise", [image.id], on_event=events.append, method="median", key="c-1")
    assert (job.state, job.done) == ("done", 1)
    assert client.is_ready()
    assert [event.kind for event in events] == ["queued", "running", "item", "done"]
    assert client.submit("denoise", [image.id], method="median", key="c-1").id == job.id
    assert client.cancel(job.id).state == "done"
    assert job.id in [other.id for other in client.jobs(state="done")]
    (result,) = client.results(job.id)
    (file,) = client.download(result, tmp_path / "out")
    assert io.read(file).history[-1].operation == "denoise"
    assert np.any(io.read(file).pixels != io.read(source).pixels)
    with pytest.raises(UsageError, match="exists"):
        client.download(result, tmp_path / "out")


def test_tiles_comparisons_and_deletion(client: Client, tmp_path: Path):
    source = tmp_path / "a.tif"
    source.write_bytes(tiff(61, (600, 520)))
    image = client.upload(source)
    levels = client.levels(image.id)
    assert [(level.rows, level.columns) for level in levels] == [(2, 2), (1, 1)]
    assert client.tile(image.id, 1, 0, 0).startswith(b"\x89PNG")
    job = client.compare([image.id], ["median"])
    for _ in client.events(job.id):
        pass
    assert "median" in [run.method for run in client.runs(job.id)]
    assert "sem-general" in [model.name for model in client.models()]
    (result,) = client.results(job.id)
    client.delete_result(result.id)
    assert client.runs(job.id) == []
    client.delete_job(job.id)
    client.delete_image(image.id)
    with pytest.raises(ServiceError, match="There is no image"):
        client.image(image.id)
    with pytest.raises(ServiceError, match="give one, and no pickle"):
        client.upload_model(source, name="a")
    with pytest.raises(ServiceError, match="No model"):
        client.delete_model("a")


def test_errors_are_the_sentences_of_the_service(client: Client, tmp_path: Path):
    with pytest.raises(ServiceError, match="There is no image") as caught:
        client.image("0" * 64)
    assert caught.value.status == 404
    with pytest.raises(ServiceError, match="did you mean 'denoise'"):
        client.submit("denose", ["0" * 64])
    with pytest.raises(UsageError, match="does not exist"):
        client.upload(tmp_path / "nothing.tif")
    with (
        Client("http://127.0.0.1:1") as nobody,
        pytest.raises(ServiceError, match="does not answer"),
    ):
        nobody.job("0" * 32)


def test_a_hostile_service_writes_nowhere_else(client: Client, tmp_path: Path):
    file = ResultFile("../evil.tif", "0" * 64, 1, "image/tiff", None)
    result = Result("0" * 32, "0" * 32, 0, [], "denoise", {}, {}, [file], "")
    with pytest.raises(ServiceError, match="no file name"):
        client.download(result, tmp_path)


def test_a_token_that_cannot_be_sent_is_not_repeated():
    Client(token="evh_0123\n").close()  # as read from a file
    for token in ("evh_01\n23", "evh_s\u00e9cret"):
        with pytest.raises(UsageError, match="characters that no token has") as raised:
            Client(token=token)
        assert token[4:] not in str(raised.value)
