"""Teaches SQLAlchemy and Alembic to speak Greenplum. Stands alone: knows nothing of fabs, settings or the rest.

Importing it is not needed to use it: the dialect is found by its entry point, ``greenplum+psycopg2://``.
"""

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.ddl import Analyze, CreateExternalTable, DropExternalTable, SetDistribution, Vacuum
from gpwarehouse.dialect.driver import outside_transaction
from gpwarehouse.dialect.errors import GpwarehouseError, OptionError, UnsupportedByServerError
from gpwarehouse.dialect.external_tables import CsvFormat, CustomFormat, ExternalTable, RejectLimit, TextFormat
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    Heap,
)
from gpwarehouse.dialect.partition_ddl import (
    AddPartition,
    AttachPartition,
    DetachPartition,
    DropPartition,
    ExchangePartition,
    RenamePartition,
    SplitDefaultPartition,
    SplitPartition,
    TruncatePartition,
)
from gpwarehouse.dialect.partitions import (
    DefaultPartition,
    ListPartition,
    ListPartitions,
    OtherPartitions,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.rewrite import RewriteTable, SetEncoding, SetEncodings, SetStorage
from gpwarehouse.dialect.server import Brand, Capabilities, ServerInfo
from gpwarehouse.dialect.views import CommentOnView, CreateView, DropView

__all__ = [
    "AddPartition",
    "Analyze",
    "AppendOptimized",
    "AttachPartition",
    "Brand",
    "Capabilities",
    "CommentOnView",
    "CreateExternalTable",
    "CreateView",
    "CsvFormat",
    "CustomFormat",
    "DefaultPartition",
    "DetachPartition",
    "DistributedBy",
    "DistributedRandomly",
    "DistributedReplicated",
    "DropExternalTable",
    "DropPartition",
    "DropView",
    "Encoding",
    "ExchangePartition",
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
    "RenamePartition",
    "RewriteTable",
    "ServerInfo",
    "SetDistribution",
    "SetEncoding",
    "SetEncodings",
    "SetStorage",
    "SplitDefaultPartition",
    "SplitPartition",
    "TextFormat",
    "TruncatePartition",
    "UnsupportedByServerError",
    "Vacuum",
    "outside_transaction",
]
