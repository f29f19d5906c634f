"""Measured values and yields of a time span: what is asked stands at the scan of the fact, so months outside it are not read.

Values come one a row, as the views have them; with a column a test; or as statistics of each wafer or lot. Statistics are taken
from the aggregates where these say exactly what is asked: of whole months. Otherwise they are computed of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Engine

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import AGGREGATES
from gpwarehouse.models.keys import durable_key
from gpwarehouse.models.views.yields import lot_yields, wafer_yields
from gpwarehouse.read.frames import read, to_pandas
from gpwarehouse.read.parameter_lists import NamedParameter, find_parameters
from gpwarehouse.read.value_columns import IDENTITY, VIEWS

__all__ = ["Basis", "Per", "Span", "read_statistics", "read_values", "read_wide_values", "read_yields"]

_TEST = "fact_test_results"
Per = Literal["unit", "wafer", "lot"]
Basis = Literal["FIRST", "LAST", "BEST", "WORST"]


@dataclass(frozen=True)
class Span:
    """Which rows of a fact are asked for.

    :ivar since: first moment (aware); None: from the beginning.
    :ivar until: the moment after the last one (aware).
    :ivar products: product ids; None: all.
    :ivar lots: lot ids at the event; None: all.
    :raises InvalidInputError: a moment has no time zone, or they are not in order.
    """

    since: datetime | None = None
    until: datetime | None = None
    products: tuple[str, ...] | None = None
    lots: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidInputError(
                    f"{name}={moment!r} has no time zone; give an aware datetime, e.g. with tzinfo=UTC"
                )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidInputError(f"since={self.since} is not before until={self.until}")

    @property
    def is_of_months(self) -> bool:
        """Whether it begins and ends with months."""
        return all(moment is None or moment == _month_of(moment) for moment in (self.since, self.until))

    def where(self, alias: str, schema: str, time: str = "event_ts") -> tuple[str, dict[str, Any]]:
        """The condition on a table with these keys, and its parameters."""
        terms, values = [], dict[str, Any]()
        for name, moment, compare in (("since", self.since, ">="), ("until", self.until, "<")):
            if moment is not None:
                terms.append(f"{alias}.{time} {compare} :{name}")
                values[name] = moment
        if self.lots is not None:
            terms.append(f"{alias}.lot_key = ANY (:lot_keys)")
            values["lot_keys"] = [durable_key(lot) for lot in self.lots]
        if self.products is not None:
            keys = f"SELECT product_key FROM {schema}.dim_product WHERE product_id = ANY (:product_ids)"
            terms.append(f"{alias}.product_key IN ({keys})")
            values["product_ids"] = list(self.products)
        return "".join(f" AND {term}" for term in terms), values


def _month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def read_values(
    engine: Engine, schema: str, fact: str, tests: Sequence[str | int] | None, span: Span, **options: Any
) -> Any:
    """Read values one a row, as ``v_test_values`` or ``v_process_values`` has them.

    :param options: those of :func:`read`.
    """
    where, values = span.where("v", schema)
    if tests is not None:
        found = find_parameters(engine, schema, fact, tests)
        where += " AND v.parameter = ANY (:parameters)"
        values["parameters"] = sorted({one.parameter for one in found})
    return read(engine, f"SELECT * FROM {schema}.{VIEWS[fact]} v WHERE true{where}", values, **options)


def read_wide_values(
    engine: Engine, schema: str, fact: str, tests: Sequence[str | int] | None, span: Span, **options: Any
) -> Any:
    """Read a row for each row of the fact that holds one of the tests, with a column for each test.

    Tests of different lists are one column if number, name, pin and occurrence are the same. The column has the parameter's
    name; where two tests have one name, their numbers too.
    """
    where, values = span.where("f", schema)
    lists = None if tests is not None else f"SELECT f.parameter_set_key FROM {schema}.{fact} f WHERE true{where}"
    found = find_parameters(engine, schema, fact, tests, lists, values)
    measures = [one for one in found if one.places is None]
    named = [one for one in found if one.places]
    identity, joins = IDENTITY[fact]
    columns = [f"{expression} AS {name}" for name, expression in identity.items()]
    columns += [f"f.{one.parameter} AS {one.column}" for one in measures]
    keys = sorted({key for one in named for key in one.places or {}})
    has_any = [
        *(["f.parameter_set_key = ANY (:list_keys)"] if keys else []),
        *(f"f.{m.parameter} IS NOT NULL" for m in measures),
    ]
    if keys:
        values["list_keys"] = keys
    few = len(named) <= _FEW
    elements, pivot = _pivot(schema, named) if few and named else ("", "")
    columns += [elements] if elements else ["f.parameter_set_key", "f.measured"] if named else []
    sql = (
        f"SELECT {', '.join(columns)} FROM {schema}.{fact} f {joins.format(schema=schema)} {pivot} "
        f"WHERE ({' OR '.join(has_any) or 'false'}){where}"
    )
    options["arrow"], arrow = True, options.pop("arrow", False)
    table = read(engine, sql, values, **options)
    if named:
        table = _name_elements(table, named) if few else _gather_elements(table, named)
    table = table.select([*identity, *(one.column for one in found)])
    return table if arrow else to_pandas(table)


_FEW = 100
"""Tests that are asked of the server one by one; of more the whole arrays are read."""


def _pivot(schema: str, named: Sequence[NamedParameter]) -> tuple[str, str]:
    """The elements of the tests as columns, and the join that tells where they stand in each list."""
    lists: dict[int, list[str]] = {}
    for number, one in enumerate(named):
        for key, place in (one.places or {}).items():
            lists.setdefault(key, ["NULL"] * len(named))[number] = str(place)
    rows = ", ".join(
        f"({key}, {', '.join(f'CAST({place} AS integer)' for place in places)})"
        for key, places in sorted(lists.items())
    )
    names = ", ".join(f"p{number}" for number in range(len(named)))
    elements = ", ".join(f"f.measured[p.p{number}] AS p{number}" for number in range(len(named)))
    return (
        elements,
        f"LEFT JOIN (VALUES {rows}) AS p (parameter_set_key, {names}) ON p.parameter_set_key = f.parameter_set_key",
    )


def _name_elements(table: pa.Table, named: Sequence[NamedParameter]) -> pa.Table:
    names = table.column_names
    first = len(names) - len(named)
    arrays = [*table.columns[:first], *(_without_nan(column) for column in table.columns[first:])]
    return pa.Table.from_arrays(arrays, [*names[:first], *(one.column for one in named)])


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = np.asarray(column)
    return pa.chunked_array([pa.array(values, pa.float64(), from_pandas=True)])


def _gather_elements(table: pa.Table, named: Sequence[NamedParameter]) -> pa.Table:
    """Take the tests' elements out of the arrays, list by list."""
    keys = np.asarray(table["parameter_set_key"].fill_null(0))
    lists = table["measured"].combine_chunks()
    offsets = np.asarray(lists.offsets)[:-1].astype(np.int64)
    elements = np.asarray(lists.values)
    matrix = np.full((len(named), len(keys)), np.nan)
    for key in np.unique(keys).tolist():
        rows = np.flatnonzero((keys == key) & np.asarray(lists.is_valid()))
        for number, one in enumerate(named):
            place = (one.places or {}).get(key)
            if place is not None:
                matrix[number, rows] = elements[offsets[rows] + place - 1]
    table = table.drop_columns(["parameter_set_key", "measured"])
    for one, values in zip(named, matrix, strict=True):
        table = table.append_column(one.column, pa.array(values, from_pandas=True))
    return table


