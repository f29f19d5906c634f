"""What the engine settles for every session, whatever the database's or role's own defaults are."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, event, inspect, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import MigrationError, ReadError
from gpwarehouse.models.keys import durable_key
from gpwarehouse.months import partitions


def row(**values: Any) -> dict[str, Any]:
    known = {"event_ts": datetime(2026, 1, 5, 10, tzinfo=UTC), "lot_id": "L1", "wafer_id": "1", "test_type": "CP"}
    return known | {"test_stage": "CP1", "die_x": 1, "die_y": 1} | values


@pytest.fixture
def hostile(wh: Warehouse) -> Iterator[Warehouse]:
    """A warehouse whose database has other defaults than a loader can live with."""
    assert wh.settings.sqlalchemy_url().database is not None
    name = wh.settings.sqlalchemy_url().database
    with wh.engine.begin() as connection:
        for setting in ("default_transaction_isolation = 'repeatable read'", "client_encoding = 'LATIN1'"):
            connection.execute(text(f"ALTER DATABASE {name} SET {setting}"))
    wh.engine.dispose()
    with Warehouse(settings=wh.settings) as again:
        yield again


def test_sessions_are_read_committed_and_utf8_whatever_the_databases_defaults(hostile: Warehouse) -> None:
    with hostile.engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
        assert connection.execute(text("SHOW client_encoding")).scalar_one() == "UTF8"


def test_names_are_stored_as_they_are_whatever_the_databases_client_encoding(hostile: Warehouse) -> None:
    hostile.load("fact_test_results", [row(lot_id="Lé", operator_id="Jürgen")])
    stored = hostile.read("SELECT lot_key, lot_id FROM dw.dim_lot WHERE lot_key > 0 OR lot_key < -2")
    assert list(stored.lot_id) == ["Lé"]
    assert list(stored.lot_key) == [durable_key("Lé")]
    assert hostile.read("SELECT operator_id FROM dw.fact_test_results").operator_id[0] == "Jürgen"


def test_two_jobs_load_one_content_once_whatever_the_databases_isolation(hostile: Warehouse) -> None:
    rows = [row(die_x=x, die_y=y) for x in range(100) for y in range(50)]
    results: list[Any] = []
    jobs = [
        threading.Thread(target=lambda n=n: results.append(hostile.load("fact_test_results", rows, batch_id=f"b{n}")))
        for n in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=120)
    assert sorted(result.already_loaded for result in results) == [False, True, True]
    assert hostile.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 5000


def test_a_month_is_made_as_soon_as_a_long_load_lets_go(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ATTEMPT_MS", 100)
    failed_attempts = threading.Semaphore(0)
    event.listen(wh.engine, "handle_error", lambda _: failed_attempts.release())
    results: list[Any] = []
    with wh.engine.connect() as other:
        other.execute(text("LOCK TABLE dw.fact_test_results IN ROW EXCLUSIVE MODE"))
        job = threading.Thread(target=lambda: results.append(wh.load("fact_test_results", [row()])))
        job.start()
        for _ in range(2):
            assert failed_attempts.acquire(timeout=60)
        other.rollback()
    job.join(timeout=60)
    assert results[0].rows_loaded == 1
    assert results[0].months_made == ("m202601",)


def test_one_wafer_has_one_key_whichever_lot_its_id_is_written_with(wh: Warehouse) -> None:
    with Warehouse(settings=wh.settings.model_copy(update={"lot_root_pattern": r"^(\w+?)-"})) as split:
        split.load("fact_test_results", [row(lot_id="A1234-01", wafer_id="A1234-02")])
        split.load("fact_test_results", [row(lot_id="A1234-07", wafer_id="A1234-07-02")])
    wafers = wh.read("SELECT root_lot_id, wafer_id FROM dw.dim_wafer WHERE root_lot_id = 'A1234' AND is_current")
    assert wafers.values.tolist() == [["A1234", "02"]]


def test_a_record_number_that_comes_twice_is_rejected(wh: Warehouse) -> None:
    rows = [row(source_record_no=n, die_x=n) for n in (7, 8, 7, 3)]
    result = wh.load("fact_test_results", rows, batch_id="b", max_rejects=1)
    assert (result.rows_loaded, result.rows_rejected) == (3, 1)
    rejects = wh.batches.rejects("b")
    assert (rejects.row_number[0], rejects.column_name[0]) == (3, "source_record_no")


def test_a_step_of_no_known_flow_is_unknown(wh: Warehouse) -> None:
    wh.load("fact_test_results", [row(step_number="0450")])
    assert wh.read("SELECT process_step_key FROM dw.fact_test_results").process_step_key[0] == -1


def test_an_empty_batch_does_not_keep_its_id_from_the_rows_to_come(wh: Warehouse) -> None:
    assert not wh.load("fact_test_results", [], batch_id="day1").already_loaded
    assert not wh.load("fact_test_results", [], batch_id="day2").already_loaded
    assert wh.load("fact_test_results", [row()], batch_id="day1").rows_loaded == 1


def test_a_schema_made_by_somebody_else_is_used_without_the_right_to_make_one(
    empty_url: URL, server_info: ServerInfo
) -> None:
    role = f"owner_{empty_url.database}"
    admin = create_engine(empty_url)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text("CREATE SCHEMA dw"))
        connection.execute(text(f"GRANT ALL ON SCHEMA dw TO {role}"))
    try:
        with Warehouse(empty_url.set(username=role)) as wh:
            wh.upgrade()
            assert wh.status().is_current
    finally:
        with admin.begin() as connection:
            connection.execute(text("DROP SCHEMA dw CASCADE"))
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
        admin.dispose()


def test_a_check_of_an_empty_database_changes_nothing(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        with pytest.raises(MigrationError, match="not up to date"):
            migrate.check(wh.settings)
        assert "dw" not in inspect(wh.engine).get_schema_names()


def test_a_database_in_another_encoding_is_refused(server_url: URL, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("the message is the same; making such a database takes half a minute on a cluster")
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS gpw_latin1"))
        connection.execute(
            text(
                "CREATE DATABASE gpw_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc "
                "TEMPLATE template0"
            )
        )
    try:
        with Warehouse(server_url.set(database="gpw_latin1")) as wh, pytest.raises(MigrationError, match="LATIN1"):
            wh.upgrade()
    finally:
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE gpw_latin1 WITH (FORCE)"))
        admin.dispose()


def test_a_role_without_rights_gets_an_error_of_ours(wh: Warehouse) -> None:
    url = wh.settings.sqlalchemy_url()
    role = f"nobody_{url.database}"
    with wh.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    try:
        with Warehouse(url.set(username=role)) as other, pytest.raises(MigrationError, match="permission denied"):
            other.status()
    finally:
        with wh.engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("sql", ["SELECT nope FROM dw.dim_lot WHERE lot_id = :secret", "SELECT CAST(:secret AS int)"])
def test_a_parameters_value_is_in_no_message_and_no_traceback(shared_wh: Warehouse, sql: str) -> None:
    with pytest.raises(ReadError) as caught:
        shared_wh.read(sql, secret="TOPSECRET")
    told = "".join(traceback.format_exception(caught.value))
    frames = "".join(line for line in told.splitlines() if "secret=" not in line)
    assert "TOPSECRET" not in frames


def test_bytes_come_as_bytes_and_times_before_christ_say_what_to_do(shared_wh: Warehouse) -> None:
    assert shared_wh.read(r"SELECT '\x00ff'::bytea AS raw", arrow=True)["raw"][0].as_py() == b"\x00\xff"
    with pytest.raises(ReadError, match="CAST it to text"):
        shared_wh.read("SELECT TIMESTAMP '0044-03-15 12:00:00 BC' AS ides")
