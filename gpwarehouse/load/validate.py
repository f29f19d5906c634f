"""Rows as given → rows as the model wants them, and the rest as rejects with column and reason.

Columns are converted whole by Arrow; only a column that Arrow refuses is walked value by value, to find the bad ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.load.target import TIMESTAMP, InputColumn, Target
from gpwarehouse.models.keys import KEY_SEPARATOR

__all__ = ["Reject", "Validator"]


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded: its number in the source (from 1), the first column at fault, why, and all of it."""

    row_number: int
    column_name: str
    reason: str
    raw: dict[str, Any] = field(repr=False)


class Validator:
    """Checks batches against a target.

    :param earliest: events before it are rejected (aware).
    :param latest: events at or after it are rejected (aware).
    """

    def __init__(self, target: Target, *, earliest: datetime, latest: datetime) -> None:
        self.target = target
        self.earliest = earliest
        self.latest = latest

    def check(self, batch: pa.RecordBatch, first_row: int) -> tuple[pa.RecordBatch, list[Reject]]:
        """Good rows in the target's input types (all input columns, in its order), and the rejects.

        :param first_row: number of the batch's first row.
        :raises InvalidInputError: a column is unknown, or times come without a zone.
        """
        self.target.check_names(batch.schema.names)
        faults: dict[int, tuple[str, str]] = {}
        arrays = []
        for column in self.target.inputs.values():
            if column.name in batch.schema.names:
                array, bad = self._column(batch.column(column.name), column)
            elif column.name == "source_record_no":
                array, bad = pa.array(range(first_row, first_row + batch.num_rows), pa.int64()), {}
            else:
                array, bad = pa.nulls(batch.num_rows, column.type), {}
            for row, reason in bad.items():
                faults.setdefault(row, (column.name, reason))
            arrays.append(array)
        clean = pa.RecordBatch.from_arrays(arrays, list(self.target.inputs))
        if not faults:
            return clean, []
        keep = pa.array([row not in faults for row in range(batch.num_rows)])
        rejects = [
            Reject(first_row + row, name, reason, batch.slice(row, 1).to_pylist()[0])
            for row, (name, reason) in sorted(faults.items())
        ]
        return clean.filter(keep), rejects

    def _column(self, array: pa.Array, column: InputColumn) -> tuple[pa.Array, dict[int, str]]:
        array, bad = convert(array, column)
        checks = [_required, _text_faults, _domain_faults]
        if column.name == self.target.partition_column:
            checks.append(self._window_faults)
        for find in checks:
            for row, reason in find(array, column).items():
                bad.setdefault(row, reason)
        return array, bad

    def _window_faults(self, array: pa.Array, column: InputColumn) -> dict[int, str]:
        early = pc.less(array, pa.scalar(self.earliest, TIMESTAMP))
        late = pc.greater_equal(array, pa.scalar(self.latest, TIMESTAMP))
        return _faults(
            pc.or_(early, late),
            array,
            lambda value: f"{value.isoformat()} is outside {self.earliest:%Y-%m-%d} to {self.latest:%Y-%m-%d}",
        )


def _faults(mask: pa.Array, array: pa.Array, reason: Callable[[Any], str]) -> dict[int, str]:
    """Row → reason, for the rows where ``mask`` is true."""
    if not pc.any(mask).as_py():
        return {}
    rows = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return {row: reason(array[row].as_py()) for row in rows}


def _required(array: pa.Array, column: InputColumn) -> dict[int, str]:
    if not column.required:
        return {}
    missing = array.is_null()
    if pa.types.is_string(array.type):
        missing = pc.or_(missing, pc.equal(pc.utf8_trim_whitespace(pc.fill_null(array, "")), ""))
    return _faults(missing, array, lambda _: "missing")


def _text_faults(array: pa.Array, column: InputColumn) -> dict[int, str]:
    if not pa.types.is_string(array.type):
        return {}
    bad = _faults(pc.match_substring(array, "\x00"), array, lambda _: "holds the character U+0000, which text cannot")
    if column.is_key_part:
        held = pc.match_substring(array, KEY_SEPARATOR)
        bad |= _faults(held, array, lambda _: "holds U+001F, which separates the parts of a key")
    return bad


