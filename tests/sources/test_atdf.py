"""ATDF, the text form of STDF: the same rows as the records that it stands for."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stdf_help import limits_of, parameters_of, read, verdicts_of

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import ValueCounts, open_source

LINES = """\
FAR:A|4|2|U
MIR:L1|CHIP|PROG|T1|J750|8:14:59 23-JUL-2024|8:23:02 23-JUL-2024|op|P|1|SUB|CP1|N|A|IGXL|9.1||||25|lot note
SDR:1|255|0,1|UF3000|PB-2|||LB|LB-4
PMR:7|0|CH1|BALL1|Q7|1|1
PMR:8|0|CH2|BALL2|Q8|1|1
WIR:1|8:23:05 23-JUL-2024|255|07
PIR:1|1
DTR:a remark
GDR:TSERIAL|L-12|F0.5
PTR:100|1|1|0.5|P||VREF||LH|V|0.1|1.0|%5.2f|%5.2f|%5.2f|0.05|1.05
MPR:300|1|1||0.23,0.2|F||Trise|||ns|0.1|0.21||||7,8
FTR:200|1|1|F|||||||||||||||||MBIST
PRR:1|1|1|3|F|5|52|3|4||| 250
PIR:1|1
PTR:100|1|1|1.0|A
PTR:101|1|1||F|AU|IDD|||mA
FTR:200|1|1|P|N
PRR:1|1|1|3|P|1|1|3|4|C
WRR:1|8:40:00 23-JUL-2024|2|07|255|1|0|1
TSR:||100|VREF|P|2|0
HBR:||1|1|P|GOOD
HBR:||5|1|F|LEAKY
PCR:||2|1|0|1
MRR:9:00:00 23-JUL-2024
"""


def put(tmp_path: Path, text: str = LINES, name: str = "a.atd") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def test_a_file_gives_the_rows_of_its_records(tmp_path: Path) -> None:
    rows, source = read(put(tmp_path))
    assert (source.source_system, source.values()) == ("ATDF", ValueCounts(4, 1))
    assert source.checksum == hashlib.sha256(LINES.encode()).hexdigest()
    same: dict[str, Any] = {
        "lot_id": "L1",
        "wafer_id": "07",
        "test_program": "PROG",
        "program_revision": "A",
        "tester_id": "T1",
        "prober_id": "PB-2",
        "load_board_id": "LB-4",
        "test_stage": "CP1",
        "operator_id": "op",
        "sublot_id": "SUB",
        "temperature_c": 25.0,
        "event_ts": datetime(2024, 7, 23, 8, 23, 5, tzinfo=UTC),
        "retest_of_bins": None,
    }
    for row in rows:
        assert {name: row[name] for name in same} == same
    first, last = rows
    assert [(row["insertion_no"], row["is_pass"], row["hard_bin"], row["bin_name"]) for row in rows] == [
        (1, False, 5, "LEAKY"),
        (2, True, 1, "GOOD"),
    ]
    assert (first["die_x"], first["die_y"], first["part_id"], first["test_time_ms"]) == (3, 4, "1", 250)
    assert first["values"] == {"100 VREF": 0.5, "300 Trise [Q7]": 0.23, "300 Trise [Q8]": 0.2}
    assert last["values"] == {"100 VREF": 1.0}
    assert verdicts_of(first, source) == {
        "100 VREF": "P",
        "200 MBIST": "F",
        "300 Trise [Q7]": "F",
        "300 Trise [Q8]": "F",
    }
    assert verdicts_of(last, source) == {"100 VREF": "P", "101 IDD": "F"}
    assert limits_of(source)["300 Trise [Q8]"] == {"unit": "ns", "lsl": 0.1, "usl": 0.21}
    vref = parameters_of(source)["100 VREF"]
    assert (vref.lsl_inclusive, vref.usl_inclusive) == (True, True)
    assert first["parameters"]["GDR"] == [["SERIAL", -12, 0.5]]
    assert (first["parameters"]["DTR"], first["parameters"]["USER_TXT"]) == (["a remark"], "lot note")


def test_lines_may_continue_end_otherwise_and_be_packed(tmp_path: Path) -> None:
    plain, _ = read(put(tmp_path))
    changed = LINES.replace("|0.1|1.0|%5.2f", "|0.1\n |1.0|%5.2f").replace("\n", "\r\n")
    other = tmp_path / "b.atdf.gz"
    other.write_bytes(gzip.compress(changed.encode()))
    rows, source = read(other)
    assert repr(rows) == repr(plain)
    semicolons, _ = read(put(tmp_path, LINES.replace("|", ";"), "c.atd"))
    assert repr(semicolons) == repr(plain)
    assert source.warnings() == read(tmp_path / "a.atd")[1].warnings()


def test_the_end_may_be_missing_where_no_part_is_open(tmp_path: Path) -> None:
    rows, source = read(put(tmp_path, LINES.partition("MRR:")[0]))
    assert len(rows) == 2
    assert source.warnings()[0].startswith("there is no MRR, which is the last record of a complete file")
    for cut in (LINES.partition("PRR:")[0], LINES.partition("MRR:")[0][:-1]):
        with pytest.raises(SourceFormatError, match="the MRR is missing"):
            read(put(tmp_path, cut))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("PTR:x|1|1|0.5|P", "line 10: PTR: field 1, 'x', is no number"),
        ("PTR:-1|1|1|0.5|P", "line 10: PTR: a number is out of range"),
        ("PTR:1|300|1|0.5|P", "line 10: PTR: a number is out of range"),
        ("MPR:1|1|1||0.5,y|P", "line 10: MPR: field 5 has a text among its numbers"),
        ("WIR:1|yesterday", "line 10: WIR: field 2, 'yesterday', is no time such as"),
        ("DTR:" + "a" * 256, "line 10: DTR: field 1 has more than 255 bytes"),
        ("XYZ:1|2", "line 10: XYZ' begins no record that ATDF defines"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    lines = LINES.splitlines()
    file = put(tmp_path, "\n".join([*lines[:9], line, *lines[9:], ""]))
    with pytest.raises(SourceFormatError, match=message) as refused:
        read(file)
    assert "a.atd" in str(refused.value)
    assert "Nothing of it was loaded" in str(refused.value)


def test_a_file_without_a_time_asks_for_it(tmp_path: Path) -> None:
    text = LINES.replace("8:14:59 23-JUL-2024|8:23:02 23-JUL-2024", "|").replace("8:23:05 23-JUL-2024", "")
    with pytest.raises(SourceFormatError, match=r"MIR.START_T is 0, .* --event-ts"):
        list(open_source(put(tmp_path, text)).batches())
    rows, _ = read(tmp_path / "a.atd", event_ts="2024-07-23T08:00:00+00:00")
    assert rows[0]["event_ts"] == datetime(2024, 7, 23, 8, tzinfo=UTC)


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "atdf" / "COORDLESS-LOT-01.atdf"


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.exists(), reason="real input not here: ../shared/data/atdf")
def test_a_real_file_with_a_counter_that_counts_nothing() -> None:
    rows, source = read(REAL, event_ts="2026-01-05")
    assert [row["values"] for row in rows] == [{"1001 leakage_nA": 2.5}] * 8
    assert [(row["wafer_id"], row["insertion_no"], row["is_pass"]) for row in rows] == [("W01", 1, True)] * 8
    assert [row["hard_bin"] for row in rows] == [1, 1, 1, 1, 1, 1, 2, 1]
    assert (rows[0]["lot_id"], rows[0]["sublot_id"]) == ("LOT-COORDLESS-01", "SUBLOT-1")
    assert limits_of(source) == {"1001 leakage_nA": {"unit": "nA", "lsl": 0.0, "usl": 5.0}}
    assert "WRR counts 6 good parts, but PRR count 8" in source.warnings()
