"""Images: what goes in comes out, twice is once, and what cannot be read leaves nothing."""

from __future__ import annotations

import hashlib
import io
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from everhart import Micrograph
from everhart.io import write

from .served import Server, tiff


def upload(http: httpx.Client, content: bytes, name: str = "image.tif") -> httpx.Response:
    return http.post("/v1/images", params={"name": name}, content=content)


def test_what_goes_in_comes_out(http: httpx.Client, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65535, (40, 60)).astype(np.uint16)
    content = write(Micrograph(pixels, (1.5, 2.0)), tmp_path / "a.tif").read_bytes()
    answer = upload(http, content, "Wafer 7 µm.tif")
    assert answer.status_code == 201
    found = answer.json()
    assert found["id"] == hashlib.sha256(content).hexdigest()
    assert answer.headers["location"] == f"/v1/images/{found['id']}"
    assert (found["name"], found["bytes"]) == ("Wafer 7 µm.tif", len(content))
    assert (found["height"], found["width"], found["frames"]) == (40, 60, 1)
    assert found["pixel_size_nm"] == [1.5, 2.0]
    assert found["dtype"] == "uint16"
    assert http.get(answer.headers["location"]).json() == found
    original = http.get(f"/v1/images/{found['id']}/original")
    assert original.content == content
    assert original.headers["content-disposition"].startswith("attachment")
    tree = http.get(f"/v1/images/{found['id']}/metadata").json()["metadata"]
    assert tree["everhart"]["format"] == "TIFF"


def test_the_same_file_twice_is_one_image(http: httpx.Client):
    content = tiff(1)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: upload(http, content, f"{n}.tif"), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert [answer.status_code for answer in answers].count(201) == 1
    assert len({answer.text for answer in answers}) == 1


def test_an_image_of_truth_values_is_shown(http: httpx.Client):
    stream = io.BytesIO()
    np.save(stream, np.eye(40, dtype=bool))
    identity = upload(http, stream.getvalue(), "mask.npy").json()["id"]
    for path in ("preview.png", "tiles/0/0/0.png"):
        picture = Image.open(io.BytesIO(http.get(f"/v1/images/{identity}/{path}").content))
        assert np.array_equal(np.asarray(picture) > 128, np.eye(40, dtype=bool))


def test_warnings_speak_of_names(server: Server):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "BMP")
    found = upload(server.http, stream.getvalue(), "colours.bmp").json()
    assert found["warnings"][0].startswith("colours.bmp: ")
    assert str(server.folder) not in str(found["warnings"])


def test_preview_is_a_png_of_the_size_asked_for(http: httpx.Client):
    identity = upload(http, tiff(2, (300, 400))).json()["id"]
    answer = http.get(f"/v1/images/{identity}/preview.png", params={"longest_px": 100})
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("PNG", (100, 75))
    assert http.get(f"/v1/images/{identity}/preview.png?frame=1").status_code == 422


def test_lists_are_paged_and_filtered(http: httpx.Client):
    names = [f"paged {n}%.tif" for n in range(5)]
    for number, name in enumerate(names):
        assert upload(http, tiff(100 + number), name).status_code == 201
    upload(http, tiff(110), "other.tif")
    found, cursor = [], None
    while True:
        params = {"limit": 2, "name": "PAGED", **({"cursor": cursor} if cursor else {})}
        page = http.get("/v1/images", params=params).json()
        found += [image["name"] for image in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == names[::-1]
    assert (
        http.get("/v1/images", params={"name": "paged 3%"}).json()["items"][0]["name"] == names[3]
    )
    assert http.get("/v1/images", params={"format": "PNG", "name": "paged"}).json()["items"] == []
    late = {"since": "2999-01-01T00:00:00Z"}
    assert http.get("/v1/images", params=late).json()["items"] == []
    for wrong in ("x", "AAAA", "é"):
        assert http.get("/v1/images", params={"cursor": wrong}).status_code == 422


@pytest.mark.parametrize(
    "name",
    ["../../../etc/x", "..\\..\\x.exe", "/etc/passwd", "a\0b\n\u202e.tif", "con", "." * 50],
)
def test_hostile_names_are_text(server: Server, name: str):
    seed = zlib.crc32(name.encode())
    answer = upload(server.http, tiff(seed), name)
    assert answer.status_code == 201
    kept = answer.json()["name"]
    assert "/" not in kept
    assert "\\" not in kept
    assert kept.isprintable()
    identity = answer.json()["id"]
    inside = {path.name for path in server.folder.rglob("*") if path.is_file()}
    assert identity in inside
    assert kept not in inside
    assert server.http.get(f"/v1/images/{identity}/preview.png").status_code == 200


def test_ids_are_hashes_and_nothing_else(http: httpx.Client):
    for wrong in ("x", "..%2f..%2fetc%2fpasswd", "A" * 64, "0" * 63):
        assert http.get(f"/v1/images/{wrong}").status_code in (404, 422)
    assert http.get(f"/v1/images/{'0' * 64}/original").status_code == 404


def png_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"no image at all", 422),
        (tiff(3)[:-200], 422),
        (png_bomb(), 413),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, "
         b"'shape': (900000, 900000), }".ljust(128), 413),
    ],
    ids=["empty", "text", "truncated", "png-bomb", "npy-bomb"],
)  # fmt: skip
def test_what_cannot_be_read_leaves_nothing(server: Server, content: bytes, status: int):
    server.http.get("/ready")
    before = sum(p.memory_info().rss for p in family(server))
    started = time.process_time(), time.monotonic()
    answer = upload(server.http, content, "bad.tif")
    assert answer.status_code == status, answer.text
    assert str(server.folder) not in answer.text
    assert "Traceback" not in answer.text
    assert sum(p.memory_info().rss for p in family(server)) - before < 300e6
    assert time.monotonic() - started[1] < 30
    identity = hashlib.sha256(content).hexdigest()
    assert server.http.get(f"/v1/images/{identity}").status_code == 404
    assert not list(server.folder.rglob(identity))
    assert not list((server.folder / "scratch").glob("upload-*"))


def family(server: Server) -> list[psutil.Process]:
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def test_a_client_that_is_cut_off_leaves_nothing(server: Server):
    content = tiff(4)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        request = f"POST /v1/images?name=cut.tif HTTP/1.1\r\nHost: {host}\r\n"
        client.sendall(f"{request}Content-Length: {len(content)}\r\n\r\n".encode() + content[:-9])
        time.sleep(0.3)
    for _ in range(100):
        if not list((server.folder / "scratch").glob("upload-*")):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the temporary file is still there")
    assert server.http.get(f"/v1/images/{hashlib.sha256(content).hexdigest()}").status_code == 404


def test_the_body_is_limited_while_it_streams(server: Server):
    def endless():
        for _ in range(10_000):
            yield b"x" * 1000

    assert server.http.post("/v1/images?name=a", content=endless()).status_code == 413
    assert upload(server.http, b"x" * 4_000_001).status_code == 413
    assert not list((server.folder / "scratch").glob("upload-*"))


def test_a_crashed_reader_is_replaced(server: Server):
    upload(server.http, tiff(5))
    for child in family(server)[1:]:
        child.kill()
    assert upload(server.http, tiff(6)).status_code == 201
