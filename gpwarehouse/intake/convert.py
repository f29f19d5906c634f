"""Convert one column as it was given to the type of its target, with a reason for each value that cannot be converted.

Arrow casts a column as a whole. If Arrow refuses, the column is halved until each bad value stands alone. So every value is
judged by the same rule, whatever other values stand beside it. The rules:

- NaN is not a value: it becomes NULL. Infinities are values; the checks refuse them.
- A time needs a time zone. Digits beyond the microsecond are cut off. The year is from 1 to 9999.
- Whole floats are integers (pandas keeps nullable integers as floats). An integer too large for a double is rounded.
- Numbers and times may come as text. ``true``/``t``/``1`` and ``false``/``f``/``0`` are booleans. A boolean is not a number.
- Bytes are text if they are UTF-8.

:mod:`gpwarehouse.intake.arrow_layouts` and :mod:`gpwarehouse.intake.python_values` have handled all other types before.
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
from gpwarehouse.intake.list_values import convert_lists
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
    """Convert an array to the column's type.

    :return: the array, with NULL in the place of each bad value, and the faults.
    :raises InvalidInputError: the column holds times without a time zone.
    """
    if column.is_json:
        return _check_json_texts(array)
    if column.is_list:
        return convert_lists(array, column.type)
    array = without_nan(array)
    if pa.types.is_timestamp(column.type):
        _refuse_without_zone(array, column)
        if _is_text(array.type):
            return _parse_times(array)
        if _is_bytes(array.type):
            texts, bad = _convert_by_halves(array, text_of, pa.string())
            moments, others = _parse_times(texts)
            return moments, {row: _describe_fault(array, row, column.type) for row in bad} | others
    rule = _find_rule(array.type, column.type)
    if rule is None:
        present = pc.indices_nonzero(array.is_valid()).to_pylist()
        return pa.nulls(len(array), column.type), {row: _describe_fault(array, row, column.type) for row in present}
    converted, bad = _convert_by_halves(array, rule, column.type)
    converted = without_nan(converted)  # a text may be "NaN"
    if column.default is not None:
        converted = pc.fill_null(converted, column.default)
    return converted, {row: _describe_fault(array, row, column.type) for row in bad}


def shown(value: Any) -> str:
    """Show a value in a message: its repr, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text)} characters)"


def as_given(value: pa.Scalar) -> Any:
    """Convert an Arrow value to the Python value that was given.

    A value that no array could hold comes back as its text. A value that was refused as JSON comes back as it was.
    """
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):  # a time after the year 9999
        return f"{getattr(value, 'value', '?')} as {value.type}"
    if isinstance(plain, bytes):
        return Alien.in_bytes(plain) or plain
    return given_of_refused(plain) if isinstance(plain, str) else plain


def _describe_fault(array: pa.Array, row: int, kind: pa.DataType) -> str:
    value = as_given(array[row])
    if isinstance(value, Alien):
        return f"{shown(value)} is a {value.kind}, which cannot be read as {kind}"
    return f"{shown(value)} cannot be read as {kind}"


def _convert_by_halves(
    array: pa.Array, rule: Callable[[pa.Array], pa.Array], kind: pa.DataType
) -> tuple[pa.Array, list[int]]:
    """Apply ``rule`` to the array; return the result, and the rows that ``rule`` refuses."""
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


def _find_rule(given: pa.DataType, kind: pa.DataType) -> Callable[[pa.Array], pa.Array] | None:
    """Find the function that converts ``given`` to ``kind`` and raises if a value cannot be converted; None if none can."""
    types = pa.types
    text = _is_text(given) or _is_bytes(given)
    number = types.is_integer(given) or types.is_floating(given) or types.is_decimal(given)
    if types.is_null(given):
        return _make_cast(kind)
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
        return (lambda array: _text_to_integer(array, kind)) if text else _make_cast(kind) if number else None
    if types.is_floating(kind):
        return _text_to_float if text or types.is_decimal(given) else _to_float if number else None
    return _make_cast(kind)


