"""The pooled engine: a warehouse's defaults, set on every new connection.

No connection is opened when the engine is made. A forked child starts with an empty pool, so no two processes ever
share a socket.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, TypeGuard, cast

from sqlalchemy import NullPool, Table, create_engine, event, exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.errors import WarehouseConnectionError
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "HOUSEKEEPING",
    "could_not_connect",
    "create_migration_engine",
    "create_warehouse_engine",
    "dialect_of",
    "explain_operational_error",
    "qualified_name",
]

MODEL_SCHEMA = "dw"
"""The schema the models are written in; another comes by ``schema_translate_map``."""

HOUSEKEEPING = {"gpwarehouse_housekeeping": True}
"""Execution options of statements that are ours, not a migration's: neither counted nor told in its failures."""


def create_warehouse_engine(settings: WarehouseSettings) -> Engine:
    """An engine for the server that ``settings`` name, through the ``greenplum`` dialect whatever the URL's own.

    Pool: ``pool_size`` connections kept, up to ``pool_max`` open, last in first out, tested before use, renewed after
    ``pool_recycle_s`` seconds. Session: UTC, ``extra_float_digits=3`` (servers before PostgreSQL 12 lose digits
    otherwise), statement and lock timeouts, search_path on the warehouse's schema.
    """
    engine = create_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.pool_size,
        max_overflow=settings.pool_max - settings.pool_size,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=settings.pool_recycle_s,
        pool_pre_ping=settings.pool_pre_ping,
        pool_use_lifo=True,
        hide_parameters=True,  # values of a fab's rows do not belong in logs and tracebacks
        connect_args=settings.connect_args(),
    )
    _set_up_sessions(
        engine,
        search_path=(settings.schema_name, "public"),
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )
    reference = weakref.ref(engine)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _forget_connections(reference))
    if settings.schema_name != MODEL_SCHEMA:
        engine = engine.execution_options(schema_translate_map={MODEL_SCHEMA: settings.schema_name})
    return engine


def _forget_connections(reference: weakref.ReferenceType[Engine]) -> None:
    engine = reference()
    if engine is not None:
        engine.dispose(close=False)


def create_migration_engine(settings: WarehouseSettings) -> Engine:
    """An engine for migrations: no pool, a statement timeout of their own, and a search_path without the warehouse's.

    Alembic takes the first schema of the search_path for the nameless one, so the warehouse's must not be in it. The
    settings are made in every transaction again, the role among them, because a revision may have changed them for its
    session, and because behind a pooler of transactions each may run in another session;
    and there the server's timeouts of idle and of long transactions are off: a migration's may be both.
    """
    engine = create_engine(
        settings.sqlalchemy_url(), poolclass=NullPool, hide_parameters=True, connect_args=settings.connect_args()
    )
    values = _set_up_sessions(
        engine,
        search_path=("public",),
        statement_timeout_s=settings.migration_statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )
    again = "SELECT " + ", ".join("pg_catalog.set_config(%s, %s, true)" for _ in values)
    patience = (
        "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings "
        "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
    )

    @event.listens_for(engine, "begin")
    def set_up_transaction(connection: Connection) -> None:
        parameters = tuple(part for item in values.items() for part in item)
        connection.exec_driver_sql(again, parameters, execution_options=HOUSEKEEPING)
        connection.exec_driver_sql(patience, execution_options=HOUSEKEEPING)
        if "gpwarehouse_role" not in connection.info:
            said = connection.exec_driver_sql("SHOW role", execution_options=HOUSEKEEPING).scalar_one()
            connection.info["gpwarehouse_role"] = said
        else:  # a transaction before may have said SET ROLE
            role = (connection.info["gpwarehouse_role"],)
            connection.exec_driver_sql(
                "SELECT pg_catalog.set_config('role', %s, true)", role, execution_options=HOUSEKEEPING
            )

    return engine


def _set_up_sessions(
    engine: Engine, *, search_path: tuple[str, ...], statement_timeout_s: float, lock_timeout_s: float
) -> dict[str, str]:
    """Have every new connection made with these session settings, which are returned."""
    quote = engine.dialect.identifier_preparer.quote_identifier
    values = {
        "TimeZone": "UTC",
        # Not the database's default: under REPEATABLE READ a load that waited for another's lock would not see what
        # the other committed, and would load the same batch again.
        "default_transaction_isolation": "read committed",
        "extra_float_digits": "3",
        "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
        "lock_timeout": f"{lock_timeout_s * 1000:.0f}",
        "search_path": ", ".join(map(quote, search_path)),
    }

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # Outside a transaction, or the pool's first rollback would take the settings back.
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT " + ", ".join("pg_catalog.set_config(%s, %s, false)" for _ in values),
                    [part for item in values.items() for part in item],
                )
        finally:
            connection.autocommit = False

    return values


def dialect_of(bind: Engine | Connection) -> GreenplumDialect:
    """The bind's dialect, with its capabilities known (an engine that never connected connects once)."""
    dialect = cast(GreenplumDialect, bind.dialect)
    if isinstance(bind, Engine) and dialect.capabilities is None:
        with bind.connect():
            pass
    return dialect


def qualified_name(connection: Connection, table: Table) -> str:
    """Schema and name of a table, quoted, with the connection's ``schema_translate_map`` applied.

    For the few statements that SQLAlchemy has no construct for (COPY, LOCK TABLE).
    """
    preparer = connection.dialect.identifier_preparer
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translate.get(table.schema, table.schema)
    name = preparer.quote(table.name)
    return f"{preparer.quote_schema(schema)}.{name}" if schema else name


def could_not_connect(error: BaseException) -> TypeGuard[exc.OperationalError]:
    """Whether the error is that no connection could be made: no statement, and no SQLSTATE as errors at COMMIT have."""
    return (
        isinstance(error, exc.OperationalError)
        and error.statement is None
        and not error.connection_invalidated
        and getattr(error.orig, "pgcode", None) is None
    )


def explain_operational_error(error: exc.DBAPIError, settings: WarehouseSettings) -> WarehouseConnectionError:
    """What could not be reached, and what to look at; never the password."""
    reason = str(error.orig).strip().splitlines()[0] if error.orig is not None else "unknown reason"
    return WarehouseConnectionError(
        f"could not connect to {settings.redacted()}: {reason}. "
        "Check that the server runs and that GPWAREHOUSE_URL (or HOST, PORT, USER, PASSWORD, DATABASE) is right"
    )
