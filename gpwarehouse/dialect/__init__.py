"""Teaches SQLAlchemy and Alembic to speak Greenplum. Stands alone: knows nothing of fabs, settings or the rest.

Importing it is not needed to use it: the dialect is found by its entry point, ``greenplum+psycopg2://``.
"""

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.ddl import AddPartition, CommentOnView, CreateView, DropView
from gpwarehouse.dialect.errors import GpwarehouseError, OptionError, UnsupportedByServerError
from gpwarehouse.dialect.external import CsvFormat, CustomFormat, ExternalTable, RejectLimit, TextFormat
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    Heap,
)
from gpwarehouse.dialect.partitions import (
    DefaultPartition,
    ListPartition,
    ListPartitions,
    OtherPartitions,
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
    "CsvFormat",
    "CustomFormat",
    "DefaultPartition",
    "DistributedBy",
    "DistributedRandomly",
    "DistributedReplicated",
    "DropView",
    "Encoding",
    "ExternalTable",
    "GpwarehouseError",
    "GreenplumDialect",
    "Heap",
    "ListPartition",
    "ListPartitions",
    "OptionError",
    "OtherPartitions",
    "RangePartition",
    "RangePartitions",
    "RejectLimit",
    "ServerInfo",
    "TextFormat",
    "UnsupportedByServerError",
]
