"""A short day with a few faults. The whole one is played by hand: ``python -m tests.chaos.day --faults 100 --seed 1``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.day import Day
from tests.faults.harness import Bench

FAULTS = 8


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_day_with_faults_loses_and_doubles_nothing_and_its_backup_restores(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        day = Day(bench, 20_261, tmp_path / "backups")
        day.play(FAULTS)
        day.check()
    assert sum(day.diary.struck.values()) == FAULTS
    assert day.diary.done["load"] > 0
