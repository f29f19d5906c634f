"""Lists of keys in conditions: as many at a time as servers plan well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Column, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

__all__ = ["chunks", "is_one_of"]

CHUNK = 20_000
_FEW = 200


def chunks(keys: Iterable[int]) -> Iterator[list[int]]:
    """Keys in order, so many at a time as a query is asked for."""
    ordered = iter(sorted(keys))
    while chunk := list(islice(ordered, CHUNK)):
        yield chunk


def is_one_of(column: Column[Any], keys: list[int]) -> Any:
    """A condition: few keys are looked up in the index; for many, Greenplum 7 plans 5000 in ANY for seconds, so a join."""
    wanted = bindparam(None, keys, type_=ARRAY(column.type), unique=True)
    return column == any_(wanted) if len(keys) <= _FEW else column.in_(select(func.unnest(wanted)))
