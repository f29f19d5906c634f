"""How large months are, where they lie, and what the archive holds of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import AppendOptimized
from gpwarehouse.dialect.reflection import storages_of
from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.months import partitions_there, schema_of
from gpwarehouse.partitions.archive import Archive, Manifest, archived_as
from gpwarehouse.partitions.holds import Hold, holds_of
from gpwarehouse.partitions.plan import child_of
from gpwarehouse.settings import WarehouseSettings

__all__ = ["list_frame", "skew_frame"]

_LISTED = (
    "table",
    "partition",
    "start",
    "end",
    "state",
    "bytes",
    "storage",
    "archived_rows",
    "archived_files",
    "held_until",
)
_SKEWED = ("table", "partition", "segment", "rows", "bytes", "skew_pct")
_SIZES = """
    SELECT c.relname, pg_total_relation_size(c.oid) AS bytes FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY (:names)"""
_BY_SEGMENT = """
    SELECT c.relname, c.gp_segment_id AS segment, pg_relation_size(c.oid) AS bytes
    FROM gp_dist_random('pg_class') c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY (:names)"""


def list_frame(connection: Connection, settings: WarehouseSettings, tables: Iterable[Table]) -> pd.DataFrame:
    """A row for each month that a table has or the archive holds.

    ``state`` is attached, archived, or reopened: archived, and there again with late rows or restored.
    """
    rows: list[dict[str, Any]] = []
    for table in tables:
        archived: dict[str, Manifest] = {}
        if settings.archive_dir is not None:
            archive = Archive(settings.archive_dir, settings.schema_name)
            archived = {manifest.partition: manifest for manifest in archive.manifests(table.name)}
        rows += _list_months(connection, table, archived)
    return pd.DataFrame(rows, columns=list(_LISTED)).sort_values(["table", "start"], ignore_index=True)


def _list_months(connection: Connection, table: Table, archived: dict[str, Manifest]) -> Iterable[dict[str, Any]]:
    schema = schema_of(connection, table)
    there = {child_of(table, partition): partition for partition in partitions_there(connection, table)}
    asked = {"schema": schema, "names": list(there)}
    sizes = {row.relname: row.bytes for row in connection.execute(text(_SIZES), asked)}
    stored = storages_of(connection, dialect_of(connection), schema, list(there))
    holds = holds_of(connection, table, there.values())
    for child, partition in there.items():
        storage, manifest = stored.get(child), archived.pop(archived_as(partition), None)
        yield {
            "table": table.name,
            "partition": partition.name,
            "start": partition.start,
            "end": partition.end,
            "state": "attached" if manifest is None else "reopened",
            "bytes": sizes.get(child),
            "storage": _describe_storage(storage) if isinstance(storage, AppendOptimized) else "heap",
            "archived_rows": manifest.rows if manifest is not None else 0,
            "archived_files": len(manifest.current) if manifest is not None else 0,
            "held_until": _until(holds.get(partition.name)),
        }
    for manifest in archived.values():
        yield {
            "table": table.name,
            "partition": manifest.partition,
            "start": datetime.fromisoformat(manifest.start),
            "end": datetime.fromisoformat(manifest.end),
            "state": "archived",
            "bytes": None,
            "storage": "parquet",
            "archived_rows": manifest.rows,
            "archived_files": len(manifest.current),
            "held_until": None,
        }


def _until(hold: Hold | None) -> str | None:
    return hold.until.isoformat(timespec="seconds") if hold is not None else None


def _describe_storage(storage: AppendOptimized) -> str:
    return f"{storage.orientation} {storage.compresstype}:{storage.compresslevel}"


def skew_frame(connection: Connection, tables: Iterable[Table], months: list[datetime]) -> pd.DataFrame:
    """A row for each month and segment: rows are counted, bytes are the segment's own files.

    ``skew_pct`` is 100 · (rows of the fullest segment / mean rows of a segment − 1), the same for a month's segments;
    NULL where the month is empty. A server without segments counts as one, number −1.
    """
    frames = [_measure_skew(connection, table, months) for table in tables]
    frame = pd.DataFrame([row for rows in frames for row in rows], columns=list(_SKEWED))
    groups = frame.groupby(["table", "partition"])["rows"]
    mean = groups.transform("mean")
    frame["skew_pct"] = 100 * (groups.transform("max") / mean.where(mean > 0) - 1)
    return frame.sort_values(["table", "partition", "segment"], ignore_index=True)


def _measure_skew(connection: Connection, table: Table, months: list[datetime]) -> list[dict[str, Any]]:
    schema, capabilities = schema_of(connection, table), dialect_of(connection).capabilities
    assert capabilities is not None
    there = [p for p in partitions_there(connection, table) if not months or p.start in months]
    children = {child_of(table, partition): partition.name for partition in there}
    if not children:
        return []
    asked: dict[str, Any] = {"schema": schema, "names": list(children)}
    if capabilities.distribution:
        sizes = {(r.relname, r.segment): r.bytes for r in connection.execute(text(_BY_SEGMENT), asked)}
    else:
        sizes = {(r.relname, -1): r.bytes for r in connection.execute(text(_SIZES), asked)}
    counted: dict[tuple[str, int], int] = {}
    for child in children:
        counted |= _count_rows(connection, table, child, by_segment=capabilities.distribution)
    return [
        {
            "table": table.name,
            "partition": children[child],
            "segment": segment,
            "rows": counted.get((child, segment), 0),
            "bytes": size,
            "skew_pct": None,
        }
        for (child, segment), size in sorted(sizes.items())
    ]


def _count_rows(connection: Connection, table: Table, child: str, *, by_segment: bool) -> dict[tuple[str, int], int]:
    name = qualified_name(connection, Table(child, table.metadata.__class__(), schema=table.schema))
    segment = "gp_segment_id" if by_segment else "-1"
    query = text(f"SELECT {segment} AS segment, count(*) AS n FROM {name} GROUP BY 1")
    return {(child, row.segment): row.n for row in connection.execute(query)}
