"""Who may do what: the token of a request, and the scope that a route asks for."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from everhart.service.problems import ProblemError
from everhart.service.state import StateOf
from everhart.service.tables import Token
from everhart.service.tokens import SCOPES, identity_of, is_right

__all__ = ["Admin", "Reader", "Runner", "WrongTokens"]

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A token of the service.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]

_MINUTE_S: Final = 60.0
_MOST_ADDRESSES: Final = 10_000


class WrongTokens:
    """Counts the wrong tokens of each address in the last minute.

    Parameters
    ----------
    allowed
        How many an address may send in a minute.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> bool:
        """Count one, and say whether it was one too many."""
        times = self._times.setdefault(address, deque(maxlen=self.allowed + 1))
        self._times.move_to_end(address)
        if len(self._times) > _MOST_ADDRESSES:  # whoever has many addresses fills no memory
            self._times.popitem(last=False)
        moment = time.monotonic()
        times.append(moment)
        while times[0] < moment - _MINUTE_S:
            times.popleft()
        return len(times) > self.allowed


class _Scope:
    """A route's demand for a token with a scope; gives the id of the token."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(self, request: Request, state: StateOf, given: Credentials) -> str:
        """Return the id of the token, empty where no tokens are asked for."""
        if not state.settings.needs_tokens:
            return ""
        if given is None:
            raise ProblemError(
                401,
                "The request has no token: send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        token = None
        if (identity := identity_of(given.credentials)) is not None and identity.isalnum():
            token = await state.database.get(Token, identity)
        # A right token passes however many wrong ones came from the same address: it cannot be
        # found by trying, and those behind one address are many.
        if token is None or not is_right(token, given.credentials):
            address = request.client.host if request.client else ""
            if state.wrong_tokens.add(address):
                raise ProblemError(
                    429,
                    "Too many wrong tokens came from this address: wait a minute.",
                    {"Retry-After": "60"},
                )
            raise ProblemError(
                401,
                "The token is wrong, expired or revoked: ask for a new one.",
                {"WWW-Authenticate": "Bearer"},
            )
        if not any(SCOPES.index(scope) >= SCOPES.index(self.scope) for scope in token.scopes):
            raise ProblemError(
                403,
                f"The token allows {', '.join(token.scopes)}: this needs {self.scope}; ask for "
                "one that has it.",
            )
        return token.id


Reader = Annotated[str, Security(_Scope("read"))]
"""Of a route that looks."""
Runner = Annotated[str, Security(_Scope("run"))]
"""Of a route that uploads or runs."""
Admin = Annotated[str, Security(_Scope("admin"))]
"""Of a route that deletes."""
