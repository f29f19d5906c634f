"""Hypothesis strategies for table options."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Heap,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.options import month_after

COLUMNS = ("k", "Second Key", "ts", "v")

levels = {"none": (0, 0), "zlib": (1, 9), "zstd": (1, 19), "rle_type": (1, 4)}

distributions = st.one_of(
    st.just(DistributedRandomly()),
    st.just(DistributedReplicated()),
    st.sampled_from([("k",), ("Second Key",), ("k", "Second Key"), ("v", "k")]).map(
        lambda names: DistributedBy(*names)
    ),
)


@st.composite
def append_optimized(draw: st.DrawFn) -> AppendOptimized:
    orientation = draw(st.sampled_from(["row", "column"]))
    kind = draw(st.sampled_from([k for k in levels if k != "rle_type" or orientation == "column"]))
    level = draw(st.integers(*levels[kind]))
    blocksize = draw(st.sampled_from([None, 8192, 65536, 2097152]))
    return AppendOptimized(orientation=orientation, compresstype=kind, compresslevel=level, blocksize=blocksize)


storages = st.one_of(st.just(Heap()), append_optimized())


@st.composite
def month_partitions(draw: st.DrawFn, column: str = "ts") -> RangePartitions:
    start = datetime(draw(st.integers(1990, 2090)), draw(st.integers(1, 12)), 1, tzinfo=UTC)
    parts = []
    for number in range(draw(st.integers(1, 4))):
        end = month_after(start)
        parts.append(RangePartition(f"p{number}_{start:%Y%m}", start, end))
        start = month_after(end) if draw(st.booleans()) else end
    return RangePartitions(column, tuple(parts))
