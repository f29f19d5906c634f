"""Behind a real pgbouncer whose few sessions all clients share, and which cleans up behind nobody.

Everything works, and every session is left as the server made it: the next client finds the server's own defaults.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL, create_engine, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.engine import has_shared_session, lock_advisory
from gpwarehouse.errors import GpwarehouseError, InvalidInputError
from gpwarehouse.read.query import Stream
from tests.conftest import database
from tests.load.rows import measurement
from tests.migrate.site import write_revision
from tests.pgbouncer import Pooler, pgbouncer

SESSIONS = 4
FACT = "fact_process_measurements"
# What every client says for itself when it logs in.
OF_THE_CLIENT = ("application_name", "client_encoding")
# What Greenplum counts, by statement and by session.
COUNTED = ("gp_command_count", "gp_session_id")
STATE = "SELECT name, setting FROM pg_catalog.pg_settings WHERE NOT name = ANY(%s)"
LEFT = """SELECT (SELECT count(*) FROM pg_catalog.pg_prepared_statements), (SELECT count(*) FROM pg_catalog.pg_cursors),
    (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = pg_catalog.pg_my_temp_schema()),
    (SELECT count(*) FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid()),
    current_user = session_user"""


@pytest.fixture(scope="module")
def pooler(server_url: URL) -> Iterator[Pooler]:
    with pgbouncer(server_url, sessions=SESSIONS) as running:
        yield running


@pytest.fixture
def pooled(pooler: Pooler, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse at head behind the pooler, of the test's own; what it leaves behind is looked at."""
    with database(pooler.server, upgraded_template) as url, Warehouse(pooler.url(url.database)) as warehouse:
        yield warehouse
        warehouse.close()
        find_as_made(pooler, url)


def state_of(**where: Any) -> tuple[Any, ...]:
    """A client's settings and what is left in its session, in a transaction of its own that stays open."""
    connection = psycopg2.connect(**where)
    with connection.cursor() as cursor:
        cursor.execute(STATE, ([*OF_THE_CLIENT, *COUNTED, "transaction_isolation", "transaction_read_only"],))
        settings = dict(cursor.fetchall())
        cursor.execute(LEFT)
        left = cursor.fetchone()
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        (pid,) = cursor.fetchone()  # type: ignore[misc]
    return connection, pid, settings, left


def find_as_made(pooler: Pooler, url: URL) -> None:
    """Every session that the pooler has for the database is as a new one that nobody has used."""
    direct = url.translate_connect_args(username="user", database="dbname") | dict(url.query)
    made, _, expected, _ = state_of(**direct)
    made.close()
    through = {"host": "127.0.0.1", "port": pooler.port, "user": "stranger", "dbname": url.database}
    with ExitStack() as stack:
        pids = set()
        for _ in range(pooler.sessions):  # all at once, so each has another session
            connection, pid, settings, left = state_of(**through)
            stack.enter_context(closing(connection))
            pids.add(pid)
            differing = {k: (v, settings.get(k)) for k, v in expected.items() if settings.get(k) != v}
            assert differing == {}
            assert left == (0, 0, 0, 0, True)
        assert len(pids) == pooler.sessions


def shown(connection: Any, *names: str) -> list[str]:
    return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]


@pytest.mark.parametrize("setting", [None, True])
def test_every_transaction_is_set_up_whichever_session_it_finds(pooled: Warehouse, setting: bool | None) -> None:
    names = (
        "TimeZone",
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "extra_float_digits",
        "transaction_isolation",
    )
    url = pooled.settings.sqlalchemy_url()
    with Warehouse(url, transaction_pooler=setting, statement_timeout_s=77, lock_timeout_s=7) as wh:
        with ExitStack() as stack:
            for _ in range(SESSIONS):
                connection = stack.enter_context(wh.engine.connect())
                assert has_shared_session(connection)
                assert shown(connection, *names) == ["UTC", '"dw", "public"', "77s", "7s", "3", "read committed"]


def test_where_no_pooler_stands_between_a_session_is_set_up_once(server_url: URL) -> None:
    with Warehouse(server_url) as wh, wh.engine.connect() as connection:
        assert not has_shared_session(connection)
        connection.rollback()
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute("SHOW search_path")
            assert cursor.fetchone() == ('"dw", "public"',)


