"""What every door of the warehouse holds: settings, engine, embedded server, and whether the schema is ours."""

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

__all__ = ["Connected"]


class Connected:
    """Holds the settings, the engine and, where it is its own, the server."""

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
        """The pooled SQLAlchemy engine; made on first use, connects when a connection is asked for."""
        if self._engine is None:
            self._engine = create_warehouse_engine(self.settings)
        return self._engine

    def pool_state(self) -> PoolState | None:
        """The pool of this process; None before it is used."""
        return pool_state(self._engine.pool) if self._engine is not None else None

    def forget_schema(self) -> None:
        """Look at the schema again before it is next relied on."""
        self._checked = None

    def require_current_schema(self) -> None:
        """Look whether the schema is the package's: all of it once, and again where somebody has migrated since.

        A question on the pooled connection each time: another process may have begun to change data in batches.
        """
        there = self._position()
        if there is None or there != self._checked:
            policy = RetryPolicy.once_met(self.settings, self.engine)
            policy.call("compare the schema with the package", rooms.migrate.require_current, self.settings)
            self._checked = there

    def _position(self) -> frozenset[tuple[str, str]] | None:
        """Where the schema's history stands; None where it cannot be told, and the whole check says why.

        :raises WarehouseConnectionError: the server is not there, or was lost and did not come back.
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
    def explained(self) -> Iterator[None]:
        """Errors of the driver in a block as errors of ours."""
        try:
            yield
        except exc.DBAPIError as error:
            raise could_not_look(error, self.settings, "the data") from error


class Door:
    """What a warehouse does in one room."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
