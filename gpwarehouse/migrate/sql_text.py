"""SQL text: cut into statements as psql cuts it, and read for what it drops or rewrites.

A semicolon ends a statement unless it stands in a string, a quoted name, a comment, brackets or a ``BEGIN ATOMIC`` body
(psql's scanner, ``psqlscan.l``). No library does this: sqlparse cuts inside ``BEGIN ATOMIC`` bodies and rules, sqlglot refuses
what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gpwarehouse.engine.sql_lexer import SqlToken, meaningful_tokens, sql_tokens
from gpwarehouse.errors import MigrationError

__all__ = [
    "Drop",
    "Statement",
    "assigned",
    "drops",
    "hides_drops",
    "plain",
    "rewrites",
    "split",
    "transaction_control",
    "transaction_word",
]

_TRANSACTION = re.compile(
    r"(BEGIN|START TRANSACTION|COMMIT|END|ROLLBACK(?! (?:(?:WORK|TRANSACTION) )?TO\b)|ABORT|PREPARE TRANSACTION)\b",
    re.I,
)
"""Begins or ends a transaction; savepoints do not."""


@dataclass(frozen=True)
class Statement:
    """A statement without its semicolon.

    :ivar line: number of the line it begins on, from 1.
    """

    text: str
    line: int


def split(sql: str, where: str = "the SQL") -> list[Statement]:
    """The statements of a text; comments before a statement stay with it, what holds nothing else is left out.

    :param where: what the text is, for the message.
    :raises MigrationError: a string, name or comment is not closed.
    """
    found: list[Statement] = []
    part: list[SqlToken] = []
    depth = _Depth()
    for token in _refuse_unclosed(sql_tokens(sql), sql, where):
        if token.text == ";" and not depth.inside:
            _close(found, part, sql)
            part, depth = [], _Depth()
        else:
            depth.see(token)
            part.append(token)
    _close(found, part, sql)
    return found


def transaction_control(sql: str) -> str | None:
    """The first of the statements of a text that begins or ends a transaction: COMMIT, ROLLBACK, … in capitals."""
    if not re.search(r"\b(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE)\b", sql, re.I):
        return None
    try:
        return next(filter(None, (transaction_word(statement.text) for statement in split(sql))), None)
    except MigrationError:  # the server tells what is not closed
        return None


def transaction_word(statement: str) -> str | None:
    """The word with which a statement begins or ends a transaction, in capitals; None for any other statement."""
    found = _TRANSACTION.match(plain(statement))
    return found[1].upper() if found else None


def _close(found: list[Statement], part: list[SqlToken], sql: str) -> None:
    first = next((token for token in part if not token.is_blank), None)
    if first is not None:
        text = "".join(token.text for token in part).strip()
        found.append(Statement(text, sql.count("\n", 0, first.start) + 1))


class _Depth:
    """Whether a semicolon here would stand in brackets or in a BEGIN ATOMIC body."""

    def __init__(self) -> None:
        self.brackets = 0
        self.body = 0
        self.words: list[str] = []

    @property
    def inside(self) -> bool:
        return self.brackets > 0 or self.body > 0

    def see(self, token: SqlToken) -> None:
        if token.kind == "other":
            self.brackets = max(0, self.brackets + {"(": 1, ")": -1}.get(token.text, 0))
        elif token.kind == "word":
            word = token.text.upper()
            makes = self.words[:1] == ["CREATE"] and ("FUNCTION" in self.words or "PROCEDURE" in self.words)
            if self.body:
                self.body += {"CASE": 1, "END": -1}.get(word, 0)
            elif makes and word == "ATOMIC" and self.words[-1] == "BEGIN":
                self.body = 1
            self.words.append(word)


def _refuse_unclosed(tokens: Iterator[SqlToken], sql: str, where: str) -> Iterator[SqlToken]:
    for token in tokens:
        if not token.closed:
            line = sql.count("\n", 0, token.start) + 1
            opening = token.text[:20].splitlines()[0]
            raise MigrationError(f"{where}, line {line}: {opening!r} is never closed")
        yield token


# The effects of a statement that its text shows.


@dataclass(frozen=True)
class Drop:
    """Something that a statement takes away.

    :ivar kind: ``table``, ``column``, ``partition``, ``schema``, ``view``, … as in the statement.
    :ivar schema: as written, None where the name is not qualified; ``part``: the column or partition.
    """

    kind: str
    schema: str | None
    name: str
    part: str | None = None

    def __str__(self) -> str:
        name = f"{self.schema}.{self.name}" if self.schema else self.name
        return f"{self.kind} {name}" if self.part is None else f"{self.kind} {self.part} of {name}"


def drops(sql: str) -> list[Drop]:
    """List what the statements of a text drop, in their order.

    Inside DO blocks only the dialect's own statements about partitions are seen (``DO $gpw$``), inside functions nothing.
    """
    return [drop for statement in split(sql) for drop in _read_drops(_Reader(statement.text))]


class _Reader:
    """The tokens of a statement that mean something."""

    def __init__(self, sql: str) -> None:
        self._tokens = list(_significant(sql))
        self._at = 0

    @property
    def rest(self) -> list[str]:
        return [token.text for token in self._tokens[self._at :]]

    def peek(self) -> str:
        return self._tokens[self._at].text.upper() if self._at < len(self._tokens) else ""

    def take(self, *words: str) -> bool:
        """Whether the next words are these; then they are read."""
        ahead = [token.text.upper() for token in self._tokens[self._at : self._at + len(words)]]
        if ahead != list(words):
            return False
        self._at += len(words)
        return True

    def name(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else SqlToken("other", "", 0)
        self._at += 1
        if token.kind == "name":
            return token.text[1:-1].replace('""', '"')
        return token.text.lower()

    def qualified(self) -> tuple[str | None, str]:
        parts = [self.name()]
        while self.take("."):
            parts.append(self.name())
        return (parts[-2] if len(parts) > 1 else None), parts[-1]

    def skip_to_comma(self) -> bool:
        depth = 0
        while self._at < len(self._tokens):
            mark = self._tokens[self._at].text
            self._at += 1
            depth += {"(": 1, ")": -1}.get(mark, 0)
            if mark == "," and depth == 0:
                return True
        return False


def _read_drops(read: _Reader) -> Iterator[Drop]:
    if read.take("TRUNCATE"):
        read.take("TABLE")
        read.take("ONLY")
        yield from _read_names(read, "table")
    elif read.take("ALTER", "TABLE"):
        yield from _read_alter(read)
    elif read.take("DO"):
        for block in read.rest:
            if block.startswith(_PARTITION_BLOCK):
                yield from _read_block(block.removeprefix(_PARTITION_BLOCK).removesuffix(_PARTITION_BLOCK))
    elif read.take("DROP"):
        kind = read.name()
        while read.peek() in ("VIEW", "TABLE", "WRAPPER") and kind in ("materialized", "external", "foreign", "data"):
            kind = f"{kind} {read.name()}"
        if kind in (
            "table",
            "view",
            "schema",
            "materialized view",
            "external table",
            "foreign table",
            "sequence",
            "index",
        ):
            read.take("CONCURRENTLY")
            yield from _read_names(read, kind)


def _read_block(block: str) -> Iterator[Drop]:
    for statement in split(block):
        read = _Reader(statement.text)
        while read.peek():
            if read.peek() in ("DROP", "TRUNCATE"):
                yield from _read_drops(read)
            else:
                read.name()


def _read_names(read: _Reader, kind: str) -> Iterator[Drop]:
    read.take("IF", "EXISTS")
    while True:
        schema, name = read.qualified()
        yield Drop(kind, schema, name)
        if not read.take(","):
            return
        read.take("ONLY")


def _read_alter(read: _Reader) -> Iterator[Drop]:
    read.take("IF", "EXISTS")
    read.take("ONLY")
    schema, name = read.qualified()
    read.take("*")
    while True:
        if read.take("DROP", "DEFAULT", "PARTITION"):
            yield Drop("partition", schema, name)
        elif read.take("DROP", "PARTITION") or read.take("TRUNCATE", "PARTITION"):
            read.take("IF", "EXISTS")
            part = read.name()
            yield Drop("partition", schema, name, None if part in ("for", "default") else part)
        elif not read.take("DROP", "CONSTRAINT") and read.take("DROP"):
            read.take("COLUMN")
            read.take("IF", "EXISTS")
            yield Drop("column", schema, name, read.name())
        if not read.skip_to_comma():
            return


def assigned(sql: str, table: str) -> set[str]:
    """The columns of a table that the UPDATEs of a text set, those of ``ON CONFLICT`` and ``MERGE`` too.

    :param table: without its schema.
    """
    found: set[str] = set()
    for statement in split(sql):
        read = _Reader(statement.text)
        while read.peek():
            if not read.take("UPDATE"):
                read.name()
            elif _is_of_table(read, table) and read.take("SET"):
                found.update(_targets(read))
    return found


def _is_of_table(read: _Reader, table: str) -> bool:
    """Whether the UPDATE is the table's; it is read up to its SET."""
    if read.peek() == "SET":  # its table stands elsewhere
        return True
    read.take("ONLY")
    if read.qualified()[1] != table:
        return False
    while read.peek() not in ("SET", ""):
        read.name()
    return True


