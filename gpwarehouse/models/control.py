"""The control tables: what was loaded, what was refused, and which migrations ran."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Double, Index, MetaData, Table, Text, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.dialect.options import DistributedBy, Heap
from gpwarehouse.models.base import (
    CURRENT_USER,
    NAMING_CONVENTION,
    SCHEMA,
    Base,
    Domain,
    TimestampTZ,
    col,
    refuse_other_dialects,
)

__all__ = ["EtlAudit", "EtlLoadBatch", "EtlMemberObservation", "EtlReject", "EtlRemoval", "migration_history_table"]


def _control(comment: str, by: str = "batch_id") -> dict[str, Any]:
    return {
        "comment": comment,
        "greenplum_distributed_by": DistributedBy(by),
        "greenplum_storage": Heap(),
    }


class EtlLoadBatch(Base):
    """Batch: the unit of loading; the load's own transaction writes it, so it tells the outcome."""

    __tablename__ = "etl_load_batch"
    __table_args__ = (_control("Batch: the unit of loading, loaded once whatever is retried"),)

    batch_id: Mapped[str] = col("Id, derived from target and checksum unless the caller gave one", primary_key=True)
    target: Mapped[str] = col("Fact table loaded into")
    source_system: Mapped[str | None] = col("System the rows came from")
    source: Mapped[str | None] = col("File or other source, without its folder")
    checksum: Mapped[str] = col("SHA-256 of the content, hexadecimal")
    source_checksum: Mapped[str | None] = col(
        "SHA-256 of the bytes of the files and of the options that they were read with, hexadecimal; NULL: from no such files"
    )
    status: Mapped[str] = col(
        "Outcome; DELETED: it was loaded, and its rows were deleted since",
        domain=Domain(values=("LOADED", "FAILED", "DELETED")),
    )
    origin: Mapped[str | None] = col(
        "What made it: a load, wh.facts.upsert, delete or replace_month, or a merge (of dimensions and bridges); NULL: not known "
        "(written before revision 0004)",
        domain=Domain(values=("LOAD", "UPSERT", "DELETE", "REPLACE_MONTH", "MERGE")),
    )
    rows_read: Mapped[int] = col("Rows read, count", server_default=text("0"), domain=Domain(ge=0))
    rows_loaded: Mapped[int] = col("Rows loaded, count", server_default=text("0"), domain=Domain(ge=0))
    rows_rejected: Mapped[int] = col("Rows rejected, count", server_default=text("0"), domain=Domain(ge=0))
    rows_removed: Mapped[int] = col(
        "Rows loaded and removed since (etl_removal), count", server_default=text("0"), domain=Domain(ge=0)
    )
    rows_replaced: Mapped[int | None] = col(
        "Rows, of any batch, that it deleted or replaced, count; NULL: not known (written before revision 0004)",
        domain=Domain(ge=0),
    )
    month_replaced: Mapped[datetime | None] = col(
        "First instant of the month that it replaced, UTC; it takes rows of that month only. NULL: it replaced none"
    )
    scattered: Mapped[str | None] = col(
        "Where other batches may hold records of it, or of an earlier state of it: in the months of its events, or in any; NULL: "
        "nowhere",
        domain=Domain(values=("ITS_MONTHS", "ANY_MONTH")),
    )
    may_hold_rows: Mapped[bool] = col(
        "Whether it may have rows although it is not loaded: connections of it committed apart",
        server_default=text("false"),
    )
    min_event_ts: Mapped[datetime | None] = col("Earliest event loaded, UTC")
    max_event_ts: Mapped[datetime | None] = col("Latest event loaded, UTC")
    started_at: Mapped[datetime] = col("Start of the load, UTC", server_default=text("now()"))
    finished_at: Mapped[datetime | None] = col("End of the load, UTC")
    error: Mapped[str | None] = col("Why it failed")
    loaded_by: Mapped[str] = col("Database user who loaded it", server_default=CURRENT_USER)


class EtlReject(Base):
    """Row of a source that was refused, with the column at fault and the reason."""

    __tablename__ = "etl_reject"
    __table_args__ = (_control("Row of a source that was refused, with the column at fault and the reason"),)
    # For the mapper only: a batch that fails twice may leave its rejects twice.
    __mapper_args__ = {"primary_key": ["batch_id", "row_number", "column_name"]}  # noqa: RUF012

    batch_id: Mapped[str] = col("Batch (etl_load_batch); the distribution key")
    target: Mapped[str] = col("Fact table it was meant for")
    row_number: Mapped[int] = col("Number of the row in its source, from 1")
    column_name: Mapped[str] = col("First column at fault; empty where it is the row as a whole", server_default="")
    reason: Mapped[str] = col("Why it was refused")
    raw: Mapped[dict[str, Any] | None] = col("The row as it was read: {column: value}", JSONB(none_as_null=True))
    rejected_at: Mapped[datetime] = col("When it was refused, UTC", server_default=text("now()"))


