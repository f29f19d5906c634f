"""JSON for JSONB columns: convert Python values to text, and check that the server and the views accept a text.

NaN is not a value, here as in all columns. An entry of an object that is NaN or None is left out: an Arrow struct cannot tell an
entry without a value from an entry that is absent, and the same row must be stored alike from every kind of frame. In a list such
an element is ``null``. A text is stored as it was given, a Decimal with all its digits.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from gpwarehouse.transport import NotPlainError, plain

__all__ = [
    "REFUSED",
    "bad_json",
    "check_json",
    "digits_of",
    "given_of_refused",
    "json_of",
    "json_of_element",
    "marked",
    "readable",
    "refused",
    "unmarked",
]

REFUSED = "!"
"""First character of a text that stands for a value that is not JSON. The reason follows. No JSON text begins with it."""

_LINES_AT_ONCE = 10_000
_AT_ONCE = 1000
_AT_ONCE_BYTES = 1 << 20
"""How many texts are parsed together, and how many bytes: their values are all in memory for a moment."""
_MARK = secrets.token_hex(16)
_NUMBER_IN_QUOTES = re.compile(rf'"{_MARK}([^"]*)"')
_NOTHING = pa.schema([(_MARK, pa.bool_())])
"""The schema that Arrow is given for the objects: a column that none of them has."""
_NO_LINE = r"[\r\n]|NaN|Inf|^[^{]|[^}]$|^$"
"""Matches texts that Arrow must not read: more than one line, not an object, or with numbers that only Arrow accepts."""
_MOST_BRACKETS = 500
_PLAIN = frozenset({str, int, float, bool})
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"\d[eE][+-]?\d{3}|[\d.]{200}")
"""A number without 200 digits or a three-digit exponent lies in the range of a double."""
_CLOSER_LOOK = r"[0-9][eE][+-]?[0-9]{3}|[0-9.]{200}|\\u(0000|[dD][89a-fA-F])"
"""Texts that do not match are good if they can be parsed. It joins the two patterns above and U+0000, for one search."""


def json_of(value: Any) -> str | None:
    """Convert a Python value to JSON text. Texts and bytes are JSON already; other values are encoded, objects sorted by name.

    None and NaN become SQL's NULL, never JSON's ``null``. A value that cannot be encoded becomes the text of :func:`refused`:
    its row is rejected, not the whole frame.
    """
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if _is_utf8(value) else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except ValueError as error:
            return refused(str(error), value)
    return json_of_element(value)


def json_of_element(value: Any) -> str:
    """Convert a value within an object, where a text is a text and no JSON; or the text of :func:`refused`."""
    try:
        text = json.dumps(_clean(value), allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        return refused(str(error), value)
    return unmarked(text)


def marked(digits: str) -> str:
    """Mark the digits of a number, so that they pass through JSON as a text and none is lost."""
    return f"{_MARK}{digits}"


def digits_of(value: Any) -> str | None:
    """The digits that :func:`marked` marked; None for any other value."""
    return value.removeprefix(_MARK) if isinstance(value, str) and value.startswith(_MARK) else None


def unmarked(text: str) -> str:
    """Turn the marked numbers of a JSON text into numbers."""
    return _NUMBER_IN_QUOTES.sub(r"\1", text) if _MARK in text else text


def refused(reason: str, value: Any) -> str:
    """Make a text for a value that is not JSON: the reason, and the value in readable form. The text itself is not JSON."""
    try:
        given = json.dumps(readable(value, as_text=False))
        check_json(given)
    except RecursionError:
        given = f"a {type(value).__name__}, which is nested too deeply"
    except ValueError:
        pass
    else:
        given = f"{given} ({reason})"
    return f"{REFUSED}{reason}{_MARK}{given}"


def given_of_refused(text: str) -> str:
    """Return the value, in readable form, that :func:`refused` was called with; any other text as it is."""
    return text.partition(_MARK)[2] if text.startswith(REFUSED) and _MARK in text else text


def readable(value: Any, *, as_text: bool = True) -> Any:
    """Convert a value to types that JSON has, for people: times become ISO text, bytes become text.

    :param as_text: convert infinities and the negative zero, which the server's JSON does not have, to texts, and NaN to NULL.
    """
    if isinstance(value, float) and as_text and (value - value != 0 or (value == 0 and math.copysign(1, value) < 0)):
        return None if value != value else f"{value:g}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        several = len({str(name) for name in value}) < len(value)
        return {repr(name) if several else str(name): readable(entry, as_text=as_text) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [readable(element, as_text=as_text) for element in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def check_json(text: str) -> None:
    """Refuse a text that the server would refuse, with its whole batch, and a text that would break a view.

    Numbers must lie in the range of a double, because the views read them as doubles.

    :raises ValueError: the text is refused; the message says why.
    """
    if text.startswith(REFUSED):
        raise ValueError(text.removeprefix(REFUSED).partition(_MARK)[0])
    value = (_STRICT if _LONG_NUMBER.search(text) else _DECODER).decode(text)
    if "\\u0000" in text and any("\x00" in part for part in _walk_texts(value)):
        raise ValueError("it holds U+0000, which the server does not accept")
    if _SURROGATE.search(text) and not all(map(_is_utf8, _walk_texts(value))):
        raise ValueError("it holds a lone surrogate, which is not a character")


def bad_json(texts: pa.Array) -> dict[int, str]:
    """Find the texts of an array without NULLs that :func:`check_json` refuses, each with the reason.

    Arrow reads objects, as lines. Python parses the texts that Arrow refuses or must not read. It parses many at a time, as
    one list, which is five times as fast. Between two texts stands a mark that no text can hold. If the marks are every
    second element of the parsed list, each text was exactly one value, and no bracket belongs to two texts. Texts that need more
    than parsing are checked one at a time.
    """
    doubtful = np.asarray(pc.match_substring_regex(texts, f"{_CLOSER_LOOK}|{_NO_LINE}"))
    sizes = np.asarray(pc.binary_length(texts))
    doubtful |= _may_be_deep(texts, sizes)
    left = np.flatnonzero(doubtful).tolist()
    lines = np.flatnonzero(~doubtful)
    for start in range(0, len(lines), _LINES_AT_ONCE):
        some = lines[start : start + _LINES_AT_ONCE]
        if not _are_objects(texts if len(some) == len(texts) else texts.take(pa.array(some))):
            left += some.tolist()
    return _find_bad(texts.take(pa.array(sorted(left), pa.int64())), sorted(left)) if left else {}


def _find_bad(texts: pa.Array, numbers: list[int]) -> dict[int, str]:
    """Find the texts that Python refuses; ``numbers`` are the keys of the result."""
    closer = np.asarray(pc.match_substring_regex(texts, _CLOSER_LOOK))
    plain = texts.to_pylist()
    alone, together = np.flatnonzero(closer).tolist(), np.flatnonzero(~closer).tolist()
    for start, end in _split(np.asarray(pc.binary_length(texts))[~closer]):
        places = together[start:end]
        if not _are_values([plain[place] for place in places]):
            alone += places
    return {numbers[place]: reason for place in sorted(alone) if (reason := _refusal_of(plain[place])) is not None}


def _may_be_deep(texts: pa.Array, sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Mark the texts that may be nested deeper than servers accept. Arrow has no limit."""
    deep = sizes > _MOST_BRACKETS
    if deep.any():
        long = texts.filter(pa.array(deep))
        brackets = pc.add(pc.count_substring(long, "["), pc.count_substring(long, "{"))
        deep[deep] = np.asarray(brackets) > _MOST_BRACKETS
    return deep


