"""Lists of parameters of a load: missing ones are inserted before it, like members, and never changed.

Why in a transaction of their own, under a lock: :mod:`gpwarehouse.dimensions.members`. A list that a failed load leaves is
harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dimensions.histories import Provenance
from gpwarehouse.engine import qualified_name
from gpwarehouse.engine.key_lists import chunks, is_one_of
from gpwarehouse.errors import InvalidInputError, KeyCollisionError
from gpwarehouse.models import BridgeParameterSet
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet
from gpwarehouse.transport.copy_records import copy_records

__all__ = ["insert_missing_sets", "read_parameter_sets"]

_TABLE = BridgeParameterSet.__table__
_FIELDS = ("name", *(field for field in Parameter.__slots__ if field != "name"))


def insert_missing_sets(
    engine: Engine, sets: Mapping[int, ParameterSet], lengths: Iterable[tuple[int | None, int]], provenance: Provenance
) -> int:
    """Insert the lists that are not stored.

    :param sets: key → list, of the lists that the load knows.
    :param lengths: key and length of the arrays that are to be loaded. Their lists are known or stored.
    :return: number of inserted lists.
    :raises KeyCollisionError: another list is stored under one of the keys.
    :raises InvalidInputError: an array has no list, or not the length of its list.
    """
    lengths = set(lengths)
    keys = {*sets, *(key for key, _ in lengths if key is not None)}
    if not keys and not lengths:
        return 0
    with engine.connect() as connection:
        stored = read_parameter_sets(connection, keys)
    missing = [key for key in sets if not _is_stored(key, sets, stored)]
    _check_lengths(lengths, {**stored, **sets})
    return _insert(engine, {key: sets[key] for key in missing}, provenance) if missing else 0


def _insert(engine: Engine, sets: Mapping[int, ParameterSet], provenance: Provenance) -> int:
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {qualified_name(connection, _TABLE)} IN SHARE ROW EXCLUSIVE MODE"))
        stored = read_parameter_sets(connection, sets)  # read again: another load may have inserted them
        missing = [key for key in sets if not _is_stored(key, sets, stored)]
        now = connection.execute(select(func.now())).scalar_one()
        copy_records(connection, _TABLE, [row for key in missing for row in _rows(key, sets[key], provenance, now)])
        return len(missing)


def _rows(key: int, parameters: ParameterSet, provenance: Provenance, now: datetime) -> Iterator[dict[str, Any]]:
    for position, parameter in enumerate(parameters.parameters, 1):
        values = {field: getattr(parameter, field) for field in _FIELDS}
        values["parameter"] = values.pop("name")
        own = {"parameter_set_key": key, "position": position, "batch_id": provenance.batch_id, "created_at": now}
        yield own | values


def read_parameter_sets(connection: Connection, keys: Collection[int]) -> dict[int, ParameterSet]:
    """Read the stored lists of these keys."""
    columns = [_TABLE.c["parameter" if field == "name" else field] for field in _FIELDS]
    found: dict[int, list[Parameter]] = {}
    for some in chunks(list(keys)):
        query = select(_TABLE.c.parameter_set_key, *columns).where(is_one_of(_TABLE.c.parameter_set_key, some))
        for key, *values in connection.execute(query.order_by(_TABLE.c.parameter_set_key, _TABLE.c.position)):
            found.setdefault(key, []).append(Parameter(*values))
    return {key: ParameterSet(tuple(parameters)) for key, parameters in found.items()}


def _is_stored(key: int, sets: Mapping[int, ParameterSet], stored: Mapping[int, ParameterSet]) -> bool:
    there = stored.get(key)
    if there is not None and there != sets[key]:
        pairs = zip(sets[key].parameters, there.parameters, strict=False)
        ours, theirs = next(((a, b) for a, b in pairs if a != b), (f"{len(sets[key])} parameters", len(there)))
        raise KeyCollisionError(
            f"{_TABLE.name}: two lists of parameters have the same key {key}: {theirs} (stored) and {ours} (to load). Nothing "
            "was loaded; rename a parameter"
        )
    return there is not None


def _check_lengths(lengths: Iterable[tuple[int | None, int]], known: Mapping[int, ParameterSet]) -> None:
    for key, length in lengths:
        if key is None:
            raise InvalidInputError(
                "a row has measured values, but nothing says what they are; give parameter_names=, the name of each value"
            )
        if key not in known:
            raise InvalidInputError(
                f"parameter_set_key {key} is not in {_TABLE.name}; give parameter_names=, the names of the values, instead of it"
            )
        if length != len(known[key]):
            raise InvalidInputError(
                f"a row has {length} measured values, but the list {key} has {len(known[key])} parameters; give a value, or NaN, "
                "for each"
            )
