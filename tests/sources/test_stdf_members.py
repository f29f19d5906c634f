"""Limits, units and the other dimensions an STDF file fills."""

from __future__ import annotations

from pathlib import Path

import pytest
from stdf_help import T0, limits_of, parameters_of, read, step, write

from gpwarehouse.sources.stdf_writer import StdfWriter


def limits(tmp_path: Path, *records: dict[str, object], chunk_bytes: int = 1 << 20) -> dict[str, dict[str, object]]:
    def fill(out: StdfWriter) -> None:
        out.pir()
        for record in records:
            out.ptr(**({"test_num": 1, "result": 0.5} | record))  # type: ignore[arg-type]
        out.prr()

    _, source = read(write(tmp_path / "a.stdf", fill), chunk_bytes=chunk_bytes)
    return limits_of(source)


@pytest.mark.parametrize("chunk_bytes", [40, 1 << 20])
def test_limits_and_units_come_from_the_first_record_of_a_test(tmp_path: Path, chunk_bytes: int) -> None:
    first = {"test_txt": "VTH", "lo_limit": 0.1, "hi_limit": 0.7, "units": "V"}
    void = {"opt_flag": 0x3E, "lo_limit": 5.0, "hi_limit": 6.0}  # bits 4, 5: take the first record's
    found = limits(tmp_path, first, {}, void, chunk_bytes=chunk_bytes)
    assert found == {"1 VTH" + mark: {"unit": "V", "lsl": 0.1, "usl": 0.7} for mark in ("", " #2", " #3")}


def test_records_without_limits_do_not_hide_those_that_follow(tmp_path: Path) -> None:
    found = limits(tmp_path, {}, {"lo_limit": 1.0, "hi_limit": 2.0, "units": "A"})
    assert found == {name: {"unit": "A", "lsl": 1.0, "usl": 2.0} for name in ("1", "1 #2")}


def test_a_limit_may_be_missing_on_either_side(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        {"test_num": 1, "hi_limit": 2.0},
        {"test_num": 2, "lo_limit": -2.0},
        {"test_num": 3, "lo_limit": float("-inf"), "hi_limit": float("nan"), "units": "V"},
        {"test_num": 4},
    )
    assert found == {"1": {"usl": 2.0}, "2": {"lsl": -2.0}, "3": {"unit": "V"}, "4": {}}


