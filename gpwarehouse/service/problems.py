"""Errors as ``application/problem+json`` (RFC 9457): one model, and one place that maps our errors to statuses."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gpwarehouse.errors import (
    BatchConflictError,
    GpwarehouseError,
    InvalidInputError,
    LoadError,
    MigrationError,
    MissingExtraError,
    PartitionError,
    PoolTimeoutError,
    ReadCancelledError,
    ReadError,
    ResultTooLargeError,
    SourceFormatError,
    WarehouseConnectionError,
)
from gpwarehouse.service.wording import in_requests

__all__ = [
    "PROBLEM_JSON",
    "ClientGone",
    "Problem",
    "ProblemDetails",
    "details_of",
    "documented",
    "install",
    "is_full",
    "no_space",
    "problem_of",
    "problem_told",
]

PROBLEM_JSON = "application/problem+json"
_URN = "urn:gpwarehouse:problem:"
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
RETRY_S = 5
"""What Retry-After says where nothing better is known, in seconds."""


class FieldError(BaseModel):
    """What is wrong with a part of the request. It does not repeat the value."""

    where: str = Field(description="The part: body, query, path or header, and the names that lead to it.")
    message: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:gpwarehouse:problem:bad-statement",
                "title": "Bad Request",
                "status": 400,
                "detail": 'the server refused the query: relation "dw.lots" does not exist; name the schema (dw.…)',
                "instance": "urn:gpwarehouse:query:6f0c1d5be0a94a3f8c7d2f4d1a2b3c4d",
                "sqlstate": "42P01",
                "errors": [],
            }
        }
    )

    type: str = Field(description="A URN that names the kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
    instance: str | None = Field(None, description="The query id, which logs and the audit have too.")
    sqlstate: str | None = Field(None, description="The server's SQLSTATE, if the server refused.")
    errors: list[FieldError] = []


@dataclass
class Problem(Exception):
    """An error to answer with.

    :ivar kind: the last part of the problem's ``type``.
    """

    status: int
    kind: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    errors: list[dict[str, str]] = field(default_factory=list)
    sqlstate: str | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.kind}: {self.detail}"


class ClientGone(Exception):
    """The client has left, so nobody reads an answer."""


def retry_after(status: int, kind: str, detail: str, seconds: int = RETRY_S) -> Problem:
    """A problem that passes by itself."""
    return Problem(status, kind, detail, {"Retry-After": str(max(1, seconds))})


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def no_space() -> Problem:
    """The problem when the service's disk is full."""
    return retry_after(503, "no-space", "the service has no space left for the file; try again later")


def _internal() -> Problem:
    return Problem(500, "internal", "the service failed; the log has the query id and the cause")


def problem_of(error: GpwarehouseError) -> Problem:
    """The problem for an error of the library."""
    problem = _find_problem(error)
    problem.sqlstate = error.sqlstate or None
    return problem


_BY_KIND: tuple[tuple[type[GpwarehouseError], int, str], ...] = (
    (ResultTooLargeError, 422, "result-too-large"),
    (BatchConflictError, 409, "batch-conflict"),
    (SourceFormatError, 422, "bad-file"),
    (MissingExtraError, 501, "not-installed"),
    (MigrationError, 409, "migration-refused"),
    (PartitionError, 409, "partition-refused"),
    (InvalidInputError, 422, "bad-input"),
    (LoadError, 422, "load-refused"),
    (ReadError, 400, "bad-statement"),
)
_CANCELLED = {"timeout": 504, "shutdown": 503}
_FORBIDDEN = {"42501": "forbidden", "25006": "read-only"}


def _find_problem(error: GpwarehouseError) -> Problem:
    detail, state = in_requests(str(error)), error.sqlstate
    if isinstance(error.__cause__, OSError):
        return no_space() if is_full(error.__cause__) else _internal()
    if isinstance(error, ReadCancelledError):
        kind = next((kind for kind in _CANCELLED if kind in detail), "shutdown")
        return retry_after(_CANCELLED[kind], kind, detail) if kind == "shutdown" else Problem(504, kind, detail)
    if isinstance(error, PoolTimeoutError):
        return retry_after(503, "busy", "all connections to the warehouse are in use; try again")
    if isinstance(error, WarehouseConnectionError) or state.startswith(("53", "57P", "08")):
        return retry_after(503, "warehouse-unavailable", "the warehouse cannot be reached or is overloaded; try again")
    if state in _FORBIDDEN:
        return Problem(403, _FORBIDDEN[state], detail)
    if state == "57014":
        return Problem(504, "timeout", "the query took longer than it may; ask for less, or give a longer timeout_s")
    if isinstance(error, ReadError) and error.safe_to_repeat is not None:
        return retry_after(503, "warehouse-unavailable", detail)
    for family, status, kind in _BY_KIND:
        if isinstance(error, family):
            return Problem(status, kind, detail)
    return _internal()


