"""Cut a text of SQL into tokens, as PostgreSQL's scanner does; nothing of the text is lost.

The rules are PostgreSQL's lexical structure (chapter 4.1, ``scan.l``), for a server with ``standard_conforming_strings`` on,
its default. They cover nested comments, texts with escapes, dollar quotes and quoted names. No library is exact here:
sqlparse does not nest comments, sqlglot refuses what it does not know and drops spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, cast

__all__ = ["SqlToken", "TokenKind", "first_word", "first_words", "meaningful_tokens", "sql_tokens"]

TokenKind = Literal["space", "comment", "name", "string", "number", "word", "other"]
"""``name`` is quoted, ``word`` is not and may be ``$1``, ``string`` is a literal in any form, ``other`` is one character."""


class SqlToken(NamedTuple):
    """A piece of a text of SQL.

    :ivar start: where it begins in the text.
    :ivar closed: False for a string, name or comment that does not end; it then goes on to the end of the text, and an
        unclosed name is a string.
    """

    kind: TokenKind
    text: str
    start: int
    closed: bool = True

    @property
    def is_blank(self) -> bool:
        """Whether it is a space or a comment."""
        return self.kind in ("space", "comment")


_LETTER = r"A-Za-z_\u0080-\U0010ffff"
_ESCAPED = r"'(?:[^'\\]|\\.|'')*+"
_BETWEEN = r"(?:\s|--[^\r\n]*)*+"
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<comment>--[^\r\n]*)
  | (?P<block>/\*)
  | (?P<name>(?:[uU]&)?"(?:[^"]|"")*+")
  | (?P<string>
        [eE]{_ESCAPED}'(?:{_BETWEEN}{_ESCAPED}')*+(?!{_BETWEEN}{_ESCAPED}\\?\Z)
      | (?:[uU]&|[bBnNxX])?'(?:[^']|'')*+'
      | \$(?P<tag>(?:[{_LETTER}][\w\u0080-\U0010ffff]*+)?)\$.*?\$(?P=tag)\$
    )
  | (?P<unclosed>(?:[uU]&|[eEbBnNxX])?'.*|(?:[uU]&)?".*|\$(?:[{_LETTER}][\w\u0080-\U0010ffff]*+)?\$.*)
  | (?P<number>\.?[0-9][\w.]*+(?:(?<=[eE])[+-][0-9]+)?)
  | (?P<word>[{_LETTER}][\w$\u0080-\U0010ffff]*|\$[0-9]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
"""A text with escapes goes on with escapes behind a line's end."""
_BLOCK = re.compile(r"/\*|\*/")


def sql_tokens(sql: str) -> Iterator[SqlToken]:
    """The tokens of a text of SQL; joined they are the text."""
    start = 0
    while start < len(sql):
        found = _TOKEN.match(sql, start)
        assert found is not None
        kind = found.lastgroup
        if kind == "block":
            end, closed = _end_of_comment(sql, start)
            yield SqlToken("comment", sql[start:end], start, closed)
        elif kind == "unclosed":
            yield SqlToken("string", found[0], start, closed=False)
        else:
            yield SqlToken(cast(TokenKind, kind), found[0], start)
        start += len(found[0]) if kind != "block" else end - start


def _end_of_comment(sql: str, start: int) -> tuple[int, bool]:
    """Where a comment in which others may stand ends, and whether it is closed there."""
    depth = 0
    for mark in _BLOCK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end(), True
    return len(sql), False


def meaningful_tokens(sql: str) -> Iterator[SqlToken]:
    """The tokens without spaces and comments."""
    return (token for token in sql_tokens(sql) if not token.is_blank)


def first_word(sql: str) -> str:
    """The first word of a text, in upper case, behind brackets if there are any; empty where something else stands there."""
    first = next((token for token in meaningful_tokens(sql) if token.text != "("), None)
    return first.text.upper() if first is not None and first.kind == "word" else ""


def first_words(sql: str) -> list[str]:
    """The first word of each statement of a text, in upper case; none where the text is empty."""
    words: list[str] = []
    begun = False
    for token in sql_tokens(sql):
        if token.kind == "word" and not begun:
            words.append(token.text.upper())
        begun = token.text != ";" and (begun or token.kind == "word")
    return words