def _targets(read: _Reader) -> Iterator[str]:
    while True:
        several = read.take("(")
        yield read.name()
        while several and read.take(","):
            yield read.name()
        if several:
            read.take(")")
        if not _next_assignment(read):
            return


def _next_assignment(read: _Reader) -> bool:
    depth = 0
    while mark := read.peek():
        if depth == 0 and mark in ("FROM", "WHERE", "RETURNING", ")", "WHEN"):
            return False
        if read.take("DISTINCT", "FROM"):
            continue
        depth += 1 if mark in ("(", "[", "CASE") else -1 if mark in (")", "]", "END") else 0
        read.name()
        if mark == "," and depth == 0:
            return True
    return False


_PARTITION_BLOCK = "$gpw$"
"""How the dialect opens and closes a block that makes sure a table is a partition before it drops or empties it."""

_REWRITES = (
    (r"^ALTER TABLE .* SET (WITH .*)?DISTRIBUTED\b|\bREORGANIZE\s*=\s*TRUE", "moves all rows between segments"),
    (r"^ALTER TABLE .*\bSET ACCESS METHOD\b", "writes the table anew"),
    (r"^ALTER TABLE .*\bSET ENCODING\b", "writes the column anew"),
    (r"^ALTER TABLE .*\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b", "writes the table anew, unless the types are alike"),
    (r"^ALTER TABLE .*\bADD (COLUMN )?.*\bDEFAULT\b", "writes the table anew on Greenplum 6"),
    (r"^DO \$REWRITE\$", "writes the table anew, by a copy"),
    (r"^(UPDATE|DELETE)\b", "changes rows"),
    (r"^(CLUSTER|VACUUM FULL)\b", "writes the table anew"),
)


