"""``/migrations``: where the schema stands, and jobs that change it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gpwarehouse.engine import Cancellation
from gpwarehouse.migrate import Migration, PlannedStep
from gpwarehouse.service.access import Admin, Caller, Reader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.job_records import Outcome
from gpwarehouse.service.jobs import JobRequest, Task, Work
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import Problem, documented
from gpwarehouse.service.routes.jobs import ACCEPTED, IdempotencyKey, accepted, payload_of
from gpwarehouse.service.service import Service
from gpwarehouse.warehouse import Warehouse

__all__ = ["changes", "router"]

router = APIRouter(prefix="/migrations", route_class=StrictRoute, tags=["migrations"])
changes = APIRouter(prefix="/migrations", route_class=StrictRoute, tags=["migrations"])
"""Routes that need the login of an admin."""
_REVISION = r"^([A-Za-z0-9_]{1,60}@)?([A-Za-z0-9_]{1,60}([+-][0-9]{1,3})?|[+-][0-9]{1,3})$"
"""A revision, ``head``, ``base``, so many steps from here, or from a revision; with a branch's label before it."""
_STRICT = ConfigDict(extra="forbid", strict=True)


class MigrateRequest(BaseModel):
    """A migration upwards."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"example": {"revision": "head", "plan": True}})

    revision: str = Field("head", pattern=_REVISION, description="The revision to come to.")
    plan: bool = Field(False, description="Only list what would be done.")


class RollbackRequest(BaseModel):
    """A migration downwards."""

    model_config = ConfigDict(
        **_STRICT, json_schema_extra={"example": {"revision": "0001", "plan": True, "drop_data": False}}
    )

    revision: str = Field(pattern=_REVISION, description="The revision to go back to; `base` drops all tables.")
    plan: bool = Field(False, description="Only list what would be done.")
    drop_data: bool = Field(False, description="Whether tables and columns that hold data may be dropped.")


class RevisionInfo(BaseModel):
    """A revision, and where the database stands with it."""

    revision: str
    state: Literal["applied", "pending", "edited", "missing"] = Field(
        description="`edited`: its script changed after it was applied. `missing`: it was applied, and there is no script of it."
    )
    description: str
    applied_at: datetime | None = None
    applied_by: str | None = None
    seconds: float | None = None
    package_version: str | None = None
    note: str | None = Field(None, description="Why an edit was accepted.")
    interrupted: str | None = Field(
        None, description="The direction in which a change of data was begun and not ended."
    )


class MigrationStatus(BaseModel):
    """Where the schema stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "current": "0001",
                "head": "0002",
                "pending": ["0002"],
                "edited": [],
                "missing": [],
                "revisions": [
                    {"revision": "0001", "state": "applied", "description": "Initial schema"},
                    {"revision": "0002", "state": "pending", "description": "Member observations"},
                ],
            }
        }
    )

    current: str | None = Field(description="The database's revision; null before the first.")
    head: str = Field(description="The newest revision of the service's package.")
    pending: list[str]
    edited: list[str]
    missing: list[str]
    revisions: list[RevisionInfo] = Field(description="All revisions in their order.")


class StepInfo(BaseModel):
    """A revision that would be applied or reverted."""

    revision: str
    direction: str
    description: str
    statements: list[str]
    unknown: str | None = Field(description="Why the statements cannot be told beforehand.")
    rewrites: list[str] = Field(description="What takes long on tables with many rows.")
    drops: list[str]
    losses: list[str] = Field(description="What is dropped and holds data now.")


