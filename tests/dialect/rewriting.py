"""What the tests of rewrites share: a table of twenty rows, and a look at what became of it."""

from __future__ import annotations

from datetime import date
from typing import Any, cast

from sqlalchemy import Column, Date, Integer, MetaData, Table, Text, func, insert, inspect, select
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    GreenplumDialect,
    RangePartition,
    RangePartitions,
    RewriteTable,
)
from gpwarehouse.dialect.reflection import GreenplumInspector

COLUMNAR = AppendOptimized(orientation="column", compresstype="zlib", compresslevel=3)
MONTHS = RangePartitions("d", RangePartitions.monthly("d", first="2026-01", months=4, bounds=date).partitions, "rest")
ALL = RangePartitions("i", (RangePartition("low", 0, 10), RangePartition("high", 10, 1000)))


def bare(name: str = "t", **options: Any) -> Table:
    """The table as an operation names it: nothing of it is known."""
    return Table(name, MetaData(), **options)


def run(engine: Engine, *statements: Any) -> None:
    with engine.begin() as connection:
        for statement in statements:
            if isinstance(statement, str):
                connection.exec_driver_sql(statement.replace("%", "%%"))
            else:
                connection.execute(statement)


def rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql.replace("%", "%%"))]


def has(engine: Engine) -> Any:
    return cast(GreenplumDialect, engine.dialect).capabilities


def look(engine: Engine) -> GreenplumInspector:
    return cast(GreenplumInspector, inspect(engine))


def by(engine: Engine, column: str) -> str:
    return f" DISTRIBUTED BY ({column})" if has(engine).distribution else ""


def made(engine: Engine, name: str = "t", **options: Any) -> Table:
    columns = (Column("i", Integer), Column("c", Text), Column("d", Date))
    table = Table(name, MetaData(), *columns, **{"greenplum_distributed_by": DistributedBy("i"), **options})
    values = [{"i": n, "c": f"{n}%", "d": date(2026, 1 + n % 4, 5)} for n in range(20)]
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), values)
    return table


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def names(engine: Engine, table: str = "t") -> list[str]:
    scheme = cast(Any, look(engine).get_partitions(table))
    return [partition.name for partition in scheme.partitions] + ([scheme.default] if scheme.default else [])


REPARTITION = RewriteTable(bare(greenplum_partition_by=ALL), repartition=True)
