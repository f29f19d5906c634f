"""``greenplum+psycopg2://``: PostgreSQL's psycopg2 dialect plus what Greenplum differs in, and nothing more.

The dialect keeps ``name = "postgresql"``, so ``postgresql_*`` arguments, variants, compile hooks and extensions made
for PostgreSQL go on working. ``greenplum_distributed_by``, ``greenplum_storage`` and ``greenplum_partition_by`` are
validated by SQLAlchemy through the entry point ``greenplum``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Interval, Table, schema
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import URL, Connection
from sqlalchemy.engine.interfaces import ConnectArgsType

from gpwarehouse.dialect.ddl_compiler import GreenplumDDLCompiler
from gpwarehouse.dialect.driver import outside_transaction
from gpwarehouse.dialect.reflection import GreenplumInspector, GreenplumReflection
from gpwarehouse.dialect.server import Capabilities, ServerInfo
from gpwarehouse.dialect.stmt_compiler import GreenplumCompiler, implicit_sentinels
from gpwarehouse.dialect.types import GreenplumInterval

__all__ = ["GreenplumDialect"]

CreateTableAs: Any = getattr(schema, "CreateTableAs", None)  # new in SQLAlchemy 2.1


class GreenplumDialect(GreenplumReflection, PGDialect_psycopg2):
    """SQLAlchemy dialect for Greenplum 6 and 7, Cloudberry (unverified) and plain PostgreSQL.

    :param server: names the server where none can be asked (``--sql``, mock engines): ``"greenplum6"``,
        ``"greenplum7"``, ``"cloudberry"`` or ``"postgresql"``; also as ``?server=`` in the URL. A connected engine
        asks the server and pays no heed to the name.
    """

    supports_statement_cache = True
    statement_compiler = GreenplumCompiler
    ddl_compiler = GreenplumDDLCompiler
    inspector = GreenplumInspector
    colspecs = {  # noqa: RUF012 (SQLAlchemy's own declaration)
        **PGDialect_psycopg2.colspecs,
        Interval: GreenplumInterval,
        INTERVAL: GreenplumInterval,
    }
    construct_arguments = [  # noqa: RUF012 (SQLAlchemy's own declaration)
        *(PGDialect_psycopg2.construct_arguments or []),
        (Table, {"distributed_by": None, "storage": None, "partition_by": None, "external": None}),
        (Column, {"encoding": None}),
        *([(CreateTableAs, {"distributed_by": None})] if CreateTableAs is not None else []),
    ]

    server_info: ServerInfo | None = None

    server_name: str | None = None
    """The server that the URL names, on the class made for that URL."""

    def __init__(self, server: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        named = server or self.server_name
        if named is not None:
            self._adopt(ServerInfo.named(named))

    def _adopt(self, info: ServerInfo) -> None:
        self.server_info = info
        self.capabilities = Capabilities.of(info)
        self.server_version_info = info.postgres_version
        self.supports_identity_columns = self.capabilities.identity
        self.insertmanyvalues_implicit_sentinel = implicit_sentinels(
            self.capabilities, type(self).insertmanyvalues_implicit_sentinel
        )

    @classmethod
    def get_dialect_cls(cls, url: URL) -> type[GreenplumDialect]:
        """The dialect class for a URL: one that knows the server, where the URL names it.

        Nothing else of the URL reaches a dialect that never connects, as under a mock engine.
        """
        server = url.query.get("server")
        if server is None:
            return cls
        return type(cls.__name__, (cls,), {"server_name": str(server), "supports_statement_cache": True})

    def create_connect_args(self, url: URL) -> ConnectArgsType:
        """Connection arguments for psycopg2, which must not see ``server``."""
        url = url.difference_update_query(["server"])
        args: ConnectArgsType = super().create_connect_args(url)  # type: ignore[no-untyped-call]
        return args

    def _get_server_version_info(self, connection: Connection) -> tuple[int, ...]:
        banner = connection.exec_driver_sql("SELECT pg_catalog.version()").scalar_one()
        self._adopt(ServerInfo.parse(banner))
        assert self.server_info is not None
        return self.server_info.postgres_version

    def get_isolation_level_values(self, dbapi_connection: Any) -> tuple[str, ...]:  # type: ignore[override]
        """The isolation levels there are. Greenplum takes SERIALIZABLE and gives REPEATABLE READ, so it is none."""
        levels: tuple[str, ...] = super().get_isolation_level_values(dbapi_connection)  # type: ignore[no-untyped-call]
        capabilities = self.capabilities or self._ask_early(dbapi_connection)
        return levels if capabilities.serializable else tuple(level for level in levels if level != "SERIALIZABLE")

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether the connection answers, in one round trip."""
        with outside_transaction(dbapi_connection):
            return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]

    def _ask_early(self, dbapi_connection: Any) -> Capabilities:
        # create_engine(isolation_level=…) is checked on the first connection before the server has been asked.
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.version()")
            info = ServerInfo.parse(cursor.fetchone()[0])
        dbapi_connection.rollback()
        return Capabilities.of(info)
