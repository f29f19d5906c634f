"""Are all parts of an STDF file there? What its summaries count against what its records hold.

PCR counts the parts of the file, WRR those of a wafer, HBR and SBR those of a bin. A summary over all heads (HEAD_NUM 255)
goes before those of single sites, which add up. Not every file has every summary, and 4294967295 is "not known" (STDF V4): what
is not there is no difference. What a whole file may say in more than one way is accepted in each: parts that were begun and
not ended may be counted or not; PART_CNT counts insertions, or units with RTST_CNT the retests beside them; bins may be
those of all insertions or of the last ones; a summary repeated later holds the new count, or another share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpwarehouse.sources.stdf_framing import Findings
from gpwarehouse.sources.stdf_records import ANY, Header
from gpwarehouse.sources.stdf_survey import Survey

__all__ = ["compare_counts", "compare_good"]

UNKNOWN = 4294967295
SOME = 5
"""Wafers and bins that a message names."""

Rows = list[dict[str, Any]]


def compare_counts(survey: Survey, header: Header, findings: Findings) -> None:
    """Refuse a file whose summaries count other parts than its records are, or tell of it where that is allowed.

    :raises SourceFormatError: naming every summary that differs, and both counts.
    """
    parts = int(np.count_nonzero(survey.is_part))
    spare = survey.unfinished + len(survey.is_part) - parts
    wrong = [
        *_parts_of_file(header.summaries["PCR"], parts, spare, findings),
        *_parts_of_wafers(survey, header, spare, findings),
        *_parts_of_bins(survey, header, "HBR", survey.hard_bin, spare, findings),
        *_parts_of_bins(survey, header, "SBR", survey.soft_bin, spare, findings),
    ]
    if wrong:
        findings.refuse(f"it is not whole: {'; '.join(wrong)}")


def _whole(rows: Rows) -> Rows:
    """The summaries over all heads, or those of the single sites where there are none."""
    return [row for row in rows if row["HEAD_NUM"] == ANY] or rows


def _totals(rows: Rows, count: str, key: Callable[[dict[str, Any]], Any]) -> set[int]:
    """What the rows may add up to: all of them, or the last one of each key. Nothing where one is not known."""
    counts = [row[count] for row in rows]
    if not rows or any(number is None or number == UNKNOWN for number in counts):
        return set()
    last = {key(row): number for row, number in zip(rows, counts, strict=True)}
    return {sum(counts), sum(last.values())}


def _differs(said: set[int], retested: set[int], parts: int, spare: int) -> bool:
    return not any(parts <= count <= parts + spare for count in said) and not any(
        count + again == parts for count in said for again in retested
    )


def _difference(said: int, found: int) -> str:
    return f"{said - found} are missing" if said > found else f"{found - said} are too many"


def _parts_of_file(rows: Rows, parts: int, spare: int, findings: Findings) -> Iterable[str]:
    rows = _whole(rows)
    said, retested = _totals(rows, "PART_CNT", _site), _totals(rows, "RTST_CNT", _site)
    if said == {0} and parts:
        findings.tell(f"PCR counts no part, the file holds {parts}")
    elif said and _differs(said, retested, parts, spare):
        count = max(said)
        yield f"PCR counts {count} parts, the file holds {parts}: {_difference(count, parts)}"


def _site(row: dict[str, Any]) -> tuple[int, int]:
    return row["HEAD_NUM"], row["SITE_NUM"]


def _parts_of_wafers(survey: Survey, header: Header, spare: int, findings: Findings) -> Iterable[str]:
    found = np.bincount(survey.wir_of_part[survey.wir_of_part >= 0], minlength=len(header.wafers))
    differing: dict[int, tuple[int, int]] = {}
    for visit, row in zip(survey.wir_of_wrr, header.summaries["WRR"], strict=True):
        said = _totals([row], "PART_CNT", _no_key)
        if visit < 0 or not said:
            continue
        parts = int(found[visit])
        if said == {0} and parts:
            findings.tell(f"WRR of wafer {header.wafers[visit].told} counts no part, the file holds {parts}")
        elif _differs(said, _totals([row], "RTST_CNT", _no_key), parts, spare):
            differing[visit] = (min(said), parts)
    if differing and differing.keys() <= survey.overlapping and _add_up(differing.values()):
        findings.tell(
            f"{len(differing)} wafers that were tested side by side have other parts than their WRR count; together they "
            "have as many: which head and site had which wafer is not told by WIR and SDR"
        )
        return
    for visit, (count, parts) in list(differing.items())[:SOME]:
        name = header.wafers[visit].told
        yield f"WRR counts {count} parts on wafer {name}, the file holds {parts}: {_difference(count, parts)}"


def _no_key(_: dict[str, Any]) -> None:
    return None


def _add_up(counts: Iterable[tuple[int, int]]) -> bool:
    said, found = zip(*counts, strict=True)
    return bool(sum(said) == sum(found))


def _parts_of_bins(
    survey: Survey, header: Header, kind: str, bins: npt.NDArray[np.uint16], spare: int, findings: Findings
) -> Iterable[str]:
    number = f"{kind[0]}BIN_NUM"
    rows = _whole(header.summaries[kind])
    said = _totals(rows, f"{kind[0]}BIN_CNT", lambda row: (_site(row), row[number]))
    if not said or said == {0}:
        return
    listed = sorted({row[number] for row in rows})
    insertions, last = bins[survey.is_part], bins[survey.is_part & survey.is_final]
    # A file may lack the summary of a bin, or have parts without a bin: only the bins listed are compared.
    allowed = [int(np.isin(which, listed).sum()) for which in (insertions, last)] + [len(insertions), len(last)]
    if not any(least <= count <= least + spare for count in said for least in allowed):
        count, parts = max(said), allowed[0]
        yield f"{kind} count {count} parts in {len(listed)} bins, the file holds {parts}: {_difference(count, parts)}"
    elif not spare and not any(_same_bins(rows, kind, which) for which in (insertions, last)):
        counts = _by_bin(rows, kind)
        other = [b for b in listed if counts[b] != int(np.count_nonzero(insertions == b))]
        told = ", ".join(f"{counts[b]} and {np.count_nonzero(insertions == b)} in bin {b}" for b in other[:SOME])
        findings.tell(f"{kind} and PRR count other parts in {len(other)} bins: {told}")


def _by_bin(rows: Rows, kind: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    for row in rows:
        number = row[f"{kind[0]}BIN_NUM"]
        counts[number] = counts.get(number, 0) + row[f"{kind[0]}BIN_CNT"]
    return counts


def _same_bins(rows: Rows, kind: str, bins: npt.NDArray[np.uint16]) -> bool:
    return all(count == np.count_nonzero(bins == number) for number, count in _by_bin(rows, kind).items())


def compare_good(header: Header, good: Iterable[int], findings: Findings) -> None:
    """Tell where PCR or WRR count other good parts than the records are.

    :param good: of all insertions, of the first ones, of the last ones: any of them will do.
    """
    counted = list(good)
    for kind, rows in (("PCR", _whole(header.summaries["PCR"])), ("WRR", header.summaries["WRR"])):
        said = _totals(rows, "GOOD_CNT", _site if kind == "PCR" else id)
        if said and said != {0} and not said & set(counted):
            findings.tell(f"{kind} counts {max(said)} good parts, PRR {counted[0]}")
