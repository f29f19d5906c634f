"""Files with a block zeroed, lost or written twice are refused, or say what is missing; whole files never are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from damaged import damages, outcome, read_all
from hypothesis import given, settings
from hypothesis import strategies as st
from stdf_help import stdf_bytes
from stdf_lot import lot_bytes

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf_writer import StdfWriter

VARIANTS = int(os.environ.get("GPWAREHOUSE_TEST_VARIANTS", "60"))
"""300 by hand; the first are the same."""


@pytest.mark.parametrize("summaries", [True, False])
def test_a_damaged_file_is_refused_or_says_what_is_missing(tmp_path: Path, summaries: bool) -> None:
    whole = lot_bytes(summaries=summaries)
    file = tmp_path / "lot.stdf"
    file.write_bytes(whole)
    right = read_all(file)
    found = [outcome(file, whole, damage, right) for damage in damages(len(whole), VARIANTS, seed=11)]
    counts = Counter(what for what, _ in found)
    assert counts["refused"] >= 0.9 * VARIANTS
    assert counts["silent"] == 0, [words for what, words in found if what == "silent"]
    assert all("Nothing of it was loaded" in words for what, words in found if what == "refused")


@given(st.integers(1, 4), st.integers(1, 24), st.integers(0, 999), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_whole_file_is_never_refused_and_says_nothing(
    tmp_path_factory: pytest.TempPathFactory, wafers: int, parts: int, seed: int, summaries: bool
) -> None:
    file = tmp_path_factory.mktemp("whole") / "lot.stdf"
    file.write_bytes(lot_bytes(wafers, parts, seed, summaries))
    rows, _, warnings = read_all(file)
    assert len(rows) >= wafers * parts
    assert warnings == []


def test_blocks_as_long_as_whole_parts_are_missed_by_the_summaries(tmp_path: Path) -> None:
    """Where the records' lengths divide the block's, its loss breaks no record: only the counts tell."""

    def fill(out: StdfWriter) -> None:
        for part in range(20):
            out.pir()
            for test in range(5):
                out.ptr(test, float(part))
            out.prr(num_test=5, x=part, y=0, part_id=f"{part:02d}")
        out.hbr(1, 20, "P")
        out.pcr(20)

    whole = stdf_bytes(fill)
    begin = whole.index(b"\x02\x00\x05\x0a")
    part_bytes = whole.index(b"\x02\x00\x05\x0a", begin + 1) - begin
    file = tmp_path / "a.stdf"
    file.write_bytes(whole[:begin] + whole[begin + 3 * part_bytes :])
    with pytest.raises(
        SourceFormatError, match=r"PCR counts 20 parts, but the file holds 17: 3 are missing; HBR count 20"
    ):
        read_all(file)
    file.write_bytes(whole[: begin + 2 * part_bytes] + whole[begin:])
    with pytest.raises(SourceFormatError, match=r"PCR counts 20 parts, but the file holds 22: there are 2 too many"):
        read_all(file)
    file.write_bytes(whole[: begin + 6] + whole[begin + 6 + 2 * 16 :])
    assert read_all(file)[2] == [
        "1 of 20 parts have other numbers of results than their PRR.NUM_TEST: 3 are in the file, 5 are counted"
    ]
