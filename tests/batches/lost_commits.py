"""A COMMIT that nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import event

from gpwarehouse import Warehouse

LOST = "server closed the connection unexpectedly"


@contextmanager
def losing(wh: Warehouse, mark: str, *, after: bool, gone: bool = False, deadline: float = 0) -> Iterator[Warehouse]:
    """A warehouse whose COMMIT is lost where a statement before it has ``mark`` in it; once.

    :param after: the server did it. :param gone: the server cannot be asked any more.
    """
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, retry_deadline_s=deadline) as far:
        far.read("SELECT 1")  # a server never met is not waited for
        state = {"marked": False, "lost": False}

        def see(cursor: object, statement: str, parameters: object, context: object) -> None:
            if state["lost"] and gone:
                raise psycopg2.OperationalError(LOST)
            state["marked"] |= mark in statement

        commit = far.engine.dialect.do_commit

        def lose(connection: Any) -> None:
            if not state["marked"] or state["lost"]:
                commit(connection)
                return
            state["lost"] = True
            if after:
                commit(connection)
            else:
                connection.rollback()
            raise psycopg2.OperationalError(LOST)

        event.listen(far.engine, "do_execute", see)
        far.engine.dialect.do_commit = lose  # type: ignore[method-assign]
        yield far
        assert state["lost"]
