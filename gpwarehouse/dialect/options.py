"""Table options of Greenplum as values: frozen, validated where they are written, ``eval(repr(x)) == x``.

They are passed to :class:`sqlalchemy.Table` as ``greenplum_distributed_by=``, ``greenplum_storage=`` and
``greenplum_partition_by=``, come back from reflection, and are rendered into revisions by Alembic.

>>> Table("t", metadata, Column("k", BigInteger), Column("ts", DateTime(timezone=True)),
...       greenplum_distributed_by=DistributedBy("k"),
...       greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd"),
...       greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", months=12))  # doctest: +SKIP

Source of the rules: Greenplum Database reference, CREATE TABLE (6 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.partitions import (
    Bound,
    DefaultPartition,
    ListPartition,
    ListPartitions,
    OtherPartitions,
    Partition,
    Partitioning,
    RangePartition,
    RangePartitions,
    bound_literal,
    missing_partitions,
    month_after,
    month_partition,
)

__all__ = [
    "AppendOptimized",
    "Bound",
    "DefaultPartition",
    "DistributedBy",
    "DistributedRandomly",
    "DistributedReplicated",
    "Distribution",
    "Encoding",
    "Heap",
    "ListPartition",
    "ListPartitions",
    "OtherPartitions",
    "Partition",
    "Partitioning",
    "RangePartition",
    "RangePartitions",
    "Storage",
    "bound_literal",
    "missing_partitions",
    "month_after",
    "month_partition",
]

COMPRESSION_LEVELS = {"none": (0, 0), "zlib": (1, 9), "zstd": (1, 19), "rle_type": (1, 4), "quicklz": (1, 1)}
"""Allowed ``compresslevel`` by ``compresstype`` (CREATE TABLE reference; zstd up to 19, rle_type columns only)."""


DEFAULT_BLOCKSIZE = 32768
"""Bytes; the server's own choice where none is given."""


@dataclass(frozen=True, init=False)
class DistributedBy:
    """``DISTRIBUTED BY (column [operator class], …)``: rows go to the segment that the hash of these columns names.

    :param opclasses: column → hash operator class, where it is not the type's default: ``{"k": "cdbhash_int4_ops"}``.
        Tables join without moving rows only where the classes agree.
    :raises OptionError: no column, one twice, or an operator class of a column that is not in the key.
    """

    columns: tuple[str, ...]
    opclasses: tuple[tuple[str, str], ...]

    def __init__(self, *columns: str, opclasses: Mapping[str, str] | None = None) -> None:
        if not columns or not all(isinstance(c, str) and c for c in columns):
            raise OptionError(
                f"DistributedBy{columns!r}: give one or more column names; "
                "for a table without a distribution key use DistributedRandomly()"
            )
        if len(set(columns)) != len(columns):
            raise OptionError(f"DistributedBy{columns!r}: a column is named twice; name each once")
        strangers = set(opclasses or {}) - set(columns)
        if strangers:
            raise OptionError(
                f"DistributedBy{columns!r} opclasses={opclasses!r}: {sorted(strangers)} are no columns of the key"
            )
        object.__setattr__(self, "columns", tuple(columns))
        object.__setattr__(
            self, "opclasses", tuple((c, (opclasses or {})[c]) for c in columns if c in (opclasses or {}))
        )

    def __repr__(self) -> str:
        classes = f", opclasses={dict(self.opclasses)!r}" if self.opclasses else ""
        return f"DistributedBy({', '.join(map(repr, self.columns))}{classes})"


@dataclass(frozen=True)
class DistributedRandomly:
    """``DISTRIBUTED RANDOMLY``: rows go round; no unique key is possible."""


@dataclass(frozen=True)
class DistributedReplicated:
    """``DISTRIBUTED REPLICATED``: every segment holds every row; joins with it never move rows."""


Distribution = DistributedBy | DistributedRandomly | DistributedReplicated


@dataclass(frozen=True)
class Heap:
    """PostgreSQL's row storage: for tables that are updated."""


