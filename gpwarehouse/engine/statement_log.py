"""Statements as they run: counted and timed, and logged where they are slow, without a value in the log.

The log is the standard one (logger ``gpwarehouse.slow_query``); the facts go along as attributes of the record
(``extra=``), which a JSON formatter writes as fields. Nothing listens where there is nothing to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from gpwarehouse.engine import metrics
from gpwarehouse.engine.sql_lexer import first_word, sql_tokens
from gpwarehouse.settings import WarehouseSettings

__all__ = ["kind_of", "observe", "tell_if_slow", "without_literals"]

_logger = logging.getLogger("gpwarehouse.slow_query")
_KINDS = {
    **{word: word.lower() for word in ("SELECT", "INSERT", "UPDATE", "DELETE", "COPY", "MERGE", "LOCK")},
    **dict.fromkeys(("WITH", "TABLE", "VALUES"), "select"),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE"), "ddl"),
}
_SHOWN = {"string": "?", "number": "?", "space": " ", "comment": " "}
_LONGEST = 2_000
_STARTED = "gpwarehouse_started"


def kind_of(statement: str) -> str:
    """``select``, ``insert``, ``update``, ``delete``, ``copy``, ``merge``, ``lock``, ``ddl`` or ``other``."""
    return _KINDS.get(first_word(statement), "other")


def without_literals(statement: str) -> str:
    """The statement with ``?`` for every text and number written into it, without its comments, cut where it is very long."""
    shown: list[str] = []
    length = 0
    for token in sql_tokens(statement):
        piece = _SHOWN.get(token.kind, token.text)
        if piece != " " or shown[-1:] != [" "]:  # or spaces alone would fill what is shown
            shown.append(piece)
            length += len(piece)
        if length > _LONGEST:
            break
    said = " ".join("".join(shown).split())
    return said if len(said) <= _LONGEST else said[:_LONGEST] + " …"


def _describe(parameters: Any) -> Any:
    """The parameters' types, for their values do not belong in a log."""
    if isinstance(parameters, Mapping):
        return {str(name): type(value).__name__ for name, value in parameters.items()}
    if isinstance(parameters, list) and parameters and isinstance(parameters[0], Mapping | tuple):
        return {"rows": len(parameters), "each": _describe(parameters[0])}
    return [type(value).__name__ for value in parameters or ()]


def tell_if_slow(
    settings: WarehouseSettings, statement: str, seconds: float, rows: int, parameters: Any = None
) -> None:
    """Log a statement that took longer than ``slow_query_s``."""
    if not 0 < settings.slow_query_s <= seconds:
        return
    facts = {
        "seconds": round(seconds, 3),
        "rows": rows,
        "kind": kind_of(statement),
        "statement": without_literals(statement),
        "parameters": _describe(parameters),
    }
    words = "slow query: %.1f s, %s rows: %s; parameters %s"
    shown = "?" if rows < 0 else rows
    _logger.warning(words, seconds, shown, facts["statement"], facts["parameters"], extra=facts)


def observe(engine: Engine, settings: WarehouseSettings) -> None:
    """Count and time what runs on an engine's connections; COPY goes past it, see the warehouse's load and read."""
    if not metrics.available() and not settings.slow_query_s:
        return

    @event.listens_for(engine, "before_cursor_execute")
    def begin(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        setattr(context, _STARTED, time.monotonic())

    @event.listens_for(engine, "after_cursor_execute")
    def end(_connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, _many: bool) -> None:
        seconds = time.monotonic() - getattr(context, _STARTED, time.monotonic())
        metrics.queried(kind_of(statement), seconds, cursor.rowcount)
        tell_if_slow(settings, statement, seconds, cursor.rowcount, parameters)

    @event.listens_for(engine, "handle_error")
    def fail(failure: Any) -> None:
        started = getattr(failure.execution_context, _STARTED, None)
        if started is not None and failure.statement:
            metrics.queried(kind_of(failure.statement), time.monotonic() - started, 0, "failed")
