"""Drift of every kind: detected, rendered as a revision that runs as it is, and gone after it; and back again."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Heap,
    RangePartition,
)
from tests.dialect.alembic_project import (
    BY_C,
    BY_K,
    COLUMNAR,
    DAYS,
    LETTERS,
    NUMBERS,
    RLE,
    Project,
    capabilities,
    model,
)

# What the table is, what it should be, and the operation that a revision has for it.
DRIFT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "distribution: another key": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": BY_C},
        "op.set_distribution('Big Table', DistributedBy('c', 'k'), existing=DistributedBy('k'), schema='Fab 1')",
    ),
    "distribution: an operator class": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedBy("k", opclasses={"k": "cdbhash_int8_ops"})},
        "op.set_distribution(",
    ),
    "distribution: randomly": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedRandomly()},
        "op.set_distribution('Big Table', DistributedRandomly()",
    ),
    "distribution: replicated": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedReplicated()},
        "op.set_distribution('Big Table', DistributedReplicated()",
    ),
    "distribution: of a partitioned table": (
        {"greenplum_distributed_by": BY_K, "greenplum_partition_by": NUMBERS},
        {"greenplum_distributed_by": BY_C, "greenplum_partition_by": NUMBERS},
        "op.set_distribution(",
    ),
    "storage: heap to columns": (
        {"greenplum_storage": Heap()},
        {"greenplum_storage": COLUMNAR},
        "op.set_storage('Big Table', AppendOptimized(orientation='column', compresstype='zstd'",
    ),
    "storage: columns to rows": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": AppendOptimized(compresstype="zlib", compresslevel=4)},
        "op.set_storage(",
    ),
    "storage: compression level": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": AppendOptimized(orientation="column", compresstype="zstd", compresslevel=9)},
        "op.set_storage(",
    ),
    "storage: block size and checksum": (
        {"greenplum_storage": AppendOptimized()},
        {"greenplum_storage": AppendOptimized(blocksize=65536, checksum=False)},
        "op.set_storage(",
    ),
    "storage: with encodings": (
        {"greenplum_storage": Heap()},
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE}},
        "encodings={'k': Encoding(compresstype='rle_type'",
    ),
    "storage: of a partitioned table": (
        {"greenplum_storage": Heap(), "greenplum_partition_by": NUMBERS},
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS},
        "op.set_storage('Big Table', AppendOptimized(orientation='column', compresstype='zstd'",
    ),
    "encoding: of one column": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE}},
        "op.set_encoding('Big Table', {'k': Encoding(compresstype='rle_type'",
    ),
    "encoding: of one column, another kept": (
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE, "c": RLE}},
        {"greenplum_storage": COLUMNAR, "encodings": {"c": RLE}},
        "op.set_encoding('Big Table', {'k': Encoding(compresstype='zstd'",
    ),
    "encoding: of a partitioned table": (
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS},
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS, "encodings": {"i": RLE}},
        "op.set_encoding(",
    ),
    "partitions: none to ranges": (
        {},
        {"greenplum_partition_by": NUMBERS},
        "op.repartition_table('Big Table', RangePartitions(column='i'",
    ),
    "partitions: ranges to another column": (
        {"greenplum_partition_by": NUMBERS},
        {"greenplum_partition_by": DAYS},
        "op.repartition_table('Big Table', RangePartitions(column='d'",
    ),
    "partitions: ranges to a list": (
        {"greenplum_partition_by": NUMBERS},
        {"greenplum_partition_by": LETTERS, "greenplum_storage": COLUMNAR, "greenplum_distributed_by": BY_C},
        "op.repartition_table('Big Table', ListPartitions(column='c'",
    ),
    "partitions: a list to none": (
        {"greenplum_partition_by": LETTERS},
        {},
        "op.repartition_table('Big Table', None",
    ),
}


def on_segments(kind: str) -> bool:
    return not kind.startswith("partitions")


@pytest.mark.parametrize("kind", sorted(DRIFT))
def test_drift_is_detected_its_revision_runs_and_nothing_is_left(project: Project, engine: Engine, kind: str) -> None:
    before, after, operation = DRIFT[kind]
    is_now, should_be = model(**before), model(**after)
    table = is_now.tables["Fab 1.Big Table"]
    is_now.create_all(engine)
    try:
        with engine.begin() as connection:
            rows = [{"k": n, "i": n, "d": date(2026, 1, n + 1), "c": f"{n}%"} for n in range(20)]
            connection.execute(insert(table), rows)
        if on_segments(kind) and not capabilities(engine).distribution:
            assert project.drift(should_be) == []
            return
        assert project.drift(should_be)
        written = project.revision(should_be)
        assert operation in written
        assert "# This rewrites all of Fab 1.Big Table, locked for as long as it takes:" in written
        assert "from gpwarehouse.dialect import " in written
        assert "drop_table" not in written
        assert "partition_by=" not in written  # of this database; each has its own
        project.upgrade()
        assert project.drift(should_be) == []
        with engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 20
            assert [i["name"] for i in inspect(connection).get_indexes("Big Table", "Fab 1")] == ["ix_k"]
        project.downgrade()
        assert project.drift(is_now) == []
    finally:
        is_now.drop_all(engine)


@pytest.mark.segments
def test_a_distribution_left_open_is_drift_only_where_a_key_would_not_hold(project: Project, engine: Engine) -> None:
    is_now, keyed = model(greenplum_distributed_by=BY_C), model()
    is_now.create_all(engine)
    try:
        assert project.drift(model()) == []
        keyed.tables["Fab 1.Big Table"].append_constraint(UniqueConstraint("c", "k", "i", name="uq_it"))
        assert [kind for kind, *_ in project.drift(keyed)] == ["add_constraint"]
        keyed.tables["Fab 1.Big Table"].append_constraint(UniqueConstraint("k", name="uq_k"))
        project.revision(keyed)
        project.upgrade()
        assert project.drift(keyed) == []
        assert inspect(engine).get_distribution("Big Table", "Fab 1") == BY_K  # type: ignore[attr-defined]
    finally:
        is_now.drop_all(engine)


def test_partitions_that_came_and_went_are_no_drift(project: Project, engine: Engine) -> None:
    metadata = model(greenplum_partition_by=NUMBERS, greenplum_storage=COLUMNAR)
    metadata.create_all(engine)
    with engine.begin() as connection:
        table = metadata.tables["Fab 1.Big Table"]
        connection.execute(AddPartition(table, RangePartition("later", 20, 30)))
    assert project.drift(metadata) == []
    metadata.drop_all(engine)


def test_a_new_table_is_rendered_with_its_options_and_dropped_again(project: Project, engine: Engine) -> None:
    metadata = model(
        {"k": RLE},
        greenplum_storage=COLUMNAR,
        greenplum_distributed_by=BY_C,
        greenplum_partition_by=DAYS,
    )
    written = project.revision(metadata)
    assert "import datetime" in written
    assert (
        "from gpwarehouse.dialect import AppendOptimized, DistributedBy, Encoding, RangePartition, RangePartitions"
        in (written)
    )
    project.upgrade()
    assert project.drift(metadata) == []
    written = project.revision(MetaData())
    assert written.count("op.drop_table(") == 1
    project.upgrade()
    project.downgrade()
    assert project.drift(metadata) == []
    metadata.drop_all(engine)


@pytest.mark.segments
def test_a_new_column_has_its_encoding(project: Project, engine: Engine) -> None:
    metadata = model(greenplum_storage=COLUMNAR)
    metadata.create_all(engine)
    wanted = model(greenplum_storage=COLUMNAR)
    table = wanted.tables["Fab 1.Big Table"]
    table.append_column(Column("more", Integer, server_default="1", greenplum_encoding=RLE))
    assert "greenplum_encoding=Encoding(compresstype='rle_type'" in project.revision(wanted)
    project.upgrade()
    assert project.drift(wanted) == []
    metadata.drop_all(engine)
