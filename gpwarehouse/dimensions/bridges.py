"""Insert, change and delete rows of the bridges by their business key, in sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Column, Table, Text, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.staged_rows import ROW, FrameOfMembers, Staging, stage_bridge
from gpwarehouse.dimensions.staged_write import StagedWrite
from gpwarehouse.dimensions.targets import bridge_named
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.progress import Progress
from gpwarehouse.engine.server_errors import translate_errors
from gpwarehouse.engine.temporary_tables import create_temporary
from gpwarehouse.intake.first_pass import FirstPass, read_source
from gpwarehouse.intake.given_columns import GIVEN, marker
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.models import BridgeWaferLot
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import copy_rows

__all__ = ["BridgeResult", "Bridges", "end_stays"]

_STAGE = "gpw_bridge_stage"


@dataclass(frozen=True)
class BridgeResult:
    """What a bridge operation did.

    :ivar batch_id: id of the batch.
    :ivar table: the bridge.
    :ivar rows_read: rows of the frame.
    :ivar rows_rejected: rows of the frame that were left out.
    :ivar already_done: whether the caller's batch was done before, so that nothing was changed now.
    :ivar members_inferred: lots and wafers that the rows name and that had no row yet.
    """

    batch_id: str
    table: str
    rows_read: int
    rows_rejected: int
    already_done: bool
    seconds: float
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    members_inferred: int = 0


class Bridges:
    """Changes rows of the bridges of one warehouse."""

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def upsert(self, table: str, frame: Any, **options: Any) -> BridgeResult:
        """Insert rows, or change existing ones: see :meth:`gpwarehouse.warehouse.dimensions.Dimensions.upsert_bridge`."""
        return self._change_once(table, frame, "upsert", _upsert, **options)

    def delete(self, table: str, frame: Any, **options: Any) -> BridgeResult:
        """Delete rows: see :meth:`gpwarehouse.warehouse.dimensions.Dimensions.delete_bridge`."""
        return self._change_once(table, frame, "delete", _delete, **options)

    def _change_once(self, table: str, *args: Any, **options: Any) -> BridgeResult:
        change = partial(self._change, table, *args, **options)
        return translate_errors(self.settings, table, "nothing was changed", change)

    def _change(
        self,
        table: str,
        frame: Any,
        operation: str,
        write: Callable[[_Rows], dict[str, int]],
        *,
        batch_id: str | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> BridgeResult:
        target = bridge_named(table)
        started, started_at = time.monotonic(), datetime.now(UTC)
        options = LoadOptions(batch_id=batch_id, progress=progress)
        source = FrameOfMembers(frame, table, source_system, rows_for=target)
        staging = Staging(stage_bridge)
        with read_source(source, target, self.engine, self.settings, options, staging) as found:
            if operation == "delete":
                found.resolver.members.clear()  # a member that does not exist has no rows
            done: dict[str, Any] = {}

            def change(provenance: Provenance, connection: Connection, rows: Iterable[pa.RecordBatch]) -> None:
                done.update(write(_Rows(connection, rows, found, staging, provenance)))

            once = StagedWrite.of(self.engine, self.settings, source, found, options, started_at, operation, change)
            row = once.run()
            counts = (found.rows_read, found.rows_rejected, row.started_at != started_at)
            return BridgeResult(
                *(row.batch_id, table, *counts, time.monotonic() - started),
                **done,
                members_inferred=once.members_made,
            )


class _Rows:
    """The staged rows of a bridge, in the transaction of ``connection``, which locks the bridge against other writers."""

    def __init__(
        self,
        connection: Connection,
        rows: Iterable[pa.RecordBatch],
        found: FirstPass,
        staging: Staging,
        provenance: Provenance,
    ) -> None:
        self.connection = connection
        self.values = {"batch_id": provenance.batch_id, "source_system": provenance.source_system}
        self.table: Table = found.resolver.target.table
        staged = staging.columns(found)
        quote = connection.dialect.identifier_preparer.quote
        self.bridge = qualified_name(connection, self.table)
        self.key = [quote(column.name) for column in self.table.primary_key]
        own: dict[str, Any] = {ROW: BigInteger(), GIVEN: Text()}
        self.others = [quote(name) for name in staged if name not in own and quote(name) not in self.key]
        self.given = {quote(name): "true" for name in found.given.any if quote(name) in self.others}
        columns: list[Column[Any]] = [
            Column(name, own[name] if name in own else self.table.c[name].type) for name in staged
        ]
        spread = self.table.dialect_options["greenplum"]["distributed_by"]
        stage = create_temporary(connection, _STAGE, columns, spread)
        copy_rows(connection, stage, rows, staged)
        self.execute(f"ANALYZE {_STAGE}")
        self.execute(f"LOCK TABLE {self.bridge} IN EXCLUSIVE MODE")
        self.staged = self._last_of_each({quote(name): name for name in sorted(found.given.not_every)})
        self.matches = " AND ".join(f"b.{name} = s.{name}" for name in self.key)

    def _last_of_each(self, varying: Mapping[str, str]) -> str:
        """The staged rows. Of rows with the same key the last one counts, in each column the last row that gives it.

        :param varying: columns that not all rows give: quoted name → plain name.
        """
        key = ", ".join(self.key)
        columns = [*self.key, *(name for name in self.others if name not in varying)]
        for number, (name, plain) in enumerate(varying.items()):
            given, flag = f"(strpos({GIVEN}, '{marker(plain)}') > 0)", f"given_{number}"
            columns += [
                f"first_value({name}) OVER (PARTITION BY {key} ORDER BY {given} DESC, {ROW} DESC) AS {name}",
                f"bool_or({given}) OVER (PARTITION BY {key}) AS {flag}",
            ]
            self.given[name] = f"s.{flag}"
        columns.append(f"row_number() OVER (PARTITION BY {key} ORDER BY {ROW} DESC) AS n")
        return f"(SELECT * FROM (SELECT {', '.join(columns)} FROM {_STAGE}) s WHERE n = 1)"

    def execute(self, statement: str) -> int:
        """Run a statement; return how many rows it changed."""
        values = {name: value for name, value in self.values.items() if f":{name}" in statement}
        return int(self.connection.execute(text(statement), values).rowcount)


def _upsert(rows: _Rows) -> dict[str, int]:
    updated = 0
    if rows.given:
        new = {name: f"CASE WHEN {given} THEN s.{name} ELSE b.{name} END" for name, given in rows.given.items()}
        sets = ", ".join(f"{name} = {value}" for name, value in new.items())
        differs = " OR ".join(f"b.{name} IS DISTINCT FROM {value}" for name, value in new.items())
        updated = rows.execute(
            f"UPDATE {rows.bridge} b SET {sets}, batch_id = :batch_id, updated_at = now(), "
            f'updated_by = "current_user"() FROM {rows.staged} s WHERE {rows.matches} AND ({differs})'
        )
    audit = {"batch_id": "CAST(:batch_id AS text)", "source_system": "CAST(:source_system AS text)"}
    names = ", ".join([*rows.key, *rows.others, *audit])
    values = ", ".join([*(f"s.{name}" for name in (*rows.key, *rows.others)), *audit.values()])
    inserted = rows.execute(
        f"INSERT INTO {rows.bridge} ({names}) SELECT {values} FROM {rows.staged} s "
        f"WHERE NOT EXISTS (SELECT 1 FROM {rows.bridge} b WHERE {rows.matches})"
    )
    if rows.table is BridgeWaferLot.__table__:
        end_stays(rows.connection, f"SELECT wafer_key FROM {_STAGE}")
    return {"rows_inserted": inserted, "rows_updated": updated}


def _delete(rows: _Rows) -> dict[str, int]:
    deleted = rows.execute(f"DELETE FROM {rows.bridge} b USING {rows.staged} s WHERE {rows.matches}")
    return {"rows_deleted": deleted}


def end_stays(connection: Connection, wafers: str) -> None:
    """End the stays of wafers where the next stay begins, if they last longer: a wafer is in one lot at a time.

    :param wafers: SQL that selects the keys of the wafers.
    """
    bridge = qualified_name(connection, BridgeWaferLot.__table__)
    following = (
        "SELECT wafer_key, from_ts, lead(from_ts) OVER (PARTITION BY wafer_key ORDER BY from_ts) AS following "
        f"FROM {bridge} WHERE wafer_key IN ({wafers})"
    )
    connection.execute(
        text(
            f'UPDATE {bridge} b SET to_ts = n.following, updated_at = now(), updated_by = "current_user"() '
            f"FROM ({following}) n "
            "WHERE b.wafer_key = n.wafer_key AND b.from_ts = n.from_ts AND n.following < b.to_ts"
        )
    )
