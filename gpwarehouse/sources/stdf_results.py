"""Read PTR, MPR, FTR and STR records as arrays of results: what was tested, its value, its verdict, its own limits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.models.parameter_sets import ParameterKind
from gpwarehouse.sources.stdf_parameters import Bools, Ints, ParameterBook
from gpwarehouse.sources.stdf_texts import flag_bytes

__all__ = ["RECORD_BITS", "Bools", "Ints", "ResultReader", "Results", "site_keys"]

RECORD_BITS = 47

# TEST_FLG (STDF V4, "PTR"): bits 1 to 5 = no valid result, unreliable, timeout, not executed, aborted.
# Bit 0 (alarm) keeps the value: it was measured, e.g. a clamped current, and the tests on real data count it.
NO_VALUE = 0b0011_1110
NOT_EXECUTED = 0b0001_0000
# TEST_FLG bit 6: pass/fail not valid; bit 7: failed.
NO_VERDICT, TEST_FAILED = 0b0100_0000, 0b1000_0000
# PARM_FLG bits 0 to 2: scale error, drift error, oscillation: "the result should not be used". Bit 5: passed by alternate limits.
BAD_PARAMETER, ALTERNATE_LIMITS = 0b0000_0111, 0b0010_0000
# PTR and MPR OPT_FLAG (STDF V4): bits 4, 5: the low or high limit is that of the first record; bits 6, 7: there is none.
LOW_FROM_FIRST, HIGH_FROM_FIRST = 0x10, 0x20
NO_LOW, NO_HIGH = 0x40, 0x80

# Results.flags
VALUE, VOID, USABLE = 1 << 0, 1 << 1, 1 << 2
"""A value stands in the record; flags say that it must not be used; it is used."""
EXECUTED, JUDGED, FAILED = 1 << 3, 1 << 4, 1 << 5
ONCE = 1 << 6
"""The first result of its record: an MPR has many."""
FUNCTIONAL = 1 << 7
GIVES_LOW, GIVES_HIGH = 1 << 8, 1 << 9
EQUAL_SHIFT = 10
"""LOW_EQUAL and HIGH_EQUAL begin at this bit."""


@dataclass
class Results:
    """Test results, one entry each: PTR, FTR, STR, and every pin of an MPR."""

    key: Ints
    """Head, site and record number, packed."""
    identity: npt.NDArray[np.int32]
    """Number in the :class:`ParameterBook`."""
    value: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint16]
    low: npt.NDArray[np.float32]
    """Low limit, if the record gives one; NaN is "no limit"."""
    high: npt.NDArray[np.float32]

    def has(self, flag: int) -> Bools:
        """Whether each entry has a flag."""
        there: Bools = (self.flags & np.uint16(flag)) != 0
        return there

    def take(self, which: Bools) -> Results:
        """Return the entries for which ``which`` is true."""
        return Results(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def join(cls, parts: list[Results]) -> Results:
        """Join the entries of several."""
        filled = [part for part in parts if len(part.key)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        return cls(*(np.concatenate([getattr(part, item.name) for part in filled]) for item in fields(cls)))

    @classmethod
    def none(cls) -> Results:
        """Make one without entries."""
        floats = np.empty(0, np.float32)
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), floats, np.empty(0, np.uint16), floats, floats)


def site_keys(table: pa.Table, first_record: int) -> Ints:
    """Pack head, site and record number into one int64 per record.

    :param table: records of any type with HEAD_NUM and SITE_NUM.
    :param first_record: number of the run's first record; the table counts the FAR before it as 0.
    """
    head = table["HEAD_NUM"].to_numpy().astype(np.int64)
    site = table["SITE_NUM"].to_numpy().astype(np.int64)
    packed: Ints = ((head << 8 | site) << RECORD_BITS) | record_numbers(table, first_record)
    return packed


def record_numbers(table: pa.Table, first_record: int) -> Ints:
    """Number in the file of each record."""
    numbers: Ints = table["sequence_number"].to_numpy().astype(np.int64) + (first_record - 1)
    return numbers


@dataclass
class ResultReader:
    """Reads the results of one run of records after the other.

    :ivar book: collects tests, limits and units.
    :ivar alternate: results that passed by alternate limits, which no record gives.
    """

    book: ParameterBook
    alternate: int = 0
    _continued: set[tuple[int, int]] = field(default_factory=set)

    def read(self, tables: dict[str, pa.Table], first_record: int, where: str) -> Results:
        """Read the results of a run: first PTR, then FTR, STR and MPR, each in file order."""
        found = [Results.none()]
        if "PTR" in tables:
            found.append(self._read_parametric(tables["PTR"], first_record))
        if "FTR" in tables:
            found.append(self._read_functional(tables["FTR"], first_record, "FUNCTIONAL"))
        if "STR" in tables:
            found.append(self._read_functional(self._begin_scans(tables["STR"]), first_record, "SCAN"))
        if "MPR" in tables:
            found.append(self._read_multiple(tables["MPR"], first_record, where))
        return Results.join(found)

    def _read_parametric(self, table: pa.Table, first_record: int) -> Results:
        tests = self.book.find_tests("PARAMETRIC", table)
        value = table["RESULT"].to_numpy()
        # In stdf_convert, a record that ends before its RESULT (12 bytes) reads as 0.0, which is not a measurement.
        there = table["rec_len"].to_numpy() >= 12
        flags = self._read_flags(table) | np.where(there, VALUE, 0).astype(np.uint16)
        low, high, flags = _read_limits(table, flags)
        found = Results(
            key=site_keys(table, first_record),
            identity=self.book.find_plain(tests).astype(np.int32),
            value=value,
            flags=_mark_usable(flags, value) | np.uint16(ONCE),
            low=low,
            high=high,
        )
        self._see(found, tests, record_numbers(table, first_record), table)
        return found

    def _see(self, found: Results, tests: Ints, records: Ints, table: pa.Table, rows: Ints | None = None) -> None:
        self.book.see_units(tests, records, table["UNITS"])
        self.book.see_specs(tests, table)
        of_result = records if rows is None else records[rows]
        self.book.see_limits(
            found.identity.astype(np.int64),
            of_result,
            (found.has(GIVES_LOW), found.low),
            (found.has(GIVES_HIGH), found.high),
            (found.has(EXECUTED), (found.flags >> EQUAL_SHIFT).astype(np.uint8)),
        )

    def _read_functional(self, table: pa.Table, first_record: int, kind: ParameterKind) -> Results:
        size = table.num_rows
        tests = self.book.find_tests(kind, table)
        nothing = np.full(size, np.nan, np.float32)
        return Results(
            key=site_keys(table, first_record),
            identity=self.book.find_plain(tests).astype(np.int32),
            value=nothing,
            flags=_verdict_flags(flag_bytes(table["TEST_FLG"])) | np.uint16(ONCE | FUNCTIONAL),
            low=nothing,
            high=nothing,
        )

    def _begin_scans(self, table: pa.Table) -> pa.Table:
        """The STRs that begin an execution. One whose CONT_FLG is not 0 is continued by the next (STDF V4-2007, "STR")."""
        first = []
        places = zip(table["HEAD_NUM"].to_pylist(), table["SITE_NUM"].to_pylist(), strict=True)
        for place, more in zip(places, flag_bytes(table["CONT_FLG"]).tolist(), strict=True):
            first.append(place not in self._continued)
            (self._continued.add if more else self._continued.discard)(place)
        return table.filter(pa.array(first))

    def _read_flags(self, table: pa.Table) -> npt.NDArray[np.uint16]:
        """The flags of PTR or MPR records."""
        test, parameter = flag_bytes(table["TEST_FLG"]), flag_bytes(table["PARM_FLG"])
        flags = _verdict_flags(test)
        void = (test & NO_VALUE != 0) | (parameter & BAD_PARAMETER != 0)
        flags |= np.where(void, VOID, 0).astype(np.uint16)
        flags |= (parameter >> 6).astype(np.uint16) << np.uint16(EQUAL_SHIFT)
        passed = (flags & np.uint16(EXECUTED | JUDGED | FAILED)) == (EXECUTED | JUDGED)
        self.alternate += int(np.count_nonzero(passed & (parameter & ALTERNATE_LIMITS != 0)))
        return flags

    def _read_multiple(self, table: pa.Table, first_record: int, where: str) -> Results:
        """One entry per returned value; of an MPR that returned none, one without a value per pin, because it has a verdict."""
        counts = _check_counts(table, where)
        tests = self.book.find_tests("MULTIPLE", table)
        indexes = _LongLists(table["RTN_INDX"])
        self._see_pins(tests, indexes)
        known = np.array([len(self._find_known(test)) for test in range(len(self.book.tests))], np.int64)
        sizes = np.where(counts > 0, counts, np.maximum(np.where(indexes.counts > 0, indexes.counts, known[tests]), 1))
        rows = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        there = counts[rows] > 0
        value = np.full(len(rows), np.nan, dtype=np.float32)
        value[there] = np.concatenate([chunk.flatten().to_numpy() for chunk in table["RTN_RSLT"].chunks])
        low, high, flags = _read_limits(table, self._read_flags(table))
        flags = flags[rows] | np.where(there, VALUE, 0).astype(np.uint16)
        flags |= np.where(place == 0, ONCE, 0).astype(np.uint16)
        pins = self._find_pins(tests, indexes, sizes, rows, place)
        pinless = ~there & (pins == -1)
        identity = np.empty(len(rows), np.int64)
        identity[pinless] = self.book.find_plain(tests[rows[pinless]])
        heads = table["HEAD_NUM"].to_numpy().astype(np.int64) << 8 | table["SITE_NUM"].to_numpy().astype(np.int64)
        pinned = rows[~pinless]
        identity[~pinless] = self.book.find_pins(tests[pinned], heads[pinned], pins[~pinless])
        found = Results(
            key=site_keys(table, first_record)[rows],
            identity=identity.astype(np.int32),
            value=value,
            flags=_mark_usable(flags, value),
            low=low[rows],
            high=high[rows],
        )
        self._see(found, tests, record_numbers(table, first_record), table, rows)
        return found

    def _see_pins(self, tests: Ints, indexes: _LongLists) -> None:
        """Remember the first RTN_INDX of each test, and whether there are others."""
        rows = np.flatnonzero(indexes.counts > 0)
        for test in np.unique(tests[rows]).tolist():
            mine = rows[tests[rows] == test]
            first = self.book.pins.setdefault(test, indexes.take(mine[:1]))
            all_values = indexes.take(mine)
            if (indexes.counts[mine] != len(first)).any() or (all_values.reshape(-1, len(first)) != first).any():
                self.book.several_pins.add(test)

    def _find_known(self, test: int) -> Ints:
        """The pins of a record that omits them: those of the test's first record, if all others have the same."""
        none = np.empty(0, np.int64)
        return none if test in self.book.several_pins else self.book.pins.get(test, none)

    def _find_pins(self, tests: Ints, indexes: _LongLists, sizes: Ints, rows: Ints, place: Ints) -> Ints:
        """PMR index of each result: of the record, else of the test's first record; minus the place from 1 if not known."""
        pins = -(place + 1)
        own = indexes.counts == sizes
        pins[own[rows]] = indexes.take(np.flatnonzero(own))
        omitted = (indexes.counts == 0)[rows]
        for test in np.unique(tests[rows[omitted]]).tolist():
            known = self._find_known(test)
            mine = omitted & (tests == test)[rows] & (sizes == len(known))[rows]
            pins[mine] = known[place[mine]]
        return pins


