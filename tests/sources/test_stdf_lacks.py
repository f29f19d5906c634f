"""What a file does not say, and who says it instead."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from stdf_help import T0, read, stdf_bytes, write

from gpwarehouse.errors import InvalidInputError, SettingsError, SourceFormatError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.types import STDF_LACKS
from gpwarehouse.sources import open_source
from gpwarehouse.sources.stdf_given import GIVEN, GivenOptions
from gpwarehouse.sources.stdf_writer import StdfWriter

THEN = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)


def one(out: StdfWriter) -> None:
    out.pir()
    out.prr(x=1, y=1)


def nameless(*ids: str, start: int = T0) -> Any:
    def fill(out: StdfWriter) -> None:
        for wafer in ids:
            out.wir(start_t=start, wafer_id=wafer)
            one(out)
            out.wrr(part_cnt=1, wafer_id=wafer)

    return fill


@pytest.mark.parametrize(
    ("missing", "given", "column", "value", "field"),
    [
        ({"lot_id": ""}, {"lot_id": " L9 "}, "lot_id", "L9", "MIR.LOT_ID"),
        ({"numbers": {"start_t": 0}}, {"event_ts": THEN}, "event_ts", THEN, "MIR.START_T"),
        ({"numbers": {"start_t": 0}}, {"event_ts": "2026-03-04T14:30+08:00"}, "event_ts", THEN, "MIR.START_T"),
        ({"facil_id": ""}, {"facility": "F2"}, "facility", "F2", None),
        ({"part_typ": ""}, {"product_id": "CHIP2"}, "product_id", "CHIP2", None),
        ({"job_nam": ""}, {"test_program": "P2"}, "test_program", "P2", None),
        ({"node_nam": ""}, {"equipment_id": "T9"}, "equipment_id", "T9", None),
    ],
)
def test_what_the_file_lacks_is_given(
    tmp_path: Path, missing: dict[str, Any], given: dict[str, Any], column: str, value: Any, field: str | None
) -> None:
    file = write(tmp_path / "a.stdf", one, **missing)
    if field is not None:
        with pytest.raises(SourceFormatError) as refused:
            read(file)
        option = column.replace("_", "-")
        for word in ("a.stdf", field, f"{column}= (command line: --{option})", "Nothing of it was loaded"):
            assert word in str(refused.value)
    rows, source = read(file, **given)
    assert (rows[0][column], source.warnings()) == (value, [])
    if isinstance(value, str):
        rows, source = read(file, defaults=given)
        assert rows[0][column] == value
        assert any("GPWAREHOUSE_STDF_GIVEN is used for it" in told for told in source.warnings())


@pytest.mark.parametrize(
    "given",
    [
        {"lot_id": "L9"},
        {"event_ts": THEN},
        {"facility": "F2"},
        {"product_id": "X"},
        {"test_program": "X"},
        {"equipment_id": "X"},
    ],
)
def test_what_the_file_says_stands_and_the_contradiction_is_told(tmp_path: Path, given: GivenOptions) -> None:
    file = write(tmp_path / "a.stdf", one)
    rows, source = read(file, **given)
    assert rows == read(file)[0]
    (name,) = given
    (told,) = source.warnings()
    assert (GIVEN[name] in told, f"as given by {name}=; the file's value is used" in told) == (True, True)
    assert read(file, defaults={name: "2026-03-04" if name == "event_ts" else "X"})[1].warnings() == []  # for all files


def test_a_time_without_a_zone_is_in_the_testers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.stdf", one, numbers={"start_t": 0})
    rows, _ = read(file, event_ts="2026-03-04 14:30", timezone="Asia/Taipei")
    assert rows[0]["event_ts"] == THEN
    with pytest.raises(InvalidInputError, match="event_ts='soon': give a time such as"):
        read(file, event_ts="soon")


def test_only_files_that_need_the_time_need_it(tmp_path: Path) -> None:
    rows, source = read(write(tmp_path / "a.stdf", nameless("01"), numbers={"start_t": 0}))
    assert (rows[0]["event_ts"], source.warnings()) == (datetime.fromtimestamp(T0, UTC), [])
    rows, source = read(write(tmp_path / "b.stdf", one, numbers={"start_t": 0, "setup_t": T0}))
    assert rows[0]["event_ts"] == datetime.fromtimestamp(T0, UTC)
    assert source.warnings() == ["MIR.START_T is 0; SETUP_T is used for it"]
    rows, source = read(write(tmp_path / "c.stdf", nameless("01", start=0)))
    assert source.warnings() == ["WIR.START_T of wafers '01' is 0; that of the MIR is used"]


def test_what_was_guessed_of_times_and_temperatures_is_told(tmp_path: Path) -> None:
    twice = int(datetime(2024, 10, 27, 2, 30, tzinfo=UTC).timestamp())
    file = write(tmp_path / "a.stdf", one, numbers={"start_t": twice}, tst_temp="85F")
    _, source = read(file, timezone="Europe/Berlin")
    assert source.warnings() == [
        "the time 2024-10-27 02:30:00 occurs twice or never in Europe/Berlin, because its clocks change; "
        "2024-10-27 00:30:00+00:00 is used for it",
        "MIR.TST_TEMP '85F' is not a temperature in °C, so temperature_c is empty",
    ]


def test_a_nameless_wafer_is_one_of_its_file_alone(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.stdf", nameless("", start=T0 + n)) for n in range(2)]
    ids = [read(file)[0][0]["wafer_id"] for file in [*files, files[0]]]
    assert (len(set(ids)), ids[0]) == (2, ids[2])
    assert all(wafer.startswith("(none ") for wafer in ids)
    rows, source = read(write(tmp_path / "c.stdf", nameless("", "03", "")))
    assert len({row["wafer_id"] for row in rows}) == 3
    assert [row["wafer_id"] for row in rows] == [member["wafer_id"] for member in source.members()["dim_wafer"]]
    assert "2 wafers have no id in WIR or WRR" in source.warnings()[0]
    assert "--wafer-id" in source.warnings()[0]


def test_the_wafer_may_be_given(tmp_path: Path) -> None:
    one_wafer = write(tmp_path / "a.stdf", nameless(""))
    rows, source = read(one_wafer, wafer_id="07")
    assert (rows[0]["wafer_id"], source.warnings()) == ("07", [])
    rows, source = read(write(tmp_path / "b.stdf", one), wafer_id="07")  # no WIR at all
    assert (rows[0]["wafer_id"], rows[0]["test_type"], source.warnings()) == ("07", "CP", [])
    assert source.members()["dim_wafer"] == [{"lot_id": "LOT7.1", "wafer_id": "07"}]
    with pytest.raises(SourceFormatError, match="2 wafers have no WAFER_ID, but wafer_id='07' can be only one of them"):
        read(write(tmp_path / "c.stdf", nameless("", "")), wafer_id="07")
    rows, source = read(write(tmp_path / "d.stdf", nameless("01")), wafer_id="07")
    assert rows[0]["wafer_id"] == "01"
    assert source.warnings() == ["WIR.WAFER_ID is '01', not '07' as given by wafer_id=; the file's value is used"]
    rows, source = read(write(tmp_path / "e.stdf", nameless("07", "")), wafer_id="07")
    assert rows[1]["wafer_id"].startswith("(none ")
    assert "1 wafers have no id in WIR or WRR" in source.warnings()[0]


def test_an_option_that_is_none_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.stdf", one)
    with pytest.raises(
        InvalidInputError, match="lotid= cannot be given for an STDF file; the options are facility, lot_id"
    ):
        open_source(file, lotid="L")  # type: ignore[call-arg]


def test_the_settings_hold_what_all_files_lack() -> None:
    assert tuple(GIVEN) == STDF_LACKS
    assert set(GivenOptions.__annotations__) == set(GIVEN)
    assert WarehouseSettings(_env_file=None).stdf_given == ()
    told = WarehouseSettings(_env_file=None, stdf_given="product_id=CHIP, lot_id = L1")
    assert dict(told.stdf_given) == {"product_id": "CHIP", "lot_id": "L1"}
    assert WarehouseSettings(_env_file=None, stdf_given={"lot_id": "L1"}).stdf_given == (("lot_id", "L1"),)
    for wrong in ("lot=L1", "lot_id=", "lot_id"):
        with pytest.raises(SettingsError, match=r"GPWAREHOUSE_STDF_GIVEN.*cannot be given for an STDF file"):
            WarehouseSettings(_env_file=None, stdf_given=wrong)


def tar(content: bytes, *more: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("lots/a.stdf", *more):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zipped(content: bytes, *more: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("lots/a.stdf", *more):
            archive.writestr(name, content)
    return stream.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(content)
    return bytes(sink.getvalue().to_pybytes())


def test_packings_are_undone_also_within_each_other(tmp_path: Path) -> None:
    whole = stdf_bytes(one)
    macos = ("__MACOSX/lots/._a.stdf", "lots/._a.stdf")
    packed = {
        "xz": lzma.compress(whole),
        "tar": tar(whole, *macos),
        "tar.gz": gzip.compress(tar(whole)),
        "tar.xz": lzma.compress(tar(whole)),
        "gz.gz": gzip.compress(gzip.compress(whole)),
        "zst": zstd(whole),
        "tar.zst": zstd(tar(whole)),
        "zst.zst": zstd(zstd(whole)),
        "zst of two frames": zstd(whole[:99]) + zstd(whole[99:]),
        "zip": zipped(whole, *macos),
        "zip of gz": zipped(gzip.compress(whole)),
    }
    plain = tmp_path / "plain.stdf"
    plain.write_bytes(whole)
    for name, content in packed.items():
        file = tmp_path / name
        file.write_bytes(content)
        source = open_source(file)
        assert sum(batch.num_rows for batch in source.batches()) == 1, name
        assert source.checksum == open_source(plain).checksum
    (tmp_path / "two.tar").write_bytes(tar(whole, "b.stdf"))
    with pytest.raises(SourceFormatError, match=r"a tar archive must hold exactly one STDF file, but this one holds 2"):
        open_source(tmp_path / "two.tar")


@pytest.mark.parametrize("cut", [20, 40, 70])
def test_packed_files_cut_off_are_refused(tmp_path: Path, cut: int) -> None:
    whole = stdf_bytes(one)
    for name, content in {
        "xz": lzma.compress(whole),
        "zst": zstd(whole),
        "tar.gz": gzip.compress(tar(whole)),
        "tar": tar(whole),
    }.items():
        file = tmp_path / name
        file.write_bytes(content[: len(content) * cut // 100] if name != "tar" else content[: 512 + cut])
        with pytest.raises(SourceFormatError, match=name):
            list(open_source(file).batches())
