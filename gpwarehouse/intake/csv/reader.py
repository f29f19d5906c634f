"""Read a CSV file as Arrow record batches of texts, or raise an error that names the line.

Arrow's parser is fast, but it accepts files that are not CSV, and it fails at the ends of its blocks (apache/arrow#51368). So a
strict scan (:mod:`gpwarehouse.intake.csv.records`) cuts off whole records, and Arrow parses each portion as one block.

No reader can know whether a file was cut off within its very last value. A last line without line end is accepted if it has
all its fields.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.csv.decimals import AmbiguousNumber, Decimals
from gpwarehouse.intake.csv.heading import Heading, read_heading
from gpwarehouse.intake.csv.options import CsvOptions
from gpwarehouse.intake.csv.records import QUOTES, Fault, Portion, RecordScanner
from gpwarehouse.intake.csv.text import Utf8Text, check_utf8, hint_of_nul
from gpwarehouse.intake.decompress import Readable
from gpwarehouse.intake.expected_columns import Expected
from gpwarehouse.transport.csv_blocks import csv_block

__all__ = ["BLOCK_BYTES", "csv_batches"]

BLOCK_BYTES = 1 << 20
"""Approximate bytes of a portion."""
RECORD_BYTES = 64 << 20
"""Maximum bytes of one record. If a quote is not closed, the rest of the file is one record and would be read into memory."""


def csv_batches(
    stream: Readable,
    options: CsvOptions,
    expected: Expected | None = None,
    *,
    delimiter: str = ",",
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV file, as texts; one batch without rows if there are none.

    :param stream: the bytes of the file.
    :param expected: the columns that the file may have; None if that is not known.
    :param delimiter: the delimiter that is tried first.
    :param block_bytes: how much is read at a time.
    :raises InvalidInputError: the file is damaged, or it is written in another way than the options say. The message names
        line and option, not the file.
    """
    text = Utf8Text(stream, options.encoding)
    heading = read_heading(text, options, expected, delimiter, block_bytes)
    if expected is not None:
        try:
            expected.check(heading.names)
        except InvalidInputError as error:
            raise InvalidInputError(f"line {heading.line}: {error}") from None
    portions = _Portions(text, heading, options, block_bytes)
    parser = _Parser(heading, options)
    decimals = Decimals(options, expected)
    rows = 0
    for block, portion in portions:
        batch = parser.batch(block)
        if batch.num_rows != len(portion.starts):
            raise InvalidInputError(
                f"line {portions.line_of(block, 0)}: from here on two parsers disagree: they read {batch.num_rows} and "
                f"{len(portion.starts)} rows; please report this as a bug"
            )
        rows += batch.num_rows
        try:
            yield decimals.convert(batch) if options.decimal == "," or portions.hold_commas(block, portion) else batch
        except AmbiguousNumber as found:
            line = portions.line_of(block, int(portion.starts[found.row]))
            raise InvalidInputError(f"line {line}, column {found.column!r}: {found}") from None
    if not rows:
        yield pa.RecordBatch.from_arrays([pa.nulls(0, pa.string())] * len(heading.names), heading.names)


class _Portions:
    """Blocks of whole records, to be iterated once.

    :ivar lines: number of line feeds before the last block.
    """

    def __init__(self, text: Utf8Text, heading: Heading, options: CsvOptions, block_bytes: int) -> None:
        self._text = text
        self._heading = heading
        self._options = options
        self._block_bytes = block_bytes
        quote = ord(options.quote) if options.quote is not None else None
        self._scanner = RecordScanner(ord(heading.delimiter), quote, len(heading.names))
        self.lines = heading.lines

    def __iter__(self) -> Iterator[tuple[bytes, Portion]]:
        data = self._heading.rest
        is_last = False
        while not is_last:
            more = self._text.read(max(self._block_bytes, len(data)))
            is_last = not more
            data += more
            portion = self._scan(data, is_last) if data else None
            if portion is not None and portion.size:
                block = data[: portion.size]
                check_utf8(block, self.lines + 1)
                if len(portion.starts):
                    yield block, portion
                self.lines += portion.lines
                data = data[portion.size :]
            if len(data) > RECORD_BYTES:
                line = self.line_of(data, 0)
                raise InvalidInputError(
                    f"line {line}: no record ends within {RECORD_BYTES >> 20} MiB after it: a quote is not closed; {QUOTES}"
                )

    def hold_commas(self, block: bytes, portion: Portion) -> bool:
        """Whether there are commas that are not delimiters."""
        delimiters = len(portion.starts) * (len(self._heading.names) - 1) if self._heading.delimiter == "," else 0
        return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord(","))) > delimiters

    def line_of(self, block: bytes, position: int) -> int:
        """The line number of a byte."""
        return self.lines + block.count(b"\n", 0, position) + 1

    def _scan(self, data: bytes, is_last: bool) -> Portion:
        if (nul := data.find(b"\x00")) >= 0:
            hint = hint_of_nul(data, self._options.encoding is not None)
            raise InvalidInputError(f"line {self.line_of(data, nul)}: it holds NUL bytes; {hint}")
        try:
            return self._scanner.scan(data, is_last=is_last)
        except Fault as fault:
            raise InvalidInputError(f"line {self.line_of(data, fault.position)}: {fault}") from None


class _Parser:
    """Arrow's parser for one block of whole records at a time."""

    def __init__(self, heading: Heading, options: CsvOptions) -> None:
        import pyarrow.csv as pa_csv

        self._csv = pa_csv
        self._names = heading.names
        self._parse = pa_csv.ParseOptions(
            delimiter=heading.delimiter,
            quote_char=options.quote if options.quote is not None else False,
            newlines_in_values=options.quote is not None,
        )
        self._convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(self._names, pa.string()),
            null_values=["", *options.null_values],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,  # it has been checked already
        )

    def batch(self, block: bytes) -> pa.RecordBatch:
        if not block.endswith(b"\n"):  # Arrow reads an empty field at the end as quoted, if any field before it is
            block += b"\n"
        source = csv_block(block)
        read = self._csv.ReadOptions(column_names=self._names, block_size=source.size() + 1)
        table = self._csv.read_csv(source, read_options=read, parse_options=self._parse, convert_options=self._convert)
        # combine_chunks() would copy the single chunk that there is
        arrays = [c.chunk(0) if c.num_chunks == 1 else c.combine_chunks() for c in table.columns]
        return pa.RecordBatch.from_arrays(arrays, self._names)
