"""The server starts, answers, guards its answers, and refuses what it must."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psutil
import pytest

from everhart.errors import EverhartError, UsageError
from everhart.service.server import serve
from everhart.service.settings import PREFIX, Settings, load_settings, settings_table

from .served import Server


def test_it_answers_soon_and_loads_no_torch(server: Server):
    answer = server.http.get("/health")
    assert answer.json()["status"] == "ok"
    # Mapped files tell which extension modules a process has loaded.
    maps = {entry.path for entry in psutil.Process(server.process.pid).memory_maps()}
    assert not [path for path in maps if "/torch/" in path or "/scipy/" in path]


def test_ready_looks_at_database_and_store(http: httpx.Client):
    for _ in range(300):  # the engine of jobs starts while the server answers already
        if (answer := http.get("/ready")).status_code == 200:
            break
        assert answer.json()["database"]
        assert answer.json()["store"]
        time.sleep(0.1)
    assert answer.json() == {"ready": True, "database": True, "store": True, "jobs": True}


def test_every_answer_has_the_security_headers(http: httpx.Client):
    for path in ("/health", "/openapi.json", "/nothing"):
        headers = http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1"}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing(http: httpx.Client, headers, status):
    answer = http.get("/health", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].endswith(".")


def test_errors_have_one_shape(http: httpx.Client):
    for answer in (http.get("/nothing"), http.delete("/health")):
        assert set(answer.json()) == {"title", "status", "detail"}
        assert answer.json()["status"] == answer.status_code


def test_a_large_body_is_refused_before_it_is_read(http: httpx.Client):
    answer = http.post("/v1/jobs", content=b"x" * (2 << 20))
    assert answer.status_code == 413


def test_others_are_not_served_without_tokens(tmp_path):
    with pytest.raises(UsageError, match="need a token"):
        serve(Settings(folder=tmp_path, host="0.0.0.0", port=0), lambda _: pytest.fail("serves"))


def test_a_taken_port_is_one_sentence(server: Server, tmp_path):
    port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(EverhartError, match=f"The address 127.0.0.1:{port} cannot"):
        serve(Settings(folder=tmp_path, port=port), lambda _: pytest.fail("serves"))


def test_settings_from_file_and_environment(tmp_path, monkeypatch):
    file = tmp_path / "everhart.toml"
    file.write_text('port = 9000\nreaders = 5\ndatabase = "postgresql://u:secret@h/d"\n')
    monkeypatch.setenv(PREFIX + "PORT", "9001")
    settings = load_settings(file)
    assert (settings.port, settings.readers) == (9001, 5)
    assert load_settings(file, port=9002).port == 9002
    assert "secret" not in repr(settings)
    assert settings.database_url == "postgresql+psycopg://u:secret@h/d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "prot"),
        ("port = 70000", "port"),
        ('database = "mysql://x"', "postgresql://"),
        ("port = [", "not TOML"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path, text, said):
    file = tmp_path / "everhart.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_settings(file)


def test_the_page_has_the_table_of_settings():
    page = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
    assert settings_table() in page.read_text("utf-8")
