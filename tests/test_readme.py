"""What the README shows is what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gpwarehouse.models.diagram import mermaid
from gpwarehouse.settings import settings_table
from gpwarehouse.sources.synthetic import write_demo_lot

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_diagram_is_current() -> None:
    assert f"```mermaid\n{mermaid()}```" in README, "renew it: gpwarehouse diagram"


def test_the_table_of_settings_is_current() -> None:
    assert settings_table() in README, "renew it: gpwarehouse settings"


def test_the_test_command_is_the_one_ci_runs() -> None:
    ci = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    command = next(line for line in README.splitlines() if "pytest" in line and "pip install" in line)
    for part in command.split("&&"):
        assert part.strip() in ci


def test_the_tours_code_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_demo_lot(tmp_path / "lot2.stdf.gz", wafers=1)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    assert names["result"].rows_loaded == names["result"].rows_read > 0
