"""Which value of an STDF file stands where: identity, verdicts, limits, pins, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stdf_help import T0, limits_of, names_of, parameters_of, read, verdicts_of, write

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.models.parameter_sets import MOST_PARAMETERS
from gpwarehouse.sources import ValueCounts, stdf
from gpwarehouse.sources.stdf_writer import StdfWriter

Tests = Callable[[StdfWriter], None]


def parts(*tests: Tests) -> Callable[[StdfWriter], None]:
    """A part for each function that writes its tests."""

    def fill(out: StdfWriter) -> None:
        for write_tests in tests:
            out.pir()
            write_tests(out)
            out.prr()

    return fill


def several(*tests: Tests) -> Tests:
    def write_all(out: StdfWriter) -> None:
        for write_test in tests:
            write_test(out)

    return write_all


def ptr(number: int, value: float, **options: Any) -> Tests:
    return lambda out: out.ptr(number, value, **options)


def test_one_number_with_several_names_is_several_tests(tmp_path: Path) -> None:
    named = {"VREF": (0.9, 1.1, "V"), "NOISE": (-50.0, -30.0, "dBm")}
    first = several(
        *(ptr(0, 1.0, test_txt=n, lo_limit=low, hi_limit=high, units=u) for n, (low, high, u) in named.items())
    )
    later = several(ptr(0, -40.0, test_txt="NOISE"), ptr(0, 1.05, test_txt="VREF"))
    rows, source = read(write(tmp_path / "a.stdf", parts(first, later)))
    assert [row["values"] for row in rows] == [
        {"0 NOISE": 1.0, "0 VREF": 1.0},
        {"0 NOISE": -40.0, "0 VREF": 1.05},
    ]
    assert limits_of(source) == {
        "0 NOISE": {"unit": "dBm", "lsl": -50.0, "usl": -30.0},
        "0 VREF": {"unit": "V", "lsl": 0.9, "usl": 1.1},
    }
    assert source.warnings() == []


def test_a_name_and_limits_that_come_late_are_those_of_all_results(tmp_path: Path) -> None:
    late = several(ptr(5, 0.2), ptr(5, 0.3, test_txt="IDDQ", lo_limit=0.0, hi_limit=1.0, units="A"), ptr(5, 0.4))
    rows, source = read(write(tmp_path / "a.stdf", parts(ptr(5, 0.1), late)), chunk_bytes=20)
    assert [row["values"] for row in rows] == [
        {"5 IDDQ": 0.1},
        {"5 IDDQ": 0.2, "5 IDDQ #2": 0.3, "5 IDDQ #3": 0.4},
    ]
    assert set(map(str, limits_of(source).values())) == {"{'unit': 'A', 'lsl': 0.0, 'usl': 1.0}"}


def test_a_result_without_a_text_is_not_given_one_of_several(tmp_path: Path) -> None:
    tests = several(ptr(5, 0.1, test_txt="A"), ptr(5, 0.2, test_txt="B"), ptr(5, 0.3))
    rows, source = read(write(tmp_path / "a.stdf", parts(tests)))
    assert rows[0]["values"] == {"5": 0.3, "5 A": 0.1, "5 B": 0.2}
    assert source.warnings() == [
        "tests 5 have several texts, but not in all records; results without one are kept under the number alone"
    ]


def test_files_of_one_program_have_one_list_whatever_the_order(tmp_path: Path) -> None:
    one = several(ptr(2, 0.2, test_txt="B"), ptr(1, 0.1, test_txt="A"))
    other = several(ptr(1, 0.3, test_txt="A"), ptr(2, 0.4, test_txt="B"))
    (first,), source = read(write(tmp_path / "a.stdf", parts(one)))
    (second,), again = read(write(tmp_path / "b.stdf", parts(other)))
    assert first["parameter_set_key"] == second["parameter_set_key"]
    assert source.parameter_sets() == again.parameter_sets()
    assert (first["measured"], second["measured"]) == ([0.1, 0.2], [0.3, 0.4])


def test_numbers_use_all_of_their_four_bytes(tmp_path: Path) -> None:
    rows, source = read(write(tmp_path / "a.stdf", parts(several(ptr(4294967295, 1.5), ptr(1 << 31, 2.5)))))
    assert rows[0]["values"] == {"2147483648": 2.5, "4294967295": 1.5}
    assert [entry.test_number for entry in parameters_of(source).values()] == [1 << 31, 4294967295]


def test_pins_have_the_names_of_their_map(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for index, name in ((5, "Q5"), (6, "Q6"), (7, "Q7")):
            out.pmr(index, log_nam=name, head=1, site=0)
        out.pmr(8, phy_nam="BALL8", head=1, site=0)
        out.pmr(9, chan_nam="CH9", head=1, site=0)
        out.pir()
        for index, value in ((7, 0.23), (6, 0.2), (5, 0.27)):
            out.mpr(75, [value], test_txt="Trise", lo_limit=0.1, hi_limit=0.5, units="ns", rtn_indx=[index])
        out.mpr(76, [1.1, 1.2, 1.3, 1.4], test_txt="VOH", rtn_indx=[7, 8, 9, 10])
        out.prr()

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == {
        "75 Trise [Q5]": 0.27,
        "75 Trise [Q6]": 0.2,
        "75 Trise [Q7]": 0.23,
        "76 VOH [10]": 1.4,
        "76 VOH [BALL8]": 1.2,
        "76 VOH [CH9]": 1.3,
        "76 VOH [Q7]": 1.1,
    }
    assert {entry.kind for entry in parameters_of(source).values()} == {"MULTIPLE"}
    assert source.values() == ValueCounts(7, 0)


def test_pins_that_are_omitted_are_those_of_the_first_record(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pmr(3, log_nam="A", site=0)
        out.pmr(4, log_nam="B", site=0)
        for pins in ([4, 3], None):
            out.pir()
            out.mpr(1, [0.5, 0.25], test_txt="LEAK", rtn_indx=pins, units="A", lo_limit=0.0)
            out.prr()
        out.pir()
        out.mpr(1, [], test_txt="LEAK", test_flg=0x80)  # it failed at both pins, without a value
        out.prr(part_flg=8)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert [row["values"] for row in rows] == [{"1 LEAK [A]": 0.25, "1 LEAK [B]": 0.5}] * 2 + [{}]
    assert [row["verdicts"] for row in rows] == ["PP", "PP", "FF"]
    assert (rows[2]["failed"], source.values()) == ([1, 2], ValueCounts(4, 0))


def test_pins_that_cannot_be_known_are_counted(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.mpr(1, [0.5], test_txt="T", rtn_indx=[4])
        out.mpr(1, [0.25], test_txt="T", rtn_indx=[3])
        out.mpr(1, [0.125], test_txt="T")  # the first record's pin, or the second's?
        out.prr()

    rows, _ = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == {"1 T [1]": 0.125, "1 T [3]": 0.25, "1 T [4]": 0.5}


def test_functional_and_scan_tests_have_a_verdict_each(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for failed in (False, True):
            out.pir()
            out.ftr(100, test_txt="LOGIC")
            out.ftr(101, test_txt="MBIST", test_flg=0x80 if failed else 0)
            out.ftr(102, test_txt="IDDQ_F", test_flg=0x10)
            out.ftr(103, test_txt="NONE", test_flg=0x40)
            out.scan(200, test_txt="SCAN", test_flg=0x80 if failed else 0, cont_flg=1)
            out.scan(200, test_txt="SCAN")
            out.prr(part_flg=8 if failed else 0, num_test=5)

    rows, source = read(write(tmp_path / "a.stdf", fill))
    passed = {"100 LOGIC": "P", "101 MBIST": "P", "103 NONE": "N", "200 SCAN": "P"}
    assert verdicts_of(rows[0], source) == passed
    assert verdicts_of(rows[1], source) == passed | {"101 MBIST": "F", "200 SCAN": "F"}
    assert rows[1]["fail_kind"] == "FUNCTIONAL"
    kinds = [entry.kind for entry in parameters_of(source).values()]
    assert kinds == ["FUNCTIONAL"] * 4 + ["SCAN"]
    assert (source.values(), source.warnings()) == (ValueCounts(0, 0), [])


def test_a_number_may_be_parametric_and_functional(tmp_path: Path) -> None:
    tests = several(lambda out: out.ftr(7, test_txt="X", test_flg=0x80), ptr(7, 0.5, test_txt="X"))
    rows, source = read(write(tmp_path / "a.stdf", parts(tests)))
    assert verdicts_of(rows[0], source) == {"7 X": "P", "7 X (functional)": "F"}
    assert rows[0]["values"] == {"7 X": 0.5}


@pytest.mark.parametrize(("parm_flg", "low", "high"), [(0, False, False), (0x40, True, False), (0x80, False, True)])
def test_whether_a_limit_itself_passes_is_in_the_list(tmp_path: Path, parm_flg: int, low: bool, high: bool) -> None:
    tests = several(
        ptr(1, 0.5, lo_limit=0.0, hi_limit=1.0, parm_flg=parm_flg), ptr(2, 0.5, lo_limit=0.0, parm_flg=parm_flg)
    )
    _, source = read(write(tmp_path / "a.stdf", parts(tests)))
    both, one = parameters_of(source).values()
    assert (both.lsl_inclusive, both.usl_inclusive) == (low, high)
    assert (one.lsl_inclusive, one.usl_inclusive) == (low, True)  # without a limit nothing is said


def test_limits_of_a_part_that_are_not_the_lists_stay_with_it(tmp_path: Path) -> None:
    def one(low: float | None, high: float | None, *, flag: int = 0xC0, opt: int | None = None) -> Tests:
        return several(
            ptr(1, 0.5, lo_limit=low, hi_limit=high, parm_flg=flag, opt_flag=opt),
            lambda out: out.mpr(2, [0.1, 0.2], lo_limit=low, hi_limit=high, parm_flg=flag, opt_flag=opt),
        )

    fill = parts(
        one(0.0, 1.0),
        one(0.25, 1.0),
        one(5.0, 6.0, opt=0x3E),  # bits 4, 5: the first record's
        one(None, 1.0),  # bit 6: none
        one(0.0, 1.0, flag=0x40),
        several(ptr(1, 0.5, parm_flg=0xC0)),
    )
    rows, source = read(write(tmp_path / "a.stdf", fill))
    whole = {"lsl": 0.0, "usl": 1.0, "lsl_inclusive": True, "usl_inclusive": True}
    own = [whole | {"lsl": 0.25}, None, whole | {"lsl": None}, whole | {"usl_inclusive": False}, None]
    assert [row["own_limits"] for row in rows] == [
        None,
        *({str(place): limits for place in (1, 2, 3)} if limits else None for limits in own),
    ]
    assert set(map(str, limits_of(source).values())) == {"{'lsl': 0.0, 'usl': 1.0}"}
    assert source.values() == ValueCounts(16, 0)


def test_what_is_left_out_keeps_its_verdict_and_is_counted(tmp_path: Path) -> None:
    tests = several(
        ptr(1, float("inf"), test_flg=0x80),
        ptr(2, float("nan"), test_flg=0x80),
        ptr(3, 3.4e38),
        ptr(4, -1e-45),
        ptr(8, 0.5, test_flg=0x02),
        ptr(9, 0.7, test_flg=0x01),
        ptr(10, 0.7, test_flg=0x40),
        ptr(11, 0.7, test_flg=0x10),
        ptr(12, 0.7, parm_flg=0x20),
    )
    rows, source = read(write(tmp_path / "a.stdf", parts(tests)))
    assert rows[0]["values"] == {"3": 3.4e38, "4": -1e-45, "9": 0.7, "10": 0.7, "12": 0.7}
    assert (rows[0]["verdicts"], rows[0]["failed"]) == ("FFPPPPN-P", [1, 2])
    assert source.values() == ValueCounts(5, 4)
    assert source.warnings() == [
        "2 values are left out, because their flags make them void (TEST_FLG bits 1 to 5, PARM_FLG bits 0 to 2); "
        "their verdicts are kept",
        "2 values are left out, because they are infinite or not a number; their verdicts are kept",
        "1 results passed by alternate limits (PARM_FLG bit 5), which STDF does not give",
    ]


def test_units_that_change_are_told(tmp_path: Path) -> None:
    tests = several(ptr(1, 1.0, units=""), ptr(1, 1.0, units="V"), ptr(1, 1.0, units="mV"))
    _, source = read(write(tmp_path / "a.stdf", parts(tests)))
    assert {entry.unit for entry in parameters_of(source).values()} == {"V"}
    assert source.warnings() == ["UNITS of 1 tests changes within the file (1); the first one is kept"]


def test_a_part_without_results_has_no_arrays(tmp_path: Path) -> None:
    rows, _ = read(write(tmp_path / "a.stdf", parts(ptr(1, 0.5), lambda out: None, ptr(1, 0.75))))
    columns = ("parameter_set_key", "measured", "verdicts", "failed", "own_limits")
    assert [tuple(rows[1][name] for name in columns)] == [(None,) * 5]
    assert [row["measured"] for row in rows] == [[0.5], None, [0.75]]


def test_wide_rows_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(out: StdfWriter) -> None:
        for number in range(100):
            out.ptr(number, number / 8)

    file = write(tmp_path / "a.stdf", parts(*[wide] * 50))
    whole, _ = read(file)
    monkeypatch.setattr(stdf, "CELLS", 700)
    rows, source = read(file)
    assert [batch.num_rows for batch in source.batches()] == [7] * 7 + [1]
    assert rows == whole
    assert rows[49]["measured"] == [number / 8 for number in range(100)]


def test_lists_that_are_too_long_are_refused(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        for number in range(4):
            out.mpr(number, [0.5] * 5000)
        out.prr()

    message = (
        f"a.stdf: its parts have 20000 results .* more than the {MOST_PARAMETERS} that .* Nothing of it was loaded"
    )
    with pytest.raises(SourceFormatError, match=message):
        read(write(tmp_path / "a.stdf", fill))


def test_two_heads_have_their_own_values(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for head in (1, 2):
            out.pir(head=head)
        for head in (2, 1):
            out.ptr(1, float(head), head=head)
        for head in (1, 2):
            out.prr(head=head, part_id=str(head))

    rows, _ = read(write(tmp_path / "a.stdf", fill))
    assert [(row["head_no"], row["values"], row["insertion_no"]) for row in rows] == [
        (1, {"1": 1.0}, 1),
        (2, {"1": 2.0}, 1),
    ]


def test_texts_are_found_with_their_parts(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.gdr("SETUP", 4)
        out.wir(wafer_id="01", start_t=T0)
        for number in range(3):
            out.pir()
            if number == 1:
                out.gdr("SERIAL", 12345678901, 0.5, b"\x01\xff")
                out.dtr("retried – once")
            out.prr(x=number, y=0, part_txt="scratched" if number == 2 else "")
        out.wrr(wafer_id="01", usr_desc="edge die skipped")
        out.dtr("the end")
        out.mrr(usr_desc="lot closed", disp_cod="H")

    file = write(tmp_path / "a.stdf", fill, mrr=False, user_txt="run 7", rom_cod="R3", spec_nam="S1")
    for chunk_bytes in (20, 1 << 20):
        rows, source = read(file, chunk_bytes=chunk_bytes)
        of_all = {"USER_TXT": "run 7", "ROM_COD": "R3"}
        assert [row["parameters"] for row in rows] == [
            {
                **of_all,
                "MIR": {"SPEC_NAM": "S1"},
                "MRR": {"DISP_COD": "H", "USR_DESC": "lot closed"},
                "WRR": [{"WAFER_ID": "01", "USR_DESC": "edge die skipped"}],
                "GDR": [["SETUP", 4]],
            },
            {**of_all, "GDR": [["SERIAL", 12345678901, 0.5, "01ff"]], "DTR": ["retried – once"]},
            {"PART_TXT": "scratched", **of_all, "DTR": ["the end"]},
        ]
        assert source.warnings() == []


def test_texts_behind_the_last_part_stay_with_it(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        parts(ptr(1, 0.5))(out)
        out.dtr("between")
        out.pir(site=255)
        out.prr(site=255, num_test=0, hard_bin=65535, part_id="Test Plan Delimiter")
        out.dtr("behind")

    for chunk_bytes in (20, 1 << 20):
        rows, _ = read(write(tmp_path / "a.stdf", fill), chunk_bytes=chunk_bytes)
        assert [row["parameters"] for row in rows] == [{"DTR": ["between", "behind"]}]


@pytest.mark.parametrize(
    "body", [b"\x05\x00\x0a\x03AB", b"\x02\x00\x63\x03AB", b"\x09\x00", b"\x01\x00\x07\x00\x00\xc0\x7f"]
)
def test_a_generic_record_never_stops_a_file(tmp_path: Path, body: bytes) -> None:
    rows, _ = read(write(tmp_path / "a.stdf", parts(several(lambda out: out.record(50, 10, body), ptr(1, 0.5)))))
    assert rows[0]["values"] == {"1": 0.5}
    assert len(rows[0]["parameters"]["GDR"]) == 1


def test_texts_of_windows_are_read_as_such(tmp_path: Path) -> None:
    file = tmp_path / "a.stdf"
    whole = write(file, parts(ptr(1, 0.5, test_txt="HOT~X", units="uA")), lot_id="LOT~7").read_bytes()
    file.write_bytes(whole.replace(b"~", b"\x96").replace(b"uA", b"\xb5A"))
    rows, source = read(file)
    assert rows[0]["lot_id"] == "LOT–7"
    assert [(name, entry.unit) for name, entry in parameters_of(source).items()] == [("1 HOT–X", "µA")]
    assert names_of(rows[0], source) == ["1 HOT–X"]
