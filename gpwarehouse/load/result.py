"""The outcome of a load, for its caller and for the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LoadResult"]


@dataclass(frozen=True)
class LoadResult:
    """The outcome of a load; as text, one line.

    :ivar batch_id: id of the batch; if ``already_loaded``, of the batch that loaded this content before.
    :ivar target: table name of the fact.
    :ivar rows_read: rows that the source gave.
    :ivar rows_loaded: rows that were stored now; 0 if ``already_loaded``.
    :ivar rows_rejected: rows that were rejected. If ``already_loaded``, ``rows_read`` and this are the counts of the earlier
        load; else ``rows_loaded`` and this add up to ``rows_read``.
    :ivar already_loaded: whether the content had been loaded before, so that nothing was changed now.
    :ivar seconds: from the first row read to the commit.
    :ivar months_made: names of the partitions that were made.
    :ivar members_made: number of dimension versions that were written.
    :ivar transport: ``"copy binary"``, ``"copy text"`` or ``"gpfdist"``; empty if nothing was sent.
    :ivar transport_reason: why COPY was used although gpfdist was asked for.
    :ivar bytes_sent: bytes of the encoded rows.
    :ivar phase_seconds: seconds of ``"read"`` (check, resolve keys), ``"prepare"`` (months, members), ``"copy"`` (until the
        commit) and ``"analyze"`` (statistics, and VACUUM after a replacement). If rows were sent while others were read,
        ``"read"`` lasts until the commit.
    :ivar rows_replaced: rows of the batch that were deleted for it (``on_conflict="replace"``).
    :ivar analyzed: tables whose statistics were gathered.
    :ivar vacuumed: tables whose space was freed.
    :ivar warnings: what the source dropped, guessed or did not understand, and what failed after the commit, which does not
        affect the rows. If ``already_loaded``, only those of the source that are known without reading its rows again.
    :ivar values_stored: measured values that were sent in arrays now; numbers that stay in ``parameters`` are not among them.
    :ivar values_left_out: values of the source's records that no row holds, and those of rejected rows of a source that counts
        its values. The warnings say why.
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
    values_stored: int = 0
    values_left_out: int = 0

    def __str__(self) -> str:
        if self.already_loaded:
            return f"{self.target}: already loaded as batch {self.batch_id}; nothing was changed"
        rejected = f", {self.rows_rejected} rejected" if self.rows_rejected else ""
        replaced = f", {self.rows_replaced} replaced" if self.rows_replaced else ""
        path = f" by {self.transport}" if self.transport else ""
        speed = f" ({self.bytes_sent / 1e6 / self.seconds:.1f} MB/s)" if self.bytes_sent and self.seconds else ""
        return (
            f"{self.target}: {self.rows_loaded} of {self.rows_read} rows loaded{rejected}{replaced} "
            f"in {self.seconds:.1f} s{path}{speed}, batch {self.batch_id}"
        )
