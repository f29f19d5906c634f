"""External tables from the catalogs: ``pg_exttable``, and on Greenplum 7 the foreign table's options behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.external_tables import CsvFormat, CustomFormat, ExternalTable, Format, RejectLimit, TextFormat
from gpwarehouse.dialect.reflection import catalog
from gpwarehouse.dialect.reflection.left_open import UNREADABLE, warn_left_open
from gpwarehouse.dialect.reflection.tables import Names, _names
from gpwarehouse.dialect.server import ServerDialect

__all__ = ["external_names", "externals_of", "externals_there", "parse_format_options"]

# Keys of ftoptions that say something else than the format's or the protocol's options.
_OWN_KEYS = frozenset(
    {"format", "format_type", "location_uris", "command", "execute_on", "reject_limit", "reject_limit_type"}
    | {"log_errors", "encoding", "is_writable", "delimiter", "null", "quote", "escape", "newline", "header"}
    | {"fill_missing_fields", "force_not_null", "force_quote", "formatter"}
)
_WORDS = ("delimiter", "null", "escape", "quote", "newline")


def external_names(connection: Connection, dialect: ServerDialect, schema: str | None) -> set[str]:
    """Names of the external tables, partitions among them, whatever their options; none on servers without them."""
    if dialect.capabilities is None or not dialect.capabilities.distribution:
        return set()
    sql = catalog.EXTERNAL_NAMES[dialect.capabilities.partition_catalog]
    return {row.relname for row in catalog.rows(connection, sql, schema)}


def externals_of(
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
) -> dict[str, ExternalTable]:
    """Table name → what makes it external, of those we can say; empty on servers without external tables."""
    there = externals_there(connection, dialect, schema, table)
    return {name: external for name, external in there.items() if external is not None}


def externals_there(
    connection: Connection, dialect: ServerDialect, schema: str | None, table: Names = None
) -> dict[str, ExternalTable | None]:
    """The same of all external tables; None, with a warning, where its options are none that we know."""
    if dialect.capabilities is None or not dialect.capabilities.distribution:
        return {}
    sql = catalog.EXTERNAL[dialect.capabilities.partition_catalog]
    found: dict[str, ExternalTable | None] = {}
    for row in catalog.rows(connection, sql, schema, _names(table)):
        try:
            found[row.relname] = _external(row)
        except UNREADABLE as error:
            warn_left_open(row.relname, "what makes it external is none we know", error)
            found[row.relname] = None
    return found


def _external(row: Any) -> ExternalTable:
    said = _options(row)
    own = dict((row.options and [item.split("=", 1) for item in row.options]) or ())
    persistent = own.pop("error_log_persistent", "") == "true" or said.get("log_errors") == "p"
    custom = row.fmttype == "b"
    extra = {k: v for k, v in said.items() if k not in _OWN_KEYS}
    limit = None
    if row.rejectlimit is not None:
        limit = RejectLimit(row.rejectlimit, "percent" if row.rejecttype == "p" else "rows")
    return ExternalTable(
        location=tuple(row.location or ()),
        command=row.command,
        on="all" if row.command is not None and row.writable else _where(row.runs_on),
        format=_format(row.fmttype, said, extra if custom else {}),
        writable=row.writable,
        log_errors="persistently" if persistent and row.logerrors else row.logerrors,
        reject_limit=limit,
        encoding=row.encoding,
        options=tuple((own if custom else {**own, **({} if row.fmtopts else extra)}).items()),
    )


def _where(stored: str | None) -> str:
    word, _, value = (stored or "ALL_SEGMENTS").partition(":")
    fixed = {"ALL_SEGMENTS": "all", "MASTER_ONLY": "coordinator", "COORDINATOR_ONLY": "coordinator", "PER_HOST": "host"}
    numbered = {"SEGMENT_ID": f"segment {value}", "TOTAL_SEGS": value}
    found = fixed.get(word) or numbered.get(word)
    if found is None:
        raise OptionError(f"it runs on {stored!r}")
    return found


def _options(row: Any) -> dict[str, str]:
    if row.ftoptions is not None:
        return dict(item.split("=", 1) for item in row.ftoptions)
    return parse_format_options(row.fmtopts or "", custom=row.fmttype == "b")


def parse_format_options(stored: str, *, custom: bool = False) -> dict[str, str]:
    """Greenplum 6's one text of all options, ``delimiter '|' null '' escape '\\' header``, as a mapping.

    The text is not escaped (a quote stands as ``quote '''``), so a value ends at a quote before the next known word.
    """
    if custom:
        return dict(re.findall(r"(\w+) '(.*?)'(?=\s|$)", stored, re.DOTALL))
    known = "|".join((*_WORDS, "header", "fill missing fields", "force not null", "force quote"))
    values = re.findall(rf"({'|'.join(_WORDS)}) '(.*?)'(?=\s+(?:{known})\b|\s*$)", stored, re.DOTALL)
    found = dict(values)
    rest = stored
    for word, value in values:
        rest = rest.replace(f"{word} '{value}'", "", 1)
    for word in ("header", "fill missing fields"):
        if word in rest:
            found[word.replace(" ", "_")] = "true"
    for word in ("force not null", "force quote"):
        match = re.search(rf"{word} (.*?)(?=force|fill|header|$)", rest)
        if match:
            found[word.replace(" ", "_")] = match[1].strip()
    return found


def _format(kind: str, said: Mapping[str, str], extra: Mapping[str, str]) -> Format:
    if kind == "b":
        return CustomFormat(said["formatter"], extra)
    if kind not in ("t", "c"):
        raise OptionError(f"its format is of kind {kind!r}")
    newline = said.get("newline")
    common: dict[str, Any] = {
        "header": said.get("header") == "true",
        "fill_missing_fields": said.get("fill_missing_fields") == "true",
        "newline": newline.upper() if newline else None,
    }
    for word in ("delimiter", "null", "escape"):
        if word in said:
            common[word] = said[word]
    if kind == "t":
        return TextFormat(**common)
    columns: dict[str, Any] = {
        word: tuple(name.strip().strip('"') for name in said[word].split(",") if name.strip())
        for word in ("force_not_null", "force_quote")
        if word in said
    }
    return CsvFormat(**common, quote=said.get("quote", '"'), **columns)