def _verdict_flags(test: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """EXECUTED, JUDGED and FAILED from TEST_FLG."""
    flags = np.where(test & NOT_EXECUTED == 0, EXECUTED, 0).astype(np.uint16)
    flags |= np.where(test & NO_VERDICT == 0, JUDGED, 0).astype(np.uint16)
    flags |= np.where(test & TEST_FAILED != 0, FAILED, 0).astype(np.uint16)
    return flags


def _mark_usable(flags: npt.NDArray[np.uint16], value: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    usable = ((flags & np.uint16(VALUE | VOID)) == VALUE) & np.isfinite(value)
    marked: npt.NDArray[np.uint16] = flags | np.where(usable, USABLE, 0).astype(np.uint16)
    return marked


def _read_limits(
    table: pa.Table, flags: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint16]]:
    """Low and high limit of each record, and ``flags`` with GIVES_LOW and GIVES_HIGH. What is not finite is no limit."""
    there = table["OPT_FLAG"].is_valid().to_numpy()
    options = flag_bytes(table["OPT_FLAG"])
    found = []
    for column, first, none, gives in (
        ("LO_LIMIT", LOW_FROM_FIRST, NO_LOW, GIVES_LOW),
        ("HI_LIMIT", HIGH_FROM_FIRST, NO_HIGH, GIVES_HIGH),
    ):
        limit = table[column].to_numpy().astype(np.float32)
        given = there & (options & first == 0) & ((options & none != 0) | table[column].is_valid().to_numpy())
        limit[(options & none != 0) | ~np.isfinite(limit)] = np.nan
        flags = flags | np.where(given, gives, 0).astype(np.uint16)
        found.append(limit)
    return found[0], found[1], flags


def _check_counts(table: pa.Table, where: str) -> Ints:
    """RSLT_CNT of MPR records.

    :raises SourceFormatError: a record is too short for its results.
    """
    counts: Ints = table["RSLT_CNT"].to_numpy().astype(np.int64)
    states = (table["RTN_ICNT"].to_numpy().astype(np.int64) + 1) // 2
    length = table["rec_len"].to_numpy().astype(np.int64)
    short = np.flatnonzero((counts > 0) & (length < 12 + states + 4 * counts))
    if len(short):
        row = int(short[0])
        raise SourceFormatError(
            f"{where}: the MPR of test {table['TEST_NUM'][row].as_py()} announces {counts[row]} results, but its "
            f"{length[row]} bytes hold fewer. Nothing of it was loaded. The file is damaged; fetch it again."
        )
    return counts


class _LongLists:
    """A column of lists of numbers as arrays."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = column.combine_chunks()
        self.values = lists.flatten().to_numpy().astype(np.int64)
        lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
        self.counts: Ints = lengths

    def take(self, rows: Ints) -> Ints:
        """The lists of some rows, one behind the other."""
        which = np.zeros(len(self.counts), np.bool_)
        which[rows] = True
        found: Ints = self.values[np.repeat(which, self.counts)]
        return found
