"""Several changes of one table in one revision: they run in an order in which each can be made, and undone."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import Column, Date, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    Encoding,
    Heap,
    ListPartition,
    ListPartitions,
    RangePartitions,
)
from tests.dialect.alembic_project import COLUMNAR, RLE, Project, capabilities

ZSTD = Encoding(compresstype="zstd", compresslevel=7)
ZLIB_COLUMNS = AppendOptimized(orientation="column", compresstype="zlib")
ROWS = AppendOptimized(compresstype="zlib")
MONTHS = RangePartitions.monthly("d", first="2026-01", months=2, bounds=date)


def columns(kinds: str, **encodings: Encoding) -> list[Column[Any]]:
    """``"abd"``: columns a and b, numbers, and d, a date."""
    types = {"d": Date(), "c": Text()}
    return [
        Column(
            name, types.get(name, Integer()), **({"greenplum_encoding": encodings[name]} if name in encodings else {})
        )
        for name in kinds
    ]


def made(*items: Any, by: str | None = "a", storage: Any = None, parts: Any = None) -> MetaData:
    metadata = MetaData()
    distribution = DistributedBy(*by) if by else None
    flat = [each for item in items for each in (item if isinstance(item, list) else [item])]
    Table(
        "Both ways",
        metadata,
        *flat,
        greenplum_distributed_by=distribution,
        greenplum_storage=storage,
        greenplum_partition_by=parts,
    )
    return metadata


def unique(*names: str) -> UniqueConstraint:
    return UniqueConstraint(*names, name=f"uq_{'_'.join(names)}")


TOGETHER: dict[str, Any] = {
    "keys: another key, distributed by it": lambda: (
        made(columns("ab"), unique("a")),
        made(columns("ab"), unique("b"), by="b"),
    ),
    "keys: a key, where rows were spread randomly": lambda: (
        made(columns("ab"), by=None),
        made(columns("ab"), unique("a")),
    ),
    "keys: none left, distributed by another column": lambda: (
        made(columns("ab"), unique("a")),
        made(columns("ab"), by="b"),
    ),
    "keys: a unique index that an append-optimized table cannot have": lambda: (
        made(columns("ab"), Index("ix_a", "a", unique=True), storage=Heap()),
        made(columns("ab"), storage=ROWS),
    ),
    "columns: distributed by a new one": lambda: (made(columns("a")), made(columns("ab"), by="b")),
    "columns: distributed by the only one left": lambda: (made(columns("ab")), made(columns("b"), by="b")),
    "columns: a new one with an encoding, heap to columns": lambda: (
        made(columns("a"), storage=Heap()),
        made(columns("ab", b=RLE), storage=ZLIB_COLUMNS),
    ),
    "columns: a new one with an encoding, rows to columns": lambda: (
        made(columns("a"), storage=ROWS),
        made(columns("ab", b=RLE), storage=ZLIB_COLUMNS),
    ),
    "columns: a new one with an encoding, other compression": lambda: (
        made(columns("a"), storage=COLUMNAR),
        made(columns("ab", b=RLE), storage=ZLIB_COLUMNS),
    ),
    "columns: one with an encoding gone, columns to rows": lambda: (
        made(columns("abd", a=RLE, b=ZSTD), storage=ZLIB_COLUMNS),
        made(columns("ad"), storage=ROWS),
    ),
    "columns: one new and one gone, another encoded anew": lambda: (
        made(columns("abx", b=ZSTD, x=RLE), storage=COLUMNAR),
        made(columns("aby", b=RLE, y=ZSTD), storage=COLUMNAR),
    ),
    "columns: a plain one new, a plain one gone": lambda: (
        made(columns("abx"), storage=COLUMNAR),
        made(columns("aby"), storage=COLUMNAR),
    ),
    "columns: a plain one new, partitioned": lambda: (
        made(columns("adx"), storage=COLUMNAR, parts=MONTHS),
        made(columns("ady"), storage=COLUMNAR, parts=MONTHS),
    ),
    "partitions: by a new column, stored by column": lambda: (
        made(columns("a"), storage=Heap()),
        made(columns("and", n=RLE), storage=ZLIB_COLUMNS, parts=MONTHS),
    ),
    "partitions: no more, their column gone": lambda: (
        made(columns("ad"), parts=MONTHS),
        made(columns("a")),
    ),
    "partitions: with another key": lambda: (
        made(columns("ad"), unique("a")),
        made(columns("ad"), unique("a", "d"), parts=MONTHS),
    ),
    "partitions: by a list, in place of a range, with a new key": lambda: (
        made(columns("adc"), unique("a", "d"), parts=MONTHS),
        made(
            columns("adc"), unique("a", "c"), parts=ListPartitions("c", (ListPartition("x", ("x",)),), default="rest")
        ),
    ),
}


@pytest.mark.parametrize("kind", sorted(TOGETHER))
def test_changes_together_run_and_nothing_is_left_in_either_direction(
    project: Project, engine: Engine, kind: str
) -> None:
    is_now, should_be = TOGETHER[kind]()
    is_now.create_all(engine)
    try:
        written = project.revision(should_be)
        if capabilities(engine).distribution or kind.startswith("partitions"):
            assert "# This rewrites all of Both ways" in written or "plain" in kind
        project.upgrade()
        assert project.drift(should_be) == []
        project.downgrade()
        assert project.drift(is_now) == []
        project.upgrade()
        assert project.drift(should_be) == []
    finally:
        is_now.drop_all(engine)
