"""``/jobs``: what became of work that outlives its request; its results; its end."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gpwarehouse.service.access import Reader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.job_records import ENDED, JOB_EXAMPLE, JobInfo
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import documented
from gpwarehouse.service.service import Service
from gpwarehouse.service.spool import FORMS, FileAnswer, check_range

__all__ = ["ACCEPTED", "IdempotencyKey", "accepted", "payload_of", "router"]

router = APIRouter(prefix="/jobs", route_class=StrictRoute, tags=["jobs"])
_CANCEL_S = 3.0
"""How long a cancel waits for the job's end."""
_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_LOCATION = {
    "Location": {"description": "The job.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds after which it is worth asking.", "schema": {"type": "integer"}},
}
ACCEPTED: dict[str, Any] = {
    "description": "A job was made; Location names it. With the Idempotency-Key of an earlier job: that job.",
    "model": JobInfo,
    "headers": _LOCATION,
}
"""The documented response of a route that makes a job."""
JobId = Annotated[str, Path(description="The job's id.", examples=["0d5c3a4e7b614f0f9a35c1f9b8a7e6d2"])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="The same key and the same request make one job, however often they are sent; it counts until the job "
        "expires. To try again after a failure, send a new key.",
    ),
]


class JobList(BaseModel):
    """Some jobs, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [JOB_EXAMPLE], "next": None}})

    jobs: list[JobInfo]
    next: str | None = Field(description="`before` of the next page; null behind the last one.")


def payload_of(*parts: object) -> str:
    """A digest of all that a job depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def accepted(request: Request, job: JobInfo, headers: dict[str, str] | None = None) -> Response:
    """The answer of a route that made a job: 202, with its place."""
    note(request, job=job.id)
    place = {"Location": f"/jobs/{job.id}", "Retry-After": "1", **(headers or {})}
    return JSONResponse(job.model_dump(mode="json"), 202, place)


@router.get("", response_model=JobList, responses=documented(), summary="List jobs")
def list_jobs(
    request: Request,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs to list.")] = 50,
    before: Annotated[
        str | None, Query(description="List the jobs behind this one: `next` of the page before.")
    ] = None,
) -> JobList:
    """List your jobs, the newest first; an admin's list has everybody's. It works while the warehouse is down."""
    service: Service = request.app.state.service
    found = service.jobs.list(caller, limit + 1, before)
    return JobList(jobs=found[:limit], next=found[limit - 1].id if len(found) > limit else None)


@router.get("/{job_id}", response_model=JobInfo, responses=documented(404, 410), summary="A job")
def get_job(request: Request, caller: Reader, job_id: JobId) -> JobInfo:
    """Tell what a job does or has done. It works while the warehouse is down.

    A job is kept for `GPWAREHOUSE_SERVICE_KEEP_S` after its end. Then it is 410 for as long again, and 404 after that.
    """
    service: Service = request.app.state.service
    return service.jobs.get(caller, job_id)


@router.get(
    "/{job_id}/result",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 416),
        200: {
            "description": "The file: whole, with Content-Length and ETag.",
            "content": {names[0]: _FILE for names in FORMS.values()},
        },
        206: {"description": "The part of the file that Range asks for."},
        304: {"description": "The file is the one that If-None-Match names."},
    },
    summary="The file of a job",
)
def get_result(request: Request, caller: Reader, job_id: JobId) -> Response:
    """Send the file of a query's job; 409 while it waits or runs, 404 if it has none, 410 if it was deleted.

    The header Range asks for a part of it, so a download can be continued.
    """
    service: Service = request.app.state.service
    spooled = service.jobs.result(caller, job_id)
    check_range(request, spooled.bytes)
    note(request, rows=spooled.rows)
    return FileAnswer(spooled, f"query-{job_id[:8]}", {}, keep=True)


@router.delete(
    "/{job_id}",
    response_model=JobInfo,
    responses={**documented(404, 410), 202: {"description": "The job is being cancelled.", "model": JobInfo}},
    summary="Cancel a job, or delete its file",
)
async def cancel_job(request: Request, caller: Reader, job_id: JobId) -> Response:
    """Cancel a job that waits or runs; its statement ends on the server. Of a job that has ended, the file is deleted.

    The answer's `state` is what became of it: a job may have succeeded before it could be cancelled.
    """
    service: Service = request.app.state.service
    await run_in_threadpool(service.jobs.cancel, caller, job_id)
    job = await service.jobs.wait(caller, job_id, _CANCEL_S)
    return JSONResponse(job.model_dump(mode="json"), 200 if job.state in ENDED else 202)
