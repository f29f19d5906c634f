"""Readers of files from the test floor. Each turns a file into Arrow batches with natural keys; none knows a server.

:func:`open_source` looks at the content, not at the name, and gives the reader for it. A reader is any object
with the shape of :class:`Source`: the loader imports none of them.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack, runtime_checkable

from gpwarehouse.errors import SourceFormatError, UnknownFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from gpwarehouse.sources.stdf_given import GivenOptions

__all__ = ["SUPPORTED", "Source", "open_source"]

SUPPORTED = "STDF V4 (.stdf, .std), plain or compressed (.gz, .bz2, .xz, or the only file in a .zip or .tar)"
"""The formats :func:`open_source` knows, as told in its errors."""


@runtime_checkable
class Source(Protocol):
    """What a reader offers to the loader.

    ``batches`` may be iterated once or more, always giving the same rows; ``members`` and ``warnings`` are complete only
    after ``batches`` was exhausted. An error raised by ``batches`` means that nothing of the file may be kept.
    """

    @property
    def target(self) -> str:
        """Name of the fact table the rows belong to."""

    @property
    def source_system(self) -> str:
        """Kind of file, e.g. ``STDF``; goes to the audit column."""

    @property
    def source_file(self) -> str:
        """File name without its directory; goes to the audit column."""

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of the decompressed content: the same content, however packed, has the same."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The fact rows, as a stream."""

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Dimension table name → rows with natural key parts and known attributes."""

    def warnings(self) -> Sequence[str]:
        """What the source drops, guesses or does not understand, a sentence each; for :class:`gpwarehouse.load.LoadResult`."""


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
    """The reader for a file, chosen by its content.

    :param path: the file.
    :param timezone: IANA zone of the file's epoch seconds, if the tester wrote local wall time.
    :param test_type: ``WAT``, ``CP`` or ``FT``; default: ``CP`` if the file has wafers, else ``FT``.
    :param source_file: name for the audit column; default: the file's own name.
    :param allow_incomplete: read what there is of a file that is not whole; its ``warnings`` say what is missing.
    :param defaults: what the settings say of all files, by the names of ``given``.
    :param given: what holds where the file says nothing: ``facility``, ``lot_id``, ``wafer_id``, ``product_id``,
        ``test_program``, ``equipment_id``, ``event_ts``.
    :raises UnknownFormatError: the content is no format we read.
    :raises SourceFormatError: the file is empty, or compressed and damaged.
    :raises FileNotFoundError: no such file.
    """
    from gpwarehouse.sources.stdf_stream import first_bytes

    file = Path(path)
    head = first_bytes(file, 6)
    # FAR is the first record of every STDF file: REC_LEN 2, REC_TYP 0, REC_SUB 10 (STDF V4, "FAR"). The length
    # is two bytes in the file's own byte order.
    if head[:4] in (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a"):
        from gpwarehouse.sources.stdf import StdfSource

        return StdfSource(
            file,
            timezone=timezone,
            test_type=test_type,
            source_file=source_file,
            allow_incomplete=allow_incomplete,
            defaults=defaults,
            **given,
        )
    if head[:5] == b"FAR:A":
        raise UnknownFormatError(
            f"{file.name} is ATDF, the text form of STDF, which is not read here. Nothing of it was loaded. Load the STDF file "
            f"it was made of, or convert it to STDF V4. Supported: {SUPPORTED}."
        )
    what = f"starts with bytes {head.hex(' ')}" if head else "is empty"
    kind = UnknownFormatError if head else SourceFormatError
    raise kind(
        f"{file.name} {what}, which is no format read here. Supported: {SUPPORTED}. "
        "For other data use Warehouse.load(table, frame)."
    )
