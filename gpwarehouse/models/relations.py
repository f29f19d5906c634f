"""How the ORM goes from a durable key to its dimension: to the version in force now, read-only.

No FOREIGN KEY is declared (a durable key is not unique in a versioned dimension), so each relationship spells out its
join. Names are resolved by the registry when the mappers are configured, which spares the modules import cycles.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Mapped, relationship

__all__ = ["to_current", "to_hour"]


def to_current(owner: str, column: str, dimension: str, key: str) -> Mapped[Any]:
    """The current version of the member that ``owner.column`` names.

    :param owner: class that has the key; ``dimension``: class it leads to, which may be the same.
    :param key: the durable key's name in the dimension.
    """
    return relationship(
        dimension,
        primaryjoin=(
            f"and_(foreign({owner}.{column}) == remote({dimension}.{key}), remote({dimension}.is_current).is_(True))"
        ),
        viewonly=True,
        uselist=False,
    )


def to_hour(owner: str) -> Mapped[Any]:
    """The row of ``dim_time`` for the hour of the event."""
    return relationship(
        "DimTime",
        primaryjoin=f"foreign({owner}.time_key) == remote(DimTime.time_key)",
        viewonly=True,
        uselist=False,
    )
