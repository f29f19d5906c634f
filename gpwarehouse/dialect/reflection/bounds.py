"""Deparsed bounds of partitions → values, by the type of the column they bound."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.partitions import Bound, ListValue

__all__ = ["parse_bound", "parse_range", "parse_values", "split"]

_CAST = r"(?:::[\w \"\.]+(?:\([\d, ]*\))?[\w ]*)?"
_TEXT = re.compile(rf"(E?)'((?:[^']|'')*)'{_CAST}")
_OPEN = re.compile(rf"(?:MINVALUE|MAXVALUE|NULL){_CAST}", re.IGNORECASE)
_NUMBER = re.compile(rf"\(?(-?\d+(?:\.\d+)?)\)?{_CAST}")
_TOKEN = re.compile(rf"E?'(?:[^']|'')*'{_CAST}|\(?-?\d[\d.]*\)?{_CAST}|\w+{_CAST}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:?\d\d)?(:?\d\d)?")


def split(expressions: str) -> list[str]:
    """``'a'::text, 'b,c'::text`` → its items."""
    return [match.group() for match in _TOKEN.finditer(expressions)]


def parse_bound(expression: str, kind: str | None = None) -> Bound | None:
    """A deparsed bound as a value: ``'2026-01-01 00:00:00+00'::timestamp with time zone`` → aware datetime in UTC.

    :param kind: ``format_type`` of the column; without it the text decides.
    :returns: None for MINVALUE, MAXVALUE and NULL.
    :raises OptionError: it is none of these, nor a text or a number.
    """
    found = _TEXT.fullmatch(expression.strip())
    if found:
        value = found[2].replace("''", "'")
        return _text(value.replace("\\\\", "\\") if found[1] else value, kind)
    number = _NUMBER.fullmatch(expression.strip())
    if number is None:
        if _OPEN.fullmatch(expression.strip()):
            return None
        raise OptionError(f"bound {expression.strip()}: only texts and numbers are understood")
    return Decimal(number[1]) if "." in number[1] or kind == "numeric" else int(number[1])


def _text(value: str, kind: str | None) -> Bound:
    if kind in ("integer", "bigint", "smallint"):
        return int(value)
    if kind in ("numeric", "double precision", "real"):
        return Decimal(value)
    if kind in (None, "date") and _DATE.fullmatch(value):
        return date.fromisoformat(value)
    if kind in (None, "timestamp with time zone") and _MOMENT.fullmatch(value):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def parse_range(bounds: str, kind: str | None) -> tuple[Bound | None, Bound | None] | None:
    """``FOR VALUES FROM (…) TO (…)`` of one column; None for anything else."""
    match = re.fullmatch(r"FOR VALUES FROM \((.+)\) TO \((.+)\)", bounds, re.DOTALL)
    return (parse_bound(match[1], kind), parse_bound(match[2], kind)) if match else None


def parse_values(expressions: str, kind: str | None) -> tuple[ListValue, ...]:
    """The values of a list partition; NULL as None."""
    match = re.fullmatch(r"FOR VALUES IN \((.+)\)", expressions, re.DOTALL)
    return tuple(_value(item, kind) for item in split(match[1] if match else expressions))


def _value(expression: str, kind: str | None) -> ListValue:
    word = expression.split("::")[0].strip("'").lower()
    if kind == "boolean" and word in ("true", "false", "t", "f"):
        return word.startswith("t")
    return parse_bound(expression, kind)