def details_of(problem: Problem, query_id: str | None) -> ProblemDetails:
    """The model of a problem."""
    return ProblemDetails(
        type=f"{_URN}{problem.kind}",
        title=HTTPStatus(problem.status).phrase if problem.status != 499 else "Client Closed Request",
        status=problem.status,
        detail=problem.detail.encode("utf-8", "replace").decode(),
        instance=None if query_id is None else f"urn:gpwarehouse:query:{query_id}",
        sqlstate=problem.sqlstate,
        errors=[FieldError.model_validate(each) for each in problem.errors],
    )


def problem_told(details: ProblemDetails) -> Problem:
    """The problem that a model was made of; with Retry-After where it passes by itself."""
    kind = details.type.removeprefix(_URN)
    headers = {"Retry-After": str(RETRY_S)} if details.status in (429, 503) else {}
    errors = [each.model_dump() for each in details.errors]
    return Problem(details.status, kind, details.detail, headers, errors, details.sqlstate)


def answer_of(problem: Problem, query_id: str | None) -> JSONResponse:
    """The response for a problem."""
    body = details_of(problem, query_id)
    return JSONResponse(body.model_dump(exclude_none=True), problem.status, problem.headers, PROBLEM_JSON)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of a route: these statuses, and those that every route has."""
    common = (401, 403, 406, 422, 429, 500, 503)
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {PROBLEM_JSON: schema}}
        for status in sorted({*common, *statuses})
    }


def _where(place: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in place).encode("utf-8", "replace").decode()


def problem_of_validation(errors: Any) -> Problem:
    """The problem for a request that does not have the documented form. Values are not repeated."""
    found = [{"where": _where(each["loc"]), "message": str(each["msg"])} for each in errors]
    named = f"{found[0]['where']}: {found[0]['message']}" if found else "the request has not the documented form"
    return Problem(422, "bad-request", named.encode("utf-8", "replace").decode(), errors=found)


def problem_of_http(error: HTTPException) -> Problem:
    """The problem for an error of the framework, such as an unknown path."""
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
    text = "there is no such path; /openapi.json lists all" if error.status_code == 404 else str(error.detail)
    return Problem(error.status_code, kind, text, dict(error.headers or {}))


def _methods(request: Request) -> list[str]:
    """The methods of a request's path. Starlette names those of one of its routes only."""
    asked = [{**request.scope, "method": method} for method in _METHODS]
    routes = request.app.router.routes
    found = [scope["method"] for scope in asked if any(each.matches(scope)[0] is Match.FULL for each in routes)]
    return sorted([*found, "HEAD"] if "GET" in found else found)


def install(app: Any) -> None:
    """Answer every error with a problem."""

    def query_id(request: Request) -> str | None:
        return getattr(request.state, "query_id", None)

    def respond(request: Request, problem: Problem) -> JSONResponse:
        request.state.problem = problem
        return answer_of(problem, query_id(request))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GpwarehouseError)
        return respond(request, problem_of(error))

    async def known(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return respond(request, error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return respond(request, problem_of_validation(error.errors()))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        problem = problem_of_http(error)
        if problem.status == 405:
            allowed = problem.headers["Allow"] = ", ".join(_methods(request))
            problem.detail = f"{request.method} is not allowed here; the path has {allowed}"
        return respond(request, problem)

    async def gone(request: Request, error: Exception) -> JSONResponse:
        return respond(request, Problem(499, "client-gone", "the client has left"))

    for kind, handler in (
        (GpwarehouseError, ours),
        (Problem, known),
        (RequestValidationError, invalid),
        (HTTPException, http),
        (ClientGone, gone),
    ):
        app.add_exception_handler(kind, handler)
