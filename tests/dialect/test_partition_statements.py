"""Statements about partitions whose names mislead: too long, attached, unnamed, or of another table."""

from __future__ import annotations

from datetime import date
from typing import Any, cast

import pytest
from sqlalchemy import BigInteger, Column, Date, Engine, Integer, MetaData, Table, insert, inspect, text
from sqlalchemy.exc import DBAPIError, SAWarning

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    AttachPartition,
    DetachPartition,
    DistributedBy,
    DropPartition,
    Encoding,
    ExchangePartition,
    GreenplumDialect,
    Heap,
    OptionError,
    RangePartition,
    RangePartitions,
    RenamePartition,
    TruncatePartition,
)
from gpwarehouse.dialect.reflection import GreenplumInspector

LOW, HIGH = RangePartition("m1", 0, 10), RangePartition("m2", 10, 20)


def made(engine: Engine, name: str, *columns: Column[Any], **options: Any) -> Table:
    options = {"greenplum_distributed_by": DistributedBy("k"), **options}
    table = Table(name, MetaData(), Column("k", BigInteger), Column("i", Integer), *columns, **options)
    with engine.begin() as connection:
        table.drop(connection, checkfirst=True)
        table.create(connection)
    return table


def filled(engine: Engine, name: str, **options: Any) -> Table:
    table = made(engine, name, greenplum_partition_by=RangePartitions("i", (LOW, HIGH)), **options)
    run(engine, insert(table).values([{"k": 1, "i": 5}, {"k": 2, "i": 15}]))
    return table


def run(engine: Engine, *statements: Any) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)


def numbers(engine: Engine, table: Table) -> list[int]:
    with engine.connect() as connection:
        return sorted(connection.execute(table.select().with_only_columns(table.c.i)).scalars())


def partitions(engine: Engine, table: Table) -> Any:
    found = cast(GreenplumInspector, inspect(engine)).get_partitions(table.name)
    assert found is not None
    return found


def has(engine: Engine) -> Any:
    return cast(GreenplumDialect, engine.dialect).capabilities


@pytest.mark.parametrize("length", [45, 50, 52, 55])
def test_partitions_of_a_table_with_a_long_name_keep_their_names(engine: Engine, length: int) -> None:
    table = filled(engine, "y" * length)
    assert partitions(engine, table) == RangePartitions("i", (LOW, HIGH))
    run(engine, TruncatePartition(table, "m1"))
    assert numbers(engine, table) == [15]
    run(engine, AddPartition(table, RangePartition("m3", 20, 30)), DropPartition(table, "m2"))
    assert [p.name for p in partitions(engine, table).partitions] == ["m1", "m3"]
    table.drop(engine)


def test_a_statement_about_no_partition_of_the_table_touches_nothing(engine: Engine) -> None:
    table, other = filled(engine, "y" * 54 + "a"), "y" * 56
    statements = [DropPartition(table, "m9"), TruncatePartition(table, "m9"), RenamePartition(table, "m9", "m8")]
    for statement in statements:
        with pytest.raises(DBAPIError, match=r"is no partition of|does not exist|partition .* of relation"):
            run(engine, statement)
    run(engine, DropPartition(table, "m9", if_exists=True))
    if not has(engine).distribution:  # the same shortened names: of another table's partition
        stranger = Table(other, MetaData())
        for refused in (DropPartition(stranger, "m1"), TruncatePartition(stranger, "m1")):
            with pytest.raises(DBAPIError, match="is no partition of"):
                run(engine, refused)
        run(engine, DropPartition(stranger, "m1", if_exists=True))
    assert numbers(engine, table) == [5, 15]
    table.drop(engine)


def test_a_partition_name_that_leaves_no_room_is_refused() -> None:
    table = Table("t", MetaData())
    with pytest.raises(OptionError, match=r"'t': partition 'p{57}' makes a table's name of more than 63 bytes"):
        AddPartition(table, RangePartition("p" * 57, 1, 2)).compile(dialect=GreenplumDialect(server="postgresql"))


def test_a_table_that_was_attached_is_found_by_what_reflection_brings(engine: Engine) -> None:
    if has(engine).partition_catalog == "classic":
        pytest.skip("nothing can be attached on this server")
    table = filled(engine, "att")
    attached = [made(engine, f"sales_{n}") for n in range(1, 5)]
    for number, child in enumerate(attached):
        bounds = RangePartition("p", 20 + 10 * number, 30 + 10 * number)
        run(engine, insert(child).values(k=1, i=20 + 10 * number), AttachPartition(table, child, bounds))
    fresh = made(engine, "fresh")
    run(engine, insert(fresh).values(k=1, i=55))
    found = {p.name: p for p in partitions(engine, table).partitions}
    assert {"m1", "m2", "sales_1", "sales_2", "sales_3", "sales_4"} == set(found)
    run(
        engine,
        TruncatePartition(table, found["sales_1"]),
        DropPartition(table, found["sales_2"]),
        DetachPartition(table, found["sales_3"]),
        RenamePartition(table, found["sales_1"], "m3"),
        ExchangePartition(table, found["sales_4"], fresh),
    )
    assert numbers(engine, table) == [5, 15, 55]
    assert [p.name for p in partitions(engine, table).partitions] == ["m1", "m2", "m3", "sales_4"]
    assert numbers(engine, fresh) == [50]
    for each in (table, attached[2], fresh):
        each.drop(engine)


