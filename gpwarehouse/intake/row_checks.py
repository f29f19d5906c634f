"""Split rows as given into rows in the types of the model and rejects, each with column and reason."""

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
from gpwarehouse.intake.list_values import infinite_elements
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.target import InputColumn, Target
from gpwarehouse.models.base import Domain
from gpwarehouse.models.keys import BLANKS, KEY_SEPARATOR
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["Checked", "Inputs", "Validator"]


@dataclass(frozen=True)
class Checked:
    """A batch after the checks.

    :ivar rows: all rows in the target's input types (all input columns, in its order), NULL where a value could not be read. They
        depend on the source only, not on limits, settings or the current date.
    :ivar clean: the rows that may be loaded.
    :ivar rejects: the other rows.
    """

    rows: pa.RecordBatch
    clean: pa.RecordBatch
    rejects: list[Reject]


class Validator:
    """Checks batches against a target.

    :param earliest: earlier events are rejected (aware).
    :param latest: events at or after this time are rejected (aware).
    """

    def __init__(self, target: Target, *, earliest: datetime, latest: datetime) -> None:
        self.target = target
        self.earliest = earliest
        self.latest = latest
        self._inputs = Inputs(target)
        self._numbers = _RecordNumbers()

    def check(self, batch: pa.RecordBatch, first_row: int) -> Checked:
        """Split a batch into good rows and rejects.

        :param first_row: number of the batch's first row.
        :raises InvalidInputError: a column is unknown or missing, or times come without a time zone.
        """
        self.target.check_names(batch.schema.names)
        faults: dict[int, tuple[str, str]] = {}
        unreadable: set[int] = set()
        arrays = []
        for column in self._inputs.columns:
            array, unread = self._inputs.read(batch, column, first_row)
            unreadable |= unread.keys()
            for row, reason in (self._find_faults(array, column) | unread).items():
                faults.setdefault(row, (column.name, reason))
            arrays.append(array)
        rows = pa.RecordBatch.from_arrays(arrays, list(self.target.inputs))
        if not faults:
            return Checked(rows, rows, [])
        bad = sorted(faults)
        rejects = [
            Reject(first_row + row, *faults[row], raw, row in unreadable)
            for row, raw in zip(bad, self._restore_rows(batch, bad), strict=True)
        ]
        keep = pa.array([row not in faults for row in range(batch.num_rows)])
        return Checked(rows, rows.filter(keep), rejects)

    def _restore_rows(self, batch: pa.RecordBatch, rows: list[int]) -> list[dict[str, Any]]:
        """Convert rows to the Python values that were given; times in a text column become the texts that they are there."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, array in columns.items():
            if pa.types.is_temporal(array.type) and pa.types.is_string(self.target.inputs[name].type):
                with suppress(pa.ArrowInvalid):  # moments in seconds that are too far away for microseconds
                    columns[name] = text_of(array)
        return [{name: as_given(array[row]) for name, array in columns.items()} for row in rows]

    def _find_faults(self, array: pa.Array, column: InputColumn) -> Faults:
        """Find the faults of values that could be read."""
        if array.null_count == len(array):
            return _check_required(array, column)
        checks = [_check_required, _check_texts, _check_finite, _check_domain]
        if column.name == self.target.partition_column:
            checks.append(self._check_window)
        if column.name == "source_record_no":
            checks.append(self._numbers.faults)
        bad: Faults = {}
        for find in reversed(checks):  # the first check in the list wins
            bad |= find(array, column)
        return bad

    def _check_window(self, array: pa.Array, column: InputColumn) -> Faults:
        early = pc.less(array, pa.scalar(self.earliest, TIMESTAMP))
        late = pc.greater_equal(array, pa.scalar(self.latest, TIMESTAMP))
        return _collect_faults(
            pc.or_(early, late),
            array,
            lambda value: f"{value.isoformat()} is outside {self.earliest:%Y-%m-%d} to {self.latest:%Y-%m-%d}",
        )


class Inputs:
    """The columns of a batch in the types of its target, including columns that the batch does not have."""

    def __init__(self, target: Target) -> None:
        self.columns = tuple(target.inputs.values())
        self._nothing: dict[pa.DataType, pa.Array] = {}

    def read(self, batch: pa.RecordBatch, column: InputColumn, first_row: int) -> tuple[pa.Array, Faults]:
        """Convert a column; a value that cannot be read becomes NULL, with its reason.

        :param first_row: number of the batch's first row.
        :raises InvalidInputError: times come without a time zone.
        """
        if column.name in batch.schema.names:
            return convert(batch.column(column.name), column)
        if column.name == "source_record_no":
            return pa.array(range(first_row, first_row + batch.num_rows), pa.int64()), {}
        if column.default is not None:
            return pa.repeat(column.default, batch.num_rows), {}
        return self._make_nulls(batch.num_rows, column.type), {}

    def _make_nulls(self, rows: int, kind: pa.DataType) -> pa.Array:
        """NULLs, shared by all columns that a frame does not have."""
        if kind not in self._nothing or len(self._nothing[kind]) < rows:
            self._nothing[kind] = pa.nulls(rows, kind)
        return self._nothing[kind].slice(0, rows)


class _RecordNumbers:
    """Finds record numbers that come twice: batch and record number together identify a fact row.

    While numbers rise from batch to batch nothing is looked up. They are kept, 8 bytes per row, in case they do not rise.
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
        return _collect_faults(
            pa.array(repeated & valid), array, lambda value: f"an earlier row already has the number {value}"
        )


