"""``wh.facts``: the columns of a fact, upsert and delete by business key, and whole months."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models import AGGREGATES, BRIDGES, DIMENSIONS, FACTS
from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door
from gpwarehouse.warehouse.counting import count_load

if TYPE_CHECKING:
    import pandas as pd

    from gpwarehouse.engine.progress import Progress
    from gpwarehouse.intake.load_options import Analyze
    from gpwarehouse.load import CsvOptions, Deleted, LoadResult, Target
    from gpwarehouse.read import Basis, Per

__all__ = ["Facts", "columns_of"]


class Facts(Door):
    """Records and months of facts."""

    def columns(self, target: str) -> pd.DataFrame:
        """List the columns that a frame for ``target`` may have: name, type, whether it is required, and its meaning.

        :param target: a fact, a dimension (:meth:`~gpwarehouse.Warehouse.merge`) or a bridge (``wh.dimensions.upsert_bridge``).
        :raises InvalidInputError: there is no such table.
        """
        return columns_of(target)

    def values(
        self,
        fact: str,
        tests: Sequence[str | int] | None = None,
        *,
        product: str | Iterable[str] | None = None,
        lot: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        wide: bool = False,
        per: Per = "unit",
        last: bool = False,
        **options: Any,
    ) -> Any:
        """Read measured values of a time span. Months outside it are not read.

        By default a row for each value, with its limits, as ``v_test_values`` and ``v_process_values`` have them. ``wide``: a row
        for each row of the fact that holds one of the tests, and a column for each test. Tests of different programs are one
        column if number, name, pin and occurrence are the same. ``per="wafer"`` or ``"lot"``: number, mean, standard deviation,
        least and greatest value of each wafer or lot, step and test; they are taken from the aggregates if the span is one of
        whole months (UTC), else computed of the values.

        :param fact: ``fact_test_results`` or ``fact_process_measurements``.
        :param tests: test numbers, names of tests or parameters, columns of measures (``"vth_mv"``); None: all. Numbers that
            stay in ``parameters`` are read without ``wide``, and without ``tests``.
        :param product: product id, or several.
        :param lot: id of the lot at the event, or several.
        :param since: first moment (aware).
        :param until: the moment after the last one (aware).
        :param last: with ``per``, count only the last insertion of a unit in its file.
        :param options: ``arrow``, ``progress``, ``session``, ``parallel``: those of :meth:`gpwarehouse.Warehouse.read`.
        :raises InvalidInputError: the fact holds no measured values, a test is not known, or options exclude each other.
        :raises ReadError: as for :meth:`gpwarehouse.Warehouse.read`.
        """
        span = self._span(product, lot, since, until)
        if fact not in AGGREGATES:
            raise InvalidInputError(
                f"{fact!r} holds no measured values; the facts with values are {', '.join(AGGREGATES)}"
            )
        if per not in get_args(rooms.read.Per):
            raise InvalidInputError(
                f"per={per!r}: the allowed values are {', '.join(map(repr, get_args(rooms.read.Per)))}"
            )
        of = (self._connected.engine, self._schema, fact, tests, span)
        if per != "unit" and not wide:
            return rooms.read.read_statistics(*of, per, last=last, **options)
        if per != "unit" or last:
            raise InvalidInputError(
                "single values are asked for, but per= and last=True are about statistics: leave one out"
            )
        return (rooms.read.read_wide_values if wide else rooms.read.read_values)(*of, **options)

    def yields(
        self,
        *,
        per: Literal["wafer", "lot"] = "wafer",
        basis: Basis | None = None,
        product: str | Iterable[str] | None = None,
        lot: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        **options: Any,
    ) -> Any:
        """Read the yields of a time span, as ``v_wafer_yield`` or ``v_lot_yield`` has them. Months outside it are not read.

        A unit's first and last result are those within the span.

        :param per: whether a row is of a wafer or of a lot.
        :param basis: which result of a unit counts; None: all four, a row each.
        :param product: as for :meth:`values`, as are ``lot``, ``since``, ``until`` and ``options``.
        :raises InvalidInputError: ``per`` or ``basis`` is not known, or a moment has no time zone.
        :raises ReadError: as for :meth:`gpwarehouse.Warehouse.read`.
        """
        span = self._span(product, lot, since, until)
        return rooms.read.read_yields(self._connected.engine, self._schema, span, per, basis, **options)

    def _span(
        self,
        product: str | Iterable[str] | None,
        lot: str | Iterable[str] | None,
        since: datetime | None,
        until: datetime | None,
    ) -> Any:
        return rooms.read.Span(since, until, _texts(product), _texts(lot))

    @property
    def _schema(self) -> str:
        quote = self._connected.engine.dialect.identifier_preparer.quote_schema
        return str(quote(self._connected.settings.schema_name))

    def upsert(
        self,
        fact: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        months: Iterable[str] = (),
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
        parameter_names: Sequence[str] | None = None,
        parameter_prefix: str | None = None,
    ) -> LoadResult:
        """Insert records into a fact. An existing record with the same business key takes the values that its row gives.

        The key of a measurement: wafer, process step, visit, chamber and site. Of a test: wafer, lot, type, stage, die (or
        part and site), insertion, retest and time. Of a defect: wafer, inspection, test and defect. Of equipment performance:
        the equipment and the shift's time. Columns that a row does not give keep their values, whatever other rows give: the
        files of a glob or dataset, and the dicts of an iterable, may each give other columns. Of rows with the same key the
        last one counts (``source_record_no``); each column takes the value of the last row that gives it. The earlier batches
        of changed records stay loaded, with a note of the number of records. They cannot be loaded again with
        ``on_conflict="replace"`` while rows with the same keys exist, because the records would be stored twice. A row that gives
        measured values (``parameters``, ``measured``, or a column of the prefix) replaces all of its record, and what the tester
        said of them; a row that gives none leaves them.

        Other writers to the fact wait meanwhile. Records in archived months are not found: restore those months first.

        :param frame: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param months: ``YYYY-MM``: months that are searched besides those of the frame's times, if the stored time may be wrong.
        :param batch_id: a batch with this id is done once; without an id the same rows are written again.
        :param parameter_names: as for :meth:`~gpwarehouse.Warehouse.load`, as is ``parameter_prefix``.
        :return: ``rows_replaced`` is the number of existing records.
        :raises InvalidInputError: a row does not identify its record: it has no die, part or site, or no number of a defect.
        :raises BatchConflictError: ``batch_id`` was done before with other rows.
        :raises LoadError: nothing was changed. Subclasses name the cause.
        """
        return self._write_by_key(
            fact, frame, csv, months, source_system, deletes=False, layout=(parameter_names, parameter_prefix),
            batch_id=batch_id, max_rejects=max_rejects, analyze=analyze, progress=progress,
        )  # fmt: skip

    def delete(
        self,
        fact: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        months: Iterable[str] = (),
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        progress: Progress | None = None,
    ) -> LoadResult:
        """Delete records of a fact by their business key, as in :meth:`upsert`, whatever batch loaded them.

        :param frame: the columns of the key and ``event_ts``, which gives the month; other columns are ignored.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :return: ``rows_replaced`` is the number of deleted records. Records that do not exist are no error.
        :raises InvalidInputError: as for :meth:`upsert`.
        :raises LoadError: nothing was changed. Subclasses name the cause.
        """
        return self._write_by_key(
            fact, frame, csv, months, source_system, deletes=True,
            batch_id=batch_id, max_rejects=max_rejects, analyze="never", progress=progress,
        )  # fmt: skip

    def _write_by_key(
        self,
        fact: str,
        frame: Any,
        csv: CsvOptions | None,
        months: Iterable[str],
        source_system: str,
        *,
        deletes: bool,
        layout: tuple[Sequence[str] | None, str | None] = (None, None),
        **options: Any,
    ) -> LoadResult:
        self._connected.require_current_schema()
        frame = rooms.load.table_files(frame, csv)
        source = rooms.load.KeySource(
            *(frame, fact, source_system),
            parameter_names=layout[0],
            parameter_prefix=layout[1],
            months=list(months),
            deletes=deletes,
        )
        loader = rooms.load.Loader(self._connected.engine, self._connected.settings)
        return count_load(fact, lambda: loader.load(source, rooms.load.Upsert, **options))

    def delete_month(self, fact: str, month: str, *, across: bool = False, dry_run: bool = False) -> Deleted:
        """Empty a month of a fact at once, whatever its size. Batches that were wholly in it can be loaded again.

        :param month: ``YYYY-MM``.
        :param across: empty it even if batches also have rows in other months. These batches stay loaded, with a note.
        :param dry_run: only count.
        :raises PartitionError: there are such batches, or there is no such month; nothing was deleted.
        :raises AmbiguousCommitError: as for :meth:`gpwarehouse.warehouse.batches.Batches.delete`.
        """
        self._connected.require_current_schema()
        return rooms.load.Deleter(self._connected.engine, self._connected.settings).delete_month(
            fact, month, across=across, dry_run=dry_run
        )

    def replace_month(
        self,
        fact: str,
        month: str,
        frame: Any,
        *,
        csv: CsvOptions | None = None,
        batch_id: str | None = None,
        max_rejects: int | float | None = None,
        source_system: str = "FRAME",
        analyze: Analyze | None = None,
        progress: Progress | None = None,
        parameter_names: Sequence[str] | None = None,
        parameter_prefix: str | None = None,
    ) -> LoadResult:
        """Replace all rows of a month by a frame, once: it is loaded beside the month and then exchanged with it.

        Readers see the old month or the new one; writers to the month wait. Rows of other months are rejected. Batches that
        had rows in the month stay loaded, with a note, so that none of them is loaded again.

        :param frame: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param csv: as for :meth:`~gpwarehouse.Warehouse.load`.
        :param month: ``YYYY-MM``.
        :param parameter_names: as for :meth:`~gpwarehouse.Warehouse.load`, as is ``parameter_prefix``.
        :return: ``rows_replaced`` is the number of old rows.
        :raises LoadError: the month is unchanged. Subclasses name the cause.
        """
        self._connected.require_current_schema()
        source = rooms.load.MonthSource(
            *(rooms.load.table_files(frame, csv), fact, source_system),
            parameter_names=parameter_names,
            parameter_prefix=parameter_prefix,
            month=month,
        )
        loader = rooms.load.Loader(self._connected.engine, self._connected.settings)
        return count_load(
            fact,
            lambda: loader.load(
                source,
                rooms.load.ReplaceMonth,
                batch_id=batch_id,
                max_rejects=max_rejects,
                analyze=analyze,
                progress=progress,
            ),
        )


def _texts(given: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return None if given is None else (given,) if isinstance(given, str) else tuple(given)


def columns_of(target: str) -> pd.DataFrame:
    """List the columns that a frame for a table may have; see :meth:`Facts.columns`."""
    import pandas as pd

    found = _find_target(target)
    return pd.DataFrame(
        {
            "column": column.name,
            "type": "json" if column.is_json else str(column.type),
            "needed": column.required,
            "meaning": getattr(found.table.columns.get(column.name), "comment", None) or "part of a natural key",
        }
        for column in found.inputs.values()
    )


def _find_target(name: str) -> Target:

    if name in BRIDGES:
        return rooms.dimensions.bridge_named(name)
    if name in DIMENSIONS:
        return rooms.dimensions.dimension_target(name, "effective_date", None)
    if name not in FACTS:
        raise InvalidInputError(
            f"there is no table {name!r} to load into; the tables are {', '.join((*FACTS, *DIMENSIONS, *BRIDGES))}"
        )
    return rooms.load.target_named(name)
