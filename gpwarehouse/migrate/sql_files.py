"""A revision in plain SQL: ``versions/X_name.py`` beside ``versions/X_name/up.sql`` and ``down.sql``.

The script only names them (``op.run_sql_file(__file__, "up")``), and its checksum covers them. In the SQL ``{schema}``
stands for the warehouse's schema, quoted; colons and percent signs are themselves. Where servers differ,
``up.greenplum6.sql`` (``greenplum7``, ``cloudberry``, ``postgresql``) is taken on that server in place of ``up.sql``. The
statements run in the revision's transaction, so COMMIT and its like are refused, as are psql's commands and COPY FROM
STDIN, which only psql understands, and what would hold beyond the transaction: SET without LOCAL, RESET, DISCARD. A
file is UTF-8, with a byte order mark or without.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.engine.sql_lexer import sql_tokens
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.sql_text import Statement, plain, split, transaction_word

__all__ = ["Verbatim", "server_name", "statements_of"]

_STDIN = re.compile(r"COPY\b.*\bFROM STDIN\b", re.I | re.S)
_SESSION = re.compile(
    r"(SET\b(?! (?:LOCAL|CONSTRAINTS|TRANSACTION)\b)(?: \w+)?|RESET\b|DISCARD\b|"
    r"SELECT (?:pg_catalog \. )?set_config\b(?=.*\bfalse \)$))",
    re.I | re.S,
)


class Verbatim(ExecutableDDLElement):
    """A statement exactly as it is written, on a connection and offline."""

    inherit_cache = False

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Verbatim, "postgresql")
def _verbatim(element: Verbatim, compiler: Any, **_: Any) -> str:
    # psycopg2 formats every statement; offline output does not.
    return element.sql.replace("%", "%%") if compiler.preparer._double_percents else element.sql


def server_name(info: ServerInfo) -> str:
    """The server as files and settings name it: ``greenplum6``, ``greenplum7``, ``cloudberry``, ``postgresql``."""
    if info.brand is Brand.GREENPLUM:
        return f"greenplum{7 if info.postgres_version >= (12,) else 6}"
    return info.brand.name.lower()


def statements_of(script: str, direction: str, server: str, schema: str) -> list[str]:
    """The statements of a revision's SQL file.

    :param script: ``__file__`` of the revision; ``direction``: ``up`` or ``down``; ``schema``: quoted, for ``{schema}``.
    :raises MigrationError: there is no such file, or it holds what cannot run in a revision; file and line are named.
    """
    folder = Path(script).with_suffix("")
    choices = [folder / f"{direction}.{server}.sql", folder / f"{direction}.sql"]
    path = next((choice for choice in choices if choice.is_file()), None)
    if path is None:
        hint = "it cannot be reverted" if direction == "down" else "write it"
        raise MigrationError(f"{choices[1]}: there is no such file, nor {choices[0].name}; {hint}")
    found = split(_text(path), str(path))
    if direction == "up" and not found:
        raise MigrationError(f"{path}: it holds no statement; write what the revision does, then upgrade")
    for statement in found:
        _check(path, statement)
    return [statement.text.replace("{schema}", schema) for statement in found]


def _text(path: Path) -> str:
    raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start].replace(b"\r\n", b"\n")
        line, column = before.count(b"\n") + 1, error.start - max(raw.rfind(b"\n", 0, error.start), -1)
        raise MigrationError(
            f"{path}, line {line}, byte {column} of it (0x{raw[error.start]:02x}): not UTF-8; save the file as UTF-8, "
            "whichever encoding it has now (Latin-1, UTF-16)"
        ) from None


def _check(path: Path, statement: Statement) -> None:
    where = f"{path}, line {statement.line}"
    words = plain(statement.text)
    if transaction := transaction_word(statement.text):
        raise MigrationError(
            f"{where}: {transaction} is not for a revision's file, which runs in the revision's own transaction; leave it out"
        )
    if session := _SESSION.match(words):
        raise MigrationError(
            f"{where}: {session[1]} would hold for the revisions after this one too, on the same connection; write SET LOCAL, "
            "which ends with the revision, or name schemas in the statements"
        )
    if _STDIN.match(words):
        raise MigrationError(
            f"{where}: COPY FROM STDIN works in psql alone; write INSERT, or load the rows another way"
        )
    if _has_psql_command(statement.text):
        raise MigrationError(f"{where}: commands that begin with a backslash are psql's own; leave them out")


def _has_psql_command(statement: str) -> bool:
    """Whether a line begins with a backslash outside strings, names and comments."""
    begins_line = True
    for token in sql_tokens(statement):
        if begins_line and token.text == "\\":
            return True
        begins_line = token.is_blank and (begins_line or "\n" in token.text)
    return False
