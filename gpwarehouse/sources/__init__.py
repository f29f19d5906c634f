"""Readers of test data files. Each converts a file to Arrow batches with natural keys; none of them knows a server.

:func:`open_source` looks at the content, not at the name, and returns the reader for it. A reader is any object with the
    methods of
:class:`Source`; the loader imports none of them.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack, runtime_checkable

from gpwarehouse.errors import SourceFormatError, UnknownFormatError
from gpwarehouse.sources.value_counts import ValueCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from gpwarehouse.models.parameter_sets import ParameterSet
    from gpwarehouse.sources.stdf import StdfSource
    from gpwarehouse.sources.stdf_given import GivenOptions

__all__ = ["SUPPORTED", "Source", "ValueCounts", "open_source"]

SUPPORTED = (
    "STDF V4 (.stdf, .std) and its text form ATDF (.atd, .atdf), plain or compressed (.gz, .bz2, .xz, .zst, or the only file in "
    "a .zip or .tar)"
)
"""The formats that :func:`open_source` knows, for its error messages."""


@runtime_checkable
class Source(Protocol):
    """What a reader offers to the loader.

    ``batches`` may be iterated more than once, and gives the same rows each time. ``members``, ``parameter_sets``, ``values``
    and ``warnings`` are complete only after ``batches`` has ended. If ``batches`` raises an error, nothing of the file may be
    kept.
    """

    @property
    def target(self) -> str:
        """Name of the fact table for the rows."""

    @property
    def source_system(self) -> str:
        """Kind of file, e.g. ``STDF``, for the audit column."""

    @property
    def source_file(self) -> str:
        """File name without its folder, for the audit column."""

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of the decompressed content. It does not depend on the compression."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the fact."""

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Dimension table name → rows with natural key parts and known attributes."""

    def parameter_sets(self) -> Mapping[int, ParameterSet]:
        """``parameter_set_key`` of the rows → list of parameters that says what stands where in ``measured``."""

    def values(self) -> ValueCounts:
        """How many values of the records are in the rows, and how many are left out."""

    def warnings(self) -> Sequence[str]:
        """What the source drops, guesses or does not understand, one sentence each; for :class:`gpwarehouse.load.LoadResult`."""


def open_source(
    path: str | PathLike[str],
    *,
    timezone: str = "UTC",
    test_type: str | None = None,
    source_file: str | None = None,
    allow_incomplete: bool = False,
    defaults: Mapping[str, str] | None = None,
    **given: Unpack[GivenOptions],
) -> Source:
    """Choose the reader for a file by its content.

    :param path: the file.
    :param timezone: IANA time zone of the file's epoch seconds, if the tester wrote local time.
    :param test_type: ``WAT``, ``CP`` or ``FT``; by default ``CP`` if the file has wafers, else ``FT``.
    :param source_file: name for the audit column; by default the file's own name.
    :param allow_incomplete: read what can be read of an incomplete file; its ``warnings`` say what is missing.
    :param defaults: values from the settings for all files, with the keys of ``given``.
    :param given: values for what the file does not say: ``facility``, ``lot_id``, ``wafer_id``, ``product_id``,
        ``test_program``, ``equipment_id``, ``event_ts``.
    :raises UnknownFormatError: the format of the content is not supported.
    :raises SourceFormatError: the file is empty, or compressed and damaged.
    :raises FileNotFoundError: there is no such file.
    """
    from gpwarehouse.sources.stdf_stream import first_bytes

    file = Path(path)
    head = first_bytes(file, 6)
    reader: type[StdfSource] | None = None
    # FAR is the first record of every STDF file: REC_LEN 2, REC_TYP 0, REC_SUB 10 (STDF V4, "FAR"). The length is two bytes in
    # the file's own byte order.
    if head[:4] in (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a"):
        from gpwarehouse.sources.stdf import StdfSource as reader
    elif head[:5] == b"FAR:A":
        from gpwarehouse.sources.atdf import AtdfSource as reader
    if reader is not None:
        return reader(
            file,
            timezone=timezone,
            test_type=test_type,
            source_file=source_file,
            allow_incomplete=allow_incomplete,
            defaults=defaults,
            **given,
        )
    what = f"starts with bytes {head.hex(' ')}" if head else "is empty"
    kind = UnknownFormatError if head else SourceFormatError
    raise kind(
        f"{file.name} {what}: its format is not supported. Supported: {SUPPORTED}. "
        "Load other data with wh.load(table, frame)."
    )
