"""A few rows in one round trip: the settings, the statement as a cursor of the server, and its first rows, sent as one text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2.extensions import encodings
from sqlalchemy.engine import Connection, CursorResult

from gpwarehouse.engine import dialect_of, statement_for_transaction

__all__ = ["ServerCursor"]

_NAME = "gpwarehouse_read"
_FIRST_ROWS = 100
"""Rows that come with the statement: nobody knows yet how wide they are, and the driver takes all of them at once."""
_FETCH_BYTES = 16 << 20
"""Bytes to fetch at once, as far as the rows before tell."""
# The plan is that of the statement alone, not one that is fast for the first tenth of the rows only.
_PLANNED_WHOLE = {"cursor_tuple_fraction": "1"}


class ServerCursor:
    """A statement whose rows the server keeps until they are asked for.

    :param rows: most rows that one round trip brings.
    :param values: options of the transaction, see :func:`~gpwarehouse.engine.session_values`.
    :param others: settings by the server's own names.
    :ivar declared: whether the statement became a cursor; EXPLAIN and SHOW cannot.
    """

    def __init__(self, connection: Connection, rows: int, values: Mapping[str, str], others: Mapping[str, str]) -> None:
        self._rows = rows
        self.declared = False
        self._settings = statement_for_transaction(connection, values, {**others, **_PLANNED_WHOLE})

    @staticmethod
    def is_possible(connection: Connection, *, exact: bool) -> bool:
        """Whether one text may hold several statements, and the rows are then described rightly.

        The server parses all of the text before it runs any of it, so whether a backslash escapes in it must be known
        beforehand. ORCA drops the digits of exact NUMERIC.
        """
        driver: Any = connection.connection.driver_connection
        capabilities = dialect_of(connection).capabilities
        if driver.get_parameter_status("standard_conforming_strings") != "on" or capabilities is None:
            return False
        return not (exact and capabilities.distribution)

    def write(self, cursor: Any, sql: bytes, *, declare: bool) -> str:
        """Write the text to send.

        :param sql: a single statement with its values.
        :param declare: whether it is a query.
        """
        self.declared = declare
        parts: list[bytes] = [cursor.mogrify(*self._settings)]
        # NO SCROLL, or the server would keep rows that were read.
        parts.append(b"DECLARE %b NO SCROLL CURSOR FOR\n%b" % (_NAME.encode(), sql) if declare else sql)
        if declare:
            parts.append(_fetch(min(self._rows, _FIRST_ROWS)).encode())
        return b"\n;\n".join(parts).decode(encodings[cursor.connection.encoding])

    def blocks(self, result: CursorResult[Any]) -> Iterator[list[Any]]:
        """Yield the rows, as texts: those that came with the statement, then those that are fetched."""
        cursor: Any = result.cursor
        asked = min(self._rows, _FIRST_ROWS)
        while rows := cursor.fetchall():
            yield rows
            if len(rows) < asked:
                return
            width = sum(len(value) for row in rows for value in row if value is not None) // len(rows)
            asked = max(1, min(self._rows, _FETCH_BYTES // max(1, width)))
            cursor.execute(_fetch(asked))


def _fetch(rows: int) -> str:
    return f"FETCH FORWARD {rows} FROM {_NAME}"
