"""What a file counts against what it holds: differences, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stdf_help import T0, read, stdf_bytes, write

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import ValueCounts, open_source
from gpwarehouse.sources.stdf_writer import NO_COUNT, StdfWriter

Fill = Callable[[StdfWriter], None]


def part(out: StdfWriter, value: float = 1.0, **prr: Any) -> None:
    head, site = prr.get("head", 1), prr.get("site", 0)
    out.pir(head=head, site=site)
    out.ptr(1, value, head=head, site=site)
    out.prr(num_test=1, **prr)


def three(*, wrr: int | None = None, rtst: int = NO_COUNT, end: Fill = lambda out: None) -> Fill:
    """Three parts, one die of them twice, on a wafer where ``wrr`` is given, and what stands behind them."""

    def fill(out: StdfWriter) -> None:
        if wrr is not None:
            out.wir(start_t=T0, wafer_id="01")
        for x in (0, 1, 0):
            part(out, x=x, y=0)
        if wrr is not None:
            out.wrr(part_cnt=wrr, rtst_cnt=rtst, wafer_id="01")
        end(out)

    return fill


def per_site(out: StdfWriter) -> None:
    out.pcr(2, head=1, site=0)
    out.pcr(1, head=1, site=1)


WHOLE = {
    "no summary": three(),
    "PCR": three(end=lambda out: out.pcr(3)),
    "not known": three(wrr=NO_COUNT, end=lambda out: out.pcr(NO_COUNT)),
    "PCR of sites": three(end=per_site),
    "PCR of sites and of all": three(end=lambda out: (per_site(out), out.pcr(3))[0]),
    "PCR of units with the retests beside": three(end=lambda out: out.pcr(2, rtst_cnt=1)),
    "PCR twice": three(end=lambda out: (out.pcr(3), out.pcr(3))[0]),
    "WRR": three(wrr=3),
    "WRR of units": three(wrr=2, rtst=1),
    "HBR of insertions": three(end=lambda out: out.hbr(1, 3)),
    "HBR of the last insertions": three(wrr=3, end=lambda out: out.hbr(1, 2)),
    "SBR of sites": three(end=lambda out: (out.sbr(7, 1, head=1), out.sbr(8, 2, head=1, site=1))[0]),
}


@pytest.mark.parametrize("fill", WHOLE.values(), ids=WHOLE)
def test_whole_files_are_read_without_a_word(tmp_path: Path, fill: Fill) -> None:
    rows, source = read(write(tmp_path / "a.stdf", fill))
    bins = [
        warning for warning in source.warnings() if "SBR and PRR count different numbers of parts in" not in warning
    ]
    assert (len(rows), bins) == (3, [])


DIFFERING = {
    "PCR": (three(end=lambda out: out.pcr(5)), "PCR counts 5 parts, but the file holds 3: 2 are missing"),
    "PCR less": (three(end=lambda out: out.pcr(1)), "PCR counts 1 parts, but the file holds 3: there are 2 too many"),
    "PCR of sites": (three(end=lambda out: out.pcr(4, head=1)), "PCR counts 4 parts"),
    "WRR": (three(wrr=4), "WRR counts 4 parts on wafer '01', but the file holds 3: 1 are missing"),
    "HBR": (three(end=lambda out: out.hbr(1, 9)), "HBR count 9 parts in 1 bins, but the file holds 3: 6 are missing"),
    "SBR": (three(end=lambda out: out.sbr(65535, 9)), "SBR count 9 parts in 1 bins, but the file holds 3"),
    "a wafer's end alone": (lambda out: (part(out), out.wrr(wafer_id="07"))[0], "a WRR ends wafer '07', but no WIR"),
}


@pytest.mark.parametrize(("fill", "words"), DIFFERING.values(), ids=DIFFERING)
def test_a_difference_is_refused_unless_it_is_allowed(tmp_path: Path, fill: Fill, words: str) -> None:
    file = write(tmp_path / "a.stdf", fill)
    with pytest.raises(SourceFormatError) as refused:
        read(file)
    for word in ("a.stdf", words, "Nothing of it was loaded", "allow_incomplete=True", "--allow-incomplete"):
        assert word in str(refused.value)
    with pytest.raises(SourceFormatError):
        _ = open_source(file).checksum  # whatever is asked first
    rows, source = read(file, allow_incomplete=True)
    assert len(rows) in (1, 3)
    assert [words in warning for warning in source.warnings()].count(True) == 1


def test_the_wafer_that_lacks_parts_is_named_among_several(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for wafer, count in (("01", 2), ("02", 3), ("03", 2)):
            out.wir(start_t=T0, wafer_id=wafer)
            for x in range(2):
                part(out, x=x, y=0)
            out.wrr(part_cnt=count, wafer_id=wafer)

    with pytest.raises(
        SourceFormatError, match=r"incomplete: WRR counts 3 parts on wafer '02', but the file holds 2: 1 are missing\. "
    ):
        read(write(tmp_path / "a.stdf", fill))


def test_good_parts_and_bins_that_differ_are_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for bin_ in (1, 1, 2):
            part(out, hard_bin=bin_, part_flg=0)
        out.hbr(1, 1)
        out.hbr(2, 2)
        out.pcr(3, good_cnt=2)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert len(rows) == 3
    assert source.warnings() == [
        "HBR and PRR count different numbers of parts in 2 bins: 1 and 2 in bin 1, 2 and 1 in bin 2",
        "PCR counts 2 good parts, but PRR count 3",
    ]


def test_a_summary_of_nothing_is_told(tmp_path: Path) -> None:
    _, source = read(write(tmp_path / "a.stdf", three(wrr=0, end=lambda out: out.pcr(0))))
    assert source.warnings() == [
        "PCR counts no part, but the file holds 3",
        "WRR of wafer '01' counts no part, but the file holds 3",
    ]


def test_a_delimiter_is_no_part(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir(site=255)
        out.ptr(9, 0.0, site=255, test_flg=0x12)
        out.prr(site=255, num_test=65535, hard_bin=65535, part_id="Test Plan Delimiter")
        out.pir(site=1)
        out.prr(site=1, num_test=0, hard_bin=65535)
        for site in (0, 1):
            part(out, site=site, hard_bin=3, part_flg=8, part_id=str(site))
        out.pcr(2, good_cnt=0)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [(r["source_record_no"], r["site_no"], r["part_id"], r["values"]) for r in rows] == [
        (1, 0, "0", {"1": 1.0}),
        (2, 1, "1", {"1": 1.0}),
    ]
    assert source.warnings() == ["1 test results belong to no part and are left out"]
    assert (source.insertions, source.values()) == (2, ValueCounts(2, 1))


def test_parts_without_a_pir_have_the_results_since_the_one_before(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for value in (1.5, 2.5, 3.5):
            out.ptr(1, value)
            out.ptr(2, -value)
            out.prr(num_test=2)
        out.pcr(3)

    rows, source = read(write(tmp_path / "a.stdf", fill), chunk_bytes=30)
    assert [row["values"] for row in rows] == [{"1": v, "2": -v} for v in (1.5, 2.5, 3.5)]
    assert [warning[:37] for warning in source.warnings()] == ["3 parts have a PRR but no PIR; they g"]


def test_a_part_without_prr_is_counted_and_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.ptr(1, 0.1)
        part(out, 0.2)
        out.pcr(2)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [row["values"] for row in rows] == [{"1": 0.2}]
    assert source.values() == ValueCounts(1, 1)
    assert source.warnings() == [
        "1 parts have a PIR but no PRR; the parts and their results are left out",
        "1 test results belong to no part and are left out",
    ]


def test_results_on_another_head_are_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for value in range(3):
            out.pir()
            out.ptr(1, float(value), head=0)
            out.prr(num_test=1)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [row["measured"] for row in rows] == [None] * 3
    assert source.values() == ValueCounts(0, 3)
    assert source.warnings() == [
        "3 test results belong to no part and are left out; 3 parts have none, although NUM_TEST counts some"
    ]


@pytest.mark.parametrize("head", [0, 255, 2])
def test_a_wafer_on_another_head_is_the_one_of_all(tmp_path: Path, head: int) -> None:
    def fill(out: StdfWriter) -> None:
        out.wir(head=head, start_t=T0, wafer_id="07")
        part(out)
        out.wrr(head=head, part_cnt=1, wafer_id="07")

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [row["wafer_id"] for row in rows] == ["07"]
    guess = "1 parts on head 1, which has no wafer, were assigned to the only open wafer, on head 2"
    assert source.warnings() == ([guess] if head == 2 else [])


def test_lost_wafers_are_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        part(out, x=1, y=1)
        out.wir(start_t=T0, wafer_id="01")
        part(out, x=1, y=2)
        out.wir(start_t=T0, wafer_id="02")
        part(out, x=1, y=3)
        out.wrr(part_cnt=1, wafer_id="02")

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [row["wafer_id"] for row in rows] == [None, "01", "02"]
    assert source.warnings() == [
        "1 wafers have a WIR but no WRR: '01'",
        "1 parts are outside any wafer (before its WIR or after its WRR), and have none",
    ]


@pytest.mark.parametrize("kind", [(0, 0), (1, 61), (5, 30), (99, 1), (179, 10), (182, 10)])
def test_records_that_no_stdf_has_are_refused(tmp_path: Path, kind: tuple[int, int]) -> None:
    file = write(tmp_path / "a.stdf", lambda out: (part(out), out.record(*kind, b"\1\2"), part(out))[0])
    with pytest.raises(
        SourceFormatError, match=rf"at byte \d+ there is a record of type {kind[0]}/{kind[1]}, which neither"
    ):
        read(file)
    rows, source = read(file, allow_incomplete=True)
    assert len(rows) == 2
    known = "which neither STDF V4 nor V4-2007 defines"
    assert source.warnings() == [f"skipped 1 times: a record of type {kind[0]}/{kind[1]}, {known}"]


@pytest.mark.parametrize("kind", [(180, 0), (181, 77), (1, 90), (1, 94), (50, 10), (50, 30), (20, 10), (1, 62)])
def test_records_of_vendors_and_of_v4_2007_are_known(tmp_path: Path, kind: tuple[int, int]) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.record(*kind, b"\0" * 20)
        out.prr(num_test=0)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert (len(rows), source.warnings()) == (1, [])


def test_a_scan_result_of_no_part_is_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        part(out)
        out.record(15, 30, b"\0" * 20)

    assert read(write(tmp_path / "a.stdf", fill))[1].warnings() == ["1 test results belong to no part and are left out"]


@pytest.mark.parametrize(
    ("kind", "body"), [((5, 10), b"\1"), ((5, 20), b"\1\0\0"), ((15, 10), b"\1\0\0\0\1"), ((2, 20), b"\1\1")]
)
def test_records_too_short_for_their_fields_are_refused(tmp_path: Path, kind: tuple[int, int], body: bytes) -> None:
    file = write(tmp_path / "a.stdf", lambda out: (part(out), out.record(*kind, body))[0])
    with pytest.raises(SourceFormatError, match=rf"type {kind[0]}/{kind[1]}, which is too short for its fields"):
        read(file)
    assert len(read(file, allow_incomplete=True)[0]) == 1


def test_longer_records_than_their_fields_are_read(tmp_path: Path) -> None:
    whole = stdf_bytes(
        lambda out: (out.record(5, 10, b"\1\0tail"), out.record(5, 20, b"\1\0\0\0\0\1\0tail" + b"\0" * 20))[0]
    )
    file = tmp_path / "a.stdf"
    file.write_bytes(whole)
    assert [row["hard_bin"] for row in read(file)[0]] == [1]


def test_what_is_left_of_a_file_cut_off_may_be_read(tmp_path: Path) -> None:
    whole = stdf_bytes(three(wrr=3))
    file = tmp_path / "a.stdf"
    for cut in (9, 4, 12):  # the MRR has 9 bytes; the WRR before it has more
        file.write_bytes(whole[:-cut])
        with pytest.raises(SourceFormatError, match="ends early"):
            read(file)
        rows, source = read(file, allow_incomplete=True)
        assert len(rows) == 3
        assert "it ends early" in source.warnings()[0]
        assert "the MRR is missing, which is the last record" in source.warnings()[0]


def test_records_behind_the_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    file.write_bytes(stdf_bytes(three()) + b"\x02\x00\x05\x0a\1\0")
    with pytest.raises(SourceFormatError, match=r"records follow the MRR, .* at byte \d+"):
        read(file)


def test_parts_before_the_lot_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    with StdfWriter(file) as out:
        part(out)
        out.mir(lot_id="L", start_t=T0)
        out.mrr()
    with pytest.raises(SourceFormatError, match=r"at byte 6 a record of type 5/10 precedes the MIR"):
        read(file)


def test_values_zeroed_in_a_row_are_told(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.mpr(7, [0.5] * 40)
        out.mpr(8, [0.5] * 4 + [0.0] * 40 + [0.5])
        out.mpr(9, [0.0] * 16)
        out.mpr(9, [0.0] * 16)
        out.prr(num_test=4)

    assert read(write(tmp_path / "a.stdf", fill))[1].warnings() == [
        "32 or more consecutive values are 0 in MPRs of tests 8; a lost block looks like this"
    ]


def test_a_tester_that_logs_every_second_part_is_no_fault(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for number in range(10):
            out.pir()
            if number % 2:
                out.ptr(1, 1.0)
            out.prr(num_test=1)

    assert read(write(tmp_path / "a.stdf", fill))[1].warnings() == []

    def lost(out: StdfWriter) -> None:
        for number in range(10):
            out.pir()
            if number != 4:
                out.ptr(1, 1.0)
            out.prr(num_test=1)

    assert read(write(tmp_path / "b.stdf", lost))[1].warnings() == [
        "1 parts have no results in the file, although their PRR.NUM_TEST counts some"
    ]


def test_a_file_whose_first_record_contradicts_itself_is_refused_so(tmp_path: Path) -> None:
    whole = stdf_bytes(three())
    file = tmp_path / "a.stdf"
    file.write_bytes(whole[:4] + b"\x01" + whole[5:])
    with pytest.raises(SourceFormatError, match=r"CPU_TYPE 1.* big-endian, .* 02 00, is little-endian\. Nothing"):
        _ = open_source(file).checksum
