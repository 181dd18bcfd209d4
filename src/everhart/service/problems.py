"""Errors as the API gives them: one shape, one sentence, nothing of the inside."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.service.limits import limit_explained
from everhart.service.store import StoreError

__all__ = ["Problem", "ProblemError", "add_handlers", "may_answer", "problem_response"]

_log = structlog.get_logger("everhart.service")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(
        description="One sentence: what was given, what is allowed, what to do.",
        examples=["There is no image 3f…: list them with GET /v1/images."],
    )


class ProblemError(EverhartError):
    """An error with its status."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


def may_answer(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the errors that a route may answer with."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def problem_response(
    status: int, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(
        problem.model_dump(), status, headers, media_type="application/problem+json"
    )


def add_handlers(app: FastAPI) -> None:
    """Turn every exception into a problem."""

    def handle(kind: type[Exception], answer: Any) -> None:
        async def handler(_: Request, error: Exception) -> JSONResponse:
            response: JSONResponse = answer(error)
            return response

        app.add_exception_handler(kind, handler)

    handle(ProblemError, lambda e: problem_response(e.status, str(e), e.headers))
    handle(HTTPException, lambda e: problem_response(e.status_code, _http(e), e.headers))
    handle(RequestValidationError, lambda e: problem_response(422, _validation(e)))
    handle(LimitError, lambda e: problem_response(413, limit_explained(_one_line(e))))
    handle(FileFormatError, lambda e: problem_response(422, _one_line(e)))
    handle(UsageError, lambda e: problem_response(422, _one_line(e)))
    handle(StoreError, lambda e: _away(e, "object store"))
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        handle(kind, lambda e: _away(e, "database"))
    handle(DBAPIError, _database)
    handle(EverhartError, lambda e: problem_response(500, _one_line(e)))
    handle(asyncio.TimeoutError, lambda e: _away(e, "database or the object store"))


def _away(error: Exception, what: str) -> JSONResponse:
    _log.warning("away", what=what, error=_one_line(getattr(error, "orig", None) or error))
    return problem_response(
        503,
        f"The {what} does not answer or is full: try again in a while.",
        {"Retry-After": "5"},
    )


def _database(error: DBAPIError) -> JSONResponse:
    if error.connection_invalidated:
        return _away(error, "database")
    _log.error("database", error=_one_line(error.orig or error))
    return problem_response(500, "The database refused the request: look into the log.")


def _http(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address: /openapi.json lists all."
    if error.status_code == 405:
        return "This address knows other methods only: /openapi.json lists them."
    return str(error.detail)


def _validation(error: RequestValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}."


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:1000]
