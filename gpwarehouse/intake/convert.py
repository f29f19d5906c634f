"""One column as it was given → the type its target wants, and for each value that cannot be: why.

A column is cast whole by Arrow. Where Arrow refuses, it is halved until the bad values stand alone, so that every value
meets the same rule whatever stands beside it. Rules where kinds differ:

- NaN is no value: it becomes NULL. Infinities are values, which the checks refuse.
- A time needs a zone; digits beyond the microsecond are cut off. It lies in the years 1 to 9999.
- Whole floats are integers (pandas keeps nullable integers as floats); an integer too large for a double is rounded.
- Numbers and times may come as text. ``true``/``t``/``1`` and ``false``/``f``/``0`` are booleans; a boolean is no number.
- Bytes are text if they are UTF-8.

What other types there are, :mod:`gpwarehouse.intake.arrow_layouts` and :mod:`gpwarehouse.intake.python_values` have dealt
with before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.arrow_texts import cut_to_microseconds, text_of, without_nan
from gpwarehouse.intake.json_values import bad_json, given_of_refused
from gpwarehouse.intake.python_values import Alien
from gpwarehouse.intake.target import InputColumn
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["Faults", "as_given", "convert", "shown"]

Faults = dict[int, str]
"""Row of the batch → what is wrong with its value."""

_REFUSALS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
_TRUE = pa.array(["true", "t", "1"])
_FALSE = pa.array(["false", "f", "0"])
_DIGITS = r"^[+-]?[0-9]+(\.0*)?$"
_USUAL_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
)
_FIRST_MOMENT = pa.scalar(datetime.min.replace(tzinfo=UTC), TIMESTAMP)
_LAST_MOMENT = pa.scalar(datetime.max.replace(tzinfo=UTC), TIMESTAMP)


def convert(array: pa.Array, column: InputColumn) -> tuple[pa.Array, Faults]:
    """The array in the column's type, NULL where a value is at fault, and the faults.

    :raises InvalidInputError: a column of times without a zone.
    """
    if column.is_json:
        return _json(array)
    array = without_nan(array)
    if pa.types.is_timestamp(column.type):
        _refuse_without_zone(array, column)
        if _is_text(array.type):
            return _times(array)
        if _is_bytes(array.type):
            texts, bad = _halving(array, text_of, pa.string())
            moments, others = _times(texts)
            return moments, {row: _no(array, row, column.type) for row in bad} | others
    rule = _rule(array.type, column.type)
    if rule is None:
        present = pc.indices_nonzero(array.is_valid()).to_pylist()
        return pa.nulls(len(array), column.type), {row: _no(array, row, column.type) for row in present}
    converted, bad = _halving(array, rule, column.type)
    converted = without_nan(converted)  # which a text may be
    if column.default is not None:
        converted = pc.fill_null(converted, column.default)
    return converted, {row: _no(array, row, column.type) for row in bad}


def shown(value: Any) -> str:
    """A value in a sentence: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text)} characters)"


def as_given(value: pa.Scalar) -> Any:
    """A value as Python's own; of one that had no place in an array its text, of one that is no JSON what it was."""
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):  # a time beyond the year 9999
        return f"{getattr(value, 'value', '?')} as {value.type}"
    if isinstance(plain, bytes):
        return Alien.in_bytes(plain) or plain
    return given_of_refused(plain) if isinstance(plain, str) else plain


def _no(array: pa.Array, row: int, kind: pa.DataType) -> str:
    value = as_given(array[row])
    if isinstance(value, Alien):
        return f"{shown(value)} is a {value.kind}, and no {kind}"
    return f"{shown(value)} is no {kind}"