def _are_objects(texts: pa.Array) -> bool:
    """Whether each text is certainly one object, provided that each begins and ends with a brace and holds no line feed.

    An object cannot continue on the next line: if it is incomplete, no brace can follow. So every line holds at least one object,
    and the number of objects equals the number of lines only if every line holds exactly one.
    """
    joined = pc.binary_join_element_wise(texts, "", "\n")
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int32)
    lines = data.slice(int(ends[joined.offset]), int(ends[joined.offset + len(joined)] - ends[joined.offset]))
    reading = pa_json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    nothing = pa_json.ParseOptions(explicit_schema=_NOTHING, unexpected_field_behavior="ignore")
    try:
        found = pa_json.read_json(pa.BufferReader(lines), reading, nothing)
    except pa.ArrowInvalid:
        return False
    return bool(found.num_rows == len(texts))


def _split(sizes: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    """Yield first and last (excluded) of the texts to parse together, by their sizes."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        most = ends[start] - sizes[start] + _AT_ONCE_BYTES
        end = max(start + 1, min(start + _AT_ONCE, int(np.searchsorted(ends, most))))
        yield start, end
        start = end


def _refusal_of(text: str) -> str | None:
    try:
        check_json(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _are_values(texts: Sequence[str]) -> bool:
    """Whether each text is certainly one value."""
    try:
        values = _DECODER.decode(f"""[{f',"{_MARK}",'.join(texts)}]""")
    except (ValueError, RecursionError):
        return False
    return len(values) == 2 * len(texts) - 1 and values[1::2].count(_MARK) == len(texts) - 1


def _clean(value: Any) -> Any:
    """Convert ``value`` to types that JSON has, without entries that are not values.

    :raises TypeError: it holds a value of a type that is not supported.
    :raises ValueError: two names of an object would become one.
    """
    kind = type(value)
    if kind is dict and _PLAIN.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values())):
        if any(entry != entry for entry in value.values()):
            value = {name: entry for name, entry in value.items() if entry == entry}
        return value if all(type(name) is str for name in value) else _make_object(value.items())
    if kind in _PLAIN or value is None:
        return None if value != value else value
    if isinstance(value, Mapping):
        entries = ((name, _clean(entry)) for name, entry in value.items())
        return _make_object((name, entry) for name, entry in entries if entry is not None)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_clean(element) for element in value]
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biu" or value.dtype in (np.float32, np.float64):
            return _clean(value.tolist())
        return [_clean(element) for element in value] if value.ndim else _clean(value[()])
    return _convert_scalar(value)


def _convert_scalar(value: Any) -> Any:
    """Convert a scalar. A Decimal keeps all its digits as a text; the quotes around it are removed later."""
    try:
        found = plain(value)
    except NotPlainError as error:
        raise TypeError(f"it holds {error}, which JSON does not have") from None
    if isinstance(found, Decimal):
        if found.is_infinite():
            raise ValueError(f"Out of range float values are not JSON compliant: {found}")
        return marked(str(found))
    if isinstance(found, datetime | date | time):
        return found.isoformat()
    if isinstance(found, bytes | timedelta):
        raise TypeError(f"it holds a {type(value).__name__}, which JSON does not have")
    return str(found) if isinstance(found, UUID) else found


def _make_object(entries: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Make an object whose names are texts; numbers as names (test numbers) are written as texts.

    :raises ValueError: two of the names become one text.
    """
    found: dict[str, Any] = {}
    for name, entry in entries:
        text = _convert_name(name)
        if text in found:
            raise ValueError(f"it holds the name {text!r} twice, as a text and as a number")
        found[text] = entry
    return found


def _convert_name(name: Any) -> str:
    try:
        found = plain(name)
    except NotPlainError:
        found = None
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str | int) or (isinstance(found, float) and math.isfinite(found)):
        return str(found)
    raise TypeError(f"it holds a name of type {type(name).__name__}, which JSON does not have")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield name
            yield from _walk_texts(entry)
    elif isinstance(value, list):
        for element in value:
            yield from _walk_texts(element)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _parse_double(digits: str) -> float:
    number = float(digits)
    if math.isinf(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
        raise ValueError(f"{digits[:40]} is outside the range of a double")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_double, parse_int=_parse_double)
