"""The pool: last in first out, knows who holds its connections, and never shares one with a forked process."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg2
from sqlalchemy import event, exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from gpwarehouse.engine.sessions import has_shared_session
from gpwarehouse.errors import InvalidInputError, PoolTimeoutError

__all__ = ["Holder", "PoolState", "WarehousePool", "all_pools", "hand_on_unchanged", "pool_state"]

_LONGEST_LIST = 10
"""Holders told of in a message: with fifty of them the oldest are what matters."""


@dataclass(frozen=True)
class Holder:
    """Who holds a connection.

    :ivar thread: name of the thread; ``where``: file and line that asked for it; ``seconds``: how long it has had it.
    """

    thread: str
    where: str
    seconds: float

    def __str__(self) -> str:
        return f"thread {self.thread!r} at {self.where} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class PoolState:
    """A pool at a moment.

    :ivar size: connections kept open; ``limit``: most open at once; ``idle``, ``in_use``: open now.
    :ivar waiting: threads that ask for a connection just now.
    :ivar opened: connections opened since the start; ``timeouts``: those who waited in vain.
    :ivar holders: who has the connections in use, the longest first.
    """

    size: int
    limit: int
    idle: int
    in_use: int
    waiting: int
    opened: int
    timeouts: int
    holders: tuple[Holder, ...] = ()


class WarehousePool(QueuePool):
    """SQLAlchemy's QueuePool that says who holds what, and starts anew in a forked child."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pid = os.getpid()
        self._held: dict[ConnectionPoolEntry, tuple[str, str, float]] = {}
        self._waiting = self._timeouts = self._opened = 0
        self._count = threading.Lock()
        _pools.add(self)

    def _do_get(self) -> ConnectionPoolEntry:
        if os.getpid() != self._pid:  # by a fork that ran none of Python's hooks
            self.forget_parents()
        with self._count:
            self._waiting += 1
        try:
            record = super()._do_get()
        except PoolTimeoutError:
            raise
        except exc.TimeoutError:
            with self._count:
                self._timeouts += 1
            raise PoolTimeoutError(self._explain_exhausted()) from None
        finally:
            with self._count:
                self._waiting -= 1
        self._held[record] = (threading.current_thread().name, _caller(sys._getframe(1)), time.monotonic())
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._held.pop(record, None)
        if record.info.get(_CHANGED) and not isinstance(record.dbapi_connection, _Foreign):
            record.invalidate()  # and the next who is given it connects anew
        if os.getpid() == self._pid:
            super()._do_return_conn(record)

    def _create_connection(self) -> ConnectionPoolEntry:
        record = super()._create_connection()
        with self._count:
            self._opened += 1
        return record

    def _explain_exhausted(self) -> str:
        holders = self.holders()
        more = f"; and {len(holders) - _LONGEST_LIST} more" if len(holders) > _LONGEST_LIST else ""
        return (
            f"no connection became free within {self._timeout:g} s (GPWAREHOUSE_POOL_TIMEOUT_S); all "
            f"{self.size() + self._max_overflow} (GPWAREHOUSE_POOL_MAX) are held: "
            f"{'; '.join(map(str, holders[:_LONGEST_LIST]))}{more}. End those blocks sooner, or raise the limit"
        )

    def holders(self) -> tuple[Holder, ...]:
        """Who holds connections now, the longest first."""
        now = time.monotonic()
        found = [Holder(thread, where, now - since) for thread, where, since in list(self._held.values())]
        return tuple(sorted(found, key=lambda holder: -holder.seconds))

    def state(self) -> PoolState:
        """The pool now; opens and waits for nothing."""
        holders = self.holders()
        limit = self.size() + self._max_overflow
        counts = (max(0, self.checkedin()), len(holders), self._waiting, self._opened, self._timeouts)
        return PoolState(self.size(), limit, *counts, holders)

    def forget_parents(self) -> None:
        """In a forked child: an empty pool, and nothing of the parent's connections can be used or closed by accident."""
        for record in list(self._held):
            _take_away(record, self._pid)
        self._pid = os.getpid()
        self._held = {}
        self._waiting = 0
        # Locks may have been held by threads that the child does not have. psycopg2 leaves the sockets of dropped
        # connections alone where another process opened them.
        self._count, self._overflow_lock = threading.Lock(), threading.Lock()
        kept = self._pool
        self._pool = type(kept)(kept.maxsize, use_lifo=kept.use_lifo)
        self._overflow = -kept.maxsize


