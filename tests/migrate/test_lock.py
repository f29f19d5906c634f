"""One migrator at a time, and what becomes of its lock."""

from __future__ import annotations

import logging
import os
import re
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.engine import advisory_key
from gpwarehouse.errors import GpwarehouseError, MigrationError
from tests.migrate.locks import BLOCKED, WAIT, WITHIN_S, other, wait_for
from tests.migrate.site import HEAD, OURS, write_revision
from tests.processes import PROCESS, url_of

SLEEP = 'op.execute("SELECT pg_sleep(1)")'


def begin_upgrade(wh: Warehouse) -> tuple[threading.Thread, list[Exception]]:
    failed: list[Exception] = []

    def upgrade() -> None:
        try:
            wh.upgrade()
        except GpwarehouseError as error:
            failed.append(error)

    thread = threading.Thread(target=upgrade)
    thread.start()
    return thread, failed


def upgrade_and_log(url: str, folder: str, log: str) -> None:
    logging.basicConfig(level="INFO", filename=log)
    with Warehouse(url, migrations=folder) as wh:
        wh.upgrade()


# Whoever waits lies outside a transaction between two looks, or behind a pooler would keep a connection from the other.
TRYING = """SELECT count(*) FILTER (WHERE state = 'idle in transaction' AND query LIKE 'SELECT pg_try_advisory_xact_lock%') = 1
    AND count(*) FILTER (WHERE state = 'idle' AND query = 'ROLLBACK' AND application_name LIKE 'gpwarehouse%') = 1
    FROM pg_stat_activity WHERE datname = current_database()"""


def test_two_migrators_at_once_both_end_well_one_having_waited(swh: Warehouse, folder: Path, tmp_path: Path) -> None:
    """The first is kept in the middle of its revision until the second waits for it."""
    write_revision(folder, "a1", None, WAIT)
    logs = [tmp_path / f"{n}.log" for n in range(2)]
    with other(swh) as connection, other(swh) as blocker:
        blocker.execute(text("LOCK TABLE dw.dim_lot IN ACCESS SHARE MODE"))
        both = [PROCESS.Process(target=upgrade_and_log, args=(url_of(swh), str(folder), str(log))) for log in logs]
        for process in both:
            process.start()
        wait_for(connection, BLOCKED)
        wait_for(connection, TRYING)
        blocker.rollback()
        for process in both:
            process.join(WITHIN_S)
    told = [log.read_text() for log in logs]
    assert [process.exitcode for process in both] == [0, 0], told
    history = swh.read("SELECT revision, direction FROM dw.etl_migration_history ORDER BY started_at")
    assert history.values.tolist() == [[one, "upgrade"] for one in (*OURS, "a1")]
    assert any("waiting for it" in one for one in told)


@pytest.mark.parametrize("function", ["pg_advisory_lock", "pg_advisory_xact_lock"])
def test_a_migrator_that_waits_too_long_says_who_has_the_lock(swh: Warehouse, function: str) -> None:
    """By a session's lock, too, which older packages take."""
    settings = swh.settings.model_copy(update={"migration_wait_s": 0})
    with other(swh) as connection, Warehouse(settings=settings) as wh:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(text(f"SELECT {function}(:key)"), {"key": advisory_key("migration", "dw")})
        with pytest.raises(MigrationError, match=f"server process {pid}, user (postgres|gpadmin)") as caught:
            wh.upgrade()
        told = str(caught.value)
        assert "'the other one'" in told
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told)
        assert f"pg_terminate_backend({pid})" in told
        assert "hunter2" not in told
    swh.upgrade()


def test_a_lock_of_another_schema_or_another_purpose_is_no_matter(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None)
    settings = swh.settings.model_copy(update={"migration_wait_s": 0})
    with other(swh) as connection, Warehouse(settings=settings) as wh:
        for key in (advisory_key("migration", "elsewhere"), advisory_key("months")):
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        wh.upgrade()
        assert {m.state for m in wh.schema.revisions()} == {"applied"}


def test_a_migrator_whose_lock_was_lost_rolls_back_and_says_so(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, WAIT)
    holder = """SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory'
        AND l.granted AND a.datname = current_database() AND a.state = 'idle in transaction'
        AND a.query LIKE 'SELECT pg_try_advisory_xact_lock%' LIMIT 1"""
    with other(swh) as connection, other(swh) as blocker:
        blocker.execute(text("LOCK TABLE dw.dim_lot IN ACCESS SHARE MODE"))
        thread, failed = begin_upgrade(swh)
        wait_for(connection, BLOCKED)
        pid = connection.execute(text(holder)).scalar_one()
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        connection.rollback()
        blocker.rollback()
        thread.join(WITHIN_S)
    assert "migrators' lock was lost" in str(failed[0])
    assert swh.status().revision == HEAD
    swh.upgrade()
    assert swh.status().revision == "a1"


def test_a_new_run_waits_for_the_transaction_of_one_whose_lock_was_lost(swh: Warehouse) -> None:
    settings = swh.settings.model_copy(update={"migration_wait_s": 0})
    with other(swh) as connection, Warehouse(settings=settings) as wh:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": advisory_key("migration transaction", "dw")}
        )
        with pytest.raises(MigrationError, match="another migration of schema 'dw' still runs"):
            wh.upgrade()
        connection.rollback()
        wh.upgrade()


def test_the_servers_timeout_of_idle_transactions_does_not_take_the_lock(swh: Warehouse, folder: Path) -> None:
    """The lock's transaction is idle for as long as the migrations take."""
    with other(swh) as connection:
        known = "SELECT count(*) FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
        if not connection.execute(text(known)).scalar():
            pytest.skip("this server has no such timeout")
        name = connection.engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '300ms'"))
        connection.commit()
    write_revision(folder, "a1", None, SLEEP)
    swh.upgrade()
    assert swh.status().revision == "a1"


def test_settings_hold_in_every_transaction_whatever_became_of_the_session(swh: Warehouse, folder: Path) -> None:
    """As behind a pooler of transactions, where each transaction may find another session."""
    body = """op.execute("RESET ALL")
    op.get_context().connection.commit()
    got = op.get_bind().execute(sa.text("SELECT current_setting('TimeZone'), current_setting('lock_timeout')")).one()
    assert tuple(got) == ("UTC", "7s"), got"""
    write_revision(folder, "a1", None, body)
    settings = swh.settings.model_copy(update={"lock_timeout_s": 7})
    with Warehouse(settings=settings) as wh:
        wh.upgrade()


def test_the_role_that_a_revision_takes_ends_with_it(swh: Warehouse, folder: Path) -> None:
    role = f"gpw_t{os.getpid()}_taken"
    seen = f"assert op.get_bind().execute(sa.text('SELECT current_user')).scalar_one() {{}} {role!r}"
    write_revision(folder, "a1", None, f"op.execute('SET ROLE {role}'); {seen.format('==')}")
    write_revision(folder, "a2", "a1", seen.format("!="))
    with swh.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} SUPERUSER"))
    try:
        swh.upgrade()
    finally:
        with swh.engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))
    assert swh.status().revision == "a2"