def _collect_faults(mask: pa.Array, array: pa.Array, reason: Callable[[Any], str]) -> Faults:
    """Row → reason, for the rows where ``mask`` is true."""
    if not pc.any(mask).as_py():
        return {}
    rows = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return {row: reason(array[row].as_py()) for row in rows}


def _check_required(array: pa.Array, column: InputColumn) -> Faults:
    if column.name != "source_record_no" and not column.required:
        return {}
    missing = array.is_null()
    if pa.types.is_string(array.type):
        missing = pc.or_(missing, pc.equal(pc.utf8_trim(pc.fill_null(array, ""), BLANKS), ""))
    return _collect_faults(missing, array, lambda _: "missing")


def _check_texts(array: pa.Array, column: InputColumn) -> Faults:
    if not pa.types.is_string(array.type):
        return {}
    bad = _collect_faults(pc.match_substring(array, "\x00"), array, lambda _: "holds U+0000, which text cannot hold")
    if column.is_key_part:
        held = pc.match_substring(array, KEY_SEPARATOR)
        bad |= _collect_faults(held, array, lambda _: "holds U+001F, which separates the parts of a key")
    return bad


def _check_finite(array: pa.Array, column: InputColumn) -> Faults:
    """Find infinities. No instrument measures one, and an average over one is infinite or undefined."""
    if pa.types.is_list(array.type):
        return infinite_elements(array)
    if not pa.types.is_floating(array.type):
        return {}
    return _collect_faults(pc.is_inf(array), array, lambda value: f"{value} is not a finite number")


def _check_domain(array: pa.Array, column: InputColumn) -> Faults:
    domain = column.domain
    if domain is None:
        return {}
    if domain.json is not None:
        bad = _check_json_kind(array, domain.json)
        return faults_of_distinct(array, partial(_find_disorders, domain)) | bad if domain.ordered else bad
    if domain.values is not None:
        allowed = ", ".join(domain.values)
        outside = pc.and_(pc.invert(pc.is_in(array, pa.array(domain.values, pa.string()))), array.is_valid())
        return _collect_faults(outside, array, lambda value: f"{shown(value)} is not one of {allowed}")
    bad = {}
    for compare, limit, word in (
        (pc.less, domain.ge, "at least"),
        (pc.less_equal, domain.gt, "more than"),
        (pc.greater, domain.le, "at most"),
    ):
        if limit is not None:
            bad |= _check_limit(array, compare(array, limit), f"{word} {limit:g}")
    return bad


def _check_limit(array: pa.Array, outside: pa.Array, allowed: str) -> Faults:
    return _collect_faults(outside, array, lambda value: f"{value} must be {allowed}")


def _find_disorders(domain: Domain, texts: pa.Array) -> Faults:
    """Find the JSON objects with numbers out of order. Values that are not objects have another fault."""
    documents = enumerate(map(json.loads, texts.to_pylist()))
    found = {place: domain.disorder(document) for place, document in documents if isinstance(document, dict)}
    return {place: reason for place, reason in found.items() if reason is not None}


def _check_json_kind(array: pa.Array, kind: str) -> Faults:
    bracket = {"object": "{", "array": "["}[kind]
    other = pc.invert(pc.starts_with(pc.utf8_ltrim_whitespace(array), bracket))
    return _collect_faults(other, array, lambda value: f"{shown(value)} must be a JSON {kind}")
