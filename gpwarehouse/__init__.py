"""A semiconductor fab's data warehouse on Greenplum: typed star schema, DDL, migrations, loading, DataFrames.

>>> from gpwarehouse import Warehouse
>>> with Warehouse.embedded() as wh:          # doctest: +SKIP
...     wh.upgrade()
...     wh.load_file("lot.stdf.gz")
...     wh.read("SELECT * FROM dw.v_wafer_yield")

Importing the package loads neither pandas, pyarrow, numpy nor Alembic; they come with the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.version import __version__

if TYPE_CHECKING:
    from gpwarehouse.load import CsvOptions
    from gpwarehouse.settings import WarehouseSettings
    from gpwarehouse.warehouse import LoadResult, Warehouse

__all__ = ["CsvOptions", "GpwarehouseError", "LoadResult", "Warehouse", "WarehouseSettings", "__version__"]

_LAZY = {
    "CsvOptions": "gpwarehouse.load",
    "Warehouse": "gpwarehouse.warehouse",
    "LoadResult": "gpwarehouse.warehouse",
    "WarehouseSettings": "gpwarehouse.settings",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
