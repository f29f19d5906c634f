"""The DAG in the docs loads each file once, in an Airflow of its own."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpwarehouse import Warehouse
from tests.jobs.environments import LOTS, SECRET, Job, make_job, needs_environment
from tests.service.processes import free_port
from tests.tree import TREE

pytestmark = needs_environment
SCRIPT = TREE / "tests" / "jobs" / "run_airflow.py"
RUN_ID = "manual__of_the_test"
HANGS_AFTER_S = 600


def connection(wh: Warehouse) -> str:
    """The warehouse as an Airflow connection."""
    url, port = wh.engine.url, wh.engine.url.port or wh.engine.url.query.get("port")
    fields = {"host": url.host or url.query.get("host"), "port": port and int(str(port)), "schema": url.database}
    return json.dumps({"conn_type": "postgres", "login": url.username, "password": SECRET, **fields, "extra": EXTRA})


EXTRA = {"statement_timeout_s": "600"}


@pytest.fixture
def job(wh: Warehouse, tmp_path: Path) -> Job:
    job = make_job("airflow", wh, tmp_path)
    dags, port = tmp_path / "dags", free_port()
    dags.mkdir()
    shutil.copy(SCRIPT, dags)
    job.variables |= {
        "AIRFLOW_HOME": str(job.home),
        "AIRFLOW_CONN_FAB": connection(wh),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of-the-test-and-long-enough-for-a-key-of-sha-512-so-that-it-says-nothing",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    done = job.run("-m", "airflow", "db", "migrate")
    assert done.returncode == 0, done.stderr
    return job


def ask(job: Job, query: str) -> list[tuple[Any, ...]]:
    """Rows of Airflow's own database."""
    with closing(sqlite3.connect(job.home / "airflow.db", timeout=60)) as database:
        return database.execute(query).fetchall()


SEVERAL = {"host": "a,b:6000", "port": 5433, "login": "etl", "password": SECRET, "schema": "fab", "extra": EXTRA}


def test_a_connection_may_name_several_hosts_and_settings(job: Job) -> None:
    code = "from gpwarehouse.jobs.airflow import open_warehouse; wh = open_warehouse('several', statement_mem='1GB')\n"
    code += "print(wh, wh.settings.statement_timeout_s, wh.settings.statement_mem)"
    done = job.run("-c", code, AIRFLOW_CONN_SEVERAL=json.dumps({"conn_type": "generic", **SEVERAL}))
    assert "Warehouse('greenplum+psycopg2://etl:***@/fab?host=a%3A5433&host=b%3A6000') 600 1GB" in done.stdout, (
        done.stderr
    )


@pytest.mark.parametrize("lost", ["", "raise"])
def test_a_dag_loads_once(job: Job, lost: str) -> None:
    done = job.run(str(SCRIPT), LOST_END=lost)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    job.assert_loaded_once()
    assert len(job.ids()) == len(LOTS) + bool(lost)  # the task that failed came again, with the same id
    assert len(set(job.ids())) == len(LOTS)
    ((run,),) = ask(job, "SELECT DISTINCT run_id FROM task_instance")
    assert set(job.ids()) == {f"airflow/fab_lots/{run}/load/{n}?{lot}.stdf.gz" for n, lot in enumerate(LOTS)}
    job.assert_no_secret_was_told()
    assert_no_frame_in_xcom(job)


def assert_no_frame_in_xcom(job: Job) -> None:
    """What tasks told each other is names and lines."""
    values = [json.loads(value) for (value,) in ask(job, "SELECT value FROM xcom")]
    assert len(values) == len(LOTS) + 2
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    assert max(len(text) for text in texts) < 300
    assert not [text for text in texts if "wafer_id" in text]


@contextmanager
def running(job: Job, *commands: str) -> Iterator[None]:
    """Airflow's services, until the end of the block."""
    children = []
    try:
        for command in commands:
            with (job.home / f"{command}.log").open("w") as log:
                environment = job.environment({"LOST_END": "kill"})
                start = [str(job.python), "-m", "airflow", command]
                children.append(
                    subprocess.Popen(start, env=environment, cwd=job.home, stdout=log, stderr=subprocess.STDOUT)
                )
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()


def test_a_killed_task_is_retried_by_the_scheduler_and_loads_once(job: Job) -> None:
    for words in (["dags", "reserialize"], ["dags", "trigger", "fab_lots", "--run-id", RUN_ID]):
        done = job.run("-m", "airflow", *words)
        assert done.returncode == 0, done.stderr
    with running(job, "api-server", "dag-processor", "scheduler"):
        deadline, states = time.monotonic() + HANGS_AFTER_S, [("queued",)]
        while states in ([("queued",)], [("running",)]) and time.monotonic() < deadline:
            time.sleep(1)
            states = ask(job, f"SELECT state FROM dag_run WHERE run_id = '{RUN_ID}'")
    assert states == [("success",)], (job.home / "scheduler.log").read_text()[-4000:]
    tries = ask(job, "SELECT try_number FROM task_instance WHERE task_id = 'load' ORDER BY 1")
    assert tries == [(1,), (2,)]
    assert len(job.ids()) == len(LOTS) + 1
    assert len(set(job.ids())) == len(LOTS)
    job.assert_loaded_once()
    job.assert_no_secret_was_told()
    assert_no_frame_in_xcom(job)
