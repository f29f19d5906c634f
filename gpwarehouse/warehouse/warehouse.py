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
from gpwarehouse.warehouse.counting import counted_merge
from gpwarehouse.warehouse.data import Data
from gpwarehouse.warehouse.dimensions import Dimensions
from gpwarehouse.warehouse.facts import Facts
from gpwarehouse.warehouse.health import Health, HealthCheck
from gpwarehouse.warehouse.loading import load_file, load_files, load_frame
from gpwarehouse.warehouse.reading import Query, Values, export, read
from gpwarehouse.warehouse.schema import Schema
from gpwarehouse.warehouse.status import Status, status_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from gpwarehouse.dimensions import MergeResult
    from gpwarehouse.engine import Settled
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

    What a job does daily stands here. The rest is behind doors, one a room: :attr:`schema`, :attr:`batches`, :attr:`facts`,
    :attr:`dimensions`, :attr:`partitions`, :attr:`data`.

    Nothing is connected before it is needed. Threads may share it.

    :param url: any ``postgresql://`` or ``greenplum://`` URL; without one, the settings say (``GPWAREHOUSE_URL`` …).
    :param settings: settings to use as they are.
    :param overrides: settings by keyword, over those of the environment.
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
        """A warehouse on a PostgreSQL of its own, started here and stopped with it; needs ``gpwarehouse[embedded]``.

        :param path: folder for the data, kept; without one the data is gone when the warehouse is closed.
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
        """For another process: the same settings, password included, and an engine of its own."""
        return _made_again, (type(self), self.settings)

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
        """The pooled SQLAlchemy engine; made on first use, connects when a connection is asked for."""
        return self._connected.engine

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
    def data(self) -> Data:
        """All data: check it, or make it up."""
        return Data(self._connected)

    def upgrade(self, revision: str = "head", *, progress: Announce | None = None) -> None:
        """Bring the schema up to a revision.

        :param progress: takes a line on each revision and batch.
        :raises MigrationError: a revision failed, and nothing of it remains; or a script was edited after it was applied.
        """
        rooms.migrate.upgrade(self.settings, revision, progress=progress)
        self._connected.forget_schema()

    def downgrade(self, revision: str, *, drop_data: bool = False, progress: Announce | None = None) -> None:
        """Take the schema back to a revision; ``"base"`` drops every table of ours.

        :param drop_data: whether tables and columns that hold data may be dropped, with it.
        :raises MigrationError: data would be dropped (the message names it), or a revision failed.
        """
        rooms.migrate.downgrade(self.settings, revision, drop_data=drop_data, progress=progress)
        self._connected.forget_schema()

    def status(self) -> Status:
        """Server, revision and batches.

        :raises WarehouseConnectionError: the server cannot be reached.
        """
        return status_of(self._connected)

    def health(self, *, timeout_s: float = 10.0, disk: bool = False) -> Health:
        """How server, segments, schema and pool are; cheap enough to poll, and it raises nothing.

        :param timeout_s: seconds after which a server that does not answer is down.
        :param disk: ask for the segments' free space too; that starts a process on each.
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

        Natural keys in (``lot_id``, ``wafer_id``, ``equipment_id`` …; ``wh.facts.columns`` lists them), durable keys are
        computed. Missing months and members are made. The same content, or the same ``batch_id``, is loaded once.

        :param frame: pandas or polars DataFrame, pyarrow Table, reader or dataset, an iterable of dicts, or the path or glob
            of Parquet, CSV or Arrow files.
        :param csv: how CSV files are written, where they do not say it: :class:`gpwarehouse.CsvOptions`.
        :param options: ``batch_id``, ``on_conflict`` (``"skip"``, ``"error"``, ``"append"``, ``"replace"``), ``max_rejects``,
            ``progress``, ``parallel``, ``atomic``, ``analyze``: see :meth:`gpwarehouse.load.Loader.load`.
        :raises LoadError: and its kinds; nothing of the batch was loaded.
        """
        return load_frame(self._connected, target, frame, csv, source_system, dict(options))

    def load_file(self, path: str | Path, *, target: str | None = None, **options: Any) -> LoadResult:
        """Load a file, once.

        :param target: the fact that the rows of a Parquet, CSV or Arrow file go to; a file of the trade (STDF V4, plain or
            compressed) tells it itself.
        :param options: those of :meth:`load`, ``csv=`` among them; what holds where a file of the trade says nothing (where it
            says another thing, the file's stands, and the result's ``warnings`` tell): ``lot_id=``, ``wafer_id=``,
            ``event_ts=``, ``facility=``, ``product_id=``, ``test_program=``, ``equipment_id=``; ``timezone=`` of its times;
            ``test_type=``, which goes before the file's; ``allow_incomplete=True`` to load what there is of a file that is
            not whole.
        :raises SourceFormatError: it is no such file, it is not whole, or it says not of which lot or time it is; nothing was
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
        """Load many files, each a batch of its own; what fails in one keeps no other from being loaded.

        Called again after it was killed, it loads what is missing and reports the others as already loaded. When the
        server is lost, the files left are not tried.

        :param paths: paths, globs and folders. A folder stands for the files of the trade in it and below, with a ``target``
            for the files of tables in it; what is of no kind that is read there is reported as passed over.
        :param each: called with every file's outcome as soon as it is known.
        :param options: those of :meth:`load_file`, but for ``batch_id``.
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
        """Merge what a frame says of members into their history (SCD type 2).

        A row says what the columns that it names hold from its time on, NULL too; of the others it says nothing. The files of
        a glob or dataset, and the dicts of an iterable, may each name others. Words of
        different moments come to the same history in whatever order and grouping they are merged
        (:mod:`gpwarehouse.dimensions.versions` says how); of one moment the later corrects the earlier. A row that says
        what is in force begins no version. Columns of type 1 hold in all versions what the row with the latest moment says. New
        members start in 1900, inferred ones are completed in place. Members of other dimensions are named by natural
        keys (``product_id``, ``lot_id``, ``parent_equipment_id`` …) and made where missing. A row with a value that its column
        may not hold, or with control limits out of order (LSL > USL), is a reject.

        :param dimension: table name, e.g. ``"dim_lot"``.
        :param frame: natural keys and attributes; all that :meth:`load` takes.
        :param csv: as there.
        :param effective: the column with the time from which a row holds, or one moment for all, both with a time zone.
        :param deletes: a column of booleans: true where the member is deleted from that time on. It keeps its attributes,
            in a version whose ``row_hash`` begins with ``gpwarehouse.dimensions.DELETED_HASH``.
        :param batch_id: done once. Without one the frame counts again each time: said twice in a row it changes nothing, and
            where something else was said of the same moment in between, it corrects that.
        :param max_rejects: count, or share of the rows, above which nothing is merged; else as in the settings.
        :param analyze: statistics after it: ``"auto"`` (where a tenth of the rows changed), ``"always"``, ``"never"``; else as
            in the settings.
        :raises InvalidInputError: no such dimension, unknown or missing columns.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises LoadError: and its kinds; nothing was merged.
        """
        self._connected.require_current_schema()
        options: dict[str, Any] = {
            "effective": effective, "deletes": deletes, "batch_id": batch_id, "max_rejects": max_rejects,
            "source_system": source_system, "analyze": analyze, "progress": progress,
        }  # fmt: skip
        merger = rooms.dimensions.Merger(self.engine, self.settings)
        frame = rooms.load.table_files(frame, csv)
        return counted_merge(dimension, lambda: merger.merge(dimension, frame, **options))

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

        :param statement: SQL with ``:name`` parameters, or a select.
        :param options: their values (in a dict before, where
            names clash), ``arrow``, ``chunks``, ``parse_json``, ``exact_numeric``, ``progress``,
            ``transport``, ``parallel``, ``session``: see :func:`read.read`.
        :raises ReadError: the server refused it, or a parameter is missing or not used.
        """
        return read(self._connected, statement, values, **options)

    def export(self, statement: Query, target: str | Path, params: Values = None, **options: Any) -> ExportResult:
        """Write a query's result to a Parquet, CSV or JSON file, or to a folder of Parquet with ``partition_by=``.

        Memory is constant.

        :param options: ``partition_by``, ``overwrite``, ``compression``, ``exact_numeric``, ``progress``, ``transport``,
            ``parallel``, ``session``: see :func:`read.export`.
        :raises ReadError: as for :meth:`read`, or the target will not do; nothing is left behind.
        """
        return export(self._connected, statement, target, params, **options)

    def view(self, name: str) -> TableClause:
        """A view as something to select from, its columns typed as in the database.

        >>> v = wh.view("v_wafer_yield")   # doctest: +SKIP
        >>> wh.read(select(v.c.wafer_id, v.c.die_yield_pct).where(v.c.lot_id == "L1"))   # doctest: +SKIP

        :raises ReadError: there is no such view.
        """
        policy = RetryPolicy.once_met(self.settings, self.engine)
        with self._connected.explained():
            return policy.call("look at a view", rooms.read.view_table, self.engine, name, self.settings.schema_name)

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

    def run(
        self,
        work: Callable[[Session], Result],
        *,
        settled: Settled | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> Result:
        """Call ``work`` with a session and commit; again where that is safe.

        :param work: must do nothing outside the session that may not be done twice.
        :param deadline_s: seconds after which no attempt begins any more; else ``retry_deadline_s`` of the settings.
        :param options: of the session, as for :meth:`session`.
        :return: what ``work`` returned.
        :raises InvalidInputError: ``work`` is a coroutine or a generator, which does nothing when it is called.
        :raises AmbiguousCommitError: the COMMIT may have gone through, and there is no ``settled`` to look.
        """
        return units.run(self._connected, work, settled, deadline_s, options)

    def retrying(
        self, *, settled: Settled | None = None, deadline_s: float | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Session, P], Result]], Callable[P, Result]]:
        """A decorator: the function is given a session first, and is run as :meth:`run` does.

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
        """The same for a block: ``for attempt in wh.attempts(): with attempt as session: …``."""
        policy = RetryPolicy.of(self.settings, deadline_s)
        return policy.units(self.engine, settled=settled, options=options)


def _made_again(kind: type[Warehouse], settings: WarehouseSettings) -> Warehouse:
    return kind(settings=settings)
