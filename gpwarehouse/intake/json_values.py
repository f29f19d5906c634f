"""JSON on its way to a JSONB column: Python values → text, and whether the server and the views will take a text.

One rule for NaN, here as in columns: it is no value. An entry of an object that is NaN or None is left out, because an
Arrow struct cannot tell an entry without a value from one that is not there, and the same row must be stored alike from
every kind of frame; in a list such an element is ``null``. A text is stored as it was given, a Decimal with all its digits.
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

__all__ = ["REFUSED", "bad_json", "check_json", "given_of_refused", "json_of", "readable", "refused"]

REFUSED = "!"
"""Begins the text of a value that is no JSON; what follows is the reason. No JSON text begins with it."""

_LINES_AT_ONCE = 10_000
_AT_ONCE = 1000
_AT_ONCE_BYTES = 1 << 20
"""Texts that are parsed together, and how long they may be: what comes of them is in memory for a moment."""
_MARK = secrets.token_hex(16)
_NUMBER_IN_QUOTES = re.compile(rf'"{_MARK}([^"]*)"')
_NOTHING = pa.schema([(_MARK, pa.bool_())])
"""What Arrow is to make of the objects: a column that none of them has."""
_NO_LINE = r"[\r\n]|NaN|Inf|^[^{]|[^}]$|^$"
"""Texts with it are none of Arrow's: more than a line, no object, or with numbers that only Arrow knows."""
_MOST_BRACKETS = 500
_PLAIN = frozenset({str, int, float, bool})
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"\d[eE][+-]?\d{3}|[\d.]{200}")
"""Without it, 199 digits and two of an exponent, a number lies in the range of a double."""
_CLOSER_LOOK = r"[0-9][eE][+-]?[0-9]{3}|[0-9.]{200}|\\u(0000|[dD][89a-fA-F])"
"""Texts without it are good if they can be parsed: what the two before and U+0000 are searched for, in one go."""


