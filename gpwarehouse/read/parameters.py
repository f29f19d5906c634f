"""The parameters of a read: where they stand in a text of SQL, and their values as the driver takes them.

A ``:name`` is a parameter where SQL can have a value: not in a text, a quoted name or a comment, not behind a cast's ``::``,
and not behind a value, where the colon is that of a slice (``a[1:n]``) or of a JSON constructor. ``\\:`` is a colon anywhere.
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
    """A statement as text, with its parameters; what ends the last statement is left out.

    SQLAlchemy's own ``text()`` takes every colon before a word for a parameter's, in texts and comments too.

    :ivar names: of the parameters, each once.
    """

    inherit_cache = False

    def __init__(self, sql: str, values: Mapping[str, Any]) -> None:
        parts = list(_parts(sql))
        self.names = tuple(dict.fromkeys(part for part, is_name in parts if is_name))
        binds: dict[str, BindParameter[Any]] = {name: bindparam(name, values.get(name)) for name in self.names}
        self._parts: list[str | BindParameter[Any]] = [binds[part] if is_name else part for part, is_name in parts]

    def written(self, compiler: SQLCompiler) -> str:
        """The text with the marks of its parameters."""
        written: Any = compiler
        return "".join(
            written.post_process_text(part) if isinstance(part, str) else written.process(part) for part in self._parts
        )


@compiles(SqlText)
def _write(element: SqlText, compiler: SQLCompiler, **_: Any) -> str:
    return element.written(compiler)


def _parts(sql: str) -> Iterator[tuple[str, bool]]:
    """Pieces of the text, each with whether it is the name of a parameter."""
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
    """Values as the driver takes them: those of numpy, pandas, polars and pyarrow as Python's, columns as lists.

    As in loads, NaN, NaT and NA are NULL, and times are cut off behind the microsecond, not rounded.

    :raises ReadError: a value of another type, with the parameter's name.
    """
    if not isinstance(parameters, Mapping):
        return parameters
    return {name: _value_of(name, value) for name, value in parameters.items()}


def _value_of(name: str, value: Any) -> Any:
    try:
        return _value(value)
    except NotPlainError as error:
        raise ReadError(
            f"a parameter cannot be sent: {name!r} is or holds {error}; give json.dumps(…) for JSON, else a number, a text, "
            "a time, or a list of them"
        ) from None


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, tuple):
        return tuple(map(_value, value))
    if isinstance(value, np.ndarray):
        return [_value(each) for each in value] if value.ndim else _value(value[()])
    library = type(value).__module__.partition(".")[0]
    if library == "psycopg2":  # what SQLAlchemy's types have made of it
        return value
    if library in ("pandas", "polars", "pyarrow"):
        for as_list in ("tolist", "to_list", "to_pylist"):
            if hasattr(value, as_list):
                return [_value(each) for each in getattr(value, as_list)()]
        if hasattr(value, "as_py"):
            return _value(value.as_py())
    return plain(value)