def test_a_blocks_options_are_gone_with_its_transaction(pooled: Warehouse, server_info: ServerInfo) -> None:
    options = {"work_mem": "7MB", "statement_mem": "32MB", "optimizer": "off", "enable_nestloop": False}
    role = f"pooled_{pooled.settings.sqlalchemy_url().database}"
    with pooled.session() as session:
        session.execute(text(f"CREATE ROLE {role}"))
    try:
        with pooled.session(role=role, lock_timeout_s=3, **options) as session:
            assert shown(session, "work_mem", "enable_nestloop", "lock_timeout") == ["7MB", "off", "3s"]
            assert session.execute(text("SELECT current_user")).scalar_one() == role
            if server_info.brand is not Brand.POSTGRESQL:
                assert shown(session, "statement_mem", "optimizer") == ["32MB", "off"]
    finally:
        with pooled.session() as session:
            session.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE nobody",
        "SELECT 1; SET search_path = public",
        "RESET ALL",
        "SELECT set_config('work_mem', '1GB', false)",
        "PREPARE p AS SELECT 1",
        "LISTEN c",
        "SELECT pg_advisory_lock(1)",
    ],
)
def test_what_would_outlast_the_transaction_is_refused(pooled: Warehouse, statement: str) -> None:
    with pytest.raises(InvalidInputError, match="outlast the transaction"), pooled.session() as session:
        session.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    ["SET LOCAL work_mem = '1MB'", "SET TRANSACTION READ ONLY", "SELECT set_config('work_mem', '1MB', true)"],
)
def test_what_ends_with_the_transaction_is_not(pooled: Warehouse, statement: str) -> None:
    with pooled.session() as session:
        session.execute(text(statement))
        assert session.scalar(text("SELECT 1")) == 1


def test_the_health_is_told(pooled: Warehouse) -> None:
    found = pooled.health()
    assert (found.status, found.reasons) == ("healthy", ())
    assert found.connections


def test_an_advisory_lock_keeps_others_out_until_the_transaction_ends(pooled: Warehouse) -> None:
    got = threading.Event()

    def wait() -> None:
        with pooled.engine.begin() as connection:
            lock_advisory(connection, "of a test")
            got.set()

    with pooled.engine.begin() as connection:
        lock_advisory(connection, "of a test")
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.wait(0.3)
    assert got.wait(30)
    waiter.join()


def measurements(count: int) -> list[dict[str, Any]]:
    return [measurement(site_no=n, film_thickness_nm=float(n)) for n in range(count)]


def test_loads_corrections_and_deletions_go_through_it(pooled: Warehouse) -> None:
    rows = measurements(500)
    assert pooled.load(FACT, rows, batch_id="a").rows_loaded == 500
    assert pooled.load(FACT, rows, batch_id="a").already_loaded
    assert pooled.load(FACT, measurements(3000), batch_id="b", parallel=2).rows_loaded == 3000
    refused = pooled.load(FACT, [*rows[:9], measurement(site_no=-1)], batch_id="c", max_rejects=1)
    assert (refused.rows_loaded, refused.rows_rejected) == (9, 1)
    deleted = pooled.batches.delete("b")
    assert deleted.warnings == ()
    pooled.merge("dim_lot", [{"lot_id": "L1", "lot_type": "PROD", "effective_date": "2024-01-01T00:00:00Z"}])
    assert pooled.read(f"SELECT count(*) AS n FROM dw.{FACT}").n[0] == 509


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gpwarehouse.engine.extra_connections"), "PATIENCE_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_load_does_not_wait_for_more_sessions_than_there_are(pooled: Warehouse) -> None:
    assert pooled.load(FACT, measurements(3000), parallel=2 * SESSIONS).rows_loaded == 3000


def test_jobs_at_once_load_one_content_once(pooler: Pooler, upgraded_template: str) -> None:
    """Each needs two sessions at times; who waits in vain is told so and tries again."""
    with database(pooler.server, upgraded_template) as url, pgbouncer(url, sessions=2, query_wait_timeout=2) as narrow:
        with Warehouse(narrow.url()) as wh:
            results: list[Any] = []
            jobs = [
                threading.Thread(target=lambda n=n: results.append(wh.load(FACT, measurements(300), batch_id=f"b{n}")))
                for n in range(3)
            ]
            for job in jobs:
                job.start()
            for job in jobs:
                job.join(120)
            assert sorted(result.already_loaded for result in results) == [False, True, True]
            assert wh.read(f"SELECT count(*) AS n FROM dw.{FACT}").n[0] == 300
        find_as_made(narrow, url)


