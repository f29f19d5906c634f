"""Every type that comes in means the same from every container, with a bad row beside it; what is not understood is refused."""

from __future__ import annotations

import enum
import fractions
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.arrow_texts import text_of
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.given_columns import named_apart
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.row_checks import Validator
from gpwarehouse.intake.target import target_named
from tests.load.rows import MEASUREMENTS, NOON, measurement, stored

TARGET = target_named(MEASUREMENTS)
ID = UUID(int=5)
NANOS = pd.Timestamp("2024-03-05T12:00:00.123456789Z")
CUT = datetime(2024, 3, 5, 12, 0, 0, 123456, UTC)
DIGITS = Decimal("12345678901234567890.12")
MAP = pa.map_(pa.string(), pa.float64())


def runs(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    array = pa.array(values, kind)
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), array)


def dictionary(indices: list[int | None], values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values)


def extension(kind: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


# Name → the column it goes to, three values, what is stored of the first and the last.
GIVEN: dict[str, tuple[str, pa.Array, list[Any]]] = {
    "string": ("spc_rule", pa.array(["a", "b", None]), ["a", None]),
    "large_string": ("spc_rule", pa.array(["a", "b", ""], pa.large_string()), ["a", ""]),
    "string_view": ("spc_rule", pa.array(["a", "b", None], pa.string_view()), ["a", None]),
    "binary": ("spc_rule", pa.array([b"a", b"b", "é".encode()]), ["a", "é"]),
    "large_binary": ("spc_rule", pa.array([b"a", b"b", None], pa.large_binary()), ["a", None]),
    "binary_view": ("spc_rule", pa.array([b"a", b"b", None], pa.binary_view()), ["a", None]),
    "fixed_size_binary": ("spc_rule", pa.array([b"a", b"b", None], pa.binary(1)), ["a", None]),
    "uuid": ("spc_rule", extension(pa.uuid(), pa.array([ID.bytes, ID.bytes, None], pa.binary(16))), [str(ID), None]),
    "dictionary": ("spc_rule", dictionary([0, 1, None], pa.array(["a", "b"])), ["a", None]),
    "null in the dictionary": ("spc_rule", dictionary([0, 1, 1], pa.array(["a", None])), ["a", None]),
    "dictionary of a dictionary": (
        "spc_rule", dictionary([1, 0, None], dictionary([0, 1], pa.array(["b", "a"]))), ["a", None],
    ),
    "dictionary of views": ("spc_rule", dictionary([0, 1, None], pa.array(["a", "b"], pa.string_view())), ["a", None]),
    "dictionary of times": (
        "start_ts", dictionary([0, 0, None], pa.array([CUT], pa.timestamp("us", "UTC"))), [CUT, None],
    ),
    "runs": ("spc_rule", runs(["a", "b", None]), ["a", None]),
    "runs of a dictionary": (
        "spc_rule",
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), dictionary([0, None], pa.array(["a"]))),
        ["a", None],
    ),
    "runs of views": ("spc_rule", runs(["a", "b", None], pa.string_view()), ["a", None]),
    "bool": ("is_ooc", pa.array([True, False, None]), [True, None]),
    "bool8": ("is_ooc", extension(pa.bool8(), pa.array([2, 0, None], pa.int8())), [True, None]),
    "bool8 as text": ("spc_rule", extension(pa.bool8(), pa.array([1, 0, None], pa.int8())), ["true", None]),
    "int8": ("sample_n", pa.array([1, 2, None], pa.int8()), [1, None]),
    "uint64": ("sample_n", pa.array([1, 2, None], pa.uint64()), [1, None]),
    "float16": ("cd_nm", pa.array([np.float16(0.5), np.float16(1), None], pa.float16()), [0.5, None]),
    "float32": ("cd_nm", pa.array([0.1, 1, float("nan")], pa.float32()), [float(np.float32(0.1)), None]),
    "decimal32": ("cd_nm", pa.array([Decimal("0.1"), Decimal(1), None], pa.decimal32(5, 1)), [0.1, None]),
    "decimal64": ("spc_rule", pa.array([Decimal("2.5"), Decimal(1), None], pa.decimal64(10, 1)), ["2.5", None]),
    "decimal128": ("spc_rule", pa.array([DIGITS, Decimal(1), None], pa.decimal128(38, 2)), [str(DIGITS), None]),
    "decimal256": ("sample_n", pa.array([Decimal(7), Decimal(1), None], pa.decimal256(50, 2)), [7, None]),
    "null": ("spc_rule", pa.nulls(3), [None, None]),
    "date32": ("spc_rule", pa.array([date(2024, 3, 5), date(2024, 3, 6), None]), ["2024-03-05", None]),
    "date64": ("spc_rule", pa.array([date(2024, 3, 5), date(2024, 3, 6), None], pa.date64()), ["2024-03-05", None]),
    "time32": ("spc_rule", pa.array([time(1, 2, 3), time(4), None], pa.time32("s")), ["01:02:03.000000", None]),
    "time64": ("spc_rule", pa.array([1_000_000_999, 0, None], pa.time64("ns")), ["00:00:01.000000", None]),
    "seconds": ("start_ts", pa.array([NOON, NOON, None], pa.timestamp("s", "UTC")), [NOON, None]),
    "seconds as text": (
        "spc_rule", pa.array([NOON, NOON, None], pa.timestamp("s", "UTC")), ["2024-03-05 12:00:00.000000Z", None],
    ),
    "nanoseconds": ("start_ts", pa.array([NANOS, NANOS, None], pa.timestamp("ns", "Asia/Taipei")), [CUT, None]),
    "nanoseconds as text": (
        "spc_rule", pa.array([NANOS, NANOS, None], pa.timestamp("ns", "UTC")), ["2024-03-05 12:00:00.123456Z", None],
    ),
    "struct": ("parameters", pa.array([{"a": 1.5, "b": None}, {"a": 2}, None]), [{"a": 1.5}, None]),
    "map": ("parameters", pa.array([[("a", 1.0)], [], None], MAP), [{"a": 1.0}, None]),
    "struct of maps": (
        "parameters", pa.array([{"m": [("a", 1.0)]}, {"m": []}, None], pa.struct([("m", MAP)])), [{"m": {"a": 1.0}}, None],
    ),
    "map of maps": (
        "parameters", pa.array([[("m", [("a", 1.0)])], [], None], pa.map_(pa.string(), MAP)), [{"m": {"a": 1.0}}, None],
    ),
    "struct of lists": (
        "parameters",
        pa.array(
            [{"a": [1], "b": [2], "c": [3], "d": [[("k", 4.0)]]}, None, {}],
            pa.struct([("a", pa.large_list(pa.int8())), ("b", pa.list_view(pa.int8())), ("c", pa.list_(pa.int8(), 1)),
                       ("d", pa.list_(MAP))]),
        ),
        [{"a": [1], "b": [2], "c": [3], "d": [{"k": 4.0}]}, {}],
    ),
    "struct of scalars": (
        "parameters",
        pa.array(
            [{"d": DIGITS, "t": NANOS, "v": "x", "f": 0.1, "y": date(2024, 3, 5), "c": time(1)}, None, None],
            pa.struct([("d", pa.decimal128(38, 2)), ("t", pa.timestamp("ns", "UTC")), ("v", pa.string_view()),
                       ("f", pa.float32()), ("y", pa.date32()), ("c", pa.time64("us"))]),
        ),
        [{"d": DIGITS, "t": "2024-03-05T12:00:00.123456+00:00", "v": "x", "f": Decimal(repr(float(np.float32(0.1)))),
          "y": "2024-03-05", "c": "01:00:00"}, None],
    ),
    "json": ("parameters", extension(pa.json_(), pa.array(['{"a": 1}', "{}", None])), [{"a": 1}, None]),
    "json in bytes": ("parameters", pa.array([b'{"a": 1}', b"{}", None]), [{"a": 1}, None]),
    "json in a dictionary": ("parameters", dictionary([0, 0, None], pa.array(['{"a": 1}'])), [{"a": 1}, None]),
}  # fmt: skip


