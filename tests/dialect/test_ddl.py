from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_mock_engine,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import CreateTable

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    GreenplumDialect,
    Heap,
    OptionError,
    RangePartitions,
    UnsupportedByServerError,
)

GREENPLUMS = ("greenplum6", "greenplum7", "cloudberry")


def ddl(table: Table, server: str) -> str:
    return " ".join(str(CreateTable(table).compile(dialect=GreenplumDialect(server=server))).split())


def fact(**options: Any) -> Table:
    columns = (Column("k", BigInteger), Column("ts", DateTime(timezone=True)), Column("v", Text))
    return Table("f", MetaData(), *columns, **options)


@pytest.mark.parametrize("server", GREENPLUMS)
def test_storage_distribution_and_partitions_stand_in_the_grammars_order(server: str) -> None:
    table = fact(
        greenplum_distributed_by=DistributedBy("k"),
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd", compresslevel=3),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    assert ddl(table, server).endswith(
        "WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=3) DISTRIBUTED BY (k) "
        "PARTITION BY RANGE (ts) (PARTITION m202601 START ('2026-01-01 00:00:00+00') INCLUSIVE "
        "END ('2026-02-01 00:00:00+00') EXCLUSIVE)"
    )


def test_postgresql_gets_declarative_partitions_and_neither_distribution_nor_storage() -> None:
    table = fact(
        greenplum_distributed_by=DistributedBy("k"),
        greenplum_storage=AppendOptimized(),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    assert ddl(table, "postgresql").endswith(
        "PARTITION BY RANGE (ts); CREATE TABLE f_1_prt_m202601 PARTITION OF f "
        "FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00')"
    )


@pytest.mark.parametrize("server", GREENPLUMS)
def test_every_table_carries_a_distributed_clause(server: str) -> None:
    keyed = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("v", Text))
    unique = Table("t", MetaData(), Column("a", Text), Column("b", Text, unique=True))
    neither = Table("t", MetaData(), Column("v", Text))
    assert ddl(keyed, server).endswith("DISTRIBUTED BY (id)")
    assert ddl(unique, server).endswith("DISTRIBUTED BY (b)")
    assert ddl(neither, server).endswith("DISTRIBUTED RANDOMLY")


def test_identifiers_are_quoted_where_they_must_be() -> None:
    table = Table("t", MetaData(), Column("Wafer Key", BigInteger), greenplum_distributed_by=DistributedBy("Wafer Key"))
    assert ddl(table, "greenplum6").endswith('DISTRIBUTED BY ("Wafer Key")')


def test_a_misspelt_option_is_refused_by_sqlalchemy() -> None:
    with pytest.raises(ArgumentError, match="greenplum_distributed_bye"):
        fact(greenplum_distributed_bye=DistributedBy("k"))


@pytest.mark.parametrize(
    ("server", "make", "told"),
    [
        ("greenplum7", lambda: fact(greenplum_distributed_by=DistributedBy("nope")), "'nope', which is no column"),
        ("greenplum7", lambda: fact(greenplum_partition_by=RangePartitions("nope")), "'nope', which is no column"),
        ("postgresql", lambda: fact(greenplum_distributed_by="k"), r"give DistributedBy\(…\)"),
        ("postgresql", lambda: fact(greenplum_storage="column"), r"give Heap\(\) or AppendOptimized"),
        ("postgresql", lambda: fact(greenplum_partition_by="RANGE (ts)"), "give RangePartitions"),
        ("greenplum6", lambda: fact(greenplum_partition_by=RangePartitions("ts")), "at least one partition"),
        (
            "greenplum7",
            lambda: fact(
                greenplum_distributed_by=DistributedReplicated(),
                greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
            ),
            "replicated table cannot be partitioned",
        ),
        (
            "greenplum7",
            lambda: fact(greenplum_storage=AppendOptimized(compresstype="quicklz")),
            "'quicklz' is unknown to this server",
        ),
    ],
)
def test_a_wrong_combination_names_table_option_and_remedy(server: str, make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        ddl(make(), server)
    assert "table 'f'" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "constraint"),
    [
        ("unique constraint", lambda: UniqueConstraint("v")),
        ("unique index", lambda: Index("i", "v", unique=True)),
    ],
)
def test_a_unique_key_without_the_distribution_key_is_refused(kind: str, constraint: Any) -> None:
    columns = (Column("k", BigInteger), Column("v", Text))
    table = Table("t", MetaData(), *columns, constraint(), greenplum_distributed_by=DistributedBy("k"))
    with pytest.raises(OptionError, match=f"{kind} on .*must contain the distribution key"):
        ddl(table, "greenplum7")
    assert "DISTRIBUTED" not in ddl(table, "postgresql")


