"""``POST /loads``: a file becomes a batch, once."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from gpwarehouse.load import OnConflict
from gpwarehouse.models import FACTS
from gpwarehouse.service.access import Loader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.job_records import JobInfo, Outcome
from gpwarehouse.service.jobs import JobRequest, Task
from gpwarehouse.service.load_parameters import FileOptions
from gpwarehouse.service.observing import note
from gpwarehouse.service.problems import documented
from gpwarehouse.service.routes.jobs import ACCEPTED, IdempotencyKey, accepted, payload_of
from gpwarehouse.service.service import Service
from gpwarehouse.service.uploads import UPLOAD_TYPES, Upload, check_body, check_filename, receive, refuse_cut_table
from gpwarehouse.warehouse import Warehouse

__all__ = ["router"]

router = APIRouter(route_class=StrictRoute, tags=["loads"])
_NAME: dict[str, Any] = {"minLength": 1, "maxLength": 100, "pattern": r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$"}
_BODY = {
    "required": True,
    "description": "The file's bytes.",
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOAD_TYPES},
}


@router.post(
    "/loads",
    status_code=202,
    response_model=JobInfo,
    responses={**documented(413, 415), 202: ACCEPTED},
    openapi_extra={"requestBody": _BODY},
    summary="Load a file",
)
async def load(
    request: Request,
    caller: Loader,
    filename: Annotated[
        str, Query(description="The file's name, without a folder.", examples=["lot.stdf.gz"], json_schema_extra=_NAME)
    ],
    target: Annotated[
        str | None,
        Query(
            description="The fact for the rows of a Parquet, CSV or Arrow file. A test data file determines it itself.",
            json_schema_extra={"enum": [*sorted(FACTS)]},
        ),
    ] = None,
    batch_id: Annotated[
        str | None, Query(pattern=r"\S", description="An id of your own, which is loaded once.")
    ] = None,
    on_conflict: Annotated[OnConflict, Query(description="What to do if this content was loaded before.")] = "skip",
    max_rejects: Annotated[
        str | None,
        Query(
            pattern=r"^([0-9]{1,12}|0?\.[0-9]{1,12})$",
            description="Rejects above which nothing is loaded: a number of rows, or a share below 1.",
            examples=["0.01"],
        ),
    ] = None,
    about_file: FileOptions = None,  # type: ignore[assignment]  # FastAPI gives it
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Load a file of the trade (STDF V4, plain or compressed), or a Parquet, CSV or Arrow file into a fact.

    The body is the file itself. When it has arrived whole, a job loads it; its `result` has the counts and warnings. The same
    content is loaded once, with or without an Idempotency-Key: sent again, the job's result says `already_loaded`. With a key
    there is also only one job. Arrow comes in the file format: a stream that was cut would look whole.
    """
    service: Service = request.app.state.service
    most, warehouse = service.settings.service_max_upload, service.warehouses["loader"]
    options: dict[str, Any] = {"batch_id": batch_id, "on_conflict": on_conflict, "max_rejects": _limit_of(max_rejects)}
    options |= about_file
    note(request, filename=filename, target=target)
    check_body(request, most)
    check_filename(filename)
    await run_in_threadpool(partial(warehouse.check_load, target, **options))
    with service.jobs.arriving(caller):
        async with receive(request, service.spool, filename, most) as upload:
            if target is not None:
                await run_in_threadpool(refuse_cut_table, upload.path)
            about = {
                "filename": filename,
                "target": target,
                **_told(options),
                "bytes": upload.bytes,
                "sha256": upload.sha256,
            }
            asked = JobRequest(
                "load", about, partial(_load, warehouse, upload, target, options), request.state.query_id,
                payload_of("load", about), idempotency_key, partial(service.spool.delete_upload, upload.path),
            )  # fmt: skip
            job = await run_in_threadpool(partial(service.jobs.submit, has_arrived=True), caller, asked)
    return accepted(request, job)


def _told(options: dict[str, Any]) -> dict[str, Any]:
    return options | ({"csv": asdict(options["csv"])} if "csv" in options else {})


def _limit_of(max_rejects: str | None) -> int | float | None:
    if max_rejects is None:
        return None
    return int(max_rejects) if max_rejects.isdigit() else float(max_rejects)


def _load(warehouse: Warehouse, upload: Upload, target: str | None, options: dict[str, Any], task: Task) -> Outcome:
    path: Path = upload.path
    with task.cancellation:
        done = warehouse.load_file(path, target=target, progress=task.tell, **options)
    return Outcome(asdict(done))
