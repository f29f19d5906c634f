"""The rooms behind the doors of :class:`gpwarehouse.Warehouse`, each imported when it is first used.

They need pandas, pyarrow and Alembic, which take a second to import: ``import gpwarehouse`` does not import them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpwarehouse import backup as backup
    from gpwarehouse import batches as batches
    from gpwarehouse import derived as derived
    from gpwarehouse import dimensions as dimensions
    from gpwarehouse import embedded as embedded
    from gpwarehouse import generate as generate
    from gpwarehouse import integrity as integrity
    from gpwarehouse import load as load
    from gpwarehouse import migrate as migrate
    from gpwarehouse import months as months
    from gpwarehouse import partitions as partitions
    from gpwarehouse import read as read
    from gpwarehouse import roles as roles
    from gpwarehouse import sources as sources
    from gpwarehouse import tables as tables
    from gpwarehouse import validate as validate

_ROOMS = frozenset(
    {
        "backup",
        "batches",
        "derived",
        "dimensions",
        "embedded",
        "generate",
        "integrity",
        "load",
        "migrate",
        "months",
        "partitions",
        "read",
        "roles",
        "sources",
        "tables",
        "validate",
    }
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"gpwarehouse.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
