from __future__ import annotations

import datetime
from datetime import UTC, date
from decimal import Decimal  # noqa: F401
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from sqlalchemy import MetaData, Table

from gpwarehouse.dialect import (
    AppendOptimized,
    CsvFormat,
    CustomFormat,
    DistributedBy,
    DistributedRandomly,  # noqa: F401
    DistributedReplicated,  # noqa: F401
    Encoding,
    ExternalTable,
    GpwarehouseError,
    Heap,  # noqa: F401
    ListPartition,
    ListPartitions,
    OptionError,
    RangePartition,
    RangePartitions,
    RejectLimit,
    SplitPartition,
    TextFormat,
)
from gpwarehouse.dialect.options import bound_literal, missing_partitions, month_after, month_partition
from tests.dialect import strategies
from tests.dialect.strategies import distributions, external_tables, partitionings, storages, writable_tables


@given(distributions)
def test_a_distribution_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(storages)
def test_a_storage_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(partitionings)
def test_a_partitioning_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(strategies.encodings())
def test_an_encoding_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(external_tables() | writable_tables)
def test_an_external_table_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


def test_a_blocksize_said_or_left_to_the_server_is_the_same_storage() -> None:
    assert AppendOptimized(blocksize=32768) == AppendOptimized()
    assert repr(AppendOptimized(orientation="column")) == (
        "AppendOptimized(orientation='column', compresstype='none', compresslevel=0, blocksize=None)"
    )


def test_ranges_of_any_width_are_written_out() -> None:
    quarters = RangePartitions.monthly("d", first="2025-11", months=2, every=3, bounds=date)
    assert [(p.name, p.start, p.end) for p in quarters.partitions] == [
        ("m202511", date(2025, 11, 1), date(2026, 2, 1)),
        ("m202602", date(2026, 2, 1), date(2026, 5, 1)),
    ]
    days = RangePartitions.daily("d", first="2024-02-28", days=3)
    assert [p.name for p in days.partitions] == ["d20240228", "d20240229", "d20240301"]
    assert days.partitions[2].end == datetime.datetime(2024, 3, 2, tzinfo=UTC)
    tens = RangePartitions.every("n", start=-10, step=10, count=2)
    assert tens.partitions == (RangePartition("p1", -10, 0), RangePartition("p2", 0, 10))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DistributedBy(), "one or more column names"),
        (lambda: DistributedBy("a", "a"), "named twice"),
        (lambda: DistributedBy(""), "one or more column names"),
        (lambda: AppendOptimized(orientation="diagonal"), "'row' and 'column'"),  # type: ignore[arg-type]
        (lambda: AppendOptimized(compresstype="lz4"), "zstd"),
        (lambda: AppendOptimized(compresstype="zlib", compresslevel=10), "1 to 9"),
        (lambda: AppendOptimized(compresstype="zstd", compresslevel=0), "1 to 19"),
        (lambda: AppendOptimized(compresstype="none", compresslevel=1), "0 to 0"),
        (lambda: AppendOptimized(compresstype="rle_type"), "orientation='column'"),
        (lambda: AppendOptimized(blocksize=10000), "steps of 8192"),
        (lambda: AppendOptimized(blocksize=4194304), "2097152"),
        (lambda: RangePartition("", 1, 2), "1 to 63 bytes"),
        (lambda: RangePartition("m1", None, None), "give start or end"),
        (lambda: RangePartition("m1", 2, 1), "before"),
        (lambda: RangePartition("m1", date(2026, 1, 1), 5), "of the type of"),
        (lambda: RangePartition("m1", datetime.datetime(2026, 1, 1), datetime.datetime(2026, 2, 1)), "naive"),
        (lambda: RangePartitions("ts", (RangePartition("a", 1, 3), RangePartition("b", 2, 4))), "overlap"),
        (lambda: RangePartitions("ts", (RangePartition("a", 1, 3), RangePartition("a", 3, 4))), "share a name"),
        (lambda: DistributedBy("a", opclasses={"b": "x"}), "no columns of the key"),
        (lambda: Encoding(compresstype="lz4"), "Encoding compresstype='lz4'"),
        (lambda: Encoding(compresstype="rle_type", compresslevel=5), "1 to 4"),
        (lambda: ListPartition("a", ()), "one or more values"),
        (lambda: ListPartition("a", "abc"), "tuple"),  # type: ignore[arg-type]
        (lambda: ListPartition("a", (1, 1)), "twice"),
        (lambda: ListPartitions("c", (ListPartition("a", (1,)), ListPartition("b", (1,)))), "'a' and 'b'"),
        (lambda: ListPartitions("c", (ListPartition("a", (1,)),), default="a"), "share a name"),
        (lambda: RangePartitions("c", (RangePartition("a", None, 3), RangePartition("b", None, 4))), "overlap"),
        (lambda: RangePartitions("c", (RangePartition("a", 1, None), RangePartition("b", 4, 5))), "overlap"),
        (lambda: RangePartitions("c", (RangePartition("a", 1, 2), RangePartition("b", "4", "5"))), "two types"),
        (lambda: RangePartitions.daily("d", first="2026-02-30"), "YYYY-MM-DD"),
        (lambda: RangePartitions.every("n", start=1, step=0), "step above zero"),
        (lambda: ExternalTable(), "either location"),
        (lambda: ExternalTable(location=("x://a",), command="ls"), "and not both"),
        (lambda: ExternalTable(location=("nowhere",)), "with a protocol"),
        (lambda: ExternalTable(command="ls", on="moon"), "'segment <number>'"),
        (lambda: ExternalTable(command="ls", log_errors=True), "needs reject_limit"),
        (
            lambda: ExternalTable(command="ls", on="coordinator", log_errors=True, reject_limit=RejectLimit(2)),
            "on='segment 0'",
        ),
        (lambda: ExternalTable(location=("file://a/b",), writable=True), "can only be read with"),
        (lambda: ExternalTable(command="cat", writable=True, format=CsvFormat(header=True)), "header"),
        (lambda: ExternalTable(command="ls", format=CsvFormat(force_quote=("a",))), "is for writing"),
        (lambda: ExternalTable(command="ls", format="CSV"), r"give TextFormat\(…\)"),  # type: ignore[arg-type]
        (lambda: TextFormat(newline="\n"), "LF, CR, CRLF"),
        (lambda: TextFormat(delimiter=""), "one character"),
        (lambda: CustomFormat("no name"), "formatter function"),
        (lambda: RejectLimit(1), "2 or more 'rows'"),
        (lambda: RejectLimit(101, "percent"), "1 to 100 'percent'"),
        (lambda: RangePartitions.monthly("ts", first="2026-13"), "YYYY-MM"),
        (lambda: RangePartitions.monthly("ts", first="2026-01", months=0), "1 or more"),
    ],
)
def test_a_wrong_option_fails_where_it_is_written_and_says_what_is_allowed(make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()


def test_an_option_error_is_ours_and_sqlalchemys() -> None:
    from sqlalchemy.exc import ArgumentError

    assert issubclass(OptionError, GpwarehouseError)
    assert issubclass(OptionError, ArgumentError)


def test_months_are_written_out_in_utc_across_a_year() -> None:
    months = RangePartitions.monthly("ts", first="2025-11", months=3).partitions
    assert [m.name for m in months] == ["m202511", "m202512", "m202601"]
    assert bound_literal(months[2].start) == "'2026-01-01 00:00:00+00'"
    assert months[1].end == months[2].start


def test_a_bound_in_another_zone_is_written_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert bound_literal(datetime.datetime(2026, 1, 1, 9, tzinfo=zone)) == "'2026-01-01 00:00:00+00'"


def test_the_month_of_a_moment_is_its_month_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert month_partition(datetime.datetime(2026, 3, 1, 8, tzinfo=zone)).name == "m202602"
    assert month_after(datetime.datetime(2025, 12, 31, 23, tzinfo=UTC)) == datetime.datetime(2026, 1, 1, tzinfo=UTC)


def test_a_text_bound_is_quoted() -> None:
    assert bound_literal("O'Brien") == "'O''Brien'"


def test_only_partitions_whose_range_nobody_holds_are_missing() -> None:
    year = RangePartition("y", datetime.datetime(2026, 1, 1, tzinfo=UTC), datetime.datetime(2027, 1, 1, tzinfo=UTC))
    first = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    wanted = [month_partition(datetime.datetime(2027, 1, 5, tzinfo=UTC)), month_partition(first)]
    assert [p.name for p in missing_partitions([year], wanted)] == ["m202701"]


def test_two_partitionings_are_of_one_scheme_whatever_their_partitions() -> None:
    one = RangePartitions.monthly("ts", first="2026-01")
    assert one.same_scheme(RangePartitions.monthly("ts", first="2020-01", months=5))
    assert not one.same_scheme(RangePartitions("other"))
    assert not one.same_scheme(None)


def test_a_moment_of_any_zone_is_kept_in_utc_and_an_enumeration_as_its_value() -> None:
    class Site(StrEnum):
        NORTH = "north"

    taipei = datetime.datetime(2026, 1, 1, 8, tzinfo=ZoneInfo("Asia/Taipei"))
    partition = RangePartition("p", taipei, None)
    assert partition == RangePartition("p", datetime.datetime(2026, 1, 1, tzinfo=UTC), None)
    assert eval(repr(partition)) == partition
    assert repr(ListPartition("p", (Site.NORTH,))) == repr(ListPartition("p", ("north",)))


@pytest.mark.parametrize("value", [UUID(int=1), 1.5, b"x", datetime.time(1), object()])
def test_a_bound_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"ListPartition 'p' value .* cannot be a bound; give text, a whole number"):
        ListPartition("p", (value,))
    with pytest.raises(OptionError, match=r"RangePartition 'p' start .* cannot be a bound"):
        RangePartition("p", value, None)


