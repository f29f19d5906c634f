"""STDF V4 datalogs as rows of ``fact_test_results``.

Two passes. The first (:mod:`gpwarehouse.sources.stdf_survey`) walks the record headers: is the file whole, its
checksum, which insertion of each die is the last. The second reads runs of whole records (8 MiB by default), parses
each with stdf_convert and yields one Arrow batch. In memory at any time: one run with its results, the results of the
insertions open at its end, and 14 bytes per insertion of the whole file; never the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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
from gpwarehouse.sources.stdf_completeness import compare_counts, compare_good
from gpwarehouse.sources.stdf_framing import FAR_BYTES, Findings
from gpwarehouse.sources.stdf_given import Given, GivenOptions
from gpwarehouse.sources.stdf_insertions import NO_BIN, NO_COORDINATE
from gpwarehouse.sources.stdf_limits import LimitBook, flag_bytes
from gpwarehouse.sources.stdf_members import members_of
from gpwarehouse.sources.stdf_parts import Attribution, Results, fail_kinds, parameters_json, results_of, site_keys
from gpwarehouse.sources.stdf_records import Header, header_of, record_tables
from gpwarehouse.sources.stdf_stream import WAY_OUT, open_stream, read_exactly
from gpwarehouse.sources.stdf_survey import Chunk, Survey, survey
from gpwarehouse.sources.stdf_tally import Tally

__all__ = ["FACT_SCHEMA", "StdfSource"]

CHUNK_BYTES = 8 << 20
TEST_TYPES = ("WAT", "CP", "FT")
PART_TYPES = ["PIR", "PRR", "PTR", "MPR", "FTR"]

# PRR PART_FLG (STDF V4, "PRR"): bit 3 = the part failed; bit 4 = bit 3 means nothing.
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
        ("parameters", pa.string()),
        ("parameter_counts", pa.string()),
    ]
)
"""Columns of every batch. ``parameters`` and ``parameter_counts`` are JSON text, ``test_time_ms`` milliseconds."""


class StdfSource:
    """An STDF V4 file: one row per insertion (PIR to PRR).

    :param path: plain or compressed (.gz, .bz2, .xz), or the only file in a .zip or .tar; told by content.
    :param timezone: IANA zone. ``UTC`` takes the file's times as epoch seconds; another zone as its wall time.
    :param test_type: ``WAT``, ``CP`` or ``FT``; default ``CP`` if the file has a WIR, or a ``wafer_id`` is given, else ``FT``.
    :param source_file: name for the audit column; default the file's own.
    :param chunk_bytes: size of the runs read at a time.
    :param allow_incomplete: read what there is of a file that is not whole; :meth:`warnings` says what is missing.
    :param defaults: what files lack, by the names of ``given``, from the settings: a file may say otherwise.
    :param given: ``facility``, ``lot_id``, ``wafer_id``, ``product_id``, ``test_program``, ``equipment_id`` and ``event_ts`` (a
        datetime, or its text in ISO 8601; without an offset in ``timezone``), used where the file has none. Where it
        has another one, the file's stands, and a warning says so. Without a facility it is NULL, and the loader's
        setting holds.
    :raises SettingsError: unknown zone or test type.
    :raises InvalidInputError: what is given is no such thing.

    What is not in STDF stays NULL: recipe, chamber, carrier, slot, job, and ``start_ts`` (a part has a
    duration, PRR.TEST_T, but no start). ``event_ts`` is the WIR's START_T, without a wafer the MIR's.
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
                f"stdf_timezone: {timezone!r} is no IANA time zone, such as UTC or Europe/Berlin"
            ) from error
        if test_type is not None and test_type not in TEST_TYPES:
            raise SettingsError(f"test_type: {test_type!r} is none of {', '.join(TEST_TYPES)}")
        self._test_type = test_type
        self._findings = Findings(self.path.name, allow_incomplete)
        self._given = Given(given, defaults or {}, self._zone, self._findings)
        self._limits: LimitBook | None = None
        self._told: list[str] = []

    @cached_property
    def survey(self) -> Survey:
        """The first pass, run once when something of it is needed.
        :raises SourceFormatError: no STDF V4, or it is damaged or ends early.
        """
        return survey(self.path, self._chunk_bytes, self._findings)

    @cached_property
    def header(self) -> Header:
        """MIR, SDR, wafers, bins and summaries, which are compared with the parts that are there.
        :raises SourceFormatError: the file is not whole.
        """
        header = header_of(self.survey, self._zone, self.path.name)
        compare_counts(self.survey, header, self._findings)
        for warning in header.guesses(self._zone):
            self._findings.tell(warning)
        outside = int(np.count_nonzero(self.survey.is_part & (self.survey.wir_of_part < 0)))
        if header.wafers and outside:
            self._findings.tell(
                f"{outside} parts stand outside any wafer (before its WIR or behind its WRR), and have none"
            )
        return replace(
            header,
            wafers=self._given.wafers(header.wafers, self.survey.checksum),
            start=self._given.time(header.start),
        )

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of the decompressed bytes.
        :raises SourceFormatError: the file is not whole.
        """
        _ = self.header
        return self.survey.checksum

    @property
    def insertions(self) -> int:
        """Rows that :meth:`batches` will give, for progress bars."""
        return int(np.count_nonzero(self.survey.is_part))

    @cached_property
    def test_type(self) -> str:
        """``WAT``, ``CP`` or ``FT``."""
        return self._test_type or ("CP" if self.header.wafers or self.wafer_of_all else "FT")

    @cached_property
    def wafer_of_all(self) -> str | None:
        """The wafer of all parts, where no WIR names one and the caller does."""
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
            "lot_id": given.needed("lot_id", mir["LOT_ID"]),
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
        }

    def members(self) -> dict[str, list[dict[str, Any]]]:
        """Dimension rows; limits are complete once :meth:`batches` was exhausted."""
        return members_of(self.header, self.constants, self._limits or LimitBook(), self.wafer_of_all)

    def warnings(self) -> list[str]:
        """What is dropped, guessed or not as it should be; complete once :meth:`batches` was exhausted."""
        return [*self._findings.warnings, *self._told]

    def test_times(self) -> list[tuple[int, str, float]]:
        """Test number, name and mean seconds of an execution (TSR.TEST_TIM), slowest first.

        Not among the members: a mean of one file is no property of the test, and differs with every load.
        """
        known = self.header.test_seconds.items()
        return sorted(
            ((number, self.header.test_names.get(number, ""), seconds) for number, seconds in known),
            key=lambda row: (-row[2], row[0]),
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """One batch per run of records, rows in PRR order with the columns of :data:`FACT_SCHEMA`.
        :raises SourceFormatError: the file is damaged or changed meanwhile; nothing of it may be kept.
        :raises MissingExtraError: stdf_convert is not installed.
        """
        limits, tally, row = LimitBook(), Tally(), 0
        attribution = Attribution(np.array(sorted(self.survey.without_pir), np.int64))
        self._limits, self._told = limits, []
        # The header first: a file without stdf_convert, or with a broken MIR, fails before any row.
        _ = self.constants, self._times
        for chunk, tables in self._tables():
            self._learn(limits, tally, tables)
            results = results_of(tables, chunk.first_record, self._where(chunk))
            starts = site_keys(tables["PIR"], chunk.first_record) if "PIR" in tables else np.empty(0, np.int64)
            ends = site_keys(tables["PRR"], chunk.first_record) if "PRR" in tables else np.empty(0, np.int64)
            mine, part = attribution.assign(starts, ends, results)
            if "PRR" in tables:
                yield self._rows(tables["PRR"], mine, part, row, tally)
                row += tables["PRR"].num_rows
        if row != len(self.survey.is_part):
            raise self._changed()
        compare = Findings(self.path.name)
        if tally.good is not None:
            compare_good(self.header, tally.good, compare)
        lost = attribution.orphans + len(attribution.pending.key)
        self._told = [*compare.warnings, *tally.warnings(lost, self.survey.has_scans), *limits.warnings()]

    def _tables(self) -> Iterator[tuple[Chunk, dict[str, pa.Table]]]:
        digest = hashlib.sha256()
        with open_stream(self.path) as stream:
            digest.update(read_exactly(stream, FAR_BYTES))
            at = FAR_BYTES
            for chunk in self.survey.chunks:
                digest.update(read_exactly(stream, chunk.offset - at))  # what is passed over
                at = chunk.offset + chunk.length
                data = read_exactly(stream, chunk.length)
                digest.update(data)
                if len(data) < chunk.length:
                    raise self._changed()
                yield chunk, record_tables(data, self.survey.far, PART_TYPES, self._where(chunk))
            while data := stream.read(1 << 20):  # NUL padding after the last record
                digest.update(data)
        if digest.hexdigest() != self.survey.checksum:
            raise self._changed()

    def _where(self, chunk: Chunk) -> str:
        return f"{self.path.name}, bytes {chunk.offset} to {chunk.offset + chunk.length}"

    def _changed(self) -> SourceFormatError:
        return SourceFormatError(f"{self.path.name} changed while it was read. {WAY_OUT}")

    @staticmethod
    def _learn(limits: LimitBook, tally: Tally, tables: dict[str, pa.Table]) -> None:
        if "PTR" in tables:
            limits.see_parametric(tables["PTR"], pins=False)
        if "MPR" in tables:
            limits.see_parametric(tables["MPR"], pins=True)
            tally.see_multiple(tables["MPR"])
        if "FTR" in tables:
            limits.see_functional(tables["FTR"])

    def _rows(
        self, prr: pa.Table, results: Results, part: npt.NDArray[np.int64], row: int, tally: Tally
    ) -> pa.RecordBatch:
        size = prr.num_rows
        seen = slice(row, row + size)
        is_part = self.survey.is_part[seen]
        if row + size > len(self.survey.is_part):
            raise self._changed()
        tally.see_parts(prr["NUM_TEST"].to_numpy().astype(np.int64), results, part, is_part)
        columns: dict[str, Any] = {name: text_column(value, size) for name, value in self.constants.items()}
        columns |= self._wafer_columns(self.survey.wir_of_part[seen])
        columns |= self._site_columns(prr)
        columns |= self._part_columns(prr, results, part)
        insertion_no = self.survey.insertion_no[seen]
        before = int(np.count_nonzero(self.survey.is_part[:row]))
        columns["source_record_no"] = pa.array(before + np.cumsum(is_part, dtype=np.int64))
        columns["insertion_no"] = pa.array(insertion_no)
        columns["retest_no"] = pa.array(insertion_no - 1)
        columns["is_first_pass"] = pa.array(insertion_no == 1)
        columns["is_final_result"] = pa.array(self.survey.is_final[seen])
        columns["temperature_c"] = pa.repeat(pa.scalar(self.header.temperature_c, pa.float64()), size)
        columns["parameters"], columns["parameter_counts"] = parameters_json(results, part, size)
        arrays = [columns.get(item.name, None) for item in FACT_SCHEMA]
        filled = [
            pa.nulls(size, item.type) if array is None else array
            for item, array in zip(FACT_SCHEMA, arrays, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(filled, schema=FACT_SCHEMA)
        rows = rows if is_part.all() else rows.filter(pa.array(is_part))
        first, last = (
            rows.column(name).to_numpy(zero_copy_only=False) for name in ("is_first_pass", "is_final_result")
        )
        tally.see_verdicts(rows.column("is_pass"), first, last)
        return rows

    def _wafer_columns(self, visits: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
        wafers = self.header.wafers
        ids = [*(visit.wafer_id for visit in wafers), self.wafer_of_all]
        at = pa.array(np.where(visits < 0, len(wafers), visits))
        return {
            "wafer_id": pa.array(ids, pa.string()).take(at),
            "event_ts": pa.array(self._times, _UTC).take(at),
        }

    @cached_property
    def _times(self) -> list[datetime | None]:
        """Of each wafer, and last of parts without one.
        :raises SourceFormatError: parts are without a time.
        """
        start = self.header.start
        times = [*(visit.start or start for visit in self.header.wafers), start]
        for visit in np.unique(self.survey.wir_of_part[self.survey.is_part]).tolist():
            self._given.needed_time(times[visit])
        return times

    def _site_columns(self, prr: pa.Table) -> dict[str, pa.Array]:
        head, site = prr["HEAD_NUM"].to_numpy().astype(np.int32), prr["SITE_NUM"].to_numpy().astype(np.int32)
        pairs, at = np.unique(head << 8 | site, return_inverse=True)
        records = [self.header.site(pair >> 8, pair & 0xFF) for pair in pairs.tolist()]

        def column(*names: str) -> pa.Array:
            texts = [next((r[name] for name in names if r.get(name)), None) for r in records]
            return pa.array(texts, pa.string()).take(pa.array(at))

        return {
            "head_no": pa.array(head),
            "site_no": pa.array(site),
            # An unnumbered handler or prober is known by its type alone, better than not at all.
            "prober_id": column("HAND_ID", "HAND_TYP"),
            "probe_card_id": column("CARD_ID"),
            "load_board_id": column("LOAD_ID"),
        }

    def _part_columns(self, prr: pa.Table, results: Results, part: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
        size = prr.num_rows
        verdict = self._verdict(prr)
        functional, parametric = fail_kinds(results, part, size)
        kind = pc.case_when(pc.make_struct(pa.array(functional), pa.array(parametric)), "FUNCTIONAL", "PARAMETRIC")
        hard, soft = _known(prr["HARD_BIN"], NO_BIN), _known(prr["SOFT_BIN"], NO_BIN)
        x, y = _known(prr["X_COORD"], NO_COORDINATE), _known(prr["Y_COORD"], NO_COORDINATE)
        trimmed = pc.utf8_trim(prr["PART_ID"].combine_chunks(), " \t\r\n\0")
        return {
            "die_x": pc.if_else(y.is_valid(), x, None),
            "die_y": pc.if_else(x.is_valid(), y, None),
            "part_id": pc.if_else(pc.equal(trimmed, ""), None, trimmed),
            # STDF V4 knows no "missing" flag for TEST_T but 0, which no test takes.
            "test_time_ms": _known(prr["TEST_T"], 0, pa.int64()),
            "tests_executed": prr["NUM_TEST"].combine_chunks().cast(pa.int32()),
            "hard_bin": hard,
            "soft_bin": soft,
            "bin_name": pc.coalesce(_names(soft, self.header.soft_bins), _names(hard, self.header.hard_bins)),
            "is_pass": verdict,
            "fail_kind": pc.if_else(pc.equal(verdict, False), kind, pa.scalar(None, pa.string())),
        }

    def _verdict(self, prr: pa.Table) -> pa.Array:
        """Pass or fail: PART_FLG bit 3; where bit 4 voids it, what the HBR says of the hard bin; else NULL."""
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


def _known(column: pa.ChunkedArray, missing: int, kind: pa.DataType | None = None) -> pa.Array:
    """The column with its "no value" mark as NULL."""
    values = column.combine_chunks().cast(kind or pa.int32())
    return pc.if_else(pc.equal(values, missing), None, values)


def _names(numbers: pa.Array, names: dict[int, str]) -> pa.Array:
    keys = pa.array(list(names), pa.int32())
    return pa.array(list(names.values()), pa.string()).take(pc.index_in(numbers, keys))
