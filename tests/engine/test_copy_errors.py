"""A COPY that the server ends says why, and prints nothing beside."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from gpwarehouse.engine.copy_errors import last_message_kept
from gpwarehouse.engine.interrupts import InterruptibleConnection


class Rows:
    """Rows to COPY; after some, an administrator ends the session that takes them."""

    def __init__(self, dsn: str, pid: int) -> None:
        self.dsn, self.pid, self.reads = dsn, pid, 0

    def read(self, _size: int) -> str:
        self.reads += 1
        if self.reads == 50:
            other = psycopg2.connect(self.dsn)
            other.autocommit = True
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", (self.pid,))
                there = 1
                while there:
                    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (self.pid,))
                    (there,) = cursor.fetchone() or (0,)
            other.close()
        return "x\n" * 4096 if self.reads < 20_000 else ""


def copy_into(connection: Any, dsn: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (x text)")
        cursor.copy_expert("COPY t FROM STDIN", Rows(dsn, connection.info.backend_pid))


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_copy_that_the_server_ended_says_why(
    empty_url: URL, capfd: pytest.CaptureFixture[str], in_thread: bool
) -> None:
    before, caught = sys.excepthook, []
    dsn = empty_url.set(drivername="postgresql").render_as_string(hide_password=False)

    def work() -> None:
        with closing(psycopg2.connect(dsn, connection_factory=InterruptibleConnection)) as connection:
            try:
                copy_into(connection, dsn)
            except psycopg2.Error as error:
                caught.append(error)

    if in_thread:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    assert [error.pgcode for error in caught] == ["57P01"]
    assert "administrator" in str(caught[0])
    assert "SystemError" not in capfd.readouterr().err
    assert sys.excepthook is before


def test_what_others_print_goes_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *given: seen.append(given[1]))
    with last_message_kept(), last_message_kept():
        error = ValueError("somebody else's")
        sys.excepthook(ValueError, error, None)
    assert seen == [error]
