"""Schemathesis asks the whole API, with all its checks, as each role.

One check is left out: DELETE cancels a job and deletes its file, and what became of the job can still be asked.
The suite asks little; ``GPWAREHOUSE_TEST_FUZZ_SECONDS=1200 pytest tests/service/test_schemathesis.py`` asks so long as each role.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from tests.service.serving import serve

pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e .[fuzz]")

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = os.environ.get("GPWAREHOUSE_TEST_FUZZ_SECONDS")
HOW_LONG = ["--max-examples", "5"] if SECONDS is None else ["--max-examples", "100000", "--max-time", SECONDS]


def lots_like(wh: Warehouse, *, pattern: str, most: int = 10) -> object:
    """Lots whose id is like a pattern."""
    return wh.read(
        "SELECT lot_id FROM dw.dim_lot WHERE lot_id LIKE :pattern LIMIT :most", pattern=pattern, most=most % 100
    )


@pytest.mark.parametrize("role", ["reader", "loader", "admin", "nobody"])
def test_every_answer_is_one_that_is_documented(fab: Warehouse, tmp_path: Path, role: str) -> None:
    options = {"service_per_caller": 50, "service_jobs_per_caller": 10_000}
    with serve(fab, tmp_path / "state", questions={"lots_like": lots_like}, **options) as served:
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(CONFIG),
            "run",
            f"{served.url}/openapi.json",
        ]
        command += [
            "--checks",
            "all",
            "--exclude-checks",
            "use_after_free",
            *HOW_LONG,
            "--request-timeout",
            "60",
            "--continue-on-failure",
            "--no-color",
        ]
        if role != "nobody":
            command += ["--header", f"Authorization: Bearer {served.keys[role]}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
