"""Changing the partitions of a table that others read and load: short transactions, one at a time, tried again.

ADD and DROP PARTITION hold up every reader and writer of the table until their commit, and two sessions that change
partitions inside longer transactions deadlock. So each change takes an advisory lock, waits for the table a moment at a
time, lets those through who queued behind the attempt, and tells for whom it waits.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Table, exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import AddPartition, RangePartition
from gpwarehouse.dialect.ddl_compiler import child_table_name
from gpwarehouse.dialect.options import missing_partitions
from gpwarehouse.dialect.reflection import partitions_of
from gpwarehouse.engine.locks import LOCK_MONTHS, LockHolder, advisory_key, lock_advisory, lock_holders
from gpwarehouse.engine.progress import Announce
from gpwarehouse.engine.sessions import has_shared_session
from gpwarehouse.engine.table_names import dialect_of, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.models import AGGREGATES

__all__ = [
    "LOCK_NOT_AVAILABLE",
    "Patience",
    "become_owner",
    "change_partitions",
    "change_partitions_after",
    "child_of",
    "default_there",
    "make_partitions",
    "overlapping",
    "partitions_there",
    "schema_of",
    "used_by",
]

Result = TypeVar("Result")
Prepared = TypeVar("Prepared")

ATTEMPT_MS = 2_000
"""How long a change waits for the table at a time: as long as it waits, everybody else waits behind it."""
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
NOT_ALLOWED = "42501"


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How a change waits for those who use the table.

    :ivar seconds: how long it is tried again: a load of that fact by somebody else may run for minutes.
    :ivar tell: takes a line on whom it waits for, once for each of them.
    """

    seconds: float = 900.0
    tell: Announce = log.info


def schema_of(connection: Connection, table: Table) -> str | None:
    """The schema a table stands in on this connection: its own, or what ``schema_translate_map`` makes of it."""
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    schema: str | None = translate.get(table.schema, table.schema)
    return schema


def partitions_there(connection: Connection, table: Table) -> tuple[RangePartition, ...]:
    """The table's partitions, in order of their bounds."""
    there = partitions_of(connection, dialect_of(connection), schema_of(connection, table), table.name).get(table.name)
    return there.partitions if there is not None else ()


def default_there(connection: Connection, table: Table) -> str | None:
    """Name of the table's default partition, if it has one; the warehouse makes none."""
    there = partitions_of(connection, dialect_of(connection), schema_of(connection, table), table.name).get(table.name)
    return there.default if there is not None else None


def child_of(table: Table, partition: RangePartition) -> str:
    """Name of a partition's table: its own where reflection found another than the rule's."""
    return partition.child or child_table_name(table.name, partition.name)


def overlapping(partition: RangePartition, others: Iterable[RangePartition]) -> list[RangePartition]:
    """Return the others that share an instant with ``partition``; all are bounded by datetimes, or open."""

    def meets(a: RangePartition, b: RangePartition) -> bool:
        starts_before = a.start is None or b.end is None or a.start < b.end  # type: ignore[operator]
        ends_after = a.end is None or b.start is None or b.start < a.end  # type: ignore[operator]
        return bool(starts_before and ends_after)

    return [other for other in others if meets(partition, other)]


def change_partitions(
    engine: Engine, table: Table, change: Callable[[Connection], Result], *, patience: Patience | None = None
) -> Result:
    """Run ``change`` in a short transaction of its own under the lock of all who change this table's partitions.

    It runs as the table's owner where the role may become that, so that what it makes belongs to the same owner. It is
    run again while a lock cannot be had: it must look anew what is there.

    :raises PartitionError: the role may not change the table, or others used it for longer than we had patience.
    """

    def attempt() -> Result:
        with engine.begin() as connection:
            _begin(connection)
            lock_advisory(connection, LOCK_MONTHS, qualified_name(connection, table))
            become_owner(connection, table)
            return change(connection)

    return _Wait(engine, table, patience).patiently(attempt)


