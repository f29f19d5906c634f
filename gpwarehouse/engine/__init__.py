"""Pooled engine and sessions, made from settings; units of work and their retry; advisory locks."""

from gpwarehouse.engine.cancellation import Cancellation
from gpwarehouse.engine.error_causes import (
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
from gpwarehouse.engine.extra_connections import extra_connections
from gpwarehouse.engine.factory import (
    HOUSEKEEPING,
    create_migration_engine,
    create_warehouse_engine,
)
from gpwarehouse.engine.health import Segment, ServerFacts, ask_server
from gpwarehouse.engine.interrupts import end_statement
from gpwarehouse.engine.locks import LOCK_MONTHS, LockHolder, advisory_key, lock_advisory, lock_holders
from gpwarehouse.engine.pool import Holder, PoolState, pool_state
from gpwarehouse.engine.retry import RetryPolicy, Settled, reason_to_repeat, unit_of_work
from gpwarehouse.engine.sessions import (
    SESSION_OPTIONS,
    has_shared_session,
    session_values,
    set_for_transaction,
    statement_for_transaction,
)
from gpwarehouse.engine.statement_hook import STATEMENT_HOOK
from gpwarehouse.engine.statement_log import tell_if_slow
from gpwarehouse.engine.table_names import dialect_of, qualified_name

__all__ = [
    "HOUSEKEEPING",
    "LOCK_MONTHS",
    "SESSION_OPTIONS",
    "STATEMENT_HOOK",
    "Cancellation",
    "Cause",
    "Holder",
    "LockHolder",
    "PoolState",
    "RetryPolicy",
    "Segment",
    "ServerFacts",
    "Settled",
    "advisory_key",
    "ask_server",
    "cause_of",
    "could_not_connect",
    "could_not_look",
    "create_migration_engine",
    "create_warehouse_engine",
    "dialect_of",
    "end_statement",
    "explain_operational_error",
    "extra_connections",
    "has_shared_session",
    "lock_advisory",
    "lock_holders",
    "look",
    "pool_state",
    "qualified_name",
    "reason_to_repeat",
    "refused_look",
    "session_values",
    "set_for_transaction",
    "state_of",
    "statement_for_transaction",
    "tell_if_slow",
    "unexpected",
    "unit_of_work",
    "words_of",
]