_CHANGED = "gpwarehouse_changed"
_BEGINS = r"(?:\A|;)(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_CHANGES = re.compile(
    rf"{_BEGINS}(?P<set>SET)\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|{_BEGINS}(?P<word>RESET|DISCARD)\s"
    r"|\b(?P<function>set_config)\s*\([^;]*?,\s*(?:false|'f\w*'|'off'|'no?')\s*\)",
    re.IGNORECASE | re.DOTALL,
)
"""Statements that change the session's settings for longer than the transaction."""
_OUTLASTS = re.compile(
    rf"{_CHANGES.pattern}|{_BEGINS}(?P<kept>PREPARE(?!\s+TRANSACTION\b)|LISTEN)\s"
    r"|\b(?P<lock>pg_(?:try_)?advisory_lock(?:_shared)?)\s*\(",
    re.IGNORECASE | re.DOTALL,
)
"""Those, and others that leave something in the session."""


def hand_on_unchanged(engine: Engine) -> None:
    """Have a session closed, not pooled, that SET or left something for longer than its transaction: a role, an advisory lock.

    The options of :meth:`Warehouse.session` are of the transaction, and cost no connection. Behind a pooler nothing can be
    closed but our way to it, and somebody else is given the session: there what outlasts the transaction is refused.
    """

    @event.listens_for(engine, "before_cursor_execute")
    def look(connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        if not has_shared_session(connection):
            if _OUTLASTS.search(statement):
                connection.info[_CHANGED] = True
        elif found := _OUTLASTS.search(statement):
            raise InvalidInputError(
                f"{found[found.lastgroup or 0]} would outlast the transaction, in a session that the pooler then gives to "
                "others. Write SET LOCAL or pg_advisory_xact_lock, or give wh.session(…) the option; "
                "GPWAREHOUSE_TRANSACTION_POOLER=false says that the pooler keeps a session for each client and resets it"
            )


class _Foreign:
    """Stands in a forked child for a connection that its parent had checked out."""

    autocommit = False

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def rollback(self) -> None:
        """Nothing: the transaction is the parent's."""

    def close(self) -> None:
        """Nothing: the socket is the parent's."""

    def __getattr__(self, name: str) -> Any:
        raise psycopg2.InterfaceError(
            f"this connection belongs to process {self._pid}, which was forked; open one in this process instead"
        )


def _take_away(record: Any, pid: int) -> None:
    fairy = record.fairy_ref() if record.fairy_ref is not None else None
    stand_in = _Foreign(pid)
    if fairy is not None:
        fairy.dbapi_connection = stand_in
    record.dbapi_connection = stand_in
    record.fairy_ref = None  # or it would be rolled back when it is collected


_pools: weakref.WeakSet[WarehousePool] = weakref.WeakSet()


def _forget_in_child() -> None:
    for pool in all_pools():
        with contextlib.suppress(AttributeError):  # one that another thread was just making
            pool.forget_parents()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

_OURS = str(Path(__file__).parents[1])
_PASSED_OVER = (_OURS, contextlib.__file__)


def _caller(frame: FrameType | None) -> str:
    """File and line that asked for a connection: the nearest frame outside this package and SQLAlchemy, else of ours."""
    ours = ""
    while frame is not None:
        name = frame.f_code.co_filename
        module = str(frame.f_globals.get("__name__"))  # SQLAlchemy generates code, which has no file
        if not name.startswith(_PASSED_OVER) and not module.startswith("sqlalchemy."):
            # A thread of ours: what asked is the last of our frames, not what started the thread.
            return ours if ours and name == threading.__file__ else f"{name}:{frame.f_lineno}"
        if name.startswith(_OURS) and name != __file__:
            ours = f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ours or "an unknown place"


def all_pools() -> list[WarehousePool]:
    """The pools of this process."""
    return list(_pools)


def pool_state(pool: Any) -> PoolState | None:
    """The state of an engine's pool; None if it is not ours."""
    return pool.state() if isinstance(pool, WarehousePool) else None
