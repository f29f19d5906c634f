"""Rows as given → rows as the model wants them, and the rest as rejects with column and reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.intake.arrow_texts import text_of
from gpwarehouse.intake.convert import Faults, as_given, convert, faults_of_distinct, shown
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.target import InputColumn, Target
from gpwarehouse.models.base import Domain
from gpwarehouse.models.keys import BLANKS, KEY_SEPARATOR
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["Checked", "Inputs", "Validator"]


@dataclass(frozen=True)
class Checked:
    """A batch after the checks.

    :ivar rows: all rows in the target's input types (all input columns, in its order), NULL where a value could not be
        read. What they hold is a matter of the source alone, not of limits, settings or the day they were read on.
    :ivar clean: those that may be loaded.
    """

    rows: pa.RecordBatch
    clean: pa.RecordBatch
    rejects: list[Reject]


class Validator:
    """Checks batches against a target.

    :param earliest: events before it are rejected (aware).
    :param latest: events at or after it are rejected (aware).
    """

    def __init__(self, target: Target, *, earliest: datetime, latest: datetime) -> None:
        self.target = target
        self.earliest = earliest
        self.latest = latest
        self._inputs = Inputs(target)
        self._numbers = _RecordNumbers()

    def check(self, batch: pa.RecordBatch, first_row: int) -> Checked:
        """Tell good rows from bad ones.

        :param first_row: number of the batch's first row.
        :raises InvalidInputError: a column is unknown or missing, or times come without a zone.
        """
        self.target.check_names(batch.schema.names)
        faults: dict[int, tuple[str, str]] = {}
        unreadable: set[int] = set()
        arrays = []
        for column in self._inputs.columns:
            array, unread = self._inputs.read(batch, column, first_row)
            unreadable |= unread.keys()
            for row, reason in (self._faults(array, column) | unread).items():
                faults.setdefault(row, (column.name, reason))
            arrays.append(array)
        rows = pa.RecordBatch.from_arrays(arrays, list(self.target.inputs))
        if not faults:
            return Checked(rows, rows, [])
        bad = sorted(faults)
        rejects = [
            Reject(first_row + row, *faults[row], raw, row in unreadable)
            for row, raw in zip(bad, self._as_given(batch, bad), strict=True)
        ]
        keep = pa.array([row not in faults for row in range(batch.num_rows)])
        return Checked(rows, rows.filter(keep), rejects)

    def _as_given(self, batch: pa.RecordBatch, rows: list[int]) -> list[dict[str, Any]]:
        """Rows of the batch as Python values; times for a column of texts as the texts that they are there."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, array in columns.items():
            if pa.types.is_temporal(array.type) and pa.types.is_string(self.target.inputs[name].type):
                with suppress(pa.ArrowInvalid):  # seconds too far for microseconds
                    columns[name] = text_of(array)
        return [{name: as_given(array[row]) for name, array in columns.items()} for row in rows]

    def _faults(self, array: pa.Array, column: InputColumn) -> Faults:
        """What is wrong with values that could be read."""
        if array.null_count == len(array):
            return _required(array, column)
        checks = [_required, _text_faults, _finite_faults, _domain_faults]
        if column.name == self.target.partition_column:
            checks.append(self._window_faults)
        if column.name == "source_record_no":
            checks.append(self._numbers.faults)
        bad: Faults = {}
        for find in reversed(checks):  # the first one has the last word
            bad |= find(array, column)
        return bad

    def _window_faults(self, array: pa.Array, column: InputColumn) -> Faults:
        early = pc.less(array, pa.scalar(self.earliest, TIMESTAMP))
        late = pc.greater_equal(array, pa.scalar(self.latest, TIMESTAMP))
        return _faults(
            pc.or_(early, late),
            array,
            lambda value: f"{value.isoformat()} is outside {self.earliest:%Y-%m-%d} to {self.latest:%Y-%m-%d}",
        )


class Inputs:
    """The columns of a batch in the types of its target, those that it does not bring among them."""

    def __init__(self, target: Target) -> None:
        self.columns = tuple(target.inputs.values())
        self._nothing: dict[pa.DataType, pa.Array] = {}

    def read(self, batch: pa.RecordBatch, column: InputColumn, first_row: int) -> tuple[pa.Array, Faults]:
        """A column, NULL where a value cannot be read; and why it cannot.

        :param first_row: number of the batch's first row.
        :raises InvalidInputError: times come without a zone.
        """
        if column.name in batch.schema.names:
            return convert(batch.column(column.name), column)
        if column.name == "source_record_no":
            return pa.array(range(first_row, first_row + batch.num_rows), pa.int64()), {}
        if column.default is not None:
            return pa.repeat(column.default, batch.num_rows), {}
        return self._nulls(batch.num_rows, column.type), {}

    def _nulls(self, rows: int, kind: pa.DataType) -> pa.Array:
        """NULLs, shared by all the columns that a frame does not bring."""
        if kind not in self._nothing or len(self._nothing[kind]) < rows:
            self._nothing[kind] = pa.nulls(rows, kind)
        return self._nothing[kind].slice(0, rows)