def change_partitions_after(
    engine: Engine,
    table: Table,
    prepare: Callable[[Connection], Prepared | None],
    change: Callable[[Connection, Prepared], object],
    *,
    patience: Patience | None = None,
) -> Prepared | None:
    """The same for a change that needs long work first: ``prepare`` does it, and nobody waits for it.

    ``prepare`` locks what it needs, first of all, and says by None that there is nothing to change. The lock of those
    who change partitions is taken after it, and given back between attempts, as the locks of ``change`` are.

    :return: what ``prepare`` returned.
    :raises PartitionError: as :func:`change_partitions`.
    """
    wait = _Wait(engine, table, patience)

    def attempt() -> Prepared | None:
        with engine.begin() as connection:
            _begin(connection)
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            become_owner(connection, table)
            wait.mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            prepared = prepare(connection)
            if prepared is not None:
                wait.patiently(lambda: finish(connection, prepared))
            return prepared

    def finish(connection: Connection, prepared: Prepared) -> None:
        with connection.begin_nested():
            lock_advisory(connection, LOCK_MONTHS, qualified_name(connection, table))
            change(connection, prepared)

    return wait.patiently(attempt)


def _begin(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = {ATTEMPT_MS}"))


class _Wait:
    """Attempts at a change of one table, until it is done or patience is at its end."""

    def __init__(self, engine: Engine, table: Table, patience: Patience | None) -> None:
        self.engine = engine
        self.table = table
        self.patience = patience or Patience()
        self.mine = 0
        self._told: set[int] = set()
        self._deadline = time.monotonic() + self.patience.seconds

    def patiently(self, attempt: Callable[[], Result]) -> Result:
        while True:
            try:
                return attempt()
            except exc.DBAPIError as error:
                state = getattr(error.orig, "pgcode", None)
                if state == NOT_ALLOWED:
                    reason = str(error.orig).strip().splitlines()[0]
                    raise PartitionError(
                        f"table {self.table.name!r}: the role may not change its partitions ({reason}); let one that is a "
                        "member of the table's owner do it (gpwarehouse partitions apply)"
                    ) from error
                if state not in {LOCK_NOT_AVAILABLE, DEADLOCK}:
                    raise
                holders = _holders(self.engine, self.table, self.mine)
                if time.monotonic() > self._deadline:
                    raise PartitionError(self._refusal(holders)) from error
                self._tell(holders)
                time.sleep(random.uniform(0.5, 1.5))  # let those through who queued behind the attempt

    def _tell(self, holders: list[LockHolder]) -> None:
        for holder in holders:
            if holder.pid not in self._told:
                self._told.add(holder.pid)
                self.patience.tell(f"waiting for table {self.table.name}, which is used by {holder}")

    def _refusal(self, holders: list[LockHolder]) -> str:
        waited = f"table {self.table.name!r} was in use for {self.patience.seconds:.0f} s, so its partitions were not changed"
        if not holders:
            return f"{waited}; whoever used it last ended just now. Try again"
        more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
        return (
            f"{waited}. It is used by {holders[0]}{more}. Try again when that has ended; if nobody is behind it any more: "
            f"SELECT pg_terminate_backend({holders[0].pid})"
        )


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
        capabilities = dialect_of(connection).capabilities
        # The pool closes a session that SET something. One behind a pooler is not ours to SET anything in.
        if capabilities is not None and not capabilities.local_role and not has_shared_session(connection):
            local = False
        connection.execute(
            text(f"SET {'LOCAL ' if local else ''}ROLE {connection.dialect.identifier_preparer.quote(row.owner)}")
        )


def _holders(engine: Engine, table: Table, mine: int = 0) -> list[LockHolder]:
    with engine.connect() as connection:
        name = qualified_name(connection, table)
        return lock_holders(connection, advisory_key(LOCK_MONTHS, name), table=name, mine=[mine])


def used_by(engine: Engine, table: Table) -> str:
    """Who uses a table or one of its partitions now, for a message."""
    return "; ".join(map(str, _holders(engine, table)[:3])) or "somebody who ended just now"


def make_partitions(
    engine: Engine, table: Table, wanted: Iterable[RangePartition], *, patience: Patience | None = None
) -> list[str]:
    """Make those of the wanted partitions whose range no partition holds; names of those made.

    Those of the fact's aggregate are made with them, and not named.

    :raises PartitionError: as :func:`change_partitions`.
    """
    asked = list(wanted)
    if table.name in AGGREGATES:
        make_partitions(engine, AGGREGATES[table.name].__table__, asked, patience=patience)
    with engine.connect() as connection:
        if not missing_partitions(partitions_there(connection, table), asked):
            return []

    def add(connection: Connection) -> list[str]:
        missing = missing_partitions(partitions_there(connection, table), asked)
        for partition in missing:
            connection.execute(AddPartition(table, partition))
        return [partition.name for partition in missing]

    return change_partitions(engine, table, add, patience=patience)
