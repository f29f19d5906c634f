"""What every part of the warehouse stands on: settings, engine, embedded server, sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL, exc

from gpwarehouse.engine import (
    RetryPolicy,
    could_not_look,
    create_warehouse_engine,
    explain_operational_error,
    reason_to_repeat,
    session_values,
    unit_of_work,
)
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from gpwarehouse.embedded import EmbeddedServer

__all__ = ["Connected"]


class Connected:
    """Holds the settings, the engine and, where it is its own, the server."""

    def __init__(
        self, url: str | URL | None = None, *, settings: WarehouseSettings | None = None, **overrides: Any
    ) -> None:
        if url is not None:
            overrides["url"] = url.render_as_string(hide_password=False) if isinstance(url, URL) else url
        if settings is not None and overrides:
            raise InvalidInputError("give either settings= or single settings, not both")
        self.settings = settings if settings is not None else WarehouseSettings(**overrides)
        self._engine: Engine | None = None
        self._server: EmbeddedServer | None = None
        self._checked: frozenset[tuple[str, str]] | None = None

    @classmethod
    def embedded(cls, path: str | Path | None = None, **overrides: Any) -> Self:
        """A warehouse on a PostgreSQL of its own, started here and stopped with it; needs ``gpwarehouse[embedded]``.

        :param path: folder for the data, kept; without one the data is gone when the warehouse is closed.
        """
        from gpwarehouse.embedded import EmbeddedServer

        server = EmbeddedServer.start(None if path is None else Path(path))
        try:
            warehouse = cls(server.url(), **overrides)
        except BaseException:
            server.close()
            raise
        warehouse._server = server
        return warehouse

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: the same settings, password included, and an engine of its own."""
        return _again, (type(self), self.settings)

    def __repr__(self) -> str:
        return f"Warehouse({self.settings.redacted()!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool, and stop the embedded server if there is one."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def engine(self) -> Engine:
        """The pooled SQLAlchemy engine; made on first use, connects when a connection is asked for."""
        if self._engine is None:
            self._engine = create_warehouse_engine(self.settings)
        return self._engine

    @contextmanager
    def session(self, **options: Any) -> Iterator[Session]:
        """An ORM session in one transaction: committed at the end of the block, rolled back if it raises.

        :param options: of this transaction alone, e.g. ``statement_mem="2GB", optimizer="off"``; see
            :data:`gpwarehouse.engine.SESSION_OPTIONS`. What only Greenplum has is left out on PostgreSQL.
        :raises InvalidInputError: an unknown option, or a value that is not allowed.
        :raises AmbiguousCommitError: the connection was lost while COMMIT was under way; see :meth:`run`.
        """
        with unit_of_work(self.engine, session_values(options)) as session:
            yield session

    def _require_current_schema(self) -> None:
        """Look whether the schema is the package's: all of it once, and again where somebody has migrated since.

        A question on the pooled connection each time: another process may have begun to change data in batches.
        """
        from gpwarehouse import migrate

        there = self._position()
        if there is None or there != self._checked:
            policy = RetryPolicy.once_met(self.settings, self.engine)
            policy.call("compare the schema with the package", migrate.require_current, self.settings)
            self._checked = there

    def _position(self) -> frozenset[tuple[str, str]] | None:
        """Where the schema's history stands; None where it cannot be told, and the whole check says why.

        :raises WarehouseConnectionError: the server is not there, or was lost and did not come back.
        """
        from gpwarehouse import migrate

        def look() -> frozenset[tuple[str, str]]:
            with self.engine.connect() as connection:
                return migrate.position(connection, self.settings)

        try:
            return RetryPolicy.once_met(self.settings, self.engine).call("look where the schema stands", look)
        except exc.DBAPIError as error:
            if reason_to_repeat(error) is not None:
                raise explain_operational_error(error, self.settings) from error
            return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise could_not_look(error, self.settings, "the data") from error


def _again(kind: type[Connected], settings: WarehouseSettings) -> Connected:
    return kind(settings=settings)
