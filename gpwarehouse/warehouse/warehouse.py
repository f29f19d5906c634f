"""The one object that a job holds: upgrade, load, read, sessions, and a door to each room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import wraps
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from sqlalchemy import URL, TableClause

from gpwarehouse.engine import RetryPolicy, session_values, unit_of_work
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.warehouse import rooms, units
from gpwarehouse.warehouse.batches import Batches
from gpwarehouse.warehouse.connected import Connected
from gpwarehouse.warehouse.counting import count_merge
from gpwarehouse.warehouse.data import Data
from gpwarehouse.warehouse.dimensions import Dimensions
from gpwarehouse.warehouse.facts import Facts
from gpwarehouse.warehouse.health import Health, HealthCheck
from gpwarehouse.warehouse.loading import check_load, load_file, load_files, load_frame
from gpwarehouse.warehouse.reading import Query, Values, export, read
from gpwarehouse.warehouse.schema import Schema
from gpwarehouse.warehouse.status import Status, status_of
from gpwarehouse.warehouse.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from gpwarehouse.backup import Backups
    from gpwarehouse.dimensions import MergeResult
    from gpwarehouse.engine import PoolState, Settled
    from gpwarehouse.engine.progress import Announce, Progress
    from gpwarehouse.intake.load_options import Analyze
    from gpwarehouse.load import CsvOptions, FileOutcome, FilesReport, LoadKeywords, LoadResult
    from gpwarehouse.partitions import Partitions
    from gpwarehouse.read import Chunks, ExportResult

__all__ = ["Warehouse"]

P = ParamSpec("P")
Result = TypeVar("Result")


class Warehouse:
    """A fab's warehouse on Greenplum (or PostgreSQL).

    >>> with Warehouse("postgresql://gpadmin@127.0.0.1:5432/fab") as wh:   # doctest: +SKIP
    ...     wh.upgrade()
    ...     wh.load_file("lot.stdf.gz")
    ...     wh.read("SELECT * FROM dw.v_wafer_yield WHERE lot_id = :lot", lot="L1")

    Its own methods are those that jobs use daily. The others are behind doors, one per room: :attr:`schema`, :attr:`batches`,
    :attr:`facts`, :attr:`dimensions`, :attr:`partitions`, :attr:`tables`,
    :attr:`data`, :meth:`backup`.

    It connects when a connection is first needed. Several threads may use it.

    :param url: any ``postgresql://`` or ``greenplum://`` URL; by default that of the settings (``GPWAREHOUSE_URL`` …).
    :param settings: complete settings to use.
    :param overrides: single settings by keyword, which take precedence over those of the environment.
    :raises SettingsError: a setting is wrong, or no database is named.
    """

    def __init__(
        self, url: str | URL | None = None, *, settings: WarehouseSettings | None = None, **overrides: Any
    ) -> None:
        if url is not None:
            overrides["url"] = url.render_as_string(hide_password=False) if isinstance(url, URL) else url
        if settings is not None and overrides:
            raise InvalidInputError("give either settings= or single settings, not both")
        self._connected = Connected(settings if settings is not None else WarehouseSettings(**overrides))
        self._health_check = HealthCheck(self._connected)

    @classmethod
    def embedded(cls, path: str | Path | None = None, **overrides: Any) -> Self:
        """Make a warehouse on a PostgreSQL of its own, which is started and stopped with it; needs ``gpwarehouse[embedded]``.

        :param path: folder in which the data is kept; without one the data is deleted when the warehouse is closed.
        """
        server = rooms.embedded.EmbeddedServer.start(None if path is None else Path(path))
        try:
            warehouse = cls(server.url(), **overrides)
        except BaseException:
            server.close()
            raise
        warehouse._connected.server = server
        return warehouse

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle for another process: the same settings, including the password, and an engine of its own."""
        return _make_again, (type(self), self.settings)

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
        self._connected.close()

    @property
    def settings(self) -> WarehouseSettings:
        """The settings that it was made with."""
        return self._connected.settings

    @property
    def engine(self) -> Engine:
        """The pooled SQLAlchemy engine. It is made on first use, and connects when a connection is asked for."""
        return self._connected.engine

    def pool_state(self) -> PoolState | None:
        """Connections of this process's pool: idle, in use, limit, holders; None before its first use."""
        return self._connected.pool_state()

    @property
    def schema(self) -> Schema:
        """Plans, revisions, validation, roles."""
        return Schema(self._connected)

    @property
    def batches(self) -> Batches:
        """Batches: list, rejects, reload, delete, replace."""
        return Batches(self._connected)

    @property
    def facts(self) -> Facts:
        """Facts: columns, upsert, delete, and whole months."""
        return Facts(self._connected)

    @property
    def dimensions(self) -> Dimensions:
        """Dimensions: re-key wafers, bridges, genealogy, the calendar."""
        return Dimensions(self._connected)

    @property
    def partitions(self) -> Partitions:
        """The months of the facts: plan, apply, list, restore, skew."""
        return rooms.partitions.Partitions(self.engine, self.settings)

    @property
    def tables(self) -> Tables:
        """Tables: list, statistics, maintenance."""
        return Tables(self._connected)

    @property
    def data(self) -> Data:
        """All data: check it, or load a generated fab."""
        return Data(self._connected)

    def backup(self, url: str | None = None) -> Backups:
        """The backups of one place: create, list, verify, restore, prune.

        :param url: a folder, or a URL ``file://``, ``s3://``, ``gs://`` or ``abfss://``; by default ``GPWAREHOUSE_BACKUP_URL``.
        :raises BackupError: there is no place.
        """
        return rooms.backup.Backups(lambda: self.engine, self.settings, url)

    def upgrade(self, revision: str = "head", *, progress: Announce | None = None) -> None:
        """Upgrade the schema to a revision.

        :param progress: called with a line about each revision and batch.
        :raises MigrationError: a revision failed and was undone; or a script was edited after it was applied.
        """
        rooms.migrate.upgrade(self.settings, revision, progress=progress)
        self._connected.forget_schema()

    def downgrade(self, revision: str, *, drop_data: bool = False, progress: Announce | None = None) -> None:
        """Downgrade the schema to a revision; ``"base"`` drops all our tables.

        :param drop_data: whether tables and columns that hold data may be dropped.
        :raises MigrationError: data would be dropped (the message names it), or a revision failed.
        """
        rooms.migrate.downgrade(self.settings, revision, drop_data=drop_data, progress=progress)
        self._connected.forget_schema()

    def status(self) -> Status:
        """Read server, revision and batches.

        :raises WarehouseConnectionError: the server cannot be reached.
        """
        return status_of(self._connected)

    def health(self, *, timeout_s: float = 10.0, disk: bool = False) -> Health:
        """Check the health of server, segments, schema and pool. It is cheap enough to poll, and raises no error.

        :param timeout_s: seconds after which a server that does not answer is down.
        :param disk: also ask for the free space of the segments, which starts a process on each.
        """
        return self._health_check.ask(timeout_s=timeout_s, disk=disk)

    def load(
        self,
        target: str,
        frame: Any,
        *,
        source_system: str = "FRAME",
        csv: CsvOptions | None = None,
        **options: Unpack[LoadKeywords],
    ) -> LoadResult:
        """Load a frame into a fact, once.

        The frame has natural keys (``lot_id``, ``wafer_id``, ``equipment_id`` …; ``wh.facts.columns`` lists them); durable
        keys are computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded only once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob of
            Parquet, CSV or Arrow files.
        :param csv: options of CSV files that the files do not show: :class:`gpwarehouse.CsvOptions`.
        :param options: ``batch_id``, ``on_conflict`` (``"skip"``, ``"error"``, ``"append"``, ``"replace"``), ``max_rejects``,
            ``progress``, ``parallel``, ``atomic``, ``analyze``, ``parameter_names``, ``parameter_prefix``: see
            :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: nothing of the batch was loaded. Subclasses name the cause.
        """
        return load_frame(self._connected, target, frame, csv, source_system, dict(options))

    def check_load(self, target: str | None = None, **options: Any) -> None:
        """Check the target and options of :meth:`load_file` before the file is at hand. The server is not asked.

        :param target: the fact for rows of a table; None for a test data file.
        :raises InvalidInputError: there is no such fact, or an option is not allowed.
        """
        check_load(target, dict(options))

    def load_file(self, path: str | Path, *, target: str | None = None, **options: Any) -> LoadResult:
        """Load a file, once.

        :param target: the fact for the rows of a Parquet, CSV or Arrow file. A test data file (STDF V4, plain or compressed)
            determines it itself.
        :param options: those of :meth:`load`, including ``csv=``. For a test data file also what holds where the file says
            nothing: ``lot_id=``, ``wafer_id=``, ``event_ts=``, ``facility=``, ``product_id=``, ``test_program=``,
            ``equipment_id=``. Where the file says something else, the file counts, and the result's ``warnings`` say so.
            ``timezone=`` is the zone of its times. ``test_type=`` takes precedence over the file's. ``allow_incomplete=True``
            loads what can be read of an incomplete file.
        :raises SourceFormatError: it is not such a file, it is incomplete, or it does not name its lot or time; nothing was
            loaded.
        """
        return load_file(self._connected, path, target, options)

    def load_files(
        self,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        *,
        target: str | None = None,
        each: Callable[[FileOutcome], object] | None = None,
        **options: Any,
    ) -> FilesReport:
        """Load many files, each as a batch of its own. A file that fails does not keep the others from being loaded.

        If it was killed and is called again, it loads the missing files and reports the others as already loaded. When the
        server is lost, the remaining files are not tried.

        :param paths: paths, globs and folders. A folder means the test data files in it and below; with a ``target``, the
            files with tables directly in it. Files in a folder that are of no known kind are reported as passed over.
        :param each: called with the outcome of every file as soon as it is known.
        :param options: those of :meth:`load_file`, except ``batch_id``.
        :raises InvalidInputError: ``batch_id`` was given.
        """
        return load_files(self._connected, paths, target, each, options)

    def merge(
        self,
        dimension: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        effective: str | datetime = "effective_date",
        deletes: str | None = None,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
    ) -> MergeResult:
        """Merge a frame of member attributes into the history of a dimension (SCD type 2).

        A row says what the columns that it gives hold from its time on, NULL included. It says nothing about other columns.
        The files of a glob or dataset, and the dicts of an iterable, may each give other columns. Rows of different moments
        make the same history in every order and grouping (:mod:`gpwarehouse.dimensions.versions` has the rules). Of rows of
        one moment, the later one corrects the earlier. A row that says what is already in force begins no version. Type 1
        columns have, in all versions, the value of the row with the latest moment. New members begin in 1900; inferred members
        are completed in place. Members of other dimensions are given by natural keys (``product_id``, ``lot_id``,
        ``parent_equipment_id`` …), and made if they are missing. A row with a value that its column does not allow, or with
        control limits out of order (LSL > USL), is a reject.

        :param dimension: table name, e.g. ``"dim_lot"``.
        :param frame: natural keys and attributes; any frame that :meth:`load` takes.
        :param csv: as for :meth:`load`.
        :param effective: the column with the time from which a row holds, or one time for all rows; both with a time zone.
        :param deletes: a boolean column that is true if the member is deleted from that time on. The member keeps its attributes,
            in a version whose ``row_hash`` is ``gpwarehouse.dimensions.DELETED_HASH``.
        :param batch_id: a batch with this id is done once. Without an id the frame is merged again each time. That changes
            nothing unless something else was merged for the same moment in between, which it then corrects.
        :param max_rejects: number of rejects, or their share of the rows, above which nothing is merged; by default the setting.
        :param analyze: when to gather statistics afterwards: ``"auto"`` (if a tenth of the rows changed), ``"always"``,
            ``"never"``; by default the setting.
        :raises InvalidInputError: there is no such dimension, or columns are unknown or missing.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises LoadError: nothing was merged. Subclasses name the cause.
        """
        self._connected.require_current_schema()
        options: dict[str, Any] = {
            "effective": effective, "deletes": deletes, "batch_id": batch_id, "max_rejects": max_rejects,
            "source_system": source_system, "analyze": analyze, "progress": progress,
        }  # fmt: skip
        merger = rooms.dimensions.Merger(self.engine, self.settings)
        frame = rooms.load.table_files(frame, csv)
        return count_merge(dimension, lambda: merger.merge(dimension, frame, **options))

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
        """Run a query and return its result as a pandas frame. The transaction is read-only.

        :param statement: SQL with ``:name`` parameters, or an SQLAlchemy select.
        :param options: values of the parameters (in a dict as the second argument if their names are those of options),
            ``arrow``, ``chunks``, ``parse_json``, ``exact_numeric``, ``progress``, ``transport``, ``parallel``, ``session``: see
            :func:`read.read`.
        :raises ReadError: the server refused the query, or a parameter is missing or not used.
        """
        return read(self._connected, statement, values, **options)

    def export(self, statement: Query, target: str | Path, params: Values = None, **options: Any) -> ExportResult:
        """Write a query's result to a Parquet, Arrow, CSV or JSON file, or to a folder of Parquet files with ``partition_by=``.

        Memory is constant.

        :param options: ``partition_by``, ``overwrite``, ``compression``, ``exact_numeric``, ``progress``, ``transport``,
            ``parallel``, ``session``, ``max_bytes``: see :func:`read.export`.
        :raises ReadError: as for :meth:`read`, or the target cannot be written; nothing is left behind.
        """
        return export(self._connected, statement, target, params, **options)

    def view(self, name: str) -> TableClause:
        """Get a view to select from, with columns typed as in the database.

        >>> v = wh.view("v_wafer_yield")   # doctest: +SKIP
        >>> wh.read(select(v.c.wafer_id, v.c.die_yield_pct).where(v.c.lot_id == "L1"))   # doctest: +SKIP

        :raises ReadError: there is no such view.
        """
        policy = RetryPolicy.once_met(self.settings, self.engine)
        with self._connected.translate_errors():
            return policy.call("look at a view", rooms.read.view_table, self.engine, name, self.settings.schema_name)

    @contextmanager
    def session(self, **options: Any) -> Iterator[Session]:
        """Open an ORM session in one transaction: committed at the end of the block, rolled back if it raises.

        :param options: options of this transaction, e.g. ``statement_mem="2GB", optimizer="off"``; see
            :data:`gpwarehouse.engine.SESSION_OPTIONS`. Options that only Greenplum has are ignored on PostgreSQL.
        :raises InvalidInputError: an option is unknown, or its value is not allowed.
        :raises AmbiguousCommitError: the connection was lost during COMMIT; see :meth:`run`.
        """
        with unit_of_work(self.engine, session_values(options)) as session:
            yield session

    def run(
        self,
        work: Callable[[Session], Result],
        *,
        settled: Settled | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> Result:
        """Call ``work`` with a session and commit; repeat it if that is safe.

        :param work: outside the session it must do only what may be done twice.
        :param settled: looks, in a new session, whether the work is done, after a COMMIT without an answer.
        :param deadline_s: seconds after which no new attempt begins; by default the setting ``retry_deadline_s``.
        :param options: options of the session, as for :meth:`session`.
        :return: what ``work`` returned.
        :raises InvalidInputError: ``work`` is a coroutine or a generator, which does nothing when it is called.
        :raises AmbiguousCommitError: the transaction may have been committed, and there is no ``settled`` to find out.
        """
        return units.run(self._connected, work, settled, deadline_s, options)

    def retrying(
        self, *, settled: Settled | None = None, deadline_s: float | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Session, P], Result]], Callable[P, Result]]:
        """Make a decorator: the function gets a session as its first argument, and runs as by :meth:`run`.

        >>> @wh.retrying()                                                          # doctest: +SKIP
        ... def close_lot(session, lot_id): ...
        >>> close_lot("A123.1")                                                     # doctest: +SKIP
        """

        def decorate(function: Callable[Concatenate[Session, P], Result]) -> Callable[P, Result]:
            @wraps(function)
            def repeated(*args: P.args, **kwargs: P.kwargs) -> Result:
                @wraps(function)
                def work(session: Session) -> Result:
                    return function(session, *args, **kwargs)

                return self.run(work, settled=settled, deadline_s=deadline_s, **options)

            return repeated

        return decorate

    def attempts(
        self, *, settled: Settled | None = None, deadline_s: float | None = None, **options: Any
    ) -> Iterator[AbstractContextManager[Session]]:
        """Repeat a block as :meth:`run` does: ``for attempt in wh.attempts(): with attempt as session: …``."""
        policy = RetryPolicy.of(self.settings, deadline_s)
        return policy.units(self.engine, settled=settled, options=options)


def _make_again(kind: type[Warehouse], settings: WarehouseSettings) -> Warehouse:
    return kind(settings=settings)
