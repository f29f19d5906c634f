"""A server's facts about itself, asked on a separate connection within a time limit.

Not on a pooled one: that a new connection can be made is part of being well, and a pool that is exhausted must not keep the
question waiting. A server that is frozen answers nothing and closes nothing, so the question is asked in a thread, and
its socket is shut down when the time is up.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import sql

from gpwarehouse.dialect import Brand, GreenplumDialect, ServerInfo
from gpwarehouse.engine.interrupts import hang_up
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Segment", "ServerFacts", "ask_server"]

# Only a client has a port (-1 by a socket), and a client of a database takes one of max_connections; those that send the
# WAL do not. Not by backend_type, which Greenplum 6 does not have. Of what we may not see we only know the database.
_CLIENTS = """
SELECT count(*) FROM pg_catalog.pg_stat_activity a
WHERE a.datid IS NOT NULL AND (a.client_port IS NOT NULL OR a.query = '<insufficient privilege>')
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_replication r WHERE r.pid = a.pid)"""

# Of other roles' sessions a role without more rights sees no address.
_PLAIN = """
SELECT DISTINCT a.usename::text FROM pg_catalog.pg_stat_ssl s JOIN pg_catalog.pg_stat_activity a ON a.pid = s.pid
WHERE NOT s.ssl AND a.datid IS NOT NULL AND a.client_addr IS NOT NULL AND NOT a.client_addr <<= inet '127.0.0.0/8'
    AND a.client_addr <> inet '::1' ORDER BY 1"""


@dataclass(frozen=True)
class Segment:
    """A row of ``gp_segment_configuration``.

    :ivar content: -1 is the coordinator; ``role`` and ``preferred_role``: ``"p"`` primary, ``"m"`` mirror;
        ``mode``: ``"s"`` in sync, ``"n"`` not; ``status``: ``"u"`` up, ``"d"`` down.
    """

    content: int
    role: str
    preferred_role: str
    mode: str
    status: str
    host: str
    port: int


@dataclass
class ServerFacts:
    """The facts that were found; what could not be asked stays empty.

    :ivar failure: why the server could not be asked, or why it stopped answering; None if it was asked to the end.
    :ivar latency_ms: of one round trip; ``connect_ms``: to connect.
    :ivar peer: the address at the other end, if it is over a network: neither a socket's file nor this machine's loopback.
    :ivar tls: whether the connection was encrypted.
    :ivar plain_logins: logins that are connected over a network without TLS, as far as the role sees them.
    :ivar revisions: rows of ``alembic_version``; None if there is no such table, or it may not be read.
    :ivar unended: changes of data that a run began and did not end: name, and ``restore``, ``upgrade`` or ``downgrade``.
    :ivar segments_answering: how many segments ran a query just now.
    :ivar disk_free: bytes by segment's host and content, where asked for and seen.
    """

    server: ServerInfo | None = None
    connect_ms: float | None = None
    latency_ms: float | None = None
    peer: str | None = None
    tls: bool = False
    plain_logins: tuple[str, ...] = ()
    in_recovery: bool = False
    connections: int | None = None
    max_connections: int | None = None
    standbys: int | None = None
    segments: tuple[Segment, ...] = ()
    segments_answering: int | None = None
    revisions: tuple[str, ...] | None = None
    unended: tuple[tuple[str, str], ...] = ()
    disk_free: dict[str, int] = field(default_factory=dict)
    failure: str | None = None


def ask_server(settings: WarehouseSettings, *, timeout_s: float = 10.0, disk: bool = False) -> ServerFacts:
    """Ask; it takes ``timeout_s`` at most and raises nothing that a server may cause.

    :param disk: ask for free space too, which costs a process a segment and takes a superuser of Greenplum.
    """
    question = _Question(settings, timeout_s, disk)
    thread = threading.Thread(target=question.run, name="gpwarehouse-health", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        question.give_up()
        question.facts.failure = f"no answer within {timeout_s:g} s"
    return question.facts


class _Question:
    def __init__(self, settings: WarehouseSettings, timeout_s: float, disk: bool) -> None:
        self.facts = ServerFacts()
        self._settings, self._timeout_s, self._disk = settings, timeout_s, disk
        given: Any = GreenplumDialect().create_connect_args(settings.sqlalchemy_url())
        # libpq waits two seconds at least.
        limits = {"connect_timeout": max(2, min(settings.connect_timeout_s or 10, round(timeout_s)))}
        self._where = (given[0], {**settings.connect_args(), **given[1], **limits})
        self._connection: Any = None
        self._took_ms = 0.0  # the last statement

    def run(self) -> None:
        facts = self.facts
        try:
            started = time.monotonic()
            self._connection = self._connect()
            facts.connect_ms = _ms_since(started)
            with contextlib.closing(self._connection):
                self._ask()
        except (psycopg2.Error, OSError, ValueError) as error:
            facts.failure = facts.failure or _first_line(error)

    def give_up(self) -> None:
        """End a wait for a server that neither answers nor closes."""
        if self._connection is not None:
            hang_up(self._connection)

    def _connect(self) -> Any:
        return psycopg2.connect(*self._where[0], **self._where[1])

    def _ask(self) -> None:
        facts = self.facts
        facts.peer, facts.tls = _peer_of(self._connection), bool(self._connection.info.ssl_in_use)
        facts.server = ServerInfo.parse(self._rows("SELECT pg_catalog.version()")[0][0])
        self._rows("SELECT 1")
        facts.latency_ms = self._took_ms
        facts.in_recovery, facts.max_connections = self._rows(
            "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_connections')::int"
        )[0]
        asked: list[Callable[[], None]] = [
            self._ask_connections, self._ask_revisions, self._ask_unended, self._ask_plain_logins,
        ]  # fmt: skip
        if facts.server.brand is not Brand.POSTGRESQL:
            self._ask_segments()
            asked += [self._ask_disk] if self._disk else []
        for ask in asked:
            with contextlib.suppress(psycopg2.ProgrammingError, psycopg2.errors.ExternalRoutineException):
                ask()  # what the role may not see, or this version does not have, stays empty

    def _rows(self, statement: Any) -> list[tuple[Any, ...]]:
        """In a transaction of its own, whose end takes back the timeout: a pooler may give the session to others."""
        try:
            with self._connection.cursor() as cursor:
                limit = str(max(1, round(self._timeout_s * 1000)))
                cursor.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (limit,))
                started = time.monotonic()
                cursor.execute(statement)
                self._took_ms = _ms_since(started)
                return list(cursor.fetchall())
        finally:
            if not self._connection.closed:
                self._connection.rollback()

    def _ask_connections(self) -> None:
        self.facts.connections = self._rows(_CLIENTS)[0][0]
        self.facts.standbys = self._rows("SELECT count(*) FROM pg_catalog.pg_stat_replication")[0][0]

    def _ask_plain_logins(self) -> None:
        self.facts.plain_logins = tuple(row[0] for row in self._rows(_PLAIN))

    def _ask_revisions(self) -> None:
        table = sql.Identifier(self._settings.schema_name, "alembic_version")
        self.facts.revisions = tuple(
            row[0] for row in self._rows(sql.SQL("SELECT version_num FROM {} ORDER BY 1").format(table))
        )

    def _ask_unended(self) -> None:
        table = sql.Identifier(self._settings.schema_name, "etl_migration_history")
        self.facts.unended = tuple(
            self._rows(
                sql.SQL("SELECT DISTINCT revision, part_of FROM {} WHERE part_of IS NOT NULL ORDER BY 1, 2").format(
                    table
                )
            )
        )

    def _ask_segments(self) -> None:
        configured = self._rows(
            "SELECT content::int, role::text, preferred_role::text, mode::text, status::text, hostname, port "
            "FROM pg_catalog.gp_segment_configuration ORDER BY content, role DESC"
        )
        self.facts.segments = tuple(Segment(*row) for row in configured)
        try:
            self.facts.segments_answering = self._rows("SELECT count(*) FROM gp_dist_random('gp_id')")[0][0]
        except psycopg2.Error as error:
            self.facts.failure = f"a segment does not answer: {_first_line(error)}"

    def _ask_disk(self) -> None:
        rows = self._rows("SELECT dfhostname, dfsegment, dfspace FROM gp_toolkit.gp_disk_free")
        self.facts.disk_free = {f"{str(host).strip()} content {content}": int(kb) * 1024 for host, content, kb in rows}


def _peer_of(connection: Any) -> str | None:
    """The address at the other end of a connection over a network; None on this machine."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        if end.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        address = ipaddress.ip_address(str(end.getpeername()[0]).partition("%")[0])
    return None if address.is_loopback else str(address)


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
