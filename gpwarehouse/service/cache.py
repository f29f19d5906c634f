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

from gpwarehouse.engine.sql_lexer import SqlToken, first_word, meaningful_tokens
from gpwarehouse.errors import GpwarehouseError, MissingExtraError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import Warehouse

__all__ = ["AnswerCache", "is_repeatable", "key_of", "look_up", "make_cache", "version_of"]

_logger = logging.getLogger("gpwarehouse.service")
_looked = Counter("gpwarehouse_cache_lookups", "Answers looked for in the cache", ["outcome"])
_KEEP_S = 86_400
_REDIS_WAIT_S = 0.5
# A transaction that writes changes the snapshot of its server, when it begins to write and when it ends.
_SNAPSHOT = "SELECT pg_catalog.txid_current_snapshot(), pg_catalog.pg_postmaster_start_time()"
"""After a crash or a restore the server may use the same transaction ids again, so its start counts too."""
# On Greenplum the segments write, and their snapshots cannot be asked for: the coordinator would answer in their place. The age
# of a transaction id that depends on the row is counted by the segments, as long as nothing is aggregated above them. It grows
# with each transaction that writes there.
_AGES = """
SELECT gp_segment_id, pg_catalog.age(CAST(CAST(gp_segment_id + 1000 AS text) AS xid)), pg_catalog.txid_current_snapshot(),
    pg_catalog.pg_postmaster_start_time()
FROM gp_dist_random('gp_id')"""
# Ages do not change when a transaction ends, so while one writes there is no version for an answer to be kept under.
_WRITING = """
SELECT count(*) FROM pg_catalog.pg_locks
WHERE granted AND locktype = 'relation' AND pid <> pg_catalog.pg_backend_pid()
    AND mode NOT IN ('AccessShareLock', 'RowShareLock')"""
_VOLATILITY = """
SELECT p.proname AS name, bool_or(p.provolatile = 'v') AS changes, bool_or(p.provolatile = 's') AS depends,
    bool_or(n.nspname <> 'pg_catalog') AS is_users
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY(:names) GROUP BY p.proname"""
_DEPENDS_ON_VALUES_ONLY = frozenset(
    (
        "array_to_json", "array_to_string", "concat", "concat_ws", "date", "date_part", "date_trunc", "extract",
        "format", "generate_series", "json_agg", "json_build_array", "json_build_object", "json_object_agg",
        "jsonb_agg", "jsonb_build_array", "jsonb_build_object", "jsonb_object_agg",
        "make_timestamptz", "quote_literal", "quote_nullable", "row_to_json", "text", "timestamptz", "timezone",
        "to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp",
    )
)  # fmt: skip
"""Functions that the server calls stable for the sake of settings, which are fixed here."""
_KEYWORDS = frozenset(
    (
        "current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
        "current_user", "localtime", "localtimestamp", "session_user", "tablesample", "user",
    )
)  # fmt: skip
_MOMENT = re.compile(r"(?<![a-z])(now|today|tomorrow|yesterday|allballs)(?![a-z])", re.IGNORECASE)
_TIME_TYPES = frozenset(
    (
        "timestamp", "timestamptz", "date", "time", "timetz", "abstime", "reltime", "tsrange", "tstzrange", "daterange",
        "tsmultirange", "tstzmultirange", "datemultirange",
    )
)  # fmt: skip
"""What is cast to these may be a text that means a moment, such as 'today'; only literals and parameters are looked at."""
_CAST_OF_A_VALUE = re.compile(
    r"CAST \( (?:'[^']*'|: \w+) AS (?:timestamp|timestamptz|date|time|timetz)\b"
    r"|(?:'[^']*'|: \w+) : : (?:timestamp|timestamptz|date|time|timetz)\b"
    r"|\b(?:timestamp|timestamptz|date|time|timetz) '[^']*'"
    r"|\btime zone\b",
    re.IGNORECASE,
)
_RELATIONS = """
SELECT c.oid, n.nspname AS schema, CAST(c.relkind AS text) AS kind,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
    COALESCE(to_json(c) ->> 'relstorage' = 'x' OR to_json(c) ->> 'relrowsecurity' = 'true', false) AS is_other
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY(:names) AND n.nspname NOT IN ('pg_toast', 'information_schema', 'gp_toolkit')"""
_ODDITIES = """
SELECT EXISTS (
    SELECT 1 FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE n.nspname <> 'pg_catalog'
) OR EXISTS (
    SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE c.relkind = 'f' OR to_json(c) ->> 'relstorage' = 'x'
) OR EXISTS (
    SELECT 1 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
) AS are_there"""
"""What names do not tell of: operators and domains of users, and partitions outside the database. With them nothing is kept."""
_KINDS = frozenset("rpvmi")
"""Tables, views, indexes; not sequences, which change without a transaction id, and not foreign tables."""
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_OF_THE_SYSTEM = frozenset(("information_schema", "gp_toolkit"))


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


