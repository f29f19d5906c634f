"""The one object an ETL job holds: upgrade, load, read, sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

from sqlalchemy import URL, Executable, exc, func, select
from sqlalchemy.orm import Session

from gpwarehouse.engine import create_warehouse_engine, dialect_of, explain_operational_error
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import EtlLoadBatch, EtlReject, genealogy_sql
from gpwarehouse.models.keys import durable_key
from gpwarehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy.engine import Engine

    from gpwarehouse.embedded import EmbeddedServer
    from gpwarehouse.load import LoadResult
    from gpwarehouse.load.loader import Progress
    from gpwarehouse.migrate import Migration, PlannedStep
    from gpwarehouse.partitions import Partitions
    from gpwarehouse.read import Chunks, ExportResult
    from gpwarehouse.roles import Roles
    from gpwarehouse.validate import Finding

__all__ = ["LoadResult", "Status", "Warehouse"]

Query: TypeAlias = str | Executable
Values: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Status:
    """Where a warehouse stands.

    :ivar server: brand and version; ``revision``: the database's, None before the first; ``head``: this package's.
    :ivar rows_loaded: rows of all loaded batches, as the batches counted them.
    """

    server: str
    schema: str
    revision: str | None
    head: str
    batches_loaded: int
    batches_failed: int
    rows_loaded: int

    @property
    def is_current(self) -> bool:
        """Whether the database is at this package's head."""
        return self.revision == self.head


