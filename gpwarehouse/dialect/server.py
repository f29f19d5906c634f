"""Which server is it, and what can it do: ``version()`` → :class:`ServerInfo` → :class:`Capabilities`, once.

Code asks for a capability by name and never compares versions where it acts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from gpwarehouse.dialect.errors import OptionError

__all__ = ["SERVER_NAMES", "Brand", "Capabilities", "ServerDialect", "ServerInfo"]


class Brand(Enum):
    """The product; forks that keep Greenplum's behaviour and numbering (Greengage, WarehousePG) count as Greenplum."""

    POSTGRESQL = "PostgreSQL"
    GREENPLUM = "Greenplum"
    CLOUDBERRY = "Cloudberry"


SERVER_NAMES: dict[str, tuple[Brand, tuple[int, ...], tuple[int, ...]]] = {
    "postgresql": (Brand.POSTGRESQL, (18,), (18,)),
    "greenplum6": (Brand.GREENPLUM, (6, 24), (9, 4, 26)),
    "greenplum7": (Brand.GREENPLUM, (7, 0), (12, 12)),
    "cloudberry": (Brand.CLOUDBERRY, (2, 0), (14, 4)),
}
"""Servers that can be named where none can be asked (``--sql``, mock engines): brand, version, PostgreSQL version."""

_NUMBER = r"(\d+(?:\.\d+)*)"
_PRODUCT = re.compile(
    rf"\((Apache )?(Greenplum|Greengage|Cloudberry)(?: Database)?(?: {_NUMBER})?|WarehousePG {_NUMBER}"
)
_POSTGRES = re.compile(rf"(?:PostgreSQL|EnterpriseDB) {_NUMBER}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True)
class ServerInfo:
    """Brand and version of a server, and the version of the PostgreSQL it is built on."""

    brand: Brand
    version: tuple[int, ...]
    postgres_version: tuple[int, ...]

    @classmethod
    def parse(cls, banner: str) -> ServerInfo:
        """Read ``version()``. Brand and version are found apart, never anchored at the end: tails vary by build.

        :raises ValueError: the banner names no PostgreSQL version.
        """
        found = _POSTGRES.search(banner)
        if not found:
            raise ValueError(f"version() answered {banner!r}, which names no PostgreSQL version")
        postgres = _numbers(found[1])
        product = _PRODUCT.search(banner)
        if not product:
            return cls(Brand.POSTGRESQL, postgres, postgres)
        brand = Brand.CLOUDBERRY if product[2] == "Cloudberry" else Brand.GREENPLUM
        number = product[3] or product[4]
        if number is None:  # WarehousePG's newest banners print the number behind the bracket
            behind = re.search(rf"Database\) {_NUMBER}", banner)
            number = behind[1] if behind else None
        return cls(brand, _numbers(number) if number else postgres, postgres)

    @classmethod
    def named(cls, name: str) -> ServerInfo:
        """The server of that name in :data:`SERVER_NAMES`.

        :raises OptionError: an unknown name.
        """
        try:
            return cls(*SERVER_NAMES[name])
        except KeyError:
            raise OptionError(f"server={name!r}: allowed are {', '.join(SERVER_NAMES)}") from None

    def __str__(self) -> str:
        number = ".".join(map(str, self.version))
        if self.brand is Brand.POSTGRESQL:
            return f"PostgreSQL {number}"
        return f"{self.brand.value} {number} (PostgreSQL {'.'.join(map(str, self.postgres_version))})"


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a server, by name. Sources: greenplum-facts (tried on 6.24 and 7.0) and the vendors' references.

    :ivar distribution: has segments, so every CREATE TABLE carries a DISTRIBUTED clause.
    :ivar append_optimized: has append-optimized tables.
    :ivar partition_ddl: ``"classic"`` (CREATE TABLE names the partitions) or ``"declarative"`` (PARTITION OF).
    :ivar partition_catalog: ``"classic"`` (pg_partition) or ``"declarative"`` (pg_partitioned_table).
    :ivar partitions_required: a partitioned table needs a partition from the start.
    :ivar access_methods: tables have an access method (``USING``, ``pg_class.relam``).
    :ivar unique_on_append_optimized: append-optimized tables may have unique keys.
    :ivar on_conflict: ``INSERT … ON CONFLICT`` works (on heap tables, where storage differs).
    :ivar identity: has identity columns.
    :ivar create_index_if_not_exists: has ``CREATE INDEX IF NOT EXISTS``.
    :ivar create_table_as_if_not_exists: has ``CREATE TABLE IF NOT EXISTS … AS``.
    :ivar nulls_not_distinct: unique keys may say whether NULLs are distinct.
    :ivar merge: has MERGE.
    :ivar serializable: SERIALIZABLE is what it says; Greenplum takes it and gives REPEATABLE READ.
    :ivar local_role: a transaction may SET LOCAL ROLE. On Greenplum 7 the role is back before COMMIT PREPARED, which a segment
        then refuses to a login that is no superuser, and the coordinator ends in a PANIC (seen on 7.0.0-beta). SET ROLE does
        no harm.
    :ivar exact_float_text: reads the shortest text of a double back to the same double (PostgreSQL ≥ 12).
    :ivar compresstypes: names the server knows.
    :ivar missing_index_methods: of btree, hash, gin, brin and bitmap, those the server does not have.
    :ivar verified: tried on a real server by us.
    """

    distribution: bool
    append_optimized: bool
    partition_ddl: Literal["classic", "declarative"]
    partition_catalog: Literal["classic", "declarative"]
    partitions_required: bool
    access_methods: bool
    unique_on_append_optimized: bool
    on_conflict: bool
    identity: bool
    create_index_if_not_exists: bool
    create_table_as_if_not_exists: bool
    nulls_not_distinct: bool
    merge: bool
    serializable: bool
    local_role: bool
    exact_float_text: bool
    compresstypes: frozenset[str]
    missing_index_methods: frozenset[str]
    verified: bool

    @classmethod
    def of(cls, server: ServerInfo) -> Capabilities:
        """Derive the capabilities from brand and version."""
        pg = server.postgres_version
        mpp = server.brand is not Brand.POSTGRESQL
        classic_catalog = mpp and pg < (12,)
        types = {"none", "zlib", "zstd", "rle_type"} if mpp else set()
        if classic_catalog:
            types.add("quicklz")
        return cls(
            distribution=mpp,
            append_optimized=mpp,
            partition_ddl="classic" if mpp else "declarative",
            partition_catalog="classic" if classic_catalog else "declarative",
            partitions_required=classic_catalog,
            access_methods=pg >= (12,),
            unique_on_append_optimized=mpp and pg >= (12,),
            on_conflict=pg >= (9, 5),
            identity=pg >= (10,),
            create_index_if_not_exists=pg >= (9, 5),
            create_table_as_if_not_exists=pg >= (9, 5),
            nulls_not_distinct=pg >= (15,),
            merge=pg >= (15,),
            serializable=not mpp,
            local_role=not mpp or classic_catalog,
            exact_float_text=pg >= (12,),
            compresstypes=frozenset(types),
            missing_index_methods=frozenset({"brin", "hash"} if classic_catalog else set() if mpp else {"bitmap"}),
            verified=server.brand is not Brand.CLOUDBERRY,
        )


class ServerDialect(Protocol):
    """A dialect that knows the server it speaks to. Both are None before it has asked."""

    capabilities: Capabilities | None
    server_version_info: tuple[Any, ...] | None
