"""Objects of Qt are not destroyed in threads that read files."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from everhart.desktop.garbage import collected_here


class Ring:
    """Something that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def made_much() -> None:
    kept = [[n] for n in range(200_000)]
    assert kept


def collected_in(found: list[int]) -> None:
    """Make a ring, drop it, and let a thread use memory; `found` gets the collecting thread."""
    gc.collect()
    ring = Ring()
    weakref.finalize(ring, lambda: found.append(threading.get_ident()))
    del ring
    thread = threading.Thread(target=made_much)
    thread.start()
    thread.join()


@pytest.fixture
def is_enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.mark.usefixtures("qapp", "is_enabled")
def test_a_thread_that_uses_memory_collects_nothing(until: Callable[..., None]) -> None:
    found: list[int] = []
    collected_in(found)
    assert found  # as Python has it
    assert found[0] != threading.get_ident()
    found.clear()
    with collected_here(0.05):
        collected_in(found)
        assert not found
        kept = [[n] for n in range(5000)]
        until(lambda: found)  # the event loop did
        assert kept
    assert found == [threading.get_ident()]
    assert gc.isenabled()


@pytest.mark.usefixtures("qapp", "is_enabled")
def test_at_the_end_nothing_is_left() -> None:
    found: list[int] = []
    with collected_here(60), collected_here(60):
        collected_in(found)
        assert not gc.isenabled()
    assert found == [threading.get_ident()]
    assert gc.isenabled()
