"""Whoever runs a statement may see, and change, the text and the parameters that go to the driver: by an execution option.

The listener sits on our own engines, from their making. SQLAlchemy 2.0.36 takes no listener for a connection of an engine
with options of its own, and one on the class ``Engine`` would run for every engine of the process.
"""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

__all__ = ["STATEMENT_HOOK", "StatementHook", "hook_statements"]

STATEMENT_HOOK = "gpwarehouse_statement_hook"
"""The execution option that holds a :class:`StatementHook`."""


class StatementHook(Protocol):
    """Called right before a statement is sent."""

    def __call__(self, cursor: Any, statement: str, parameters: Any) -> tuple[str, Any]:
        """The text to send, and its parameters."""


def hook_statements(engine: Engine) -> None:
    """Have the hook of each execution that has one called on this engine."""

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def call(
        _connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, _many: bool
    ) -> tuple[str, Any]:
        hook: StatementHook | None = None if context is None else context.execution_options.get(STATEMENT_HOOK)
        return (statement, parameters) if hook is None else hook(cursor, statement, parameters)
