"""Assign test results to insertions. All is vectorised.

An insertion is everything between a PIR and the PRR of the same (HEAD_NUM, SITE_NUM). Results of sites that are tested in
parallel are interleaved, so the record number decides. Head, site and record number are packed into one int64 (``key``), so
"the next PRR of my site" is a binary search.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gpwarehouse.sources.stdf_results import ONCE, RECORD_BITS, VALUE, Bools, Ints, Results

__all__ = ["Attribution"]


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
    """Test records outside any insertion, or of an insertion that never got its PRR; complete after :meth:`finish`."""
    orphan_values: int = 0
    """Values in them."""

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
        self._count_orphans(results.take(~inside & ~waits))
        self.pending = results.take(waits)

    def _count_orphans(self, results: Results) -> None:
        self.orphans += int(np.count_nonzero(results.has(ONCE)))
        self.orphan_values += int(np.count_nonzero(results.has(VALUE)))

    def finish(self) -> None:
        """Count the results of insertions that are still open."""
        self._count_orphans(self.pending)
        self.pending = Results.none()


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
