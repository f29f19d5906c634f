"""Views: made, commented on, dropped."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

__all__ = ["CommentOnView", "CreateView", "DropView"]


class _ViewDDL(ExecutableDDLElement):
    inherit_cache = False

    def __init__(self, name: str, schema: str | None = None) -> None:
        self.name = name
        self.schema = schema

    def qualified(self, preparer: Any) -> str:
        name = preparer.quote(self.name)
        return f"{preparer.quote_schema(self.schema)}.{name}" if self.schema else str(name)


class CreateView(_ViewDDL):
    """``CREATE VIEW``. In ``body``, ``{schema}`` stands for the quoted schema of the view and its tables."""

    def __init__(self, name: str, body: str, schema: str | None = None) -> None:
        super().__init__(name, schema)
        self.body = body


class CommentOnView(_ViewDDL):
    """``COMMENT ON VIEW``, or on one of its columns."""

    def __init__(self, name: str, comment: str, schema: str | None = None, *, column: str | None = None) -> None:
        super().__init__(name, schema)
        self.comment = comment
        self.column = column


class DropView(_ViewDDL):
    """``DROP VIEW``; fails where another view still reads it."""


@compiles(CreateView, "postgresql")
def _create_view(element: CreateView, compiler: Any, **_: Any) -> str:
    preparer = compiler.preparer
    schema = preparer.quote_schema(element.schema) if element.schema else "public"
    body = element.body.replace("{schema}", schema).strip()
    if preparer._double_percents:  # psycopg2 formats every statement; offline output does not
        body = body.replace("%", "%%")
    return f"CREATE VIEW {element.qualified(preparer)} AS\n{body}"


@compiles(DropView, "postgresql")
def _drop_view(element: DropView, compiler: Any, **_: Any) -> str:
    return f"DROP VIEW {element.qualified(compiler.preparer)}"


@compiles(CommentOnView, "postgresql")
def _comment_on_view(element: CommentOnView, compiler: Any, **_: Any) -> str:
    target = element.qualified(compiler.preparer)
    what = f"VIEW {target}" if element.column is None else f"COLUMN {target}.{compiler.preparer.quote(element.column)}"
    comment = compiler.sql_compiler.render_literal_value(element.comment, String())
    return f"COMMENT ON {what} IS {comment}"
