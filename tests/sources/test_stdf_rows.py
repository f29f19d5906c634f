from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdf_help import T0, limits_of, names_of, parameters_of, read, stdf_bytes, write

from gpwarehouse.errors import MissingExtraError, SettingsError
from gpwarehouse.models.parameter_sets import Parameter
from gpwarehouse.sources import ValueCounts
from gpwarehouse.sources.stdf import FACT_SCHEMA, StdfSource
from gpwarehouse.sources.stdf_writer import BIG_ENDIAN, LITTLE_ENDIAN, StdfWriter


def one_part(out: StdfWriter, **prr: Any) -> None:
    out.pir()
    out.prr(**prr)


@pytest.mark.parametrize("order", [LITTLE_ENDIAN, BIG_ENDIAN])
def test_a_part_becomes_a_row_in_either_byte_order(tmp_path: Path, order: str) -> None:
    def fill(out: StdfWriter) -> None:
        out.sdr(sites=[0, 1], hand_typ="UF3000", hand_id="PB-2", card_id="PC-9", load_id="LB-4")
        out.wir(start_t=T0 + 60, wafer_id="LOT7-03")
        out.pir(site=1)
        out.ptr(100, 0.1, site=1, test_txt="VTH", lo_limit=0.0, hi_limit=1.0, units="V")
        out.ftr(200, site=1, test_txt="SCAN")
        out.prr(site=1, num_test=2, hard_bin=1, soft_bin=10, x=-3, y=7, test_t=250, part_id=" 17 ")
        out.wrr(wafer_id="LOT7-03")
        out.hbr(1, 1, "P", "GOOD")
        out.sbr(10, 1, "P", "GRADE A")

    rows, source = read(write(tmp_path / "a.stdf", fill, order=order, tst_temp="85 C", oper_nam="mia"))
    assert list(source.parameter_sets()) == [rows[0]["parameter_set_key"]]
    assert list(parameters_of(source).values()) == [
        Parameter("100 VTH", 100, "VTH", unit="V", lsl=0.0, usl=1.0, lsl_inclusive=False, usl_inclusive=False),
        Parameter("200 SCAN", 200, "SCAN", kind="FUNCTIONAL"),
    ]
    assert rows == [
        dict.fromkeys(FACT_SCHEMA.names)
        | {
            "source_record_no": 1,
            "facility": "FAB1",
            "lot_id": "LOT7.1",
            "wafer_id": "LOT7-03",
            "product_id": "CHIP",
            "product_revision": "",
            "process_flow_id": "PROG",
            "flow_version": "3",
            "step_number": "CP1",
            "equipment_id": "T-01",
            "tester_id": "T-01",
            "prober_id": "PB-2",
            "event_ts": datetime.fromtimestamp(T0 + 60, UTC),
            "operator_id": "mia",
            "test_type": "CP",
            "test_stage": "CP1",
            "test_program": "PROG",
            "program_revision": "3",
            "probe_card_id": "PC-9",
            "load_board_id": "LB-4",
            "temperature_c": 85.0,
            "insertion_no": 1,
            "retest_no": 0,
            "is_first_pass": True,
            "is_final_result": True,
            "head_no": 1,
            "site_no": 1,
            "die_x": -3,
            "die_y": 7,
            "part_id": "17",
            "test_time_ms": 250,
            "tests_executed": 2,
            "hard_bin": 1,
            "soft_bin": 10,
            "bin_name": "GRADE A",
            "is_pass": True,
            "parameters": {"MIR": {"TST_TEMP": "85 C"}},
            "parameter_set_key": rows[0]["parameter_set_key"],
            "measured": [0.1, pytest.approx(math.nan, nan_ok=True)],
            "verdicts": "PP",
            "failed": [],
            "values": {"100 VTH": 0.1},
        }
    ]


