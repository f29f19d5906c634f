"""Run the dialect suites on one server and write the counts into RESULTS.md.

    python tests/suite/run.py              our dialect, on GPWAREHOUSE_TEST_URL or the embedded PostgreSQL
    python tests/suite/run.py --stock      SQLAlchemy's own dialect, with the requirements as shipped, to compare
    python tests/suite/run.py --report     also list the tests that failed or were skipped, with the reasons

The counts go into the line of this server, these versions, this dialect and suite; other lines stay. The exit code is
1 if a test of our dialect failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from sqlalchemy import NullPool, create_engine
from suite_server import database

from gpwarehouse.dialect import ServerInfo

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
SUITES = {"SQLAlchemy": "test_sqlalchemy.py", "Alembic": "test_alembic.py"}
OUTCOMES = ("passed", "failed", "errors", "skipped")
_BEGIN, _END = "<!-- counts: written by run.py -->", "<!-- end of counts -->"
_HEAD = (
    f"| Server | Suite | SQLAlchemy | Alembic | Dialect | {' | '.join(OUTCOMES)} |\n"
    "|---|---|---|---|---|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Case:
    """One test: its name, how it ended, and why."""

    name: str
    outcome: str
    reason: str


def run(suite: str, url: str, untuned: bool) -> list[Case]:
    """Run a suite in a process of its own."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", str(HERE / SUITES[suite]), "-q", "--tb=short"]
        command += ["--dburi", url, "--junitxml", str(report), *(["--untuned"] if untuned else [])]
        subprocess.run(command, check=False)
        return [_case(element) for element in ElementTree.parse(report).iter("testcase")]


def _case(element: ElementTree.Element) -> Case:
    name = f"{element.get('classname')}::{element.get('name')}"
    for tag, outcome in (("error", "errors"), ("failure", "failed"), ("skipped", "skipped")):
        found = element.find(tag)
        if found is not None:
            return Case(name, outcome, found.get("message", ""))
    return Case(name, "passed", "")


def server_name(url: str) -> str:
    """Brand and version, as ``Greenplum 6.24.3 (PostgreSQL 9.4.26)``."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return str(ServerInfo.parse(connection.exec_driver_sql("SELECT version()").scalar_one()))


def record(server: str, suite: str, dialect: str, counts: Counter[str]) -> None:
    """Replace or add the line of this run."""
    before, table, after = re.split(f"{_BEGIN}\n|{_END}", RESULTS.read_text(encoding="utf-8"))
    key = f"| {server} | {suite} | {version('sqlalchemy')} | {version('alembic')} | {dialect} |"
    lines = [line for line in table.strip().splitlines()[2:] if not line.startswith(key)]
    lines.append(f"{key} {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    table = "\n".join([_HEAD, *sorted(lines)])
    RESULTS.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


def main() -> int:
    """Run, record, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", action="store_true", help="SQLAlchemy's own dialect, requirements as shipped")
    parser.add_argument("--suite", choices=sorted(SUITES), action="append", help="only this suite")
    parser.add_argument("--report", action="store_true", help="list what failed or was skipped")
    given = parser.parse_args()
    failed = 0
    for suite in given.suite or SUITES:
        # A database each: a test that failed may leave tables behind.
        with database("postgresql+psycopg2" if given.stock else "greenplum+psycopg2") as url:
            cases = run(suite, url, untuned=given.stock)
            counts = Counter(case.outcome for case in cases)
            record(server_name(url), suite, "stock" if given.stock else "ours", counts)
        failed += counts["failed"] + counts["errors"]
        print(suite, dict(counts))  # noqa: T201
        for case in cases if given.report else ():
            if case.outcome != "passed":
                print(f"{case.outcome}: {case.name}: {case.reason.splitlines()[:1]}")  # noqa: T201
    return 1 if failed and not given.stock else 0


if __name__ == "__main__":
    sys.exit(main())
