"""CSV files at every door that takes files of tables, with options and without; a refused one leaves nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from gpwarehouse import CsvOptions, Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.load import streaming
from tests import command_line
from tests.load.rows import MEASUREMENTS, scalar, stored

OPTIONS = CsvOptions(delimiter=";", encoding="cp1252", decimal=",", header_line=2, null_values=("NA",))
HEAD = "Tool: é\nevent_ts;lot_id;wafer_id;process_flow_id;step_number;equipment_id;measurement_type;visit_no;site_no;"
KEY = "2024-03-05T12:00:00Z;L1;02;FLOW;100;ETCH-01;FDC;1;"


def german(path: Path, lines: list[str]) -> Path:
    path.write_bytes("\r\n".join(lines).encode("cp1252"))
    return path


def table(path: Path, *ends: str) -> Path:
    return german(path, [f"{HEAD}cd_nm;spc_rule", *(f"{KEY}{end}" for end in ends)])


def test_every_door_takes_the_options(wh: Warehouse, tmp_path: Path) -> None:
    facts = table(tmp_path / "x.csv", "1;41,5;é", "2;NA;1,5", "3;many;x")
    assert wh.load(MEASUREMENTS, facts, csv=OPTIONS, batch_id="b", max_rejects=1).rows_loaded == 2
    assert stored(wh, MEASUREMENTS, "b", "cd_nm", "spc_rule") == [(41.5, "é"), (None, "1,5")]
    assert wh.load_file(facts, target=MEASUREMENTS, csv=OPTIONS, max_rejects=1).already_loaded
    (again,) = wh.load_files(str(tmp_path / "*.csv"), target=MEASUREMENTS, csv=OPTIONS, max_rejects=1)
    assert again.status == "already loaded"
    mended = german(tmp_path / "mended.csv", [f"{HEAD}cd_nm;row_number", f"{KEY}3;7,25;3"])
    assert wh.batches.reload("b", mended, csv=OPTIONS).rows_loaded == 1
    changed = table(tmp_path / "changed.csv", "1;42,5;é")
    assert wh.facts.upsert(MEASUREMENTS, changed, csv=OPTIONS).rows_replaced == 1
    assert wh.facts.delete(MEASUREMENTS, changed, csv=OPTIONS).rows_replaced == 1
    assert wh.facts.replace_month(MEASUREMENTS, "2024-03", facts, csv=OPTIONS, max_rejects=1).rows_replaced == 2
    lots = german(tmp_path / "lots.csv", ["Export é", "lot_id;priority;effective_date", "L1;3;2024-01-01T00:00:00Z"])
    assert wh.merge("dim_lot", lots, csv=OPTIONS).rows_read == 1
    stays = german(tmp_path / "stays.csv", ["é", "lot_id;wafer_id;from_ts", "L1;02;2024-01-01T00:00:00Z"])
    assert wh.dimensions.upsert_bridge("bridge_wafer_lot", stays, csv=OPTIONS).rows_inserted == 1
    assert wh.dimensions.delete_bridge("bridge_wafer_lot", stays, csv=OPTIONS).rows_deleted == 1
    moves = german(tmp_path / "moves.csv", ["é", "root_lot_id;true_root_lot_id", "L1;L0"])
    assert wh.dimensions.rekey_wafers(moves, csv=OPTIONS, dry_run=True).wafers == 1


def test_options_that_cannot_count_are_refused(shared_wh: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="the frame is a list"):
        shared_wh.load(MEASUREMENTS, [], csv=OPTIONS)
    with pytest.raises(InvalidInputError, match=r"give gpwarehouse\.CsvOptions"):
        shared_wh.load(MEASUREMENTS, "x.csv", csv=";")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="target="):
        shared_wh.load_file(tmp_path / "x.stdf", csv=OPTIONS)


@pytest.mark.parametrize("may_stream", [False, True])
def test_a_file_that_is_refused_behind_its_first_rows_leaves_nothing_and_stops_no_other(
    wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_stream: bool
) -> None:
    monkeypatch.setattr(streaming, "STREAM_BYTES", 1 if may_stream else 1 << 40)
    head = HEAD.splitlines()[1].replace(";", ",") + "spc_rule\n"
    row = KEY.replace(";", ",")
    rows = "".join(f"{row}{n},\n" for n in range(40_000))
    (tmp_path / "1.csv").write_text(head + rows + f'{row}40000,"secret\n' + rows)
    (tmp_path / "2.csv").write_text(head + f"{row}1,\n")
    with pytest.raises(InvalidInputError, match=r"1\.csv: line 40002: ") as caught:
        wh.load(MEASUREMENTS, tmp_path / "1.csv", batch_id="b")
    assert "secret" not in str(caught.value)
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0
    assert wh.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    report = wh.load_files(str(tmp_path / "*.csv"), target=MEASUREMENTS)
    assert [outcome.status for outcome in report] == ["failed", "loaded"]


def test_the_command_line_takes_the_same_options(wh: Warehouse, tmp_path: Path) -> None:
    facts = table(tmp_path / "x.csv", "1;41,5;'a;b'", "2;NA;x")
    url = wh.settings.sqlalchemy_url().set(drivername="postgresql").render_as_string(hide_password=False)
    said = ["--csv-delimiter", ";", "--csv-encoding", "cp1252", "--csv-decimal", ",", "--csv-header-line", "2"]
    said += ["--csv-null", "NA", "--csv-quote", "'"]
    run = partial(command_line.run, cwd=tmp_path, GPWAREHOUSE_URL=url, COLUMNS="200")
    untold = run("load", str(facts), "--target", MEASUREMENTS)
    assert untold.returncode == 1
    assert "encoding='cp1252'" in untold.stderr
    done = run("load", str(facts), "--target", MEASUREMENTS, "--batch-id", "b", *said)
    assert done.returncode == 0, done.stderr
    assert stored(wh, MEASUREMENTS, "b", "cd_nm", "spc_rule") == [(41.5, "a;b"), (None, "x")]
    doors = (
        "merge",
        "dimensions rekey-wafers",
        "facts replace-month",
        "facts upsert",
        "facts delete",
        "batches reload",
    )
    for command in doors:
        assert "--csv-delimiter" in run(*command.split(), "--help").stdout
