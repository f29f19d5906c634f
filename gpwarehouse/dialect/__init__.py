"""Teaches SQLAlchemy and Alembic to speak Greenplum. Stands alone: knows nothing of fabs, settings or the rest.

Importing it is not needed to use it: the dialect is found by its entry point, ``greenplum+psycopg2://``.
"""

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.ddl import AddPartition, CommentOnView, CreateView, DropView
from gpwarehouse.dialect.errors import GpwarehouseError, OptionError, UnsupportedByServerError
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Heap,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.server import Brand, Capabilities, ServerInfo

__all__ = [
    "AddPartition",
    "AppendOptimized",
    "Brand",
    "Capabilities",
    "CommentOnView",
    "CreateView",
    "DistributedBy",
    "DistributedRandomly",
    "DistributedReplicated",
    "DropView",
    "GpwarehouseError",
    "GreenplumDialect",
    "Heap",
    "OptionError",
    "RangePartition",
    "RangePartitions",
    "ServerInfo",
    "UnsupportedByServerError",
]
