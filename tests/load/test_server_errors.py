"""What goes wrong on the server, or on the way to it: nothing is loaded, it is recorded, and no value or secret shows."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import (
    GpwarehouseError,
    InvalidInputError,
    LoadError,
    TooManyRejectsError,
    WarehouseConnectionError,
)
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.load import FrameSource, Loader
from gpwarehouse.settings import WarehouseSettings
from tests.faults.wire import proxy
from tests.load.rows import MEASUREMENTS, measurement, scalar, stored

SECRET = "s3cr3t-Passw0rd"


def everything(error: BaseException) -> str:
    """All that a log would show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_check_over_columns_names_table_constraint_and_row_and_no_value(wh: Warehouse, chunk: int) -> None:
    rows = [measurement(operator_id=f"line\n{n}\n", spc_rule="private", source_record_no=100 + n) for n in range(7)]
    rows[4] |= {"cp": 1.0, "cpk": 1.5}
    with pytest.raises(TooManyRejectsError) as caught:
        wh.load(MEASUREMENTS, rows, batch_id="bad", max_rejects=0)
    message = str(caught.value)
    assert message.startswith(
        "fact_process_measurements: 1 of 7 rows were rejected, but only 0 are allowed; nothing was loaded. First: row 5: "
        "refused by the server: "
    )
    assert "ck_fact_process_measurements_cpk_cp" in message
    assert "private" not in everything(caught.value)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0
    (row,) = wh.read("SELECT * FROM dw.etl_load_batch").to_dict("records")
    assert (row["batch_id"], row["status"], row["rows_read"], row["rows_loaded"]) == ("bad", "FAILED", 7, 0)
    assert row["error"] == message


def test_members_a_failed_load_made_are_inferred_and_no_more_is_said_of_others(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement(wafer_id="01")])
    with pytest.raises(LoadError):
        wh.load(MEASUREMENTS, [measurement(wafer_id=w, product_id="P", cp=1.0, cpk=1.5) for w in ("01", "02")])
    wafers = wh.read(
        "SELECT wafer_id, is_inferred, product_key = -1 AS unknown FROM dw.dim_wafer "
        "WHERE wafer_key NOT IN (-1, -2) ORDER BY 1"
    )
    assert wafers.values.tolist() == [["01", True, True], ["02", True, False]]


def test_a_row_that_the_server_swallows_fails_the_load(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("append-optimized tables have no triggers: nothing on Greenplum swallows a row")
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION dw.swallow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.slot = 3 THEN RETURN NULL; END IF; RETURN new; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER swallow BEFORE INSERT ON dw.fact_process_measurements FOR EACH ROW EXECUTE FUNCTION dw.swallow()"
        )
    rows = [measurement(slot=n) for n in range(5)]
    with pytest.raises(LoadError, match=r"5 rows were sent, but the server stored 4\. Nothing was loaded"):
        wh.load(MEASUREMENTS, rows)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0
    assert scalar(wh, "SELECT status FROM dw.etl_load_batch") == "FAILED"
    with wh.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER swallow ON dw.fact_process_measurements")
    assert wh.load(MEASUREMENTS, rows).rows_loaded == 5


def test_a_role_that_may_not_write_is_told_so(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS gpw_reader")
        connection.exec_driver_sql("CREATE ROLE gpw_reader")
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA dw TO gpw_reader")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA dw TO gpw_reader")
    wh.load(MEASUREMENTS, [measurement()])  # month and members are there
    loader = Loader(wh.engine, wh.settings)
    from sqlalchemy import event

    @event.listens_for(wh.engine, "begin")
    def become_reader(connection: Any) -> None:
        connection.exec_driver_sql("SET LOCAL ROLE gpw_reader")

    try:
        with pytest.raises(
            LoadError, match=r"permission denied .*the role needs INSERT on the fact.*; nothing was"
        ) as caught:
            loader.load(FrameSource([measurement(slot=2)], MEASUREMENTS))
        assert "could not be recorded" in caught.value.__notes__[0]
    finally:
        event.remove(wh.engine, "begin", become_reader)
        with wh.engine.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY gpw_reader")
            connection.exec_driver_sql("DROP ROLE gpw_reader")


