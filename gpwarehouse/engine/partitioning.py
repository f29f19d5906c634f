"""Changing the partitions of a table that others read and load: short transactions, one at a time, tried again.

ADD and DROP PARTITION hold up every reader and writer of the table until their commit, and two sessions that change
partitions inside longer transactions deadlock. So whoever does takes an advisory lock, waits for the table a few seconds
at a time, and lets those through who queued behind the attempt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from sqlalchemy import Table, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import AddPartition, RangePartition
from gpwarehouse.dialect.compiler import child_table_name
from gpwarehouse.dialect.options import missing_partitions
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine.factory import dialect_of, qualified_name
from gpwarehouse.engine.locks import LOCK_MONTHS, lock_advisory
from gpwarehouse.errors import PartitionError

__all__ = [
    "become_owner",
    "change_partitions",
    "change_partitions_after",
    "child_of",
    "make_partitions",
    "overlapping",
    "partitions_there",
    "schema_of",
]

Result = TypeVar("Result")
Prepared = TypeVar("Prepared")

ATTEMPT_MS = 5_000
"""How long a change waits for the table at a time: as long as it waits, everybody else waits behind it."""
PATIENCE_S = 900.0
"""How long it is tried again: a load of that fact by somebody else may run for minutes."""
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
NOT_ALLOWED = "42501"


def schema_of(connection: Connection, table: Table) -> str | None:
    """The schema a table stands in on this connection: its own, or what ``schema_translate_map`` makes of it."""
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    schema: str | None = translate.get(table.schema, table.schema)
    return schema


def partitions_there(connection: Connection, table: Table) -> tuple[RangePartition, ...]:
    """The table's partitions, in order of their bounds."""
    there = partitions_of(connection, dialect_of(connection), schema_of(connection, table), table.name).get(table.name)
    return there.partitions if there is not None else ()


def child_of(table: Table, partition: RangePartition) -> str:
    """Name of a partition's table: its own where reflection found another than the rule's."""
    return partition.child or child_table_name(table.name, partition.name)


def overlapping(partition: RangePartition, others: Iterable[RangePartition]) -> list[RangePartition]:
    """Those of ``others`` that share an instant with ``partition``; all bounded by datetimes, or open."""

    def meets(a: RangePartition, b: RangePartition) -> bool:
        starts_before = a.start is None or b.end is None or a.start < b.end  # type: ignore[operator]
        ends_after = a.end is None or b.start is None or b.start < a.end  # type: ignore[operator]
        return bool(starts_before and ends_after)

    return [other for other in others if meets(partition, other)]


def change_partitions(engine: Engine, table: Table, change: Callable[[Connection], Result]) -> Result:
    """Run ``change`` in a short transaction of its own under the lock of all who change this table's partitions.

    It runs as the table's owner where the role may become that, so that what it makes belongs to the same owner. It is
    run again while a lock cannot be had, for up to ``PATIENCE_S`` seconds: it must look anew what is there.

    :raises PartitionError: the role may not change the table.
    """

    def attempt() -> Result:
        with engine.begin() as connection:
            _begin(connection)
            lock_advisory(connection, LOCK_MONTHS, qualified_name(connection, table))
            become_owner(connection, table)
            return change(connection)

    return _patiently(table, attempt)


def change_partitions_after(
    engine: Engine,
    table: Table,
    prepare: Callable[[Connection], Prepared | None],
    change: Callable[[Connection, Prepared], object],
) -> Prepared | None:
    """The same for a change that needs long work first: ``prepare`` does it, and nobody waits for it.

    ``prepare`` locks what it needs, first of all, and says by None that there is nothing to change. The lock of those
    who change partitions is taken after it, and given back between attempts, as the locks of ``change`` are.

    :return: what ``prepare`` returned.
    :raises PartitionError: the role may not change the table.
    """

    def attempt() -> Prepared | None:
        with engine.begin() as connection:
            _begin(connection)
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            become_owner(connection, table)
            prepared = prepare(connection)
            if prepared is not None:
                _patiently(table, lambda: finish(connection, prepared))
            return prepared

    def finish(connection: Connection, prepared: Prepared) -> None:
        with connection.begin_nested():
            lock_advisory(connection, LOCK_MONTHS, qualified_name(connection, table))
            change(connection, prepared)

    return _patiently(table, attempt)


def _begin(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = {ATTEMPT_MS}"))


def _patiently(table: Table, attempt: Callable[[], Result]) -> Result:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return attempt()
        except exc.DBAPIError as error:
            state = getattr(error.orig, "pgcode", None)
            if state == NOT_ALLOWED:
                reason = str(error.orig).strip().splitlines()[0]
                raise PartitionError(
                    f"table {table.name!r}: the role may not change its partitions ({reason}); let one that is a member "
                    "of the table's owner do it (gpwarehouse partitions apply)"
                ) from error
            if state not in {LOCK_NOT_AVAILABLE, DEADLOCK} or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.5, 1.5))  # let those through who queued behind the attempt


def become_owner(connection: Connection, table: Table, *, local: bool = True) -> None:
    """Run the rest of the transaction as the table's owner, where the role is a member of it.

    :param local: False: the rest of the session, for what runs outside transactions.
    """
    row = connection.execute(
        text(
            "SELECT pg_get_userbyid(relowner) AS owner, relowner <> (SELECT oid FROM pg_roles "
            "WHERE rolname = current_user) AND pg_has_role(relowner, 'MEMBER') AS becomes "
            "FROM pg_class WHERE oid = CAST(:name AS regclass)"
        ),
        {"name": qualified_name(connection, table)},
    ).one()
    if row.becomes:
        connection.execute(
            text(f"SET {'LOCAL ' if local else ''}ROLE {connection.dialect.identifier_preparer.quote(row.owner)}")
        )


def make_partitions(engine: Engine, table: Table, wanted: Iterable[RangePartition]) -> list[str]:
    """Make those of the wanted partitions whose range no partition holds; names of those made.

    :raises PartitionError: the role may not change the table.
    """
    asked = list(wanted)
    with engine.connect() as connection:
        if not missing_partitions(partitions_there(connection, table), asked):
            return []

    def add(connection: Connection) -> list[str]:
        missing = missing_partitions(partitions_there(connection, table), asked)
        for partition in missing:
            connection.execute(AddPartition(table, partition))
        return [partition.name for partition in missing]

    return change_partitions(engine, table, add)
