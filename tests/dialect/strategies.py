"""Hypothesis strategies for table options."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from gpwarehouse.dialect import (
    AppendOptimized,
    CsvFormat,
    CustomFormat,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    ExternalTable,
    Heap,
    ListPartition,
    ListPartitions,
    RangePartition,
    RangePartitions,
    RejectLimit,
    TextFormat,
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
    st.just(DistributedBy("v", "k", opclasses={"k": "cdbhash_int8_ops"})),
)

blocksizes = st.sampled_from([None, 8192, 32768, 65536, 2097152])


@st.composite
def append_optimized(draw: st.DrawFn) -> AppendOptimized:
    orientation = draw(st.sampled_from(["row", "column"]))
    kind = draw(st.sampled_from([k for k in levels if k != "rle_type" or orientation == "column"]))
    return AppendOptimized(
        orientation="column" if orientation == "column" else "row",
        compresstype=kind,
        compresslevel=draw(st.integers(*levels[kind])),
        blocksize=draw(blocksizes),
        checksum=draw(st.booleans()),
    )


storages = st.one_of(st.just(Heap()), append_optimized())


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    kind = draw(st.sampled_from(sorted(levels)))
    return Encoding(compresstype=kind, compresslevel=draw(st.integers(*levels[kind])), blocksize=draw(blocksizes))


@st.composite
def month_partitions(draw: st.DrawFn, column: str = "ts") -> RangePartitions:
    start = datetime(draw(st.integers(1990, 2090)), draw(st.integers(1, 12)), 1, tzinfo=UTC)
    parts = []
    for number in range(draw(st.integers(1, 4))):
        end = month_after(start)
        parts.append(RangePartition(f"p{number}_{start:%Y%m}", start, end))
        start = month_after(end) if draw(st.booleans()) else end
    return RangePartitions(column, tuple(parts))


texts = st.text("abzÅ' %\\,(\"", min_size=1, max_size=6)
numbers = st.integers(-(2**31), 2**31 - 1)
decimals = st.decimals(-9999, 9999, places=2, allow_nan=False)
dates = st.dates(date(1, 1, 1), date(9999, 12, 30))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))

BY_COLUMN: dict[str, st.SearchStrategy[Any]] = {"i": numbers, "n": decimals, "d": dates, "ts": moments}
defaults = st.sampled_from([None, None, "rest", "All The Rest"])


@st.composite
def range_partitions(draw: st.DrawFn) -> RangePartitions:
    """Ranges over any type of column, with gaps, open ends and default partitions."""
    column = draw(st.sampled_from(sorted(BY_COLUMN)))
    bounds = sorted(draw(st.lists(BY_COLUMN[column], min_size=2, max_size=5, unique=True)))
    parts = [RangePartition(f"r{number}", *pair) for number, pair in enumerate(pairwise(bounds))]
    kept = [part for part in parts if draw(st.booleans())] or parts[:1]
    if draw(st.booleans()):
        kept.append(RangePartition("Before", None, bounds[0]))
    if draw(st.booleans()):
        kept.append(RangePartition("after", bounds[-1], None))
    return RangePartitions(column, tuple(kept), draw(defaults))


@st.composite
def text_ranges(draw: st.DrawFn) -> RangePartitions:
    """Texts that every collation orders alike."""
    bounds = sorted(draw(st.lists(st.text("abcdefgh", min_size=1, max_size=1), min_size=2, max_size=4, unique=True)))
    parts = tuple(RangePartition(f"t{number}", *pair) for number, pair in enumerate(pairwise(bounds)))
    return RangePartitions("v", parts, draw(defaults))


@st.composite
def list_partitions(draw: st.DrawFn) -> ListPartitions:
    kind: st.SearchStrategy[Any]
    column, kind = draw(st.sampled_from([("v", texts), ("i", numbers), ("d", dates), ("n", decimals)]))
    values: list[Any] = draw(st.lists(kind | st.none(), min_size=1, max_size=6, unique=True))
    cut = draw(st.integers(1, len(values)))
    parts = [ListPartition("one", tuple(values[:cut]))]
    parts += [ListPartition(f"Z {number}", (value,)) for number, value in enumerate(values[cut:])]
    return ListPartitions(column, tuple(parts), draw(defaults))


partitionings = st.one_of(month_partitions(), range_partitions(), text_ranges(), list_partitions())

characters = st.sampled_from(["|", ";", "%", "'", "\\", '"', "!"])
nulls = st.sampled_from(["", "\\N", "NULL", "n/a", "it's"])


@st.composite
def text_formats(draw: st.DrawFn) -> TextFormat:
    delimiter, escape = draw(st.lists(st.sampled_from(["|", ";", "\t", "~", "!"]), min_size=2, max_size=2, unique=True))
    return TextFormat(
        delimiter=delimiter,
        null=draw(st.sampled_from(["", "\\N", "NULL", "n a"])),
        escape=draw(st.sampled_from(["\\", escape])),
        newline=draw(st.sampled_from([None, "LF", "CRLF"])),
        header=draw(st.booleans()),
        fill_missing_fields=draw(st.booleans()),
    )


@st.composite
def csv_formats(draw: st.DrawFn) -> CsvFormat:
    return CsvFormat(
        delimiter=draw(st.sampled_from([",", ";", "|", "\t"])),
        null=draw(st.sampled_from(["", "NULL", "n a"])),
        quote=draw(st.sampled_from(['"', "'"])),
        escape=draw(st.sampled_from(['"', "'", "\\"])),
        newline=draw(st.sampled_from([None, "LF"])),
        header=draw(st.booleans()),
        fill_missing_fields=draw(st.booleans()),
        force_not_null=draw(st.sampled_from([(), ("t",), ("k", "Text Two")])),
    )


custom_formats = st.just(CustomFormat("fixedwidth_in", {"k": "4", "t": "10"}))


@st.composite
def external_tables(draw: st.DrawFn) -> ExternalTable:
    """Readable ones, over URLs or a command."""
    limit = draw(st.none() | st.builds(RejectLimit, st.integers(2, 1000)) | st.just(RejectLimit(7, "percent")))
    urls = ("gpfdist://localhost:8081/a*.txt", "gpfdist://localhost:8082/b c%20.txt")
    command = draw(st.none() | st.sampled_from(["echo 1", "printf '%s' \"it's\" | sort"]))
    on = "all" if command is None else draw(st.sampled_from(["all", "coordinator", "host", "2", "segment 1"]))
    return ExternalTable(
        location=urls[: draw(st.integers(1, 2))] if command is None else (),
        command=command,
        on=on,
        format=draw(text_formats() | csv_formats() | custom_formats),
        log_errors=draw(st.sampled_from([False, True, "persistently"])) if limit and on != "coordinator" else False,
        reject_limit=limit,
        encoding=draw(st.sampled_from(["UTF8", "LATIN1"])),
    )


writable_tables = st.builds(
    ExternalTable,
    location=st.just(("gpfdist://localhost:8081/out.txt",)),
    writable=st.just(True),
    format=st.sampled_from([TextFormat(delimiter=";"), CsvFormat(force_quote=("t",)), CustomFormat("fixedwidth_out")]),
    encoding=st.just("UTF8"),
)

steps = st.sampled_from([timedelta(hours=6), timedelta(days=7)])
widths = st.sampled_from([1, 10, Decimal("0.5")])