class Plan(BaseModel):
    """What a migration would do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "steps": [
                    {
                        "revision": "0002", "direction": "upgrade", "description": "Member observations",
                        "statements": ["CREATE TABLE dw.member_observation (…)"], "unknown": None, "rewrites": [], "drops": [],
                        "losses": [],
                    }
                ]
            }
        }
    )  # fmt: skip

    steps: list[StepInfo]


_PLANNED: dict[int | str, dict[str, Any]] = {
    **documented(409, 413, 415, 504),
    200: {"description": "The plan; nothing was changed.", "model": Plan},
    202: ACCEPTED,
}


@router.get(
    "/status", response_model=MigrationStatus, responses=documented(409, 504), summary="Where the schema stands"
)
async def status(request: Request, caller: Reader) -> MigrationStatus:
    """Compare the database's revisions with those of the service's package."""
    service: Service = request.app.state.service
    timeout_s = float(service.settings.service_timeout_s)
    async with service.turns.turn(caller, request):
        return await service.runner.run(request, timeout_s, partial(_read_status, service.reader))


def _read_status(warehouse: Warehouse, cancel: Cancellation) -> MigrationStatus:
    with cancel:
        schema = warehouse.schema
        found, current, head = schema.revisions(), schema.current(), schema.head()
    states: dict[str, list[str]] = {"pending": [], "edited": [], "missing": []}
    for one in found:
        states.setdefault(one.state, []).append(one.revision)
    revisions = [_tell_revision(one) for one in found]
    return MigrationStatus(
        current=current, head=head, pending=states["pending"], edited=states["edited"], missing=states["missing"],
        revisions=revisions,
    )  # fmt: skip


def _tell_revision(one: Migration) -> RevisionInfo:
    return RevisionInfo.model_validate(one, from_attributes=True)


@changes.post(
    "/migrate", status_code=202, response_class=JSONResponse, responses=_PLANNED, summary="Upgrade the schema"
)
async def migrate(
    request: Request, body: MigrateRequest, caller: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upgrade the schema to a revision, as a job; or list what would be done. 409 where the library refuses."""
    warehouse: Warehouse = request.app.state.service.warehouses["admin"]

    def work(task: Task) -> Outcome:
        with task.cancellation:
            warehouse.upgrade(body.revision, progress=task.tell)
            return Outcome({"revision": warehouse.schema.current()})

    return await _change(request, caller, body, idempotency_key, partial(_plan_upgrade, warehouse, body.revision), work)


@changes.post(
    "/rollback", status_code=202, response_class=JSONResponse, responses=_PLANNED, summary="Downgrade the schema"
)
async def rollback(
    request: Request, body: RollbackRequest, caller: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """Downgrade the schema to a revision, as a job; or list what would be done.

    409 if data would go and `drop_data` is not true; the answer names the tables and their rows. Nothing is changed then.
    """
    warehouse: Warehouse = request.app.state.service.warehouses["admin"]

    def work(task: Task) -> Outcome:
        with task.cancellation:
            warehouse.downgrade(body.revision, drop_data=body.drop_data, progress=task.tell)
            return Outcome({"revision": warehouse.schema.current()})

    return await _change(request, caller, body, idempotency_key, partial(_plan_downgrade, warehouse, body), work)


async def _change(
    request: Request,
    caller: Caller,
    body: MigrateRequest | RollbackRequest,
    key: str | None,
    plan: Any,
    work: Work,
) -> Response:
    """Answer the plan, or refuse what the library would refuse, or make the job.

    While another migration runs, nothing is planned: what it leaves is not known. The job waits for it, and is checked then.
    """
    service: Service = request.app.state.service
    kind: Literal["migrate", "rollback"] = "migrate" if isinstance(body, MigrateRequest) else "rollback"
    about = body.model_dump(exclude={"plan"})
    asked = JobRequest(kind, about, work, request.state.query_id, payload_of(kind, about), key)
    note(request, **about)
    known = None if body.plan else service.jobs.known(caller, key, asked.payload)
    if known is not None:
        return accepted(request, known)
    busy = service.jobs.is_busy(kind)
    if busy and body.plan:
        raise Problem(409, "migration-runs", "a migration waits or runs, so a plan would be wrong; GET /jobs lists it")
    if not busy:
        async with service.turns.turn(caller, request):
            planned: Plan = await service.runner.run(request, float(service.settings.service_timeout_s), plan)
        if body.plan:
            return JSONResponse(planned.model_dump(mode="json"))
    return accepted(request, await run_in_threadpool(service.jobs.submit, caller, asked))


def _plan_upgrade(warehouse: Warehouse, revision: str, cancel: Cancellation) -> Plan:
    with cancel:
        return Plan(steps=[_tell_step(step) for step in warehouse.schema.plan(revision)])


def _plan_downgrade(warehouse: Warehouse, body: RollbackRequest, cancel: Cancellation) -> Plan:
    with cancel:
        plan = Plan(steps=[_tell_step(step) for step in warehouse.schema.plan_downgrade(body.revision)])
    lost = [loss for step in plan.steps for loss in step.losses]
    if lost and not (body.plan or body.drop_data):
        raise Problem(
            409, "data-would-go", f"the rollback would drop data: {'; '.join(lost)}. Nothing was changed. Save what you need; to "
            "drop it, send drop_data: true",
        )  # fmt: skip
    return plan


def _tell_step(step: PlannedStep) -> StepInfo:
    return StepInfo(
        revision=step.revision, direction=step.direction, description=step.description, statements=list(step.statements),
        unknown=step.unknown, rewrites=[f"{what}: {statement}" for statement, what in step.rewrites],
        drops=list(map(str, step.drops)), losses=list(map(str, step.losses)),
    )  # fmt: skip
