"""Results of insertions as the columns of the fact: arrays of values, verdicts, failed positions and own limits."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.sources import stdf_results as res
from gpwarehouse.sources.stdf_parameters import HIGH_EQUAL, LOW_EQUAL, ParameterList
from gpwarehouse.sources.stdf_results import Bools, Ints, Results
from gpwarehouse.sources.stdf_texts import shortest_all

__all__ = ["PartResults", "count_occurrences", "count_passed_at_limits", "fail_kinds", "value_columns"]

LETTERS = np.frombuffer(b"-N-P-N-F", np.uint8)
"""Verdict by EXECUTED, JUDGED, FAILED: P passed, F failed, N executed without a verdict, - not executed."""
NOT_EXECUTED, FAIL = ord("-"), ord("F")
FAIL_FLAGS = res.EXECUTED | res.JUDGED | res.FAILED
LETTER_SHIFT = res.EXECUTED.bit_length() - 1


@dataclass
class PartResults:
    """Results with their part: the row of its PRR in a run. ``parameter`` is a number in the file's list."""

    part: Ints
    parameter: Ints
    value: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint16]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]

    @staticmethod
    def to_table(results: Results, part: Ints) -> pa.Table:
        """The form that is kept between two passes."""
        columns = {
            "part": part.astype(np.int32),
            "identity": results.identity,
            "value": results.value,
            "flags": results.flags,
            "low": results.low,
            "high": results.high,
        }
        return pa.table({name: pa.array(values) for name, values in columns.items()})

    @classmethod
    def of_table(cls, table: pa.Table, final: Ints) -> PartResults:
        """Read it back.

        :param final: identity of the records → parameter.
        """
        found = {name: table[name].to_numpy() for name in ("value", "flags", "low", "high")}
        return cls(table["part"].to_numpy().astype(np.int64), final[table["identity"].to_numpy()], **found)

    def take(self, which: Bools) -> PartResults:
        """Return the entries for which ``which`` is true."""
        return PartResults(*(getattr(self, item.name)[which] for item in fields(self)))

    def of_parts(self, begin: int, end: int) -> PartResults:
        """The entries of the parts from ``begin`` to before ``end``, numbered from 0."""
        found = self.take((self.part >= begin) & (self.part < end))
        found.part = found.part - begin
        return found

    def has(self, flag: int) -> Bools:
        """Whether each entry has a flag."""
        there: Bools = (self.flags & np.uint16(flag)) != 0
        return there


def fail_kinds(results: PartResults, parts: int) -> tuple[Bools, Bools]:
    """For each part, whether a functional test failed, and whether a parametric test failed."""
    failed = (results.flags & np.uint16(FAIL_FLAGS)) == FAIL_FLAGS
    functional = results.has(res.FUNCTIONAL)
    found = []
    for which in (failed & functional, failed & ~functional):
        some = np.zeros(parts, np.bool_)
        some[results.part[which]] = True
        found.append(some)
    return found[0], found[1]


def count_occurrences(results: PartResults, parts: int, parameters: int) -> Ints:
    """Number the results of one parameter within a part, from 1. Results of one parameter are in file order."""
    cell = results.part * parameters + results.parameter
    occurrence = np.ones(len(cell), np.int64)
    if parts * parameters <= 16 * len(cell) + (1 << 16):
        rows = np.flatnonzero(np.bincount(cell, minlength=1)[cell] > 1)
    else:
        rows = np.arange(len(cell))
    order = rows[np.argsort(cell[rows], kind="stable")]
    first = np.append(True, cell[order[1:]] != cell[order[:-1]])[: len(order)]
    starts = np.flatnonzero(first)
    occurrence[order] += np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return occurrence


def value_columns(results: PartResults, parts: int, known: ParameterList) -> dict[str, pa.Array]:
    """The columns of as many parts. A part without any result has NULL in all of them.

    :param results: their results; ``part`` counts from 0.
    """
    positions = known.find_positions(results.parameter, count_occurrences(results, parts, len(known.keys)))
    width = len(known.parameters)
    logged = np.bincount(results.part, minlength=parts) > 0
    count = int(np.count_nonzero(logged))
    row = (np.cumsum(logged) - 1)[results.part]
    cell = row * width + positions - 1
    measured = np.full(count * width, np.nan)
    usable = results.has(res.USABLE)
    measured[cell[usable]] = shortest_all(results.value[usable])
    letters = np.full(count * width, NOT_EXECUTED, np.uint8)
    letters[cell] = LETTERS[(results.flags >> LETTER_SHIFT) & 7]
    failed_row, failed_at = np.nonzero((letters == FAIL).reshape(count, width))
    every = np.full(count, width)
    key = pa.scalar(known.parameters.key, pa.int64())
    return {
        "parameter_set_key": pc.if_else(pa.array(logged), key, pa.scalar(None, pa.int64())),
        "measured": _make_lists(pa.array(measured), every, logged),
        "verdicts": _make_texts(letters, every, logged),
        "failed": _make_lists(
            pa.array((failed_at + 1).astype(np.int32)), np.bincount(failed_row, minlength=count), logged
        ),
        "own_limits": _own_limits(results, positions, parts, known),
    }


