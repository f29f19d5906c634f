from __future__ import annotations

import datetime
from datetime import UTC, date
from typing import Any

import pytest
from hypothesis import given

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,  # noqa: F401
    DistributedReplicated,  # noqa: F401
    GpwarehouseError,
    Heap,  # noqa: F401
    OptionError,
    RangePartition,
    RangePartitions,
)
from gpwarehouse.dialect.options import bound_literal, missing_partitions, month_after, month_partition
from tests.dialect.strategies import distributions, month_partitions, storages


@given(distributions)
def test_a_distribution_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(storages)
def test_a_storage_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


@given(month_partitions())
def test_a_partitioning_is_the_value_of_its_repr(value: Any) -> None:
    assert eval(repr(value)) == value


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
        (lambda: RangePartition("M1", 1, 2), "lower-case"),
        (lambda: RangePartition("m1", 2, 1), "before"),
        (lambda: RangePartition("m1", date(2026, 1, 1), 5), "of the type of"),
        (lambda: RangePartition("m1", datetime.datetime(2026, 1, 1), datetime.datetime(2026, 2, 1)), "naive"),
        (lambda: RangePartitions("ts", (RangePartition("a", 1, 3), RangePartition("b", 2, 4))), "overlap"),
        (lambda: RangePartitions("ts", (RangePartition("a", 1, 3), RangePartition("a", 3, 4))), "share a name"),
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
    wanted = [month_partition(datetime.datetime(2027, 1, 5, tzinfo=UTC)), month_partition(year.start)]
    assert [p.name for p in missing_partitions([year], wanted)] == ["m202701"]


def test_two_partitionings_are_of_one_scheme_whatever_their_partitions() -> None:
    one = RangePartitions.monthly("ts", first="2026-01")
    assert one.same_scheme(RangePartitions.monthly("ts", first="2020-01", months=5))
    assert not one.same_scheme(RangePartitions("other"))
    assert not one.same_scheme(None)
