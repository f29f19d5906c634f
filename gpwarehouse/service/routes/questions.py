"""``GET /analytics/{question}``: functions that answer with a frame, their parameters in the query string."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from gpwarehouse.engine import Cancellation
from gpwarehouse.read import write_table
from gpwarehouse.service.access import Caller, Reader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import Problem, documented
from gpwarehouse.service.routes.queries import FILE_CONTENT, limit_of
from gpwarehouse.service.service import Service
from gpwarehouse.service.spool import FileAnswer, Spooled, check_range, wanted_form
from gpwarehouse.warehouse import Warehouse

__all__ = ["Question", "questions_router"]

Question = Callable[..., Any]
"""A function of a warehouse (its first argument) and of keyword parameters with annotations; it returns a frame."""


def questions_router(questions: Mapping[str, Question]) -> APIRouter:
    """Make the routes of some questions. Each has the parameters, types, defaults and the docstring of its function."""
    router = APIRouter(prefix="/analytics", route_class=StrictRoute, tags=["questions"])
    responses: dict[int | str, dict[str, Any]] = {
        **documented(400, 404, 416, 504),
        200: {"description": "The frame as a file.", "content": FILE_CONTENT},
        206: {"description": "A part of the file."},
        304: {"description": "The file is the one that If-None-Match names."},
    }
    for name, question in questions.items():
        about = (inspect.getdoc(question) or name).partition("\n")
        router.add_api_route(
            f"/{name}", _make_endpoint(name, question), methods=["GET"], name=name, summary=about[0], response_class=Response,
            description=about[0] + "\n" + about[2], responses=responses,
        )  # fmt: skip
    return router


def _make_endpoint(name: str, question: Question) -> Callable[..., Any]:
    """An endpoint with the function's own keyword parameters, which FastAPI reads from its signature."""
    signature = inspect.signature(question, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[parameter.annotation, Query()])
        for parameter in list(signature.parameters.values())[1:]
    ]

    async def endpoint(request: Request, caller: Caller, **values: Any) -> Response:
        service: Service = request.app.state.service
        note(request, question=name)
        form, timeout_s = wanted_form(request), limit_of(service, None)
        await run_in_threadpool(service.jobs.admit_file, caller)
        async with service.turns.turn(caller, request):
            work = partial(_ask, service.reader, partial(question, **values), service.spool.new_answer(caller.id, form))
            spooled = await service.runner.run(request, timeout_s, work, Spooled.delete)
        note(request, rows=spooled.rows)
        try:
            check_range(request, spooled.bytes)
        except Problem:
            spooled.delete()
            raise
        return FileAnswer(spooled, name, {}, keep=False)

    shared = [
        inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
        inspect.Parameter("caller", inspect.Parameter.KEYWORD_ONLY, annotation=Reader),
    ]
    endpoint.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    return endpoint


def _ask(warehouse: Warehouse, question: Callable[[Warehouse], Any], target: Path, cancel: Cancellation) -> Spooled:
    with cancel:
        frame = question(warehouse)
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    write_table(table, target)
    return Spooled.of(target, target.suffix[1:], table.num_rows)