def _halving(array: pa.Array, rule: Callable[[pa.Array], pa.Array], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """What ``rule`` makes of the array, and the rows it refuses."""
    pieces, bad, todo = [], [], [(0, array)]
    while todo:
        first, part = todo.pop()
        try:
            pieces.append(rule(part))
        except _REFUSALS:
            if len(part) == 1:
                pieces.append(pa.nulls(1, kind))
                bad.append(first)
            else:
                half = len(part) // 2
                todo += [(first + half, part.slice(half)), (first, part.slice(0, half))]
    return pa.concat_arrays(pieces), bad


def _rule(given: pa.DataType, kind: pa.DataType) -> Callable[[pa.Array], pa.Array] | None:
    """How values of ``given`` become ``kind``, by a function that raises where one cannot; None if none can."""
    types = pa.types
    text = _is_text(given) or _is_bytes(given)
    number = types.is_integer(given) or types.is_floating(given) or types.is_decimal(given)
    if types.is_null(given):
        return _caster(kind)
    if types.is_timestamp(kind):
        return _to_moment if types.is_timestamp(given) else None
    if given == kind:
        return lambda array: array
    if types.is_string(kind):
        moment = types.is_temporal(given) and not types.is_duration(given)
        return text_of if text or number or types.is_boolean(given) or moment else None
    if types.is_boolean(kind):
        return _to_boolean if text or number else None
    if types.is_integer(kind):
        return (lambda array: _text_to_integer(array, kind)) if text else _caster(kind) if number else None
    if types.is_floating(kind):
        return _text_to_float if text or types.is_decimal(given) else _to_float if number else None
    return _caster(kind)


def _caster(kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    return lambda array: without_nan(array).cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _trimmed(array: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(text_of(array))


def _to_boolean(array: pa.Array) -> pa.Array:
    text = pc.utf8_lower(_trimmed(array))
    true, false = pc.is_in(text, _TRUE), pc.is_in(text, _FALSE)
    if not pc.all(pc.or_(pc.or_(true, false), text.is_null())).as_py():
        raise pa.ArrowInvalid("no boolean")
    return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))


def _text_to_integer(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Digits as they are, without zeros behind a point; else a float that is whole. Arrow alone would take hexadecimal too."""
    text = _trimmed(array)
    digits = pc.match_substring_regex(text, _DIGITS)
    none = pa.scalar(None, pa.string())
    plain = pc.replace_substring_regex(pc.if_else(digits, text, none), r"^\+|\.0*$", "").cast(kind)
    others = pc.if_else(digits, none, text)
    return plain if others.null_count == len(others) else pc.coalesce(plain, _caster(kind)(_text_to_float(others)))


def _text_to_float(array: pa.Array) -> pa.Array:
    """Through the text for decimals too: Arrow's own cast of them is one digit off now and then."""
    text = _trimmed(array)
    numbers = text.cast(pa.float64())
    endless = pc.and_(pc.is_inf(numbers), pc.invert(pc.match_substring(text, "inf", ignore_case=True)))
    if pc.any(endless).as_py():
        raise pa.ArrowInvalid("beyond the range of a double")
    return numbers


def _to_float(array: pa.Array) -> pa.Array:
    return array.cast(pa.float64(), safe=False)


def _to_moment(array: pa.Array) -> pa.Array:
    moments = cut_to_microseconds(array).cast(TIMESTAMP)
    outside = pc.or_(pc.less(moments, _FIRST_MOMENT), pc.greater(moments, _LAST_MOMENT))
    if pc.any(outside).as_py():
        raise pa.ArrowInvalid("no year from 1 to 9999")
    return moments


def _refuse_without_zone(array: pa.Array, column: InputColumn) -> None:
    kind = array.type
    if (pa.types.is_timestamp(kind) and kind.tz is None) or pa.types.is_date(kind):
        raise InvalidInputError(
            f"column {column.name!r} holds times without a zone ({kind}); give them one, "
            "e.g. frame[column].dt.tz_localize('Europe/Berlin')"
        )


def _usual_times(array: pa.Array) -> pa.Array | None:
    """Texts that are all of the form that Arrow and Python read alike, by Arrow; None if one is not."""
    if not pc.all(pc.match_substring_regex(array, _USUAL_TIME)).as_py():
        return None
    try:
        moments = array.cast(TIMESTAMP)
    except _REFUSALS:
        return None
    outside = pc.or_(pc.less(moments, _FIRST_MOMENT), pc.greater(moments, _LAST_MOMENT))
    return None if pc.any(outside).as_py() else moments


def _times(array: pa.Array) -> tuple[pa.Array, Faults]:
    """Texts in ISO 8601; where not all are of the usual form, one by one: Arrow would take those without a zone as UTC."""
    usual = _usual_times(array)
    if usual is not None:
        return usual, {}
    moments: list[datetime | None] = []
    bad: Faults = {}
    for row, text in enumerate(array.to_pylist()):
        moment = None
        if text is not None:
            try:
                moment = datetime.fromisoformat(text.strip())
                if moment.tzinfo is None:
                    bad[row] = f"{shown(text)} has no time zone"
                    moment = None
                else:
                    moment = moment.astimezone(UTC)
            except (ValueError, OverflowError):
                bad[row], moment = f"{shown(text)} is no time (ISO 8601 with a zone)", None
        moments.append(moment)
    return pa.array(moments, TIMESTAMP), bad


def _mostly_differ(texts: pa.Array) -> bool:
    """Whether telling the same texts apart costs more than it spares, by a sample."""
    sample = texts.slice(0, 1000)
    return bool(2 * pc.count_distinct(sample).as_py() > len(sample))


def _json(array: pa.Array) -> tuple[pa.Array, Faults]:
    """JSON texts; where many are the same, each distinct one is parsed once."""
    array = array.cast(pa.string())
    if _mostly_differ(array) and not bad_json(array.drop_null()):
        return array, {}
    bad = faults_of_distinct(array, bad_json)
    if not bad:
        return array, {}
    places = pc.is_in(pa.array(range(len(array))), pa.array(bad))
    return pc.if_else(places, pa.scalar(None, pa.string()), array), {
        row: f"bad JSON: {reason}" for row, reason in bad.items()
    }


def faults_of_distinct(array: pa.Array, find: Callable[[pa.Array], Mapping[int, str]]) -> Faults:
    """The faults that ``find`` sees, which is shown each distinct value once and says of which place in what it was shown."""
    encoded = array.dictionary_encode()
    reasons = find(encoded.dictionary)
    if not reasons:
        return {}
    rows = pc.indices_nonzero(pc.is_in(encoded.indices, pa.array(reasons, encoded.indices.type))).to_pylist()
    return {row: reasons[encoded.indices[row].as_py()] for row in rows}
