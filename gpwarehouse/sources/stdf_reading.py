"""The second pass over an STDF file: its results by insertion, and the list of parameters that they make.

The list must be known before the first row, because all rows of a file share it; names, limits and repetitions may come late. So
the results go to a temporary file (21 bytes each), from which the rows are made in a third pass. Memory holds one run of records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.sources import stdf_results as res
from gpwarehouse.sources.stdf_attribution import Attribution
from gpwarehouse.sources.stdf_matrix import PartResults, count_occurrences
from gpwarehouse.sources.stdf_parameters import ParameterBook, ParameterList
from gpwarehouse.sources.stdf_records import Header
from gpwarehouse.sources.stdf_results import Ints, ResultReader, Results, site_keys
from gpwarehouse.sources.stdf_spool import Spool
from gpwarehouse.sources.stdf_survey import Chunk, Survey
from gpwarehouse.sources.stdf_tally import Tally
from gpwarehouse.sources.stdf_texts import PartTexts, texts_of_file, tidy, write_texts
from gpwarehouse.sources.value_counts import ValueCounts

__all__ = ["PART_TYPES", "Reading", "read_results"]

PART_TYPES = ["PIR", "PRR", "PTR", "MPR", "FTR", "STR", "GDR", "DTR"]
"""The record types that :func:`read_results` needs."""


@dataclass
class Reading:
    """What the second pass found.

    :ivar spool: per run of records the PRRs of parts, their results, and their texts as JSON.
    :ivar parameters: the file's list.
    :ivar values: how many values are in the spool, and how many are left out.
    :ivar tail: GDR and DTR records after the last part.
    :ivar tally: counts over the parts.
    :ivar warnings: why values are left out, and what is contradictory.
    """

    spool: Spool = field(default_factory=Spool)
    parameters: ParameterList = field(default_factory=lambda: ParameterList(ParameterBook(), {}))
    values: ValueCounts = field(default_factory=ValueCounts)
    tail: list[tuple[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    warnings: list[str] = field(default_factory=list)
    parts: int = 0
    """Number of PRRs, delimiters included."""


class _Reader:
    def __init__(self, survey: Survey, header: Header, where: str, keeps_part_texts: bool) -> None:
        self.survey = survey
        self.where = where
        self.reader = ResultReader(ParameterBook(header.pin_names))
        self.attribution = Attribution(np.array(sorted(survey.without_pir), np.int64))
        self.texts = PartTexts()
        self.reading = Reading()
        self.tally = self.reading.tally
        self.of_parts, self.of_file = texts_of_file(header)
        self.keeps_part_texts = keeps_part_texts
        self.counts = dict.fromkeys((res.VALUE, res.VOID, res.USABLE), 0)

    def read(self, chunk: Chunk, tables: dict[str, pa.Table]) -> None:
        """Read one run of records."""
        if "MPR" in tables:
            self.tally.see_multiple(tables["MPR"])
        place = f"{self.where}, bytes {chunk.offset} to {chunk.offset + chunk.length}"
        results = self.reader.read(tables, chunk.first_record, place)
        starts, ends = (
            site_keys(tables[kind], chunk.first_record) if kind in tables else np.empty(0, np.int64)
            for kind in ("PIR", "PRR")
        )
        results, part = self.attribution.assign(starts, ends, results)
        prr = tables.get("PRR")
        if prr is None:
            self.texts.assign(tables, np.empty(0, np.uint64))
        else:
            self._keep(tables, prr, results, part)

    def _keep(self, tables: dict[str, pa.Table], prr: pa.Table, results: Results, part: Ints) -> None:
        row = self.reading.parts
        self.reading.parts += prr.num_rows
        is_part = self.survey.is_part[row : row + prr.num_rows]
        if len(is_part) < prr.num_rows:  # the file changed, which the caller finds out at its end
            return
        self.tally.see_parts(prr["NUM_TEST"].to_numpy().astype(np.int64), results, part, is_part)
        if not is_part.all():
            real = is_part[part]
            results, part = results.take(real), (np.cumsum(is_part) - 1)[part[real]]
            prr = prr.filter(pa.array(is_part))
        for flag in self.counts:
            self.counts[flag] += int(np.count_nonzero(results.has(res.VALUE) & results.has(flag)))
        texts = self.texts.assign(tables, prr["sequence_number"].to_numpy())
        parameters = self._write_parameters(prr, texts)
        if prr.num_rows:
            self.reading.spool.add(prr, PartResults.to_table(results, part), pa.table({"parameters": parameters}))

    def _write_parameters(self, prr: pa.Table, texts: list[list[tuple[str, Any]]]) -> pa.Array:
        """The JSON of each part: its texts and records, those of the file, and with the first part what is of the file alone."""
        same = write_texts((), self.of_parts)
        names = prr["PART_TXT"].to_pylist() if self.keeps_part_texts else []
        if not texts and not any(names) and not self.of_file:
            return pa.repeat(pa.scalar(same, pa.string()), prr.num_rows)
        written = []
        for row in range(prr.num_rows):
            mine = texts[row] if texts else ()
            name = tidy(names[row]) if names else None
            if mine or name or self.of_file:
                written.append(write_texts(mine, {"PART_TXT": name, **self.of_parts, **self.of_file}))
                self.of_file = {}
            else:
                written.append(same)
        return pa.array(written, pa.string())

    def finish(self, header: Header) -> Reading:
        """Make the list, and count what is left out."""
        reading, spool = self.reading, self.reading.spool
        self.attribution.finish()
        reading.tail = self.texts.pending
        book = self.reader.book
        known = reading.parameters = book.finish(header.test_names)
        most = np.zeros(len(known.keys), np.int64)
        for (table,) in spool.read(1):
            results = PartResults.of_table(table, known.final)
            parts = int(results.part.max(initial=-1)) + 1
            np.maximum.at(most, results.parameter, count_occurrences(results, parts, len(most)))
        known.number(most, self.where)
        stored, void = self.counts[res.USABLE], self.counts[res.VOID]
        strange = self.counts[res.VALUE] - stored - void
        lost = self.attribution.orphan_values + self.tally.delimiter_values
        reading.values = ValueCounts(stored, void + strange + lost)
        reading.warnings += [*self._tell(void, strange), *self.tally.warnings(self.attribution.orphans)]
        reading.warnings += known.warnings
        return reading

    def _tell(self, void: int, strange: int) -> Iterable[str]:
        if void:
            yield (
                f"{void} values are left out, because their flags make them void (TEST_FLG bits 1 to 5, PARM_FLG bits 0 to 2); "
                "their verdicts are kept"
            )
        if strange:
            yield f"{strange} values are left out, because they are infinite or not a number; their verdicts are kept"
        if self.reader.alternate:
            yield f"{self.reader.alternate} results passed by alternate limits (PARM_FLG bit 5), which STDF does not give"


def read_results(
    runs: Iterable[tuple[Chunk, dict[str, pa.Table]]],
    survey: Survey,
    header: Header,
    where: str,
    *,
    keeps_part_texts: bool = True,
) -> Reading:
    """Read the results of a file.

    :param runs: its runs of records, with the tables of :data:`PART_TYPES`.
    :param where: name of the file, for messages.
    :param keeps_part_texts: whether PART_TXT is among the texts; the code of a packaged part has a column of its own.
    :raises SourceFormatError: a record is damaged, or there are more parameters than a list may have.
    """
    reader = _Reader(survey, header, where, keeps_part_texts)
    for chunk, tables in runs:
        reader.read(chunk, tables)
    return reader.finish(header)
