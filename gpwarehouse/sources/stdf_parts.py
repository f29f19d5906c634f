"""Assign test results to insertions, and write the results of an insertion as JSON text. All is vectorised.

An insertion is everything between a PIR and the PRR of the same (HEAD_NUM, SITE_NUM). Results of sites that are tested in
parallel are interleaved, so the record number decides. Head, site and record number are packed into one int64 (``key``), so
"the next PRR of my site" is a binary search.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf_limits import flag_bytes

__all__ = ["Attribution", "Results", "results_of", "site_keys"]

RECORD_BITS = 47
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# TEST_FLG (STDF V4, "PTR"): bits 1 to 5 = no valid result, unreliable, timeout, not executed, aborted.
# Bit 0 (alarm) keeps the value: it was measured, e.g. a clamped current, and the tests on real data count it.
NO_VALUE = 0b0011_1110
NOT_EXECUTED = 0b0001_0000
# TEST_FLG bit 6: pass/fail not valid; bit 7: failed.
VERDICT, FAILED = 0b1100_0000, 0b1000_0000
# PARM_FLG bits 0 to 2: scale error, drift error, oscillation: "the result should not be used".
BAD_PARAMETER = 0b0000_0111


@dataclass
class Results:
    """Test results, one entry each: PTR, FTR, and every pin of an MPR."""

    key: Ints
    """Head, site and record number, packed."""
    test: Ints
    """TEST_NUM << 16 | pin; pin 0 is PTR and FTR, 1... is the position in an MPR's RTN_RSLT."""
    value: npt.NDArray[np.float32]
    has_value: Bools
    failed: Bools
    functional: Bools
    executed: Bools

    def take(self, which: npt.NDArray[np.bool_]) -> Results:
        """Return the entries for which ``which`` is true."""
        return Results(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def join(cls, parts: list[Results]) -> Results:
        """Join the entries of several."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    @classmethod
    def none(cls) -> Results:
        """Make one without entries."""
        ints, bools = np.empty(0, np.int64), np.empty(0, np.bool_)
        return cls(ints, ints, np.empty(0, np.float32), bools, bools, bools, bools)


def site_keys(table: pa.Table, first_record: int) -> Ints:
    """Pack head, site and record number into one int64 per record.

    :param table: records of any type with HEAD_NUM and SITE_NUM.
    :param first_record: number of the run's first record; the table counts the FAR before it as 0.
    """
    head = table["HEAD_NUM"].to_numpy().astype(np.int64)
    site = table["SITE_NUM"].to_numpy().astype(np.int64)
    record = table["sequence_number"].to_numpy().astype(np.int64) + (first_record - 1)
    packed: Ints = ((head << 8 | site) << RECORD_BITS) | record
    return packed


def results_of(tables: dict[str, pa.Table], first_record: int, where: str) -> Results:
    """Read all results of a run of records: first PTR, then FTR, then MPR."""
    found = [Results.none()]
    if "PTR" in tables:
        found.append(_read_parametric(tables["PTR"], first_record))
    if "FTR" in tables:
        found.append(_read_functional(tables["FTR"], first_record))
    if "MPR" in tables:
        found.append(_read_multiple(tables["MPR"], first_record, where))
    return Results.join(found)


def _read_parametric(table: pa.Table, first_record: int) -> Results:
    flags = flag_bytes(table["TEST_FLG"])
    value = table["RESULT"].to_numpy()
    # In stdf_convert, a record that ends before its RESULT (12 bytes) reads as 0.0, which is not a measurement.
    usable = (flags & NO_VALUE == 0) & (table["rec_len"].to_numpy() >= 12) & np.isfinite(value)
    usable &= flag_bytes(table["PARM_FLG"]) & BAD_PARAMETER == 0
    return Results(
        key=site_keys(table, first_record),
        test=table["TEST_NUM"].to_numpy().astype(np.int64) << 16,
        value=value,
        has_value=usable,
        failed=flags & VERDICT == FAILED,
        functional=np.zeros(len(flags), dtype=np.bool_),
        executed=flags & NOT_EXECUTED == 0,
    )


def _read_functional(table: pa.Table, first_record: int) -> Results:
    size = table.num_rows
    flags = flag_bytes(table["TEST_FLG"])
    return Results(
        key=site_keys(table, first_record),
        test=table["TEST_NUM"].to_numpy().astype(np.int64) << 16,
        value=np.zeros(size, dtype=np.float32),
        has_value=np.zeros(size, dtype=np.bool_),
        failed=flags & VERDICT == FAILED,
        functional=np.ones(size, dtype=np.bool_),
        executed=flags & NOT_EXECUTED == 0,
    )


def _read_multiple(table: pa.Table, first_record: int, where: str) -> Results:
    """One entry per returned value, and one without a value for an MPR that returned none, because it may still have failed."""
    counts = table["RSLT_CNT"].to_numpy().astype(np.int64)
    states = (table["RTN_ICNT"].to_numpy().astype(np.int64) + 1) // 2
    length = table["rec_len"].to_numpy().astype(np.int64)
    short = np.flatnonzero((counts > 0) & (length < 12 + states + 4 * counts))
    if len(short):
        row = int(short[0])
        raise SourceFormatError(
            f"{where}: the MPR of test {table['TEST_NUM'][row].as_py()} announces {counts[row]} results, but its "
            f"{length[row]} bytes hold fewer. Nothing of it was loaded. The file is damaged; fetch it again."
        )
    flags = flag_bytes(table["TEST_FLG"])
    usable = (flags & NO_VALUE == 0) & (flag_bytes(table["PARM_FLG"]) & BAD_PARAMETER == 0)
    rows = np.repeat(np.arange(len(counts)), np.maximum(counts, 1))
    starts = np.cumsum(np.maximum(counts, 1)) - np.maximum(counts, 1)
    pin = np.arange(len(rows)) - starts[rows] + 1
    value = np.full(len(rows), np.nan, dtype=np.float32)
    value[counts[rows] > 0] = np.concatenate([chunk.flatten().to_numpy() for chunk in table["RTN_RSLT"].chunks])
    return Results(
        key=site_keys(table, first_record)[rows],
        test=(table["TEST_NUM"].to_numpy().astype(np.int64)[rows] << 16) | pin,
        value=value,
        has_value=usable[rows] & np.isfinite(value),
        failed=(flags & VERDICT == FAILED)[rows],
        functional=np.zeros(len(rows), dtype=np.bool_),
        executed=(flags & NOT_EXECUTED == 0)[rows],
    )


@dataclass
class Attribution:
    """Carries open insertions (with a PIR but no PRR yet) and their results from one run of records to the next.

    :ivar without_pir: head and site (HEAD_NUM << 8 | SITE_NUM) on which PRRs may have no PIR. The results since the previous
        PRR then belong to the PRR.
    """

    without_pir: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    open_starts: Ints = field(init=False)
    pending: Results = field(default_factory=Results.none)
    orphans: int = 0
    """Results outside any insertion, or of an insertion that never got its PRR."""

    def __post_init__(self) -> None:
        self.open_starts = np.sort(self.without_pir) << RECORD_BITS

    def assign(self, starts: Ints, ends: Ints, results: Results) -> tuple[Results, Ints]:
        """Find the results that belong to the PRRs of a run, and for each result the index of its PRR.

        :param starts: keys of the run's PIRs.
        :param ends: keys of the run's PRRs, in file order.
        :param results: results of the run.
        """
        order = np.argsort(ends)
        ends = ends[order]
        starts = np.sort(np.concatenate([self.open_starts, starts, ends[np.isin(_site_of(ends), self.without_pir)]]))
        results = Results.join([self.pending, results])
        begin = _find_last_start(starts, ends)
        begin[1:][begin[1:] < ends[:-1]] = -1  # the PIR belongs to the previous PRR: this PRR has none
        part = np.searchsorted(ends, results.key)
        there = part < len(ends)
        inside = np.zeros(len(part), dtype=np.bool_)
        inside[there] = (begin[part[there]] >= 0) & (results.key[there] > begin[part[there]])
        inside[there] &= _site_of(ends[part[there]]) == _site_of(results.key[there])
        self._carry(starts, ends, results, inside)
        return results.take(inside), order[part[inside]]

    def _carry(self, starts: Ints, ends: Ints, results: Results, inside: Bools) -> None:
        # Carry the last PIR of each site, unless a PRR follows it.
        last = np.ones(len(starts), dtype=np.bool_)
        last[:-1] = _site_of(starts[1:]) != _site_of(starts[:-1])
        after = np.searchsorted(ends, starts, side="right")
        closed = after < len(ends)
        closed[closed] = _site_of(ends[after[closed]]) == _site_of(starts[closed])
        self.open_starts = starts[last & ~closed]
        begin = _find_last_start(self.open_starts, results.key)
        waits = ~inside & (begin >= 0)
        self.orphans += int(np.count_nonzero(~inside & ~waits))
        self.pending = results.take(waits)


def _site_of(key: Ints) -> Ints:
    return key >> RECORD_BITS


def _find_last_start(starts: Ints, keys: Ints) -> Ints:
    """For each key, the last PIR before it on the same site, or -1 if there is none. ``starts`` is sorted."""
    found = np.full(len(keys), -1, dtype=np.int64)
    at = np.searchsorted(starts, keys) - 1
    there = at >= 0
    candidate = starts[at[there]]
    found[there] = np.where(_site_of(candidate) == _site_of(keys[there]), candidate, -1)
    return found


def fail_kinds(results: Results, part: Ints, size: int) -> tuple[Bools, Bools]:
    """For each insertion, whether a functional test failed, and whether a parametric test failed."""
    functional = np.zeros(size, dtype=np.bool_)
    parametric = np.zeros(size, dtype=np.bool_)
    functional[part[results.failed & results.functional]] = True
    parametric[part[results.failed & ~results.functional]] = True
    return functional, parametric


def parameters_json(results: Results, part: Ints, size: int) -> tuple[pa.Array, pa.Array]:
    """Write two JSON columns of ``size`` rows: test → last value, and test → count for the tests that occur more than once.

    The names are in order of test number, then pin. A value has the fewest digits that are read back as the same float32: 0.1,
    not 0.10000000149011612. This is the tester's own number, at half the length. Rounding to shortest decimals keeps the order
    of float32 values, so a comparison with limits written in the same way gives the tester's verdict. The JSON is NULL, not
    ``{}``, if an insertion has no value.
    """
    keep = results.has_value
    part, value = part[keep], results.value[keep]
    tests, test = np.unique(results.test[keep], return_inverse=True)
    group = part * max(len(tests), 1) + test
    order = np.argsort(group, kind="stable")  # PTRs are in file order, so the last of a group was measured last
    group = group[order]
    last = np.ones(len(group), dtype=np.bool_)
    last[:-1] = group[1:] != group[:-1]
    at = np.flatnonzero(last)
    counts = np.diff(at, prepend=-1)
    rows, columns = part[order[at]], test[order[at]]
    names = pa.array([f'"{t >> 16}:{t & 0xFFFF}":' if t & 0xFFFF else f'"{t >> 16}":' for t in tests.tolist()])
    texts = pa.array(value[order[at]]).cast(pa.string())
    values = _write_objects(names, columns, texts, rows, size)
    many = counts > 1
    repeated = pa.array(counts[many]).cast(pa.string())
    return values, _write_objects(names, columns[many], repeated, rows[many], size)


def _write_objects(names: pa.Array, columns: Ints, texts: pa.Array, rows: Ints, size: int) -> pa.Array:
    """Write JSON objects from their members; ``rows`` is sorted."""
    if not len(texts):
        return pa.nulls(size, pa.string())
    members = pc.binary_join_element_wise(names.take(pa.array(columns)), texts, "")
    counts = np.bincount(rows, minlength=size)
    offsets = np.zeros(size + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), members), ",")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), whole, pa.scalar(None, pa.string()))
