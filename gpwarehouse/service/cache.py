"""Answers that are kept: in memory or in Redis. An answer counts as long as nothing in the database has changed.

The key holds the statement, its values, the login and the version of the data (:func:`version_of`), so an old answer is
never found again. A cache that fails is no error: the query runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any, Protocol

from prometheus_client import Counter

from gpwarehouse.engine.sql_lexer import meaningful_tokens
from gpwarehouse.errors import GpwarehouseError, MissingExtraError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import Warehouse

__all__ = ["AnswerCache", "is_repeatable", "look_up", "make_cache", "version_of"]

_logger = logging.getLogger("gpwarehouse.service")
_looked = Counter("gpwarehouse_cache_lookups", "Answers looked for in the cache", ["outcome"])
_KEEP_S = 86_400
_REDIS_WAIT_S = 0.5
# Each transaction that writes anything changes the snapshot of its server. On Greenplum the segments write, and for a moment
# a transaction has ended there and is not yet to be seen; batches are to be seen together with their rows, so they count too.
_SNAPSHOT = "SELECT CAST(pg_catalog.txid_current_snapshot() AS text) AS version"
_SNAPSHOTS = """
SELECT pg_catalog.md5(CAST(pg_catalog.txid_current_snapshot() AS text) || ' ' || s.snapshots || ' ' || b.batches) AS version
FROM (SELECT pg_catalog.string_agg(gp_segment_id || ':' || CAST(pg_catalog.txid_current_snapshot() AS text), ' '
        ORDER BY gp_segment_id) AS snapshots FROM gp_dist_random('gp_id')) s,
    (SELECT count(*) || ' ' || COALESCE(sum(pg_catalog.hashtext(batch_id || status || COALESCE(CAST(finished_at AS text), '')
        || rows_loaded || COALESCE(error, ''))), 0) AS batches FROM {schema}.etl_load_batch) b"""
_VOLATILITY = """
SELECT p.proname AS name, bool_or(p.provolatile = 'v' OR n.nspname <> 'pg_catalog') AS changes,
    bool_or(p.provolatile = 's') AS depends
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY(:names) GROUP BY p.proname"""
_DEPENDS_ON_VALUES_ONLY = frozenset(
    (
        "array_to_json", "array_to_string", "concat", "concat_ws", "date", "date_part", "date_trunc", "extract",
        "format", "generate_series", "json_agg", "json_build_array", "json_build_object", "json_object_agg",
        "json_populate_record", "jsonb_agg", "jsonb_build_array", "jsonb_build_object", "jsonb_object_agg",
        "make_timestamptz", "quote_literal", "quote_nullable", "row_to_json", "text", "timestamptz", "timezone",
        "to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp",
    )
)  # fmt: skip
"""Functions that the server calls stable for the sake of settings, which are fixed here."""
_KEYWORDS = frozenset(
    (
        "CURRENT_CATALOG", "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_SCHEMA", "CURRENT_TIME", "CURRENT_TIMESTAMP",
        "CURRENT_USER", "LOCALTIME", "LOCALTIMESTAMP", "SESSION_USER", "TABLESAMPLE", "USER",
    )
)  # fmt: skip
_MOMENT = re.compile(r"\s*(now|today|tomorrow|yesterday|allballs)\b", re.IGNORECASE)
_SCANS = re.compile(r"Foreign Scan|External Scan|Sample Scan")


class AnswerCache(Protocol):
    """Keeps texts by key."""

    def get(self, key: str) -> bytes | None:
        """The text of a key; None if there is none."""

    def put(self, key: str, value: bytes) -> None:
        """Keep a text."""


class MemoryCache:
    """Keeps the answers that were asked for last.

    :param most: bytes of all answers.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """As in :class:`AnswerCache`."""
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
            return value

    def put(self, key: str, value: bytes) -> None:
        """As in :class:`AnswerCache`."""
        with self._lock:
            if len(value) > self._most or key in self._kept:
                return
            self._kept[key] = value
            self._bytes += len(value)
            while self._bytes > self._most:
                _, old = self._kept.popitem(last=False)
                self._bytes -= len(old)


