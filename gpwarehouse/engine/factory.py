"""The pooled engine: a warehouse's defaults, set on every new connection, or behind a pooler in every transaction.

No connection is opened when the engine is made. A forked child starts with an empty pool, so no two processes ever
share a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect import GreenplumDialect, ServerInfo, outside_transaction
from gpwarehouse.engine.cancellation import watch_connections
from gpwarehouse.engine.interrupts import InterruptibleConnection
from gpwarehouse.engine.liveness import check_connections
from gpwarehouse.engine.pool import WarehousePool, hand_on_unchanged
from gpwarehouse.engine.sessions import (
    SHARED_SESSION,
    connection_values,
    has_shared_session,
    only_known,
    session_values,
    statement_for,
)
from gpwarehouse.engine.statement_hook import hook_statements
from gpwarehouse.engine.statement_log import observe
from gpwarehouse.engine.table_names import dialect_of
from gpwarehouse.engine.unreachable import explain_failures_to_connect
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "HOUSEKEEPING",
    "create_migration_engine",
    "create_warehouse_engine",
]

_ISOLATION = "READ COMMITTED"
"""Said with each BEGIN, for a database may have another default: under REPEATABLE READ a load that waited for another's lock
would not see what the other committed, and would load the same batch again."""
MODEL_SCHEMA = "dw"
"""The schema the models are written in; another comes by ``schema_translate_map``."""

HOUSEKEEPING = {"gpwarehouse_housekeeping": True}
"""Execution options of statements that are ours, not a migration's: neither counted nor told in its failures."""


def create_warehouse_engine(settings: WarehouseSettings) -> Engine:
    """An engine for the server that ``settings`` name, through the ``greenplum`` dialect whatever the URL's own.

    Pool: ``pool_size`` connections kept, up to ``pool_max`` open, last in first out, tested before use, renewed after
    ``pool_recycle_s`` seconds. Session: UTC, ``extra_float_digits=3`` (servers before PostgreSQL 12 lose digits
    otherwise), timeouts of statements, locks and idle transactions, search_path on the warehouse's schema, Greenplum's
    ``optimizer`` and ``statement_mem`` where set. Behind a pooler all this is set in every transaction, for it alone.
    """
    engine = create_engine(
        settings.sqlalchemy_url(),
        isolation_level=_ISOLATION,
        poolclass=WarehousePool,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_max - settings.pool_size,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=settings.pool_recycle_s,
        pool_use_lifo=True,
        hide_parameters=True,  # values of a fab's rows do not belong in logs and tracebacks
        connect_args={**settings.connect_args(), "connection_factory": InterruptibleConnection},
    )
    fixed = _fixed_values(engine, (settings.schema_name, "public"))
    options = connection_values(settings)
    _set_up_sessions(engine, fixed, options, settings.transaction_pooler)
    _set_up_transactions(engine, fixed, options, always=False)
    hook_statements(engine)
    hand_on_unchanged(engine)
    if settings.pool_pre_ping:
        check_connections(engine)
    watch_connections(engine)
    observe(engine, settings)
    if settings.schema_name != MODEL_SCHEMA:
        engine = engine.execution_options(schema_translate_map={MODEL_SCHEMA: settings.schema_name})
    return engine


def create_migration_engine(settings: WarehouseSettings) -> Engine:
    """An engine for migrations: no pool, a statement timeout of their own, and a search_path without the warehouse's.

    Alembic takes the first schema of the search_path for the nameless one, so the warehouse's must not be in it. The
    settings are made in every transaction again, the role among them, because a revision may have changed them for its
    session, and because behind a pooler of transactions each may run in another session;
    and there the server's timeouts of idle and of long transactions are off: a migration's may be both.
    """
    engine = create_engine(
        settings.sqlalchemy_url(),
        isolation_level=_ISOLATION,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={**settings.connect_args(), "connection_factory": InterruptibleConnection},
    )
    fixed = _fixed_values(engine, ("public",))
    options = session_values(
        {
            "statement_timeout_s": settings.migration_statement_timeout_s,
            "lock_timeout_s": settings.lock_timeout_s,
        }
    )
    _set_up_sessions(engine, fixed, options, settings.transaction_pooler)
    _set_up_transactions(engine, fixed, options, always=True)
    hand_on_unchanged(engine)
    watch_connections(engine)
    patience = (
        "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings "
        "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
    )

    @event.listens_for(engine, "begin")
    def be_patient(connection: Connection) -> None:
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


def _fixed_values(engine: Engine, search_path: tuple[str, ...]) -> dict[str, str]:
    """The settings that every session has, by the server's names."""
    quote = engine.dialect.identifier_preparer.quote_identifier
    return {
        "TimeZone": "UTC",
        "extra_float_digits": "3",
        "search_path": ", ".join(map(quote, search_path)),
    }


def _set_up_sessions(engine: Engine, fixed: Mapping[str, str], options: Mapping[str, str], pooler: bool | None) -> None:
    """Have every new connection made with these values, and those options that the server has.

    Not where a pooler gives the session to others: what is set in it would stay there for them.
    """
    explain_failures_to_connect(engine)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        record.info[SHARED_SESSION] = bool(pooler)
        if pooler:
            return
        # Outside a transaction, or the pool's first rollback would take the settings back.
        with outside_transaction(connection), connection.cursor() as cursor:
            values = {**fixed, **only_known(options, _server_of(engine, cursor))}
            statement, parameters = statement_for(values, local=False)
            if pooler is None:
                # A pooler answers the login itself, in the place of a process of the server.
                statement += " WHERE pg_catalog.pg_backend_pid() = %s"
                parameters = (*parameters, str(connection.info.backend_pid))
            cursor.execute(statement, parameters)
            record.info[SHARED_SESSION] = cursor.fetchone() is None


def _set_up_transactions(engine: Engine, fixed: Mapping[str, str], options: Mapping[str, str], *, always: bool) -> None:
    """The same for every transaction alone: ``always``, or where a pooler may give each another session."""

    @event.listens_for(engine, "begin")
    def set_up(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if driver.autocommit or not (always or has_shared_session(connection)):
            return
        server = dialect_of(connection).server_info
        assert server is not None
        statement, parameters = statement_for({**fixed, **only_known(options, server)}, local=True)
        connection.exec_driver_sql(statement, parameters, execution_options=HOUSEKEEPING)


def _server_of(engine: Engine, cursor: Any) -> ServerInfo:
    """The server, asked once an engine: this runs before SQLAlchemy asks on the first connection."""
    info = cast(GreenplumDialect, engine.dialect).server_info
    if info is None:
        cursor.execute("SELECT pg_catalog.version()")
        info = ServerInfo.parse(cursor.fetchone()[0])
    return info
