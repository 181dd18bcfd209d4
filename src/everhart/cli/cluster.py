"""Files of a command spread over the workers of a Dask cluster, or of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from everhart.errors import EverhartError, UsageError

if TYPE_CHECKING:  # pydantic is not needed for these options alone
    from everhart.operations import Parameters

__all__ = ["Cluster", "each", "model_stamp", "on_cluster", "stamp", "with_whole_path"]

ParametersT = TypeVar("ParametersT", bound="Parameters")
Item = TypeVar("Item")
Result = TypeVar("Result")

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Spread the files over a Dask cluster whose workers see the same folders; local for "
        "one process a core of this machine.",
    ),
]

_CONNECT_S = 15
_LOOK_S = 5
"""How often it is looked whether the cluster is there, in s."""

_AHEAD, _AHEAD_OF_THREAD = 64, 3
"""How many items the scheduler has, at least and for each thread of a worker.

It keeps some 10 kB for each, so that a million at once would fill its memory.
"""

_ROUNDS = 3
"""How often all that is left is begun again after a process of this machine died."""


def each(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | Exception]]:
    """Do the work for one item after another; give each with its result, or what it raised."""
    for item in items:
        try:
            yield item, work(item)
        except Exception as error:  # a batch goes on after a file that fails
            yield item, error


def on_cluster(
    work: Callable[[Item], Result], items: Sequence[Item], address: str
) -> Iterator[tuple[Item, Result | Exception]]:
    """Do the work for all items on a cluster; give each as it is done.

    Parameters
    ----------
    work
        A function of a module, or an object of a class of a module, that can be sent.
    items
        What it is called with.
    address
        Of the scheduler, such as ``tcp://10.0.0.1:8786``; or ``"local"``.

    Yields
    ------
    item, result
        In the order in which they are done; of an item that failed, the exception. An item whose
        worker is lost is begun again on another one.

    Raises
    ------
    UsageError
        If Dask is not installed, or the address is none.
    EverhartError
        If the cluster does not answer.
    """
    if address == "local":
        yield from _on_this_machine(work, items)
        return
    if find_spec("distributed") is None:
        raise UsageError(
            "--cluster was given and Dask is not installed: install everhart[cluster], or give "
            "--cluster local."
        )
    from distributed import wait

    with _client(address) as client:
        of: dict[Any, Item] = {}
        coming = iter(items)
        threads = sum(client.nthreads().values())
        while True:
            ahead = max(_AHEAD, _AHEAD_OF_THREAD * threads) - len(of)
            if ahead > 0 and (more := list(islice(coming, ahead))):
                of.update(zip(client.map(work, more, pure=False), more, strict=True))
            if not of:
                return
            try:
                done = wait(list(of), _LOOK_S, "FIRST_COMPLETED").done  # type: ignore[no-untyped-call]
            except TimeoutError:
                threads = sum(client.nthreads().values())
                if threads:
                    continue
                raise _gone(address) from None
            except CancelledError as lost:  # the scheduler is away, and with it all it knew
                raise _gone(address) from lost
            for future in done:
                item, error = of.pop(future), future.exception()
                yield item, future.result() if error is None else error


def with_whole_path(parameters: ParametersT) -> ParametersT:
    """Return parameters with the whole path of a model that was given as a file.

    Workers are in folders of their own.
    """
    from everhart.restore.models import model_paths

    model = getattr(parameters, "model", None)
    if model is None or str(model) in model_paths():
        return parameters
    return parameters.model_copy(update={"model": str(Path(model).expanduser().absolute())})


def stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None where there is none.

    The workers of a cluster live on from command to command: what they keep of a file, they keep
    by this.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def model_stamp(parameters: Parameters) -> tuple[int, int] | None:
    """Return the :func:`stamp` of the model that parameters name; None without a model."""
    from everhart.restore.models import find_model

    model = getattr(parameters, "model", None) or getattr(parameters, "method", None)
    try:
        return None if model is None else stamp(find_model(model))
    except UsageError:  # a method that is no model, or a name that is refused later
        return None


def _gone(address: str) -> EverhartError:
    return EverhartError(
        f"The Dask cluster {address} is gone, or has no workers: start it, and give the same "
        "command for the files that are missing."
    )


def _on_this_machine(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | Exception]]:
    """Do the work in one process a core; what was in a process that died is begun again.

    Nobody knows which item killed a process. After some rounds each one that is left gets a
    process of its own, and what kills that has failed.
    """
    left = list(items)
    processes, rounds = _cores(), 0
    while left:
        alone = rounds >= _ROUNDS
        batch = left[:1] if alone else left
        with ProcessPoolExecutor(
            1 if alone else min(processes, len(left)), get_context("spawn"), _start_process
        ) as pool:
            futures = {pool.submit(work, item): item for item in batch}
            try:
                for future in as_completed(futures):
                    item, error = futures[future], future.exception()
                    if isinstance(error, BrokenProcessPool) and not alone:
                        continue
                    left.remove(item)
                    if isinstance(error, BrokenProcessPool):
                        yield item, EverhartError("It ended the process that worked on it.")
                    elif isinstance(error, Exception):
                        yield item, error
                    elif error is not None:
                        raise error
                    else:
                        yield item, future.result()
            finally:  # after Ctrl-C the pool would do all that is left first
                pool.shutdown(cancel_futures=True)
        rounds += 1


def _start_process() -> None:
    """Let a process compute in one thread: there is one for each core."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    from distributed import Client

    # Asked for before Dask is: a client of it that found nothing leaves its loop in disorder.
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host = port = None
    if not (parts.scheme and host and port):
        raise UsageError(
            f"--cluster {address!r} was given: give the address of a scheduler, such as "
            "tcp://10.0.0.1:8786, or local."
        )
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
        client = Client(address, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise EverhartError(
            f"The Dask cluster {address} does not answer: check that its scheduler runs."
        ) from error
    with client:
        yield client
