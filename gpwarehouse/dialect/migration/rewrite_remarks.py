"""Remarks that a revision has above an operation that rewrites a table: the size, and what would stop it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from gpwarehouse.dialect.migration.operations import GreenplumOp, RepartitionTableOp, SetDistributionOp
from gpwarehouse.dialect.options import DistributedReplicated
from gpwarehouse.dialect.server import Capabilities

__all__ = ["explain", "warning"]

_TABLE = """SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = :name AND (n.nspname = CAST(:schema AS text)
            OR (CAST(:schema AS text) IS NULL AND pg_catalog.pg_table_is_visible(c.oid)))"""

_SIZE = f"""
    WITH RECURSIVE parts (oid) AS (
        {_TABLE}
        UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts p ON i.inhparent = p.oid)
    SELECT COALESCE(sum(pg_catalog.pg_total_relation_size(oid::regclass)), 0)::bigint FROM parts"""

_SEGMENTS = "SELECT count(*) FROM pg_catalog.gp_segment_configuration WHERE content >= 0 AND role = 'p'"

_DEPENDENTS = f"""
    SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || CAST(v.oid::regclass AS text)
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.oid <> d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid IN ({_TABLE})
    UNION SELECT 'foreign key ' || k.conname || ' of ' || CAST(k.conrelid::regclass AS text)
    FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND k.confrelid IN ({_TABLE})
    ORDER BY 1"""


def explain(context: Any, operation: GreenplumOp, capabilities: Capabilities) -> None:
    """Note with the operation what its revision will say."""
    where = {"name": operation.name, "schema": operation.schema}
    whole = int(context.connection.execute(text(_SIZE), where).scalar_one())
    operation.info["rewrite_bytes"] = whole
    remarks = operation.info.setdefault("remarks", [])
    if isinstance(operation, RepartitionTableOp):
        remarks.append("# Its partitions must hold every row, or the copy fails and nothing has changed.")
    if isinstance(operation, SetDistributionOp):
        if isinstance(operation.args[0], DistributedReplicated):
            segments = int(context.connection.execute(text(_SEGMENTS)).scalar_one())
            remarks.append(f"# Then each of {segments} segments holds all of it: about {size(whole * segments)}.")
    elif isinstance(operation, RepartitionTableOp) or not capabilities.access_methods:
        dependents = list(context.connection.execute(text(_DEPENDENTS), where).scalars())
        if dependents:
            remarks.append(f"# It is a copy, which fails while there is: {', '.join(map(_in_line, dependents))}.")
            remarks.append("# Drop what depends on the table before it, and make it again after it.")


def _in_line(name: str) -> str:
    return " ".join(name.split())


def size(count: int) -> str:
    """Bytes as people say them."""
    number, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1024 or unit == "TB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" or number >= 10 else f"{number:.1f} {unit}"


def warning(operation: GreenplumOp) -> list[str]:
    """The comment above the operation; nothing above one that rewrites nothing."""
    rewritten = operation.info.get("rewrite_bytes")
    if rewritten is None:
        return []
    name = _in_line(f"{operation.schema}.{operation.name}" if operation.schema else operation.name)
    return [
        f"# This rewrites all of {name}, locked for as long as it takes: {size(rewritten)} when this was written,",
        "# and about as much free space again while it runs.",
        *operation.info["remarks"],
    ]