def json_of(value: Any) -> str | None:
    """The text of a Python value: texts and bytes are JSON already, anything else is encoded, objects sorted by name.

    None and NaN are SQL's NULL, never JSON's. What cannot be encoded comes back as :func:`refused`, so that its row is
    rejected and not the frame.
    """
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if _is_utf8(value) else value.encode("utf-8", "backslashreplace").decode()
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode()
        text = json.dumps(_clean(value), allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        return refused(str(error), value)
    return _NUMBER_IN_QUOTES.sub(r"\1", text) if _MARK in text else text


def refused(reason: str, value: Any) -> str:
    """The text of a value that is no JSON: why, and what it was, for people; as it stands that is no JSON either."""
    try:
        given = json.dumps(readable(value, as_text=False))
        check_json(given)
    except RecursionError:
        given = f"a {type(value).__name__}, nested too deep"
    except ValueError:
        pass
    else:
        given = f"{given} ({reason})"
    return f"{REFUSED}{reason}{_MARK}{given}"


def given_of_refused(text: str) -> str:
    """What a value was that :func:`refused` made a text of; any other text as it is."""
    return text.partition(_MARK)[2] if text.startswith(REFUSED) and _MARK in text else text


def readable(value: Any, *, as_text: bool = True) -> Any:
    """A value in types that JSON has, for people: times as ISO text, bytes as they look.

    :param as_text: infinities and the negative zero, which the server's JSON does not have, become texts, and NaN NULL.
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
    """Refuse what the server would refuse, and take the whole batch down with it, or what would break a view.

    Numbers must lie in the range of a double, because the views unfold them as such.

    :raises ValueError: saying what is wrong.
    """
    if text.startswith(REFUSED):
        raise ValueError(text.removeprefix(REFUSED).partition(_MARK)[0])
    value = (_STRICT if _LONG_NUMBER.search(text) else _DECODER).decode(text)
    if "\\u0000" in text and any("\x00" in part for part in _texts(value)):
        raise ValueError("it holds U+0000, which the server does not take")
    if _SURROGATE.search(text) and not all(map(_is_utf8, _texts(value))):
        raise ValueError("it holds a lone surrogate, which is no character")


def bad_json(texts: pa.Array) -> dict[int, str]:
    """Which of an array of texts without NULLs :func:`check_json` refuses, and why.

    Objects are read by Arrow, as lines. What Arrow does not take, or is not to be asked about, is parsed by Python: many at a
    time, as one list, five times as fast as each alone. Between any two stands a mark that no text can hold: if the marks are
    every second entry of what comes back, each text was one value, and none took a bracket of its neighbour's. What may need
    more than parsing is looked at alone.
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
    return _bad_among(texts.take(pa.array(sorted(left), pa.int64())), sorted(left)) if left else {}


def _bad_among(texts: pa.Array, numbers: list[int]) -> dict[int, str]:
    """Those that Python refuses, by the numbers they have elsewhere."""
    closer = np.asarray(pc.match_substring_regex(texts, _CLOSER_LOOK))
    plain = texts.to_pylist()
    alone, together = np.flatnonzero(closer).tolist(), np.flatnonzero(~closer).tolist()
    for start, end in _portions(np.asarray(pc.binary_length(texts))[~closer]):
        places = together[start:end]
        if not _are_values([plain[place] for place in places]):
            alone += places
    return {numbers[place]: reason for place in sorted(alone) if (reason := _refusal(plain[place])) is not None}


def _may_be_deep(texts: pa.Array, sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which may be nested deeper than servers take: Arrow knows no limit."""
    deep = sizes > _MOST_BRACKETS
    if deep.any():
        long = texts.filter(pa.array(deep))
        brackets = pc.add(pc.count_substring(long, "["), pc.count_substring(long, "{"))
        deep[deep] = np.asarray(brackets) > _MOST_BRACKETS
    return deep


def _are_objects(texts: pa.Array) -> bool:
    """Whether each is one object, for certain, if each begins and ends with a brace and holds no line feed.

    No object goes on into the next line: where one is not complete after a brace, no brace can follow. So there is at least one
    on every line, and as many as there are lines only if there is one on each.
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


def _portions(sizes: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    """First and last (excluded) of the texts to parse together, by their sizes."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        most = ends[start] - sizes[start] + _AT_ONCE_BYTES
        end = max(start + 1, min(start + _AT_ONCE, int(np.searchsorted(ends, most))))
        yield start, end
        start = end


def _refusal(text: str) -> str | None:
    try:
        check_json(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _are_values(texts: Sequence[str]) -> bool:
    """Whether each is one value, for certain."""
    try:
        values = _DECODER.decode(f"""[{f',"{_MARK}",'.join(texts)}]""")
    except (ValueError, RecursionError):
        return False
    return len(values) == 2 * len(texts) - 1 and values[1::2].count(_MARK) == len(texts) - 1


def _clean(value: Any) -> Any:
    """``value`` in types that JSON has, without the entries that are no values.

    :raises TypeError: it holds what is none of the types that are understood.
    :raises ValueError: or names that become one.
    """
    kind = type(value)
    if kind is dict and _PLAIN.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values())):
        if any(entry != entry for entry in value.values()):
            value = {name: entry for name, entry in value.items() if entry == entry}
        return value if all(type(name) is str for name in value) else _named(value.items())
    if kind in _PLAIN or value is None:
        return None if value != value else value
    if isinstance(value, Mapping):
        entries = ((name, _clean(entry)) for name, entry in value.items())
        return _named((name, entry) for name, entry in entries if entry is not None)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_clean(element) for element in value]
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biu" or value.dtype in (np.float32, np.float64):
            return _clean(value.tolist())
        return [_clean(element) for element in value] if value.ndim else _clean(value[()])
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """A number keeps all its digits, which Python's own encoder would take for a text: the quotes are taken off later."""
    try:
        found = plain(value)
    except NotPlainError as error:
        raise TypeError(f"it holds {error}, which JSON does not have") from None
    if isinstance(found, Decimal):
        if found.is_infinite():
            raise ValueError(f"Out of range float values are not JSON compliant: {found}")
        return f"{_MARK}{found}"
    if isinstance(found, datetime | date | time):
        return found.isoformat()
    if isinstance(found, bytes | timedelta):
        raise TypeError(f"it holds a {type(value).__name__}, which JSON does not have")
    return str(found) if isinstance(found, UUID) else found


def _named(entries: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """An object; its names are texts, and numbers (test numbers) are written as such.

    :raises ValueError: two of the names are one then.
    """
    found: dict[str, Any] = {}
    for name, entry in entries:
        text = _name(name)
        if text in found:
            raise ValueError(f"the name {text!r} is there twice, as a text and as a number")
        found[text] = entry
    return found


def _name(name: Any) -> str:
    try:
        found = plain(name)
    except NotPlainError:
        found = None
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str | int) or (isinstance(found, float) and math.isfinite(found)):
        return str(found)
    raise TypeError(f"a name in it is a {type(name).__name__}, which JSON does not have")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield name
            yield from _texts(entry)
    elif isinstance(value, list):
        for element in value:
            yield from _texts(element)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _double(digits: str) -> float:
    number = float(digits)
    if math.isinf(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
        raise ValueError(f"{digits[:40]} is beyond the range of a double")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_double, parse_int=_double)