class Warehouse:
    """A fab's warehouse on Greenplum (or PostgreSQL).

    >>> with Warehouse("postgresql://gpadmin@127.0.0.1:5432/fab") as wh:   # doctest: +SKIP
    ...     wh.upgrade()
    ...     wh.load_file("lot.stdf.gz")
    ...     wh.read("SELECT * FROM dw.v_wafer_yield WHERE lot_id = :lot", lot="L1")

    :param url: any ``postgresql://`` or ``greenplum://`` URL; without one, the settings say (``GPWAREHOUSE_URL`` …).
    :param settings: settings to use as they are. :param overrides: settings by keyword, over those of the environment.
    :raises SettingsError: a setting is wrong, or no database is named.

    Nothing is connected before it is needed. Safe to share between threads.
    """

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
        self._checked = False

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
    def session(self) -> Iterator[Session]:
        """An ORM session in one transaction: committed at the end of the block, rolled back if it raises."""
        with Session(self.engine) as session, session.begin():
            yield session

    # Schema

    def upgrade(self, revision: str = "head", *, progress: Callable[[str], None] | None = None) -> None:
        """Bring the schema up to a revision.

        :param progress: takes a line on each revision and batch.
        :raises MigrationError: a revision failed, and nothing of it remains; or a script was edited after it was applied.
        """
        from gpwarehouse import migrate

        migrate.upgrade(self.settings, revision, progress=progress)
        self._checked = False

    def upgrade_plan(self, revision: str = "head") -> list[PlannedStep]:
        """What :meth:`upgrade` would run: revisions, their statements, what they rewrite. Nothing is changed."""
        from gpwarehouse import migrate

        return migrate.upgrade_plan(self.settings, revision)

    def downgrade(
        self, revision: str, *, drop_data: bool = False, progress: Callable[[str], None] | None = None
    ) -> None:
        """Take the schema back to a revision; ``"base"`` drops every table of ours.

        :param drop_data: whether tables and columns that hold data may be dropped, with it.
        :raises MigrationError: data would be dropped (the message names it), or a revision failed.
        """
        from gpwarehouse import migrate

        migrate.downgrade(self.settings, revision, drop_data=drop_data, progress=progress)
        self._checked = False

    def downgrade_plan(self, revision: str) -> list[PlannedStep]:
        """What :meth:`downgrade` would run, what it would drop and the rows in it. Nothing is changed."""
        from gpwarehouse import migrate

        return migrate.downgrade_plan(self.settings, revision)

    def migrations(self) -> list[Migration]:
        """All revisions in their order, each applied, pending, edited or missing."""
        from gpwarehouse import migrate

        return migrate.migrations(self.settings)

    def accept_edit(self, revision: str, *, reason: str) -> None:
        """Accept that the script of an applied revision was edited, and record why.

        :raises MigrationError: it was not edited, or no reason is given.
        """
        from gpwarehouse import migrate

        migrate.accept_edit(self.settings, revision, reason)

    def status(self) -> Status:
        """Server, revision and batches.

        :raises WarehouseConnectionError: the server cannot be reached.
        """
        from gpwarehouse import migrate

        revision = migrate.current(self.settings)
        counts: dict[str, tuple[int, int]] = {}
        if revision is not None:
            query = select(
                EtlLoadBatch.status, func.count().label("batches"), func.sum(EtlLoadBatch.rows_loaded).label("rows")
            )
            with self.engine.connect() as connection:
                for row in connection.execute(query.group_by(EtlLoadBatch.status)):
                    counts[row.status] = (row.batches, int(row.rows or 0))
        loaded, failed = counts.get("LOADED", (0, 0)), counts.get("FAILED", (0, 0))
        server = dialect_of(self.engine).server_info
        return Status(
            str(server),
            self.settings.schema_name,
            revision,
            migrate.head(self.settings),
            loaded[0],
            failed[0],
            loaded[1],
        )

    def _require_current_schema(self) -> None:
        if self._checked:
            return
        from gpwarehouse import migrate

        migrate.require_current(self.settings)
        self._checked = True

    # Load

    def load(
        self,
        target: str,
        frame: Any,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
        parallel: int = 1,
        atomic: bool = True,
    ) -> LoadResult:
        """Load a frame into a fact, once.

        Natural keys in (``lot_id``, ``wafer_id``, ``equipment_id`` …; :meth:`columns` lists them), durable keys are
        computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob
            of Parquet, CSV or Arrow files.
        :param max_rejects: count, or share of the rows, above which nothing is loaded; else as in the settings.
        :param parallel: connections that COPY at once; ``atomic=False`` lets each commit on its own: see
            :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: and its kinds; nothing of the batch was loaded.
        """
        from gpwarehouse.load import FrameSource, Loader

        self._require_current_schema()
        source = FrameSource(frame, target, source_system=source_system)
        loader = Loader(self.engine, self.settings)
        return loader.load(
            source,
            batch_id=batch_id,
            max_rejects=max_rejects,
            progress=progress,
            parallel=parallel,
            atomic=atomic,
        )

    def load_file(
        self,
        path: str | Path,
        *,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        progress: Progress | None = None,
        **source_options: Any,
    ) -> LoadResult:
        """Load a file of the trade (STDF V4, plain or compressed), once.

        :param source_options: what the file does not tell, e.g. ``facility=``, ``timezone=``, ``test_type=``.
        :raises SourceFormatError: it is no such file, or ends early; nothing was loaded.
        """
        from gpwarehouse.load import Loader
        from gpwarehouse.sources import open_source

        self._require_current_schema()
        source_options.setdefault("timezone", self.settings.stdf_timezone)
        source = open_source(path, **source_options)
        loader = Loader(self.engine, self.settings)
        return loader.load(source, batch_id=batch_id, max_rejects=max_rejects, progress=progress)

    def columns(self, target: str) -> pd.DataFrame:
        """What a frame for ``target`` may bring: name, type, whether it is needed, and what it means."""
        import pandas as pd

        from gpwarehouse.load import target_named

        found = target_named(target)
        return pd.DataFrame(
            {
                "column": column.name,
                "type": "json" if column.is_json else str(column.type),
                "needed": column.required,
                "meaning": getattr(found.table.columns.get(column.name), "comment", None) or "part of a natural key",
            }
            for column in found.inputs.values()
        )

    def rejects(self, batch_id: str) -> pd.DataFrame:
        """The rejected rows of a batch: row number, column, reason, and the row as it was given."""
        query = select(EtlReject.row_number, EtlReject.column_name, EtlReject.reason, EtlReject.raw)
        return self.read(query.where(EtlReject.batch_id == batch_id).order_by(EtlReject.row_number))

    # Partitions

    @property
    def partitions(self) -> Partitions:
        """The months of the facts: plan, apply, list, restore, skew."""
        from gpwarehouse.partitions import Partitions

        return Partitions(self.engine, self.settings)

    # Validation and roles

    def validate(self, *, roles: bool | None = None) -> list[Finding]:
        """Compare the database with the models; nothing is changed, and there is no finding right after an upgrade.

        :param roles: whether to compare rights; None: if one of the roles has any in the schema.
        """
        from gpwarehouse.validate import validate

        return validate(self.engine, self.settings, roles=roles)

    @property
    def roles(self) -> Roles:
        """Reader, loader and admin of the schema: plan, apply."""
        from gpwarehouse.roles import Roles

        return Roles(self.engine, self.settings)

    # Read

    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[True], chunks: None = None, **options: Any
    ) -> pa.Table: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[True], chunks: int, **options: Any
    ) -> Chunks[pa.Table]: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, chunks: int, arrow: Literal[False] = False, **options: Any
    ) -> Chunks[pd.DataFrame]: ...
    @overload
    def read(
        self, statement: Query, values: Values = None, /, *, arrow: Literal[False] = False, **options: Any
    ) -> pd.DataFrame: ...
    def read(self, statement: Query, values: Values = None, /, **options: Any) -> Any:
        """Run a query and return its result as a pandas frame; the transaction is read-only.

        :param statement: SQL with ``:name`` parameters, or a select. :param options: their values (in a dict before, where
            names clash), ``arrow``, ``chunks``, ``parse_json``, ``exact_numeric``, ``progress``: see :func:`read.read`.
        :raises ReadError: the server refused it, or a parameter is missing or not used.
        """
        from gpwarehouse.read import read

        with self._explained():
            return read(self.engine, statement, values, **options)

    def export(self, statement: Query, target: str | Path, params: Values = None, **options: Any) -> ExportResult:
        """Write a query's result to a Parquet file, or to a folder of them with ``partition_by=``, in constant memory.

        :param options: ``partition_by``, ``overwrite``, ``compression``, ``exact_numeric``, ``progress``; see :func:`read.export`
        :raises ReadError: as for :meth:`read`, or the target will not do; nothing is left behind.
        """
        from gpwarehouse.read import export

        with self._explained():
            return export(self.engine, statement, target, params, **options)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except exc.OperationalError as error:
            raise explain_operational_error(error, self.settings) from error

    def genealogy(self, lot_id: str) -> pd.DataFrame:
        """All ancestors and descendants of a lot, any depth; starts at the lot, so it is quick in a large fab."""
        schema = self.engine.dialect.identifier_preparer.quote_schema(self.settings.schema_name)
        return self.read(genealogy_sql().replace("{schema}", schema), lot_key=durable_key(lot_id))


def __getattr__(name: str) -> Any:
    if name == "LoadResult":  # pyarrow comes with it, so not before it is asked for
        from gpwarehouse.load import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
