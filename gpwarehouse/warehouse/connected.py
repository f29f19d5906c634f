"""The shared state of the doors of a warehouse: settings, engine, embedded server, and whether the schema is current."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import exc

from gpwarehouse.engine import (
    PoolState,
    RetryPolicy,
    could_not_look,
    create_warehouse_engine,
    explain_operational_error,
    pool_state,
    reason_to_repeat,
)
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import rooms

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gpwarehouse.embedded import EmbeddedServer

__all__ = ["Connected", "Door"]


class Connected:
    """Holds the settings, the engine and, if it started one, the embedded server."""

    def __init__(self, settings: WarehouseSettings) -> None:
        self.settings = settings
        self.server: EmbeddedServer | None = None
        self._engine: Engine | None = None
        self._checked: frozenset[tuple[str, str]] | None = None

    def close(self) -> None:
        """Close the pool, and stop the embedded server if there is one."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self.server is not None:
            self.server.close()
            self.server = None

    @property
    def engine(self) -> Engine:
        """The pooled SQLAlchemy engine. It is made on first use, and connects when a connection is asked for."""
        if self._engine is None:
            self._engine = create_warehouse_engine(self.settings)
        return self._engine

    def pool_state(self) -> PoolState | None:
        """The pool of this process; None before its first use."""
        return pool_state(self._engine.pool) if self._engine is not None else None

    def forget_schema(self) -> None:
        """Check the schema again before it is next used."""
        self._checked = None

    def require_current_schema(self) -> None:
        """Check that the schema is the package's: completely once, and again if it has been migrated since.

        Each call asks the server on the pooled connection, because another process may have begun to change data in batches.
        """
        there = self._read_position()
        if there is None or there != self._checked:
            policy = RetryPolicy.once_met(self.settings, self.engine)
            policy.call("compare the schema with the package", rooms.migrate.require_current, self.settings)
            self._checked = there

    def _read_position(self) -> frozenset[tuple[str, str]] | None:
        """The position of the schema in its history; None if it cannot be read, in which case the complete check says why.

        :raises WarehouseConnectionError: the server cannot be reached.
        """

        def look() -> frozenset[tuple[str, str]]:
            with self.engine.connect() as connection:
                return rooms.migrate.position(connection, self.settings)

        try:
            return RetryPolicy.once_met(self.settings, self.engine).call("look where the schema stands", look)
        except exc.DBAPIError as error:
            if reason_to_repeat(error) is not None:
                raise explain_operational_error(error, self.settings) from error
            return None

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the driver's errors in a block as errors of ours."""
        try:
            yield
        except exc.DBAPIError as error:
            raise could_not_look(error, self.settings, "the data") from error


class Door:
    """A part of a warehouse's interface: what it does in one room."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
