from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import URL, select, text

from gpwarehouse import Warehouse, WarehouseSettings
from gpwarehouse.errors import (
    InvalidInputError,
    MigrationError,
    ReadError,
    SettingsError,
    SourceFormatError,
    TooManyRejectsError,
    WarehouseConnectionError,
)
from gpwarehouse.models import DimLot, FactTestResults
from gpwarehouse.version import __version__
from tests.load.rows import MEASUREMENTS, NOON, measurement
from tests.migrate.site import HEAD
from tests.rows import die_of_l1


def test_status_says_where_the_warehouse_stands(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        before = wh.status()
        assert (before.revision, before.is_current, before.batches_loaded) == (None, False, 0)
        wh.upgrade()
        wh.load("fact_test_results", [die_of_l1(), die_of_l1(die_x=2)])
        after = wh.status()
        assert after.is_current
        assert (after.batches_loaded, after.batches_failed, after.rows_loaded) == (1, 0, 2)


def test_a_load_before_the_upgrade_says_to_upgrade(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        with pytest.raises(MigrationError, match=rf"at revision none, this package writes {HEAD}; run wh\.upgrade"):
            wh.load("fact_test_results", [die_of_l1()])


def test_an_unknown_server_is_told_at_the_first_use_and_not_at_construction() -> None:
    with Warehouse("postgresql://etl:hunter2@127.0.0.1:1/fab") as wh:
        assert "hunter2" not in repr(wh)
        for use in (wh.status, lambda: wh.read("SELECT 1"), lambda: wh.load("fact_test_results", [die_of_l1()])):
            with pytest.raises(WarehouseConnectionError, match=r"127\.0\.0\.1:1/fab") as caught:
                use()
            assert "hunter2" not in str(caught.value)


def test_without_a_database_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    wh = Warehouse()
    with pytest.raises(SettingsError, match="GPWAREHOUSE_URL"):
        wh.status()


def test_settings_and_single_settings_do_not_mix() -> None:
    with pytest.raises(InvalidInputError, match="not both"):
        Warehouse(settings=WarehouseSettings(url="postgresql://h/d"), pool_size=3)


def test_a_session_commits_at_its_end_and_rolls_back_on_an_error(wh: Warehouse) -> None:
    wh.load("fact_test_results", [die_of_l1()])
    with wh.session() as session:
        lot = session.scalars(select(DimLot).where(DimLot.lot_id == "L1")).one()
        lot.owner = "ops"
    assert wh.read("SELECT owner FROM dw.dim_lot WHERE lot_id = 'L1'").owner[0] == "ops"

    def fail() -> None:
        with wh.session() as session:
            session.scalars(select(DimLot).where(DimLot.lot_id == "L1")).one().owner = "nobody"
            session.flush()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert wh.read("SELECT owner FROM dw.dim_lot WHERE lot_id = 'L1'").owner[0] == "ops"


def test_orm_relationships_lead_to_the_current_versions(wh: Warehouse) -> None:
    wh.load("fact_test_results", [die_of_l1(product_id="GOLD", equipment_id="T1")])
    with wh.session() as session:
        fact = session.scalars(select(FactTestResults)).one()
        assert (fact.lot.lot_id, fact.wafer.wafer_id, fact.product.product_id) == ("L1", "01", "GOLD")
        assert fact.equipment.equipment_id == "T1"
        assert fact.time.ts_utc == datetime(2026, 1, 5, 10, tzinfo=UTC)


def test_a_frame_has_the_servers_types(shared_wh: Warehouse) -> None:
    frame = shared_wh.read(
        """SELECT 1::bigint AS whole, NULL::integer AS missing, 0.1::float8 AS real, true AS yes, 'x'::text AS words,
        TIMESTAMPTZ '2026-03-01 08:00+09' AS moment, DATE '2026-03-01' AS day, 1.5::numeric AS number,
        '{"a": [1, null]}'::jsonb AS parsed
        UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    )
    assert str(frame.whole.dtype) == "Int64"
    assert str(frame.missing.dtype) == "Int32"
    assert str(frame.yes.dtype) == "boolean"
    assert frame.real[0] == 0.1
    assert frame.number[0] == 1.5
    assert frame.moment[0] == pd.Timestamp("2026-02-28 23:00", tz="UTC")
    assert frame.day[0] == date(2026, 3, 1)
    assert frame.parsed[0] == '{"a": [1, null]}'
    assert frame.iloc[1].isna().all()


def test_a_whole_number_beyond_float_precision_survives_next_to_a_null(shared_wh: Warehouse) -> None:
    frame = shared_wh.read("SELECT 9007199254740993 AS k UNION ALL SELECT NULL")
    assert 9007199254740993 in set(frame.k.dropna())


def test_arrow_comes_out_on_request_even_where_nothing_was_found(shared_wh: Warehouse) -> None:
    table = shared_wh.read("SELECT lot_key, lot_id FROM dw.dim_lot WHERE lot_id = :lot", lot="no such", arrow=True)
    assert isinstance(table, pa.Table)
    assert table.schema == pa.schema([("lot_key", pa.int64()), ("lot_id", pa.string())])
    assert table.num_rows == 0


def test_parameters_are_bound_and_not_formatted_in(shared_wh: Warehouse) -> None:
    nasty = "'; DROP TABLE dw.dim_lot; --%s"
    assert shared_wh.read("SELECT CAST(:what AS text) AS told", what=nasty).told[0] == nasty


def test_a_read_changes_nothing(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match="read-only"):
        shared_wh.read("DELETE FROM dw.dim_lot RETURNING lot_id")


def test_a_wrong_query_gives_the_servers_words_without_the_values(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match="nope") as caught:
        shared_wh.read("SELECT nope FROM dw.dim_lot WHERE lot_id = :lot", lot="secret-lot")
    assert "secret-lot" not in str(caught.value)


def test_a_parameter_without_a_value_is_named(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match="lot"):
        shared_wh.read("SELECT * FROM dw.dim_lot WHERE lot_id = :lot")


def test_a_statement_without_rows_is_sent_elsewhere(shared_wh: Warehouse) -> None:
    with pytest.raises(ReadError, match=r"wh\.session"):
        shared_wh.read("SET LOCAL work_mem = '1MB'")


def test_an_orm_select_is_read_as_well(wh: Warehouse) -> None:
    wh.load("fact_test_results", [die_of_l1(), die_of_l1(die_x=2)])
    frame = wh.read(select(FactTestResults.die_x).order_by(FactTestResults.die_x))
    assert list(frame.die_x) == [1, 2]


def test_the_columns_of_a_target_are_told(shared_wh: Warehouse) -> None:
    columns = shared_wh.facts.columns("fact_test_results").set_index("column")
    assert columns.needed["event_ts"]
    assert columns.needed["lot_id"]
    assert not columns.needed["die_x"]
    assert "wafer_key" not in columns.index
    with pytest.raises(InvalidInputError, match="fact_test_results"):
        shared_wh.facts.columns("fact_tests")


def test_a_file_that_is_none_of_the_trade_is_refused(shared_wh: Warehouse, tmp_path: Any) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a datalog")
    with pytest.raises(SourceFormatError, match="STDF"):
        shared_wh.load_file(file)


def test_sessions_are_in_utc_with_exact_floats_and_timeouts(shared_wh: Warehouse) -> None:
    with shared_wh.engine.connect() as connection:
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("TimeZone", "extra_float_digits", "lock_timeout", "search_path", "application_name")
        }
    assert shown["TimeZone"] == "UTC"
    assert shown["extra_float_digits"] == "3"
    assert shown["lock_timeout"] == "1min"
    assert shown["search_path"].replace('"', "") == "dw, public"
    assert shown["application_name"] == f"gpwarehouse/{__version__}"


def test_a_warehouse_is_shared_by_threads(wh: Warehouse) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            wh.load("fact_test_results", [die_of_l1(lot_id=f"L{number}", die_x=n) for n in range(20)])
            assert wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] >= 20
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not failures
    assert wh.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 160


def test_a_forked_child_does_not_use_its_parents_connections(wh: Warehouse) -> None:
    import multiprocessing

    wh.read("SELECT 1")

    def child() -> None:
        with wh.engine.connect() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != parent

    with wh.engine.connect() as connection:
        parent = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert wh.read("SELECT pg_backend_pid() AS pid").pid[0] == parent


def test_genealogy_starts_at_a_lot_and_finds_both_ways(wh: Warehouse) -> None:
    from gpwarehouse.models.keys import durable_key

    with wh.engine.begin() as connection:
        for parent, child in (("A", "B"), ("B", "C"), ("X", "Y")):
            connection.execute(
                text(
                    "INSERT INTO dw.bridge_lot_genealogy (parent_lot_key, child_lot_key, event_type, event_ts) "
                    "VALUES (:parent, :child, 'SPLIT', TIMESTAMPTZ '2026-01-01 00:00+00')"
                ),
                {"parent": durable_key(parent), "child": durable_key(child)},
            )
    found = wh.dimensions.genealogy("B")
    assert len(found) == 2
    assert set(found.direction) == {"ANCESTOR", "DESCENDANT"}


def test_deleted_batches_are_counted_as_such_and_not_as_failed(wh: Warehouse) -> None:
    rows = [measurement(site_no=n) for n in range(3)]
    for name in ("stays", "deleted", "month", "moved"):
        when = {"event_ts": NOON.replace(month=5)} if name == "month" else {}
        wh.load(MEASUREMENTS, [row | when | {"lot_id": name} for row in rows], batch_id=name)
    with pytest.raises(TooManyRejectsError):
        wh.load(MEASUREMENTS, [measurement(slot=-1)], batch_id="failed")
    wh.facts.upsert(MEASUREMENTS, [rows[0] | {"lot_id": "moved", "slot": 1}], batch_id="upserted")
    wh.batches.delete("deleted")
    wh.batches.delete("moved")  # of which a record is in another batch
    wh.facts.delete_month(MEASUREMENTS, "2024-05")
    now = wh.status()
    assert (now.batches_loaded, now.batches_deleted, now.batches_failed) == (2, 3, 1)
    assert wh.load(MEASUREMENTS, [row | {"lot_id": "deleted"} for row in rows], batch_id="deleted").rows_loaded == 3
    assert wh.status().batches_deleted == 2
