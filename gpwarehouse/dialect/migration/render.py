"""Operations → the text of a revision, with the imports it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from alembic.autogenerate import render
from alembic.operations import ops
from alembic.util import to_list

import gpwarehouse.dialect
from gpwarehouse.dialect.migration.operations import OPERATIONS, CreateExternalTableOp, GreenplumOp, RepartitionTableOp
from gpwarehouse.dialect.migration.rewrite_remarks import warning
from gpwarehouse.dialect.partitions import OtherPartitions

__all__ = ["setup"]

_OURS = re.compile(rf"(?<![\w.'\"])({'|'.join(sorted(gpwarehouse.dialect.__all__, key=len, reverse=True))})\(")


_UNMADE = "# OtherPartitions(…) can be read, but not made: put SQL of your own that makes the table in place of this."


def _add_imports(context: Any, text: str) -> None:
    """Return the imports that the values in ``text`` need."""
    names = sorted(set(_OURS.findall(text)))
    if not names:
        return
    context.imports.add(f"from gpwarehouse.dialect import {', '.join(names)}")
    if "datetime." in text:
        context.imports.add("import datetime")
    if "zoneinfo." in text:
        context.imports.add("import zoneinfo")
    if "Decimal(" in text:
        context.imports.add("from decimal import Decimal")


def _merge_imports(context: Any) -> None:
    """One import of ours, in place of one an operation."""
    start = "from gpwarehouse.dialect import "
    mine = {line for line in context.imports if line.startswith(start)}
    names = sorted({name for line in mine for name in line.removeprefix(start).split(", ")})
    if names:
        context.imports.difference_update(mine)
        context.imports.add(start + ", ".join(names))


def _render(context: Any, operation: GreenplumOp) -> list[str]:
    if isinstance(operation, RepartitionTableOp) and isinstance(operation.args[0], OtherPartitions):
        return [*warning(operation), *_by_hand(operation)]
    prefix = render._alembic_autogenerate_prefix(context)
    if isinstance(operation, CreateExternalTableOp):
        columns = [render._render_column(column, context) for column in operation.args]
        arguments = [repr(operation.name), *columns]
    else:
        arguments = [repr(operation.name), *map(repr, operation.args)]
    arguments += [f"{key}={value!r}" for key, value in operation.options.items()]
    if operation.schema is not None:
        arguments.append(f"schema={str(operation.schema)!r}")
    text = f"{prefix}{operation.operation}({', '.join(arguments)})"
    _add_imports(context, text)
    _merge_imports(context)
    return [*warning(operation), text]


def _by_hand(operation: GreenplumOp) -> list[str]:
    """In place of a statement that nobody can make: what to write, and an error until it is written."""
    told = (
        f"{operation.name!r} was, or is to be, {operation.args[0]!r}: make that by SQL of your own, then take this out"
    )
    return [
        "# This kind of partitioning can be read, but not made; it would be a copy, in SQL of your own.",
        f"raise NotImplementedError({told!r})",
    ]


def _with_imports(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def rendered(context: Any, operation: Any) -> Any:
        text = original(context, operation)
        if not _says_options(operation):
            return text
        _add_imports(context, str(text))
        _merge_imports(context)
        if "=OtherPartitions(" in str(text):
            return [_UNMADE, *to_list(text)]
        return text

    rendered.__wrapped__ = original  # type: ignore[attr-defined]
    return rendered


def _says_options(operation: ops.CreateTableOp | ops.AddColumnOp) -> bool:
    """Whether the table or column has options of ours, whatever its text holds."""
    columns = operation.columns if isinstance(operation, ops.CreateTableOp) else [operation.column]
    said = [*operation.kw, *(name for column in columns for name in getattr(column, "dialect_kwargs", ()))]
    return any(name.startswith("greenplum_") for name in said)


def setup() -> None:
    """Register the renderers; Alembic's own of tables and columns add our imports where our options are in the text."""
    for cls in OPERATIONS:
        render.renderers.dispatch_for(cls, replace=True)(_render)
    for theirs in (ops.CreateTableOp, ops.AddColumnOp):
        original = render.renderers.dispatch(theirs)
        if not hasattr(original, "__wrapped__"):
            render.renderers.dispatch_for(theirs, replace=True)(_with_imports(original))
