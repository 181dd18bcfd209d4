"""Cursors of lists: where the next page begins, whatever is added in the meantime."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from everhart.service.database import AsyncDatabase
from everhart.service.problems import ProblemError
from everhart.service.tables import Image, Item, Job, Result, Run

__all__ = ["Cursor", "numbered", "page"]

Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before this one.")
]
_Row = TypeVar("_Row", Image, Job, Run)
_Piece = TypeVar("_Piece", Item, Result)


def _make_cursor(created_at: datetime, identity: str | int) -> str:
    """Return the cursor of what follows an entry."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {identity}".encode()).decode()


async def page(
    database: AsyncDatabase,
    query: Select[Any],
    table: type[_Row],
    limit: int,
    cursor: str | None,
) -> tuple[list[_Row], str | None]:
    """Return a page of a list, the newest first, and the cursor of the next; None on the last.

    Parameters
    ----------
    database
        The database.
    query
        What is listed.
    table
        Its table, with the columns ``created_at`` and ``id``.
    limit
        Most entries of a page.
    cursor
        Where it begins; None for the first.

    Raises
    ------
    ProblemError
        If the cursor is none.
    """
    created_at, identity = table.created_at, table.id
    if cursor is not None:
        query = query.where(_after(cursor, created_at, identity))
    query = query.order_by(created_at.desc(), identity.desc()).limit(limit + 1)
    async with database.reading() as session:
        found: list[_Row] = list(await session.scalars(query))
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], _make_cursor(last.created_at, last.id)


async def numbered(
    session: AsyncSession, table: type[_Piece], job_id: str, start: int, limit: int
) -> list[_Piece]:
    """Return a page of what a job has by number: items, or results."""
    query = (
        select(table)
        .where(table.job_id == job_id, table.number >= start)
        .order_by(table.number)
        .limit(limit)
    )
    return list(await session.scalars(query))


def _after(cursor: str, created_at: Any, identity: Any) -> ColumnElement[bool]:
    """Return the condition of what follows a cursor, in a list of the newest first.

    Parameters
    ----------
    cursor
        What :func:`page` gave.
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
        is_number = identity.type.python_type is int
        if time.tzinfo is None or not (last.isdecimal() if is_number else last.isalnum()):
            raise ValueError(moment)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(
            422, "The cursor is none of this list: take `next` of the page before."
        ) from error
    before = int(last) if is_number else last
    return or_(created_at < time, and_(created_at == time, identity < before))
