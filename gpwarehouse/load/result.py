"""What a load did, for whoever called it and for the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LoadResult"]


@dataclass(frozen=True)
class LoadResult:
    """What a load did; as text, one line.

    :ivar batch_id: id of the batch; of the one that loaded this content before, if ``already_loaded``.
    :ivar target: the fact's table name.
    :ivar rows_read: rows the source gave; ``rows_loaded`` and ``rows_rejected`` add up to it, unless it was loaded
        before: then nothing was loaded now, and the others are what was counted then.
    :ivar already_loaded: the content had been loaded before, and nothing was changed now.
    :ivar seconds: from the first row read to the commit.
    :ivar months_made: names of the partitions made for it; ``members_made``: dimension versions written.
    :ivar transport: ``"copy binary"``, ``"copy text"`` or ``"gpfdist"``; empty if nothing was sent.
    :ivar transport_reason: why it was COPY where gpfdist was wanted.
    :ivar bytes_sent: of encoded rows.
    :ivar phase_seconds: of ``"read"`` (validate, resolve), ``"prepare"`` (months, members), ``"copy"`` (to the commit) and
        ``"analyze"`` (statistics, and VACUUM after a replacement); where rows were sent while others were read, ``"read"``
        is all to the commit.
    :ivar rows_replaced: rows of the batch that were deleted for it (``on_conflict="replace"``).
    :ivar analyzed: tables whose statistics were gathered; ``vacuumed``: those given back the space of deleted rows.
    :ivar warnings: what the source dropped, guessed or did not understand, and what went wrong after the commit, which
        changes nothing of the rows. Of a source loaded before those that are known without reading its rows again.
    """

    batch_id: str
    target: str
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    already_loaded: bool
    seconds: float
    months_made: tuple[str, ...] = ()
    members_made: int = 0
    transport: str = ""
    transport_reason: str = ""
    bytes_sent: int = 0
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    rows_replaced: int = 0
    analyzed: tuple[str, ...] = ()
    vacuumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.already_loaded:
            return f"{self.target}: loaded before as batch {self.batch_id}; nothing was changed"
        rejected = f", {self.rows_rejected} rejected" if self.rows_rejected else ""
        replaced = f", {self.rows_replaced} replaced" if self.rows_replaced else ""
        path = f" by {self.transport}" if self.transport else ""
        speed = f" ({self.bytes_sent / 1e6 / self.seconds:.1f} MB/s)" if self.bytes_sent and self.seconds else ""
        return (
            f"{self.target}: {self.rows_loaded} of {self.rows_read} rows loaded{rejected}{replaced} "
            f"in {self.seconds:.1f} s{path}{speed}, batch {self.batch_id}"
        )
