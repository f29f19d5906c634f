"""Kill a process of a migration right after one of its statements."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import GreenplumDialect

HOW_MANY = int(os.environ.get("GPWAREHOUSE_TEST_EVERY_KILL", "14"))
ENDS_WITHIN_S = 300


@contextmanager
def counted(see: Callable[[str], None]) -> Iterator[None]:
    """Tell each statement and COMMIT of this process after it was executed."""

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        see(statement)

    original = GreenplumDialect.do_commit

    def committed(self: Any, connection: Any) -> None:
        original(self, connection)
        see("COMMIT")

    event.listen(Engine, "after_cursor_execute", executed)
    GreenplumDialect.do_commit = committed  # type: ignore[method-assign]
    try:
        yield
    finally:
        event.remove(Engine, "after_cursor_execute", executed)
        GreenplumDialect.do_commit = original  # type: ignore[method-assign]


def die_after(k: int, work: Callable[[], None]) -> None:
    """Work, and be killed right after statement ``k``."""
    seen = 0

    def see(_statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == k:
            os.kill(os.getpid(), signal.SIGKILL)

    with counted(see):
        work()
    raise AssertionError(f"the run ended after {seen} statements, before {k}")


def chosen(found: list[str]) -> list[int]:
    """The statements to be killed after, by their numbers from 1."""
    every = range(1, len(found) + 1)
    if HOW_MANY == 1:
        return list(every)
    must = {1, len(found), *(k for k in every if found[k - 1] == "COMMIT")}
    others = [k for k in every if k not in must]
    return sorted(must | set(random.Random(4).sample(others, max(0, min(len(others), HOW_MANY - len(must))))))


def text_of(url: URL) -> str:
    return url.render_as_string(hide_password=False)
