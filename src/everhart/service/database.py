"""The database: SQLite in a folder, or PostgreSQL by URL, each for async and for threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from everhart.errors import EverhartError
from everhart.service.migrations import HEAD
from everhart.service.settings import Settings
from everhart.service.tables import Base

__all__ = ["AsyncDatabase", "Database", "migrate"]

_BUSY_TIMEOUT_MS = 30_000
_Row = TypeVar("_Row", bound=Base)


class Database:
    """The database for threads: workers, and the command line.

    Parameters
    ----------
    settings
        The settings, which name the database.
    is_answered
        Whether somebody is told of what is committed. Other commits need not wait for the disk:
        what a power cut takes of the progress of jobs is done again. SQLite alone has the choice.
    """

    def __init__(self, settings: Settings, *, is_answered: bool = True) -> None:
        engine = create_engine(_url(settings), **_options(settings))
        self.engine = _prepared(engine, is_answered=is_answered)
        self._writing = self.engine.execution_options(everhart_write=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session that is committed if nothing goes wrong."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class AsyncDatabase:
    """The database for the event loop of the server."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(_url(settings))
        if url.get_backend_name() == "sqlite":
            url = url.set(drivername="sqlite+aiosqlite")
        self.engine: AsyncEngine = create_async_engine(url, **_options(settings))
        _prepared(self.engine.sync_engine)
        self._near = None
        if settings.database is None:
            # One question needs no transaction, and the event loop no second connection.
            near = create_engine(
                _url(settings), poolclass=StaticPool, isolation_level="AUTOCOMMIT",
                **_options(settings),
            )  # fmt: skip
            self._near = _prepared(near, begins=False)
        self._writing = self.engine.execution_options(everhart_write=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session for reading."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Give a session that is committed if nothing goes wrong."""
        async with (
            AsyncSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def get(self, table: type[_Row], key: Any) -> _Row | None:
        """Return a row by its key.

        From SQLite, where readers never wait for writers, it is had at once: to send so small a
        question to another thread takes several times as long as the answer.
        """
        if self._near is not None:
            with Session(self._near, expire_on_commit=False) as near:
                return near.get(table, key)
        async with self.reading() as session:
            return await session.get(table, key)

    async def check(self) -> None:
        """Ask the database for an answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
        if self._near is not None:
            self._near.dispose()


def migrate(settings: Settings, revision: str = HEAD) -> None:
    """Bring the database to a revision of its tables; make it where there is none.

    Parameters
    ----------
    settings
        The settings, which name the database.
    revision
        Name of the revision; ``"base"`` for no tables at all.

    Raises
    ------
    EverhartError
        If the database cannot be reached, or is of a newer Everhart.
    """
    if settings.database is None:
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings)
    try:
        if _revision(database.engine) == revision:
            return
        # Alembic takes half a second to import, which a start with whole tables does not need.
        from everhart.service.migrations.run import run_migrations

        with database.engine.execution_options(everhart_write=True).begin() as connection:
            run_migrations(connection, revision)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise EverhartError(
            f"The database cannot be used ({said}): check that it runs, and the setting database."
        ) from error
    finally:
        database.close()


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _url(settings: Settings) -> str:
    return settings.database_url


def _options(settings: Settings) -> dict[str, Any]:
    if settings.database is None:
        return {"connect_args": {"check_same_thread": False}}
    # A server that went away and came back is met with a new connection, not an error.
    return {
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": 3,
            # A network that swallows all is an error after this, and not a request without end.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
        },
    }


def _prepared(engine: Engine, *, is_answered: bool = True, begins: bool = True) -> Engine:
    """Set SQLite up for several processes: a log to write ahead, and locks that are waited for."""
    if engine.dialect.name != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        if begins:
            connection.isolation_level = None  # transactions are begun below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {'FULL' if is_answered else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    if not begins:
        return engine

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        # A transaction that begins to read and then writes fails at once where another has
        # written in between; one that says so from the start waits for its turn.
        write = connection.get_execution_options().get("everhart_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