def test_a_lock_held_by_another_job_is_named_as_such(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, lock_timeout_s=1) as hasty, wh.engine.connect() as other:
        other.execute(text("LOCK TABLE dw.fact_process_measurements IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(
            LoadError, match=r"another job held a lock for longer than GPWAREHOUSE_LOCK_TIMEOUT_S; load again"
        ):
            hasty.load(MEASUREMENTS, [measurement(slot=2)])
        other.rollback()
        assert hasty.load(MEASUREMENTS, [measurement(slot=2)]).rows_loaded == 1


class Cutter:
    """Cuts once, at the first message that ``wanted`` finds."""

    def __init__(self, wanted: Callable[[bytes], bool]) -> None:
        self.wanted = wanted
        self.armed = False

    def __call__(self, data: bytes) -> bool:
        if self.armed and self.wanted(data):
            self.armed = False
            return True
        return False


def test_a_commit_whose_answer_is_lost_is_a_load_all_the_same(wh: Warehouse) -> None:
    """The row in etl_load_batch tells which way it went."""
    wh.load(MEASUREMENTS, [measurement()])
    inserted: list[bool] = []

    def is_last_commit(data: bytes) -> bool:
        if b"etl_load_batch" in data and b"INSERT" in data:
            inserted.append(True)
        return bool(inserted) and b"COMMIT\0" in data

    cutter = Cutter(is_last_commit)
    with (
        proxy(wh.settings.sqlalchemy_url(), cutter, after=True) as wire,
        Warehouse(wire.url, retry_deadline_s=0) as far,
    ):
        far.status()
        cutter.armed = True
        result = far.load(MEASUREMENTS, [measurement(slot=2)], batch_id="lost")
        assert wire.cuts == 1
    assert (result.rows_loaded, result.already_loaded) == (1, False)
    assert stored(wh, MEASUREMENTS, "lost", "slot") == [(2,)]
    assert scalar(wh, "SELECT status FROM dw.etl_load_batch WHERE batch_id = 'lost'") == "LOADED"


@pytest.mark.parametrize("where", [b"COPY dw.fact_process_measurements", b"COMMIT\0"])
def test_a_connection_lost_before_the_commit_loads_nothing(wh: Warehouse, where: bytes) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    copied: list[bool] = []

    def is_it(data: bytes) -> bool:
        if b"COPY dw.fact_process_measurements" in data:
            copied.append(True)
        return bool(copied) and where in data

    cutter = Cutter(is_it)
    with (
        proxy(wh.settings.sqlalchemy_url(), cutter, after=False) as wire,
        Warehouse(wire.url, retry_deadline_s=0) as far,
    ):
        far.status()
        cutter.armed = True
        with pytest.raises(LoadError, match="the connection was lost; load again"):
            far.load(MEASUREMENTS, [measurement(slot=2)], batch_id="lost")
        assert wire.cuts == 1
        assert scalar(wh, "SELECT status FROM dw.etl_load_batch WHERE batch_id = 'lost'") == "FAILED"
        assert far.load(MEASUREMENTS, [measurement(slot=2)], batch_id="lost").rows_loaded == 1
    assert stored(wh, MEASUREMENTS, "lost", "slot") == [(2,)]


def test_a_server_that_is_gone_for_good_is_told_with_the_first_error(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    gone: list[bool] = []

    def is_it(data: bytes) -> bool:
        if b"COPY dw.fact_process_measurements" in data:
            gone.append(True)
        return bool(gone)

    with (
        proxy(wh.settings.sqlalchemy_url(), is_it, after=False) as wire,
        Warehouse(wire.url, retry_deadline_s=0) as far,
    ):
        with pytest.raises(LoadError, match="the connection was lost") as caught:
            far.load(MEASUREMENTS, [measurement(slot=2)])
    assert "could not be recorded in etl_load_batch either" in caught.value.__notes__[0]
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 1


@pytest.mark.parametrize("port", ["closed", "server"])
def test_no_password_shows_where_the_server_cannot_be_reached(
    wh: Warehouse, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given = wh.settings.sqlalchemy_url()
    if port == "closed":
        url = given.set(username="etl", password=SECRET, host="127.0.0.1", port=1, query={})
    else:
        url = given.set(username="nobody_of_that_name", password=SECRET)
    settings = WarehouseSettings(url=url.render_as_string(hide_password=False), connect_timeout_s=5)
    with Warehouse(settings=settings) as far:
        shown = [repr(far), repr(settings)]
        with pytest.raises(GpwarehouseError) as caught:
            far.load(MEASUREMENTS, [measurement()])
        shown.append(everything(caught.value))
        with pytest.raises(WarehouseConnectionError, match="could not connect to") as direct:
            Loader(far.engine, settings).load(FrameSource([measurement()], MEASUREMENTS))
        shown.append(everything(direct.value))
    assert all(SECRET not in text for text in (*shown, caplog.text))


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", 7], ids=["empty", "blank", "NUL", "number"])
def test_a_name_that_the_server_cannot_store_is_refused_before_it_is_asked(shared_wh: Warehouse, name: Any) -> None:
    calls = (
        lambda: shared_wh.load(MEASUREMENTS, [measurement()], batch_id=name),
        lambda: shared_wh.load(MEASUREMENTS, [measurement()], source_system=name),
        lambda: shared_wh.facts.replace_month(MEASUREMENTS, "2024-03", [measurement()], batch_id=name),
        lambda: shared_wh.batches.reload(name, []),
        lambda: shared_wh.batches.rejects(name, as_given=True),
        lambda: shared_wh.batches.delete(name),
    )
    for call in calls:
        with pytest.raises(InvalidInputError, match=r"^(batch_id|source_system)="):
            call()


def test_a_name_with_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="holds U\\+0000 or a lone surrogate"):
        check_name("batch_id", chr(0xD800))
