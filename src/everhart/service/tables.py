"""The tables of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

__all__ = [
    "Base",
    "Event",
    "Image",
    "Item",
    "Job",
    "Model",
    "Result",
    "ResultFile",
    "Run",
    "Token",
    "Worker",
    "now",
]

# SQLite counts up only a column that is exactly INTEGER.
_Counter = BigInteger().with_variant(Integer, "sqlite")
_Sha256 = String(64)


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps no time zones, so it is put on again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Put the time zone on."""
        if isinstance(value, datetime):
            return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return None


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, datetime: UtcTime}  # noqa: RUF012


class Image(Base):
    """An uploaded image; its id is the sha256 of the file."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(_Sha256, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(40))
    frames: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    dtype: Mapped[str] = mapped_column(String(20))
    pixel_size_y_nm: Mapped[float | None]
    pixel_size_x_nm: Mapped[float | None]
    pixel_size_source: Mapped[str | None] = mapped_column(Text)
    data_bar_rows: Mapped[int]
    tree: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)

    __table_args__ = (Index("ix_images_created", "created_at", "id"),)


class Token(Base):
    """A token, of which only the hash is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    secret_sha256: Mapped[str] = mapped_column(_Sha256)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Model(Base):
    """A model that was uploaded, by the name under which jobs can ask for it."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(_Sha256, index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    header: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class Job(Base):
    """An operation with parameters on images.

    `models` has the sha256 of each uploaded model that the parameters name.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    operation: Mapped[str] = mapped_column(String(60))
    parameters: Mapped[dict[str, Any]]
    roles: Mapped[dict[str, Any]]
    models: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    pixel_size_nm: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(20), default="queued", index=True)
    items: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(12), default="")
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    request_sha256: Mapped[str] = mapped_column(_Sha256)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)

    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key", name="uq_jobs_key"),
        Index("ix_jobs_created", "created_at", "id"),
    )


class Item(Base):
    """One piece of a job's work: an image, or a series."""

    __tablename__ = "items"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    images: Mapped[list[str]]
    state: Mapped[str] = mapped_column(String(20), default="queued")
    starts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)


class Result(Base):
    """What came of an item, with where it is from."""

    __tablename__ = "results"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    images: Mapped[list[str]]
    operation: Mapped[str] = mapped_column(String(60))
    provenance: Mapped[dict[str, Any]]
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)

    __table_args__ = (UniqueConstraint("job_id", "number", name="uq_results_item"),)


class ResultFile(Base):
    """A file of a result: an image, a table, a report."""

    __tablename__ = "result_files"

    result_id: Mapped[str] = mapped_column(ForeignKey("results.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    sha256: Mapped[str] = mapped_column(_Sha256, index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(100))
    pixels_sha256: Mapped[str | None] = mapped_column(_Sha256)


class Run(Base):
    """What one method made of one image in a comparison: its figures."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(_Counter, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    result_id: Mapped[str] = mapped_column(ForeignKey("results.id"), index=True)
    image: Mapped[str] = mapped_column(_Sha256, index=True)
    image_name: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text, index=True)
    model_hash: Mapped[str | None] = mapped_column(_Sha256)
    figures: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class Event(Base):
    """Something that happened to a job, in order."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(_Counter, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    kind: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)

    __table_args__ = (Index("ix_events_job", "job_id", "id"),)


class Worker(Base):
    """A process that takes jobs, and when it was last seen alive."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    process_started: Mapped[float]
    seen_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
