"""What is created is read back: on whichever server the tests run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, event, inspect, text
from sqlalchemy.engine import URL, Engine, create_engine

from gpwarehouse.dialect import (
    AddPartition,
    DistributedBy,
    DistributedReplicated,
    GreenplumDialect,
    Heap,
    RangePartitions,
    ServerInfo,
)
from gpwarehouse.dialect.reflection import GreenplumInspector, parse_bound
from tests.conftest import database
from tests.dialect.strategies import distributions, month_partitions, storages


@pytest.fixture(scope="module")
def engine(server_url: URL) -> Iterator[Engine]:
    with database(server_url) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


def inspector(engine: Engine) -> GreenplumInspector:
    return cast(GreenplumInspector, inspect(engine))


def capabilities(engine: Engine) -> Any:
    return cast(GreenplumDialect, engine.dialect).capabilities


def make(engine: Engine, **options: Any) -> Table:
    columns = (
        Column("k", BigInteger),
        Column("Second Key", Text),
        Column("ts", DateTime(timezone=True)),
        Column("v", Text),
    )
    table = Table("round_trip", MetaData(), *columns, **options)
    table.drop(engine, checkfirst=True)
    table.create(engine)
    return table


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(distribution=distributions, storage=storages, partitions=st.none() | month_partitions())
def test_options_come_back_as_they_were_written(
    engine: Engine, distribution: Any, storage: Any, partitions: Any
) -> None:
    if isinstance(distribution, DistributedReplicated):
        partitions = None
    make(engine, greenplum_distributed_by=distribution, greenplum_storage=storage, greenplum_partition_by=partitions)
    options = Table("round_trip", MetaData(), autoload_with=engine).dialect_options["greenplum"]
    assert options["partition_by"] == partitions
    if capabilities(engine).distribution:
        assert options["distributed_by"] == distribution
        assert options["storage"] == storage
    else:
        assert options["distributed_by"] is None
        assert options["storage"] is None


def test_partitions_are_hidden_and_their_parent_is_not(engine: Engine) -> None:
    make(engine, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=3))
    assert [n for n in inspect(engine).get_table_names() if n.startswith("round_trip")] == ["round_trip"]


def test_a_partition_added_later_is_read_back_with_the_others(engine: Engine) -> None:
    table = make(engine, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"))
    march = RangePartitions.monthly("ts", first="2026-03").partitions[0]
    with engine.begin() as connection:
        connection.execute(AddPartition(table, march))
    found = inspector(engine).get_partitions("round_trip")
    assert found is not None
    assert [p.name for p in found.partitions] == ["m202601", "m202603"]
    assert found.partitions[1] == march


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
    from gpwarehouse.dialect import AppendOptimized
    from gpwarehouse.dialect.reflection import storages_of

    storage = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=5)
    table = make(
        engine, greenplum_storage=storage, greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01")
    )
    with engine.begin() as connection:
        connection.execute(AddPartition(table, RangePartitions.monthly("ts", first="2026-02").partitions[0]))
        found = storages_of(connection, cast(GreenplumDialect, engine.dialect), None)
    assert found["round_trip_1_prt_m202601"] == found["round_trip_1_prt_m202602"] == storage


def test_partitioning_of_other_kinds_reflects_without_error(engine: Engine, server_info: ServerInfo) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS by_list"))
        if capabilities(engine).partition_ddl == "classic":
            connection.execute(
                text(
                    "CREATE TABLE by_list (k int, c text) DISTRIBUTED BY (k) PARTITION BY LIST (c) "
                    "(PARTITION a VALUES ('a'), PARTITION b VALUES ('b'), DEFAULT PARTITION rest)"
                )
            )
        else:
            connection.execute(text("CREATE TABLE by_list (k int, c text) PARTITION BY LIST (c)"))
            connection.execute(text("CREATE TABLE by_list_a PARTITION OF by_list FOR VALUES IN ('a')"))
            connection.execute(text("CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT"))
    options = Table("by_list", MetaData(), autoload_with=engine).dialect_options["greenplum"]
    assert options["partition_by"] is None
    assert [n for n in inspect(engine).get_table_names() if n.startswith("by_list")] == ["by_list"]


def test_all_tables_of_a_schema_take_as_many_queries_as_one(engine: Engine) -> None:
    def queries(names: list[str]) -> int:
        counted = 0

        def count(*_: Any) -> None:
            nonlocal counted
            counted += 1

        event.listen(engine, "before_cursor_execute", count)
        try:
            inspect(engine).get_multi_table_options(filter_names=names)
        finally:
            event.remove(engine, "before_cursor_execute", count)
        return counted

    metadata = MetaData()
    for number in range(8):
        Table(
            f"many_{number}",
            metadata,
            Column("k", BigInteger),
            Column("ts", DateTime(timezone=True)),
            greenplum_storage=Heap(),
            greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=2),
        )
    metadata.create_all(engine)
    assert queries([f"many_{n}" for n in range(8)]) == queries(["many_0"])


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