class _RecordNumbers:
    """Finds record numbers that come twice: with the batch they are a fact's identity.

    As long as numbers rise from batch to batch nothing is looked up; they are kept, 8 bytes a row, in case they do not.
    """

    def __init__(self) -> None:
        self._seen: list[np.ndarray[Any, Any]] = []
        self._highest: int | None = None

    def faults(self, array: pa.Array, column: InputColumn) -> Faults:
        numbers = np.asarray(array.fill_null(0))
        valid = np.asarray(array.is_valid())
        risen = array.null_count == 0 and bool((np.diff(numbers) > 0).all())
        if risen and (self._highest is None or numbers[0] > self._highest):
            repeated = np.zeros(len(numbers), bool)
        else:
            _, first = np.unique(numbers, return_index=True)
            repeated = np.ones(len(numbers), bool)
            repeated[first] = False
            repeated |= np.isin(numbers, np.concatenate(self._seen)) if self._seen else False
        self._seen.append(numbers[valid])
        if valid.any():
            self._highest = max(int(numbers[valid].max()), self._highest if self._highest is not None else -(2**63))
        return _faults(pa.array(repeated & valid), array, lambda value: f"{value} was the number of a row before")


def _faults(mask: pa.Array, array: pa.Array, reason: Callable[[Any], str]) -> Faults:
    """Row → reason, for the rows where ``mask`` is true."""
    if not pc.any(mask).as_py():
        return {}
    rows = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return {row: reason(array[row].as_py()) for row in rows}


def _required(array: pa.Array, column: InputColumn) -> Faults:
    if column.name != "source_record_no" and not column.required:
        return {}
    missing = array.is_null()
    if pa.types.is_string(array.type):
        missing = pc.or_(missing, pc.equal(pc.utf8_trim(pc.fill_null(array, ""), BLANKS), ""))
    return _faults(missing, array, lambda _: "missing")


def _text_faults(array: pa.Array, column: InputColumn) -> Faults:
    if not pa.types.is_string(array.type):
        return {}
    bad = _faults(pc.match_substring(array, "\x00"), array, lambda _: "holds the character U+0000, which text cannot")
    if column.is_key_part:
        held = pc.match_substring(array, KEY_SEPARATOR)
        bad |= _faults(held, array, lambda _: "holds U+001F, which separates the parts of a key")
    return bad


def _finite_faults(array: pa.Array, column: InputColumn) -> Faults:
    """Infinities, which no instrument measures: an average over one is infinite, or none."""
    if not pa.types.is_floating(array.type):
        return {}
    return _faults(pc.is_inf(array), array, lambda value: f"{value} is no finite number")


def _domain_faults(array: pa.Array, column: InputColumn) -> Faults:
    domain = column.domain
    if domain is None:
        return {}
    if domain.json is not None:
        bad = _json_kind_faults(array, domain.json)
        return faults_of_distinct(array, partial(_disorders, domain)) | bad if domain.ordered else bad
    if domain.values is not None:
        allowed = ", ".join(domain.values)
        outside = pc.and_(pc.invert(pc.is_in(array, pa.array(domain.values, pa.string()))), array.is_valid())
        return _faults(outside, array, lambda value: f"{shown(value)} is none of {allowed}")
    bad = {}
    for compare, limit, word in (
        (pc.less, domain.ge, "at least"),
        (pc.less_equal, domain.gt, "more than"),
        (pc.greater, domain.le, "at most"),
    ):
        if limit is not None:
            bad |= _faults(compare(array, limit), array, lambda v, w=word, n=limit: f"{v} must be {w} {n:g}")  # type: ignore[misc]
    return bad


def _disorders(domain: Domain, texts: pa.Array) -> Faults:
    """Which JSON objects have numbers out of their order, and which; what is none has another fault."""
    documents = enumerate(map(json.loads, texts.to_pylist()))
    found = {place: domain.disorder(document) for place, document in documents if isinstance(document, dict)}
    return {place: reason for place, reason in found.items() if reason is not None}


def _json_kind_faults(array: pa.Array, kind: str) -> Faults:
    bracket = {"object": "{", "array": "["}[kind]
    other = pc.invert(pc.starts_with(pc.utf8_ltrim_whitespace(array), bracket))
    return _faults(other, array, lambda value: f"{shown(value)} must be a JSON {kind}")
