"""Which parameters are meant by the names and numbers that people give, and where they stand in each list."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.engine import Engine

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.read.frames import read
from gpwarehouse.read.value_columns import MEASURES

__all__ = ["NamedParameter", "find_parameters"]


@dataclass(frozen=True)
class NamedParameter:
    """A parameter, in whatever lists it stands.

    :ivar parameter: its name in the list that was made first, or the column of a measure.
    :ivar column: its name in a frame, unique there.
    :ivar places: key of a list → position; None of a measure with a column of its own.
    """

    parameter: str
    column: str = ""
    test_number: int | None = None
    occurrence: int = 1
    places: Mapping[int, int] | None = field(default=None)


def find_parameters(
    engine: Engine,
    schema: str,
    fact: str,
    tests: Sequence[str | int] | None,
    lists: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[NamedParameter]:
    """Find the parameters of these names and numbers.

    :param tests: test numbers, names of tests, names of parameters, columns of measures; None: all parameters, and no measures.
    :param lists: SQL of the keys of the lists that are looked at, with parameters ``values``; None: all lists.
    :return: in the order of ``tests``.
    :raises InvalidInputError: there is nothing of a name.
    """
    if isinstance(tests, str | int):
        raise InvalidInputError(f"tests={tests!r}: give a list, e.g. [{tests!r}]")
    terms, given = ["true"], dict[str, Any]()
    if lists is not None:
        terms.append(f"p.parameter_set_key IN ({lists})")
        given |= values or {}
    if tests is not None:
        numbers = [number for test in tests if (number := _number_of(test)) is not None]
        terms.append("(p.parameter = ANY (:names) OR p.test_name = ANY (:names) OR p.test_number = ANY (:numbers))")
        given |= {"names": list(map(str, tests)), "numbers": numbers}
    rows = read(
        engine,
        "SELECT p.parameter_set_key, p.position, p.parameter, p.test_number, p.test_name, p.pin, p.occurrence "
        f"FROM {schema}.bridge_parameter_set p WHERE {' AND '.join(terms)} ORDER BY p.created_at, 1, 2",
        given,
        arrow=True,
    ).to_pylist()
    if tests is None:
        return _with_columns(_merge(rows))
    found: dict[NamedParameter, None] = {}
    for test in tests:
        mine = (
            [NamedParameter(str(test))]
            if test in MEASURES[fact]
            else _merge(row for row in rows if _is_meant(row, test))
        )
        if not mine:
            raise _unknown(engine, schema, fact, str(test))
        found |= dict.fromkeys(mine)
    return _with_columns(list(found))


def _unknown(engine: Engine, schema: str, fact: str, test: str) -> InvalidInputError:
    """Make the error for a test that is not known; it names the nearest ones."""
    query = f"SELECT DISTINCT unnest(ARRAY[parameter, test_name]) AS name FROM {schema}.bridge_parameter_set"
    names = set(read(engine, query, arrow=True)["name"].drop_null().to_pylist()) | set(MEASURES[fact])
    near = difflib.get_close_matches(test, names, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InvalidInputError(
        f"{fact}: no list of parameters has a test {test!r}, and there is no column of that name{hint}"
    )


def _number_of(test: str | int) -> int | None:
    words = str(test)
    return int(words) if words.isascii() and words.isdigit() and len(words) <= 18 else None


def _is_meant(row: Mapping[str, Any], test: str | int) -> bool:
    return str(test) in (row["parameter"], row["test_name"]) or (
        row["test_number"] is not None and row["test_number"] == _number_of(test)
    )


def _merge(rows: Any) -> list[NamedParameter]:
    """Bring those of equal number, name, pin and occurrence together."""
    merged: dict[tuple[Any, ...], tuple[Mapping[str, Any], dict[int, int]]] = {}
    for row in rows:
        identity = (row["test_number"], row["test_name"] or row["parameter"], row["pin"], row["occurrence"])
        _, places = merged.setdefault(identity, (row, {}))
        places[row["parameter_set_key"]] = row["position"]
    return [
        NamedParameter(row["parameter"], "", row["test_number"], row["occurrence"], _Places(places))
        for row, places in merged.values()
    ]


class _Places(dict[int, int]):
    """Places of a parameter, that can be a part of a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _with_columns(found: list[NamedParameter]) -> list[NamedParameter]:
    """Give each a column of its own: its name, with its number where two have one name."""
    count = Counter(one.parameter for one in found)
    names = [one.parameter if count[one.parameter] == 1 else f"{one.test_number}:{one.parameter}" for one in found]
    seen: Counter[str] = Counter()
    made = []
    for one, name in zip(found, names, strict=True):
        seen[name] += 1
        made.append(replace(one, column=name if seen[name] == 1 else f"{name}#{seen[name]}"))
    return made
