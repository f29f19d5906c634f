"""A run of migrations: which step and statement it is at, so that a failure can be told, and what a step must not lose."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import (
    HOUSEKEEPING,
    Cause,
    cause_of,
    explain_operational_error,
    reason_to_repeat,
    unexpected,
    words_of,
)
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import GpwarehouseError, MigrationError, WarehouseConnectionError
from gpwarehouse.migrate import history
from gpwarehouse.migrate.lock import MigratorLock
from gpwarehouse.migrate.losses import refuse_hidden, refuse_losses
from gpwarehouse.migrate.sql_text import drops, transaction_control
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Run", "explained"]


class Run:
    """One run on one connection; ``op.run_batched`` finds it in the options of Alembic's context."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        settings: WarehouseSettings,
        lock: MigratorLock,
        *,
        drop_data: bool = False,
        progress: Announce | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.lock = lock
        self.tell: Announce = progress or (lambda _line: None)
        self.revision: str | None = None
        self.direction = "upgrade"
        self.statements = 0
        """Statements of the step so far."""
        self.batches = 0
        self.batch_rows = 0
        self.batch_operations: set[str] = set()
        """Names of the step's changes in batches so far; ``batch_names``: as given or computed, repeats included."""
        self.batch_names: list[str] = []
        self._began = 0.0
        self.drop_data = drop_data
        self._ours = False  # a statement of our own, which is neither counted nor looked at
        self._text = ""
        self.ending = False
        """Whether the step is done, so that the next COMMIT is its own."""
        self._committed = False
        event.listen(connection, "before_cursor_execute", self._before)
        event.listen(connection, "commit", self._commit)

    def steps(self, steps: Iterable[Any]) -> Iterator[Any]:
        """Alembic's steps, each noted before it is run."""
        for step in steps:
            self.revision = step.info.up_revision_id
            self.direction = "upgrade" if step.is_upgrade else "downgrade"
            self.statements = self.batches = self.batch_rows = 0
            self.batch_operations, self.batch_names = set(), []
            self._text, self.ending, self._committed = "", False, False
            self._began = time.monotonic()
            self.tell(f"{self.direction} {self.revision}: {step.doc or 'without a description'}")
            yield step
            self.tell(f"{self.direction} {self.revision}: done in {time.monotonic() - self._began:.1f} s")
            self.revision = None

    def _before(
        self, connection: Connection, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if self.revision is None or self._ours or HOUSEKEEPING.items() <= context.execution_options.items():
            return
        self.statements += 1
        self._text = statement
        if (word := transaction_control(statement)) is not None:
            raise MigrationError(
                f"statement {self.statements} of the {self.direction} of revision {self.revision}: {word} is not for a "
                f"revision, which is one transaction; leave it out. {self._what_remains} Statement: {_shorten(statement)}"
            )
        if self.direction == "downgrade" and not self.drop_data:
            self._ours = True
            try:
                refuse_hidden(statement, f"downgrade of revision {self.revision}")
                refuse_losses(connection, self.settings, drops(statement), f"downgrade of revision {self.revision}")
            finally:
                self._ours = False

    def _commit(self, _connection: Connection) -> None:
        self._committed = self._committed or (self.revision is not None and not self.ending)

    @property
    def _what_remains(self) -> str:
        if self._committed:
            return (
                "The script has committed by itself (autocommit_block, get_bind().commit()): what it did until then stays, and "
                "the revision does not count as done. Take that back by hand before it runs again."
            )
        return "Nothing of this revision remains; those before it stay."

    def finish_batches(self, impl: Any) -> str | None:
        """In the migration's own transaction, once its data is changed: what its batches left to resume by goes."""
        if not self.batch_operations:
            return None
        impl._exec(history.forget_batches(self.settings.schema_name, str(self.revision)))
        return f"{self.batches} batches, {self.batch_rows} rows"

    def failure(self, error: Exception) -> Exception:
        """Return an error that says what went wrong, and where."""
        told = self._explain(error)
        if isinstance(told, GpwarehouseError) and told is not error:
            told.safe_to_repeat = reason_to_repeat(error)
        return told

    def _explain(self, error: Exception) -> Exception:
        if self.revision is None or isinstance(error, MigrationError):
            return error
        step = f"{self.direction} of revision {self.revision}"
        if isinstance(error, exc.DBAPIError):
            text = error.statement or self._text
            at = f"statement {self.statements} of the {step}"
            if error.connection_invalidated:
                return WarehouseConnectionError(
                    f"the connection to {self.settings.redacted()} was lost at {at}: {_reason(error)}. What was not "
                    f"committed is rolled back by the server; run the command again. Statement: {_shorten(text)}"
                )
            return MigrationError(f"{at} failed: {_reason(error)} — statement: {_shorten(text)}. {self._what_remains}")
        return MigrationError(
            f"the {step} failed after statement {self.statements}: {type(error).__name__}: {error}. {self._what_remains}"
        )


def explained(error: exc.DBAPIError, settings: WarehouseSettings) -> GpwarehouseError:
    """Explain an error outside every step in a sentence."""
    cause = cause_of(error)
    if cause in (Cause.UNREACHABLE, Cause.LOST):
        return explain_operational_error(error, settings)
    said = "the server refused a statement of the migration" if cause is Cause.REFUSED else "the migration failed"
    refused = MigrationError(f"{said}: {_reason(error)} — statement: {_shorten(error.statement or '')}")
    refused.safe_to_repeat = reason_to_repeat(error)
    return refused


def _reason(error: exc.DBAPIError) -> str:
    return unexpected(error) if cause_of(error) is Cause.UNKNOWN else words_of(error)


def _shorten(statement: str, longest: int = 300) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= longest else f"{text[:longest]}…"
