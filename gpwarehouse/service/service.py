"""What the endpoints share: a warehouse for each role, keys, turns, threads, jobs, results."""

from __future__ import annotations

import asyncio
import fcntl
from typing import IO, Any

import anyio.to_thread
from sqlalchemy import event

from gpwarehouse.dialect import outside_transaction
from gpwarehouse.errors import RoleError, SettingsError
from gpwarehouse.monitoring import StateSampler
from gpwarehouse.service.access import Access
from gpwarehouse.service.audit import AuditTable
from gpwarehouse.service.cache import make_cache
from gpwarehouse.service.jobs import Jobs
from gpwarehouse.service.keys import ApiKeys
from gpwarehouse.service.metrics import make_registry
from gpwarehouse.service.running import Runner
from gpwarehouse.service.sampling import HealthSampler
from gpwarehouse.service.spool import Spool
from gpwarehouse.service.store import Store
from gpwarehouse.service.turns import Turns
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.service import ServiceRole
from gpwarehouse.warehouse import Warehouse

__all__ = ["Service"]

_RETRY_S = 5
"""How long a read is repeated: the caller waits, and can call again."""
_LAST_ANSWERS_S = 2.0
"""How long a shutdown waits until those whose queries it cancelled have been told."""
_TOO_MUCH = """
SELECT CASE
    WHEN r.rolsuper THEN 'is a superuser'
    WHEN r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR row_to_json(r) ->> 'rolbypassrls' = 'true'
        THEN 'has an attribute such as CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_roles o WHERE o.rolname NOT IN (session_user, %(reader)s)
        AND pg_catalog.pg_has_role(session_user, o.oid, 'MEMBER')) THEN 'is a member of another role'
    WHEN pg_catalog.has_schema_privilege(session_user, n.oid, 'CREATE') THEN 'may create in the schema'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'f') AND s.nspname NOT IN ('pg_catalog', 'information_schema', 'gp_toolkit')
        AND s.nspname NOT LIKE 'pg\\_t%%' AND (s.nspname <> n.nspname OR c.relname <> 'etl_audit')
        AND (pg_catalog.has_any_column_privilege(session_user, c.oid, 'INSERT, UPDATE')
            OR pg_catalog.has_table_privilege(session_user, c.oid, 'DELETE, TRUNCATE'))) THEN 'may write'
END
FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %(schema)s WHERE r.rolname = session_user"""


class Service:
    """The state of a running service. One process has one, and a state folder belongs to one process.

    :param settings: those of the warehouse, with the service's.
    :ivar answering: the tasks of the requests that are being answered.
    :raises SettingsError: a setting is wrong, or another process uses the state folder.
    """

    def __init__(self, settings: WarehouseSettings) -> None:
        self.settings = settings
        self.answering: set[asyncio.Task[Any]] = set()
        self.store = Store(settings.service_state_dir)
        self._lock = _lock_folder(self.store)
        self.keys = ApiKeys(self.store)
        self.access = Access(settings, self.keys)
        self.spool = Spool(self.store.folder)
        self.warehouses: dict[ServiceRole, Warehouse] = dict(_make_warehouses(settings))
        _guard_reader(self.reader, settings)
        self.turns = Turns(settings.service_concurrency, settings.service_per_caller, settings.service_queue_s)
        self.runner = Runner(settings.service_concurrency)
        self.cache = make_cache(settings)
        self.health = HealthSampler(self.reader)
        self.state = StateSampler(self.reader)
        self.audit = AuditTable(self.reader) if settings.service_audit == "table" else None
        self.jobs = Jobs(self.store, self.spool, settings)
        self.registry = make_registry(settings, self.health, self.state, self.jobs, self.turns)

    @property
    def reader(self) -> Warehouse:
        """The warehouse through the reader's login: every query runs on it, whoever calls."""
        return self.warehouses["reader"]

    def check_reader(self) -> None:
        """Connect once, and refuse a login that may do more than read. A warehouse that is down is no error.

        :raises SettingsError: the login may do more.
        """
        try:
            with self.reader.engine.connect():
                pass
        except RoleError as error:
            raise SettingsError(str(error)) from None
        except Exception:
            return
        if self.audit is not None:
            self.audit.check()

    def start(self) -> None:
        """Begin what runs in the background."""
        self.jobs.start()
        self.health.start()
        self.state.start()
        if self.audit is not None:
            self.audit.start()

    def record(self, facts: dict[str, Any]) -> None:
        """Record a call besides the log."""
        if self.audit is not None:
            self.audit.add(facts)

    async def stop(self) -> None:
        """Close, while the answers to what is cancelled are sent."""
        await anyio.to_thread.run_sync(self.close)
        if self.answering:
            await asyncio.wait(tuple(self.answering), timeout=_LAST_ANSWERS_S)

    def close(self) -> None:
        """End what runs, and close connections and files."""
        self.jobs.close()
        self.health.close()
        self.state.close()
        self.runner.close()
        if self.audit is not None:
            self.audit.close()
        for warehouse in self.warehouses.values():
            warehouse.close()
        self.store.close()
        self._lock.close()


def _lock_folder(store: Store) -> IO[str]:
    file = (store.folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        store.close()
        raise SettingsError(
            f"another service uses GPWAREHOUSE_SERVICE_STATE_DIR = {str(store.folder)!r}; stop it, or name another folder"
        ) from None
    return file


def _make_warehouses(settings: WarehouseSettings) -> Any:
    """A warehouse for each role that has a login."""
    own = {"host": None, "port": None, "user": None, "password": None, "database": None}
    # Queries run at once as often as callers wait for them, and again as jobs; one is the monitoring's.
    pool = {"reader": 2 * settings.service_concurrency + 3, "loader": 4, "admin": 4}
    for role, url in (
        ("reader", settings.service_reader_url or settings.url),
        ("loader", settings.service_loader_url),
        ("admin", settings.service_admin_url),
    ):
        if url is None and role != "reader":
            continue
        changed: dict[str, Any] = {"job": f"service {role}", "pool_max": pool[role], "pool_size": min(5, pool[role])}
        if url is not None:
            changed |= {"url": url, **own}
        if role == "reader":
            changed |= {"retry_deadline_s": _RETRY_S, "pool_timeout_s": _RETRY_S}
        yield role, Warehouse(settings=settings.model_copy(update=changed))


def _guard_reader(reader: Warehouse, settings: WarehouseSettings) -> None:
    """Let only a login that can do nothing but read connect, and let no session keep a lock.

    Anybody's SQL runs there. ``SET ROLE`` would be no boundary: a function can set the role back.
    """
    engine = reader.engine

    @event.listens_for(engine, "connect")
    def refuse_too_much(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_TOO_MUCH, {"schema": settings.schema_name, "reader": settings.role_reader})
            (reason,) = cursor.fetchone()
        connection.rollback()
        if reason is not None:
            raise RoleError(
                f"the service's login for readers {reason}, but everybody's SQL runs with it; set "
                f"GPWAREHOUSE_SERVICE_READER_URL to a login that is a member of {settings.role_reader} only: "
                "gpwarehouse roles login NAME --role reader"
            )

    @event.listens_for(engine, "reset")
    def release_locks(connection: Any, _record: Any, _state: Any) -> None:
        """Advisory locks of a session survive its transaction."""
        if not connection.closed:
            connection.rollback()
            # A transaction for it would cost two round trips more.
            with outside_transaction(connection), connection.cursor() as cursor:
                cursor.execute("SELECT pg_catalog.pg_advisory_unlock_all()")
