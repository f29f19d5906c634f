"""Durable keys: a dimension row's key is the hash of its natural key, the same in Python and in SQL.

``durable_key("FAB", "ETCH-01", "")`` is the first 64 bits of the MD5 of the parts joined with U+001F, read as a
signed integer. No sequence is asked, two loads at once agree, and rows spread evenly over Greenplum's segments. The
hash is no secret and guards nothing; a collision of two natural keys is found by the loader, which compares what is
stored.

Both forms strip :data:`BLANKS` from both ends of every part and nothing else: exactly the ASCII blanks, because
``str.strip()`` with no argument takes U+00A0 and U+0085 too and ``btrim`` with no argument only the space, so that
neither default has an equal on the other side. What is stored as natural key must be stripped the same way
(:func:`natural_key_part`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, SQLColumnExpression, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import BIT

from gpwarehouse.errors import NaturalKeyError

__all__ = [
    "BLANKS",
    "KEY_SEPARATOR",
    "NOT_APPLICABLE_KEY",
    "PLACEHOLDER_WAFER_ID",
    "UNKNOWN_KEY",
    "durable_key",
    "durable_key_sql",
    "is_nameless_wafer_id",
    "nameless_wafer_id",
    "natural_key_part",
    "normalise_wafer_id",
    "root_lot",
]

KEY_SEPARATOR = "\x1f"
"""U+001F (unit separator) joins the parts of a natural key; a part that holds it is refused."""

UNKNOWN_KEY = -1
"""The natural key is not known: its leading part was missing."""

NOT_APPLICABLE_KEY = -2
"""There can be no such member: a final test has no prober, a tool-level visit no chamber."""

PLACEHOLDER_WAFER_ID = "(none)"
"""Wafer id of units with no wafer (final test): a placeholder wafer per lot, so that rows spread over segments."""

BLANKS = " \t\n\v\f\r"
"""Stripped from both ends of a natural key part: the six ASCII blanks (STDF pads with spaces)."""

# The same six in SQL. PostgreSQL's E'' strings know \013 (octal) for VT but not \v.
_BLANKS_SQL = r"E' \t\n\013\f\r'"
_RESERVED = frozenset({UNKNOWN_KEY, NOT_APPLICABLE_KEY})
_WAFER_SEPARATORS = "-_.:/# "
_NAMELESS_WAFER = re.compile(r"\(none(?: [^()]+)?\)")


def natural_key_part(value: object, name: str = "part") -> str:
    """One part of a natural key as it is hashed and stored: text without the blanks at its ends, case kept.

    Raises :class:`~gpwarehouse.errors.NaturalKeyError`, naming ``name``, for NULL, for anything but text, and for text
    that holds U+001F, NUL or a lone surrogate. The empty string is a value (``chamber_id`` of a tool itself).
    """
    if value is None:
        raise NaturalKeyError(
            f"{name} is NULL: no part of a natural key may be NULL; use key -1 where the member is unknown"
        )
    if not isinstance(value, str):
        raise NaturalKeyError(f"{name} is {value!r} ({type(value).__name__}): a natural key part is text; pass a str")
    if KEY_SEPARATOR in value:
        raise NaturalKeyError(f"{name} is {value!r}: U+001F separates the parts of a key and may not stand in one")
    if "\x00" in value:
        raise NaturalKeyError(f"{name} is {value!r}: PostgreSQL and Greenplum store no NUL character; clean the source")
    return value.strip(BLANKS)


def durable_key(*parts: str, names: Sequence[str] | None = None) -> int:
    """The durable key (signed 64-bit integer) of a natural key, equal to :func:`durable_key_sql` on any server.

    ``names`` are the columns the parts come from, for the error message. Raises
    :class:`~gpwarehouse.errors.NaturalKeyError` as :func:`natural_key_part` does, for no part at all, and in the case
    (1 in 2**63) that the hash is one of the reserved keys.

    >>> durable_key("FAB", "ETCH-01", "")
    6189989509338069300
    """
    if not parts:
        raise NaturalKeyError("a natural key needs at least one part")
    labels = names or [f"part {number} of the natural key" for number in range(1, len(parts) + 1)]
    clean = [natural_key_part(part, name) for part, name in zip(parts, labels, strict=True)]
    try:
        joined = KEY_SEPARATOR.join(clean).encode("utf-8")
    except UnicodeEncodeError:
        bad = next((name, part) for name, part in zip(labels, clean, strict=True) if not _is_utf8(part))
        raise NaturalKeyError(f"{bad[0]} is {bad[1]!r}: a lone surrogate is no UTF-8 text; clean the source") from None
    key = int.from_bytes(hashlib.md5(joined, usedforsecurity=False).digest()[:8], "big", signed=True)
    if key in _RESERVED:
        raise NaturalKeyError(f"natural key {tuple(clean)!r} hashes to {key}, which is reserved; change a part")
    return key


def durable_key_sql(*columns: SQLColumnExpression[Any]) -> ColumnElement[int]:
    """The durable key as a SQL expression of type BIGINT, for PostgreSQL 9.4 (Greenplum 6) to 18.

    The columns are text, in the order of the natural key; a NULL in any makes the key NULL, so wrap it in
    ``coalesce`` where -1 is meant. The database's encoding must be UTF-8, as ``md5()`` hashes the stored bytes.
    Nothing is bound: the expression can stand in a view.
    """
    if not columns:
        raise NaturalKeyError("a natural key needs at least one column")
    blanks = literal_column(_BLANKS_SQL, Text)
    joined: ColumnElement[Any] = func.btrim(columns[0], blanks, type_=Text)
    for column in columns[1:]:
        joined = joined.concat(literal_column("chr(31)", Text)).concat(func.btrim(column, blanks, type_=Text))
    digest = func.substr(func.md5(joined, type_=Text), literal_column("1"), literal_column("16"), type_=Text)
    return cast(cast(literal_column("'x'", Text).concat(digest), BIT(64)), BigInteger)


def nameless_wafer_id(content: str) -> str:
    """The id of a wafer that its source does not name, told from others by a mark of the source's content.

    >>> nameless_wafer_id("5e884898da28-1")
    '(none 5e884898da28-1)'
    """
    return f"{PLACEHOLDER_WAFER_ID[:-1]} {content})"


def is_nameless_wafer_id(wafer_id: str) -> bool:
    """Whether no wafer bears the id: it is :data:`PLACEHOLDER_WAFER_ID`, or of :func:`nameless_wafer_id`."""
    return _NAMELESS_WAFER.fullmatch(wafer_id) is not None


def normalise_wafer_id(
    raw: str | None, lot_id: str, pattern: str | re.Pattern[str] | None = None, *, root: str | None = None
) -> str:
    """The wafer id as the key has it: ``GAL-LOT-02`` of lot ``GAL-LOT`` is ``02``, and so is ``2``.

    A leading lot id goes together with the separators after it (``- _ . : / #`` or blanks; without one nothing goes,
    or wafer ``LOT12`` of ``LOT1`` would become ``2``), or its root lot's (``root``, else the part before the first
    ``.``), because a wafer keeps the id scribed on it when its lot is split. ``pattern`` (setting ``wafer_id_pattern``)
    takes the place of that rule: the id is its group ``wafer``, else its first; an id it does not find is treated by
    the rule. Plain digits are padded with zeros to two (``002`` stays as it is). Nothing (NULL or blanks) is
    :data:`PLACEHOLDER_WAFER_ID`.

    >>> normalise_wafer_id("GAL-LOT-02", "GAL-LOT"), normalise_wafer_id(" 2 ", "L1"), normalise_wafer_id(None, "L1")
    ('02', '02', '(none)')
    """
    wafer = (raw or "").strip(BLANKS)
    if not wafer:
        return PLACEHOLDER_WAFER_ID
    if is_nameless_wafer_id(wafer):  # a pattern would find digits in it
        return wafer
    found = _find(pattern, wafer, "wafer")
    wafer = found if found is not None else _cut_lot(wafer, lot_id.strip(BLANKS), root)
    return wafer.zfill(2) if wafer.isascii() and wafer.isdigit() else wafer


def root_lot(lot_id: str, pattern: str | re.Pattern[str] | None = None) -> str:
    """The root lot as the lot's name shows it: the part before the first ``.``, else the lot itself.

    ``pattern`` (setting ``lot_root_pattern``) takes the place of the dot: the root is its group ``root``, else its
    first group, else, where it finds nothing, the lot itself. What ``dim_lot`` knows goes before; the loader asks it.

    >>> root_lot("A1234.07"), root_lot("A1234"), root_lot("A1234-07", r"^(\\w+)-")
    ('A1234', 'A1234', 'A1234')
    """
    lot = lot_id.strip(BLANKS)
    found = _find(pattern, lot, "root") if pattern is not None else lot.partition(".")[0].strip(BLANKS)
    return found or lot


def _cut_lot(wafer: str, lot: str, root: str | None) -> str:
    for prefix in (lot, root or root_lot(lot)):
        if prefix and wafer != lot and wafer.startswith(prefix):
            rest = wafer[len(prefix) :]
            if rest[:1] and rest[0] in _WAFER_SEPARATORS and (own := rest.lstrip(_WAFER_SEPARATORS)):
                return own
    return wafer


def _find(pattern: str | re.Pattern[str] | None, text: str, group: str) -> str | None:
    """Return the text that the pattern's group finds, stripped; None if it finds nothing."""
    if pattern is None:
        return None
    compiled = _compile(pattern) if isinstance(pattern, str) else pattern
    match = compiled.search(text)
    if match is None:
        return None
    found = match[group] if group in compiled.groupindex else match[min(1, compiled.groups)]
    return (found or "").strip(BLANKS) or None


@lru_cache(maxsize=32)
def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise NaturalKeyError(f"pattern {pattern!r} is no regular expression: {error}") from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
