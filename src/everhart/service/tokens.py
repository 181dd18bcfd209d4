"""Tokens: who may do what, and until when. Of the secret only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select, update

from everhart.errors import UsageError, unknown_name
from everhart.service.database import Database
from everhart.service.tables import Token, now

__all__ = ["SCOPES", "create_token", "has_live_token", "is_right", "list_tokens", "revoke_token"]

SCOPES: Final = ("read", "run", "admin")
"""What a token may allow: to look, to upload and run, to delete. Each includes those before."""

_MARK = "eh"


def create_token(
    database: Database, name: str, scopes: Iterable[str], lifetime: timedelta | None
) -> tuple[Token, str]:
    """Make a token.

    Parameters
    ----------
    database
        The database.
    name
        Whom it is for, in words.
    scopes
        Names of :data:`SCOPES`.
    lifetime
        How long it is good; None for ever.

    Returns
    -------
    Token, str
        Its record, and the token itself, which is kept nowhere.

    Raises
    ------
    UsageError
        If a scope is unknown, the name is empty, or the lifetime is not positive.
    """
    wanted = list(dict.fromkeys(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise unknown_name("scope", scope, SCOPES)
    if not wanted:
        raise UsageError(f"No scope was given: give one of {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > 200:
        raise UsageError("A token needs a name of 1 to 200 characters, to know it by.")
    if lifetime is not None and lifetime <= timedelta(0):
        raise UsageError("A token that has expired already was asked for: give a time above 0.")
    identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    token = Token(
        id=identity,
        name=name,
        secret_sha256=_hash(secret),
        scopes=wanted,
        created_at=now(),
        expires_at=None if lifetime is None else now() + lifetime,
        revoked_at=None,
    )
    with database.writing() as session:
        session.add(token)
    return token, f"{_MARK}_{identity}_{secret}"


def list_tokens(database: Database) -> Sequence[Token]:
    """Return all tokens, the oldest first."""
    with database.reading() as session:
        return session.scalars(select(Token).order_by(Token.created_at, Token.id)).all()


def revoke_token(database: Database, identity: str) -> None:
    """Make a token useless, from the next request on.

    Raises
    ------
    UsageError
        If there is none of this id.
    """
    with database.writing() as session:
        token = session.get(Token, identity)
        if token is None:
            raise UsageError(
                f"There is no token {identity!r}: `everhart token list` shows the ids."
            )
        session.execute(
            update(Token)
            .where(Token.id == identity, Token.revoked_at.is_(None))
            .values(revoked_at=now())
        )


def has_live_token(database: Database) -> bool:
    """Whether there is a token that can be used."""
    return any(is_live(token) for token in list_tokens(database))


def is_live(token: Token) -> bool:
    """Whether a token is neither expired nor revoked."""
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now())


def identity_of(text: str) -> str | None:
    """Return the id in a token, or None if the text is none.

    Examples
    --------
    >>> identity_of("eh_0a1b2c3d4e5f_secret"), identity_of("password")
    ('0a1b2c3d4e5f', None)
    """
    mark, _, rest = text.partition("_")
    identity, _, secret = rest.partition("_")
    return identity if mark == _MARK and len(identity) == 12 and secret else None


def is_right(token: Token, text: str) -> bool:
    """Whether a text is this token, and the token can be used."""
    secret = text.split("_", 2)[2]
    return hmac.compare_digest(token.secret_sha256, _hash(secret)) and is_live(token)


def _hash(secret: str) -> str:
    # 256 random bits cannot be guessed, so a slow hash would protect nothing.
    return hashlib.sha256(secret.encode()).hexdigest()
