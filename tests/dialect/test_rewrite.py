"""Rewrites by a copy: what they change, and what they leave of partitions, storage and names."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    DropPartition,
    Encoding,
    GreenplumDialect,
    Heap,
    ListPartition,
    ListPartitions,
    OptionError,
    OtherPartitions,
    RangePartition,
    RangePartitions,
    RewriteTable,
    SetDistribution,
    SetEncodings,
    SetStorage,
)
from tests.dialect.rewriting import (
    ALL,
    COLUMNAR,
    MONTHS,
    REPARTITION,
    bare,
    by,
    count,
    has,
    look,
    made,
    names,
    rows,
    run,
)


@pytest.fixture(autouse=True)
def _no_tables_of_other_tests(engine: Engine) -> None:
    run(engine, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


# Partitions.


@pytest.mark.segments
def test_a_new_storage_leaves_the_partitions_that_are_there_whatever_the_revision_saw(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=MONTHS, greenplum_storage=Heap())
    stale = bare(greenplum_partition_by=RangePartitions("d", MONTHS.partitions[:1], "rest"))
    run(engine, SetStorage(stale, COLUMNAR, encodings={"c": Encoding(compresstype="zstd", compresslevel=9)}))
    assert look(engine).get_partitions("t") == MONTHS
    assert look(engine).get_storage("t") == COLUMNAR
    parts = rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1")
    assert parts == [(f"t_1_prt_m20260{month}", 5) for month in range(1, 5)]
    encodings = look(engine).get_multi_encodings()
    assert {k[1]: v for k, v in encodings.items() if v} == {
        name: {"c": Encoding(compresstype="zstd", compresslevel=9)}
        for name in ("t", "t_1_prt_rest", *(f"t_1_prt_m20260{month}" for month in range(1, 5)))
    }
    run(engine, SetEncodings(stale, {"i": Encoding(compresstype="rle_type")}))
    assert look(engine).get_partitions("t") == MONTHS
    assert look(engine).get_multi_encodings()[(None, "t_1_prt_m202603")] == {
        "c": Encoding(compresstype="zstd", compresslevel=9),
        "i": Encoding(compresstype="rle_type"),
    }
    assert count(engine, table) == 20


SCHEMES = [
    MONTHS,
    ALL,
    RangePartitions("i", (RangePartition("a b", None, 5), RangePartition("C", 5, None))),
    ListPartitions("c", (ListPartition("odd", ("0%", "it's", "back\\slash", None)),), default="rest"),
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rewrite_that_says_nothing_of_partitions_keeps_them(engine: Engine, scheme: Any) -> None:
    table = made(engine, greenplum_partition_by=scheme)
    before = rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1")
    run(engine, RewriteTable(bare()))
    assert look(engine).get_partitions("t") == scheme
    assert rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1") == before
    run(engine, RewriteTable(bare(greenplum_partition_by=scheme)))
    assert count(engine, table) == 20


def test_a_partitioning_is_changed_only_when_that_is_said(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL)
    with pytest.raises(DBAPIError, match="t is not partitioned by d in that way; say repartition=True"):
        run(engine, RewriteTable(bare(greenplum_partition_by=MONTHS)))
    run(engine, RewriteTable(bare(greenplum_partition_by=MONTHS), repartition=True))
    assert look(engine).get_partitions("t") == MONTHS
    assert count(engine, table) == 20


def test_a_partitioning_that_was_only_read_is_not_made(engine: Engine) -> None:
    other = OtherPartitions("hash", ("i",))
    with pytest.raises(OptionError, match=r"table 't'.* was read from a server and cannot be made"):
        RewriteTable(bare(greenplum_partition_by=other), repartition=True).compile(engine)
    table = made(engine, greenplum_partition_by=ALL)
    run(engine, RewriteTable(bare(greenplum_partition_by=other)))
    assert count(engine, table) == 20


def test_partitions_of_partitions_keep_their_names_and_rows(engine: Engine) -> None:
    if has(engine).partition_catalog == "classic":
        statements = [
            "CREATE TABLE t (i int, c text, d date) DISTRIBUTED BY (i) PARTITION BY RANGE (d) SUBPARTITION BY LIST (c) "
            "SUBPARTITION TEMPLATE (SUBPARTITION x VALUES ('x'), DEFAULT SUBPARTITION o) "
            "(START (date '2026-01-01') END (date '2026-04-01') EVERY (interval '1 month'))",
            "ALTER TABLE t DROP PARTITION FOR (date '2026-02-02')",
        ]
    else:
        statements = [
            f"CREATE TABLE t (i int, c text, d date){by(engine, 'i')} PARTITION BY RANGE (d)",
            "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY LIST (c)",
            "CREATE TABLE elsewhere PARTITION OF t FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
            "CREATE TABLE t_1_x PARTITION OF t_1 FOR VALUES IN ('x')",
            "CREATE TABLE t_1_o PARTITION OF t_1 DEFAULT",
        ]
    run(
        engine,
        *statements,
        "INSERT INTO t VALUES (1, 'x', '2026-01-05'), (2, 'y', '2026-01-06'), (3, 'x', '2026-03-05')",
    )
    found = "SELECT tableoid::regclass::text, i FROM t ORDER BY i"
    tables = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    tables = tables.replace("'public'::regnamespace", "(SELECT oid FROM pg_namespace WHERE nspname = 'public')")
    before = rows(engine, found), rows(engine, tables)
    run(engine, RewriteTable(bare()))
    assert (rows(engine, found), rows(engine, tables)) == before
    if has(engine).partition_catalog == "classic":
        run(engine, "ALTER TABLE t ADD PARTITION START (date '2026-05-01') END (date '2026-06-01')")  # by the template
        assert len(rows(engine, tables)) == len(before[1]) + 3
    assert rows(engine, "SELECT count(*) FROM pg_class WHERE relname LIKE 'gpw_rw%'") == [(0,)]


# Storage.


@pytest.mark.segments
@pytest.mark.parametrize("scheme", [ALL, None])
@pytest.mark.parametrize("before", [None, MONTHS])
def test_a_new_partitioning_leaves_the_storage_and_the_encodings(engine: Engine, scheme: Any, before: Any) -> None:
    table = made(engine, greenplum_storage=COLUMNAR, greenplum_partition_by=before)
    encoding = Encoding(compresstype="zstd", compresslevel=7)
    run(engine, SetEncodings(bare(), {"c": encoding}))
    run(engine, RewriteTable(bare(greenplum_partition_by=scheme), repartition=True))
    assert look(engine).get_partitions("t") == scheme
    assert set(look(engine).get_multi_storage().values()) == {COLUMNAR}
    assert {tuple(e.items()) for e in look(engine).get_multi_encodings().values()} == {(("c", encoding),)}
    assert look(engine).get_distribution("t") == DistributedBy("i")
    assert count(engine, table) == 20


@pytest.mark.segments
def test_partitions_that_are_stored_apart_stay_so_or_are_refused(engine: Engine) -> None:
    run(
        engine,
        "CREATE TABLE t (i int, c text, d date) WITH (appendonly=true, orientation=row, compresstype=zlib) "
        "DISTRIBUTED BY (i) PARTITION BY RANGE (i) (PARTITION low START (0) END (10), PARTITION high START (10) END (20))",
        "CREATE TABLE new (LIKE t) WITH (appendonly=true, orientation=column, compresstype=zstd) DISTRIBUTED BY (i)",
        "ALTER TABLE t EXCHANGE PARTITION low WITH TABLE new",
        "INSERT INTO t SELECT g FROM generate_series(0, 19) g",
    )
    run(engine, RewriteTable(bare()))
    assert look(engine).get_multi_storage() | {} == {
        (None, "new"): AppendOptimized(compresstype="zlib"),
        (None, "t"): AppendOptimized(compresstype="zlib"),
        (None, "t_1_prt_high"): AppendOptimized(compresstype="zlib"),
        (None, "t_1_prt_low"): AppendOptimized(orientation="column", compresstype="zstd"),
    }
    again = bare(greenplum_partition_by=ALL)
    with pytest.raises(DBAPIError, match="how t_1_prt_low is stored, other than the table"):
        run(engine, RewriteTable(again, repartition=True))
    run(engine, RewriteTable(bare(greenplum_partition_by=ALL, greenplum_storage=COLUMNAR), repartition=True))
    assert look(engine).get_storage("t_1_prt_low") == COLUMNAR
    assert rows(engine, "SELECT count(*) FROM t") == [(20,)]


@pytest.mark.segments
def test_options_of_one_partition_are_refused_where_a_storage_is_said(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL, greenplum_storage=Heap())
    run(engine, "ALTER TABLE t_1_prt_low SET (fillfactor=50)")
    with pytest.raises(DBAPIError, match="the own options of t_1_prt_low"):
        run(engine, RewriteTable(bare(greenplum_storage=Heap()), repartition=True))
    run(engine, RewriteTable(bare()))
    assert rows(engine, "SELECT 'fillfactor=50' = ANY (reloptions) FROM pg_class WHERE relname = 't_1_prt_low'") == [
        (True,)
    ]
    assert count(engine, table) == 20


@pytest.mark.segments
def test_a_replicated_table_stays_replicated(engine: Engine) -> None:
    table = made(engine, greenplum_distributed_by=DistributedReplicated())
    run(engine, RewriteTable(bare(greenplum_storage=AppendOptimized())))
    assert look(engine).get_distribution("t") == DistributedReplicated()
    assert look(engine).get_storage("t") == AppendOptimized()
    assert count(engine, table) == 20


def test_a_tablespace_and_options_of_the_toast_table_are_carried_over(engine: Engine) -> None:
    if has(engine).distribution:
        pytest.skip("a tablespace needs a folder on every segment; PostgreSQL makes one in place")
    place = f"gpw_{engine.url.database}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = on")
        connection.exec_driver_sql(f"CREATE TABLESPACE {place} LOCATION ''")
    try:
        options = "WITH (fillfactor=50, toast.autovacuum_enabled=false)"
        run(engine, f"CREATE TABLE t (i int, c text) {options} TABLESPACE {place}", REPARTITION, RewriteTable(bare()))
        found = """SELECT c.relkind::text, s.spcname, c.reloptions::text, k.reloptions::text FROM pg_class c
            JOIN pg_tablespace s ON s.oid = c.reltablespace LEFT JOIN pg_class k ON k.oid = c.reltoastrelid
            WHERE c.relkind IN ('r', 'p') AND c.relname LIKE 't%' ORDER BY 1"""
        leaf = ("r", place, "{fillfactor=50}", "{autovacuum_enabled=false}")
        assert rows(engine, found) == [("p", place, None, None), leaf, leaf]
        run(engine, RewriteTable(bare(), repartition=True))
        assert rows(engine, found) == [leaf]
    finally:
        run(engine, "DROP TABLE t")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"DROP TABLESPACE {place}")


def test_a_schema_that_is_translated_is_rewritten_in(engine: Engine) -> None:
    translated = engine.execution_options(schema_translate_map={"fab": "Fab 1"})
    columns = Column("i", Integer), Column("c", Text)
    table = Table("Big", MetaData(), *columns, schema="fab", greenplum_distributed_by=DistributedBy("i"))
    with translated.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"i": 1, "c": "a"}])
        connection.execute(RewriteTable(bare("Big", schema="fab", greenplum_partition_by=ALL), repartition=True))
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1
    assert look(engine).get_partitions("Big", "Fab 1") == ALL
    table.drop(translated)


@pytest.mark.segments
def test_an_encoding_of_a_table_that_is_not_stored_by_column_is_refused(engine: Engine) -> None:
    made(engine, greenplum_storage=Heap())
    with pytest.raises(DBAPIError, match=r"not stored by column|only applicable to AOCO"):
        run(engine, SetEncodings(bare(), {"c": Encoding()}))


# Names.


@pytest.mark.parametrize("length", [1, 43, 47, 49, 58, 63])
@pytest.mark.parametrize("how", ["kept", "repartitioned"])
def test_partitions_have_their_names_after_a_rewrite_however_long_the_table_s_is(
    engine: Engine, length: int, how: str
) -> None:
    name, wanted = "x" * length, RangePartitions("d", MONTHS.partitions)
    table = made(engine, name, greenplum_partition_by=wanted)
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'xxx%' ORDER BY 1"
    before = names(engine, name), rows(engine, tables)
    rewrite = RewriteTable(bare(name, greenplum_partition_by=wanted), repartition=how == "repartitioned")
    run(engine, rewrite, rewrite)
    assert names(engine, name) == before[0]
    if has(engine).access_methods:
        assert rows(engine, tables) == before[1]
    assert count(engine, table) == 20
    run(engine, DropPartition(bare(name), "m202602"))
    assert names(engine, name) == ["m202601", "m202603", "m202604"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_percent_sign_in_a_name_is_one(engine: Engine, offline: bool) -> None:
    name = 'pc%t "q" it\'s \\'
    table = Table(
        name, MetaData(), Column("id%x", Integer), Column("c", Text), greenplum_distributed_by=DistributedBy("id%x")
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"id%x": 1, "c": "a%b"}])
    wanted = ListPartitions("c", (ListPartition("p%1", ("a%b", "c'd")),))
    statements: list[Any] = [
        RewriteTable(bare(name, greenplum_partition_by=wanted), repartition=True),
        RewriteTable(bare(name)),
    ]
    if has(engine).append_optimized:
        statements += [
            SetStorage(bare(name), COLUMNAR, encodings={"id%x": Encoding(compresstype="zstd")}),
            SetEncodings(bare(name), {"id%x": Encoding(compresstype="rle_type")}),
            SetDistribution(bare(name), DistributedRandomly()),
        ]
    for statement in statements:
        if not offline:
            run(engine, statement)
            continue
        written = statement.compile(dialect=GreenplumDialect(server=_called(engine), paramstyle="named"))
        raw = engine.raw_connection()
        try:
            raw.cursor().execute(str(written))
            raw.commit()
        finally:
            raw.close()
    assert look(engine).get_partitions(name) == wanted
    assert count(engine, table) == 1
    if has(engine).append_optimized:
        assert look(engine).get_encodings(name) == {"id%x": Encoding(compresstype="rle_type")}


def _called(engine: Engine) -> str:
    capabilities = has(engine)
    if not capabilities.distribution:
        return "postgresql"
    return "greenplum7" if capabilities.access_methods else "greenplum6"


def test_a_rewrite_is_one_statement_done_or_not_outside_a_transaction_too(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL)
    too_few = RangePartitions("i", (RangePartition("low", 0, 10),))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with pytest.raises(DBAPIError):
            connection.execute(RewriteTable(bare(greenplum_partition_by=too_few), repartition=True))
        connection.execute(RewriteTable(bare()))
    assert look(engine).get_partitions("t") == ALL
    assert count(engine, table) == 20


# Distribution.


@pytest.mark.segments
@pytest.mark.parametrize("storage", [Heap(), COLUMNAR])
@pytest.mark.parametrize("scheme", [MONTHS, None])
def test_rows_of_a_partitioned_table_are_spread_randomly(engine: Engine, storage: Any, scheme: Any) -> None:
    table = made(engine, greenplum_partition_by=scheme, greenplum_storage=storage)
    run(engine, SetDistribution(table, DistributedRandomly()))
    assert look(engine).get_distribution("t") == DistributedRandomly()
    assert count(engine, table) == 20
    run(engine, SetDistribution(table, DistributedBy("d", "i")))
    assert look(engine).get_distribution("t") == DistributedBy("d", "i")
