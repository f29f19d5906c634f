"""An environment for each orchestrator: none goes beside another, and Airflow takes minutes to install."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.sources.synthetic import write_demo_lot
from tests.tree import TREE

__all__ = ["LOTS", "ROWS_OF_A_LOT", "SECRET", "Job", "make_job", "needs_environment"]

_VARIABLE = "GPWAREHOUSE_TEST_ORCHESTRATORS"
_REQUIREMENTS = {"airflow": "apache-airflow>=3.1.8", "dagster": "dagster>=1.11", "prefect": "prefect>=3"}
needs_environment = pytest.mark.skipif(
    not os.environ.get(_VARIABLE),
    reason="needs environments with orchestrators, which take minutes to install; to run it: "
    f"{_VARIABLE}=~/.cache/gpwarehouse-orchestrators .venv/bin/python -m pytest tests/jobs",
)
"""Skips a module's tests, unless a folder is named that the environments are kept in."""
SECRET = "word-that-nobody-may-see"
LOTS = ("L1", "L2")
ROWS_OF_A_LOT = 391
_HANGS_AFTER_S = 600


@dataclass
class Job:
    """Files to load, a warehouse to load them into, and an orchestrator that does it.

    :ivar python: the interpreter of its environment.
    :ivar home: where the orchestrator keeps what it keeps.
    :ivar ids: the batch ids that loads were called with, one a line; :mod:`tests.jobs.lost_end` writes them.
    """

    wh: Warehouse
    python: Path
    home: Path
    folder: Path
    variables: dict[str, str]
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The warehouse's URL with a password. The servers of the tests ask for none."""
        return self.wh.engine.url.set(password=SECRET).render_as_string(hide_password=False)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of its processes."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GPWAREHOUSE_")}
        path = os.pathsep.join(map(str, (TREE / "docs" / "examples", TREE / "tests" / "jobs")))
        return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **self.variables, **(more or {})}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Python's with further variables. What it leaves running, as Prefect's server, is ended with it."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:  # a pipe would stay open as long
            process = subprocess.Popen(
                [str(self.python), *command],
                env=self.environment(more),
                cwd=self.home,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                process.wait(timeout=_HANGS_AFTER_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        self.said += texts
        return subprocess.CompletedProcess(process.args, process.returncode, *texts)

    def ids(self) -> list[str]:
        """The batch ids that loads were called with, in turn."""
        return (self.home / "ids").read_text().splitlines()

    def assert_loaded_once(self) -> None:
        """Each file is there once, under the ids of the loads, and the table of yields has both."""
        batches = self.wh.batches.list()
        assert sorted(batches["source"]) == [f"{lot}.stdf.gz" for lot in LOTS]
        assert set(batches["batch_id"]) == set(self.ids())
        counted = self.wh.read("SELECT batch_id, count(*) AS n FROM dw.fact_test_results GROUP BY 1")
        assert list(counted["n"]) == [ROWS_OF_A_LOT] * len(LOTS)
        lines = (self.folder / "yields.csv").read_text().splitlines()
        assert [line.partition(",")[0] for line in lines] == ["lot_id", *LOTS]

    def assert_no_secret_was_told(self) -> None:
        """The password is in no output, and in no file of the orchestrator."""
        assert not [text for text in self.said if SECRET in text]
        files = [path for path in self.home.rglob("*") if path.is_file()]
        assert files
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def make_job(tool: str, wh: Warehouse, tmp_path: Path) -> Job:
    """Write the files of two lots, and find the environment of an orchestrator, or make it."""
    python = _interpreter(tool)
    home, folder = tmp_path / tool, tmp_path / "fab"
    for path in (home, folder):
        path.mkdir()
    for lot in LOTS:
        write_demo_lot(folder / f"{lot}.stdf.gz", lot_id=lot, wafers=1)
    return Job(wh, python, home, folder, {"FAB_FOLDER": str(folder), "LOST_END_IDS": str(home / "ids")})


def _interpreter(tool: str) -> Path:
    environment = Path(os.environ[_VARIABLE]).expanduser() / tool
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        command = [str(python), "-m", "pip", "install", "-q", "-e", f"{TREE}[stdf]", _REQUIREMENTS[tool]]
        subprocess.run(command, check=True)
    return python
