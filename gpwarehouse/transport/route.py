"""The path of a load: what the settings ask for, what the server can do, and why another path is not taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal
from weakref import WeakKeyDictionary

import pyarrow as pa
from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.transport.copy import Stored, copy_rows
from gpwarehouse.transport.gpfdist import CannotServeError
from gpwarehouse.transport.gpfdist_load import Address, RejectPolicy, insert_rows, why_not
from gpwarehouse.transport.parallel import copy_parallel

__all__ = ["Route", "Router", "Transport"]

Transport = Literal["auto", "copy", "gpfdist"]
AUTO_ROWS = 1_000_000
"""From so many rows ``auto`` uses gpfdist; with fewer rows, a COPY is done before the segments have been set up."""

_log = logging.getLogger(__name__)
RETRY_OBSTACLE_S = 600
"""Seconds after which gpfdist is tried again: the obstacle may be gone."""
_obstacles: WeakKeyDictionary[Engine, dict[Address, tuple[str, float]]] = WeakKeyDictionary()
"""Why gpfdist does not work, or an empty text, and when that was found."""


class Route:
    """The path of one load.

    :ivar reason: why it is COPY although gpfdist was asked for; else empty.
    """

    def __init__(self, address: Address | None, reason: str = "", *, connections: int = 1, atomic: bool = True) -> None:
        self._address = address
        self._connections = connections
        self._atomic = atomic
        self.reason = reason

    def store(
        self,
        connection: Connection,
        table: Table,
        batches: Iterable[pa.RecordBatch],
        columns: tuple[str, ...],
        rejecting: RejectPolicy | None = None,
    ) -> Stored:
        """Store batches in the connection's transaction, like :func:`copy_rows` and :func:`insert_rows`.

        :param rejecting: rows that gpfdist may leave out; a COPY stores all rows or fails.
        """
        if self._address is not None:
            try:
                return insert_rows(connection, table, batches, columns, self._address, rejecting)
            except CannotServeError as error:  # other loads may use the ports; no row has been taken yet
                self.reason = str(error)
                _log.warning("loading by COPY, not gpfdist: %s", error)
        if self._connections > 1:
            done = copy_parallel(connection, table, batches, columns, self._connections, atomic=self._atomic)
        else:
            done = copy_rows(connection, table, batches, columns)
        return replace(done, reason=self.reason)

    @property
    def counts_lines(self) -> bool:
        """Whether the line in the server's refusal of a row is the row's place among those sent."""
        return self._address is None and self._connections == 1

    @property
    def can_repeat(self) -> bool:
        """Whether the caller's savepoint undoes everything that a failed attempt stored."""
        return self._atomic or self._connections == 1

    def on_one_connection(self) -> Route:
        """The same rows by a single COPY, which counts lines."""
        return Route(None, self.reason or "the server refused a row, and only a single COPY tells which")


class Router:
    """Chooses the path. The first load that could use gpfdist tries, once per engine, whether the segments can reach us.

    If they cannot, it is tried again after :data:`RETRY_OBSTACLE_S`.

    :param transport: ``"copy"``; ``"gpfdist"``, with COPY if that does not work; ``"auto"``: gpfdist for a load of at least
        :data:`AUTO_ROWS` rows into a Greenplum whose segments can reach this process.
    """

    def __init__(self, engine: Engine, transport: Transport, address: Address) -> None:
        self._engine = engine
        self._transport = transport
        self._address = address

    def route(self, rows: int, *, connections: int = 1, atomic: bool = True) -> Route:
        """Choose the path of a load of so many rows. Call it outside a transaction: it may open a connection of its own.

        :param connections: number of connections for COPY; gpfdist needs only one.
        :param atomic: see :func:`copy_parallel`.
        """
        copy = Route(None, connections=connections, atomic=atomic)
        if self._transport == "copy" or (self._transport == "auto" and (rows < AUTO_ROWS or connections > 1)):
            return copy
        copy.reason = self._find_obstacle()
        return copy if copy.reason else Route(self._address)

    def _find_obstacle(self) -> str:
        """Why the segments cannot reach us; empty if they can."""
        tried = _obstacles.setdefault(self._engine, {})
        obstacle, found_at = tried.get(self._address, ("", None))
        if found_at is None or (obstacle and time.monotonic() - found_at > RETRY_OBSTACLE_S):
            obstacle = why_not(self._engine, self._address)
            tried[self._address] = obstacle, time.monotonic()
            if obstacle:
                level = logging.WARNING if self._transport == "gpfdist" else logging.INFO
                _log.log(level, "loading by COPY, not gpfdist: %s", obstacle)
        return obstacle
