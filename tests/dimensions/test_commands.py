"""Merging, re-keying and taking out from a shell."""

from __future__ import annotations

from pathlib import Path

from gpwarehouse import Warehouse
from tests.command_line import run
from tests.dimensions.rows import day, history
from tests.load.rows import MEASUREMENTS, measurement


def test_a_file_is_merged_wafers_move_and_a_batch_is_taken_out(wh: Warehouse, tmp_path: Path) -> None:
    batch = wh.load(MEASUREMENTS, [measurement(lot_id="A.1")]).batch_id
    (tmp_path / "lots.csv").write_text("lot_id,root_lot_id,owner\nA.1,M,fab\n")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)

    def said(*args: str) -> str:
        done = run("--url", url, *args, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    merge = ("merge", "dim_lot", "lots.csv", "--effective", "2025-01-01T00:00:00+00:00")
    assert "1 row, 0 rejected; 0 new members, 1 version begun" in said(*merge)
    assert "0 new members, 0 versions begun" in said(*merge)
    assert "1 version begun" not in said(*merge, "--batch-id", "lots")
    assert "merged before" in said(*merge, "--batch-id", "lots")
    assert [row[1:] for row in history(wh, "A.1", "owner", "root_lot_id")] == [("fab", "M")]
    assert "1 wafers would move" in said("dimensions", "rekey-wafers", "--dry-run")
    assert f"{MEASUREMENTS}: 1 row moved" in said("dimensions", "rekey-wafers")
    assert f"{MEASUREMENTS}: 1 row of batch {batch} deleted" in said("batches", "delete", batch)
    failed = run("--url", url, "merge", "dim_lot", "lots.csv", "--effective", "since", cwd=tmp_path)
    assert (failed.returncode, "does not have column 'since'" in failed.stderr) == (1, True)
    assert wh.load(MEASUREMENTS, [measurement(lot_id="A.1", event_ts=day(2))]).rows_loaded == 1