_OWN_BLOCK = re.compile(r"DO \$(GPW|REWRITE)\$")
_HIDING = re.compile(
    r"""DO\b.*\b(DROP|TRUNCATE|DELETE|EXECUTE|CALL)\b
      | DROP\ (TYPE|DOMAIN|EXTENSION|FUNCTION|COLLATION)\b.*\bCASCADE\b
      | DROP\ OWNED\b | CALL\b | EXECUTE\b
      | ALTER\ TABLE\b.*\bALTER\ PARTITION\b.*\b(DROP|TRUNCATE)\ (DEFAULT\ )?PARTITION\b""",
    re.VERBOSE | re.DOTALL,
)


def hides_drops(sql: str) -> bool:
    """Whether a statement of a text may drop data that :func:`drops` cannot name.

    So do DO blocks that drop, delete or run what they put together, CALL, EXECUTE, DROP OWNED, some DROP … CASCADE, and
    Greenplum 6's ALTER PARTITION, which drops or empties a partition of a partition. Functions that a SELECT
    calls are not examined.
    """
    return any(_hides_drop(plain(statement.text).upper()) for statement in split(sql))


def _hides_drop(statement: str) -> bool:
    return not _OWN_BLOCK.match(statement) and bool(_HIDING.match(statement))


def plain(sql: str) -> str:
    """The tokens of a text that are no spaces and comments, a space between them."""
    return " ".join(token.text for token in _significant(sql))


def _significant(sql: str) -> Iterator[SqlToken]:
    return _refuse_unclosed(meaningful_tokens(sql), sql, "the statement")


def rewrites(sql: str) -> str | None:
    """Say what a statement does to existing rows, if it takes longer the more there are; else None."""
    statement = plain(sql).upper().replace(" . ", ".")
    return next((what for pattern, what in _REWRITES if re.search(pattern, statement)), None)
