"""The command lines, each as a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.processes import run_module
from tests.tree import TREE

__all__ = ["alembic", "run"]


def run(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``gpwarehouse``."""
    everything = {**os.environ, "COLUMNS": "160", **environment}
    return run_module("gpwarehouse.cli", "gpwarehouse", *args, cwd=cwd, environment=everything)


def alembic(*args: str, cwd: Path = TREE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Plain ``alembic``, in the source tree if nothing else is said."""
    return run_module("alembic.config", "alembic", *args, cwd=cwd, environment={**os.environ, **environment})
