"""A slice of SQLAlchemy's and Alembic's dialect suites, run as they run whole: see tests/suite/run.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

SUITE = Path(__file__).parent / "suite"
SLICE = "CTETest or IdentityColumnTest or InsertBehaviorTest or TableDDLTest or LongNameBlowoutTest or AutogenerateFK"


def test_a_slice_of_the_dialect_suites_passes(server_url: URL) -> None:
    environment = os.environ | {"GPWAREHOUSE_TEST_URL": server_url.render_as_string(hide_password=False)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(SUITE), "-q", "-k", SLICE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1].lstrip("="))
    assert passed > 40, done.stdout[-500:]  # or the slice names classes that are no longer there
