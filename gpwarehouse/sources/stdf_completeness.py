"""Compare the parts that an STDF file's summaries count with those that its records hold, to see that none is missing.

PCR counts the parts of the file, WRR those of a wafer, HBR and SBR those of a bin. A summary over all heads (HEAD_NUM 255) takes
precedence over those of single sites, which add up. Not every file has every summary, and 4294967295 means "not known" (STDF
V4): a missing summary is no difference. Where complete files differ, each way is accepted: parts that were begun and not ended
may be counted or not; PART_CNT counts insertions, or units with the retests in RTST_CNT; bins count all insertions or the last
ones; a summary that is repeated later has the new count, or another share.
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
"""Maximum number of wafers and bins that a message names."""

Rows = list[dict[str, Any]]


def compare_counts(survey: Survey, header: Header, findings: Findings) -> None:
    """Refuse a file whose summaries count other parts than its records hold; if that is allowed, only warn.

    :raises SourceFormatError: summaries differ; the message names each of them, with both counts.
    """
    parts = int(np.count_nonzero(survey.is_part))
    spare = survey.unfinished + len(survey.is_part) - parts
    wrong = [
        *_compare_file(header.summaries["PCR"], parts, spare, findings),
        *_compare_wafers(survey, header, spare, findings),
        *_compare_bins(survey, header, "HBR", survey.hard_bin, spare, findings),
        *_compare_bins(survey, header, "SBR", survey.soft_bin, spare, findings),
    ]
    if wrong:
        findings.refuse(f"it is incomplete: {'; '.join(wrong)}")


def _choose_summaries(rows: Rows) -> Rows:
    """The summaries over all heads; if there are none, those of the single sites."""
    return [row for row in rows if row["HEAD_NUM"] == ANY] or rows


def _sum_counts(rows: Rows, count: str, key: Callable[[dict[str, Any]], Any]) -> set[int]:
    """The possible sums of the rows: of all rows, or of the last row of each key; none if a count is not known."""
    counts = [row[count] for row in rows]
    if not rows or any(number is None or number == UNKNOWN for number in counts):
        return set()
    last = {key(row): number for row, number in zip(rows, counts, strict=True)}
    return {sum(counts), sum(last.values())}


def _differs(said: set[int], retested: set[int], parts: int, spare: int) -> bool:
    return not any(parts <= count <= parts + spare for count in said) and not any(
        count + again == parts for count in said for again in retested
    )


def _describe_difference(said: int, found: int) -> str:
    return f"{said - found} are missing" if said > found else f"there are {found - said} too many"


def _compare_file(rows: Rows, parts: int, spare: int, findings: Findings) -> Iterable[str]:
    rows = _choose_summaries(rows)
    said, retested = _sum_counts(rows, "PART_CNT", _site_of), _sum_counts(rows, "RTST_CNT", _site_of)
    if said == {0} and parts:
        findings.warn(f"PCR counts no part, but the file holds {parts}")
    elif said and _differs(said, retested, parts, spare):
        count = max(said)
        yield f"PCR counts {count} parts, but the file holds {parts}: {_describe_difference(count, parts)}"


def _site_of(row: dict[str, Any]) -> tuple[int, int]:
    return row["HEAD_NUM"], row["SITE_NUM"]


def _compare_wafers(survey: Survey, header: Header, spare: int, findings: Findings) -> Iterable[str]:
    found = np.bincount(survey.wir_of_part[survey.wir_of_part >= 0], minlength=len(header.wafers))
    differing: dict[int, tuple[int, int]] = {}
    for visit, row in zip(survey.wir_of_wrr, header.summaries["WRR"], strict=True):
        said = _sum_counts([row], "PART_CNT", _no_key)
        if visit < 0 or not said:
            continue
        parts = int(found[visit])
        if said == {0} and parts:
            findings.warn(f"WRR of wafer {header.wafers[visit].shown} counts no part, but the file holds {parts}")
        elif _differs(said, _sum_counts([row], "RTST_CNT", _no_key), parts, spare):
            differing[visit] = (min(said), parts)
    if differing and differing.keys() <= survey.overlapping and _add_up(differing.values()):
        findings.warn(
            f"{len(differing)} wafers that were tested side by side have other numbers of parts than their WRR count, but the "
            "same total: WIR and SDR do not say which head and site had which wafer"
        )
        return
    for visit, (count, parts) in list(differing.items())[:SOME]:
        name = header.wafers[visit].shown
        yield f"WRR counts {count} parts on wafer {name}, but the file holds {parts}: {_describe_difference(count, parts)}"


def _no_key(_: dict[str, Any]) -> None:
    return None


def _add_up(counts: Iterable[tuple[int, int]]) -> bool:
    said, found = zip(*counts, strict=True)
    return bool(sum(said) == sum(found))


def _compare_bins(
    survey: Survey, header: Header, kind: str, bins: npt.NDArray[np.uint16], spare: int, findings: Findings
) -> Iterable[str]:
    number = f"{kind[0]}BIN_NUM"
    rows = _choose_summaries(header.summaries[kind])
    said = _sum_counts(rows, f"{kind[0]}BIN_CNT", lambda row: (_site_of(row), row[number]))
    if not said or said == {0}:
        return
    listed = sorted({row[number] for row in rows})
    insertions, last = bins[survey.is_part], bins[survey.is_part & survey.is_final]
    # A file may lack the summary of a bin, or have parts without a bin, so only the listed bins are compared.
    allowed = [int(np.isin(which, listed).sum()) for which in (insertions, last)] + [len(insertions), len(last)]
    if not any(least <= count <= least + spare for count in said for least in allowed):
        count, parts = max(said), allowed[0]
        difference = _describe_difference(count, parts)
        yield f"{kind} count {count} parts in {len(listed)} bins, but the file holds {parts}: {difference}"
    elif not spare and not any(_has_same_bins(rows, kind, which) for which in (insertions, last)):
        counts = _count_by_bin(rows, kind)
        other = [b for b in listed if counts[b] != int(np.count_nonzero(insertions == b))]
        shown = ", ".join(f"{counts[b]} and {np.count_nonzero(insertions == b)} in bin {b}" for b in other[:SOME])
        findings.warn(f"{kind} and PRR count different numbers of parts in {len(other)} bins: {shown}")


def _count_by_bin(rows: Rows, kind: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    for row in rows:
        number = row[f"{kind[0]}BIN_NUM"]
        counts[number] = counts.get(number, 0) + row[f"{kind[0]}BIN_CNT"]
    return counts


def _has_same_bins(rows: Rows, kind: str, bins: npt.NDArray[np.uint16]) -> bool:
    return all(count == np.count_nonzero(bins == number) for number, count in _count_by_bin(rows, kind).items())


def compare_good(header: Header, good: Iterable[int], findings: Findings) -> None:
    """Warn if PCR or WRR count other good parts than the records hold.

    :param good: numbers for all insertions, the first ones and the last ones; any of them is accepted.
    """
    counted = list(good)
    for kind, rows in (("PCR", _choose_summaries(header.summaries["PCR"])), ("WRR", header.summaries["WRR"])):
        said = _sum_counts(rows, "GOOD_CNT", _site_of if kind == "PCR" else id)
        if said and said != {0} and not said & set(counted):
            findings.warn(f"{kind} counts {max(said)} good parts, but PRR count {counted[0]}")
