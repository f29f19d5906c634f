"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

from gpwarehouse.service import problems
from gpwarehouse.service.observing import Observing
from gpwarehouse.service.problems import ProblemDetails
from gpwarehouse.service.routes import health, jobs, loads, migrations, page, queries, tables
from gpwarehouse.service.routes.questions import Question, questions_router
from gpwarehouse.service.service import Service
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.version import __version__

__all__ = ["create_app"]

_ABOUT = """A semiconductor fab's data warehouse over HTTP.

Every error is an `application/problem+json`. An answer begins when it is whole, so a status of 200 means that nothing is
missing. A query ends when its client leaves. Show a key or a token: `Authorization: Bearer …`."""


def create_app(
    settings: WarehouseSettings | None = None, *, questions: Mapping[str, Question] | None = None
) -> FastAPI:
    """Make the service, for ``uvicorn --factory gpwarehouse.service:create_app`` or any other ASGI server.

    Run one process per state folder. ``gpwarehouse serve`` heeds ``GPWAREHOUSE_SERVICE_GRACE_S``; give uvicorn
    ``--timeout-graceful-shutdown``, or at a shutdown it waits for queries as long as they take.

    :param settings: by default those of the environment (``GPWAREHOUSE_*``).
    :param questions: functions for ``GET /analytics/{name}``. Each takes a :class:`~gpwarehouse.Warehouse` and keyword parameters
        with annotations, and returns a pandas frame or an Arrow table.
    :raises SettingsError: a setting is wrong, or the reader's login may do more than read.
    """
    service = Service(settings if settings is not None else WarehouseSettings())
    try:
        service.check_reader()
    except BaseException:
        service.close()
        raise

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="gpwarehouse", version=__version__, description=_ABOUT, lifespan=run, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    problems.install(app)
    app.include_router(page.router)
    app.include_router(health.router)
    app.include_router(queries.router)
    app.include_router(tables.router)
    app.include_router(jobs.router)
    if "loader" in service.warehouses:
        app.include_router(loads.router)
    app.include_router(migrations.router)
    if "admin" in service.warehouses:
        app.include_router(migrations.changes)
        app.include_router(tables.changes)
    app.include_router(questions_router(questions or {}))
    if service.settings.service_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(service.settings.service_origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Accept", "Prefer", "Idempotency-Key"],
            expose_headers=["Location", "ETag", "X-Query-Id", "X-Rows", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(Observing, settings=service.settings, record=service.record, answering=service.answering)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the model of problems that every route refers to."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        model = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {**model.pop("$defs", {}), "ProblemDetails": model}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = found
    return app.openapi_schema