def test_no_value_marks_become_null(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.wir(wafer_id="1")
        one_part(out, hard_bin=65535, num_test=1, x=-32768, y=5, test_t=0, part_id="")
        one_part(out, hard_bin=2, soft_bin=65535, x=5, y=-32768, test_t=4294967295)

    rows, _ = read(write(tmp_path / "a.stdf", fill, order=LITTLE_ENDIAN))
    assert [(r["die_x"], r["die_y"], r["hard_bin"], r["soft_bin"], r["part_id"]) for r in rows] == [
        (None, None, None, None, None),
        (None, None, 2, None, None),
    ]
    assert [r["test_time_ms"] for r in rows] == [None, 4294967295]
    assert [(r["parameters"], r["measured"], r["verdicts"], r["failed"]) for r in rows] == [(None,) * 4] * 2
    # a start time of 0 is none either: the lot's holds
    assert rows[0]["event_ts"] == datetime.fromtimestamp(T0, UTC)


@pytest.mark.parametrize(
    ("test_flg", "parm_flg", "kept"),
    [(0, 0, True), (0x80, 0, True), (0x01, 0, True), (0x40, 0, True), (0, 0xC8, True)]
    + [(1 << bit, 0, False) for bit in (1, 2, 3, 4, 5)]
    + [(0, 1 << bit, False) for bit in (0, 1, 2)],
)
def test_only_measured_values_are_kept(tmp_path: Path, test_flg: int, parm_flg: int, kept: bool) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.ptr(1, 2.5, test_flg=test_flg, parm_flg=parm_flg)
        out.mpr(2, [3.5], test_flg=test_flg, parm_flg=parm_flg)
        out.prr()

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == ({"1": 2.5, "2 [1]": 3.5} if kept else {})
    assert source.values() == (ValueCounts(2, 0) if kept else ValueCounts(0, 2))
    void = "2 values are left out, because their flags make them void"
    assert [told[: len(void)] for told in source.warnings()] == ([] if kept else [void])
    letter = "F" if test_flg & 0x80 else "N" if test_flg & 0x40 else "-" if test_flg & 0x10 else "P"
    assert rows[0]["verdicts"] == letter * 2


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        for number, value in enumerate([float("nan"), float("inf"), float("-inf"), 1.5], start=1):
            out.ptr(number, value)
        out.record(15, 10, b"\x09\0\0\0\x01\0\0\0")  # ends before RESULT
        out.prr()

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == {"4": 1.5}
    assert source.values() == ValueCounts(1, 3)
    assert rows[0]["verdicts"] == "PPPPP"
    assert source.warnings() == [
        "3 values are left out, because they are infinite or not a number; their verdicts are kept"
    ]


def test_a_looped_test_keeps_every_value(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for values in ([1.0, 3.0, 2.0], [5.0]):
            out.pir()
            for value in values:
                out.ptr(20, value)
                out.ptr(3, -value)
            out.ptr(7, 0.5)
            out.prr(part_id=str(len(values)))

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert names_of(rows[0], source) == ["3", "3 #2", "3 #3", "7", "20", "20 #2", "20 #3"]
    assert rows[0]["measured"] == [-1.0, -3.0, -2.0, 0.5, 1.0, 3.0, 2.0]
    assert rows[1]["values"] == {"3": -5.0, "7": 0.5, "20": 5.0}
    assert rows[1]["verdicts"] == "P--PP--"
    assert rows[0]["parameter_set_key"] == rows[1]["parameter_set_key"]


def test_every_pin_of_a_multiple_result_has_its_value_and_limits(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.mpr(50, [0.25, 0.5, 0.75], test_txt="LEAK", lo_limit=0.0, hi_limit=1.0, units="A")
        out.mpr(51, [], test_flg=0x80)
        out.prr(part_flg=8)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == {"50 LEAK [1]": 0.25, "50 LEAK [2]": 0.5, "50 LEAK [3]": 0.75}
    assert rows[0]["fail_kind"] == "PARAMETRIC"
    assert (rows[0]["verdicts"], rows[0]["failed"]) == ("PPPF", [4])
    assert limits_of(source)["50 LEAK [3]"] == {"unit": "A", "lsl": 0.0, "usl": 1.0}


@pytest.mark.parametrize(
    ("ptr", "ftr", "part", "kind"),
    [
        (0x80, 0x80, 8, "FUNCTIONAL"),
        (0x80, 0, 8, "PARAMETRIC"),
        (0, 0x80, 8, "FUNCTIONAL"),
        (0, 0, 8, None),
        (0x80, 0, 0, None),  # passed all the same
        (0xC0, 0, 8, None),  # bit 6: the verdict of the test is void
    ],
)
def test_fail_kind_names_the_kind_of_test_that_failed(
    tmp_path: Path, ptr: int, ftr: int, part: int, kind: str | None
) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.ptr(1, 1.0, test_flg=ptr)
        out.ftr(2, test_flg=ftr)
        out.prr(part_flg=part)

    rows, _ = read(write(tmp_path / "a.stdf", fill))
    assert (rows[0]["is_pass"], rows[0]["fail_kind"]) == (part == 0, kind)


def test_a_void_part_flag_asks_the_hard_bin(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for hard_bin in (1, 2, 3):
            one_part(out, hard_bin=hard_bin, part_flg=0x18)
        one_part(out, hard_bin=2, part_flg=0)
        out.hbr(1, 1, "P")
        out.hbr(2, 2, "F", "LEAKY")

    rows, _ = read(write(tmp_path / "a.stdf", fill))
    assert [r["is_pass"] for r in rows] == [True, False, None, True]
    assert [r["bin_name"] for r in rows] == [None, "LEAKY", None, "LEAKY"]


def test_insertions_are_counted_per_die_and_wafer(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for wafer, dice in (("A", [(1, 1), (1, 2), (1, 1)]), ("B", [(1, 1)]), ("A", [(1, 1), (1, 3)])):
            out.wir(start_t=T0, wafer_id=wafer)
            for x, y in dice:
                one_part(out, x=x, y=y, part_id="same for all")
            out.wrr(wafer_id=wafer)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    seen = [(r["wafer_id"], r["insertion_no"], r["retest_no"], r["is_first_pass"], r["is_final_result"]) for r in rows]
    assert seen == [
        ("A", 1, 0, True, False),
        ("A", 1, 0, True, True),
        ("A", 2, 1, False, False),
        ("B", 1, 0, True, True),
        ("A", 3, 2, False, True),
        ("A", 1, 0, True, True),
    ]
    assert [w["wafer_id"] for w in source.members()["dim_wafer"]] == ["A", "B"]


def test_a_wafer_is_what_its_end_says(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for begin in ("typed wrong", ""):
            out.wir(start_t=T0, wafer_id=begin)
            one_part(out, x=1, y=1)
            out.wrr(wafer_id="07")

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [(r["wafer_id"], r["insertion_no"]) for r in rows] == [("07", 1), ("07", 2)]
    assert source.members()["dim_wafer"] == [{"lot_id": "LOT7.1", "wafer_id": "07"}]


def test_without_wafers_parts_are_told_by_their_id(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.sdr(hand_id="H-1")
        for part_id in ("7", "8", "7 ", "", ""):
            one_part(out, part_id=part_id)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [r["insertion_no"] for r in rows] == [1, 1, 2, 1, 1]
    assert [r["is_final_result"] for r in rows] == [False, True, True, True, True]
    assert {(r["test_type"], r["wafer_id"], r["prober_id"]) for r in rows} == {("FT", None, "H-1")}
    assert source.members()["dim_wafer"] == []
    assert [e["equipment_type"] for e in source.members()["dim_equipment"]] == ["TESTER", "OTHER"]


def test_parallel_wafers_are_told_by_head_and_site_group(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.sdr(head=2, site_grp=1, sites=[0, 1], card_id="left")
        out.sdr(head=2, site_grp=2, sites=[2, 3], card_id="right")
        out.wir(head=1, wafer_id="A", start_t=T0)
        out.wir(head=2, site_grp=1, wafer_id="B", start_t=T0)
        out.wir(head=2, site_grp=2, wafer_id="C", start_t=T0 + 1)
        for head, site in ((1, 0), (2, 1), (2, 3), (1, 2)):
            out.pir(head=head, site=site)
        for head, site in ((2, 3), (1, 2), (2, 1), (1, 0)):
            out.ptr(1, 10.0 * head + site, head=head, site=site)
        for head, site in ((1, 2), (2, 3), (2, 1), (1, 0)):
            out.prr(head=head, site=site, x=0, y=0)
        out.wrr(head=2, site_grp=2, wafer_id="C")
        out.wrr(head=2, site_grp=1, wafer_id="B2")  # the WRR's id supersedes
        out.wrr(head=1)

    rows, _ = read(write(tmp_path / "a.stdf", fill))
    assert [(r["wafer_id"], r["values"]["1"], r["probe_card_id"]) for r in rows] == [
        ("A", 12.0, None),
        ("C", 23.0, "right"),
        ("B2", 21.0, "left"),
        ("A", 10.0, None),
    ]


def test_times_may_be_the_testers_wall_time(tmp_path: Path) -> None:
    summer = int(datetime(2024, 7, 1, 8, 0, tzinfo=UTC).timestamp())
    file = write(tmp_path / "a.stdf", one_part, numbers={"start_t": summer})
    assert read(file)[0][0]["event_ts"] == datetime(2024, 7, 1, 8, 0, tzinfo=UTC)
    assert read(file, timezone="Europe/Berlin")[0][0]["event_ts"] == datetime(2024, 7, 1, 6, 0, tzinfo=UTC)


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'Mars/Olympus' is not an IANA time zone"):
        StdfSource(tmp_path / "a.stdf", timezone="Mars/Olympus")
    with pytest.raises(SettingsError, match="'XX' is not one of WAT, CP, FT"):
        StdfSource(tmp_path / "a.stdf", test_type="XX")


def test_the_caller_fills_what_the_file_does_not_say(tmp_path: Path) -> None:
    named = write(tmp_path / "named.stdf", one_part)
    bare = write(tmp_path / "bare.stdf", one_part, facil_id="", test_cod="", flow_id="")
    assert read(named, facility="OTHER")[0][0]["facility"] == "FAB1"
    assert read(bare, facility="OTHER")[0][0]["facility"] == "OTHER"
    assert read(bare)[0][0]["facility"] is None
    assert read(bare, test_type="WAT")[0][0]["step_number"] == "WAT"
    assert read(bare)[0][0]["step_number"] == "FT"
    flow = write(tmp_path / "flow.stdf", one_part, test_cod="", flow_id="HOT")
    assert read(flow)[0][0]["step_number"] == "HOT"


@pytest.mark.parametrize(
    ("text", "celsius"),
    [("25", 25.0), ("-40.5C", -40.5), ("+85 degC", 85.0), ("105 °C", 105.0), ("85F", None), ("hot", None), ("", None)],
)
def test_temperature_is_read_only_where_it_is_celsius(tmp_path: Path, text: str, celsius: float | None) -> None:
    assert read(write(tmp_path / "a.stdf", one_part, tst_temp=text))[0][0]["temperature_c"] == celsius


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "stdf_convert", None)
    source = StdfSource(write(tmp_path / "a.stdf", one_part))
    with pytest.raises(MissingExtraError, match=r"pip install 'gpwarehouse\[stdf\]'"):
        next(source.batches())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(max_examples=40, deadline=None)
def test_every_float32_survives_as_the_shortest_decimal(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        for number, value in enumerate(values):
            out.ptr(number, value)
        out.prr()

    file = write(tmp_path_factory.mktemp("f") / "a.stdf", fill)
    (batch,) = StdfSource(file).batches()
    (found,) = batch["measured"].to_pylist()
    assert [np.float32(value) for value in found] == [np.float32(v) for v in values]
    assert found == [float(str(np.float32(v))) for v in values]


SITES = st.sampled_from([(1, 0), (1, 1), (2, 0)])
EVENTS = st.lists(
    st.tuples(st.sampled_from(["pir", "ptr", "ptr", "ptr", "ftr", "prr"]), SITES, st.integers(1, 4)),
    min_size=12,
    max_size=60,
)


def on_one_site(*kinds: str) -> list[tuple[str, tuple[int, int], int]]:
    return [(kind, (1, 0), 1) for kind in kinds]


def number_repeats(part: list[tuple[int, int]]) -> dict[str, float]:
    """Values by name: the first of a test has its number, the others a mark behind it."""
    seen: Counter[int] = Counter()
    found: dict[str, float] = {}
    for test, value in part:
        seen[test] += 1
        found[f"{test} #{seen[test]}" if seen[test] > 1 else str(test)] = float(value)
    return found


@example(on_one_site("pir", "prr", "ptr", "prr"), 400)  # an end without a beginning
@example(on_one_site("pir", "ptr", "pir", "ptr", "prr"), 400)  # a beginning without an end
@example(on_one_site("pir", "ptr", "pir", "ptr", "prr"), 20)
@given(EVENTS, st.integers(20, 400))
@settings(max_examples=80, deadline=None)
def test_results_go_to_the_open_part_of_their_site_wherever_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, tuple[int, int], int]], chunk_bytes: int
) -> None:
    """The vectorised attribution against the plain rule, any order of records, runs of any size."""
    opened: dict[tuple[int, int], list[tuple[int, int]]] = {}
    parts: list[list[tuple[int, int]]] = []

    def fill(out: StdfWriter) -> None:
        for value, (kind, (head, site), test) in enumerate(events):
            if kind == "pir":
                out.pir(head=head, site=site)
                opened[head, site] = []
            elif kind == "ptr":
                out.ptr(test, float(value), head=head, site=site)
                opened.setdefault((head, site), []).append((test, value))  # without a PIR since the PRR before
            elif kind == "ftr":
                out.ftr(test, head=head, site=site)
            else:
                out.prr(head=head, site=site)
                parts.append(opened.pop((head, site), []))

    file = tmp_path_factory.mktemp("f") / "a.stdf"
    file.write_bytes(stdf_bytes(fill))
    rows, source = read(file, chunk_bytes=chunk_bytes)
    assert [row["values"] for row in rows] == [number_repeats(part) for part in parts]
    written = sum(kind == "ptr" for kind, _, _ in events)
    stored = sum(len(part) for part in parts)
    assert source.values() == ValueCounts(stored, written - stored)
    assert [row["source_record_no"] for row in rows] == list(range(1, len(parts) + 1))
