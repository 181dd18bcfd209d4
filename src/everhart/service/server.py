"""Run the server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from everhart.errors import EverhartError, UsageError
from everhart.service.logs import set_up_logs
from everhart.service.settings import Settings

__all__ = ["serve"]


def serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    settings
        The settings.
    on_listening
        Called with the URL once the port is taken.

    Raises
    ------
    UsageError
        If others than this machine would be served without tokens, or a hot folder is not there.
    EverhartError
        If the port is taken, or the database cannot be used.
    """
    from everhart.service.database import migrate
    from everhart.service.watching import check_watched

    set_up_logs()
    check_watched(settings)
    migrate(settings)
    _check_tokens(settings)
    listening = _listen(settings)
    import uvicorn

    from everhart.service.app import make_app

    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        make_app(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 << 10,
    )
    on_listening(f"http://{shown}:{port}")
    try:
        with listening:
            uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    # Jobs that run are gone on with after the next start; nothing waits for their threads.
    sys.stderr.flush()
    os._exit(0)


def _check_tokens(settings: Settings) -> None:
    from everhart.service.database import Database
    from everhart.service.tokens import has_live_token

    if not settings.needs_tokens:
        return
    database = Database(settings)
    try:
        if has_live_token(database):
            return
    finally:
        database.close()
    raise UsageError(
        f"Requests to {settings.host} need a token and there is none: make one first with "
        "`everhart token create NAME`, or serve on 127.0.0.1."
    )


def _listen(settings: Settings) -> socket.socket:
    listening = None
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off only where the protocol is said; with it, the body
        # of an answer waits 40 ms for the client to acknowledge its head.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name != "nt":  # there it would let two servers share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)  # clients may come from now on; they wait until it has started
    except OSError as error:
        if listening is not None:
            listening.close()
        raise EverhartError(
            f"The address {settings.host}:{settings.port} cannot be listened on "
            f"({error.strerror}): give another --port, or stop what has it."
        ) from error
    return listening
