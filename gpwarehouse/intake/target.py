"""The input of a fact: its input columns, their types, domains and keys, derived from the model."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    Column,
    DefaultClause,
    Table,
)
from sqlalchemy.dialects.postgresql import JSONB

from gpwarehouse.dialect import DistributedBy
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import FACTS
from gpwarehouse.models.base import Domain, KeyRole
from gpwarehouse.transport import numbers_first
from gpwarehouse.transport.columns import arrow_type

__all__ = [
    "MEASURED",
    "PARAMETERS",
    "SET_KEY",
    "VALUE_COLUMNS",
    "InputColumn",
    "Target",
    "default_of",
    "role_inputs",
    "target_named",
]

PARAMETERS, SET_KEY, MEASURED = "parameters", "parameter_set_key", "measured"
VALUE_COLUMNS = frozenset({PARAMETERS, SET_KEY, MEASURED, "verdicts", "failed", "own_limits", "parameter_counts"})
"""Columns that together say what was measured: a row that gives one of the first three gives all of them."""

LOADER_COLUMNS = frozenset({"time_key", "batch_id", "loaded_at", "source_system", "source_file"})
"""Columns of a fact that the loader writes itself. It takes the ``source_*`` ones from a frame that has them."""

OPTIONAL_IN_FRAME = frozenset({"source_system", "source_file", "source_record_no"})


@dataclass(frozen=True)
class InputColumn:
    """A column that a frame may have: its Arrow type, its allowed values, and whether every row needs it.

    :ivar default: the value in rows without one, if the column has a default and is NOT NULL.
    """

    name: str
    type: pa.DataType
    required: bool = False
    is_json: bool = False
    is_key_part: bool = False
    domain: Domain | None = None
    default: pa.Scalar | None = None

    @property
    def is_list(self) -> bool:
        """Whether its values are lists of numbers."""
        return bool(pa.types.is_list(self.type))


@dataclass(frozen=True)
class Target:
    """A fact as the loader sees it.

    :ivar inputs: the columns that a frame may have: natural key columns and the fact's own columns, never durable keys.
    :ivar roles: durable key column → how it is computed.
    :ivar columns: all columns that the loader writes, distribution key and partition key first. The coordinator then parses only
        these to find a row's segment and partition (a third faster on Greenplum). Numbers come next.
    """

    name: str
    table: Table
    inputs: dict[str, InputColumn]
    roles: dict[str, KeyRole]
    columns: tuple[str, ...]
    partition_column: str

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse columns that the target does not have, and frames without its time.

        :raises InvalidInputError: a column is refused or missing; the message names it, and the nearest names that are accepted.
        """
        names = list(names)
        for name, count in Counter(names).items():
            if count > 1:
                raise InvalidInputError(f"{self.name}: column {name!r} occurs {count} times; give it once")
            if name in self.roles or name == "time_key":
                role = self.roles.get(name)
                instead = f"give {', '.join(role.inputs.values())}" if role else f"give {self.partition_column}"
                raise InvalidInputError(
                    f"{self.name}: the loader computes column {name!r}, and makes its dimension member; {instead} instead"
                )
            if name not in self.inputs:
                near = difflib.get_close_matches(name, self.inputs, n=3)
                hint = (
                    f"did you mean {' or '.join(map(repr, near))}?"
                    if near
                    else "wh.facts.columns() lists the columns that it takes"
                )
                raise InvalidInputError(f"{self.name}: unknown column {name!r}; {hint}")
        missing = [c.name for c in self.inputs.values() if c.required and c.name not in names]
        if missing:
            raise InvalidInputError(f"{self.name}: the frame does not have column {missing[0]!r}, which is required")

    def given_columns(self, names: Collection[str]) -> frozenset[str]:
        """Columns of the table that a row gives if it names these inputs.

        A durable key is given by its identifying input. Whoever gives values gives all that is said of them.
        """
        own = {name for name in names if name in self.table.c and name not in self.roles}
        if own & {PARAMETERS, SET_KEY, MEASURED}:
            own |= {name for name in VALUE_COLUMNS if name in self.table.c}
        return frozenset(own | {column for column, role in self.roles.items() if role.identifier in names})

    @property
    def list_columns(self) -> frozenset[str]:
        """Names of the columns of lists."""
        return frozenset(c.name for c in self.inputs.values() if c.is_list)

    @property
    def json_columns(self) -> frozenset[str]:
        """Names of the JSON columns."""
        return frozenset(c.name for c in self.inputs.values() if c.is_json)


def default_of(column: Column[Any]) -> pa.Scalar | None:
    """The default of a NOT NULL column: COPY writes NULL where the server would have used the default."""
    default = column.server_default
    if column.nullable or not isinstance(default, DefaultClause):
        return None
    return pa.scalar(str(default.arg)).cast(arrow_type(column.type))


def role_inputs(role: KeyRole) -> list[str]:
    """The frame columns of a role. A root lot is derived from the lot, so the frame has the lot."""
    return ["lot_id" if name == "root_lot_id" else name for name in role.inputs.values()]


@cache
def target_named(name: str) -> Target:
    """Find the fact of that table name.

    :raises InvalidInputError: there is no such fact.
    """
    if name not in FACTS:
        raise InvalidInputError(f"there is no fact {name!r}; the facts are {', '.join(FACTS)}")
    table: Table = FACTS[name].__table__
    roles = {c.name: c.info["role"] for c in table.columns if "role" in c.info}
    distribution, partitions = (table.dialect_options["greenplum"][key] for key in ("distributed_by", "partition_by"))
    first = (*distribution.columns, partitions.column) if isinstance(distribution, DistributedBy) else ()
    needed = {"lot_id" if part == "wafer_id" else part for c in first if c in roles for part in [roles[c].identifier]}
    inputs: dict[str, InputColumn] = {}
    for role in roles.values():
        for part in role_inputs(role):
            inputs[part] = InputColumn(part, pa.string(), required=part in needed, is_key_part=True)
    for column in table.columns:
        if column.name in roles or (column.name in LOADER_COLUMNS and column.name not in OPTIONAL_IN_FRAME):
            continue
        optional = column.nullable or column.server_default is not None or column.name in OPTIONAL_IN_FRAME
        inputs.setdefault(
            column.name,
            InputColumn(
                column.name,
                arrow_type(column.type),
                required=not optional,
                is_json=isinstance(column.type, JSONB),
                domain=column.info.get("domain"),
                default=default_of(column),
            ),
        )
    written = [c.name for c in table.columns if c.name != "loaded_at"]
    columns = (*first, *numbers_first(table, (c for c in written if c not in first)))
    return Target(name, table, inputs, roles, columns, partitions.column)