_BY = {
    "lot": {"lot_id": "l.lot_id", "product_id": "d.product_id"},
    "wafer": {"root_lot_id": "w.root_lot_id", "wafer_id": "w.wafer_id"},
    "step": {"process_flow_id": "s.process_flow_id", "step_number": "s.step_number"},
    "parameter": {"parameter": "coalesce(p.parameter, a.parameter)"},
    "test": {
        "test_number": "coalesce(CAST(p.test_number AS text), p.parameter, a.parameter)",
        "pin": "coalesce(p.pin, '')",
        "occurrence": "coalesce(p.occurrence, 1)",
    },
}
_COUNTED = ("n", "mean", "m2", "min_value", "max_value")


def read_statistics(
    engine: Engine,
    schema: str,
    fact: str,
    tests: Sequence[str | int] | None,
    span: Span,
    per: Per,
    *,
    last: bool,
    **options: Any,
) -> Any:
    """Read number, mean, standard deviation, least and greatest of the values of each wafer or lot, step and test.

    :param last: whether only the last insertion of a unit in its file counts.
    """
    is_test = fact == _TEST
    groups = ("lot", *(["wafer"] if per == "wafer" else []), "step", "parameter", *(["test"] if is_test else []))
    names = {name: sql for group in groups for name, sql in _BY[group].items()}
    parameters = None if tests is None else sorted({p.parameter for p in find_parameters(engine, schema, fact, tests)})
    # The aggregates of measurements do not tell wafers apart.
    makes = _of_aggregates if span.is_of_months and (is_test or per == "lot") else _of_values
    where, values = span.where("a", schema, "event_month" if makes is _of_aggregates else "event_ts")
    if last and is_test:
        where += " AND a.is_final_result"
    if parameters is not None:
        where += f" AND {names['parameter'] if makes is _of_aggregates else 'a.parameter'} = ANY (:parameters)"
        values["parameters"] = parameters
    arrow = options.pop("arrow", False)
    table = read(engine, makes(schema, fact, names, where), values, arrow=True, **options)
    table = _combine(table, list(names))
    return table if arrow else to_pandas(table)


