"""A load from end to end: read and check the source, then write its batch once.

The first pass checks the rows, resolves their keys and keeps them in a spool, because months and members must exist before the
transaction that writes rows begins. The second pass copies the spool. Memory is bounded by the batch. If the batch's id is known
beforehand, one pass checks and stores: :mod:`gpwarehouse.load.streaming`.
"""

from __future__ import annotations

from typing import Any, Protocol, Unpack

from sqlalchemy.engine import Engine

from gpwarehouse.batches.exactly_once import Write, exactly_once
from gpwarehouse.batches.new_batch import NewBatch
from gpwarehouse.engine.server_errors import translate_errors
from gpwarehouse.intake.first_pass import FirstPass, Source, read_source
from gpwarehouse.intake.load_options import LoadKeywords, LoadOptions
from gpwarehouse.intake.target import target_named
from gpwarehouse.load.append import Append
from gpwarehouse.load.loaded_content import find_loaded
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.run import Run
from gpwarehouse.load.streaming import stream_load
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport import Address, Router

__all__ = ["Kind", "Loader"]


class Kind(Write, Protocol):
    """A kind of load: how it writes a batch of its own."""

    entry: NewBatch

    @classmethod
    def of(cls, run: Run, found: FirstPass) -> Kind:
        """Make it for rows that are read."""


class Loader:
    """Loads sources into the facts of one warehouse.

    :param engine: a pooled engine of the warehouse.
    :param settings: event window, reject limit, facility, patterns for wafers and lots.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.calendar = ShiftCalendar.build(**settings.calendar_options())
        address = Address(settings.gpfdist_host, settings.ports_to_serve())
        self.router = Router(engine, settings.transport, address)

    def load(self, source: Source, kind: type[Kind] = Append, **options: Unpack[LoadKeywords]) -> LoadResult:
        """Load a source once.

        :param kind: how its rows are written: appended, or by their keys, or in the place of a month.
        :param batch_id: the caller's own id. Without it, the id is derived from target and content, so the content must first be
            read to its end: a frame in memory is hashed before its rows are checked, another source is checked to its end.
        :param on_conflict: what to do if this content, or this id, was loaded before. ``"skip"`` does nothing, and refuses an id
            that belongs to other content. ``"error"`` raises. ``"append"`` loads the content again as a batch of its own (without
            an id it gets one with a number appended). ``"replace"`` deletes the rows of the batch and loads this content in its
            place, in one transaction.
        :param max_rejects: number of rejects, or their share of the rows read, above which nothing is loaded; by default the
            setting. If all rows are rejected, nothing is loaded in any case.
        :param progress: called with phase and rows, also from other threads: :data:`gpwarehouse.engine.progress.Progress`.
        :param parallel: number of connections that COPY at the same time, up to 16; all but one use a staging table. The
            default is the setting ``load_parallel``.
        :param atomic: if False, these connections write into the fact and commit on their own, before the batch counts as
            loaded. If the load fails in between, their rows stay until the same content is loaded again in any way, or until
            ``wh.batches.delete`` deletes them.
        :param parameter_names: names of the elements of a frame's column ``measured``, whose values are lists of numbers.
        :param parameter_prefix: beginning of the names of a frame's columns that hold measured values, e.g. ``"p_"``: column
            ``p_vth`` holds those of ``vth``.
        :param analyze: ``"auto"``, ``"always"`` or ``"never"``: when to gather statistics after the commit; by default the
            setting.
        :raises InvalidInputError: the target, a column or an option is unknown.
        :raises TooManyRejectsError: more rows were rejected than allowed, or all; they are in ``etl_reject``.
        :raises BatchConflictError: ``batch_id`` was loaded before with other content; or other batches now hold records of the
            batch (``wh.facts.upsert``, ``wh.facts.replace_month``), which would be stored twice.
        :raises KeyCollisionError: two natural keys have one durable key.
        :raises WarehouseConnectionError: the server cannot be reached.
        :raises LoadError: the server refused; nothing of the batch was loaded.
        """
        options.setdefault("parallel", self.settings.load_parallel)
        run = self.begin(source, LoadOptions(**options))
        return translate_errors(self.settings, run.target.name, "nothing was loaded", lambda: self._load(run, kind))

    def begin(self, source: Source, options: LoadOptions, **more: Any) -> Run:
        """Begin a load; nothing is read yet."""
        row_target = getattr(source, "row_target", lambda: target_named(source.target))
        return Run(self.engine, self.settings, self.router, self.calendar, source, row_target(), options, **more)

    def _load(self, run: Run, kind: type[Kind]) -> LoadResult:
        if kind is Append:  # of another kind, equal content may be other work
            with run.phase("read"):
                loaded = find_loaded(run)
                streamed = None if loaded is not None else stream_load(run)
            if loaded is not None:
                return run.result(loaded)
            if streamed is not None:
                return run.maintain(streamed.row, streamed.found)
        with run.phase("read"):
            found = read_source(run.source, run.target, self.engine, self.settings, run.options)
        with found:
            write = kind.of(run, found)
            # Rows that other connections have already committed would be stored twice.
            deadline_s = 0 if run.options.commits_apart else None
            row = exactly_once(self.engine, self.settings, write.entry, write, deadline_s)
            return run.maintain(row, found)
