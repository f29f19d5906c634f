"""Health, pool and metrics."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from typing import Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from gpwarehouse.service.access import Reader
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.problems import Problem, documented
from gpwarehouse.service.service import Service

__all__ = ["router"]

router = APIRouter(route_class=StrictRoute, tags=["health"])


class Live(BaseModel):
    """The service runs."""

    status: Literal["live"] = "live"


class HealthAnswer(BaseModel):
    """The health of the warehouse and the service."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "healthy", "age_s": 3.2}})

    status: Literal["healthy", "degraded", "down", "unknown"]
    age_s: float | None = Field(
        default=None, description="Seconds since the warehouse was asked; null if it was not yet."
    )
    reasons: list[str] | None = Field(
        default=None, description="Why it is not healthy. Only callers with a key see it."
    )
    server: str | None = None
    revision: str | None = None
    head: str | None = None
    latency_ms: float | None = None
    connections: int | None = None
    max_connections: int | None = None
    segments: list[dict[str, Any]] | None = None


class PoolStatus(BaseModel):
    """Connections and queries of the service."""

    pools: dict[str, dict[str, Any]] = Field(description="By role: connections idle, in use, limit, threads that wait.")
    queries_running: int
    queries_waiting: int
    queries_limit: int


@router.get("/health/live", summary="Whether the service runs", response_model=Live)
async def live() -> Live:
    """Answer without touching anything. It is for a liveness probe."""
    return Live()


@router.get(
    "/health",
    response_model=HealthAnswer,
    response_model_exclude_none=True,
    responses={
        **documented(),
        503: {"description": "The warehouse is down, or was not asked yet.", "model": HealthAnswer},
    },
    summary="The health of the warehouse",
)
async def health(request: Request) -> Response:
    """Tell the last sample of the warehouse's health; it is for a readiness probe. A caller with a key sees the reasons."""
    service: Service = request.app.state.service
    latest = service.health.latest()
    if latest is None:
        return _answer(HealthAnswer(status="unknown"))
    found, age = latest
    answer = HealthAnswer(status=found.status, age_s=round(age, 1))
    if await _is_known(request, service):
        answer = answer.model_copy(
            update={
                **{name: getattr(found, name) for name in ("server", "revision", "head", "latency_ms", "connections")},
                "max_connections": found.max_connections,
                "reasons": list(found.reasons),
                "segments": [asdict(segment) for segment in found.segments],
            }
        )
    return _answer(answer)


async def _is_known(request: Request, service: Service) -> bool:
    try:
        request.state.caller = await service.access.identify(request)
    except Problem:
        return False
    return True


def _answer(answer: HealthAnswer) -> JSONResponse:
    status = 200 if answer.status in ("healthy", "degraded") else 503
    return JSONResponse(answer.model_dump(exclude_none=True), status, {"Retry-After": "5"} if status == 503 else None)


@router.get("/pool/status", response_model=PoolStatus, responses=documented(), summary="Connections and queries")
async def pool_status(request: Request, caller: Reader) -> PoolStatus:
    """Tell how many connections and queries the service has."""
    service: Service = request.app.state.service
    states = {role: warehouse.pool_state() for role, warehouse in service.warehouses.items()}
    return PoolStatus(
        pools={
            role: {"idle": s.idle, "in_use": s.in_use, "limit": s.limit, "waiting": s.waiting}
            for role, s in states.items()
            if s is not None
        },
        queries_running=service.turns.running,
        queries_waiting=service.turns.waiting,
        queries_limit=service.settings.service_concurrency,
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={**documented(), 200: {"description": "Prometheus's text form.", "content": {"text/plain": {}}}},
    summary="Counters for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Tell the counters, and the warehouse's state as last sampled. It needs the metrics token, or a reader."""
    service: Service = request.app.state.service
    token = service.settings.service_metrics_token
    shown = request.headers.get("authorization", "").partition(" ")[2].strip()
    if token is None or not hmac.compare_digest(shown.encode(), token.get_secret_value().encode()):
        request.state.caller = await service.access.identify(request)
    own = await anyio.to_thread.run_sync(generate_latest, service.registry)
    text = await anyio.to_thread.run_sync(generate_latest)
    return Response(text + own, media_type=CONTENT_TYPE_LATEST)
