"""One difference between the live schema and the models."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UPGRADE", "Finding"]

UPGRADE = "bring the schema to this package's revision (gpwarehouse upgrade); if it is there, write a revision"


@dataclass(frozen=True)
class Finding:
    """A difference.

    :ivar kind: revision, table, foreign table, foreign function, column, type, nullability, default, collation, comment,
        key, check, index, invalid index, view, rule, trigger, unlogged, row security, policy, distribution, storage,
        encoding, partition scheme, gap, overlap, bounds, detached month, reserved member, hours, calendar, owner, rights …
    :ivar object: table, ``table.column``, constraint, index, view, role.
    :ivar expected: by the models; ``found``: in the database.
    :ivar remedy: the way out.
    """

    kind: str
    object: str
    expected: str
    found: str
    remedy: str = UPGRADE
