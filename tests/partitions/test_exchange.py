"""What takes a month's place has its rows, column by column, and its hold."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.dialect.options import month_partition
from gpwarehouse.models import FACTS
from gpwarehouse.partitions import partition_changes
from gpwarehouse.partitions.manager import month_named
from tests.partitions.fab import TESTS, load_units, unit

MONTH = f"dw.{TESTS}_1_prt_m202602"


def attach_with_die_x_and_die_y_swapped(wh: Warehouse) -> None:
    """As somebody may who makes the month by hand."""
    with wh.engine.begin() as connection:
        names = list(partition_changes.columns_of(connection, FACTS[TESTS].__table__))
        x, y = names.index("die_x"), names.index("die_y")
        names[x], names[y] = names[y], names[x]
        spread = (
            " DISTRIBUTED BY (wafer_key)" if partition_changes.dialect_of(connection).capabilities.distribution else ""
        )  # type: ignore[union-attr]
        connection.exec_driver_sql(f"CREATE TABLE dw.odd AS SELECT {', '.join(names)} FROM {MONTH}{spread}")
        connection.exec_driver_sql(f"ALTER TABLE dw.{TESTS} DETACH PARTITION {MONTH}; DROP TABLE {MONTH}")
        needed = (
            f"SELECT attname FROM pg_attribute WHERE attrelid = 'dw.{TESTS}'::regclass AND attnotnull AND attnum > 0"
        )
        for name in connection.exec_driver_sql(needed).scalars().all():
            connection.exec_driver_sql(f"ALTER TABLE dw.odd ALTER {name} SET NOT NULL")
        checks = (
            f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'dw.{TESTS}'::regclass "
            "AND contype = 'c'"
        )
        for name, said in connection.exec_driver_sql(checks).all():
            connection.exec_driver_sql(f"ALTER TABLE dw.odd ADD CONSTRAINT {name} {said}")
        connection.exec_driver_sql(
            f"ALTER TABLE dw.odd RENAME TO {MONTH.removeprefix('dw.')}; ALTER TABLE dw.{TESTS} ATTACH PARTITION {MONTH} "
            "FOR VALUES FROM ('2026-02-01 00:00:00+00') TO ('2026-03-01 00:00:00+00')"
        )


def rewrite(wh: Warehouse) -> int:
    """What ``compress`` does, with the table's own storage: PostgreSQL has no other."""
    table = FACTS[TESTS].__table__
    with wh.engine.begin() as connection:
        found = partition_changes.there(connection, table, month_partition(month_named("2026-02")))
        assert found is not None
        rows = partition_changes.rewritten(connection, table, found, table.dialect_options["greenplum"]["storage"])
        partition_changes.exchange(connection, table, found)
        return rows


def dice(wh: Warehouse) -> list[tuple[int, int]]:
    with wh.engine.connect() as connection:
        found = connection.execute(text(f"SELECT die_x, die_y FROM dw.{TESTS} ORDER BY 1, 2"))
        return [tuple(row) for row in found]


def test_a_month_whose_columns_stand_in_another_order_is_compressed_as_it_is(
    wh: Warehouse, server_info: ServerInfo
) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("Greenplum 6 attaches no tables")
    load_units(wh, "2026-02", 5)
    attach_with_die_x_and_die_y_swapped(wh)
    before = dice(wh)
    assert before == [(n, 1) for n in range(5)]
    assert rewrite(wh) == 5
    assert dice(wh) == before


def test_a_hold_stays_when_the_months_table_is_rewritten(wh: Warehouse) -> None:
    load_units(wh, "2026-02", 5)
    wh.partitions.hold(TESTS, "2026-02", days=90, reason="audit")
    held = held_until(wh)
    assert held is not None
    rewrite(wh)
    assert held_until(wh) == held


def test_a_hold_stays_when_the_month_is_replaced(wh: Warehouse) -> None:
    load_units(wh, "2026-02", 5)
    wh.partitions.hold(TESTS, "2026-02", days=90, reason="audit")
    held = held_until(wh)
    assert held is not None
    wh.facts.replace_month(TESTS, "2026-02", [unit("2026-02", number) for number in range(7)])
    assert len(dice(wh)) == 7
    assert held_until(wh) == held


def held_until(wh: Warehouse) -> object:
    return wh.partitions.list(tables=[TESTS]).set_index("partition").held_until["m202602"]