def _compression(where: str, kind: str, level: int | None, blocksize: int | None) -> tuple[int, int | None]:
    """Check a compression; level and block size as they are kept: the level said, the default block size as None."""
    if kind not in COMPRESSION_LEVELS:
        raise OptionError(f"{where} compresstype={kind!r}: allowed are {', '.join(COMPRESSION_LEVELS)}")
    low, high = COMPRESSION_LEVELS[kind]
    if level is None:
        level = low
    elif type(level) is not int or not low <= level <= high:
        raise OptionError(f"{where} compresslevel={level!r}: for compresstype={kind!r} allowed is {low} to {high}")
    if blocksize is not None and (type(blocksize) is not int or blocksize % 8192 or not 8192 <= blocksize <= 2097152):
        raise OptionError(f"{where} blocksize={blocksize!r}: allowed are 8192 to 2097152 in steps of 8192")
    return level, None if blocksize == DEFAULT_BLOCKSIZE else blocksize


@dataclass(frozen=True, kw_only=True, repr=False)
class AppendOptimized:
    """Append-optimized storage, by row or by column, compressed or not.

    :param orientation: ``"row"`` or ``"column"``.
    :param compresstype: ``"none"``, ``"zlib"``, ``"zstd"``, ``"rle_type"`` (column only) or ``"quicklz"``
        (some builds of 6 only).
    :param compresslevel: zlib 1–9, zstd 1–19, rle_type 1–4, quicklz 1; ``None`` takes 1, or 0 without compression.
    :param blocksize: bytes, 8192 to 2097152 in steps of 8192; ``None`` takes the server's 32768.
    :param checksum: whether blocks carry checksums, as every server does unless told not to.
    :raises OptionError: naming the option, the value and what is allowed.
    """

    orientation: Literal["row", "column"] = "row"
    compresstype: str = "none"
    compresslevel: int | None = None
    blocksize: int | None = None
    checksum: bool = True

    def __post_init__(self) -> None:
        if self.orientation not in ("row", "column"):
            raise OptionError(f"AppendOptimized orientation={self.orientation!r}: allowed are 'row' and 'column'")
        level, blocksize = _compression("AppendOptimized", self.compresstype, self.compresslevel, self.blocksize)
        if self.compresstype == "rle_type" and self.orientation != "column":
            raise OptionError("AppendOptimized compresstype='rle_type' needs orientation='column'")
        object.__setattr__(self, "compresslevel", level)
        object.__setattr__(self, "blocksize", blocksize)

    def __repr__(self) -> str:
        checksum = "" if self.checksum else ", checksum=False"
        return (
            f"AppendOptimized(orientation={self.orientation!r}, compresstype={self.compresstype!r}, "
            f"compresslevel={self.compresslevel!r}, blocksize={self.blocksize!r}{checksum})"
        )

    @property
    def encoding(self) -> Encoding:
        """How columns without an encoding of their own are stored."""
        return Encoding(compresstype=self.compresstype, compresslevel=self.compresslevel, blocksize=self.blocksize)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """``ENCODING (…)`` of one column of a column-oriented table: ``Column(…, greenplum_encoding=Encoding(…))``.

    :param compresstype: ``"none"``, ``"zlib"``, ``"zstd"``, ``"rle_type"`` or ``"quicklz"`` (some builds of 6 only).
    :param compresslevel: as of :class:`AppendOptimized`.
    :param blocksize: bytes, 8192 to 2097152 in steps of 8192; ``None`` is 32768, whatever the table's is.
    :raises OptionError: naming the option, the value and what is allowed.
    """

    compresstype: str = "none"
    compresslevel: int | None = None
    blocksize: int | None = None

    def __post_init__(self) -> None:
        level, blocksize = _compression("Encoding", self.compresstype, self.compresslevel, self.blocksize)
        object.__setattr__(self, "compresslevel", level)
        object.__setattr__(self, "blocksize", blocksize)

    @property
    def settings(self) -> dict[str, Any]:
        """As the server keeps it: nothing left to a default."""
        return {
            "compresstype": self.compresstype,
            "compresslevel": self.compresslevel,
            "blocksize": self.blocksize or DEFAULT_BLOCKSIZE,
        }


Storage = Heap | AppendOptimized
