"""Which file is a retest: what an STDF file says of the parts that it tests again."""

from __future__ import annotations

from gpwarehouse.sources.stdf_framing import Findings
from gpwarehouse.sources.stdf_records import Header

__all__ = ["ALL_BINS", "UNKNOWN_BINS", "retest_of_bins"]

ALL_BINS, UNKNOWN_BINS = "ALL", "Y"
"""All parts are tested again; parts are, but it is not said which."""


def retest_of_bins(header: Header, findings: Findings) -> str | None:
    """The hard bins whose parts the file tests again: numbers with commas, :data:`ALL_BINS` or :data:`UNKNOWN_BINS`.

    None if it is no retest. The Retest Data Record (RDR) says it; without one, MIR.RTST_COD does: ``Y`` is a retest, and so is
    a digit. STDF V4 reads a digit as the number of earlier tests, testers write the bin.
    """
    bins, code = header.retested_bins, header.mir["RTST_COD"]
    assert code is None or isinstance(code, str)
    if bins is not None:
        return ",".join(map(str, sorted(bins))) or ALL_BINS
    if code is None or code in ("N", "0"):
        return None
    if code == UNKNOWN_BINS:
        return UNKNOWN_BINS
    if code.isdecimal():
        findings.warn(
            f"MIR.RTST_COD is {code!r}: read as a retest of hard bin {code}; STDF V4 also counts earlier tests so"
        )
        return code
    findings.warn(f"MIR.RTST_COD is {code!r}, which STDF does not define; the file is read as a first pass")
    return None
