"""Months that retention leaves alone for a while, each with a reason.

A hold stands in the comment of the partition's own table, so it needs no table of its own, everybody sees it, and it goes
when the month goes: ``gpwarehouse: held until 2026-12-15T08:00:00+00:00: late data of tester 7``. So does the mark of a
month that was restored, which is there if and only if the restored rows were committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import RangePartition
from gpwarehouse.dialect.ddl_compiler import child_table_name
from gpwarehouse.engine import qualified_name
from gpwarehouse.months import schema_of

__all__ = [
    "Hold",
    "copy_comment",
    "extend_hold",
    "forget",
    "holds_of",
    "is_held",
    "is_restored",
    "mark_restored",
    "put_comment",
    "put_hold",
]

_LINE = re.compile(r"gpwarehouse: held\b(?: until (.+?)(?::(?: +(.*))?)?$)?", re.MULTILINE)
_ENDLESS = datetime.max.replace(tzinfo=UTC)
_RESTORED = re.compile(r"gpwarehouse: restored ")


@dataclass(frozen=True)
class Hold:
    """Until when a month is left alone, aware, and why; a comment that cannot be read holds it without end."""

    until: datetime
    reason: str

    def __str__(self) -> str:
        if self.until == _ENDLESS:
            return (
                f"held without end: its comment, {self.reason!r}, gives no time as 2026-12-15T08:00:00+00:00; "
                "gpwarehouse partitions hold puts it right, with --days 0 it lets the month go"
            )
        return f"held until {self.until.isoformat(timespec='seconds')}: {' '.join(self.reason.split())}"


def holds_of(connection: Connection, table: Table, partitions: Iterable[RangePartition]) -> dict[str, Hold]:
    """Partition → its hold, over or not, of those that have one."""
    children = {p.child or child_table_name(table.name, p.name): p.name for p in partitions}
    rows = connection.execute(
        text(
            "SELECT c.relname, obj_description(c.oid, 'pg_class') AS said FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = ANY (:names)"
        ),
        {"schema": schema_of(connection, table), "names": list(children)},
    )
    found = ((row.relname, _LINE.search(row.said or "")) for row in rows)
    return {children[name]: _read(match) for name, match in found if match is not None}


def _read(match: re.Match[str]) -> Hold:
    """Read a comment, which somebody may have written by hand. A comment that cannot be read still holds its month."""
    try:
        until = datetime.fromisoformat(match[1] or "")
    except ValueError:
        return Hold(_ENDLESS, match.string[match.start() :].splitlines()[0])
    return Hold(until if until.tzinfo is not None else until.replace(tzinfo=UTC), match[2] or "")


def is_held(connection: Connection, table: Table, partition: RangePartition, now: datetime) -> bool:
    """Whether somebody holds a partition now, perhaps since a plan was made."""
    return any(now < hold.until for hold in holds_of(connection, table, [partition]).values())


def put_hold(connection: Connection, table: Table, partition: RangePartition, hold: Hold | None) -> None:
    """Hold a partition, or None: let it go; other lines of its comment stay."""
    _put(connection, _child(table, partition), _LINE, f"gpwarehouse: {hold}" if hold is not None else None)


def mark_restored(connection: Connection, table: Table, partition: RangePartition, at: datetime) -> None:
    """Say in a partition's comment that its rows came back from the archive."""
    _put(connection, _child(table, partition), _RESTORED, f"gpwarehouse: restored {at.isoformat(timespec='seconds')}")


def is_restored(connection: Connection, table: Table, partition: RangePartition) -> bool:
    """Whether a partition is one that came back from the archive, whatever was done to its rows since."""
    return _RESTORED.search(_comment(connection, _child(table, partition))) is not None


def forget(connection: Connection, table: Table, partition: RangePartition) -> None:
    """Take away all that is said of a partition's rows, which have gone."""
    for pattern in (_LINE, _RESTORED):
        _put(connection, _child(table, partition), pattern, None)


def extend_hold(connection: Connection, table: Table, partition: RangePartition, hold: Hold) -> bool:
    """Hold a partition, unless it is held for as long already; whether it was not."""
    before = holds_of(connection, table, [partition]).get(partition.name)
    if before is not None and hold.until <= before.until:
        return False
    put_hold(connection, table, partition, hold)
    return True


def copy_comment(connection: Connection, table: Table, partition: RangePartition, new: Table) -> None:
    """Give the table that is to take a partition's place its comment: what is held stays so."""
    put_comment(connection, new, _comment(connection, _child(table, partition)))


def _child(table: Table, partition: RangePartition) -> Table:
    name = partition.child or child_table_name(table.name, partition.name)
    return Table(name, table.metadata.__class__(), schema=table.schema)


def _put(connection: Connection, child: Table, pattern: re.Pattern[str], line: str | None) -> None:
    """Have this line, or None: none, in the place of those that are like it."""
    said = _comment(connection, child)
    lines = [other for other in said.splitlines() if not pattern.search(other)]
    comment = "\n".join([*([line] if line is not None else []), *lines])
    if comment != said:
        put_comment(connection, child, comment)


def _comment(connection: Connection, table: Table) -> str:
    said = text("SELECT obj_description(CAST(:name AS regclass), 'pg_class')")
    return connection.execute(said, {"name": qualified_name(connection, table)}).scalar_one() or ""


def put_comment(connection: Connection, table: Table, comment: str) -> None:
    """Give a partition's own table this comment, which may hold it; none if it is empty."""
    connection.exec_driver_sql(f"COMMENT ON TABLE {qualified_name(connection, table)} IS %s", (comment or None,))