def _domain_faults(array: pa.Array, column: InputColumn) -> dict[int, str]:
    domain = column.domain
    if domain is None:
        return {}
    if domain.json is not None:
        return _json_kind_faults(array, domain.json)
    if domain.values is not None:
        outside = pc.and_(pc.invert(pc.is_in(array, pa.array(domain.values, pa.string()))), array.is_valid())
        return _faults(outside, array, lambda value: f"{value!r} is none of {', '.join(domain.values or ())}")
    bad: dict[int, str] = {}
    for compare, limit, word in (
        (pc.less, domain.ge, "at least"),
        (pc.less_equal, domain.gt, "more than"),
        (pc.greater, domain.le, "at most"),
    ):
        if limit is not None:
            bad |= _faults(compare(array, limit), array, lambda v, w=word, n=limit: f"{v} must be {w} {n:g}")  # type: ignore[misc]
    return bad


def _json_kind_faults(array: pa.Array, kind: str) -> dict[int, str]:
    bracket = {"object": "{", "array": "["}[kind]
    other = pc.invert(pc.starts_with(pc.utf8_ltrim_whitespace(array), bracket))
    return _faults(other, array, lambda value: f"{value[:40]!r} must be a JSON {kind}")


def convert(array: pa.Array, column: InputColumn) -> tuple[pa.Array, dict[int, str]]:
    """The array in the column's type, and for each row that could not be: why. NaN becomes NULL: it measures nothing.

    :raises InvalidInputError: times without a zone.
    """
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(column.type) and pa.types.is_timestamp(array.type) and array.type.tz is None:
        raise InvalidInputError(
            f"column {column.name!r} holds times without a zone; give them one, "
            "e.g. frame[column].dt.tz_localize('Europe/Berlin')"
        )
    if column.is_json:
        return _json(array)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    # Arrow would take texts of dates as local to UTC and seconds as they come: times in text are read one by one.
    if not (pa.types.is_timestamp(column.type) and _is_text(array.type)):
        try:
            return _no_nan(array.cast(column.type)), {}
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            pass
    return _one_by_one(array, column.type)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _no_nan(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _one_by_one(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    values: list[Any] = []
    bad: dict[int, str] = {}
    for row, value in enumerate(array.to_pylist()):
        try:
            values.append(None if value is None else pa.scalar(_value(value, kind), kind).as_py())
        except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            values.append(None)
            bad[row] = f"{value!r} is no {kind}" + (f" ({error})" if isinstance(error, _WrongValueError) else "")
    return _no_nan(pa.array(values, kind)), bad


class _WrongValueError(ValueError):
    """A value that cannot be taken, with a reason worth telling."""


def _value(value: Any, kind: pa.DataType) -> Any:
    """One Python value as the type wants it; raises where the value says something else."""
    if pa.types.is_timestamp(kind):
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            raise _WrongValueError("a date is no time")
        if moment.tzinfo is None:
            raise _WrongValueError("it has no time zone")
        return moment.astimezone(UTC)
    if pa.types.is_date(kind) and isinstance(value, str):
        return date.fromisoformat(value.strip())
    if pa.types.is_boolean(kind):
        known = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
        return known[str(value).strip().lower()] if str(value).strip().lower() in known else _refuse()
    if pa.types.is_integer(kind):
        number = value if isinstance(value, int) else float(value) if not isinstance(value, str) else None
        if number is None:
            return int(value)
        return int(number) if number == int(number) else _refuse()
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else str(value)
    return value


def _refuse() -> Any:
    raise ValueError


def _json(array: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """JSON texts, each parsed once: the server would refuse what Python refuses, but take the batch down with it."""
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        array = array.cast(pa.string(), safe=False)
    texts: list[str | None] = []
    bad: dict[int, str] = {}
    nested = not _is_text(array.type) and not pa.types.is_null(array.type)
    for row, value in enumerate(array.to_pylist()):
        if value is None:
            texts.append(None)
            continue
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":")) if nested else value
            json.loads(text, parse_constant=_refuse_constant)
            if "\\u0000" in text:
                raise ValueError("it holds U+0000, which the server does not take")
            texts.append(text)
        except (ValueError, TypeError, RecursionError) as error:
            texts.append(None)
            bad[row] = f"bad JSON: {error}"
    return pa.array(texts, pa.string()), bad


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
