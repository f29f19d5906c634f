"""The one object an ETL job holds: upgrade, load, read, sessions.

Its methods stand in a file per subject; each only calls the room that does the work, which is imported when it is needed.
"""

from __future__ import annotations

from typing import Any

from gpwarehouse.warehouse.checking import Checking
from gpwarehouse.warehouse.dimensions import OfDimensions
from gpwarehouse.warehouse.files import LoadingFiles
from gpwarehouse.warehouse.generating import Generating
from gpwarehouse.warehouse.health import Health, Watched
from gpwarehouse.warehouse.reprocessing import Reprocessing
from gpwarehouse.warehouse.schema import OfSchema, Status
from gpwarehouse.warehouse.units import Units

__all__ = ["Health", "LoadResult", "Status", "Warehouse"]


class Warehouse(OfSchema, LoadingFiles, Generating, Checking, Units, Watched, OfDimensions, Reprocessing):
    """A fab's warehouse on Greenplum (or PostgreSQL).

    >>> with Warehouse("postgresql://gpadmin@127.0.0.1:5432/fab") as wh:   # doctest: +SKIP
    ...     wh.upgrade()
    ...     wh.load_file("lot.stdf.gz")
    ...     wh.read("SELECT * FROM dw.v_wafer_yield WHERE lot_id = :lot", lot="L1")

    :param url: any ``postgresql://`` or ``greenplum://`` URL; without one, the settings say (``GPWAREHOUSE_URL`` …).
    :param settings: settings to use as they are. :param overrides: settings by keyword, over those of the environment.
    :raises SettingsError: a setting is wrong, or no database is named.

    Nothing is connected before it is needed. Safe to share between threads.
    """


def __getattr__(name: str) -> Any:
    if name == "LoadResult":  # pyarrow comes with it, so not before it is asked for
        from gpwarehouse.load import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
