"""What is created is read back: on whichever server the tests run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Date, DateTime, Integer, MetaData, Numeric, Table, Text, event, inspect, text
from sqlalchemy.engine import Engine
from sqlalchemy.engine.reflection import ObjectScope
from sqlalchemy.schema import CreateTable

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    CsvFormat,
    DistributedBy,
    DistributedReplicated,
    DropPartition,
    Encoding,
    ExternalTable,
    GreenplumDialect,
    ListPartition,
    ListPartitions,
    OptionError,
    OtherPartitions,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.reflection import GreenplumInspector, parse_bound, partitions_of
from tests.dialect import strategies
from tests.dialect.strategies import (
    distributions,
    external_tables,
    partitionings,
    storages,
    writable_tables,
)


def inspector(engine: Engine) -> GreenplumInspector:
    return cast(GreenplumInspector, inspect(engine))


def capabilities(engine: Engine) -> Any:
    return cast(GreenplumDialect, engine.dialect).capabilities


def make(engine: Engine, encodings: dict[str, Encoding] | None = None, **options: Any) -> Table:
    types: dict[str, Any] = {"k": BigInteger, "Second Key": Text, "ts": DateTime(timezone=True), "v": Text}
    types |= {"i": Integer, "d": Date, "n": Numeric(12, 2)}
    columns = [Column(name, kind) for name, kind in types.items()]
    for column in columns:
        if column.name in (encodings or {}):
            column.dialect_options["greenplum"]["encoding"] = (encodings or {})[column.name]
    table = Table("round_trip", MetaData(), *columns, **options)
    table.drop(engine, checkfirst=True)
    table.create(engine)
    return table


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    distribution=distributions,
    storage=storages,
    partitions=st.none() | partitionings,
    encodings=st.dictionaries(st.sampled_from(["k", "v", "Second Key"]), strategies.encodings(), max_size=2),
)
def test_options_come_back_as_they_were_written(
    engine: Engine, distribution: Any, storage: Any, partitions: Any, encodings: Any
) -> None:
    if isinstance(distribution, DistributedReplicated):
        partitions = None
    by_column = isinstance(storage, AppendOptimized) and storage.orientation == "column"
    if not by_column:
        encodings = {}
    make(
        engine,
        encodings,
        greenplum_distributed_by=distribution,
        greenplum_storage=storage,
        greenplum_partition_by=partitions,
    )
    found = Table("round_trip", MetaData(), autoload_with=engine)
    options = found.dialect_options["greenplum"]
    assert options["partition_by"] == partitions
    if capabilities(engine).distribution:
        assert options["distributed_by"] == distribution
        assert options["storage"] == storage
        odd = {name: e for name, e in encodings.items() if e != storage.encoding}
        assert {c.name: e for c in found.columns if (e := c.dialect_options["greenplum"]["encoding"])} == odd
    else:
        assert options["distributed_by"] is None
        assert options["storage"] is None


@pytest.mark.segments
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(external=external_tables() | writable_tables)
def test_an_external_table_comes_back_as_it_was_written(engine: Engine, external: ExternalTable) -> None:
    columns = (Column("k", Integer), Column("t", Text), Column("Text Two", Text))
    options: dict[str, Any] = {"greenplum_distributed_by": DistributedBy("t")} if external.writable else {}
    table = Table("ext", MetaData(), *columns, greenplum_external=external, **options)
    table.create(engine)
    try:
        found = Table("ext", MetaData(), autoload_with=engine)
        assert found.dialect_options["greenplum"]["external"] == external
        assert found.dialect_options["greenplum"]["distributed_by"] == options.get("greenplum_distributed_by")
        assert [c.name for c in found.columns] == ["k", "t", "Text Two"]
        assert "ext" not in inspect(engine).get_table_names()
        assert "ext" in inspector(engine).get_foreign_table_names()
    finally:
        table.drop(engine)


@pytest.mark.segments
def test_an_external_table_reads_what_its_command_prints(engine: Engine) -> None:
    external = ExternalTable(command="printf '1,%%\\n2,b\\n'", on="coordinator", format=CsvFormat())
    table = Table("said", MetaData(), Column("k", Integer), Column("t", Text), greenplum_external=external)
    table.create(engine)
    with engine.connect() as connection:
        assert sorted(connection.execute(table.select()).all()) == [(1, "%"), (2, "b")]
    table.drop(engine)
    assert inspector(engine).get_external("said") is None


@pytest.mark.segments
def test_a_temporary_tables_options_come_back_too(engine: Engine) -> None:
    storage = AppendOptimized(orientation="column", compresstype="zstd")
    table = Table(
        "passing",
        MetaData(),
        Column("k", Integer),
        prefixes=["TEMPORARY"],
        greenplum_storage=storage,
        greenplum_distributed_by=DistributedBy("k"),
        postgresql_on_commit="PRESERVE ROWS",
        postgresql_tablespace="pg_default",
    )
    with engine.connect() as connection:
        table.create(connection)
        found = Table("passing", MetaData(), autoload_with=connection).dialect_options["greenplum"]
        assert (found["storage"], found["distributed_by"]) == (storage, DistributedBy("k"))


def test_partitions_are_hidden_and_their_parent_is_not(engine: Engine) -> None:
    make(engine, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=3))
    assert [n for n in inspect(engine).get_table_names() if n.startswith("round_trip")] == ["round_trip"]


def test_a_partition_added_later_is_read_back_with_the_others(engine: Engine) -> None:
    table = make(engine, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"))
    march = RangePartitions.monthly("ts", first="2026-03").partitions[0]
    with engine.begin() as connection:
        connection.execute(AddPartition(table, march))
    found = inspector(engine).get_partitions("round_trip")
    assert isinstance(found, RangePartitions)
    assert [p.name for p in found.partitions] == ["m202601", "m202603"]
    assert found.partitions[1] == march


def test_a_partition_that_is_dropped_while_it_is_read_is_left_out(engine: Engine) -> None:
    """The reader's snapshot still has its row in the catalog, but pg_get_expr() no longer knows its bounds."""
    table = make(engine, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=3))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT count(*) FROM pg_class"))
        with engine.begin() as other:
            other.execute(DropPartition(table, "m202602"))
        found = partitions_of(connection, cast(GreenplumDialect, engine.dialect), None, "round_trip")["round_trip"]
    assert [p.name for p in found.partitions] == ["m202601", "m202603"]