@pytest.mark.usefixtures("impatient")
def test_reads_go_through_it(pooled: Warehouse, server_info: ServerInfo) -> None:
    months = [measurement(event_ts=f"2024-{month:02}-05T12:00:00Z") for month in (3, 4, 5, 6)]
    pooled.load(FACT, months)
    query = f"SELECT * FROM dw.{FACT}"
    assert len(pooled.read(query)) == len(pooled.read(query, transport="csv")) == 4
    assert len(pooled.read(f"SELECT event_ts, site_no FROM dw.{FACT}", parallel=2 * SESSIONS)) == 4  # by fewer
    if server_info.brand is Brand.POSTGRESQL:
        with pooled.session() as session:
            wide = "SELECT g AS n, repeat('x', 500) AS x FROM generate_series(1, 40000) g"
            session.execute(text(f"CREATE TABLE public.wide AS {wide}"))
        with Stream(pooled.engine, "SELECT n, x FROM public.wide", parallel=2) as stream:
            assert stream.path == "binary"  # by one: a snapshot cannot be handed on behind a pooler
            assert sum(table.num_rows for table in stream.tables()) == 40_000
    assert pooled.read("SHOW work_mem", session={"work_mem": "3MB"}).iloc[0, 0] == "3MB"
    chunks = pooled.read("SELECT g FROM generate_series(1, 300000) AS g", chunks=10_000)
    assert len(next(chunks)) == 10_000
    chunks.close()  # cancels what runs
    assert pooled.read("SELECT count(*) AS n FROM dw.dim_lot WHERE lot_id = 'L1'").n[0] == 1


def test_partitions_are_looked_after_through_it(pooled: Warehouse) -> None:
    pooled.load(FACT, measurements(5))
    assert pooled.partitions.apply() is not None
    assert pooled.data.check() is not None


def test_migrations_go_up_and_down_through_it(pooler: Pooler, tmp_path: Path) -> None:
    body = "assert op.get_bind().exec_driver_sql('SHOW lock_timeout').scalar_one() == '7s'; "
    body += "op.execute('SET LOCAL ROLE NONE'); op.create_table('of_the_fab', sa.Column('n', sa.Integer), schema='dw')"
    write_revision(tmp_path, "a1", None, body, "op.drop_table('of_the_fab', schema='dw')")
    with database(pooler.server) as url:
        with Warehouse(pooler.url(url.database), migrations=tmp_path, lock_timeout_s=7) as wh:
            wh.upgrade()
            assert wh.status().is_current
            wh.downgrade("base", drop_data=True)
            assert not wh.status().is_current
        find_as_made(pooler, url)


def test_a_revision_cannot_leave_its_settings_to_others(pooler: Pooler, upgraded_template: str, tmp_path: Path) -> None:
    write_revision(tmp_path, "a1", None, "op.execute('SET statement_timeout = 1')")
    with database(pooler.server, upgraded_template) as url:
        with Warehouse(pooler.url(url.database), migrations=tmp_path) as wh:
            with pytest.raises(GpwarehouseError, match="outlast the transaction"):
                wh.upgrade()
        find_as_made(pooler, url)


@pytest.mark.parametrize("setting", [None, True])
def test_a_pooler_of_sessions_that_resets_nothing_hands_on_clean_ones(
    server_url: URL, upgraded_template: str, setting: bool | None
) -> None:
    with database(server_url, upgraded_template) as url, pgbouncer(url, "session", sessions=2) as sticky:
        with Warehouse(sticky.url(), transaction_pooler=setting, pool_size=1, pool_max=2) as wh:
            assert wh.load(FACT, measurements(20)).rows_loaded == 20
            assert len(wh.read(f"SELECT * FROM dw.{FACT}")) == 20
            assert wh.status().is_current
        find_as_made(sticky, url)


@contextmanager
def foreign(pooler: Pooler, name: str) -> Iterator[Any]:
    engine = create_engine(pooler.url(name).set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_strangers_who_take_turns_with_us_find_the_servers_defaults(pooler: Pooler, upgraded_template: str) -> None:
    """One session for both, so that every transaction of theirs follows one of ours."""
    with database(pooler.server, upgraded_template) as url, pgbouncer(url, sessions=1) as one:
        names = ("TimeZone", "search_path", "statement_timeout", "extra_float_digits", "transaction_isolation")
        with Warehouse(one.url()) as wh, foreign(one, str(url.database)) as stranger:
            defaults = shown(stranger, *names)
            stranger.rollback()
            steps: list[Callable[[], Any]] = [
                lambda: wh.read("SELECT 1"),
                lambda: wh.read(f"SELECT * FROM dw.{FACT}", parallel=4),
                wh.status,
                wh.health,
                lambda: wh.read("SELECT 2"),
            ]
            for step in steps:
                step()
                assert shown(stranger, *names) == defaults
                stranger.rollback()


def test_a_session_that_the_server_ends_behind_the_pooler_is_got_over(pooled: Warehouse, pooler: Pooler) -> None:
    ended: list[int] = []

    def work(session: Any) -> int:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        if not ended:
            ended.append(pid)
            with closing(psycopg2.connect(**direct_of(pooled, pooler))) as admin, admin.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return int(session.execute(text("SELECT 41 + 1")).scalar_one())

    assert pooled.run(work) == 42
    assert ended


def direct_of(wh: Warehouse, pooler: Pooler) -> dict[str, Any]:
    url = pooler.server.set(database=wh.settings.sqlalchemy_url().database)
    return url.translate_connect_args(username="user", database="dbname") | dict(url.query)
