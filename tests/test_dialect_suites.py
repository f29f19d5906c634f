"""Slices of SQLAlchemy's and Alembic's dialect suites: run as they run whole (tests/suite/run.py), and as strangers run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.engine import Engine

SUITE = Path(__file__).parent / "suite"
SLICE = "CTETest or IdentityColumnTest or InsertBehaviorTest or TableDDLTest or LongNameBlowoutTest or AutogenerateFK"


STRANGERS = (
    "TableDDLTest or InsertBehaviorTest or CTETest or TrueDivTest or LastrowidTest or HasTableTest or RowFetchTest"
)


def _passed(arguments: list[str], folder: Path, **environment: str) -> int:
    """Run pytest in a process of its own; the number of tests that passed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return int(done.stdout.rsplit(" passed", 1)[0].split()[-1].lstrip("="))


def test_a_slice_of_the_dialect_suites_passes(server_url: URL) -> None:
    url = server_url.render_as_string(hide_password=False)
    passed = _passed([str(SUITE), "-q", "-k", SLICE], Path.cwd(), GPWAREHOUSE_TEST_URL=url)
    assert passed > 40  # or the slice names classes that are no longer there


def test_sqlalchemys_suite_starts_with_the_installed_package_alone(empty_engine: Engine, tmp_path: Path) -> None:
    """As SQLAlchemy's README.dialects sets it up for a third-party dialect, with requirements as SQLAlchemy ships them."""
    (tmp_path / "setup.cfg").write_text(
        "[tool:pytest]\n[sqla_testing]\nrequirement_cls = sqlalchemy.testing.requirements:SuiteRequirements\n"
        "profile_file = profiles.txt\n"
    )
    (tmp_path / "conftest.py").write_text("from sqlalchemy.testing.plugin.pytestplugin import *\n")
    (tmp_path / "test_suite.py").write_text("from sqlalchemy.testing.suite import *\n")
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA test_schema"))  # the name is SQLAlchemy's
    url = empty_engine.url.set(drivername="greenplum+psycopg2").render_as_string(hide_password=False)
    passed = _passed(["-q", "-k", STRANGERS, "-p", "no:cacheprovider", "--dburi", url], tmp_path)
    assert passed > 20
