"""Catalogs → the same option objects the models are written with.

Every function asks in one query for a whole schema, never once a table: catalogs of partitioned warehouses hold tens
of thousands of relations.
"""

from gpwarehouse.dialect.reflection.bounds import parse_bound
from gpwarehouse.dialect.reflection.external import external_names, externals_of
from gpwarehouse.dialect.reflection.inspector import GreenplumInspector, GreenplumReflection
from gpwarehouse.dialect.reflection.tables import (
    distributions_of,
    encodings_of,
    partition_children,
    partitionings_of,
    partitions_of,
    storages_of,
)

__all__ = [
    "GreenplumInspector",
    "GreenplumReflection",
    "distributions_of",
    "encodings_of",
    "external_names",
    "externals_of",
    "parse_bound",
    "partition_children",
    "partitionings_of",
    "partitions_of",
    "storages_of",
]