def look_up(cache: AnswerCache, warehouse: Warehouse, parts: list[Any]) -> tuple[str | None, bytes | None]:
    """The version of the data as they are now, and the answer that is kept for it."""
    version = version_of(warehouse)
    found = None if version is None else cache.get(key_of(warehouse, version, parts))
    _looked.labels("miss" if found is None else "hit").inc()
    return version, found


def key_of(warehouse: Warehouse, version: str, parts: list[Any]) -> str:
    """The key of an answer: login, version of the data, and all that the answer depends on."""
    whole = json.dumps([warehouse.settings.redacted(), version, *parts], default=str)
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()


def version_of(warehouse: Warehouse, *, to_keep: bool = False) -> str | None:
    """A text that differs after each change of the data, the schema or the rights; None if it cannot be told.

    :param to_keep: whether an answer is to be kept under it. Then it is told only if every change before it is to be seen.
    """
    try:
        with warehouse.engine.connect() as connection:
            capabilities: Any = getattr(connection.dialect, "capabilities", None)
            if not capabilities.distribution:
                return str(connection.exec_driver_sql(_SNAPSHOT).one())
            version = " ".join(sorted(map(str, connection.exec_driver_sql(_AGES))))
            writing = to_keep and connection.exec_driver_sql(_WRITING).scalar_one()
            return None if writing else version
    except Exception as error:
        _logger.warning("the version of the data was not read: %s", type(error).__name__)
        return None


def is_repeatable(warehouse: Warehouse, sql: str, params: Mapping[str, Any]) -> bool:
    """Whether a query gives the same rows as long as the data are the same.

    The statement and the views that it names are looked through. It is not repeatable with a function that may give another
    result, a word such as CURRENT_DATE, a text that may mean a moment, a table of the system's, one with row security, or one
    outside the database. Plans cannot tell: on Greenplum they hold the results of such functions. In doubt it is not.
    """
    if first_word(sql) not in ("SELECT", "WITH", "VALUES", "TABLE") or _MOMENT.search(json.dumps(params)):
        return False
    try:
        return not warehouse.read(_ODDITIES).are_there[0] and _is_steady(warehouse, sql, set())
    except GpwarehouseError:
        return False


def _is_steady(warehouse: Warehouse, text: str, known: set[int]) -> bool:
    """Look through a text of SQL, and through the views that it names.

    :param known: views that were looked through already.
    """
    tokens = list(meaningful_tokens(text))
    if any(token.kind == "string" and _MOMENT.search(token.text) for token in tokens):
        return False
    names = {_fold(token) for token in tokens if token.kind in ("word", "name")}
    left = _CAST_OF_A_VALUE.sub(" ", " ".join(token.text for token in tokens))
    casts_to_time = _TIME_TYPES & {word.lower() for word in re.findall(r"\w+", left)}
    if casts_to_time or names & _KEYWORDS or names & _OF_THE_SYSTEM or not _has_steady_functions(warehouse, tokens):
        return False
    for found in warehouse.read(_RELATIONS, names=sorted(names)).itertuples():
        if found.schema == "pg_catalog" or found.kind not in _KINDS or found.is_other:
            return False
        if found.kind in ("v", "m") and found.oid not in known:
            known.add(int(str(found.oid)))
            if not _is_steady(warehouse, str(found.definition), known):
                return False
    return True


def _fold(token: SqlToken) -> str:
    """A name as the server takes it: without quotes, or in lower case; cut to 63 bytes."""
    name = token.text[1:-1].replace('""', '"') if token.kind == "name" else token.text.translate(_ASCII_LOWER)
    return name.encode("utf-8", "replace")[:63].decode("utf-8", "ignore")


def _has_steady_functions(warehouse: Warehouse, tokens: list[SqlToken]) -> bool:
    """Whether no function may give another result: what stands before a bracket, and what behind a dot may be one of a user's."""
    called = {_fold(a) for a, b in pairwise(tokens) if b.text == "(" and a.kind in ("word", "name")}
    behind_dot = {_fold(b) for a, b in pairwise(tokens) if a.text == "." and b.kind in ("word", "name")}
    found = warehouse.read(_VOLATILITY, names=sorted(called | behind_dot))
    return not any(
        row.is_users
        or (row.name in called and (row.changes or (row.depends and row.name not in _DEPENDS_ON_VALUES_ONLY)))
        for row in found.itertuples()
    )
