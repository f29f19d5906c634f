"""The input of a dimension or bridge: natural keys, attributes, and the time from which they hold."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, DateTime, Table
from sqlalchemy.dialects.postgresql import JSONB

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.target import InputColumn, Target, default_of, role_inputs
from gpwarehouse.models import BRIDGES, DIMENSIONS, END_OF_TIME, Dimension
from gpwarehouse.models.base import KeyRole
from gpwarehouse.transport.columns import TIMESTAMP, arrow_type

__all__ = ["bridge_named", "dimension_named", "dimension_target"]

MAY_BE_EMPTY = frozenset({"facility", "chamber_id", "revision", "flow_version", "recipe_version"})
"""Parts of natural keys that a row need not give. A missing facility is that of the settings; the others are empty."""

_PARENT = KeyRole(
    "dim_equipment",
    {"facility": "facility", "equipment_id": "parent_equipment_id", "chamber_id": "parent_chamber_id"},
    identifier="parent_equipment_id",
    defaults={"parent_chamber_id": ""},
)
"""The parent of a piece of equipment. It is NULL, not -1, if there is none."""


def dimension_named(name: str) -> type[Any]:
    """Find the versioned dimension of that table name.

    :raises InvalidInputError: there is none.
    """
    versioned = {table: model for table, model in DIMENSIONS.items() if issubclass(model, Dimension)}
    if name not in versioned:
        raise InvalidInputError(
            f"there is no dimension {name!r} with versions; those with versions are {', '.join(versioned)}"
        )
    return versioned[name]


@cache
def dimension_target(name: str, effective: str, deletes: str | None) -> Target:
    """Make the target that a dimension's frame is checked against.

    :param effective: the column with the time from which a row holds.
    :param deletes: the column that says that a row deletes its member.
    :raises InvalidInputError: there is no such dimension, or a column cannot have this role.
    """
    model = dimension_named(name)
    table: Table = model.__table__
    roles = {c.name: c.info["role"] for c in table.columns if "role" in c.info}
    if name == "dim_equipment":
        roles["parent_equipment_key"] = _PARENT
    inputs: dict[str, InputColumn] = {}
    natural = ("lot_id", *model.natural_key) if name == "dim_wafer" else model.natural_key
    for part in natural:
        derived = name == "dim_wafer" and part == "root_lot_id"  # derived from the lot, unless the frame gives it
        needed = part not in MAY_BE_EMPTY and not derived
        inputs[part] = InputColumn(part, pa.string(), required=needed, is_key_part=True)
    for role in roles.values():
        for part in role_inputs(role):
            inputs.setdefault(part, InputColumn(part, pa.string(), is_key_part=True))
    for column in (*model.tracked_columns(), *model.type1, "source_id"):
        if column not in roles:
            inputs.setdefault(column, _make_input(table.c[column], required=False))
    _add_time(inputs, name, effective)
    if deletes is not None:
        if deletes in inputs:
            raise InvalidInputError(f"{name}: column {deletes!r} is an attribute; deletes= needs a column of its own")
        inputs[deletes] = InputColumn(deletes, pa.bool_(), default=pa.scalar(False))
    return Target(name, table, inputs, roles, (), effective)


def _add_time(inputs: dict[str, InputColumn], name: str, effective: str) -> None:
    there = inputs.get(effective)
    if there is not None and there.type != TIMESTAMP:
        raise InvalidInputError(
            f"{name}: column {effective!r} has type {there.type}; effective= needs a column of times"
        )
    inputs[effective] = replace(there or InputColumn(effective, TIMESTAMP), required=True)


def _make_input(column: Column[Any], *, required: bool) -> InputColumn:
    return InputColumn(
        column.name,
        arrow_type(column.type),
        required=required,
        is_json=isinstance(column.type, JSONB),
        domain=column.info.get("domain"),
        default=default_of(column) if not isinstance(column.type, DateTime) else None,
    )


@cache
def bridge_named(name: str) -> Target:
    """Make the target that a bridge's frame is checked against.

    :raises InvalidInputError: there is no such bridge.
    """
    if name not in BRIDGES:
        raise InvalidInputError(f"there is no bridge {name!r}; the bridges are {', '.join(BRIDGES)}")
    table: Table = BRIDGES[name].__table__
    roles = {c.name: c.info["role"] for c in table.columns if "role" in c.info}
    inputs = {
        part: InputColumn(part, pa.string(), required=True, is_key_part=True)
        for role in roles.values()
        for part in role_inputs(role)
    }
    audit = {"source_system", "batch_id", "created_at", "updated_at", "created_by", "updated_by"}
    for column in table.columns:
        if column.name not in roles and column.name not in audit:
            needed = not column.nullable and column.server_default is None
            inputs[column.name] = _make_input(column, required=needed)
    if "to_ts" in inputs:
        inputs["to_ts"] = InputColumn("to_ts", TIMESTAMP, default=pa.scalar(END_OF_TIME, TIMESTAMP))
    time = "event_ts" if "event_ts" in inputs else "from_ts"
    return Target(name, table, inputs, roles, tuple(c.name for c in table.columns), time)