def _of_aggregates(schema: str, fact: str, names: dict[str, str], where: str) -> str:
    whole = " AND a.site_no IS NULL AND a.head_no IS NULL" if fact == _TEST else ""
    joins = (
        _NAMES_OF_KEYS
        if fact == _TEST
        else "\n".join(line for line in _NAMES_OF_KEYS.splitlines() if "dim_wafer" not in line)
    )
    return (
        f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in names.items())}, {', '.join(f'a.{name}' for name in _COUNTED)} "
        f"FROM {schema}.{AGGREGATES[fact].__tablename__} a {joins.format(schema=schema)} "
        f"LEFT JOIN {schema}.bridge_parameter_set p ON p.parameter_set_key = a.parameter_set_key AND p.position = a.position "
        f"WHERE a.n > 0{whole}{where}"
    )


def _of_values(schema: str, fact: str, names: dict[str, str], where: str) -> str:
    own = {name: f"a.{name}" if name != "product_id" else "d.product_id" for name in names}
    return (
        f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in own.items())}, count(*) AS n, avg(a.value) AS mean, "
        "coalesce(var_pop(a.value) * count(*), 0) AS m2, min(a.value) AS min_value, max(a.value) AS max_value "
        f"FROM {schema}.{VIEWS[fact]} a "
        f"LEFT JOIN {schema}.dim_product d ON d.product_key = a.product_key AND d.is_current "
        f"WHERE true{where} GROUP BY {', '.join(map(str, range(1, len(own) + 1)))}"
    )


_NAMES_OF_KEYS = """
LEFT JOIN {schema}.dim_wafer w ON w.wafer_key = a.wafer_key AND w.is_current
LEFT JOIN {schema}.dim_lot l ON l.lot_key = a.lot_key AND l.is_current
LEFT JOIN {schema}.dim_product d ON d.product_key = a.product_key AND d.is_current
LEFT JOIN {schema}.dim_process_step s ON s.process_step_key = a.process_step_key AND s.is_current
"""


def _combine(table: pa.Table, keys: list[str]) -> pa.Table:
    """Combine rows of equal keys exactly (Chan, Golub and LeVeque, 1979)."""
    places = table.group_by(keys, use_threads=False).aggregate([("n", "sum")])
    group = _places_of(table, places.select(keys), keys)
    count = len(places)
    n, mean, m2 = (np.asarray(table[name], np.float64) for name in ("n", "mean", "m2"))
    total = np.bincount(group, n, count)
    means = np.bincount(group, n * mean, count) / total
    squares = np.bincount(group, m2 + n * (mean - means[group]) ** 2, count)
    least, most = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(least, group, np.asarray(table["min_value"]))
    np.maximum.at(most, group, np.asarray(table["max_value"]))
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = np.where(total > 1, np.sqrt(squares / (total - 1)), np.nan)
    made = {"n": pa.array(total.astype(np.int64)), "mean": means, "sigma": pa.array(sigma, from_pandas=True)}
    made |= {"min_value": least, "max_value": most}
    return pa.table({**{name: places[name] for name in keys}, **made})


def _places_of(table: pa.Table, groups: pa.Table, keys: list[str]) -> Any:
    """The number of each row's group."""
    known = {row: place for place, row in enumerate(zip(*(groups[key].to_pylist() for key in keys), strict=True))}
    rows = zip(*(table[key].to_pylist() for key in keys), strict=True)
    return np.fromiter((known[row] for row in rows), np.int64, len(table))


def read_yields(engine: Engine, schema: str, span: Span, per: Per, basis: Basis | None, **options: Any) -> Any:
    """Read yields as ``v_wafer_yield`` and ``v_lot_yield`` have them, of the insertions of a span alone.

    :raises InvalidInputError: ``per`` or ``basis`` is not known.
    """
    if per not in ("wafer", "lot"):
        raise InvalidInputError(f"per={per!r}: the allowed values are 'wafer', 'lot'")
    if basis is not None and basis not in get_args(Basis):
        raise InvalidInputError(f"basis={basis!r}: the allowed values are {', '.join(map(repr, get_args(Basis)))}")
    where, values = span.where("f", schema)
    body = (wafer_yields if per == "wafer" else lot_yields)(where).format(schema=schema)
    if basis is not None:
        values["basis"] = basis
    chosen = " WHERE y.basis = :basis" if basis is not None else ""
    return read(engine, f"SELECT * FROM (\n{body}\n) y{chosen}", values, **options)
