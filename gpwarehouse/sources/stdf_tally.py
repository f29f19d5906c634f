"""Count, run by run, what the parts of an STDF file hold: results against PRR.NUM_TEST, good parts, results without a part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpwarehouse.sources.stdf_results import EXECUTED, ONCE, VALUE, Ints, Results

__all__ = ["Tally"]

UNCOUNTED = 65535
ZEROS = 32
"""Number of consecutive zero values in one MPR from which there is a warning: a zeroed block looks like this."""


@dataclass
class Tally:
    """Counts over the runs of one pass.

    :ivar good: numbers of good parts of all insertions, of the first ones, of the last ones; None after a part without a verdict.
    :ivar delimiter_values: values between a PIR and a PRR that are no part.
    """

    good: list[int] | None = field(default_factory=lambda: [0, 0, 0])
    _differ: int = 0
    _counted: int = 0
    _seen: int = 0
    _logged: int = 0
    _unlogged: int = 0
    _zero_counts: int = 0
    _zeroed: set[int] = field(default_factory=set)
    _delimiters: int = 0
    delimiter_values: int = 0

    def see_parts(self, executed: Ints, results: Results, part: Ints, is_part: npt.NDArray[np.bool_]) -> None:
        """Compare PRR.NUM_TEST with the number of records: of all records, or of those whose test was executed.

        A part without any result was not logged by the tester (many testers log every second or tenth part).

        :param executed: NUM_TEST of the run's PRRs.
        :param part: for each result, its PRR.
        """
        once, did = results.has(ONCE), results.has(EXECUTED)
        seen = np.bincount(part[once], minlength=len(executed))
        run = np.bincount(part[once & did], minlength=len(executed))
        counted = is_part & (executed != 0) & (executed != UNCOUNTED)
        differ = counted & (seen > 0) & (executed != seen) & (executed != run)
        self._differ += int(np.count_nonzero(differ))
        self._counted += int(executed[differ].sum())
        self._seen += int(seen[differ].sum())
        self._logged += int(np.count_nonzero(counted & (seen > 0)))
        self._unlogged += int(np.count_nonzero(counted & (seen == 0)))
        self._zero_counts += int(np.count_nonzero(is_part & (executed == 0) & (run > 0)))
        self._delimiters += int(np.count_nonzero(once & (did | results.has(VALUE)) & ~is_part[part]))
        self.delimiter_values += int(np.count_nonzero(results.has(VALUE) & ~is_part[part]))

    def see_multiple(self, table: pa.Table) -> None:
        """Look for values in MPRs that a lost block may have zeroed."""
        lists = table["RTN_RSLT"].combine_chunks()
        values = lists.flatten().to_numpy(zero_copy_only=False).view(np.uint32)
        if len(values) < ZEROS:
            return
        rows = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
        zero = values == 0
        begins = np.append(True, (rows[1:] != rows[:-1]) | ~zero[1:] | ~zero[:-1])
        run = np.cumsum(begins) - 1
        long = np.flatnonzero(np.bincount(run[zero]) >= ZEROS)
        if len(long):
            tests = table["TEST_NUM"].to_numpy()
            self._zeroed.update(tests[rows[np.searchsorted(run, long)]].tolist())

    def see_verdicts(self, is_pass: pa.Array, first: npt.NDArray[np.bool_], last: npt.NDArray[np.bool_]) -> None:
        """Count the good parts of a run."""
        if self.good is None or is_pass.null_count:
            self.good = None
            return
        passed = is_pass.to_numpy(zero_copy_only=False).astype(bool)
        self.good = [
            count + int(np.count_nonzero(passed & which))
            for count, which in zip(self.good, (True, first, last), strict=True)
        ]

    def warnings(self, orphans: int) -> list[str]:
        """What was found, one sentence each.

        :param orphans: number of test records without a part.
        """
        found = []
        lost = orphans + self._delimiters
        if lost:
            without = f"; {self._unlogged} parts have none, although NUM_TEST counts some" if self._unlogged else ""
            found.append(f"{lost} test results belong to no part and are left out{without}")
        elif self._unlogged * 2 < self._logged and self._unlogged:
            found.append(f"{self._unlogged} parts have no results in the file, although their PRR.NUM_TEST counts some")
        differ = self._differ + (self._zero_counts if self._logged else 0)
        if differ:
            found.append(
                f"{differ} of {self._logged + self._zero_counts} parts have other numbers of results than their PRR.NUM_TEST: "
                f"{self._seen} are in the file, {self._counted} are counted"
            )
        if self._zeroed:
            numbers = ", ".join(map(str, sorted(self._zeroed)[:10]))
            found.append(
                f"{ZEROS} or more consecutive values are 0 in MPRs of tests {numbers}; a lost block looks like this"
            )
        return found