def test_specification_limits_stand_beside_the_test_limits(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.ptr(1, 1.5, lo_limit=1.0, hi_limit=2.0, lo_spec=0.9, hi_spec=2.1)
        out.ptr(1, 1.5, lo_limit=1.0, hi_limit=2.0, lo_spec=0.8)  # the first record's count
        out.ptr(2, 1.5, test_txt="VTH", hi_spec=3.5)
        out.prr()

    _, source = read(write(tmp_path / "a.stdf", fill))
    assert limits_of(source)["1"] == {"lsl": 1.0, "usl": 2.0}
    assert step(source)["control_limits"] == {"1": {"lo_spec": 0.9, "hi_spec": 2.1}, "2 VTH": {"hi_spec": 3.5}}


def test_the_print_scale_changes_neither_value_nor_limit(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.ptr(1, 2.5e-6, lo_limit=1e-6, hi_limit=5e-6, units="A", scale=6)
        out.prr()

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert rows[0]["values"] == {"1": 2.5e-6}
    assert limits_of(source) == {"1": {"unit": "A", "lsl": 1e-6, "usl": 5e-6}}


def test_limits_of_a_part_and_limits_that_cross(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        for low in (1.0, 1.5, 1.0):
            out.pir()
            out.ptr(1, 1.25, lo_limit=low, hi_limit=2.0)
            out.ptr(2, 0.5, lo_limit=4.0, hi_limit=3.0)
            out.prr()

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert limits_of(source) == {"1": {"lsl": 1.0, "usl": 2.0}, "2": {"lsl": 4.0, "usl": 3.0}}
    own = {"lsl": 1.5, "usl": 2.0, "lsl_inclusive": False, "usl_inclusive": False}
    assert [row["own_limits"] for row in rows] == [None, {"1": own}, None]
    assert source.warnings() == ["the low limit of 1 tests is above the high one (2); no value is within"]


def test_mean_times_and_names_come_from_the_summaries(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        for number in (1, 2, 3, 30):
            out.ptr(number, 0.0)
        out.ftr(4, test_txt="SCAN")
        out.prr()
        out.tsr(1, test_tim=0.25, test_nam="IDD")
        out.tsr(1, test_tim=9.0, head=1, site=0, exec_cnt=5)  # the summary over all sites counts
        out.tsr(2, test_tim=1.0, head=1, site=0, exec_cnt=1)
        out.tsr(2, test_tim=2.0, head=1, site=1, exec_cnt=3)
        out.tsr(3, test_tim=None)
        out.tsr(30, test_tim=0.0)
        out.tsr(4, test_typ="F", test_tim=0.5, test_nam="OTHER")

    _, source = read(write(tmp_path / "a.stdf", fill))
    assert [(name, entry.test_name) for name, entry in parameters_of(source).items()] == [
        ("1 IDD", "IDD"),
        ("2", None),
        ("3", None),
        ("4 SCAN", "SCAN"),
        ("30", None),
    ]
    assert source.test_times() == [(2, "", 1.75), (4, "OTHER", 0.5), (1, "IDD", 0.25)]


def test_the_file_describes_lot_product_wafers_and_tools(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.sdr(hand_typ="UF3000", hand_id="PB-2")
        out.wcr(wafr_siz=8.0, die_ht=0.1, die_wid=0.2, wf_units=1, wf_flat="D")
        out.wir(wafer_id="01", start_t=T0)
        out.pir()
        out.prr(x=1, y=1)
        out.wrr(wafer_id="01", fabwf_id="SCRIBE-9", mask_id="M4")

    numbers = {"mode_cod": "P"}
    texts = {"tstr_typ": "J750", "exec_typ": "IGXL", "exec_ver": "9.1", "serl_num": "S1", "floor_id": "F2"}
    more = {"dsgn_rev": "B1", "famly_id": "FAM", "pkg_typ": "QFN", "proc_id": "C65"}
    _, source = read(write(tmp_path / "a.stdf", fill, numbers={"start_t": T0} | numbers, **texts, **more))
    members = source.members()
    assert members.pop("dim_process_step") == [
        {
            "process_flow_id": "PROG",
            "flow_version": "3",
            "step_number": "CP1",
            "step_name": "CP1",
            "step_type": "TEST",
        }
    ]
    tool = {"facility": "FAB1", "chamber_id": "", "hierarchy_level": "TOOL"}
    assert members == {
        "dim_product": [
            {
                "product_id": "CHIP",
                "revision": "B1",
                "product_family": "FAM",
                "package_type": "QFN",
                "process_family": "C65",
                "mask_set_id": "M4",
                "wafer_size_mm": 203.2,
                "die_size_x_mm": 5.08,
                "die_size_y_mm": 2.54,
                "orientation_mark": "DOWN",
            }
        ],
        "dim_lot": [{"lot_id": "LOT7.1", "lot_type": "PROD"}],
        "dim_wafer": [
            {
                "lot_id": "LOT7.1",
                "wafer_id": "01",
                "scribe_id": "SCRIBE-9",
                "diameter_mm": 203.2,
            }
        ],
        "dim_equipment": [
            tool
            | {
                "equipment_id": "T-01",
                "equipment_type": "TESTER",
                "model": "J750",
                "serial_no": "S1",
                "software_version": "IGXL 9.1",
                "area": "F2",
            },
            tool | {"equipment_id": "PB-2", "equipment_type": "PROBER", "model": "UF3000"},
        ],
    }


def test_what_the_file_does_not_name_is_no_member(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.pir()
        out.prr()

    nothing = dict.fromkeys(("part_typ", "node_nam", "job_nam"), "")
    rows, source = read(write(tmp_path / "a.stdf", fill, **nothing))
    members = source.members()
    assert members.pop("dim_lot") == [{"lot_id": "LOT7.1", "lot_type": "PROD"}]
    assert all(rows == [] for rows in members.values())
    assert (rows[0]["equipment_id"], rows[0]["process_flow_id"]) == (None, None)
