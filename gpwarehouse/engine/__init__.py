"""Pooled engine and sessions, made from settings; units of work and their retry; advisory locks; changes of partitions."""

from gpwarehouse.engine.extra import extra_connections
from gpwarehouse.engine.factory import (
    HOUSEKEEPING,
    create_migration_engine,
    create_warehouse_engine,
)
from gpwarehouse.engine.failures import (
    Cause,
    cause_of,
    could_not_connect,
    could_not_look,
    explain_operational_error,
    look,
    refused_look,
    state_of,
    unexpected,
    words_of,
)
from gpwarehouse.engine.health import Segment, ServerFacts, ask_server
from gpwarehouse.engine.interrupts import end_statement
from gpwarehouse.engine.locks import LOCK_MONTHS, LockHolder, advisory_key, lock_advisory, lock_holders
from gpwarehouse.engine.names import dialect_of, qualified_name
from gpwarehouse.engine.observe import first_words, sql_tokens, tell_if_slow
from gpwarehouse.engine.partitioning import (
    LOCK_NOT_AVAILABLE,
    Patience,
    become_owner,
    change_partitions,
    change_partitions_after,
    child_of,
    default_there,
    make_partitions,
    overlapping,
    partitions_there,
    schema_of,
    used_by,
)
from gpwarehouse.engine.pool import Holder, PoolState, pool_state
from gpwarehouse.engine.retry import RetryPolicy, Settled, reason_to_repeat, unit_of_work
from gpwarehouse.engine.sessions import SESSION_OPTIONS, has_shared_session, session_values, set_for_transaction
from gpwarehouse.engine.statement_hook import STATEMENT_HOOK

__all__ = [
    "HOUSEKEEPING",
    "LOCK_MONTHS",
    "LOCK_NOT_AVAILABLE",
    "SESSION_OPTIONS",
    "STATEMENT_HOOK",
    "Cause",
    "Holder",
    "LockHolder",
    "Patience",
    "PoolState",
    "RetryPolicy",
    "Segment",
    "ServerFacts",
    "Settled",
    "advisory_key",
    "ask_server",
    "become_owner",
    "cause_of",
    "change_partitions",
    "change_partitions_after",
    "child_of",
    "could_not_connect",
    "could_not_look",
    "create_migration_engine",
    "create_warehouse_engine",
    "default_there",
    "dialect_of",
    "end_statement",
    "explain_operational_error",
    "extra_connections",
    "first_words",
    "has_shared_session",
    "lock_advisory",
    "lock_holders",
    "look",
    "make_partitions",
    "overlapping",
    "partitions_there",
    "pool_state",
    "qualified_name",
    "reason_to_repeat",
    "refused_look",
    "schema_of",
    "session_values",
    "set_for_transaction",
    "sql_tokens",
    "state_of",
    "tell_if_slow",
    "unexpected",
    "unit_of_work",
    "used_by",
    "words_of",
]
