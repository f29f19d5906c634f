"""What a session is set to: by the settings for all of them, by a block for its own transaction."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.orm import Session

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.engine import SESSION_OPTIONS
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.version import __version__


def shown(session: Session, name: str) -> str:
    return str(session.execute(text(f"SHOW {name}")).scalar_one())


def test_a_session_names_the_program_its_version_and_the_job(server_url: URL) -> None:
    with Warehouse(server_url, job="nightly yield") as wh, wh.session() as session:
        assert shown(session, "application_name") == f"gpwarehouse/{__version__} nightly yield"
    with Warehouse(server_url, job="j" * 63) as wh, wh.session() as session:
        assert len(shown(session, "application_name")) == 63


def test_timeouts_are_the_settings(server_url: URL, server_info: ServerInfo) -> None:
    overrides = {"statement_timeout_s": 11, "lock_timeout_s": 12, "idle_in_transaction_timeout_s": 13}
    with Warehouse(server_url, **overrides) as wh, wh.session() as session:
        assert (shown(session, "statement_timeout"), shown(session, "lock_timeout")) == ("11s", "12s")
        if server_info.postgres_version >= (9, 6):
            assert shown(session, "idle_in_transaction_session_timeout") == "13s"


def test_a_blocks_options_hold_for_its_transaction_alone(server_url: URL) -> None:
    with Warehouse(server_url, pool_size=1, pool_max=1) as wh:
        with wh.session() as session:
            before = shown(session, "work_mem"), shown(session, "enable_nestloop")
        with wh.session(work_mem="7MB", statement_timeout_s=0.5, enable_nestloop=False) as session:
            assert [shown(session, n) for n in ("work_mem", "statement_timeout", "enable_nestloop")] == [
                "7MB",
                "500ms",
                "off",
            ]
        with wh.session() as session:
            assert (shown(session, "work_mem"), shown(session, "enable_nestloop")) == before


def test_greenplums_options_are_set_there_and_left_out_on_postgresql(
    server_url: URL, server_info: ServerInfo, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="gpwarehouse")
    with Warehouse(server_url) as wh, wh.session(statement_mem="64MB", optimizer="off") as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1
        if server_info.brand is Brand.POSTGRESQL:
            assert "has no statement_mem, optimizer: left out" in caplog.text
        else:
            assert (shown(session, "statement_mem"), shown(session, "optimizer")) == ("64MB", "off")


def test_greenplums_settings_hold_for_all_sessions(server_url: URL, server_info: ServerInfo) -> None:
    with Warehouse(server_url, statement_mem="32MB", optimizer="off") as wh, wh.session() as session:
        if server_info.brand is not Brand.POSTGRESQL:
            assert (shown(session, "statement_mem"), shown(session, "optimizer")) == ("32MB", "off")


def test_a_block_runs_as_another_role_and_no_longer(server_url: URL) -> None:
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    role = 'gpw "batch" role'
    quoted = '"gpw ""batch"" role"'
    with admin.connect() as connection:
        connection.execute(text(f"DROP ROLE IF EXISTS {quoted}"))
        connection.execute(text(f"CREATE ROLE {quoted}"))
        try:
            with Warehouse(server_url, pool_size=1, pool_max=1) as wh:
                with wh.session(role=role) as session:
                    assert session.execute(text("SELECT current_user")).scalar_one() == role
                with wh.session() as session:
                    assert session.execute(text("SELECT current_user")).scalar_one() == server_url.username
        finally:
            connection.execute(text(f"DROP ROLE {quoted}"))
    admin.dispose()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"statment_mem": "1GB"}, f"allowed are {', '.join(SESSION_OPTIONS)}"),
        ({"statement_mem": "much"}, "allowed is a size such as"),
        ({"statement_mem": "1GB'; DROP TABLE x; --"}, "allowed is a size such as"),
        ({"optimizer": "maybe"}, 'allowed is "on" or "off"'),
        ({"lock_timeout_s": -1}, "allowed is seconds"),
        ({"lock_timeout_s": True}, "allowed is seconds"),
        ({"gp_autostats_mode": "often"}, "on_no_stats"),
    ],
)
def test_an_option_that_is_wrong_is_told_before_anything_is_connected(options: dict[str, object], words: str) -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nowhere") as wh, pytest.raises(InvalidInputError) as caught:
        with wh.session(**options):
            pass
    assert words in str(caught.value)


def test_behind_a_pooler_of_transactions_each_transaction_is_set_up(server_url: URL) -> None:
    """A pooler hands the session to others between two transactions; here somebody resets it."""
    with Warehouse(server_url, transaction_pooler=True, pool_size=1, pool_max=1, statement_timeout_s=77) as wh:
        raw = wh.engine.raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute("SET TimeZone = 'Asia/Tokyo'")
            cursor.execute("SET default_transaction_isolation = 'repeatable read'")
            cursor.execute("SET statement_timeout = 0")
        driver.autocommit = False
        raw.close()
        with wh.session() as session:
            assert shown(session, "TimeZone") == "UTC"
            assert shown(session, "transaction_isolation") == "read committed"
            assert shown(session, "statement_timeout") == "77s"
