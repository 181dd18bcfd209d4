"""What the service says of its images, jobs and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from everhart.errors import EverhartError

__all__ = [
    "Event",
    "Image",
    "Job",
    "Level",
    "Model",
    "Operation",
    "Result",
    "ResultFile",
    "Run",
    "ServiceError",
    "made",
]

_T = TypeVar("_T")


class ServiceError(EverhartError):
    """The service refused a request, or does not answer.

    Parameters
    ----------
    message
        The sentence of the service.
    status
        HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Image:
    """An image in the service; `id` is the sha256 of its file."""

    id: str
    name: str
    bytes: int
    format: str
    frames: int
    height: int
    width: int
    dtype: str
    pixel_size_nm: tuple[float, float] | None
    data_bar_rows: int
    warnings: list[str]
    created_at: str


@dataclass(frozen=True)
class Operation:
    """Something that jobs can run; `parameters` is a JSON schema."""

    name: str
    summary: str
    roles: list[str]
    series: bool
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job and how far it is."""

    id: str
    operation: str
    parameters: dict[str, Any]
    state: str
    items: int
    done: int
    failed: int
    error: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class ResultFile:
    """A file of a result."""

    name: str
    sha256: str
    bytes: int
    media_type: str
    pixels_sha256: str | None


@dataclass(frozen=True)
class Result:
    """What came of an item of a job."""

    id: str
    job_id: str
    number: int
    images: list[str]
    operation: str
    provenance: dict[str, Any]
    summary: dict[str, Any]
    files: list[ResultFile]
    created_at: str


@dataclass(frozen=True)
class Level:
    """An image at one size: level 0 is itself, each further one half as large."""

    level: int
    height: int
    width: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Model:
    """A model that jobs can name, with its card in `header`."""

    name: str
    sha256: str
    uploaded: bool
    header: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What one method made of one image in a comparison."""

    comparison: str
    result: str
    image: str
    image_name: str
    method: str
    model_hash: str | None
    figures: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    id: str
    kind: str
    data: dict[str, Any]


def made(kind: Callable[..., _T], values: Mapping[str, Any]) -> _T:
    """Make a record; what a newer service says beside is left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    plain = {name: value for name, value in values.items() if name in known}
    if plain.get("pixel_size_nm") is not None:
        plain["pixel_size_nm"] = tuple(plain["pixel_size_nm"])
    return kind(**plain)
