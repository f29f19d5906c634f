"""Answers of queries: from the cache where there is one and it has them, otherwise from the warehouse."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpwarehouse.engine import Cancellation
from gpwarehouse.service.cache import AnswerCache, is_repeatable, key_of, look_up, version_of
from gpwarehouse.service.queries import QueryRequest, RowsRequest, read_rows, spool_query
from gpwarehouse.service.spool import Spooled
from gpwarehouse.warehouse import Warehouse

__all__ = ["Answered", "answer_file", "answer_rows"]


class Answered(NamedTuple):
    """An answer in JSON.

    :ivar rows: number of rows in it.
    :ivar cache: ``hit``, ``miss`` or ``off``.
    """

    text: bytes
    rows: int
    cache: str


def answer_rows(
    warehouse: Warehouse, cache: AnswerCache | None, query: RowsRequest, query_id: str, timeout_s: float,
    cancel: Cancellation,
) -> Answered:  # fmt: skip
    """Answer a query in JSON."""
    started = time.monotonic()

    def read() -> bytes:
        text, rows = read_rows(warehouse, query, query_id, timeout_s)
        return _join(rows, text)

    with cancel:
        value, state = _ask(warehouse, cache, query, ["rows", query.max_rows], read)
    rows, text = _split(value)
    head = f'{{"query_id": {json.dumps(query_id)}, '.encode()
    tail = f', "elapsed_ms": {round((time.monotonic() - started) * 1000, 1)}}}'.encode()
    return Answered(head + text + tail, rows, state)


def answer_file(
    warehouse: Warehouse, cache: AnswerCache | None, query: QueryRequest, query_id: str, timeout_s: float, target: Path,
    most: int, cancel: Cancellation,
) -> tuple[Spooled, str]:  # fmt: skip
    """Answer a query with a file, and tell what the cache had: ``hit``, ``miss`` or ``off``."""
    found: list[Spooled] = []

    def spool() -> bytes | None:
        found.append(spool_query(warehouse, query, query_id, timeout_s, target, most))
        small = cache is not None and found[0].bytes <= warehouse.settings.service_cache_bytes
        return _join(found[0].rows, target.read_bytes()) if small else None

    with cancel:
        value, state = _ask(warehouse, cache, query, ["file", target.suffix], spool)
    if found:
        return found[0], state
    rows, data = _split(value)
    target.write_bytes(data)
    return Spooled.of(target, target.suffix[1:], rows), state


def _ask(
    warehouse: Warehouse, cache: AnswerCache | None, query: QueryRequest, parts: list[Any], run: Callable[[], Any]
) -> tuple[Any, str]:
    """Look into the cache, or run the query and keep its answer.

    An answer is kept if the query is repeatable, if nothing was being written when it began, and if nothing changed while it ran.
    """
    if cache is None:
        return run(), "off"
    parts += [query.sql, query.params, query.exact_numeric]
    _, found = look_up(cache, warehouse, parts)
    if found is not None:
        return found, "hit"
    version = version_of(warehouse, to_keep=True)
    value = run()
    if version is None or value is None or not is_repeatable(warehouse, query.sql, query.params):
        return value, "miss"
    if version_of(warehouse) == version:
        cache.put(key_of(warehouse, version, parts), value)
    return value, "miss"


def _join(rows: int, data: bytes) -> bytes:
    return b"%d\n%b" % (rows, data)


def _split(value: bytes) -> tuple[int, bytes]:
    rows, _, data = value.partition(b"\n")
    return int(rows), data
