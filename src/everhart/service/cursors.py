"""Cursors of lists: where the next page begins, whatever is added in the meantime."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

from everhart.service.problems import ProblemError

__all__ = ["after", "make_cursor"]


def make_cursor(created_at: datetime, identity: str) -> str:
    """Return the cursor of what follows an entry."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {identity}".encode()).decode()


def after(cursor: str, created_at: Any, identity: Any) -> ColumnElement[bool]:
    """Return the condition of what follows a cursor, in a list of the newest first.

    Parameters
    ----------
    cursor
        What :func:`make_cursor` gave.
    created_at, identity
        The columns.

    Raises
    ------
    ProblemError
        If it is no cursor.
    """
    try:
        moment, _, last = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        time = datetime.fromisoformat(moment)
        if time.tzinfo is None or not last.isalnum():
            raise ValueError(moment)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(
            422, "The cursor is none of this list: take `next` of the page before."
        ) from error
    return or_(created_at < time, and_(created_at == time, identity < last))