def test_a_primary_key_without_the_distribution_key_is_refused() -> None:
    columns = (Column("id", Integer, primary_key=True), Column("k", BigInteger))
    table = Table("t", MetaData(), *columns, greenplum_distributed_by=DistributedBy("k"))
    with pytest.raises(OptionError, match="primary key"):
        ddl(table, "greenplum6")


def test_a_unique_key_on_a_random_or_append_optimized_table_is_refused() -> None:
    random = Table("t", MetaData(), Column("v", String, unique=True), greenplum_distributed_by=DistributedRandomly())
    with pytest.raises(OptionError, match=r"impossible with DistributedRandomly\(\)"):
        ddl(random, "greenplum6")
    columns = Table("t", MetaData(), Column("id", Integer, primary_key=True), greenplum_storage=AppendOptimized())
    with pytest.raises(OptionError, match=r"use Heap\(\) or drop the key"):
        ddl(columns, "greenplum6")
    assert "PRIMARY KEY" in ddl(columns, "cloudberry")


def test_a_replicated_table_may_have_any_unique_keys() -> None:
    columns = (Column("a", Integer, primary_key=True), Column("b", Integer, unique=True))
    table = Table("t", MetaData(), *columns, greenplum_distributed_by=DistributedReplicated(), greenplum_storage=Heap())
    assert ddl(table, "greenplum6").endswith("WITH (appendonly=false) DISTRIBUTED REPLICATED")


def test_without_a_server_the_error_says_how_to_name_one() -> None:
    with pytest.raises(UnsupportedByServerError, match=r"\?server=greenplum6"):
        str(CreateTable(fact(greenplum_storage=Heap())).compile(dialect=GreenplumDialect()))


@pytest.mark.parametrize(
    ("url", "options"),
    [("greenplum+psycopg2://", {"server": "greenplum6"}), ("greenplum://?server=greenplum6", {})],
)
def test_a_mock_engine_writes_the_ddl_of_the_server_it_is_told(url: str, options: dict[str, str]) -> None:
    written: list[str] = []
    table = fact(greenplum_distributed_by=DistributedBy("k"))
    engine = create_mock_engine(
        url, lambda sql, *_, **__: written.append(str(sql.compile(dialect=engine.dialect))), **options
    )
    table.metadata.create_all(engine, checkfirst=False)
    assert "DISTRIBUTED BY (k)" in written[0]


def test_a_partition_added_on_greenplum_carries_the_tables_storage() -> None:
    table = fact(
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd"),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    month = RangePartitions.monthly("ts", first="2026-02").partitions[0]
    classic = str(AddPartition(table, month).compile(dialect=GreenplumDialect(server="greenplum6")))
    assert classic == (
        "ALTER TABLE f ADD PARTITION m202602 START ('2026-02-01 00:00:00+00') INCLUSIVE "
        "END ('2026-03-01 00:00:00+00') EXCLUSIVE "
        "WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1)"
    )
    declarative = str(AddPartition(table, month).compile(dialect=GreenplumDialect(server="postgresql")))
    assert declarative.startswith("CREATE TABLE f_1_prt_m202602 PARTITION OF f FOR VALUES FROM")
