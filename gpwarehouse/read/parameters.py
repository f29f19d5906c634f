"""The parameters of a read: find them in a text of SQL, and convert their values to those of the driver.

A ``:name`` is a parameter where SQL can have a value. It is not a parameter in a text, a quoted name or a comment, after a cast's
``::``, or after a value, where the colon belongs to a slice (``a[1:n]``) or a JSON constructor. ``\\:`` is always a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import BindParameter, Executable, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from gpwarehouse.engine.sql_lexer import SqlToken, sql_tokens
from gpwarehouse.errors import ReadError
from gpwarehouse.transport import NotPlainError, plain

__all__ = ["SqlText", "values_of"]

_NAME = re.compile(r"[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*")
_VALUES = ("string", "number", "name")


class SqlText(Executable, ClauseElement):
    """A statement as text, with its parameters. The semicolon at its end is removed.

    SQLAlchemy's own ``text()`` takes every colon before a word for a parameter, also in texts and comments.

    :ivar names: names of the parameters, each once.
    """

    inherit_cache = False

    def __init__(self, sql: str, values: Mapping[str, Any]) -> None:
        parts = list(_split(sql))
        self.names = tuple(dict.fromkeys(part for part, is_name in parts if is_name))
        binds: dict[str, BindParameter[Any]] = {name: bindparam(name, values.get(name)) for name in self.names}
        self._parts: list[str | BindParameter[Any]] = [binds[part] if is_name else part for part, is_name in parts]

    def written(self, compiler: SQLCompiler) -> str:
        """Write the text with the placeholders of its parameters."""
        written: Any = compiler
        return "".join(
            written.post_process_text(part) if isinstance(part, str) else written.process(part) for part in self._parts
        )


@compiles(SqlText)
def _write(element: SqlText, compiler: SQLCompiler, **_: Any) -> str:
    return element.written(compiler)


def _split(sql: str) -> Iterator[tuple[str, bool]]:
    """Yield pieces of the text, each with whether it is the name of a parameter."""
    tokens = list(sql_tokens(sql))
    while tokens and (tokens[-1].is_blank or tokens[-1].text == ";"):
        tokens.pop()
    last = SqlToken("other", "", 0)
    is_value_before = is_name = False
    for token, following in pairwise([*tokens, SqlToken("other", "", len(sql))]):
        kind, text = token.kind, token.text
        name = _NAME.match(text) if is_name else None
        may_begin = text == ":" and last.text not in (":", "\\") and last.kind != "word" and not is_value_before
        is_name = may_begin and following.kind == "word" and _NAME.match(following.text) is not None
        if name is not None:
            yield name[0], True
            yield text[name.end() :], False
        elif kind not in ("word", "other"):
            yield text.replace("\\:", ":"), False
        elif not is_name and (text != "\\" or following.text != ":"):
            yield text, False
        if not token.is_blank:
            is_value_before = kind in _VALUES or text in (")", "]")
        last = token


def values_of(parameters: Any) -> Any:
    """Convert values to those that the driver takes: numpy, pandas, polars and pyarrow values to Python's, columns to lists.

    As in loads, NaN, NaT and NA are NULL, and times are cut off after the microsecond, not rounded.

    :raises ReadError: a value has another type; the message names the parameter.
    """
    if not isinstance(parameters, Mapping):
        return parameters
    return {name: _convert(name, value) for name, value in parameters.items()}


def _convert(name: str, value: Any) -> Any:
    try:
        return _convert_value(value)
    except NotPlainError as error:
        raise ReadError(
            f"parameter {name!r} cannot be sent: it is or holds {error}; give json.dumps(…) for JSON, otherwise a number, a "
            "text, a time, or a list of them"
        ) from None


def _convert_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_convert_value(each) for each in value]
    if isinstance(value, tuple):
        return tuple(map(_convert_value, value))
    if isinstance(value, np.ndarray):
        return [_convert_value(each) for each in value] if value.ndim else _convert_value(value[()])
    library = type(value).__module__.partition(".")[0]
    if library == "psycopg2":  # values that SQLAlchemy's types have made
        return value
    if library in ("pandas", "polars", "pyarrow"):
        for as_list in ("tolist", "to_list", "to_pylist"):
            if hasattr(value, as_list):
                return [_convert_value(each) for each in getattr(value, as_list)()]
        if hasattr(value, "as_py"):
            return _convert_value(value.as_py())
    return plain(value)
