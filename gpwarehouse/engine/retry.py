"""Repeating a unit of work after errors that are safe to repeat.

A unit is everything from BEGIN to COMMIT; no statement is ever repeated inside a transaction. What is safe is told by
SQLSTATE: the server undid the transaction, or was not there. A connection lost while COMMIT was under way is not: the
server may have done it. Such a unit is repeated only if its ``settled`` check says that it did not go through.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2
import tenacity
from sqlalchemy import event, exc
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from gpwarehouse.engine import metrics
from gpwarehouse.engine.locks import lock_advisory
from gpwarehouse.engine.sessions import session_values, set_for_transaction
from gpwarehouse.errors import AmbiguousCommitError, GpwarehouseError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["LOST_STATES", "RetryPolicy", "Settled", "reason_to_repeat", "unit_of_work", "was_at_login"]

_logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Settled = Callable[[Session], bool]
"""Looks, in a session of its own, whether a unit's work is there."""

_LOST = "the connection was lost"
_STATES = {
    "08000": _LOST,
    "08001": "no connection could be made",
    "08003": _LOST,
    "08006": _LOST,
    "08007": _LOST,
    "40001": "another transaction was in the way (serialization failure)",
    "40P01": "another transaction was in the way (deadlock)",
    "53300": "the server has no connection left",
    "57P01": "the server is being shut down, or ended the session",
    "57P02": "the server crashed",
    "57P03": "the server is starting, stopping or recovering",
    "58M01": "a segment was lost, or the interconnect",  # ERRCODE_GP_INTERCONNECTION_ERROR in Greenplum's errcodes.h
}
"""SQLSTATEs after which the server has undone the transaction, or never began it.

Not the whole of class 40: Greenplum's 40M00 is a reject limit. Not 53400 or 53500: more memory will not be there either.
"""
LOST_STATES = frozenset(state for state in _STATES if state[:2] in ("08", "57"))
"""SQLSTATEs of a connection that is gone, or was refused."""
_UNDONE = frozenset({"40001", "40P01", "53300", "57P03"})
"""SQLSTATEs that prove, even for a COMMIT, that it did not go through."""
_SEGMENT_LOST = re.compile(
    r"gang was lost|failed to acquire resources on one or more segments|Error on receive from seg|FTS detected|"
    r"segment is in (reset/)?recovery mode|writer gang .*gone|no longer connected to the segment",
    re.IGNORECASE,
)
"""Dispatch failures that Greenplum reports under general SQLSTATEs (XX000, 57M02 …), by their words."""
_NOT_THERE = re.compile(
    r"connection refused|connection reset|timeout expired|timed out|starting up|shutting down|recovery|not yet accepting|"
    r"server closed the connection|could not receive data|could not send data|no such file or directory|unreachable|"
    r"no route to host|too many (clients|connections)|connection slots|session is read-only|hot standby|"
    r"connection to server was lost|eof detected|name resolution|broken pipe|already closed|closed unexpectedly|"
    r"no message from the libpq|lost synchronization|"
    r"query_wait_timeout|no more connections allowed|server login (has been failing|failed)|pgbouncer cannot connect",
    re.IGNORECASE,
)
"""What libpq says, without an SQLSTATE, of a server or pooler that may come back. Not of a password or a database."""


def reason_to_repeat(error: BaseException) -> str | None:
    """Why the unit of work that failed with this error may be done again; None if it must not."""
    if isinstance(error, GpwarehouseError):
        return error.safe_to_repeat
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    if not isinstance(driver, psycopg2.Error):
        return None
    state = driver.pgcode or ""
    if state in _STATES:
        return _STATES[state]
    words = str(driver)
    if state:
        return "a segment was lost" if _SEGMENT_LOST.search(words) else None
    known = isinstance(driver, psycopg2.OperationalError | psycopg2.InterfaceError)
    if not known and type(driver) is not psycopg2.DatabaseError:  # so it calls a COPY that ended in the middle
        return None
    invalidated = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return _LOST if invalidated or _NOT_THERE.search(words) else None


def was_at_login(error: BaseException | None) -> bool:
    """Whether no server let us in, which libpq says so."""
    while error is not None:
        driver = error.orig if isinstance(error, exc.DBAPIError) else error
        if isinstance(driver, psycopg2.Error):
            return str(driver).startswith(("connection to server", "could not translate host name"))
        error = error.__cause__
    return False


