"""Merge a frame into a versioned dimension (SCD type 2), from end to end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import Analyze as AnalyzeTable
from gpwarehouse.dimensions.equipment_cycles import refuse_cycles
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import learn
from gpwarehouse.dimensions.merge_sql import History
from gpwarehouse.dimensions.rewrite_versions import Changes
from gpwarehouse.dimensions.staged_rows import FrameOfMembers, Staging, make_stager
from gpwarehouse.dimensions.staged_write import StagedWrite
from gpwarehouse.dimensions.targets import dimension_named, dimension_target
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.progress import Progress
from gpwarehouse.engine.server_errors import SERVER_ERRORS, reason_of, translate_errors
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.first_pass import FirstPass, read_source
from gpwarehouse.intake.load_options import Analyze, LoadOptions
from gpwarehouse.models import DimLot
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import copy_rows

__all__ = ["MergeResult", "Merger"]

AUTO_SHARE = 0.1
"""With ``analyze="auto"``, statistics are gathered if more than this share of the dimension's rows changed."""
EFFECTIVE = "effective_date"


@dataclass(frozen=True)
class MergeResult:
    """What a merge did.

    :ivar batch_id: id of the batch.
    :ivar dimension: table name.
    :ivar rows_read: rows of the frame.
    :ivar rows_rejected: rows of the frame that were not merged.
    :ivar already_merged: whether the caller's batch was merged before, so that nothing was changed now.
    :ivar members_new: members that the dimension did not have.
    :ivar versions_begun: versions that were written, including the first versions of new members.
    :ivar versions_replaced: those of them that replaced an existing version.
    :ivar members_completed: inferred members whose version was replaced by one with attributes.
    :ivar members_deleted: versions begun that say that a member is deleted.
    :ivar rows_overwritten: rows with a new value in a column that is overwritten in place (type 1).
    :ivar members_inferred: members of other dimensions that the rows name and that had no row yet.
    :ivar phase_seconds: seconds of ``"read"`` (check, hash) and ``"write"`` (stage, compute versions, write, commit).
    :ivar warnings: what failed after the commit, which does not affect the versions.
    """

    batch_id: str
    dimension: str
    rows_read: int
    rows_rejected: int
    already_merged: bool
    seconds: float
    members_new: int = 0
    versions_begun: int = 0
    versions_replaced: int = 0
    members_completed: int = 0
    members_deleted: int = 0
    rows_overwritten: int = 0
    members_inferred: int = 0
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Merger:
    """Merges frames into the dimensions of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: reject limit, facility, patterns for wafers and lots.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def merge(self, dimension: str, frame: Any, **options: Any) -> MergeResult:
        """Merge a frame: see :meth:`gpwarehouse.Warehouse.merge`."""
        merge = partial(self._merge, dimension, frame, **options)
        return translate_errors(self.settings, dimension, "nothing was changed", merge)

    def _merge(
        self,
        dimension: str,
        frame: Any,
        *,
        effective: str | datetime = EFFECTIVE,
        deletes: str | None = None,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> MergeResult:
        model = dimension_named(dimension)
        options = LoadOptions(batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress)
        column, constants = _split_effective(effective)
        target = dimension_target(dimension, column, deletes)
        started, started_at = time.monotonic(), datetime.now(UTC)
        source = FrameOfMembers(frame, dimension, source_system, constants=constants, rows_for=target)
        staging = Staging(make_stager(model, deletes, self.settings.lot_root_pattern))
        with read_source(source, target, self.engine, self.settings, options, staging) as found:
            read = time.monotonic() - started
            changes = Changes()

            def write(provenance: Provenance, connection: Connection, rows: Iterable[pa.RecordBatch]) -> None:
                nonlocal changes
                changes = _write(connection, rows, model, found, staging, provenance)
                options.report("write", found.rows.rows)

            once = StagedWrite.of(self.engine, self.settings, source, found, options, started_at, "merge", write)
            row = once.run()
            is_new = row.started_at == started_at
            warnings: tuple[str, ...] = ()
            if is_new and found.rows.rows:
                warnings = self._try_analyze(model, changes, analyze or self.settings.analyze)
            counts, seconds = changes, time.monotonic() - started
            return MergeResult(
                *(row.batch_id, dimension, found.rows_read, found.rows_rejected, not is_new, seconds),
                *(counts.new, counts.begun, counts.replaced, counts.completed, counts.deleted),
                *(counts.overwritten, once.members_made, {"read": read, "write": seconds - read}, warnings),
            )

    def _try_analyze(self, model: type[Any], changes: Changes, analyze: Analyze) -> tuple[str, ...]:
        """Gather statistics; return a warning if that fails."""
        try:
            self._analyze(model, changes, analyze)
        except SERVER_ERRORS as error:
            return (f"{model.__tablename__}: {reason_of(error)}",)
        return ()

    def _analyze(self, model: type[Any], changes: Changes, analyze: Analyze) -> None:
        """Gather statistics in a transaction of their own: if it fails, the merge is not affected."""
        changed = changes.begun + changes.overwritten
        if analyze == "never" or not changed:
            return
        with self.engine.connect() as connection:
            name = {"name": qualified_name(connection, model.__table__)}
            query = text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)")
            rows = float(connection.execute(query, name).scalar_one())
            if analyze == "always" or changed > AUTO_SHARE * rows:
                connection.execute(AnalyzeTable(model.__table__))
                connection.commit()


def _write(
    connection: Connection,
    rows: Iterable[pa.RecordBatch],
    model: type[Any],
    found: FirstPass,
    staging: Staging,
    provenance: Provenance,
) -> Changes:
    lots = found.resolver.members.get("dim_lot")
    if lots and model is not DimLot:
        # The products of lots come before the dimension is locked: dimensions are locked in the order of their names.
        learn(connection, {"dim_lot": lots}, provenance)
    columns = staging.columns(found)
    history = History(connection, model, columns, repeats=staging.repeats, given=found.given)
    copy_rows(connection, history.stage(), rows, columns)
    history.lock()
    changes = history.merge(provenance)
    if "parent_equipment_key" in history.told:
        refuse_cycles(connection)
    return changes


def _split_effective(effective: str | datetime) -> tuple[str, dict[str, datetime]]:
    """The column with the time from which a row holds; and that time, if it is the same for all rows."""
    if isinstance(effective, str):
        return effective, {}
    if not isinstance(effective, datetime) or effective.tzinfo is None:
        raise InvalidInputError(
            f"effective={effective!r}: give the name of a column of the frame, or a time with a time zone"
        )
    return EFFECTIVE, {EFFECTIVE: effective.astimezone(UTC)}