def test_bounds_are_the_same_whatever_the_sessions_time_zone(engine: Engine) -> None:
    made = RangePartitions.monthly("ts", first="2026-03", months=2)
    make(engine, greenplum_partition_by=made)
    with engine.connect() as connection:
        connection.execute(text("SET TIME ZONE 'America/New_York'"))
        assert cast(GreenplumInspector, inspect(connection)).get_partitions("round_trip") == made


@pytest.mark.segments
def test_a_distribution_is_read_alone(engine: Engine) -> None:
    make(engine, greenplum_distributed_by=DistributedBy("Second Key", "k"))
    assert inspector(engine).get_distribution("round_trip") == DistributedBy("Second Key", "k")


@pytest.mark.segments
def test_a_partition_added_later_has_the_tables_storage(engine: Engine) -> None:
    from gpwarehouse.dialect.reflection import storages_of

    storage = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=5)
    table = make(
        engine, greenplum_storage=storage, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01")
    )
    with engine.begin() as connection:
        connection.execute(AddPartition(table, RangePartitions.monthly("ts", first="2026-02").partitions[0]))
        found = storages_of(connection, cast(GreenplumDialect, engine.dialect), None)
    assert found["round_trip_1_prt_m202601"] == found["round_trip_1_prt_m202602"] == storage


