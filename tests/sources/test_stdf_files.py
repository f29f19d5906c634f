"""Whole, cut, packed, joined and foreign files."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdf_help import read, stdf_bytes

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import Source, open_source
from gpwarehouse.sources.stdf import StdfSource
from gpwarehouse.sources.stdf_writer import StdfWriter


def fill(out: StdfWriter) -> None:
    out.wir(wafer_id="1")
    for part in range(3):
        out.pir()
        out.ptr(1, float(part), test_txt="A", lo_limit=0.0, hi_limit=9.0, units="V")
        out.ftr(2)
        out.prr(x=part, y=0)
    out.wrr(wafer_id="1")


WHOLE = stdf_bytes(fill)
BIG = stdf_bytes(fill, order=">")


def count_rows(path: Path) -> int:
    return sum(batch.num_rows for batch in open_source(path).batches())


def test_the_same_content_has_one_checksum_however_packed(tmp_path: Path) -> None:
    (tmp_path / "a.stdf").write_bytes(WHOLE)
    (tmp_path / "b.stdf.gz").write_bytes(gzip.compress(WHOLE))
    (tmp_path / "c.std.bz2").write_bytes(bz2.compress(WHOLE))
    (tmp_path / "no-suffix").write_bytes(gzip.compress(WHOLE, 1))
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/a.stdf", WHOLE)
    sources = [open_source(file) for file in sorted(tmp_path.iterdir())]
    assert len(sources) == 5
    assert {source.checksum for source in sources} == {hashlib.sha256(WHOLE).hexdigest()}
    assert [sum(b.num_rows for b in source.batches()) for source in sources] == [3] * 5


def test_the_source_has_the_shape_the_loader_expects(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    file.write_bytes(WHOLE)
    source = open_source(file)
    assert isinstance(source, Source)
    assert (source.target, source.source_system, source.source_file) == ("fact_test_results", "STDF", "a.stdf")
    assert open_source(file, source_file="named.stdf").source_file == "named.stdf"


def test_batches_may_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    file.write_bytes(WHOLE)
    source = StdfSource(file)
    assert repr([b.to_pylist() for b in source.batches()]) == repr([b.to_pylist() for b in source.batches()])


@given(st.sampled_from([WHOLE, BIG]), st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_cut_anywhere_gives_no_row(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(whole) - 1))
    file = tmp_path_factory.mktemp("cut") / "cut.stdf"
    file.write_bytes(whole[:cut])
    with pytest.raises(SourceFormatError, match=r"cut\.stdf.*byte") as caught:
        next(StdfSource(file).batches())
    assert "Nothing of it was loaded" in str(caught.value)


@given(st.sampled_from(["gz", "bz2", "zip"]), st.data())
@settings(max_examples=80, deadline=None)
def test_a_compressed_file_cut_anywhere_gives_no_row(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    if kind == "zip":
        with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.stdf", WHOLE)
        packed = (folder / "whole.zip").read_bytes()
    else:
        packed = gzip.compress(WHOLE) if kind == "gz" else bz2.compress(WHOLE)
    cut = data.draw(st.integers(0, len(packed) - 1))
    file = folder / f"cut.{kind}"
    file.write_bytes(packed[:cut])
    with pytest.raises(SourceFormatError, match=r"cut\."):
        next(StdfSource(file).batches())
    with pytest.raises(SourceFormatError, match=r"cut\."):
        next(iter(open_source(file).batches()))


def test_the_message_says_where_the_file_ends(tmp_path: Path) -> None:
    file = tmp_path / "cut.stdf"
    file.write_bytes(WHOLE[:-3])
    at = len(WHOLE) - 9  # the MRR: 4 bytes of header, 5 of body
    with pytest.raises(
        SourceFormatError, match=rf"cut\.stdf: it ends early: .*type 1, sub-type 20.* at byte {at}, .*6 bytes"
    ):
        _ = StdfSource(file).checksum
    file.write_bytes(WHOLE[:at])
    with pytest.raises(SourceFormatError, match=rf"at byte {at}, after record 15, the MRR is missing"):
        _ = StdfSource(file).checksum


def test_padding_after_the_end_is_no_damage(tmp_path: Path) -> None:
    for count in (1, 3, 4, 511):
        file = tmp_path / f"{count}.stdf"
        file.write_bytes(WHOLE + b"\0" * count)
        assert count_rows(file) == 3


def test_a_damaged_archive_is_told_from_a_short_one(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(WHOLE))
    packed[-6] ^= 0xFF  # the CRC
    file = tmp_path / "bad.stdf.gz"
    file.write_bytes(packed)
    with pytest.raises(SourceFormatError, match=r"bad\.stdf\.gz: the compressed data is damaged"):
        _ = StdfSource(file).checksum


def test_two_files_joined_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.stdf"
    file.write_bytes(WHOLE + WHOLE)
    with pytest.raises(SourceFormatError, match=rf"a second FAR at byte {len(WHOLE)}: .*Split it"):
        _ = StdfSource(file).checksum


def test_a_zip_with_several_files_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.stdf", WHOLE)
        archive.writestr("b.stdf", WHOLE)
    with pytest.raises(SourceFormatError, match=r"exactly one STDF file, but this one holds 2 \(a\.stdf, b\.stdf\)"):
        open_source(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: its format is not supported. Supported: STDF V4"),
        (b"lot,wafer\n1,2\n", "starts with bytes 6c 6f 74"),
        (b"\x02\x00\x01\x0a\x02\x04", "Supported: STDF V4"),
    ],
)
def test_what_is_no_stdf_is_refused_with_what_is_read(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "x.dat"
    file.write_bytes(content)
    with pytest.raises(SourceFormatError, match=message):
        open_source(file)
    with pytest.raises(SourceFormatError, match=r"x\.dat"):
        next(StdfSource(file).batches())


@pytest.mark.parametrize("far", [b"\x02\x00\x00\x0a\x02\x03", b"\x02\x00\x00\x0a\x00\x04", b"\x00\x02\x00\x0a\x02\x04"])
def test_other_versions_and_machines_are_refused(tmp_path: Path, far: bytes) -> None:
    file = tmp_path / "v3.stdf"
    file.write_bytes(far + WHOLE[6:])
    with pytest.raises(SourceFormatError, match=r"v3\.stdf: FAR at byte 0 says CPU_TYPE \d, STDF version \d"):
        _ = open_source(file).checksum


def test_a_file_without_a_lot_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    with StdfWriter(file) as out:
        out.mrr()
    with pytest.raises(SourceFormatError, match="no MIR record in its 15 bytes"):
        _ = StdfSource(file).checksum


def test_a_result_count_the_record_cannot_hold_is_refused(tmp_path: Path) -> None:
    def damaged(out: StdfWriter) -> None:
        out.pir()
        out.record(15, 15, b"\x07\0\0\0\x01\0\0\0" + b"\0\0" + b"\x60\xea" + b"\0" * 8)
        out.prr()

    file = tmp_path / "a.stdf"
    file.write_bytes(stdf_bytes(damaged))
    with pytest.raises(SourceFormatError, match=r"a\.stdf, bytes 6 to .* MPR of test 7 announces 60000 results"):
        list(StdfSource(file).batches())


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    file.write_bytes(WHOLE)
    source, small = StdfSource(file, chunk_bytes=len(WHOLE) - 1), StdfSource(file)
    assert source.checksum == small.checksum
    file.write_bytes(stdf_bytes(fill, lot_id="LOT7.2"))
    with pytest.raises(SourceFormatError, match=r"a\.stdf changed while it was read"):
        list(source.batches())
    (batch,) = small.batches()  # a small file is read once
    assert set(batch["lot_id"].to_pylist()) == {"LOT7.1"}


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.stdf")


def test_unfinished_parts_are_told(tmp_path: Path) -> None:
    def aborted(out: StdfWriter) -> None:
        out.ptr(1, 1.0)
        out.pir()
        out.ptr(1, 2.0)

    file = tmp_path / "a.stdf"
    file.write_bytes(stdf_bytes(lambda out: (fill(out), aborted(out))[0]))
    rows, source = read(file)
    assert len(rows) == 3
    assert "1 parts have a PIR but no PRR; the parts and their results are left out" in source.warnings()
    assert "2 test results belong to no part and are left out" in source.warnings()
