"""Recognise a query that reads a table as it is: ``TABLE t``, ``SELECT * FROM t``, ``SELECT a, b FROM s.t``."""

from __future__ import annotations

import re
from typing import NamedTuple

from gpwarehouse.engine.sql_lexer import meaningful_tokens

__all__ = ["WholeTable", "whole_table"]

_SHAPE = re.compile(r"(?:T|S(?:\*|n(?:\.n){0,2}(?:,n(?:\.n){0,2})*)F)n(?:\.n)?")
_KEYWORDS = {"TABLE": "T", "SELECT": "S", "FROM": "F"}


class WholeTable(NamedTuple):
    """The table that a query reads.

    :ivar name: as written, with its schema if the query names one.
    :ivar query: the same rows by a SELECT, to which a WHERE can be added.
    :ivar named: whether the query names its columns.
    """

    name: str
    query: str
    named: bool


def whole_table(sql: str) -> WholeTable | None:
    """The table that a query reads whole; None for any other statement, which is read only as far as it looks like one."""
    shape = name = ""
    for token in meaningful_tokens(sql):
        mark = token.text
        if token.kind == "word" and mark[0] != "$":
            mark = _KEYWORDS.get(mark.upper(), "n")
        elif token.kind == "name" and mark[0] == '"':
            mark = "n"
        elif mark not in (".", ",", "*"):
            return None
        shape += mark
        name = "" if mark in ("T", "F") else name + token.text
    if not _SHAPE.fullmatch(shape):
        return None
    return WholeTable(name, sql if shape[0] == "S" else f"SELECT * FROM {name}", shape.startswith("Sn"))  # noqa: S608
