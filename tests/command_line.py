"""The command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run"]


def run(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from gpwarehouse.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "COLUMNS": "160", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
