"""What becomes of months as they grow old: retention rules as values, and the one way they are written.

A rule is a list of ``ACTION after N months`` with commas between, or ``keep``:

    compress after 12 months, export after 36 months

N months are kept whole beside the current one: on any day of 2026-11, ``after 36 months`` means what ended before
2023-11-01 UTC. One rule a table; ``*`` stands for every fact that is not named. In one line, tables are parted by ``;``:

    fact_test_results: export after 60 months; *: compress after 12 months, export after 36 months
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "ACTIONS",
    "ALLOWED",
    "ALLOWED_KEEP",
    "Compression",
    "KeepBackups",
    "RetentionRule",
    "first_filled",
    "first_kept",
    "parse_compression",
    "parse_keep",
    "parse_retention",
    "rule_for",
]

ACTIONS = ("detach", "move", "export", "drop")
"""How a month leaves its fact: to a table of its own in the same schema, to one in the archive schema, to a verified
Parquet file, or for good."""

ALLOWED = (
    "table: keep, or compress after N months and one of detach, move, export, drop after M months, with a comma "
    "between; tables parted by ; and * for the others"
)
_CLAUSE = re.compile(r"(compress|detach|move|export|drop) after ([1-9]\d{0,3}) months?")
_TABLE = re.compile(r"\*|[a-z_][a-z0-9_]{0,62}")
_LEVELS = {"zstd": 19, "zlib": 9, "rle_type": 4}


@dataclass(frozen=True)
class RetentionRule:
    """What becomes of one table's months.

    :ivar compress_after: age in months at which a month is compressed harder; None never.
    :ivar action: how it leaves the table; None: it stays.
    :ivar after: age in months at which it does.
    """

    compress_after: int | None = None
    action: str | None = None
    after: int | None = None

    def __str__(self) -> str:
        clauses = [f"compress after {self.compress_after} months"] if self.compress_after else []
        clauses += [f"{self.action} after {self.after} months"] if self.action else []
        return ", ".join(clauses) or "keep"

    @classmethod
    def parse(cls, text: str) -> RetentionRule:
        """Read a rule.

        :raises ValueError: it is none; the message says which part.
        """
        words = " ".join(text.lower().split())
        if words == "keep":
            return cls()
        found: dict[str, int] = {}
        for clause in words.split(","):
            match = _CLAUSE.fullmatch(clause.strip())
            if match is None:
                raise ValueError(f"{clause.strip()!r} is no rule")
            if match[1] in found:
                raise ValueError(f"{match[1]!r} stands twice")
            found[match[1]] = int(match[2])
        leaving = [name for name in ACTIONS if name in found]
        if len(leaving) > 1:
            raise ValueError(f"{leaving[0]!r} and {leaving[1]!r} cannot both be: a month leaves in one way")
        compress = found.get("compress")
        action = leaving[0] if leaving else None
        if action is not None and compress is not None and compress >= found[action]:
            raise ValueError(
                f"'compress' after {compress} months comes no earlier than {action!r} after {found[action]}"
            )
        return cls(compress, action, found[action] if action else None)


@dataclass(frozen=True)
class Compression:
    """How cold months are compressed: ``zstd:9``."""

    kind: str
    level: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.level}"


def parse_compression(value: Any) -> Any:
    """``kind:level`` as a value; whatever is no text is returned as it is.

    :raises ValueError: no such kind or level.
    """
    if not isinstance(value, str):
        return value
    kind, _, level = value.strip().partition(":")
    if kind not in _LEVELS or not level.isdecimal() or not 1 <= int(level) <= _LEVELS[kind]:
        raise ValueError("no such compression")
    return Compression(kind, int(level))


def parse_retention(value: Any) -> Any:
    """Rules of a line, or of a TOML table, as pairs of table name and rule in the order of the names.

    :raises ValueError: a table twice, no rule for it, or a rule that is none.
    """
    if isinstance(value, str):
        pairs = [part.partition(":")[::2] for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        return value
    rules: dict[str, RetentionRule] = {}
    for name, rule in pairs:
        table = str(name).strip()
        if not _TABLE.fullmatch(table):
            raise ValueError(f"{table!r} is no table's name")
        if table in rules:
            raise ValueError(f"{table!r} stands twice")
        try:
            rules[table] = rule if isinstance(rule, RetentionRule) else RetentionRule.parse(str(rule))
        except ValueError as error:
            raise ValueError(f"{table}: {error}") from None
    return tuple(sorted(rules.items()))


ALLOWED_KEEP = "last N, days N, months N, with commas between, at least one: last 7, days 14, months 12"
_KEEP = re.compile(r"(last|days|months) (\d{1,4})")


@dataclass(frozen=True)
class KeepBackups:
    """Which backups are kept: all that one of the rules keeps. The newest one always is.

    :ivar last: the newest ones, so many.
    :ivar days: the newest of each of the last days (UTC) that have one, so many; ``months``: likewise of months.
    """

    last: int = 0
    days: int = 0
    months: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in vars(self).items() if count)


def parse_keep(value: Any) -> Any:
    """``last 7, days 14, months 12`` as a value; whatever is no text is returned as it is.

    :raises ValueError: it is none.
    """
    if not isinstance(value, str):
        return value
    found: dict[str, int] = {}
    for clause in value.lower().split(","):
        match = _KEEP.fullmatch(" ".join(clause.split()))
        if match is None or match[1] in found:
            raise ValueError(f"{clause.strip()!r} is no rule, or stands twice")
        found[match[1]] = int(match[2])
    if not any(found.values()):
        raise ValueError("it keeps none")
    return KeepBackups(**found)


def rule_for(rules: Sequence[tuple[str, RetentionRule]], table: str) -> RetentionRule:
    """A table's rule: its own, that of ``*``, else to keep all."""
    said = dict(rules)
    return said.get(table, said.get("*", RetentionRule()))


def first_kept(months: int, now: datetime) -> datetime:
    """Where the UTC months begin that are younger than so many; not before the year 1."""
    now = now.astimezone(UTC)
    number = max(now.year * 12 + now.month - 1 - months, 12)
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def first_filled(first_there: datetime, now: datetime, *, window: int, rule: RetentionRule) -> datetime:
    """From where on a missing month is a gap: the first there is, but no further back than window and rule go."""
    begin = max(first_there, first_kept(window, now))
    return max(begin, first_kept(rule.after, now)) if rule.action and rule.after else begin