class EtlRemoval(Base):
    """Removal of rows from a batch after its load, by month.

    The removals of a batch end with its row in ``etl_load_batch``: when it is replaced, or loaded again after it was deleted.
    """

    __tablename__ = "etl_removal"
    __table_args__ = (_control("Removal of rows from a batch after its load, by month"),)
    # For the mapper only: rows may be removed for the same reason again.
    __mapper_args__ = {"primary_key": ["batch_id", "cause", "by_batch_id", "month", "month_now"]}  # noqa: RUF012

    batch_id: Mapped[str] = col("Batch that had the rows (etl_load_batch); the distribution key")
    cause: Mapped[str] = col(
        "Why: its batch was deleted, its month was deleted or replaced, an upsert or a deletion by key took it, or it was left "
        "by a load that failed",
        domain=Domain(values=("BATCH_DELETED", "MONTH_DELETED", "MONTH_REPLACED", "KEY", "LEFT_BEHIND")),
    )
    by_batch_id: Mapped[str | None] = col(
        "Batch that deleted or replaced them; NULL: wh.batches.delete or delete_month did"
    )
    month: Mapped[datetime | None] = col(
        "First instant of the month of their events, UTC; NULL: they were removed whatever their months"
    )
    month_now: Mapped[datetime | None] = col(
        "First instant of the month to which an upsert moved them, UTC; NULL: they are gone, or stayed in their month"
    )
    rows_removed: Mapped[int] = col("Rows removed, count", domain=Domain(ge=0))
    removed_at: Mapped[datetime | None] = col(
        "When they were removed, UTC; NULL: not known (before revision 0004)", server_default=text("now()")
    )


class EtlMemberObservation(Base):
    """Observation of a dimension's member that begins no version.

    It repeats what is known, or a load or a deletion made it. Its values are those of the version in force at ``told_at``,
    so only the moment and the column names are stored here. Nothing changes where such a row is missing, except that an older
    observation which arrives late is then not ended by it (:mod:`gpwarehouse.dimensions.versions`).
    """

    __tablename__ = "etl_member_observation"
    __table_args__ = (
        Index("ix_etl_member_observation_member_key", "member_key"),
        _control("Observation of a dimension's member that begins no version", by="member_key"),
    )
    # For the mapper only: the same may be observed twice.
    __mapper_args__ = {"primary_key": ["dimension", "member_key", "told_at", "kind"]}  # noqa: RUF012

    dimension: Mapped[str] = col("Table name of the dimension")
    member_key: Mapped[int] = col("Durable key of the member; the distribution key")
    told_at: Mapped[datetime] = col("Moment from which it holds, UTC")
    kind: Mapped[str] = col(
        "Who told: a merge (wh.merge), a load, a merge that deletes, or one that takes back a deletion of the same moment",
        domain=Domain(values=("MERGED", "LOADED", "DELETED", "RESTORED")),
    )
    told: Mapped[list[str]] = col(
        "Columns that it told; of a JSON object that loads add to, column/name", JSONB(none_as_null=True)
    )
    batch_id: Mapped[str | None] = col("Batch that told it (etl_load_batch)")
    written_at: Mapped[datetime] = col("When it was written, UTC", server_default=text("now()"))


class EtlAudit(Base):
    """Call of the service: who asked what, and what came of it.

    The service's logins may add rows, and neither read nor change them.

    ``gpwarehouse serve`` writes it where ``GPWAREHOUSE_SERVICE_AUDIT`` is ``table``. Who owns the schema deletes old rows.
    """

    __tablename__ = "etl_audit"
    __table_args__ = (_control("Call of the service: who asked what, and what came of it", by="query_id"),)

    query_id: Mapped[str] = col("Id of the call, which application_name and log lines have too", primary_key=True)
    called_at: Mapped[datetime] = col("End of the call, UTC", server_default=text("now()"))
    caller: Mapped[str | None] = col("Key or subject of the caller; NULL: nobody was identified")
    role: Mapped[str] = col("Role of the caller", domain=Domain(values=("NOBODY", "READER", "LOADER", "ADMIN")))
    client: Mapped[str | None] = col("Address that called")
    endpoint: Mapped[str] = col("Method and path, without values")
    statement: Mapped[str | None] = col("Statement without literals and values of parameters")
    fingerprint: Mapped[str | None] = col("The same for statements that differ in literals only")
    http_status: Mapped[int] = col("HTTP status of the answer; 499: the client had left")
    outcome: Mapped[str] = col("ok, or the kind of the problem")
    result_rows: Mapped[int | None] = col("Rows of the result, count")
    bytes_sent: Mapped[int | None] = col("Size of the answer, bytes")
    seconds: Mapped[float | None] = col("How long it took, s")
    written_by: Mapped[str] = col("Database user who wrote the row", server_default=CURRENT_USER)


def migration_history_table(schema: str = SCHEMA) -> Table:
    """``etl_migration_history`` in ``schema``, in a MetaData of its own.

    It stands outside the revision chain, as ``alembic_version`` does, so that a downgrade to base leaves its trace.
    """
    table = Table(
        "etl_migration_history",
        MetaData(schema=schema, naming_convention=NAMING_CONVENTION),
        Column("revision", Text(), nullable=False, comment="Revision applied or reverted; the distribution key"),
        Column("direction", Text(), nullable=False, comment="upgrade, downgrade, stamp, accept, or a batch of one"),
        Column("checksum", Text(), nullable=False, comment="SHA-256 of the revision's script, hexadecimal"),
        Column(
            "started_at",
            TimestampTZ,
            nullable=False,
            server_default=text("now()"),
            comment="Start of the migration's transaction, UTC",
        ),
        Column("seconds", Double(), nullable=True, comment="How long it took, s"),
        Column(
            "applied_by",
            Text(),
            nullable=False,
            server_default=CURRENT_USER,
            comment="Database user who ran it",
        ),
        Column("package_version", Text(), nullable=False, comment="Version of gpwarehouse that ran it"),
        Column("note", Text(), nullable=True, comment="Why an edit was accepted, or which batch it was"),
        Column(
            "part_of",
            Text(),
            nullable=True,
            comment="What it is a finished part of while that is not ended: upgrade or downgrade of the revision, or restore of "
            "the backup of this id; NULL: of nothing",
        ),
        comment="Migrations that ran, in both directions; kept outside the revision chain",
        greenplum_distributed_by=DistributedBy("revision"),
        greenplum_storage=Heap(),
    )
    event.listen(table, "before_create", refuse_other_dialects)
    return table
