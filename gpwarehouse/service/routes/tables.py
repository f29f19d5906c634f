"""Tables and the schema: list, statistics, maintenance, comparison with the models."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gpwarehouse.engine import Cancellation
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.service.access import Admin, Caller, Reader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.frames import records
from gpwarehouse.service.job_records import Outcome
from gpwarehouse.service.jobs import JobRequest, Task
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import Problem, documented
from gpwarehouse.service.routes.jobs import ACCEPTED, IdempotencyKey, accepted, payload_of
from gpwarehouse.service.service import Service

__all__ = ["changes", "router"]

router = APIRouter(route_class=StrictRoute, tags=["tables"])
changes = APIRouter(route_class=StrictRoute, tags=["tables"])
"""Routes that need the admin's login."""
TableName = Annotated[str, Path(description="A table of the warehouse's schema.", max_length=63)]


class TableRow(BaseModel):
    """A table."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "table": "fact_test_results",
                "comment": "Test result: one row per test execution",
                "rows_estimated": 1982,
                "bytes": 811008,
                "months": 2,
                "last_analyzed": "2026-03-04T05:06:07+00:00",
            }
        }
    )

    table: str
    comment: str | None
    rows_estimated: int = Field(description="Rows, as ANALYZE estimated them.")
    bytes: int = Field(description="Size on disk with indexes.")
    months: int
    last_analyzed: datetime | None


class Month(BaseModel):
    """A month of a fact."""

    partition: str
    rows_estimated: int | None
    bytes: int
    last_analyzed: datetime | None


class Stats(BaseModel):
    """What the catalog knows of a table. The table is not read."""

    table: str
    comment: str | None
    rows_estimated: int
    bytes: int
    last_analyzed: datetime | None
    skew_pct: float | None = Field(
        description="100 · (bytes of the fullest segment / mean bytes of a segment − 1); null without segments."
    )
    months: list[Month]


class OptimizeRequest(BaseModel):
    """What is to be done with a table."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"analyze": True, "vacuum": False, "month": "2026-03"}},
    )

    analyze: bool = Field(default=True, description="Gather statistics.")
    vacuum: bool = Field(default=False, description="Free the space of deleted rows.")
    month: str | None = Field(
        default=None, pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Only this month of a fact, YYYY-MM."
    )


class Findings(BaseModel):
    """The comparison of the database with the models."""

    findings: list[dict[str, Any]] = Field(description="Differences; none right after a migration.")


@router.get("/tables", response_model=list[TableRow], responses=documented(504), summary="All tables")
async def tables(request: Request, caller: Reader) -> Any:
    """List the tables with estimated rows and sizes. No table is read."""
    return await _ask(request, caller, lambda service: records(service.reader.tables.list()))


@router.get("/tables/{table}/stats", response_model=Stats, responses=documented(404, 504), summary="One table")
async def stats(request: Request, table: TableName, caller: Reader) -> Any:
    """Tell rows, size, months, skew and last statistics of a table. The table is not read."""

    def find(service: Service) -> dict[str, Any]:
        found = service.reader.tables.stats(table)
        return {**asdict(found), "months": records(found.months)}

    try:
        return await _ask(request, caller, find)
    except InvalidInputError:
        raise no_such_table(table) from None


@router.get("/schema/validate", response_model=Findings, responses=documented(504), summary="Schema against models")
async def validate(request: Request, caller: Reader) -> Any:
    """Compare the database with the models. It needs a reader's login that may make temporary tables."""
    return await _ask(
        request, caller, lambda service: {"findings": [asdict(each) for each in service.reader.schema.validate()]}
    )


@changes.post(
    "/tables/{table}/optimize",
    status_code=202,
    response_class=JSONResponse,
    responses={**documented(404, 409, 413, 415, 504), 202: ACCEPTED},
    summary="Maintain a table",
)
async def optimize(
    request: Request, table: TableName, body: OptimizeRequest, caller: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """Gather statistics of a table or one of its months, and free the space of deleted rows, as a job."""
    service: Service = request.app.state.service
    warehouse = service.warehouses["admin"]
    await stats(request, table, caller)
    about = {"table": table, **body.model_dump()}
    note(request, **about)

    def work(task: Task) -> Outcome:
        with task.cancellation:
            done = warehouse.tables.optimize(table, analyze=body.analyze, vacuum=body.vacuum, month=body.month)
        return Outcome({"analyzed": done.analyzed, "vacuumed": done.vacuumed, "warnings": done.warnings})

    asked = JobRequest("optimize", about, work, request.state.query_id, payload_of("optimize", about), idempotency_key)
    return accepted(request, await run_in_threadpool(service.jobs.submit, caller, asked))


def no_such_table(table: str) -> Problem:
    """The problem for a table that is not there."""
    return Problem(404, "no-such-table", f"there is no table {table!r}; GET /tables lists all")


async def _ask(request: Request, caller: Caller, question: Any) -> Any:
    """Ask a door in a query's turn, so that it is bounded and cancelled as a query is."""
    service: Service = request.app.state.service
    timeout_s = float(service.settings.service_timeout_s)

    def work(cancel: Cancellation) -> Any:
        with cancel:
            return question(service)

    async with service.turns.turn(caller, request):
        return await service.runner.run(request, timeout_s, work)