def in_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def in_numpy(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas()


def in_dicts(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist(maps_as_pydicts="strict")  # type: ignore[no-any-return]


def in_objects(table: pa.Table) -> pd.DataFrame:
    rows = in_dicts(table)
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in table.column_names})


def in_nullable(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas().convert_dtypes()


def in_polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def in_batch(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.to_batches()
    return batch


def in_parquet(table: pa.Table, folder: Path) -> Path:
    pq.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def in_ipc(table: pa.Table, folder: Path) -> Path:
    with pa.ipc.new_file(folder / "a.arrow", table.schema) as file:
        file.write(table)
    return folder / "a.arrow"


CONTAINERS: dict[str, Callable[..., Any]] = {
    "table": lambda table: table,
    "batch": in_batch,
    "reader": lambda table: table.to_reader(),
    "dataset": ds.dataset,
    "pandas": in_pandas,
    "numpy": in_numpy,
    "objects": in_objects,
    "nullable": in_nullable,
    "dicts": in_dicts,
    "polars": in_polars,
    "parquet": in_parquet,
    "ipc": in_ipc,
}
_ENCODED = {"null in the dictionary", "dictionary of a dictionary", "runs of a dictionary", "runs of views"}
_BY_NUMPY = {
    *_ENCODED, "dictionary of times", "bool8", "bool8 as text", "time64", "map", "struct of maps", "map of maps",
    "struct of lists", "struct of scalars",
}  # fmt: skip
CANNOT: dict[str, set[str]] = {
    "polars": {"runs", "runs of a dictionary", "runs of views", "dictionary of a dictionary", "struct of lists",
               "decimal256", "date64", "uuid"},
    "parquet": {*_ENCODED, "runs", "dictionary of views"},
    "ipc": {"dictionary of a dictionary"},
    "numpy": {*_BY_NUMPY, "int8", "uint64"},
    "nullable": _BY_NUMPY,
}  # fmt: skip
"""What the container's own library does not take from Arrow, or makes something else of before we see it."""
PAIRS = [(name, container) for name in GIVEN for container in CONTAINERS if name not in CANNOT.get(container, ())]


def put(table: pa.Table, container: str, folder: Path) -> Any:
    return CONTAINERS[container](table, *([folder] if container in ("parquet", "ipc") else []))


def beside_a_bad_row(column: str, array: pa.Array) -> pa.Table:
    """Three rows of which the second cannot be loaded, whatever the column holds."""
    rows = pa.Table.from_pylist([measurement(slot=slot) for slot in (1, -1, 3)])
    return rows.append_column(column, array)


def checked(frame: Any) -> tuple[pa.Table, list[Reject]]:
    """The good rows and the rejects of a frame."""
    validator = Validator(TARGET, earliest=datetime(1990, 1, 1, tzinfo=UTC), latest=datetime(2030, 1, 1, tzinfo=UTC))
    clean, rejects, first = [], [], 1
    for batch in record_batches(frame, TARGET.json_columns):
        batch, _ = named_apart(batch)
        found = validator.check(batch, first)
        first += batch.num_rows
        clean.append(found.clean)
        rejects += found.rejects
    return pa.Table.from_batches(clean), rejects


def as_text(value: Any) -> str:
    """A value as it is shown; times to the microsecond, as Python has them."""
    if isinstance(value, datetime):
        return value.replace(nanosecond=0).isoformat() if isinstance(value, pd.Timestamp) else value.isoformat()
    return value.decode() if isinstance(value, bytes) else str(value).rpartition("E")[0] or str(value)


def of_json(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(("name", "container"), PAIRS)
def test_a_type_means_the_same_from_every_container_beside_a_bad_row(name: str, container: str, tmp_path: Path) -> None:
    column, array, expected = GIVEN[name]
    clean, rejects = checked(put(beside_a_bad_row(column, array), container, tmp_path))
    found = clean.column(column).to_pylist()
    assert (list(map(of_json, found)) if column == "parameters" else found) == expected
    ((reject,), given) = (rejects, array[1].as_py())
    assert (reject.row_number, reject.column_name, reject.raw["slot"]) == (2, "slot", -1)
    assert reject.reason == "-1 must be at least 0"
    if column == "spc_rule" and pa.types.is_temporal(
        array.type
    ):  # as it would have been stored, so that it can be again
        given = text_of(array)[1].as_py()
    if column != "parameters" and given is not None:
        assert as_text(reject.raw[column]) == as_text(given)


BAD: dict[str, tuple[str, pa.Array, str]] = {
    "string_view": ("slot", pa.array(["1", "far", "3"], pa.string_view()), "'far' cannot be read as int32"),
    "dictionary": ("slot", dictionary([0, 1, 0], pa.array(["1", "far"])), "'far' cannot be read as int32"),
    "runs": ("slot", runs(["1", "far", "3"]), "'far' cannot be read as int32"),
    "uuid": ("slot", extension(pa.uuid(), pa.array([None, ID.bytes, None], pa.binary(16))), f"'{ID}' cannot be read as int32"),
    "decimal256": ("slot", pa.array([Decimal(1), Decimal("2.5"), None], pa.decimal256(50, 1)), "2.5') cannot be read as int32"),
    "bool8": ("slot", extension(pa.bool8(), pa.array([None, 1, None], pa.int8())), "True cannot be read as int32"),
    "seconds": ("start_ts", pa.array([0, 10**15, 0], pa.timestamp("s", "UTC")), "as timestamp[s, tz=UTC]' cannot be read as"),
    "map": ("parameters", pa.array([[], [("a", 1.0), ("a", 2.0)], []], MAP), "it holds the same name twice"),
    "struct": ("parameters", pa.array([{"a": 1.0}, {"a": float("inf")}, None]), "Out of range float"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "container"),
    [
        (name, container)
        for name in BAD
        for container in ("table", "pandas", "dataset", "dicts")
        if container != "dicts" or name not in ("map", "seconds")  # Python has no such values
    ],
)
def test_a_bad_value_of_a_type_rejects_its_row_alone(name: str, container: str, tmp_path: Path) -> None:
    column, array, reason = BAD[name]
    rows = pa.Table.from_pylist([{k: v for k, v in measurement().items() if k != column} for _ in range(3)])
    clean, rejects = checked(put(rows.append_column(column, array), container, tmp_path))
    assert clean.num_rows == 2
    assert [(reject.row_number, reject.column_name) for reject in rejects] == [(2, column)]
    assert reason in rejects[0].reason


class Unit(enum.Enum):
    MINUTES = "min"
    ONE = 1


class Zone(tzinfo):
    """One that Arrow does not know."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=3, seconds=7)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


PYTHON: list[tuple[str, Any, Any]] = [
    ("spc_rule", Unit.MINUTES, "min"),
    ("spc_rule", np.str_("a"), "a"),
    ("spc_rule", np.bytes_(b"a"), "a"),
    ("spc_rule", bytearray(b"a"), "a"),
    ("spc_rule", memoryview(b"a"), "a"),
    ("spc_rule", ID, str(ID)),
    ("spc_rule", time(1, 2, 3), "01:02:03.000000"),
    ("spc_rule", Decimal("1E+3"), "1000"),
    ("spc_rule", Decimal("2.50"), "2.50"),
    ("spc_rule", np.datetime64("NaT"), None),
    ("spc_rule", np.timedelta64("NaT"), None),
    ("spc_rule", np.bool_(True), "true"),
    ("sample_n", Unit.ONE, 1),
    ("sample_n", np.uint8(7), 7),
    ("sample_n", np.float16(7), 7),
    ("source_record_no", Decimal("9007199254740993.00"), 9007199254740993),
    ("source_record_no", "9007199254740993.0", 9007199254740993),
    ("cd_nm", np.float32(0.5), 0.5),
    ("cd_nm", 2**64, 2.0**64),
    ("cd_nm", Decimal("sNaN"), None),
    ("start_ts", NANOS, CUT),
    ("start_ts", datetime(2024, 3, 5, 15, 0, 7, tzinfo=Zone()), NOON),
    ("start_ts", pd.NaT, None),
    ("start_ts", "2024-03-05T12:00:00.123456789Z", CUT),
    ("parameters", {"a": [np.datetime64("2024-03-05T12:00:00.123456789", "ns")]}, {"a": ["2024-03-05T12:00:00.123456"]}),
    ("parameters", {"a": np.array(["2024-03-05"], "M8[ns]"), "b": NANOS},
     {"a": ["2024-03-05T00:00:00"], "b": "2024-03-05T12:00:00.123456+00:00"}),
    ("parameters", {"u": ID, "e": Unit.MINUTES, Unit.ONE: DIGITS}, {"u": str(ID), "e": "min", "1": DIGITS}),
    ("parameters", {"t": time(1), "n": pd.NA, "x": [pd.NaT, float("nan")]}, {"t": "01:00:00", "x": [None, None]}),
    ("parameters", {True: 1}, {"true": 1}),
]  # fmt: skip
NEIGHBOURS: list[Any] = [None, "text", 7, Decimal("1.25")]


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=repr)
@pytest.mark.parametrize("container", ["dicts", "objects"])
def test_python_values_are_what_they_are_whatever_stands_beside_them(container: str, neighbour: Any) -> None:
    for number, (column, value, expected) in enumerate(PYTHON, 1):
        rows = [
            measurement(**{"source_record_no": n, column: each}) for n, each in ((number, value), (10**6, neighbour))
        ]
        frame = (
            rows
            if container == "dicts"
            else pd.DataFrame({k: pd.Series([r[k] for r in rows], dtype=object) for k in rows[0]})
        )
        clean, rejects = checked(frame)
        assert 1 not in [reject.row_number for reject in rejects], (column, value, rejects)
        found = clean.column(column)[0].as_py()
        assert (of_json(found) if column == "parameters" else found) == expected, (column, value)


NOT_UNDERSTOOD: list[tuple[str, Any, str]] = [
    ("spc_rule", pd.Period("2026-01", "M"), "'2026-01' is a Period, which cannot be read as string"),
    ("sample_n", pd.Period("2026", "Y"), "'2026' is a Period, which cannot be read as int32"),
    ("sample_n", timedelta(seconds=3), "'0:00:03' is a timedelta, which cannot be read as int32"),
    ("sample_n", np.timedelta64(3, "ns"), "is a timedelta64, which cannot be read as int32"),
    ("cd_nm", 1 + 2j, "is a complex, which cannot be read as double"),
    ("cd_nm", np.longdouble(1) / 3, "is a longdouble, which cannot be read as double"),
    ("cd_nm", fractions.Fraction(1, 3), "'1/3' is a Fraction, which cannot be read as double"),
    ("spc_rule", [1, 2], "'[1, 2]' is a list, which cannot be read as string"),
    ("spc_rule", {"a": 1}, "is a dict, which cannot be read as string"),
    ("spc_rule", time(1, tzinfo=UTC), "is a time, which cannot be read as string"),
    ("spc_rule", pd.Interval(0, 1), "is a Interval, which cannot be read as string"),
    ("spc_rule", np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])[0], "is a void, which cannot be read as string"),
    ("start_ts", np.datetime64("20000-01-01T00:00:00"), "is a datetime64, which cannot be read as timestamp"),
    ("parameters", {"a": timedelta(1)}, "it holds a timedelta, which JSON does not have"),
    ("parameters", {"a": pd.Timedelta(1)}, "it holds a Timedelta, which JSON does not have"),
    ("parameters", {"a": np.longdouble(1)}, "it holds a longdouble, which JSON does not have"),
    ("parameters", {"a": np.timedelta64(1, "ns")}, "it holds a timedelta64, which JSON does not have"),
    ("parameters", {"a": b"bytes"}, "it holds a bytes, which JSON does not have"),
    ("parameters", {"a": Decimal("Infinity")}, "Out of range float"),
    ("parameters", {1: "a", "1": "b"}, "it holds the name '1' twice"),
    ("parameters", {float("nan"): 1}, "it holds a name of type float"),
    ("parameters", {"a": Decimal("1e400")}, "outside the range of a double"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "reason"), NOT_UNDERSTOOD, ids=[repr(v)[:30] for _, v, _ in NOT_UNDERSTOOD]
)
def test_a_python_value_that_is_not_understood_rejects_its_row_with_its_type(
    column: str, value: Any, reason: str
) -> None:
    for beside in (None, value):
        clean, rejects = checked([measurement(), measurement(**{column: value}), measurement(**{column: beside})])
        assert clean.num_rows == (2 if beside is None else 1)
        assert [reject.row_number for reject in rejects] == ([2] if beside is None else [2, 3])
        assert reason in rejects[0].reason
        if column != "parameters":
            assert rejects[0].raw[column] == str(value)


def of_pandas(values: Any) -> pd.DataFrame:
    return pd.DataFrame([measurement(), measurement()]).assign(spc_rule=values)


def of_arrow(array: pa.Array, column: str = "spc_rule") -> pa.Table:
    return pa.Table.from_pylist([measurement()] * len(array)).append_column(column, array)


class Vendors(pa.ExtensionType):
    """A type that another process does not know."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "vendor.thing")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Vendors:
        return cls()


UNION = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
MONTHS = pd.period_range("2026-01", periods=2, freq="M")
STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "period": (lambda: of_pandas(MONTHS), r"period\[M\].*astype\(str\)"),
    "period in Arrow": (lambda: pa.Table.from_pandas(of_pandas(MONTHS)), r"period.*astype\(str\)"),
    "period in categories": (lambda: of_pandas(pd.Categorical(MONTHS)), r"period\[M\].*astype\(str\)"),
    "interval": (lambda: of_pandas(pd.interval_range(0, 2)), r"interval.*ends as two columns"),
    "timedelta": (lambda: of_pandas(pd.to_timedelta([1, 2])), r"duration\[ns\].*total_seconds"),
    "complex": (lambda: of_pandas([1j, 2j]), "complex128"),
    "long double": (lambda: of_pandas(np.array([1, 2], np.longdouble)), "float128"),
    "duration in pandas' Arrow": (lambda: of_pandas(pd.array([1, 2], pd.ArrowDtype(pa.duration("s")))), r"duration\[s\]"),
    "duration": (lambda: of_arrow(pa.array([1], pa.duration("us"))), r"duration\[us\].*total_seconds"),
    "months, days and nanoseconds": (lambda: of_arrow(pa.array([(1, 2, 3)], pa.month_day_nano_interval())), "month_day_nano"),
    "union": (lambda: of_arrow(UNION), "sparse_union"),
    "opaque": (lambda: of_arrow(extension(pa.opaque(pa.int32(), "x", "y"), pa.array([1], pa.int32()))), "arrow.opaque"),
    "tensor": (lambda: of_arrow(pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2)))), "fixed_shape_tensor"),
    "of a vendor": (lambda: of_arrow(extension(Vendors(), pa.array([1]))), "vendor.thing"),
    "list": (lambda: of_arrow(pa.array([[1]])), "only JSON columns accept this type"),
    "duration in a struct": (lambda: of_arrow(pa.array([{"a": timedelta(1)}]), "parameters"), "duration"),
    "union in a list": (
        lambda: of_arrow(pa.ListArray.from_arrays(pa.array([0, 1]), UNION), "parameters"), "sparse_union",
    ),
    "field given twice": (
        lambda: of_arrow(pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "parameters"),
        "two fields named 'a'",
    ),
    "polars' objects": (lambda: pl.DataFrame({"spc_rule": pl.Series([object()], dtype=pl.Object)}), "Object"),
    "polars' Int128": (lambda: pl.DataFrame({"spc_rule": pl.Series([1], dtype=pl.Int128)}), "Int128"),
    "polars' duration": (lambda: pl.DataFrame({"spc_rule": [timedelta(1)]}), "duration"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_column_of_a_type_that_is_not_understood_is_refused_by_name(name: str) -> None:
    make, kind = STRANGE[name]
    with pytest.raises(InvalidInputError, match=rf"column '(spc_rule|parameters)' holds .*{kind}"):
        checked(make())


def test_a_type_of_a_vendor_is_refused_in_a_file_and_a_dataset_too(tmp_path: Path) -> None:
    table = of_arrow(extension(Vendors(), pa.array([1])))
    for frame in (in_parquet(table, tmp_path), in_ipc(table, tmp_path), ds.dataset(tmp_path / "a.parquet")):
        with pytest.raises(
            InvalidInputError, match=r"'spc_rule' holds values of type vendor.thing \(stored as int64\)"
        ):
            checked(frame)


def test_pandas_own_dtypes_are_all_taken() -> None:
    arrays: dict[str, list[Any]] = {
        "sample_n": [pd.arrays.SparseArray([1, 2]), pd.array([1, None], "Int64"), pd.Categorical([1, None])],
        "spc_rule": [
            pd.array(["1", None], pd.StringDtype("python")), pd.array(["1", None], pd.StringDtype("pyarrow")),
            pd.Categorical(["1", None]), pd.Categorical([1, "a"]),
        ],
        "is_ooc": [pd.array([True, None], "boolean"), np.array([True, False])],
        "cd_nm": [pd.array([1, None], "Float32"), np.array([1, np.nan], np.float32), pd.array([1, np.nan], "Float64")],
        "start_ts": [pd.to_datetime([NOON, None]).tz_convert("Asia/Tokyo"), [NOON.astimezone(Zone()), NOON]],
    }  # fmt: skip
    first = {"sample_n": 1, "spc_rule": "1", "is_ooc": True, "cd_nm": 1.0, "start_ts": NOON}
    for column, given in arrays.items():
        for values in given:
            clean, rejects = checked(pd.DataFrame([measurement(), measurement()]).assign(**{column: values}))
            assert (clean.column(column)[0].as_py(), rejects) == (first[column], []), values


def test_a_class_made_of_pandas_frame_is_one() -> None:
    class Frame(pd.DataFrame):
        """As other libraries make them."""

    clean, _ = checked(Frame([measurement(parameters={"a": 1}), measurement(parameters=None)]))
    assert clean.column("parameters").to_pylist() == ['{"a":1}', None]


@pytest.mark.parametrize("series", [pd.Series([1]), pl.Series([1]), pa.array([1])])
def test_a_column_alone_is_no_frame(series: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot load a"):
        checked(series)


def test_rows_are_stored_and_rejected_by_the_server_whatever_their_container(
    shared_wh: Warehouse, tmp_path: Path
) -> None:
    """The whole way of one frame of many types, the bad row in the middle."""
    names = ["string_view", "bool8", "nanoseconds", "struct of maps", "runs of a dictionary", "decimal256"]
    for number, container in enumerate(("table", "pandas", "dicts", "polars", "ipc")):
        table = pa.Table.from_pylist([measurement(slot=slot, lot_id=f"T{number}") for slot in (1, -1, 3)])
        for name in names:
            column, array, _ = GIVEN[name]
            if column not in table.column_names and name not in CANNOT.get(container, ()):
                table = table.append_column(column, array)
        result = shared_wh.load(
            MEASUREMENTS, put(table, container, tmp_path), batch_id=f"types {container}", max_rejects=1
        )
        assert (result.rows_loaded, result.rows_rejected) == (2, 1)
        found = stored(shared_wh, MEASUREMENTS, result.batch_id, "slot", "spc_rule", "is_ooc", "start_ts", "parameters")
        assert found == [(1, "a", True, CUT, {"m": {"a": 1.0}}), (3, None, None, None, None)]
        assert shared_wh.batches.reload(result.batch_id, lambda rows: rows.assign(slot=2)).rows_loaded == 1
        again = stored(shared_wh, MEASUREMENTS, result.batch_id, "slot", "spc_rule", "is_ooc")
        assert again == [(1, "a", True), (2, "b", False), (3, None, None)]
