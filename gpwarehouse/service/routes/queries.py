"""``POST /query`` and ``POST /analytics/query``: SQL of the caller's own."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from gpwarehouse.engine.statement_log import without_literals
from gpwarehouse.service.access import Caller, Reader
from gpwarehouse.service.answers import answer_file, answer_rows
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.job_records import Outcome
from gpwarehouse.service.jobs import JobRequest, Task
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import Problem, documented, problem_told
from gpwarehouse.service.queries import (
    QueryRequest,
    Rows,
    RowsRequest,
    admit_statement,
    fingerprint,
    spool_query,
)
from gpwarehouse.service.routes.jobs import ACCEPTED, IdempotencyKey, accepted, payload_of
from gpwarehouse.service.service import Service
from gpwarehouse.service.spool import FORMS, FileAnswer, wanted_form

__all__ = ["FILE_CONTENT", "limit_of", "parse_prefer", "router"]

router = APIRouter(route_class=StrictRoute, tags=["queries"])
_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
FILE_CONTENT = {names[0]: _FILE for names in FORMS.values()}
"""``content`` of a documented response that is a file."""


def limit_of(service: Service, wished: float | None) -> float:
    """The time that a query may take, in seconds."""
    most = float(service.settings.service_timeout_s)
    return most if wished is None else min(wished, most)


@router.post(
    "/query",
    response_model=Rows,
    responses=documented(400, 413, 415, 504),
    summary="Run a query; rows in JSON",
)
async def query(request: Request, body: RowsRequest, caller: Reader) -> Response:
    """Run a query and return its first rows. One row more than ``max_rows`` is read, to know whether there are more."""
    service: Service = request.app.state.service
    await admit_statement(request, body)
    most = service.settings.service_max_rows
    if body.max_rows > most:
        raise Problem(
            422, "bad-request", f"max_rows is {body.max_rows}, but at most {most} rows come in JSON; ask for a file"
        )
    query_id, timeout_s = request.state.query_id, limit_of(service, body.timeout_s)
    async with service.turns.turn(caller, request):
        work = partial(answer_rows, service.reader, service.cache, body, query_id, timeout_s)
        text, rows, cache = await service.runner.run(request, timeout_s, work)
    note(request, rows=rows, cache=cache)
    return Response(text, media_type="application/json", headers={"X-Cache": cache})


@router.post(
    "/analytics/query",
    response_class=Response,
    responses={
        **documented(400, 413, 415, 504),
        200: {"description": "The result as a file: whole, with Content-Length and ETag.", "content": FILE_CONTENT},
        202: ACCEPTED,
    },
    summary="Run a query; a whole file",
)
async def analytics_query(
    request: Request,
    body: QueryRequest,
    caller: Reader,
    prefer: Annotated[
        str | None, Header(description="`respond-async` makes a job; `wait=30` waits so many seconds for it.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run a query and return all its rows as a file: Arrow, Parquet or CSV, by the header Accept.

    The answer begins when the file is whole. With `Prefer: respond-async` the query becomes a job, which goes on when the
    client leaves; with `Prefer: respond-async, wait=30` it is answered like any other if it ends within so many seconds (at
    most 60), and with the job otherwise. Only jobs heed Idempotency-Key.
    """
    service: Service = request.app.state.service
    await admit_statement(request, body)
    form = wanted_form(request)
    await run_in_threadpool(service.jobs.admit_file, caller)
    asynchronous, wait_s = parse_prefer(prefer)
    if asynchronous:
        return await _answer_by_job(request, body, caller, form, wait_s, idempotency_key)
    query_id = request.state.query_id
    timeout_s = limit_of(service, body.timeout_s)
    async with service.turns.turn(caller, request):
        target, most = service.spool.new_answer(caller.id, form), service.settings.service_max_result
        work = partial(answer_file, service.reader, service.cache, body, query_id, timeout_s, target, most)
        spooled, cache = await service.runner.run(request, timeout_s, work, lambda done: done[0].delete())
    note(request, rows=spooled.rows, cache=cache)
    return FileAnswer(spooled, f"query-{query_id[:8]}", {"X-Cache": cache}, keep=False)


async def _answer_by_job(
    request: Request, body: QueryRequest, caller: Caller, form: str, wait_s: float, key: str | None
) -> Response:
    """Run a query as a job. Answer its file if it ends within ``wait_s``, otherwise the job."""
    service: Service = request.app.state.service
    query_id, most = request.state.query_id, float(service.settings.service_job_timeout_s)
    timeout_s = most if body.timeout_s is None else min(body.timeout_s, most)

    def work(task: Task) -> Outcome:
        target, limit = service.spool.results / f"{task.id}.{form}", service.settings.service_max_result
        with task.cancellation:
            return Outcome(file=spool_query(service.reader, body, query_id, timeout_s, target, limit))

    about = {"statement": without_literals(body.sql), "fingerprint": fingerprint(body.sql), "form": form}
    payload = payload_of("query", body.model_dump(), form)
    asked = JobRequest("query", about, work, query_id, payload, key)
    job = await run_in_threadpool(service.jobs.submit, caller, asked)
    if wait_s:
        job = await service.jobs.wait(caller, job.id, wait_s)
        if job.problem is not None:
            raise problem_told(job.problem)
    if not wait_s or job.file is None:
        return accepted(request, job, {"Preference-Applied": "respond-async"})
    note(request, rows=job.file.rows, job=job.id)
    headers = {"Preference-Applied": f"wait={wait_s:g}", "Content-Location": job.file.href}
    return FileAnswer(service.jobs.result(caller, job.id), f"query-{query_id[:8]}", headers, keep=True)


def parse_prefer(prefer: str | None) -> tuple[bool, float]:
    """Whether a job is preferred, and how many seconds to wait for it (RFC 7240)."""
    asynchronous, wait_s = False, 0.0
    for part in (prefer or "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "respond-async":
            asynchronous = True
        elif name.lower() == "wait" and value.isascii() and value.isdigit():
            wait_s = min(float(value), 60.0)
    return asynchronous, wait_s
