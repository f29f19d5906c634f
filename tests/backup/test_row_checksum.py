"""The checksum of rows: the same whatever the order and the pieces, another for every other value; and it stays what it is."""

from __future__ import annotations

import math
import struct
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gpwarehouse.backup.row_checksum import LONG, content_of_rows, sum_contents
from gpwarehouse.partitions.archive import NOTHING

SCHEMA = pa.schema(
    [
        ("n", pa.int64()), ("small", pa.int16()), ("x", pa.float64()), ("y", pa.float32()), ("t", pa.string()),
        ("b", pa.bool_()), ("at", pa.timestamp("us", tz="UTC")), ("u", pa.string()),
    ]
)  # fmt: skip
TEXTS = st.none() | st.text(max_size=40) | st.integers(LONG - 2, LONG + 2).map(lambda n: "x" * n)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(-(2**15), 2**15 - 1), st.none() | st.floats(),
        st.none() | st.floats(width=32), TEXTS, st.none() | st.booleans(), st.none() | st.integers(-(2**62), 2**62), TEXTS,
    ),
    max_size=20,
)  # fmt: skip


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in SCHEMA]
    return pa.table([pa.array(list(c), field.type) for c, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as values that are equal if and only if the checksum takes them for equal."""
    return tuple(
        ("nan" if math.isnan(v) else struct.pack("<d", v)) if isinstance(v, float) else (type(v).__name__, v)
        for v in row
    )


@given(ROWS, st.randoms(), st.integers(0, 20))
def test_order_and_pieces_do_not_matter(rows: list[tuple[Any, ...]], random: Any, cut: int) -> None:
    whole = content_of_rows(table(rows))
    mixed = list(rows)
    random.shuffle(mixed)
    one, other = table(mixed).slice(0, cut), table(mixed).slice(cut)
    assert sum_contents(content_of_rows(one), content_of_rows(other)) == whole
    assert whole.rows == len(rows)
    padded = pa.concat_tables([table([(1, 1, 1.0, 1.0, "é", True, 1, "")] * 3), table(rows)]).combine_chunks()
    assert content_of_rows(padded.slice(3)) == whole


@given(ROWS, ROWS)
def test_other_rows_have_another_checksum(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    same = sorted(map(repr, map(plain, one))) == sorted(map(repr, map(plain, other)))
    assert (content_of_rows(table(one)) == content_of_rows(table(other))) is same


def test_the_definition_stays() -> None:
    rows: list[tuple[Any, ...]] = [
        (1, -2, 0.1, -0.0, "", True, 0, "Ä"),
        (None, None, None, None, None, None, None, None),
        (-(2**63), 7, float("nan"), 1.5, "12345678", False, 1_700_000_000_000_000, "x" * 600),
    ]
    assert content_of_rows(table(rows)).text == "41dc149562aefdb6-1dbb9f99be21e614"
    assert content_of_rows(table([])) == NOTHING


LISTS = st.lists(
    st.none() | st.lists(st.none() | st.sampled_from([0.0, -0.0, math.nan, 1.5, 2.0]), max_size=3), max_size=8
)


def table_of_lists(lists: list[list[float | None] | None]) -> pa.Table:
    return pa.table({"n": pa.array([7] * len(lists), pa.int64()), "m": pa.array(lists, pa.list_(pa.float64()))})


def plain_lists(lists: list[list[float | None] | None]) -> list[str]:
    return sorted(map(repr, lists))


@given(LISTS, LISTS, st.randoms())
def test_lists_count_by_their_values_and_the_places_of_these(
    one: list[list[float | None] | None], other: list[list[float | None] | None], random: Any
) -> None:
    content = content_of_rows(table_of_lists(one))
    assert (content == content_of_rows(table_of_lists(other))) is (plain_lists(one) == plain_lists(other))
    mixed = list(one)
    random.shuffle(mixed)
    padded = pa.concat_tables([table_of_lists([[9.0], None]), table_of_lists(mixed)]).combine_chunks()
    assert content_of_rows(padded.slice(2)) == content


def test_the_definition_for_lists_stays() -> None:
    lists: list[list[float | None] | None] = [[1.0, math.nan, -0.0], [], None, [None, 0.1]]
    assert content_of_rows(table_of_lists(lists)).text == "83faf9ccc7728e2e-86e00761d47c673a"
