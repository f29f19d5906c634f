"""Read STDF V4 datalogs as rows of ``fact_test_results``.

There are three passes. The first (:mod:`gpwarehouse.sources.stdf_survey`) walks the record headers: it checks that the file is
complete, computes its checksum, and finds the last insertion of each die. The second
(:mod:`gpwarehouse.sources.stdf_reading`) reads runs of whole records (8 MiB by default), parses each run with stdf_convert,
assigns the results to their insertions, and learns the list of parameters. The third makes the rows. Memory holds one run with
its results, the results of the insertions that are open at its end, and 18 bytes per insertion of the whole file; never the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Unpack
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import SettingsError, SourceFormatError
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.sources.stdf_completeness import compare_counts, compare_good
from gpwarehouse.sources.stdf_framing import FAR_BYTES, Findings
from gpwarehouse.sources.stdf_given import Given, GivenOptions
from gpwarehouse.sources.stdf_insertions import NO_BIN, NO_COORDINATE
from gpwarehouse.sources.stdf_matrix import PartResults, fail_kinds, value_columns
from gpwarehouse.sources.stdf_members import members_of
from gpwarehouse.sources.stdf_reading import PART_TYPES, Reading, read_results
from gpwarehouse.sources.stdf_records import Header, header_of, record_tables
from gpwarehouse.sources.stdf_retests import retest_of_bins
from gpwarehouse.sources.stdf_stream import WAY_OUT, Content, open_content
from gpwarehouse.sources.stdf_survey import Chunk, Survey, survey
from gpwarehouse.sources.stdf_texts import append_texts, flag_bytes, tidy_column
from gpwarehouse.sources.value_counts import ValueCounts

__all__ = ["FACT_SCHEMA", "StdfSource"]

CHUNK_BYTES = 8 << 20
CELLS = 1 << 22
"""Most values (rows times parameters) of a batch."""
TEST_TYPES = ("WAT", "CP", "FT")

# PRR PART_FLG (STDF V4, "PRR"): bit 3 = the part failed; bit 4 = bit 3 is not valid.
PART_FAILED, NO_VERDICT = 0x08, 0x10

_UTC = pa.timestamp("us", tz="UTC")
_TEXTS_1 = ("facility", "lot_id", "wafer_id", "product_id", "product_revision", "process_flow_id", "flow_version")
_TEXTS_2 = ("step_number", "recipe_id", "recipe_version", "equipment_id", "chamber_id", "tester_id", "prober_id")
_TEXTS_3 = ("test_type", "test_stage", "test_program", "program_revision", "probe_card_id", "load_board_id")

FACT_SCHEMA = pa.schema(
    [
        ("source_record_no", pa.int64()),
        *((name, pa.string()) for name in (*_TEXTS_1, *_TEXTS_2)),
        ("event_ts", _UTC),
        ("operator_id", pa.string()),
        ("carrier_id", pa.string()),
        ("slot", pa.int32()),
        ("process_job_id", pa.string()),
        *((name, pa.string()) for name in _TEXTS_3),
        ("temperature_c", pa.float64()),
        ("insertion_no", pa.int32()),
        ("retest_no", pa.int32()),
        ("is_first_pass", pa.bool_()),
        ("is_final_result", pa.bool_()),
        ("head_no", pa.int32()),
        ("site_no", pa.int32()),
        ("die_x", pa.int32()),
        ("die_y", pa.int32()),
        ("part_id", pa.string()),
        ("start_ts", _UTC),
        ("test_time_ms", pa.int64()),
        ("tests_executed", pa.int32()),
        ("hard_bin", pa.int32()),
        ("soft_bin", pa.int32()),
        ("bin_name", pa.string()),
        ("is_pass", pa.bool_()),
        ("fail_kind", pa.string()),
        ("unit_id", pa.string()),
        ("sublot_id", pa.string()),
        ("retest_of_bins", pa.string()),
        ("parameter_set_key", pa.int64()),
        ("measured", pa.list_(pa.float64())),
        ("verdicts", pa.string()),
        ("failed", pa.list_(pa.int32())),
        ("own_limits", pa.string()),
        ("parameters", pa.string()),
    ]
)
"""Columns of every batch. ``own_limits`` and ``parameters`` are JSON text, ``test_time_ms`` is in milliseconds."""


class StdfSource:
    """An STDF V4 file as a source: one row per insertion (PIR to PRR).

    What STDF does not have stays NULL: recipe, chamber, carrier, slot, job, and ``start_ts`` (a part has a duration,
    PRR.TEST_T, but no start). ``event_ts`` is START_T of the WIR, or of the MIR if there is no wafer.

    :param path: the file, plain or compressed (.gz, .bz2, .xz), or the only file in a .zip or .tar; recognised by content.
    :param timezone: IANA time zone. ``UTC`` reads the file's times as epoch seconds; another zone reads them as its local time.
    :param test_type: ``WAT``, ``CP`` or ``FT``; by default ``CP`` if the file has a WIR, or a ``wafer_id`` is given, else ``FT``.
    :param source_file: name for the audit column; by default the file's own name.
    :param chunk_bytes: bytes of the runs that are read at a time.
    :param allow_incomplete: read what can be read of an incomplete file; :meth:`warnings` says what is missing.
    :param defaults: values from the settings for what files lack, with the keys of ``given``. What a file says counts.
    :param given: ``facility``, ``lot_id``, ``wafer_id``, ``product_id``, ``test_program``, ``equipment_id`` and ``event_ts`` (a
        datetime, or a text in ISO 8601; without an offset it is in ``timezone``), used if the file has no value. If the file has
        another value, the file's counts, and a warning says so. Without a facility the column is NULL, and the loader's setting
        is used.
    :raises SettingsError: the time zone or test type is unknown.
    :raises InvalidInputError: a given value cannot be used.
    """

    target = "fact_test_results"
    source_system = "STDF"

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        timezone: str = "UTC",
        test_type: str | None = None,
        source_file: str | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        allow_incomplete: bool = False,
        defaults: Mapping[str, str] | None = None,
        **given: Unpack[GivenOptions],
    ) -> None:
        self.path = Path(path)
        self.source_file = source_file or self.path.name
        self._chunk_bytes = chunk_bytes
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise SettingsError(
                f"stdf_timezone: {timezone!r} is not an IANA time zone, such as UTC or Europe/Berlin"
            ) from error
        if test_type is not None and test_type not in TEST_TYPES:
            raise SettingsError(f"test_type: {test_type!r} is not one of {', '.join(TEST_TYPES)}")
        self._test_type = test_type
        self._findings = Findings(self.path.name, allow_incomplete)
        self._given = Given(given, defaults or {}, self._zone, self._findings)
        self._told: list[str] = []
        self._kept: bytearray | None = None

    def _open(self, keep: int = 0) -> AbstractContextManager[Content]:
        """Open the file as STDF."""
        return open_content(self.path, keep)

    @cached_property
    def survey(self) -> Survey:
        """The result of the first pass, which runs when it is first needed.

        :raises SourceFormatError: the file is not STDF V4, is damaged or ends early.
        """
        by_die = self._given.has("wafer_id") or self._test_type in ("WAT", "CP")
        with self._open(keep=self._chunk_bytes) as content:
            found = survey(content, self.path.name, self._chunk_bytes, self._findings, by_die)
            self._kept = content.kept
        return found

    @cached_property
    def header(self) -> Header:
        """MIR, SDR, wafers, bins and summaries. They are compared with the parts in the file.

        :raises SourceFormatError: the file is incomplete.
        """
        header = header_of(self.survey, self._zone, self.path.name)
        compare_counts(self.survey, header, self._findings)
        for warning in header.guesses(self._zone):
            self._findings.warn(warning)
        outside = int(np.count_nonzero(self.survey.is_part & (self.survey.wir_of_part < 0)))
        if header.wafers and outside:
            self._findings.warn(
                f"{outside} parts are outside any wafer (before its WIR or after its WRR), and have none"
            )
        return replace(
            header,
            wafers=self._given.wafers(header.wafers, self.survey.checksum),
            start=self._given.time(header.start),
        )

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of the decompressed bytes.

        :raises SourceFormatError: the file is incomplete.
        """
        _ = self.header
        return self.survey.checksum

    @property
    def insertions(self) -> int:
        """Number of rows that :meth:`batches` will yield, for progress bars."""
        return int(np.count_nonzero(self.survey.is_part))

    @cached_property
    def test_type(self) -> str:
        """``WAT``, ``CP`` or ``FT``."""
        return self._test_type or ("CP" if self.header.wafers or self.wafer_of_all else "FT")

    @cached_property
    def wafer_of_all(self) -> str | None:
        """The wafer of all parts, if no WIR names one and the caller does."""
        return None if self.header.wafers else self._given.wafer_of_all()

    @cached_property
    def constants(self) -> dict[str, str | None]:
        """The text columns that are the same in every row."""
        mir, given = self.header.mir, self._given
        program, tester = given.text("test_program", mir["JOB_NAM"]), given.text("equipment_id", mir["NODE_NAM"])
        # TEST_COD is the "test phase or step code"; FLOW_ID the "test flow ID"; a step may not be NULL.
        stage = mir["TEST_COD"] or mir["FLOW_ID"] or self.test_type
        return {
            "facility": given.text("facility", mir["FACIL_ID"]),
            "lot_id": given.require_text("lot_id", mir["LOT_ID"]),
            "product_id": given.text("product_id", mir["PART_TYP"]),
            "product_revision": mir["DSGN_REV"] or "",
            "process_flow_id": program,
            "flow_version": mir["JOB_REV"] or "",
            "step_number": stage,
            "equipment_id": tester,
            "tester_id": tester,
            "operator_id": mir["OPER_NAM"],
            "test_type": self.test_type,
            "test_stage": stage,
            "test_program": program,
            "program_revision": mir["JOB_REV"],
            "sublot_id": mir["SBLOT_ID"],
            "retest_of_bins": self.retest_of_bins,
        }

    @cached_property
    def retest_of_bins(self) -> str | None:
        """What the file says that it tests again; see :func:`gpwarehouse.sources.stdf_retests.retest_of_bins`."""
        return retest_of_bins(self.header, self._findings)

    def members(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of dimensions."""
        return members_of(self.header, self.constants, self.reading.parameters.specs, self.wafer_of_all)

    def warnings(self) -> list[str]:
        """What is dropped, guessed or faulty; complete after :meth:`batches` has ended."""
        return [*self._findings.warnings, *self._told]

    def test_times(self) -> list[tuple[int, str, float]]:
        """Test number, name and mean seconds of an execution (TSR.TEST_TIM), slowest first.

        They are not attributes of members: the mean of one file is not a property of the test, and differs in every load.
        """
        known = self.header.test_seconds.items()
        return sorted(
            ((number, self.header.test_names.get(number, ""), seconds) for number, seconds in known),
            key=lambda row: (-row[2], row[0]),
        )

    @cached_property
    def reading(self) -> Reading:
        """The result of the second pass, which runs when it is first needed.

        :raises SourceFormatError: the file is damaged, or it changed meanwhile; nothing of it may be kept.
        :raises MissingExtraError: stdf_convert is not installed.
        """
        # The header comes first: without stdf_convert, or with a broken MIR, it fails before any row.
        _ = self.constants, self._times
        reading = read_results(
            self._read_tables(),
            self.survey,
            self.header,
            self.path.name,
            keeps_part_texts=not self._has_unit_codes,
        )
        if reading.parts != len(self.survey.is_part):
            raise self._make_changed_error()
        return reading

    def parameter_sets(self) -> dict[int, ParameterSet]:
        """The list of the file's parameters by its key; none if the file has no results."""
        found = self.reading.parameters.parameters
        return {found.key: found} if len(found) else {}

    def values(self) -> ValueCounts:
        """How many values the file's records hold: those in the rows, and those that are left out."""
        return self.reading.values

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches with rows in PRR order and the columns of :data:`FACT_SCHEMA`.

        :raises SourceFormatError: the file is damaged, or it changed meanwhile; nothing of it may be kept.
        :raises MissingExtraError: stdf_convert is not installed.
        """
        reading, row = self.reading, 0
        reading.tally.good = [0, 0, 0]
        for number, (prr, results, texts) in enumerate(reading.spool.read(), start=1):
            tail = reading.tail if number == len(reading.spool) else []
            own = PartResults.of_table(results, reading.parameters.final)
            yield from self._make_rows(prr, own, append_texts(texts["parameters"], tail), row)
            row += prr.num_rows
        compare = Findings(self.path.name)
        if reading.tally.good is not None:
            compare_good(self.header, reading.tally.good, compare)
        self._told = [*compare.warnings, *reading.warnings]

    def _read_tables(self) -> Iterator[tuple[Chunk, dict[str, pa.Table]]]:
        """Parse the runs of records: of a small file as the survey read it, else of the file, read again."""
        kept, self._kept = self._kept, None
        for chunk, data in self._read_runs() if kept is None else self._cut_runs(kept):
            place = f"{self.path.name}, bytes {chunk.offset} to {chunk.offset + chunk.length}"
            yield chunk, record_tables(data, self.survey.far, PART_TYPES, place)

    def _cut_runs(self, whole: bytearray) -> Iterator[tuple[Chunk, memoryview]]:
        for chunk in self.survey.chunks:
            yield chunk, memoryview(whole)[chunk.offset : chunk.offset + chunk.length]

    def _read_runs(self) -> Iterator[tuple[Chunk, bytes]]:
        with self._open() as content:
            content.read(FAR_BYTES)
            at = FAR_BYTES
            for chunk in self.survey.chunks:
                content.read(chunk.offset - at)  # records that are skipped
                at = chunk.offset + chunk.length
                data = content.read(chunk.length)
                if len(data) < chunk.length:
                    raise self._make_changed_error()
                yield chunk, data
            while content.read(1 << 20):  # NUL padding after the last record
                pass
            if content.checksum != self.survey.checksum:
                raise self._make_changed_error()

    def _make_changed_error(self) -> SourceFormatError:
        return SourceFormatError(f"{self.path.name} changed while it was read. {WAY_OUT}")

    def _make_rows(self, prr: pa.Table, results: PartResults, texts: pa.Array, row: int) -> Iterator[pa.RecordBatch]:
        size = prr.num_rows
        seen = np.flatnonzero(self.survey.is_part)[row : row + size]
        columns: dict[str, Any] = {name: text_column(value, size) for name, value in self.constants.items()}
        columns |= self._make_wafer_columns(self.survey.wir_of_part[seen])
        columns |= self._make_site_columns(prr)
        columns |= self._make_part_columns(prr, results)
        insertion_no = self.survey.insertion_no[seen]
        before = 0 if self.retest_of_bins is None else 1
        columns["source_record_no"] = pa.array(np.arange(row + 1, row + 1 + size))
        columns["insertion_no"] = pa.array(insertion_no)
        columns["retest_no"] = pa.array(insertion_no - 1 + before)
        columns["is_first_pass"] = pa.array(insertion_no + before == 1)
        columns["is_final_result"] = pa.array(self.survey.is_final[seen])
        columns["unit_id"] = self._name_units(prr, self.survey.unit_no[seen])
        columns["temperature_c"] = pa.repeat(pa.scalar(self.header.temperature_c, pa.float64()), size)
        columns["parameters"] = texts
        self.reading.tally.see_verdicts(columns["is_pass"], insertion_no + before == 1, self.survey.is_final[seen])
        width = max(1, len(self.reading.parameters.parameters))
        for begin in range(0, size, step := max(1, CELLS // width)):
            end = min(begin + step, size)
            yield self._make_batch(columns, results, begin, end)

    def _make_batch(self, columns: dict[str, pa.Array], results: PartResults, begin: int, end: int) -> pa.RecordBatch:
        own = results if end - begin == len(columns["parameters"]) else results.of_parts(begin, end)
        values = value_columns(own, end - begin, self.reading.parameters)
        arrays = []
        for item in FACT_SCHEMA:
            array = columns.get(item.name)
            array = values.get(item.name) if array is None else array.slice(begin, end - begin)
            arrays.append(pa.nulls(end - begin, item.type) if array is None else array)
        return pa.RecordBatch.from_arrays(arrays, schema=FACT_SCHEMA)

    def _make_wafer_columns(self, visits: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
        wafers = self.header.wafers
        ids = [*(visit.wafer_id for visit in wafers), self.wafer_of_all]
        at = pa.array(np.where(visits < 0, len(wafers), visits))
        return {
            "wafer_id": pa.array(ids, pa.string()).take(at),
            "event_ts": pa.array(self._times, _UTC).take(at),
        }

    @cached_property
    def _times(self) -> list[datetime | None]:
        """The time of each wafer, and as the last one that of parts without a wafer.

        :raises SourceFormatError: there are parts without a time.
        """
        start = self.header.start
        times = [*(visit.start or start for visit in self.header.wafers), start]
        for visit in np.unique(self.survey.wir_of_part[self.survey.is_part]).tolist():
            self._given.require_time(times[visit])
        return times

    def _make_site_columns(self, prr: pa.Table) -> dict[str, pa.Array]:
        head, site = prr["HEAD_NUM"].to_numpy().astype(np.int32), prr["SITE_NUM"].to_numpy().astype(np.int32)
        pairs, at = np.unique(head << 8 | site, return_inverse=True)
        records = [self.header.site(pair >> 8, pair & 0xFF) for pair in pairs.tolist()]

        def column(*names: str) -> pa.Array:
            texts = [next((r[name] for name in names if r.get(name)), None) for r in records]
            return pa.array(texts, pa.string()).take(pa.array(at))

        return {
            "head_no": pa.array(head),
            "site_no": pa.array(site),
            # A handler or prober without a number is identified by its type only.
            "prober_id": column("HAND_ID", "HAND_TYP"),
            "probe_card_id": column("CARD_ID"),
            "load_board_id": column("LOAD_ID"),
        }

    def _make_part_columns(self, prr: pa.Table, results: PartResults) -> dict[str, pa.Array]:
        verdict = self._judge(prr)
        functional, parametric = fail_kinds(results, prr.num_rows)
        kind = pc.case_when(pc.make_struct(pa.array(functional), pa.array(parametric)), "FUNCTIONAL", "PARAMETRIC")
        hard, soft = _mark_missing(prr["HARD_BIN"], NO_BIN), _mark_missing(prr["SOFT_BIN"], NO_BIN)
        x, y = _mark_missing(prr["X_COORD"], NO_COORDINATE), _mark_missing(prr["Y_COORD"], NO_COORDINATE)
        return {
            "die_x": pc.if_else(y.is_valid(), x, None),
            "die_y": pc.if_else(x.is_valid(), y, None),
            "part_id": tidy_column(prr["PART_ID"]),
            # STDF V4 has no "missing" flag for TEST_T except 0, which no real test takes.
            "test_time_ms": _mark_missing(prr["TEST_T"], 0, pa.int64()),
            "tests_executed": prr["NUM_TEST"].combine_chunks().cast(pa.int32()),
            "hard_bin": hard,
            "soft_bin": soft,
            "bin_name": pc.coalesce(
                _look_up_names(soft, self.header.soft_bins), _look_up_names(hard, self.header.hard_bins)
            ),
            "is_pass": verdict,
            "fail_kind": pc.if_else(pc.equal(verdict, False), kind, pa.scalar(None, pa.string())),
        }

    @property
    def _has_unit_codes(self) -> bool:
        """Whether PART_TXT names the unit: of packaged parts, if it tells them apart."""
        return self.survey.has_unit_texts and not self.header.wafers and self.wafer_of_all is None

    def _name_units(self, prr: pa.Table, numbers: npt.NDArray[np.int32]) -> pa.Array:
        """The code of packaged parts; of parts that nothing else names a number of this file; NULL of all others."""
        names = [None if n < 0 else f"(file {self.survey.checksum[:12]}, part {n + 1})" for n in numbers.tolist()]
        own = pa.array(names, pa.string())
        return pc.coalesce(tidy_column(prr["PART_TXT"]), own) if self._has_unit_codes else own

    def _judge(self, prr: pa.Table) -> pa.Array:
        """Pass or fail by PART_FLG bit 3; if bit 4 makes it invalid, by the HBR of the hard bin; otherwise NULL."""
        flags = flag_bytes(prr["PART_FLG"])
        bins = prr["HARD_BIN"].to_pylist() if (flags & NO_VERDICT).any() else []
        by_flag = pa.array(flags & PART_FAILED == 0)
        if not bins:
            return by_flag
        by_bin = pa.array([self.header.hard_bin_pass.get(number) for number in bins], pa.bool_())
        return pc.if_else(pa.array(flags & NO_VERDICT == 0), by_flag, by_bin)


def text_column(value: str | None, size: int) -> pa.Array:
    """The same text in every row."""
    return pa.repeat(pa.scalar(value, pa.string()), size)


def _mark_missing(column: pa.ChunkedArray, missing: int, kind: pa.DataType | None = None) -> pa.Array:
    """Replace the "no value" mark of a column by NULL."""
    values = column.combine_chunks().cast(kind or pa.int32())
    return pc.if_else(pc.equal(values, missing), None, values)


def _look_up_names(numbers: pa.Array, names: dict[int, str]) -> pa.Array:
    keys = pa.array(list(names), pa.int32())
    return pa.array(list(names.values()), pa.string()).take(pc.index_in(numbers, keys))