def _make_cast(kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    return lambda array: without_nan(array).cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _trim(array: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(text_of(array))


def _to_boolean(array: pa.Array) -> pa.Array:
    text = pc.utf8_lower(_trim(array))
    true, false = pc.is_in(text, _TRUE), pc.is_in(text, _FALSE)
    if not pc.all(pc.or_(pc.or_(true, false), text.is_null())).as_py():
        raise pa.ArrowInvalid("not a boolean")
    return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))


def _text_to_integer(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert digits exactly, without zeros after a point; other texts as whole floats. Arrow alone also accepts hexadecimal."""
    text = _trim(array)
    digits = pc.match_substring_regex(text, _DIGITS)
    none = pa.scalar(None, pa.string())
    plain = pc.replace_substring_regex(pc.if_else(digits, text, none), r"^\+|\.0*$", "").cast(kind)
    others = pc.if_else(digits, none, text)
    return plain if others.null_count == len(others) else pc.coalesce(plain, _make_cast(kind)(_text_to_float(others)))


def _text_to_float(array: pa.Array) -> pa.Array:
    """Convert by the text, decimals too: Arrow's own cast of decimals is sometimes wrong in the last digit."""
    text = _trim(array)
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
        raise pa.ArrowInvalid("the year is not from 1 to 9999")
    return moments


def _refuse_without_zone(array: pa.Array, column: InputColumn) -> None:
    kind = array.type
    if (pa.types.is_timestamp(kind) and kind.tz is None) or pa.types.is_date(kind):
        raise InvalidInputError(
            f"column {column.name!r} holds times without a time zone ({kind}); add the time zone, "
            "e.g. frame[column].dt.tz_localize('Europe/Berlin')"
        )


def _parse_usual_times(array: pa.Array) -> pa.Array | None:
    """Parse texts by Arrow, if all have the form that Arrow and Python read alike; None if one has another form."""
    if not pc.all(pc.match_substring_regex(array, _USUAL_TIME)).as_py():
        return None
    try:
        moments = array.cast(TIMESTAMP)
    except _REFUSALS:
        return None
    outside = pc.or_(pc.less(moments, _FIRST_MOMENT), pc.greater(moments, _LAST_MOMENT))
    return None if pc.any(outside).as_py() else moments


def _parse_times(array: pa.Array) -> tuple[pa.Array, Faults]:
    """Parse texts in ISO 8601. If not all have the usual form, Python parses each: Arrow would read times without zone as UTC."""
    usual = _parse_usual_times(array)
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
                bad[row], moment = f"{shown(text)} is not a time in ISO 8601 with a time zone", None
        moments.append(moment)
    return pa.array(moments, TIMESTAMP), bad


def _mostly_differ(texts: pa.Array) -> bool:
    """Whether most texts of a sample differ, so that finding the distinct ones costs more than it saves."""
    sample = texts.slice(0, 1000)
    return bool(2 * pc.count_distinct(sample).as_py() > len(sample))


def _check_json_texts(array: pa.Array) -> tuple[pa.Array, Faults]:
    """Check JSON texts. If many are the same, each distinct text is parsed once."""
    array = array.cast(pa.string())
    if _mostly_differ(array) and not bad_json(array.drop_null()):
        return array, {}
    bad = faults_of_distinct(array, bad_json)
    if not bad:
        return array, {}
    places = pc.is_in(pa.array(range(len(array))), pa.array(bad))
    return pc.if_else(places, pa.scalar(None, pa.string()), array), {
        row: f"invalid JSON: {reason}" for row, reason in bad.items()
    }


def faults_of_distinct(array: pa.Array, find: Callable[[pa.Array], Mapping[int, str]]) -> Faults:
    """Find the faults of rows by those of their distinct values: ``find`` gets each distinct value once."""
    encoded = array.dictionary_encode()
    reasons = find(encoded.dictionary)
    if not reasons:
        return {}
    rows = pc.indices_nonzero(pc.is_in(encoded.indices, pa.array(reasons, encoded.indices.type))).to_pylist()
    return {row: reasons[encoded.indices[row].as_py()] for row in rows}
