"""Turn a statement and its parameters into the text to send, and find the columns of its result, without running it.

COPY accepts no bind parameters, nor do prepared statements or views inside it. So the text is what ``cursor.mogrify`` returns:
psycopg2 never binds on the server. It quotes each value for its connection (encoding, ``standard_conforming_strings``) and sends
one text, and ``mogrify`` is documented to return exactly the text that ``execute`` sends. SQLAlchemy compiles the statement as
for any execution, so schema translation, expanding IN and bind processors work.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import psycopg2
import psycopg2.extensions
from sqlalchemy import Executable, exc
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

from gpwarehouse.engine import STATEMENT_HOOK, state_of, words_of
from gpwarehouse.engine.server_errors import as_read_error
from gpwarehouse.engine.sql_lexer import first_word, first_words
from gpwarehouse.errors import ReadError
from gpwarehouse.read.columns import Column, columns_of
from gpwarehouse.read.parameters import SqlText, values_of
from gpwarehouse.read.server_cursor import ServerCursor

__all__ = ["Sent", "send"]

# Statements that COPY (…) accepts; an opening bracket begins a SELECT, too.
_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
# Syntax errors, "not supported" and "invalid cursor definition": the statement is valid alone, but not in brackets, or as a
# cursor (several statements, a writing CTE, SELECT INTO).
_NOT_AS_QUERY = ("42601", "0A000", "42P11")
_ENDS_TRANSACTION = frozenset({"COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"})


@dataclass(frozen=True)
class Sent:
    """A statement that the server has seen.

    :ivar sql: the text with its values, as the driver sends it.
    :ivar result: the rows, as texts, if the statement has been run; None if COPY is to run it.
    """

    sql: bytes
    columns: tuple[Column, ...]
    result: CursorResult[Any] | None


def send(
    connection: Connection,
    statement: str | Executable,
    params: Mapping[str, Any],
    *,
    exact: bool,
    run: bool = False,
    server_cursor: ServerCursor | None = None,
) -> Sent | None:
    """Describe a query, or run a statement of another kind.

    :param run: run it in any case.
    :param server_cursor: what runs a query.
    :return: None if it must be run, because COPY or the cursor would not accept it. The transaction is then over.
    :raises ReadError: a parameter has no value or no name, a value cannot be sent, the statement is empty, consists of several or
        ends the read-only transaction, or the server refused it.
    """
    hook = _Hook(run, server_cursor)
    try:
        found = _set_values(connection, statement, params)
        result = connection.execute(found, execution_options={STATEMENT_HOOK: hook})
    except (exc.SQLAlchemyError, psycopg2.Error, ValueError) as error:
        # SQLAlchemy 2.0 does not wrap errors that a hook raises, so the driver's own errors come here too.
        cause = getattr(error, "orig", None) or error
        if hook.changed and state_of(cause) in _NOT_AS_QUERY:
            connection.rollback()
            return None
        failure = _make_error(cause)
    else:
        if not hook.sql:
            raise ReadError("this engine was not made for a warehouse; read with one from create_warehouse_engine()")
        return _make_sent(result, hook, exact)
    raise failure  # outside the handler: the driver's error, which quotes the parameters, must not be chained


def _make_error(cause: BaseException) -> ReadError:
    if "can't adapt type" in str(cause):
        return ReadError(f"a parameter cannot be sent: {cause}; give json.dumps(…) for JSON, otherwise CAST a text")
    if isinstance(cause, psycopg2.Error):
        return as_read_error(cause)
    return ReadError(f"the query could not be sent: {words_of(cause)}")


def _make_sent(result: CursorResult[Any], hook: _Hook, exact: bool) -> Sent:
    description = result.cursor.description if result.cursor is not None else None
    if not description:
        raise ReadError(
            "the statement returns no rows; use wh.session() for statements that change something"
            if description is None
            else "the statement returns no columns; name one"
        )
    columns = columns_of(description, exact=exact)
    if hook.changed and hook.server_cursor is None:
        result.close()
        return Sent(hook.sql, columns, None)
    return Sent(hook.sql, columns, result)


class _Hook:
    """Sees the statement before it is sent. A query goes to the server's cursor, or only its columns are asked for.

    ``WHERE false`` leaves nothing to run: the planners of PostgreSQL and Greenplum, also ORCA, make an empty Result of it.
    With LIMIT 0 Greenplum's segments would begin to sort.

    :ivar changed: whether the statement was sent as a part of another.
    """

    def __init__(self, run: bool, server_cursor: ServerCursor | None) -> None:
        self.run = run
        self.server_cursor = server_cursor
        self.changed = False
        self.sql = b""

    def __call__(self, cursor: Any, statement: str, parameters: Any) -> tuple[str, Any]:
        _check(statement)
        parameters = values_of(parameters)
        self.sql = cursor.mogrify(statement, parameters)
        is_query = not self.run and first_word(statement) in _QUERIES
        self.changed = is_query
        if self.server_cursor is not None:
            _keep_texts(cursor)
            return self.server_cursor.write(cursor, self.sql, declare=is_query), None
        if is_query:
            return f"SELECT * FROM (\n{statement}\n) AS described WHERE false", parameters  # noqa: S608
        _keep_texts(cursor)
        return statement, parameters


def _check(statement: str) -> None:
    if "\0" in statement:
        raise ReadError("the statement holds the character NUL, behind which the driver would send nothing; remove it")
    if first_word(statement) == "COPY":
        raise ReadError("COPY is no query; give the SELECT that it has in brackets, or SELECT * FROM the table")
    if first_word(statement) and ";" not in statement:
        return
    words = first_words(statement)
    if not words:
        raise ReadError("the statement is empty; give SQL text or an SQLAlchemy select")
    ends = [word for word in words if word in _ENDS_TRANSACTION]
    if ends:
        raise ReadError(f"{ends[0]} would end the read-only transaction; leave it out, or use wh.session() to write")
    if len(words) > 1:
        raise ReadError(
            f"a read runs one statement, but these are {len(words)} ({', '.join(words)}); read them one by one, or use "
            "wh.session()"
        )


def _keep_texts(cursor: Any) -> None:
    """Make the driver return values as the server's texts, so that they are parsed like those of COPY."""
    known = {*psycopg2.extensions.string_types, *cursor.connection.string_types}
    as_it_is = psycopg2.extensions.new_type(tuple(known), "gpwarehouse_text", lambda value, _cursor: value)
    psycopg2.extensions.register_type(as_it_is, cursor)


