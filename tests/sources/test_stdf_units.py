"""Which insertions are of one unit, and which file tests units again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stdf_help import T0, read, write

from gpwarehouse.sources.stdf_writer import StdfWriter


def parts(*prrs: dict[str, Any]) -> Callable[[StdfWriter], None]:
    def fill(out: StdfWriter) -> None:
        for prr in prrs:
            place = {name: prr[name] for name in ("head", "site") if name in prr}
            out.pir(**place)
            out.ptr(1, 0.5, **place)
            out.prr(**prr)

    return fill


def insertions(rows: list[dict[str, Any]]) -> list[int]:
    return [row["insertion_no"] for row in rows]


def test_part_ids_are_counted_by_head_and_site(tmp_path: Path) -> None:
    places = [(1, 0), (1, 1), (2, 0)]
    prrs = [{"head": h, "site": s, "part_id": str(n)} for n in (1, 2) for h, s in places]
    rows, _ = read(write(tmp_path / "a.stdf", parts(*prrs, prrs[1])))
    assert insertions(rows) == [1] * 6 + [2]
    assert [row["is_final_result"] for row in rows] == [True, False, True, True, True, True, True]


def test_a_part_that_supersedes_another_is_the_same_on_any_site(tmp_path: Path) -> None:
    prrs = [{"site": 0, "part_id": "7"}, {"site": 1, "part_id": "7"}, {"site": 2, "part_id": "7", "part_flg": 1}]
    rows, source = read(write(tmp_path / "a.stdf", parts(*prrs)))
    assert insertions(rows) == [1, 1, 2]
    own = f"(file {source.checksum[:12]}, part 2)"  # head, site and PART_ID do not tell it
    assert [row["unit_id"] for row in rows] == [None, own, own]


def test_coordinates_of_packaged_parts_are_those_of_fuses(tmp_path: Path) -> None:
    prrs = [{"x": 0, "y": 0, "part_id": str(number)} for number in range(3)]
    rows, _ = read(write(tmp_path / "a.stdf", parts(*prrs)))
    assert insertions(rows) == [1, 1, 1]
    assert [(row["die_x"], row["die_y"]) for row in rows] == [(0, 0)] * 3
    for given in ({"wafer_id": "7"}, {"test_type": "CP"}):
        rows, _ = read(tmp_path / "a.stdf", **given)
        assert insertions(rows) == [1, 2, 3], given


def test_the_code_in_part_txt_is_the_unit(tmp_path: Path) -> None:
    prrs = [{"part_id": str(n), "part_txt": code} for n, code in enumerate(("2D-A", "2D-B", " 2D-A "))]
    rows, source = read(write(tmp_path / "a.stdf", parts(*prrs)))
    assert [row["unit_id"] for row in rows] == ["2D-A", "2D-B", "2D-A"]
    assert insertions(rows) == [1, 1, 2]
    assert [row["parameters"] for row in rows] == [None] * 3
    assert source.warnings() == []


def test_on_a_given_wafer_part_txt_is_a_text(tmp_path: Path) -> None:
    rows, _ = read(write(tmp_path / "a.stdf", parts({"part_id": "1", "part_txt": "2D-A"})), wafer_id="7")
    assert (rows[0]["parameters"]["PART_TXT"], rows[0]["unit_id"]) == ("2D-A", None)


def test_a_remark_in_part_txt_is_no_unit(tmp_path: Path) -> None:
    prrs = [{"part_id": str(number), "part_txt": "remark"} for number in range(4)]
    rows, _ = read(write(tmp_path / "a.stdf", parts(*prrs)))
    assert [(row["unit_id"], row["parameters"]) for row in rows] == [(None, {"PART_TXT": "remark"})] * 4
    assert insertions(rows) == [1] * 4


def test_on_a_wafer_a_part_without_coordinates_is_one_of_its_own(tmp_path: Path) -> None:
    def fill(out: StdfWriter) -> None:
        out.wir(wafer_id="1", start_t=T0)
        parts(*({"part_id": "1"} for _ in range(3)), {"part_id": "1", "part_flg": 1})(out)
        parts({"x": 1, "y": 1, "part_id": "1", "part_txt": "2D"}, {"x": 1, "y": 1, "part_id": "1"})(out)
        out.wrr(wafer_id="1")

    rows, source = read(write(tmp_path / "a.stdf", fill))
    assert insertions(rows) == [1, 1, 1, 2, 1, 2]
    own = [f"(file {source.checksum[:12]}, part {number})" for number in (1, 2, 3, 3)]
    assert [row["unit_id"] for row in rows] == [*own, None, None]


GUESSED = "MIR.RTST_COD is '5': read as a retest of hard bin 5; STDF V4 also counts earlier tests so"


@pytest.mark.parametrize(
    ("code", "bins", "told"),
    [
        (" ", None, []),
        ("N", None, []),
        ("0", None, []),
        ("Y", "Y", []),
        ("5", "5", [GUESSED]),
        ("Q", None, ["MIR.RTST_COD is 'Q', which STDF does not define; the file is read as a first pass"]),
    ],
)
def test_a_retest_is_what_the_header_says(tmp_path: Path, code: str, bins: str | None, told: list[str]) -> None:
    file = write(
        tmp_path / "a.stdf",
        parts({"part_id": "1"}, {"part_id": "1"}),
        numbers={"rtst_cod": code},
        sblot_id="A",
    )
    rows, source = read(file)
    again = bins is not None
    assert [(row["retest_of_bins"], row["sublot_id"]) for row in rows] == [(bins, "A")] * 2
    assert [row["is_first_pass"] for row in rows] == [not again, False]
    assert [row["retest_no"] for row in rows] == [again, 1 + again]
    assert (insertions(rows), source.warnings()) == ([1, 2], told)


@pytest.mark.parametrize(("bins", "told"), [([], "ALL"), ([7], "7"), ([12, 5], "5,12")])
def test_the_record_of_retested_bins_counts_before_the_header(tmp_path: Path, bins: list[int], told: str) -> None:
    def fill(out: StdfWriter) -> None:
        out.rdr(bins)
        parts({"part_id": "1"})(out)

    rows, source = read(write(tmp_path / "a.stdf", fill, numbers={"rtst_cod": "3"}))
    assert (rows[0]["retest_of_bins"], source.warnings()) == (told, [])
