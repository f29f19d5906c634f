"""The blocks of code in the README and the pages of docs/, and how they are run."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import Any

import pandas as pd
from typer.testing import CliRunner

from gpwarehouse.cli import app
from gpwarehouse.cli.app import console

__all__ = ["FENCE", "MOVED", "PAGES", "README", "SAME", "TREE", "Block", "blocks_of", "compare", "run_page", "run_sh"]

TREE = Path(__file__).parents[1]
README = (TREE / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(TREE).as_posix(): path.read_text(encoding="utf-8")
    for path in [TREE / "README.md", TREE / "gpwarehouse/dialect/README.md", *sorted((TREE / "docs").rglob("*.md"))]
    if "_build" not in path.parts
}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
SAME = ELLIPSIS | NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fence of a page.

    :ivar output: what it prints, where the page shows it.
    """

    page: str
    line: int
    kind: str
    code: str
    runs: bool
    output: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    text, found = PAGES[page], []
    end = 0
    for fence in FENCE.finditer(text):
        indent, kind, code = fence.groups()
        code = re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        runs = not NOT_RUN.search(text[: fence.start()])
        follows = bool(found) and not text[end : fence.start()].strip()
        end = fence.end()
        if kind == "text" and follows and runs and found[-1].kind in ("python", "sh", "js"):
            last = found.pop()
            found.append(Block(page, last.line, last.kind, last.code, last.runs, code))
        else:
            found.append(Block(page, text.count("\n", 0, fence.start()) + 1, kind, code, runs))
    return found


MOVED = "docs/how-to/move.md"
"""The page that speaks of two servers: tests/backup/test_move.py runs it."""


def run_python(block: Block, names: dict[str, Any]) -> str:
    """What a block prints, and the value of its last expression, as at a prompt."""
    tree = ast.parse("\n" * (block.line) + block.code, filename=block.where)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, block.where, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), block.where, "eval"), names)
            if value is not None:
                print(value)  # noqa: T201
    return out.getvalue()


def run_sh(block: Block) -> str:
    """What a block prints on stdout; what it exports holds for the blocks behind it."""
    lines = [shlex.split(line, comments=True) for line in block.code.replace("\\\n", " ").splitlines()]
    if all(line[:1] == ["gpwarehouse"] for line in lines) and not re.search(r"[$><|&;\\]", block.code):
        return "".join(run_command(line[1:], block.where) for line in lines)  # here, which spares the imports
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = f"set -euo pipefail\n{block.code}\nenv -0 >.exported"
    environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"
    for variable in Path(".exported").read_text().split("\0"):
        name, _, value = variable.partition("=")
        if name.startswith("GPWAREHOUSE_"):
            os.environ[name] = value
    return done.stdout


def run_command(words: list[str], where: str) -> str:
    console.width = 200  # whatever the terminal was when the command line was imported
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{where}: {words}\n{done.output}\n{done.exception!r}"
    return done.stdout


def run_page(page: str, names: dict[str, Any]) -> list[str]:
    """Run the blocks of a page; where one prints other than the page shows, and what."""
    pd.set_option("display.width", 200)
    different = []
    for block in blocks_of(page):
        if block.runs and block.kind in ("python", "sh"):
            different += compare(block, run_python(block, names) if block.kind == "python" else run_sh(block))
    return different


def compare(block: Block, printed: str) -> list[str]:
    """What a block prints, if that is not what the page shows."""
    wanted = printed if block.output is None else block.output.replace("…", "...")
    return [] if OutputChecker().check_output(wanted, printed, SAME) else [f"{block.where} prints\n{printed}"]