def _set_values(connection: Connection, query: Any, params: Mapping[str, Any]) -> Executable:
    """Give the statement its values.

    :raises ReadError: a parameter has no value, or a value has no parameter.
    """
    if isinstance(query, str):
        sql = SqlText(query, params)
        _check_names(sql.names, sql.names, params)
        return sql
    if not isinstance(query, ClauseElement):
        raise ReadError(f"{type(query).__name__} is not a statement; give SQL text or an SQLAlchemy select")
    compiled = query.compile(dialect=connection.dialect)
    binds = {bind.key: bind for bind in compiled.bind_names} if isinstance(compiled, SQLCompiler) else {}
    named = [name for name, bind in binds.items() if bind.required or not bind.unique]
    _check_names(named, [name for name, bind in binds.items() if bind.required], params)
    if isinstance(query, TextClause):
        return query.bindparams(**params)  # typed by their values: the driver does not know, e.g., a UUID
    return cast(Executable, query.params(params))


def _check_names(named: Collection[str], required: Collection[str], params: Mapping[str, Any]) -> None:
    missing = sorted(set(required) - set(params))
    if missing:
        raise ReadError(
            f"parameter {missing[0]!r} has no value; give {', '.join(f'{name}=…' for name in missing)} to read(), "
            "or write \\: for a colon that does not begin a parameter"
        )
    unused = sorted(set(params) - set(named))
    if unused:
        known = ", ".join(f":{name}" for name in sorted(named)) or "none"
        raise ReadError(
            f"parameter {unused[0]!r} is not in the statement, which has {known}; leave it out, or use it (not in quotes)"
        )
