"""The base of all operations: they render as they are called, and know how to undo themselves."""

from __future__ import annotations

from functools import wraps
from typing import Any, ClassVar

from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation
from sqlalchemy import MetaData, Table
from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.errors import OptionError

__all__ = ["GreenplumOp", "register_operation"]

_OURS = "gpwarehouse_operation"


def register_operation(name: str, cls: type[MigrateOperation]) -> None:
    """Make ``op.<name>`` ours on connections of our dialect; on others it stays what it was.

    The names are the process's, and others have operations of such names, too: Alembic's cookbook has ``create_view`` and
    ``replace_view``. Called again, this takes the name back from anybody who registered it since.
    """
    before: Any = getattr(Operations, name, None)
    if hasattr(before, _OURS):
        return
    Operations.register_operation(name)(cls)
    ours: Any = getattr(Operations, name)
    setattr(ours, _OURS, True)
    if before is None:
        return

    @wraps(ours)
    def by_dialect(self: Operations, *args: Any, **kw: Any) -> Any:
        mine = isinstance(self.migration_context.dialect, GreenplumDialect)
        return (ours if mine else before)(self, *args, **kw)

    setattr(Operations, name, by_dialect)


class GreenplumOp(MigrateOperation):
    """An operation that is its name and its arguments, so that it renders as it was called."""

    operation: ClassVar[str]
    needs_segments: ClassVar[bool] = False

    def __init__(self, name: str, *args: Any, schema: str | None = None, **options: Any) -> None:
        self.name = name
        self.args = args
        self.schema = schema
        self.options = {key: value for key, value in options.items() if value is not None and value != {}}

    def table(self, **options: Any) -> Table:
        """The table, with the Greenplum options given."""
        given = {f"greenplum_{key}": value for key, value in options.items() if value is not None}
        return Table(self.name, MetaData(), schema=self.schema, **given)

    def element(self) -> ExecutableDDLElement | None:
        """Return the statement to execute; None for nothing."""
        raise NotImplementedError

    def elements(self) -> list[ExecutableDDLElement]:
        """All to execute."""
        element = self.element()
        return [] if element is None else [element]

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As ``alembic check`` prints it."""
        return (self.operation, self.schema, self.name, *self.args, self.options)

    def reverse(self) -> GreenplumOp:
        """The operation that undoes this one.

        :raises OptionError: the arguments do not say what was there before.
        """
        raise OptionError(f"op.{self.operation}({self.name!r}) has no reverse; write the downgrade by hand")

    def _existing(self, key: str = "existing") -> Any:
        if key not in self.options:
            raise OptionError(
                f"op.{self.operation}({self.name!r}): give {key}=, the value before the change, to reverse it"
            )
        return self.options[key]

    @classmethod
    def invoked(cls, operations: Any, name: str, *args: Any, schema: str | None = None, **options: Any) -> Any:
        """Make the operation and run it."""
        return operations.invoke(cls(name, *args, schema=schema, **options))
