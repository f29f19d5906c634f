"""The losses of a downgrade: rows of tables it drops, values of columns it drops.

The reserved members of the dimensions (keys -1 and -2) come with the migration and ``dim_time`` is computed, so neither
counts; nor does what stands outside the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import column, func, inspect, select, table, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect.ddl_compiler import child_table_name
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.sql_text import Drop, hides_drops
from gpwarehouse.models import DIMENSIONS
from gpwarehouse.settings import WarehouseSettings

__all__ = ["COUNTED", "Loss", "losses", "refuse_hidden", "refuse_losses"]

COUNTED = 1_000_000
"""Rows are counted up to here: counting all of a petabyte takes longer than dropping it."""


@dataclass(frozen=True)
class Loss:
    """Something dropped that holds data.

    :ivar rows: rows of a table, or of a column those with a value; counted up to :data:`COUNTED`, and one more if there
        are more.
    """

    drop: Drop
    rows: int

    def __str__(self) -> str:
        what = "rows" if self.drop.kind != "column" else "values"
        count = f"more than {COUNTED:,}" if self.rows > COUNTED else f"{self.rows:,}"
        return f"{self.drop}: {count} {what if self.rows != 1 else what[:-1]}"


def refuse_losses(connection: Connection, settings: WarehouseSettings, found: Iterable[Drop], what: str) -> None:
    """Stop before data is dropped.

    A table is locked before it is looked at, so that no load can fill it in between; the lock is the one that dropping it
    takes.

    :raises MigrationError: it names the tables and their rows.
    """
    lost = losses(connection, settings, found, lock=True)
    if lost:
        raise MigrationError(refusal(lost, what))


def refuse_hidden(statement: str, what: str) -> None:
    """Stop before a statement that may drop data that its text does not name.

    :raises MigrationError: it is one.
    """
    if hides_drops(statement):
        raise MigrationError(
            f"a statement of the {what} may drop data that its text does not name: {' '.join(statement.split())[:200]}. "
            "Nothing was changed by it. Write its DROPs as statements of their own; or, if they may go, say so: gpwarehouse "
            "downgrade … --yes-drop-data, wh.downgrade(…, drop_data=True), alembic -x drop-data=yes downgrade …"
        )


def refusal(lost: Iterable[Loss], what: str) -> str:
    """Return the message that refuses them."""
    names = "; ".join(map(str, lost))
    return (
        f"the {what} would drop data: {names}. Nothing was changed by it. Save what you need; to drop it, say so: "
        "gpwarehouse downgrade … --yes-drop-data, wh.downgrade(…, drop_data=True), alembic -x drop-data=yes downgrade …"
    )


def losses(
    connection: Connection, settings: WarehouseSettings, found: Iterable[Drop], *, lock: bool = False
) -> list[Loss]:
    """Return the drops that would lose data, with their rows."""
    counted: list[Loss] = []
    for drop in found:
        for one in _split_drop(connection, drop):
            rows = _rows(connection, settings, one, lock)
            if rows:
                counted.append(Loss(one, rows))
    return counted


def _split_drop(connection: Connection, drop: Drop) -> Iterator[Drop]:
    """The drop of a schema is one of each of its tables, that of a partition one of its table."""
    if drop.kind == "schema":
        there = inspect(connection)
        if there.has_schema(drop.name):
            for name in there.get_table_names(drop.name):
                yield Drop("table", drop.name, name)
    elif drop.kind == "partition":
        child = child_table_name(drop.name, drop.part) if drop.part is not None else drop.name
        yield Drop("table", drop.schema, child)
    elif drop.kind in ("table", "column"):
        yield drop


_MADE_ANEW = (
    *("dim_time", "alembic_version", "etl_migration_history"),
    *("agg_test_values", "agg_process_values", "bridge_step_limits"),
)
"""Tables whose rows come back by themselves, or are made from others."""


def _rows(connection: Connection, settings: WarehouseSettings, drop: Drop, lock: bool) -> int:
    schema = drop.schema
    ours = schema == settings.schema_name
    if ours and drop.name in _MADE_ANEW:
        return 0
    there = inspect(connection)
    if not there.has_table(drop.name, schema):
        return 0
    if drop.kind == "column" and drop.part not in {found["name"] for found in there.get_columns(drop.name, schema)}:
        return 0
    if lock:
        preparer = connection.dialect.identifier_preparer
        name = f"{preparer.quote_schema(schema)}.{preparer.quote(drop.name)}" if schema else preparer.quote(drop.name)
        connection.execute(text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
    rows = select(text("1")).select_from(table(drop.name, schema=schema))
    if drop.kind == "column":
        rows = rows.where(column(drop.part or "").isnot(None))
    model = DIMENSIONS.get(drop.name) if ours else None
    if model is not None:
        rows = rows.where(column(model.durable_key).notin_([-1, -2]))
    some = rows.limit(COUNTED + 1).subquery("some")
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