class RedisCache:
    """Keeps answers in Redis for a day. What Redis cannot do now is left out.

    :param most: bytes of the largest answer.
    :raises MissingExtraError: the package ``redis`` is missing.
    """

    def __init__(self, url: str, password: str | None, most: int) -> None:
        try:
            redis: Any = import_module("redis")
        except ImportError:
            raise MissingExtraError("GPWAREHOUSE_SERVICE_CACHE names Redis: pip install redis") from None
        waits = {"socket_timeout": _REDIS_WAIT_S, "socket_connect_timeout": _REDIS_WAIT_S}
        self._client = redis.Redis.from_url(url, password=password, **waits)
        self._most, self._error = most, redis.RedisError

    def get(self, key: str) -> bytes | None:
        """As in :class:`AnswerCache`."""
        try:
            value: bytes | None = self._client.get(f"gpw:{key}")
        except (self._error, OSError) as error:
            _logger.warning("the cache was not read: %s", type(error).__name__)
            return None
        return value

    def put(self, key: str, value: bytes) -> None:
        """As in :class:`AnswerCache`."""
        if len(value) > self._most:
            return
        try:
            self._client.set(f"gpw:{key}", value, ex=_KEEP_S)
        except (self._error, OSError) as error:
            _logger.warning("the cache was not written: %s", type(error).__name__)


def make_cache(settings: WarehouseSettings) -> AnswerCache | None:
    """The cache that the settings name; None if there is none."""
    if settings.service_cache == "off":
        return None
    if settings.service_cache == "memory":
        return MemoryCache(settings.service_cache_bytes)
    password = settings.service_cache_password
    secret = None if password is None else password.get_secret_value()
    return RedisCache(settings.service_cache, secret, settings.service_cache_bytes)


def look_up(cache: AnswerCache, warehouse: Warehouse, *parts: Any) -> tuple[str | None, bytes | None]:
    """The key of an answer for the data as they are now, and the answer if it is kept. No key: the version is not known."""
    version = version_of(warehouse)
    if version is None:
        _looked.labels("failed").inc()
        return None, None
    login = warehouse.settings.redacted()
    key = hashlib.sha256(json.dumps([login, version, *parts], default=str).encode("utf-8", "replace")).hexdigest()
    found = cache.get(key)
    _looked.labels("miss" if found is None else "hit").inc()
    return key, found


def version_of(warehouse: Warehouse) -> str | None:
    """A text that differs after each change of the data, the schema or the rights; None if it cannot be read."""
    schema = warehouse.engine.dialect.identifier_preparer.quote_schema(warehouse.settings.schema_name)
    try:
        with warehouse.engine.connect() as connection:
            capabilities: Any = getattr(connection.dialect, "capabilities", None)
            statement = _SNAPSHOTS.format(schema=schema) if capabilities.distribution else _SNAPSHOT
            return str(connection.exec_driver_sql(statement).scalar_one())
    except Exception as error:
        _logger.warning("the version of the data was not read: %s", type(error).__name__)
        return None


def is_repeatable(warehouse: Warehouse, sql: str, params: Mapping[str, Any]) -> bool:
    """Whether a query gives the same rows as long as the data are the same.

    The plan shows the functions of views, too. A function that may give another result, and a table outside the database,
    make it not repeatable.
    """
    literals = [token.text.strip("'") for token in meaningful_tokens(sql) if token.kind == "string"]
    if any(_MOMENT.match(text) for text in (*literals, *map(str, params.values()))):
        return False
    try:
        plan = "\n".join(warehouse.read(f"EXPLAIN (VERBOSE) {sql}", dict(params)).iloc[:, 0])
        return not _SCANS.search(plan) and _has_steady_functions(warehouse, f"{sql}\n{plan}")
    except GpwarehouseError:
        return False


def _has_steady_functions(warehouse: Warehouse, text: str) -> bool:
    tokens = list(meaningful_tokens(text))
    if any(token.kind == "word" and token.text.upper() in _KEYWORDS for token in tokens):
        return False
    names = {
        before.text.strip('"').lower()
        for before, after in pairwise(tokens)
        if after.text == "(" and before.kind in ("word", "name")
    }
    found = warehouse.read(_VOLATILITY, names=sorted(names))
    return not any(
        row.changes or (row.depends and row.name not in _DEPENDS_ON_VALUES_ONLY) for row in found.itertuples()
    )