def _layout(lengths: npt.NDArray[np.int64], there: Bools) -> tuple[pa.Buffer, pa.Buffer]:
    """Validity and offsets of a column in which the rows that are there have these lengths."""
    sizes = np.zeros(len(there), np.int64)
    sizes[there] = lengths
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int32)
    return pa.array(there).buffers()[1], pa.py_buffer(offsets)


def _make_lists(values: pa.Array, lengths: npt.NDArray[np.int64], there: Bools) -> pa.Array:
    return pa.ListArray.from_buffers(
        pa.list_(values.type), len(there), list(_layout(lengths, there)), children=[values]
    )


def _make_texts(letters: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], there: Bools) -> pa.Array:
    validity, offsets = _layout(lengths, there)
    return pa.StringArray.from_buffers(len(there), offsets, pa.py_buffer(letters), validity)


def _limits_of(results: PartResults, known: ParameterList) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Low and high limit of each result: those of its record, else those of the list."""
    return (
        np.where(results.has(res.GIVES_LOW), results.low, known.low[results.parameter]),
        np.where(results.has(res.GIVES_HIGH), results.high, known.high[results.parameter]),
    )


def count_passed_at_limits(results: PartResults, known: ParameterList) -> int:
    """Count the values that passed although they equal a limit of which the record says that it fails."""
    judged = np.uint16(FAIL_FLAGS | res.USABLE)
    passed = (results.flags & judged) == (res.EXECUTED | res.JUDGED | res.USABLE)
    fails = np.zeros(len(passed), np.bool_)
    for limit, bit in zip(_limits_of(results, known), (LOW_EQUAL, HIGH_EQUAL), strict=True):
        fails |= (results.value == limit) & ~results.has(bit << res.EQUAL_SHIFT)
    return int(np.count_nonzero(passed & fails))


def _own_limits(results: PartResults, positions: Ints, parts: int, known: ParameterList) -> pa.Array:
    """The limits of executed tests where they are not those of the list, as JSON by position."""
    lists = (known.low[results.parameter], known.high[results.parameter])
    own = _limits_of(results, known)
    equal = (results.flags >> res.EQUAL_SHIFT).astype(np.uint8) ^ known.equal[results.parameter]
    differs = np.zeros(len(positions), np.bool_)
    for side, bit in ((0, LOW_EQUAL), (1, HIGH_EQUAL)):
        missing = np.isnan(own[side])
        differs |= ~((own[side] == lists[side]) | (missing & np.isnan(lists[side])))
        differs |= ~missing & (equal & bit != 0)
    rows = np.flatnonzero(differs & results.has(res.EXECUTED))
    if not len(rows):
        return pa.nulls(parts, pa.string())
    rows = rows[np.lexsort((positions[rows], results.part[rows]))]
    flags = results.flags[rows] >> res.EQUAL_SHIFT
    members = pc.binary_join_element_wise(
        '"',
        pa.array(positions[rows]).cast(pa.string()),
        '":{"lsl":',
        _number_texts(own[0][rows]),
        ',"usl":',
        _number_texts(own[1][rows]),
        ',"lsl_inclusive":',
        _truth_texts(flags & LOW_EQUAL != 0),
        ',"usl_inclusive":',
        _truth_texts(flags & HIGH_EQUAL != 0),
        "}",
        "",
    )
    counts = np.bincount(results.part[rows], minlength=parts)
    offsets = np.append(0, np.cumsum(counts)).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), members), ",")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), whole, pa.scalar(None, pa.string()))


def _number_texts(values: npt.NDArray[np.float32]) -> pa.Array:
    return pc.if_else(pa.array(np.isnan(values)), "null", pa.array(values).cast(pa.string()))


def _truth_texts(values: Bools) -> pa.Array:
    return pc.if_else(pa.array(values), "true", "false")
