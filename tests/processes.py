"""Processes of their own that start with everything imported, for tests that are not about how a process starts.

A server imports what is heavy and connects nowhere; each process is a fork of it. It has its own memory, files, threads and
exit code, as one that Python starts, without the seconds that each such one imports for. What looks around at its import
is not in the server: gpwarehouse.cli asks there how wide the terminal is.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from gpwarehouse.warehouse import Warehouse

__all__ = ["ANSWER_WITHIN_S", "PROCESS", "Forked", "run_code", "run_module", "start_module", "url_of"]

# One list for all tests: the first process starts the server with it.
_IMPORTED = (
    "alembic.autogenerate",
    "alembic.config",
    "numpy",
    "pandas",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pytest",
    "rich.markdown",
    "rich.progress",
    "rich.traceback",
    "sqlalchemy.dialects.postgresql",
    "stdf_convert",
    "typer",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "gpwarehouse.batches",
    "gpwarehouse.dimensions",
    "gpwarehouse.backup",
    "gpwarehouse.embedded",
    "gpwarehouse.embedded.standing",
    "gpwarehouse.generate",
    "gpwarehouse.integrity",
    "gpwarehouse.load",
    "gpwarehouse.migrate",
    "gpwarehouse.models.diagram",
    "gpwarehouse.monitoring",
    "gpwarehouse.months",
    "gpwarehouse.partitions",
    "gpwarehouse.read",
    "gpwarehouse.roles",
    "gpwarehouse.service",
    "gpwarehouse.settings.file",
    "gpwarehouse.sources.stdf",
    "gpwarehouse.sources.synthetic",
    "gpwarehouse.validate",
    "gpwarehouse.warehouse",
    "tests.processes",
)

PROCESS = multiprocessing.get_context("forkserver")
PROCESS.set_forkserver_preload(list(_IMPORTED))

ANSWER_WITHIN_S = 240
"""Then it hangs: the test fails and the processes are ended."""


def url_of(wh: Warehouse) -> str:
    """What another process connects by."""
    return wh.settings.sqlalchemy_url().render_as_string(hide_password=False)


def run_module(
    module: str, name: str, *args: str, cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What comes of ``main`` of a module, called by this name on a command line."""
    return _run(partial(_call_main, module), [name, *args], cwd, environment)


class Forked:
    """A process that runs, with what ``subprocess.Popen`` offers.

    :ivar pid: of it.
    """

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        process.start()
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """Wait for its end; its exit code."""
        self._process.join(seconds)
        code = self.poll()
        assert code is not None, f"process {self.pid} has not ended after {seconds} s"
        return code


def start_module(module: str, name: str, *args: str, environment: Mapping[str, str], log: Path) -> Forked:
    """Run ``main`` of a module, called by this name on a command line, beside this process; the log has what it says."""
    arguments = (partial(_call_main, module), [name, *args], str(Path.cwd()), dict(environment), [str(log)] * 2)
    return Forked(PROCESS.Process(target=_begin, args=arguments))


def run_code(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """What comes of ``python -c CODE ARGS``."""
    return _run(partial(_execute, code), ["-c", *args], Path.cwd(), os.environ)


def _run(
    work: Callable[[], None], command: list[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="gpw-said-") as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = PROCESS.Process(
            target=_begin, args=(work, command, str(cwd), dict(environment), [str(path) for path in said])
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in said))


def _begin(
    work: Callable[[], None], command: Sequence[str], cwd: str, environment: Mapping[str, str], said: Sequence[str]
) -> None:
    """Be what a new process is, but for the modules; then do the work."""
    for number in (signal.SIGHUP, signal.SIGTERM):  # which nohup and some CI runners have us ignore
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, stream in zip(said, (sys.stdout, sys.stderr), strict=True):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    sys.argv[:] = command
    try:
        work()
    finally:
        atexit._run_exitfuncs()  # processes of multiprocessing leave them out


def _call_main(module: str) -> None:
    importlib.import_module(module).main()


def _execute(code: str) -> None:
    exec(code, {"__name__": "__main__"})
