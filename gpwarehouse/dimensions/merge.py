"""Merge a frame into a versioned dimension (SCD type 2), from end to end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import Analyze as AnalyzeTable
from gpwarehouse.dimensions.equipment_cycles import refuse_cycles
from gpwarehouse.dimensions.exactly_once import Once, tie_to_batch_id, translate_errors
from gpwarehouse.dimensions.first_pass import FirstPass, read_frame
from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.dimensions.members import learn
from gpwarehouse.dimensions.merge_sql import History
from gpwarehouse.dimensions.rewrite_versions import Changes
from gpwarehouse.dimensions.staged_rows import make_stager
from gpwarehouse.dimensions.targets import dimension_named, dimension_target
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.progress import Progress
from gpwarehouse.engine.server_errors import reason_of
from gpwarehouse.errors import InvalidInputError
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
        return translate_errors(self.engine, self.settings, dimension, lambda: self._merge(dimension, frame, **options))

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
        LoadOptions(max_rejects=max_rejects, analyze=analyze)  # checks their values
        column, constants = _split_effective(effective)
        target = dimension_target(dimension, column, deletes)
        started, started_at = time.monotonic(), datetime.now(UTC)
        report = progress or (lambda phase, rows: None)
        stage = make_stager(model, deletes, self.settings.lot_root_pattern)
        with read_frame(frame, target, self.engine, self.settings, stage, report, constants) as found:
            read = time.monotonic() - started
            tie_to_batch_id(found, batch_id)
            settings = self.settings
            if max_rejects is not None:
                settings = settings.model_copy(update={"max_rejects": max_rejects})
            once = Once(
                self.engine,
                settings,
                found,
                batch_id=batch_id,
                source_system=source_system,
                started_at=started_at,
            )
            merged = _Merged()
            warnings: tuple[str, ...] = ()
            changed = once.run(
                lambda connection, rows: self._write(connection, rows, model, found, once, merged, report)
            )
            if changed and found.rows.rows:
                warnings = self._try_analyze(model, merged, analyze or self.settings.analyze)
            counts, seconds = merged.changes, time.monotonic() - started
            return MergeResult(
                *(once.batch.batch_id, dimension, found.rows_read, found.rows_rejected, not changed, seconds),
                *(counts.new, counts.begun, counts.replaced, counts.completed, counts.deleted),
                *(counts.overwritten, once.members_made, {"read": read, "write": seconds - read}, warnings),
            )

    def _write(
        self,
        connection: Connection,
        rows: Iterable[pa.RecordBatch],
        model: type[Any],
        found: FirstPass,
        once: Once,
        merged: _Merged,
        report: Progress,
    ) -> None:
        provenance = Provenance(once.batch.batch_id, once.batch.source_system, found.first)
        lots = found.resolver.members.get("dim_lot")
        if (
            lots and model is not DimLot
        ):  # the products of lots, before the dimension is locked: dimensions are locked in the order of their names
            learn(connection, {"dim_lot": lots}, provenance)
        history = History(connection, model, found.staged, repeats=found.repeats, given=found.given)
        copy_rows(connection, history.stage(), rows, tuple(found.staged))
        report("write", found.rows.rows)
        history.lock()
        merged.changes = history.merge(provenance)
        if "parent_equipment_key" in history.told:
            refuse_cycles(connection)

    def _try_analyze(self, model: type[Any], merged: _Merged, analyze: Analyze) -> tuple[str, ...]:
        """Gather statistics; return a warning if that fails."""
        try:
            self._analyze(model, merged, analyze)
        except (exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            return (f"{model.__tablename__}: {reason_of(error)}",)
        return ()

    def _analyze(self, model: type[Any], merged: _Merged, analyze: Analyze) -> None:
        """Gather statistics in a transaction of their own: if it fails, the merge is not affected."""
        changed = merged.changes.begun + merged.changes.overwritten
        if analyze == "never" or not changed:
            return
        with self.engine.connect() as connection:
            name = {"name": qualified_name(connection, model.__table__)}
            query = text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)")
            rows = float(connection.execute(query, name).scalar_one())
            if analyze == "always" or changed > AUTO_SHARE * rows:
                connection.execute(AnalyzeTable(model.__table__))
                connection.commit()


@dataclass
class _Merged:
    """What the transaction did."""

    changes: Changes = field(default_factory=Changes)


def _split_effective(effective: str | datetime) -> tuple[str, dict[str, datetime]]:
    """The column with the time from which a row holds; and that time, if it is the same for all rows."""
    if isinstance(effective, str):
        return effective, {}
    if not isinstance(effective, datetime) or effective.tzinfo is None:
        raise InvalidInputError(
            f"effective={effective!r}: give the name of a column of the frame, or a time with a time zone"
        )
    return EFFECTIVE, {EFFECTIVE: effective.astimezone(UTC)}
