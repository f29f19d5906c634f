"""``op.run_sql_file``, ``op.run_batched``, ``op.replace_view``: what a warehouse's revisions need beyond Alembic's own."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any, Literal

from alembic.operations import MigrateOperation, Operations
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect import CreateView, DropView
from gpwarehouse.dialect.migration import operations as dialect_operations
from gpwarehouse.dialect.migration.base_operation import GreenplumOp, register_operation
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.batched_changes import Batch, Change, batches_of, refuse_moves, run_batches
from gpwarehouse.migrate.sql_files import Verbatim, server_name, statements_of

__all__ = ["ReplaceView", "ReplaceViewOp", "RunBatchedOp", "RunSqlFileOp", "register_operations"]

log = logging.getLogger(__name__)
_NAME = re.compile(r"[\w.-]{1,60}")


class RunSqlFileOp(MigrateOperation):
    """Run the SQL file of a revision."""

    def __init__(self, script: str, direction: str) -> None:
        self.script = script
        self.direction = direction

    @classmethod
    def run_sql_file(cls, operations: Any, script: str, direction: Literal["up", "down"]) -> None:
        """Run ``up.sql`` or ``down.sql`` in the folder of the revision's name; see :mod:`gpwarehouse.migrate.sql_files`.

        :param script: ``__file__``.
        """
        operations.invoke(cls(script, direction))


@Operations.implementation_for(RunSqlFileOp, replace=True)
def _run_sql_file(operations: Any, operation: RunSqlFileOp) -> None:
    context = operations.get_context()
    dialect = context.dialect
    schema = dialect.identifier_preparer.quote_schema(context.opts["gpwarehouse_schema"])
    found = statements_of(operation.script, operation.direction, server_name(dialect.server_info), schema)
    for statement in found:
        operations.execute(Verbatim(statement))


class RunBatchedOp(MigrateOperation):
    """Change data in batches."""

    def __init__(
        self, change: str | Change, *, table: str, by: str, slices: int, schema: str | None, name: str | None
    ) -> None:
        self.change = change
        self.name = name
        self.table = table
        self.by = by
        self.slices = slices
        self.schema = schema

    @classmethod
    def run_batched(
        cls,
        operations: Any,
        change: str | Change,
        *,
        table: str,
        by: str = "partition",
        slices: int = 16,
        schema: str | None = None,
        name: str | None = None,
    ) -> None:
        """Run a statement, or a function, for one part of a table after the other, each part in a transaction of its own.

        A run that was killed goes on where it stopped. Nothing else may stand before it in its revision; see
        :mod:`gpwarehouse.migrate.batched_changes`. Offline a statement runs over all rows; a function is left out, with a
        warning.

        Loads must be stopped before: rows that come into a part that is done miss the change. A warehouse object that
        looks at the schema only now refuses to load until all parts are done; one that has loaded before does not look.

        :param change: one statement; ``{batch}`` stands for the condition that picks the part, ``{schema}`` for the schema.
            It must not set the column that ``by`` cuts by (of months the one they are partitioned by), nor move rows by
            deleting and inserting them: in another batch they would be changed again. An UPDATE that does is refused. Or a
            function, which gets the batch's connection and condition and returns the rows it changed; it needs a ``name``.
        :param table: the table that the parts are of; ``schema``: its schema, by default the warehouse's.
        :param by: ``"partition"``, or a BIGINT column with values all over its range (a durable key), cut into ``slices``.
        :param name: by which a later run knows the batches of this operation; by default the statement's checksum.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise MigrationError(f"op.run_batched(name={name!r}): letters, digits, _, . and -, up to 60 of them")
        if not isinstance(change, str) and name is None:
            raise MigrationError("op.run_batched: a function needs name=, by which a later run knows its batches")
        if (isinstance(change, str) and "{batch}" not in change) or slices < 1:
            raise MigrationError("op.run_batched: the statement needs {batch} in its WHERE, and slices= at least 1")
        operations.invoke(cls(change, table=table, by=by, slices=slices, schema=schema, name=name))


@Operations.implementation_for(RunBatchedOp, replace=True)
def _run_batched(operations: Any, operation: RunBatchedOp) -> None:
    context = operations.get_context()
    schema = operation.schema or context.opts["gpwarehouse_schema"]
    change = operation.change
    if isinstance(change, str):
        change = change.replace("{schema}", context.dialect.identifier_preparer.quote_schema(schema))
    if context.as_sql:
        if isinstance(change, str):
            operations.execute(Verbatim(change.replace("{batch}", "TRUE")))
        else:
            log.warning(
                "%s of table %s is done by a program, not by statements: the SQL leaves it out",
                operation.name,
                operation.table,
            )
        return
    run = context.opts.get("gpwarehouse_run")
    if run is None:
        raise MigrationError("op.run_batched works in a revision alone")
    with run.engine.connect() as connection:
        batches: list[Batch] = batches_of(connection, operation.table, schema, operation.by, operation.slices)
    if isinstance(change, str):
        refuse_moves(change, operation.table, batches)
    name = operation.name or hashlib.sha256(str(operation.change).encode()).hexdigest()[:12]
    run_batches(run, change, batches, table=(operation.table, schema), name=name, given=operation.name is not None)


class ReplaceView(CreateView):
    """``CREATE OR REPLACE VIEW``: grants, comments and the views that read it stay."""


@compiles(ReplaceView, "postgresql")
def _replace_view(element: ReplaceView, compiler: Any, **kw: Any) -> str:
    made = compiler.process(CreateView(element.name, element.body, element.schema), **kw)
    return str(made).replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)


class ReplaceViewOp(GreenplumOp):
    """Give a view another query."""

    operation = "replace_view"

    @classmethod
    def replace_view(
        cls,
        operations: Any,
        name: str,
        body: str,
        *,
        was: str | None = None,
        recreate: bool = False,
        schema: str | None = None,
    ) -> None:
        """Give a view another query; in ``body`` ``{schema}`` stands for its schema.

        :param was: the query before, so that the operation can be reversed.
        :param recreate: drop it and make it anew. Needed where a column goes, changes its type or its place, as REPLACE can
            only add columns at the end; then comments and grants go too, and a view that reads it stops it.
        """
        cls.invoked(operations, name, body, schema=schema, was=was, recreate=recreate or None)

    def elements(self) -> list[ExecutableDDLElement]:
        """The statements."""
        if self.options.get("recreate"):
            return [DropView(self.name, self.schema), CreateView(self.name, self.args[0], self.schema)]
        return [ReplaceView(self.name, self.args[0], self.schema)]

    def reverse(self) -> GreenplumOp:
        """The query before; made anew, because columns may have been added."""
        was = self._existing("was")
        return ReplaceViewOp(self.name, was, schema=self.schema, was=self.args[0], recreate=True)


@Operations.implementation_for(ReplaceViewOp, replace=True)
def _run_replace_view(operations: Any, operation: ReplaceViewOp) -> None:
    for element in operation.elements():
        operations.execute(element)


def register_operations() -> None:
    """Make ``op.…`` of our revisions ours, those of the dialect too, whoever registered such names meanwhile."""
    dialect_operations.setup()
    register_operation("run_sql_file", RunSqlFileOp)
    register_operation("run_batched", RunBatchedOp)
    register_operation("replace_view", ReplaceViewOp)
