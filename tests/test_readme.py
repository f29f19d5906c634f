"""What the README shows is what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.models.diagram import mermaid
from gpwarehouse.settings import settings_table
from gpwarehouse.sources.synthetic import write_demo_lot

README = (Path(__file__).parents[1] / "README.md").read_text()
CI = (Path(__file__).parents[1] / ".ci" / "run").read_text()


def test_the_diagram_is_current() -> None:
    assert f"```mermaid\n{mermaid()}```" in README, "renew it: gpwarehouse schema diagram"


def test_the_table_of_settings_is_current() -> None:
    assert settings_table() in README, "renew it: gpwarehouse settings"


def test_the_test_command_is_the_one_ci_runs() -> None:
    command = next(line for line in README.splitlines() if "pytest" in line and "pip install" in line)
    for part in command.split("&&"):
        assert part.strip() in CI


TOUR, _, REST = README.partition("## On Greenplum")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_tours_code_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_demo_lot(tmp_path / "lot2.stdf.gz", wafers=1)
    monkeypatch.chdir(tmp_path)
    blocks = CODE.findall(TOUR)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    assert names["result"].rows_loaded == names["result"].rows_read > 0


def test_every_other_piece_of_code_runs_as_it_stands(
    wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given ``wh``, a frame ``corrected`` and the files that are spoken of."""
    corrected = pd.DataFrame(
        {
            "event_ts": pd.Timestamp("2026-01-05T12:00Z"),
            "lot_id": "L1",
            "wafer_id": "1",
            "test_type": "CP",
            "test_stage": "CP1",
        }
        | {"die_x": range(200), "die_y": 1, "slot": [-1, *[1] * 199]}
    )
    wh.load("fact_test_results", corrected, batch_id="lot 7")
    defects = pd.DataFrame({"event_ts": corrected.event_ts, "lot_id": "L1", "wafer_id": "1", "inspection_id": "I"})
    (tmp_path / "2026-01").mkdir()
    defects.assign(is_defect=True, defect_id=range(200)).to_parquet(tmp_path / "2026-01" / "a.parquet")
    heading = (
        "event_ts;lot_id;wafer_id;process_flow_id;step_number;equipment_id;measurement_type;visit_no;site_no;cd_nm"
    )
    line = "2026-01-05T12:00:00Z;L1;1;F;10;ETCH-07;METROLOGY;1;0;62,5"
    (tmp_path / "etch07.csv").write_text(f"Ätzer 7\n\nMaße in nm\n{heading}\n{line}\n", encoding="cp1252")
    monkeypatch.chdir(tmp_path)
    blocks = CODE.findall(REST)
    assert len(blocks) == 8
    for block in blocks:
        exec(block, {"wh": wh, "corrected": corrected})
    loaded = "SELECT count(*) AS n FROM dw.fact_test_results WHERE batch_id = 'lot 7'"
    assert wh.read(loaded).n.tolist() == [200], "the reject was not loaded again"
    assert (tmp_path / "values.parquet").exists()
    german = "SELECT count(*) AS n FROM dw.fact_process_measurements WHERE cd_nm = 62.5"
    assert wh.read(german).n.tolist() == [1]


def test_code_is_marked_as_what_it_is() -> None:
    """Or it would not be run here."""
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        is_code = re.search(r"^\s*(wh\.|with |from |import |for |@)", block, re.MULTILINE)
        assert kind == "python" or not is_code, block


def test_the_commands_need_no_other_python_than_debians() -> None:
    for text in (README, CI):
        assert not re.search(r"(?<![./\w-])python -", text)
