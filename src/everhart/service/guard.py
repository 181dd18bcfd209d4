"""What every request goes through: host, origin, size of the body; and headers of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everhart.service.problems import problem_response
from everhart.service.settings import Settings, is_loopback

__all__ = ["Guard", "TooLargeError"]

JSON_BODY_BYTES = 1 << 20
"""Largest body of a request that is not an upload."""

_DRAIN_BYTES = 64 << 20
_DRAIN_S = 5.0

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # What comes from here is data: a browser that shows it runs no script of it.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class TooLargeError(Exception):
    """More of a body came than is allowed."""


class Guard:
    """Middleware around the whole application.

    Parameters
    ----------
    app
        The application inside.
    settings
        The settings.
    count
        Called with the method, status and seconds of each answer.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, count: Callable[[str, int, float], None]
    ) -> None:
        self.app, self.count = app, count
        self.hosts = set(settings.hosts) | {settings.host}
        if is_loopback(settings.host):
            self.hosts |= {"127.0.0.1", "localhost", "::1"}
        # An address that stands for all of a machine says nothing of its names.
        self.any_host = "*" in self.hosts or (
            not settings.hosts and settings.host in ("0.0.0.0", "::")
        )
        self.upload_bytes = {
            f"/v1/{kind}": (
                int(getattr(settings, setting) * 1e6),
                f"; who runs the service can raise {setting}",
            )
            for kind, setting in (("images", "max_upload_mb"), ("models", "max_model_mb"))
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"host", b"origin", b"content-length")
        }
        started, begun, is_read = False, time.monotonic(), False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 400 and not is_read:
                    await _drain(receive)
                self.count(scope["method"], message["status"], time.monotonic() - begun)
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _HEADERS if name not in given),
                ]
            await send(message)

        limit, setting = JSON_BODY_BYTES, ""
        if scope["method"] == "POST":
            limit, setting = self.upload_bytes.get(scope["path"], (limit, setting))
        too_large = f"The body has more than {limit:,} bytes, which is what is allowed{setting}."
        refused = self._refused(headers, limit, too_large)
        if refused is not None:
            status, why = refused
            close = None
            if status == 413:
                close = {"Connection": "close"}
            await problem_response(status, why, close)(scope, receive, answer)
            return

        received = 0

        async def counted() -> Message:
            nonlocal received, is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLargeError
            return message

        try:
            await self.app(scope, counted, answer)
        except TooLargeError:
            if not started:
                response = problem_response(413, too_large, {"Connection": "close"})
                await response(scope, receive, answer)

    def _refused(
        self, headers: dict[bytes, str], limit: int, too_large: str
    ) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        # A page of another site may make a browser call this one; its name then gives it away.
        if not self.any_host and _name(f"//{host}") not in self.hosts:
            return 400, f"The host {host[:100]!r} is not served here: add it to the setting hosts."
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Requests of pages of other sites are not answered."
        length = headers.get(b"content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, "The Content-Length is no number."
        if int(length) > limit:
            return 413, too_large
        return None


async def _drain(receive: Receive) -> None:
    """Read some more of a body, and drop it.

    A connection that is closed while its client still sends is reset, and the client may never
    see the answer.
    """
    dropped = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while dropped < _DRAIN_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