def _may_have_committed(error: BaseException) -> bool:
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    return reason_to_repeat(error) is not None and (getattr(driver, "pgcode", None) or "") not in _UNDONE


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often.

    :ivar deadline_s: no attempt begins later than this after the first; 0 never repeats.
    :ivar first_wait_s: up to this before the second attempt, then up to twice as long each time, at random, so that jobs
        do not come back all at once; ``longest_wait_s`` at most.
    :ivar unmet: an engine to which no patience is shown as long as no server has let it in.
    """

    deadline_s: float = 120.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    unmet: Engine | None = None

    @classmethod
    def of(cls, settings: WarehouseSettings, deadline_s: float | None = None) -> RetryPolicy:
        """The policy of the settings, with another deadline if one is given."""
        return cls(settings.retry_deadline_s if deadline_s is None else deadline_s)

    @classmethod
    def once_met(cls, settings: WarehouseSettings, engine: Engine) -> RetryPolicy:
        """The same, but no patience with a server that never answered: more likely it is named wrongly than failing over."""
        return cls(settings.retry_deadline_s, unmet=engine)

    def _repeats(self, error: BaseException) -> bool:
        if reason_to_repeat(error) is None:
            return False
        met = self.unmet is None or getattr(self.unmet.dialect, "server_info", None) is not None
        return met or not was_at_login(error)

    def attempts(self, what: str) -> Iterator[tenacity.AttemptManager]:
        """Attempts, each a context manager: ``for attempt in policy.attempts("…"): with attempt: …``.

        The last error is raised as it is. Each repetition is logged once, with its reason.
        """

        def tell(state: tenacity.RetryCallState) -> None:
            assert state.outcome is not None
            assert state.next_action is not None
            error = state.outcome.exception()
            assert error is not None
            reason = reason_to_repeat(error) or ""
            wait = state.next_action.sleep
            words = "%s: %s; attempt %d follows in %.2f s"
            facts = {"unit": what, "reason": reason, "attempt": state.attempt_number, "wait_s": round(wait, 3)}
            _logger.warning(words, what, reason, state.attempt_number + 1, wait, extra=facts)
            metrics.retried(reason)

        yield from tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._repeats),
            wait=tenacity.wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            stop=tenacity.stop_before_delay(self.deadline_s),
            before_sleep=tell,
            reraise=True,
        )

    def call(self, what: str, work: Callable[..., Result], *args: Any) -> Result:
        """Call ``work``, again where that is safe, and return what it returns."""
        for attempt in self.attempts(what):
            with attempt:
                return work(*args)
        raise AssertionError("an attempt returns or raises")

    def units(
        self,
        engine: Engine,
        what: str = "unit of work",
        *,
        settled: Settled | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Iterator[AbstractContextManager[Session]]:
        """Attempts at one unit of work, each a context manager that gives a session and commits at its end.

        :param settled: says whether the work is there after a COMMIT whose outcome is not known.
        :param options: of the session, see :data:`~gpwarehouse.engine.SESSION_OPTIONS`.
        :raises AmbiguousCommitError: from the attempt, where ``settled`` is not given or could not look.
        """
        values = session_values(options or {})
        for attempt in self.attempts(what):
            mark = secrets.token_hex(8) if settled is not None else None
            opened = ExitStack()
            with attempt:  # a server that is not there is met here, where no block has begun
                session = opened.enter_context(unit_of_work(engine, values, mark))
            if attempt.retry_state.outcome is not None and attempt.retry_state.outcome.failed:
                continue

            def went_through(error: AmbiguousCommitError, mark: str | None = mark) -> bool | None:
                return None if settled is None or mark is None else self._look(engine, what, settled, mark, error)

            try:
                yield _unit(attempt, opened, session, went_through)
            finally:
                opened.close()

    def _look(self, engine: Engine, what: str, settled: Settled, mark: str, error: AmbiguousCommitError) -> bool:
        def look() -> bool:
            with unit_of_work(engine, {}, mark) as session:  # the mark's lock waits for the lost transaction to end
                return bool(settled(session))

        try:
            return self.call(f"{what}, whether its COMMIT went through", look)
        except (exc.SQLAlchemyError, GpwarehouseError, psycopg2.Error):
            raise error from error.__cause__


@contextmanager
def _unit(
    attempt: tenacity.AttemptManager,
    opened: ExitStack,
    session: Session,
    went_through: Callable[[AmbiguousCommitError], bool | None],
) -> Iterator[Session]:
    with attempt:
        try:
            with opened:
                yield session
        except AmbiguousCommitError as error:
            through = went_through(error)
            if through is False:
                error.safe_to_repeat = "the COMMIT did not go through"
            if not through:
                raise


@contextmanager
def unit_of_work(engine: Engine, values: Mapping[str, str] | None = None, mark: str | None = None) -> Iterator[Session]:
    """A session in one transaction, committed at the end of the block and rolled back if it raises.

    :param values: as from :func:`~gpwarehouse.engine.session_values`.
    :param mark: a lock held to the transaction's end.
    :raises AmbiguousCommitError: the connection was lost while COMMIT was under way.
    """
    committing: list[bool] = []
    try:
        with engine.connect() as connection:
            event.listen(connection, "commit", lambda _: committing.append(True))
            with Session(connection) as session, session.begin():
                if mark is not None:
                    lock_advisory(session.connection(), "unit", mark)
                if values:
                    set_for_transaction(session.connection(), values)
                yield session
    except exc.DBAPIError as error:
        if not committing or not _may_have_committed(error):
            raise
        words = str(error.orig).strip().partition("\n")[0]
        raise AmbiguousCommitError(
            f"the connection was lost while COMMIT was under way ({words}): the work is there as a whole, or not at all. "
            "Look which, before you do it again; or give settled=, a check that looks"
        ) from error