OTHERS: dict[str, tuple[list[str], Any]] = {
    "hash": (
        [
            "CREATE TABLE others (k int, c text) PARTITION BY HASH (k)",
            "CREATE TABLE others_0 PARTITION OF others FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        ],
        OtherPartitions("hash", ("k",)),
    ),
    "two columns": (
        [
            "CREATE TABLE others (k int, c text) PARTITION BY RANGE (k, c)",
            "CREATE TABLE others_0 PARTITION OF others FOR VALUES FROM (1, 'a') TO (2, 'b')",
        ],
        OtherPartitions("range", ("k", "c")),
    ),
    "an expression": (
        ["CREATE TABLE others (k int, c text) PARTITION BY LIST (lower(c))"],
        OtherPartitions("list", ("",)),
    ),
    "two levels": (
        [
            "CREATE TABLE others (k int, c text) PARTITION BY RANGE (k)",
            "CREATE TABLE others_0 PARTITION OF others FOR VALUES FROM (1) TO (9) PARTITION BY LIST (c)",
            "CREATE TABLE others_0_a PARTITION OF others_0 FOR VALUES IN ('a')",
        ],
        OtherPartitions("range", ("k",), 2),
    ),
    "an attached table": (
        [
            "CREATE TABLE others (k int, c text) PARTITION BY LIST (c)",
            "CREATE TABLE \"Odd Name\" PARTITION OF others FOR VALUES IN ('a', NULL)",
        ],
        ListPartitions("c", (ListPartition("Odd Name", ("a", None)),)),
    ),
}
CLASSIC_OTHERS: dict[str, tuple[list[str], Any]] = {
    "two levels": (
        [
            "CREATE TABLE others (k int, c text) DISTRIBUTED BY (k) PARTITION BY RANGE (k) SUBPARTITION BY LIST (c) "
            "SUBPARTITION TEMPLATE (SUBPARTITION x VALUES ('x')) (PARTITION a START (1) END (9))"
        ],
        OtherPartitions("range", ("k",), 2),
    ),
    "unnamed": (
        ["CREATE TABLE others (k int) DISTRIBUTED BY (k) PARTITION BY RANGE (k) (START (1) END (5) EVERY (2))"],
        RangePartitions("k", (RangePartition("1", 1, 3), RangePartition("2", 3, 5))),
    ),
    "bounds the other way round": (
        [
            "CREATE TABLE others (k int) DISTRIBUTED BY (k) PARTITION BY RANGE (k) "
            "(PARTITION a START (1) EXCLUSIVE END (5) INCLUSIVE)"
        ],
        RangePartitions("k", (RangePartition("a", 2, 6),)),
    ),
    "two columns of a list": (
        [
            "CREATE TABLE others (k int, c text) DISTRIBUTED BY (k) PARTITION BY LIST (k, c) "
            "(PARTITION a VALUES ((1, 'a'), (2, 'b')))"
        ],
        OtherPartitions("list", ("k", "c")),
    ),
}


@pytest.mark.parametrize("kind", sorted({*OTHERS, *CLASSIC_OTHERS}))
@pytest.mark.parametrize("written", ["declarative", "classic"])
def test_partitioning_of_others_making_reflects_and_hides_its_children(engine: Engine, kind: str, written: str) -> None:
    has = capabilities(engine)
    if written == "declarative" and has.partition_catalog == "classic":
        pytest.skip("this server has no declarative partitions")
    if written == "classic" and has.partition_ddl == "declarative":
        pytest.skip("this server has no classic partition clause")
    if kind not in (OTHERS if written == "declarative" else CLASSIC_OTHERS):
        pytest.skip("not said that way")
    if kind == "two columns of a list" and has.partition_catalog == "declarative":
        pytest.skip("Greenplum 7 has it only through a type of its own")
    statements, expected = (OTHERS if written == "declarative" else CLASSIC_OTHERS)[kind]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS others"))
        for statement in statements:
            connection.execute(text(statement))
    table = Table("others", MetaData(), autoload_with=engine)
    assert table.dialect_options["greenplum"]["partition_by"] == expected
    names = inspect(engine).get_table_names()
    assert [n for n in names if n.startswith("others") or n == "Odd Name"] == ["others"]
    if isinstance(expected, OtherPartitions):
        with pytest.raises(OptionError, match=r"table 'others'.*cannot be made"):
            CreateTable(table).compile(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE others"))


def queries(engine: Engine, ask: Any) -> int:
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    event.listen(engine, "before_cursor_execute", count)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", count)
    return counted


def test_what_is_asked_of_all_tables_leaves_partitions_out(engine: Engine) -> None:
    metadata = MetaData(schema="whole")
    columns = Column("k", BigInteger), Column("i", BigInteger, index=True)
    Table("t", metadata, *columns, greenplum_partition_by=RangePartitions.every("i", start=0, step=10, count=3))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA whole"))
        metadata.create_all(connection)
    asked = (
        "columns",
        "indexes",
        "pk_constraint",
        "foreign_keys",
        "unique_constraints",
        "check_constraints",
        "table_comment",
    )
    for what, scope in product(asked, (ObjectScope.DEFAULT, ObjectScope.ANY)):  # MetaData.reflect asks for any
        found = getattr(inspect(engine), f"get_multi_{what}")(schema="whole", scope=scope)
        assert set(found) == {("whole", "t")}, what
    assert len(inspect(engine).get_indexes("t_1_prt_p2", schema="whole")) == 1  # asked for by name, it is there
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP SCHEMA whole"))


def test_a_schema_reflects_in_as_many_queries_with_few_tables_as_with_many(engine: Engine) -> None:
    def fill(schema: str, tables: int, months: int) -> None:
        metadata = MetaData(schema=schema)
        for number in range(tables):
            Table(
                f"many_{number}",
                metadata,
                Column("k", BigInteger),
                Column("ts", DateTime(timezone=True)),
                greenplum_storage=AppendOptimized(orientation="column"),
                greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=months),
            )
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
            metadata.create_all(connection)

    fill("few", 1, 1)
    fill("many", 6, 5)
    counts = {
        schema: [
            queries(engine, lambda schema=schema: MetaData().reflect(engine, schema=schema)),
            *(
                queries(engine, lambda m=method, s=schema: getattr(inspector(engine), m)(schema=s))
                for method in (
                    "get_multi_distribution",
                    "get_multi_storage",
                    "get_multi_encodings",
                    "get_multi_partitions",
                    "get_multi_external",
                    "get_multi_table_options",
                    "get_multi_columns",
                )
            ),
        ]
        for schema in ("few", "many")
    }
    assert counts["few"] == counts["many"]
    assert max(counts["many"][1:6]) == 1
    metadata = MetaData()
    metadata.reflect(engine, schema="many")
    assert sorted(metadata.tables) == [f"many.many_{n}" for n in range(6)]
    assert {name for _, name in inspector(engine).get_multi_columns(schema="many")} == {f"many_{n}" for n in range(6)}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'2026-01-01 00:00:00+00'::timestamp with time zone", datetime(2026, 1, 1, tzinfo=UTC)),
        ("'2025-12-31 19:00:00-05'", datetime(2026, 1, 1, tzinfo=UTC)),
        ("'2026-01-01'::date", date(2026, 1, 1)),
        ("5", 5),
        ("(-5)", -5),
        ("1.50::numeric(4,2)", Decimal("1.50")),
        ("'O''Brien'::text", "O'Brien"),
        ("MINVALUE", None),
    ],
)
def test_a_deparsed_bound_is_its_value(expression: str, value: Any) -> None:
    assert parse_bound(expression) == value