@pytest.mark.segments
def test_partitions_without_a_name_are_found_by_what_reflection_brings(engine: Engine) -> None:
    run(
        engine,
        "CREATE TABLE every (k bigint, i int, d date) DISTRIBUTED BY (k) PARTITION BY RANGE (d) "
        "(START (date '2026-01-01') END (date '2026-03-31') INCLUSIVE EVERY (interval '1 month'))",
        "INSERT INTO every SELECT 1, n, date '2026-01-15' + 30 * n FROM generate_series(0, 2) n",
    )
    table = Table("every", MetaData(), Column("k", BigInteger), Column("i", Integer), Column("d", Date))
    found = partitions(engine, table)
    assert [(p.start, p.end) for p in found.partitions] == [
        (date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 2, 1), date(2026, 3, 1)),
        (date(2026, 3, 1), date(2026, 4, 1)),
    ]
    first, second, third = found.partitions
    run(engine, TruncatePartition(table, first), DropPartition(table, second), RenamePartition(table, third, "march"))
    assert numbers(engine, table) == [2]
    assert [p.name for p in partitions(engine, table).partitions][1:] == ["march"]
    run(engine, "DROP TABLE every")


@pytest.mark.segments
@pytest.mark.parametrize("said", [True, False])
def test_an_added_partition_is_stored_as_its_table_is(engine: Engine, said: bool) -> None:
    storage = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=3)
    odd = Encoding(compresstype="rle_type", compresslevel=2)
    scheme = RangePartitions("i", (LOW,))
    column: Column[Any] = Column("a", Integer, greenplum_encoding=odd)
    table = made(engine, "stored", column, greenplum_storage=storage, greenplum_partition_by=scheme)
    run(engine, AddPartition(table if said else Table("stored", MetaData()), HIGH))
    inspector = cast(GreenplumInspector, inspect(engine))
    assert inspector.get_storage("stored_1_prt_m2") == storage
    if has(engine).access_methods:  # Greenplum 6 cannot be told encodings here
        assert inspector.get_encodings("stored_1_prt_m2") == {"a": odd}
    table.drop(engine)


@pytest.mark.segments
def test_storage_as_others_write_it_is_read_or_left_open(engine: Engine) -> None:
    """Greenplum 6 keeps settings as written; ``compresslevel`` alone means zlib."""
    run(
        engine,
        "CREATE TABLE legacy (a int) WITH (appendonly=true, compresslevel=5) DISTRIBUTED BY (a)",
        "CREATE TABLE shouted (a int) WITH (APPENDONLY=TRUE, ORIENTATION=COLUMN, COMPRESSTYPE='ZSTD', CHECKSUM=off) "
        "DISTRIBUTED BY (a)",
    )
    inspector = cast(GreenplumInspector, inspect(engine))
    assert inspector.get_storage("legacy") == AppendOptimized(compresstype="zlib", compresslevel=5)
    shouted = inspector.get_storage("shouted")
    assert shouted == AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1, checksum=False)
    metadata = MetaData()
    metadata.reflect(engine)
    assert {"legacy", "shouted"} <= set(metadata.tables)
    run(engine, "DROP TABLE legacy", "DROP TABLE shouted")


def test_bounds_that_have_no_value_leave_the_scheme_known(engine: Engine) -> None:
    head = "CREATE TABLE endless (k bigint, d date)"
    if has(engine).distribution:
        ranges = "(PARTITION p START (date '2026-01-01') END (date 'infinity'))"
        run(engine, f"{head} DISTRIBUTED BY (k) PARTITION BY RANGE (d) {ranges}")
    else:
        of = "PARTITION OF endless FOR VALUES FROM ('2026-01-01') TO ('infinity')"
        run(engine, f"{head} PARTITION BY RANGE (d)", f"CREATE TABLE endless_1_prt_p {of}")
    with pytest.warns(SAWarning, match="is none our values can say, and is left open"):
        found = partitions(engine, Table("endless", MetaData()))
    assert found.same_scheme(RangePartitions.monthly("d", first="2026-01", bounds=date))
    assert RangePartitions("d").same_scheme(found)
    assert not found.same_scheme(RangePartitions("k"))
    run(engine, "DROP TABLE endless")


def test_create_table_if_not_exists_holds_for_its_partitions(engine: Engine) -> None:
    from sqlalchemy.schema import CreateTable

    table = filled(engine, "twice", greenplum_storage=Heap())
    run(engine, CreateTable(table, if_not_exists=True))
    assert numbers(engine, table) == [5, 15]
    table.drop(engine)
