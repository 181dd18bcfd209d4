"""Files of a command spread over the workers of a Dask cluster, or of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, TypeVar

import typer

from everhart.errors import EverhartError, UsageError

__all__ = ["Cluster", "each", "on_cluster"]

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
    if find_spec("distributed") is None:
        raise UsageError(
            "--cluster was given and Dask is not installed: install everhart[cluster], or leave "
            "--cluster out."
        )
    from distributed import as_completed

    with _client(address) as client:
        futures = client.map(work, list(items), pure=False)
        of = {future.key: item for future, item in zip(futures, items, strict=True)}
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            error = future.exception()
            yield of[future.key], future.result() if error is None else error


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    # One thread a process: the files are what is spread, and a network's threads would compete.
    settings = {"distributed.logging.distributed": "error"}
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        if address == "local":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=cores or os.cpu_count() or 1,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
            )
            where = stack.enter_context(cluster)
        else:
            where = address
        try:
            client = Client(where, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise UsageError(
                f"--cluster {address!r} was given: give the address of a scheduler, such as "
                "tcp://10.0.0.1:8786, or local."
            ) from error
        except OSError as error:
            raise EverhartError(
                f"The Dask cluster {address} does not answer: check that its scheduler runs."
            ) from error
        yield stack.enter_context(client)