def test_where_a_partition_is_kept_is_no_part_of_its_value() -> None:
    assert RangePartition("p", 1, 2, child="attached") == RangePartition("p", 1, 2)
    assert repr(ListPartition("p", (1,), child="attached")) == repr(ListPartition("p", (1,)))


def test_months_and_days_of_a_timestamp_without_zone_are_text() -> None:
    months = RangePartitions.monthly("ts", first="2026-01", bounds=str)
    assert months.partitions == (RangePartition("m202601", "2026-01-01 00:00:00", "2026-02-01 00:00:00"),)
    days = RangePartitions.daily("ts", first="2026-01-31", days=2, bounds=str)
    assert [p.end for p in days.partitions] == ["2026-02-01 00:00:00", "2026-02-02 00:00:00"]


def test_steps_of_parts_of_a_day_are_refused_from_a_date() -> None:
    with pytest.raises(OptionError, match="in whole days from a date"):
        RangePartitions.every("d", start=date(2026, 1, 1), step=datetime.timedelta(hours=36), count=2)


@pytest.mark.parametrize("wrong", [{"compresslevel": 1.0}, {"compresslevel": True}, {"compresslevel": "5"}])
def test_a_level_that_is_no_whole_number_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="AppendOptimized compresslevel="):
        AppendOptimized(compresstype="zstd", **wrong)


def test_a_bound_to_split_at_needs_a_zone() -> None:
    with pytest.raises(OptionError, match=r"table 't': SplitPartition at .* naive datetime"):
        SplitPartition(Table("t", MetaData()), "p", datetime.datetime(2026, 1, 15), ("a", "b"))
