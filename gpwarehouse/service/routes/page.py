"""``GET /``: a page for people. It is served without a key and holds no data; its script asks the other endpoints."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import BigInteger, Select, cast, func, select

from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.models import SCHEMA, EtlLoadBatch
from gpwarehouse.service.bodies import StrictRoute
from gpwarehouse.service.service import Service
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.version import __version__

__all__ = ["router"]

_FOLDER = files("gpwarehouse.service") / "page"
_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_BATCHES = 20
_ROWS = 1000
_EXAMPLE = """SELECT lot_id, wafer_id, basis, tested, good, die_yield_pct
FROM {schema}.v_wafer_yield ORDER BY lot_id, wafer_id, basis"""
router = APIRouter(route_class=StrictRoute, include_in_schema=False)


def loaded() -> Select[Any]:
    """What is loaded: batches and rows of each table."""
    batch = EtlLoadBatch.__table__.c
    rows = cast(func.sum(batch.rows_loaded), BigInteger).label("rows")
    latest = func.max(batch.max_event_ts).label("latest_event")
    query = select(batch.target.label("table"), func.count().label("batches"), rows, latest)
    return query.where(batch.status == "LOADED").group_by(batch.target).order_by(batch.target)


def latest_batches() -> Select[Any]:
    """The last batches, the latest first."""
    batch = EtlLoadBatch.__table__.c
    shown = (
        batch.started_at, batch.target, func.lower(batch.status).label("status"), batch.rows_loaded, batch.rows_rejected,
        batch.source, batch.error, batch.batch_id,
    )  # fmt: skip
    return select(*shown).order_by(batch.started_at.desc(), batch.batch_id).limit(_BATCHES)


def write_page(settings: WarehouseSettings) -> str:
    """The page of a warehouse."""
    values = {
        "version": __version__,
        "schema": settings.schema_name,
        "auth": settings.service_auth,
        "loaded": _statement(loaded(), settings),
        "batches": _statement(latest_batches(), settings),
        "rows": min(_ROWS, settings.service_max_rows),
        "max_rows": settings.service_max_rows,
        "example": _EXAMPLE.format(schema=settings.schema_name),
    }
    text = Template((_FOLDER / "index.html").read_text(encoding="utf-8"))
    return text.substitute({name: escape(str(value)) for name, value in values.items()})


def _statement(query: Select[Any], settings: WarehouseSettings) -> str:
    """A query as the text that ``POST /query`` takes. It is of the service's own: no caller's value is in it."""
    compiled = query.compile(
        dialect=GreenplumDialect(paramstyle="named"),
        compile_kwargs={"literal_binds": True},
        schema_translate_map={SCHEMA: settings.schema_name},
        render_schema_translate=True,
    )
    return str(compiled)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    service: Service = request.app.state.service
    return Response(write_page(service.settings), media_type="text/html")


def _add_file(name: str, media_type: str) -> None:
    async def file() -> Response:
        return Response((_FOLDER / name).read_bytes(), media_type=media_type)

    router.add_api_route(f"/page/{name}", file, methods=["GET"])


for _name, _media_type in _FILES.items():
    _add_file(_name, _media_type)
