"""The star schema as a Mermaid ER diagram, drawn from the models."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from gpwarehouse.models import BRIDGES, DIMENSIONS, FACTS
from gpwarehouse.models.base import KeyRole

__all__ = ["mermaid"]

_BRIDGE_KEYS = {"wafer_key": "dim_wafer", "lot_key": "dim_lot", "parent_lot_key": "dim_lot", "child_lot_key": "dim_lot"}


def mermaid() -> str:
    """``erDiagram`` with every fact, bridge and dimension: keys, natural keys, and the roles that join them."""
    lines = ["erDiagram"]
    lines += [line for name, model in FACTS.items() for line in _fact_relations(name, model.__table__)]
    lines += [line for name, model in BRIDGES.items() for line in _bridge_relations(name, model.__table__)]
    for name, model in {**FACTS, **BRIDGES, **DIMENSIONS}.items():
        lines += [f"    {name} {{", *_attributes(name, model.__table__), "    }"]
    return "\n".join(lines) + "\n"


def _fact_relations(name: str, table: Table) -> Iterator[str]:
    yield f"    dim_time ||--o{{ {name} : time_key"
    for column in table.columns:
        role: KeyRole | None = column.info.get("role")
        if role is not None:
            yield f"    {role.dimension} ||--o{{ {name} : {column.name}"


def _bridge_relations(name: str, table: Table) -> Iterator[str]:
    for column in table.columns:
        if column.name in _BRIDGE_KEYS:
            yield f"    {_BRIDGE_KEYS[column.name]} ||--o{{ {name} : {column.name}"


def _attributes(name: str, table: Table) -> Iterator[str]:
    natural = getattr(DIMENSIONS.get(name), "natural_key", ())
    for column in table.columns:
        role = "role" in column.info or (name in BRIDGES and column.name in _BRIDGE_KEYS)
        mark = "PK" if column.primary_key else "FK" if role or (name in FACTS and column.name == "time_key") else ""
        if mark or column.name in natural or column.name == "event_ts":
            kind = str(column.type).lower().split("(")[0].replace(" ", "_")
            note = ' "natural key"' if column.name in natural else ""
            yield f"        {kind} {column.name}{' ' + mark if mark else ''}{note}"
