"""The parts that all tables share: metadata, naming, the column builder, and the mixins of dimensions and facts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.types import TypeEngine

from gpwarehouse.dialect.base import GreenplumDialect
from gpwarehouse.dialect.errors import UnsupportedByServerError
from gpwarehouse.dialect.options import (
    AppendOptimized,
    DistributedBy,
    DistributedReplicated,
    Heap,
    RangePartitions,
)
from gpwarehouse.models.keys import NOT_APPLICABLE_KEY, UNKNOWN_KEY

SCHEMA = "dw"
"""Where the models live; another name comes by ``schema_translate_map`` or, in migrations, by setting."""

ANCHOR_MONTH = "2000-01"
"""The one month the first revision makes: Greenplum 6 needs a partition, and it must be the same on every day."""

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

TimestampTZ = DateTime(timezone=True)

CURRENT_USER = text('"current_user"()')
"""Default of the columns that say who wrote a row: the function, not the keyword. ORCA on Greenplum 7 cannot read a
default that is a keyword and leaves every query of the table to the Postgres planner (seen on 7.0)."""

BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
"""Start of every first version, so that no event falls before its dimension."""

END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
"""End of the version in force. Finite, because not every client library can read ``infinity``."""

RESERVED_NAMES: Mapping[int, str] = {UNKNOWN_KEY: "(unknown)", NOT_APPLICABLE_KEY: "(not applicable)"}
"""The names of the two reserved members of a dimension."""


@dataclass(frozen=True)
class Domain:
    """The values that a column allows, beyond its type: one source for the CHECK constraint and the loader's validation.

    :param values: the allowed texts, or None for any.
    :param ge: least value allowed; ``gt``: bound that must be exceeded; ``le``: greatest value allowed.
    :param json: what a JSONB value must be. A view unfolds the objects, and one that is a bare number would
        break every query of it.
    :param ordered: of a JSON object of objects, names of numbers that must not fall in this order where they are there
        (limits may be one-sided). The loader alone sees to it: no server before 12 could in a CHECK.
    """

    values: tuple[str, ...] | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    json: Literal["object", "array"] | None = None
    ordered: tuple[str, ...] = ()

    def sql(self, column: str) -> str:
        """The CHECK expression; NULL passes, as in SQL."""
        if self.json is not None:
            return f"jsonb_typeof({column}) = '{self.json}'"
        if self.values is not None:
            return f"{column} IN ({', '.join(repr(v) for v in self.values)})"
        terms = [
            f"{column} {op} {limit:g}"
            for op, limit in ((">=", self.ge), (">", self.gt), ("<=", self.le))
            if limit is not None
        ]
        return " AND ".join(terms)

    def disorder(self, document: Mapping[str, Any]) -> str | None:
        """Say how a JSON object breaks :attr:`ordered`; None if it does not. A null counts as absent."""
        for name, entry in document.items() if self.ordered else ():
            if entry is None:
                continue
            if not isinstance(entry, Mapping):
                return f"{name[:80]!r} must be an object, with {', '.join(self.ordered)}"
            given = [(part, entry[part]) for part in self.ordered if entry.get(part) is not None]
            for part, value in given:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return f"{part} of {name[:80]!r} must be a number"  # the views would take it for no limit
            for (low, least), (high, most) in pairwise(given):
                if least > most:
                    return f"{low} of {name[:80]!r} must be at most its {high}: {least!r} > {most!r}"
        return None


@dataclass(frozen=True)
class KeyRole:
    """How a durable key of a fact is made from the natural key columns of an incoming frame.

    :param dimension: table name of the dimension, e.g. ``"dim_equipment"``.
    :param inputs: natural key column of the dimension → column of the frame, in hashing order.
    :param identifier: the column of the frame that decides: where it is NULL, the key is ``absent``.
    :param constants: natural key columns with a fixed value for this role (``{"chamber_id": ""}`` for a tool).
    :param defaults: column of the frame → value where it is NULL or not given at all.
    :param absent: the reserved key for "no member": -1 unknown, -2 not applicable.
    """

    dimension: str
    inputs: Mapping[str, str]
    identifier: str
    constants: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    absent: int = -1


def col(
    comment: str,
    type_: TypeEngine[Any] | type[TypeEngine[Any]] | None = None,
    *,
    domain: Domain | None = None,
    role: KeyRole | None = None,
    **kwargs: Any,
) -> Any:
    """A mapped column with its comment (unit and standard), its domain of values and its key role."""
    info: dict[str, Any] = kwargs.pop("info", {})
    if domain is not None:
        info["domain"] = domain
    if role is not None:
        info["role"] = role
    if kwargs.get("primary_key"):
        kwargs.setdefault("autoincrement", False)  # BIGINT keys must not become BIGSERIAL
    args = () if type_ is None else (type_,)
    return mapped_column(*args, comment=comment, info=info, **kwargs)


def refuse_other_dialects(table: Table, connection: Connection, **_: Any) -> None:
    """Stop CREATE TABLE through a dialect that would leave out distribution, storage and partitions without a word.

    :raises UnsupportedByServerError: the connection's dialect is not ours.
    """
    if not isinstance(connection.dialect, GreenplumDialect):
        raise UnsupportedByServerError(
            f"table {table.fullname!r}: dialect {type(connection.dialect).__name__} would make it without its "
            "distribution, storage and partitions; connect by a greenplum+psycopg2:// URL, which speaks to plain "
            "PostgreSQL too, or use gpwarehouse's own engine"
        )


class Base(DeclarativeBase):
    """Declarative base of the warehouse; ``Base.metadata`` holds every table of the contract."""

    if TYPE_CHECKING:
        __table__: ClassVar[Table]

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        int: BigInteger(),
        float: Double(),
        bool: Boolean(),
        datetime: TimestampTZ,
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Turn each column's :class:`Domain` into a CHECK constraint named after the column; guard CREATE TABLE."""
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if table is None:
            return
        for column in table.columns:
            domain = column.info.get("domain")
            if domain is not None:
                table.append_constraint(CheckConstraint(domain.sql(column.name), name=column.name))
        event.listen(table, "before_create", refuse_other_dialects)


def first_line(documented: type) -> str:
    """The first line of a class's docstring without its full stop: the comment of its table."""
    return (documented.__doc__ or "").strip().splitlines()[0].rstrip(".")


class Audited:
    """Mixin of the dimensions and bridges: where a row came from, who wrote it and when."""

    source_system: Mapped[str | None] = col("System the row came from", sort_order=900)
    source_id: Mapped[str | None] = col("Identifier of the row in that system", sort_order=901)
    batch_id: Mapped[str | None] = col("Batch that wrote the row (etl_load_batch)", sort_order=902)
    created_at: Mapped[datetime] = col("When the row was written, UTC", server_default=text("now()"), sort_order=903)
    updated_at: Mapped[datetime] = col(
        "When the row was last changed, UTC", server_default=text("now()"), sort_order=904
    )
    created_by: Mapped[str] = col("Database user who wrote the row", server_default=CURRENT_USER, sort_order=905)
    updated_by: Mapped[str] = col("Database user who last changed the row", server_default=CURRENT_USER, sort_order=906)


class Dimension(Audited):
    """Mixin of the versioned dimensions (SCD type 2): the interval, the flags, the audit columns.

    A class sets ``durable_key`` (the name of its ``x_key``), ``natural_key`` (the parts it is hashed from, in
    order) and, where columns are overwritten in place, ``type1``.
    """

    if TYPE_CHECKING:
        __tablename__: Any

    durable_key: ClassVar[str]
    natural_key: ClassVar[tuple[str, ...]]
    type1: ClassVar[tuple[str, ...]] = ()
    distribution: ClassVar[DistributedBy | DistributedReplicated] = DistributedReplicated()

    effective_date: Mapped[datetime] = col(
        "Start of the version, inclusive, UTC; the first version starts at 1900-01-01", primary_key=True, sort_order=800
    )
    expiry_date: Mapped[datetime] = col(
        "End of the version, exclusive, UTC; 9999-12-31 while it is in force",
        server_default=text("'9999-12-31 00:00:00+00'"),
        sort_order=801,
    )
    is_current: Mapped[bool] = col(
        "Whether this is the version in force now", server_default=text("true"), sort_order=802
    )
    is_inferred: Mapped[bool] = col(
        "Whether a load made this member before anything better was known of it",
        server_default=text("false"),
        sort_order=803,
    )
    row_hash: Mapped[str] = col("MD5 over the tracked columns; tells whether a version differs", sort_order=804)
    known_from: Mapped[datetime | None] = col(
        "Moment of the oldest merged row (wh.merge) that told of a tracked column, UTC, the same in all versions; "
        "NULL: loads alone told",
        sort_order=907,
    )
    told: Mapped[list[str] | None] = col(
        "Columns that a merge told at the start of the version, of the first one at known_from; the others are inherited. "
        "NULL: all (written before revision 0002)",
        JSONB(none_as_null=True),
        sort_order=908,
    )
    shown: Mapped[dict[str, Any] | None] = col(
        "What facts show of the member, used where no source told: {column: [value, moment]}, the same in all versions",
        JSONB(none_as_null=True),
        sort_order=909,
    )

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        """Interval check, one current row per key, distribution and storage."""
        return (
            CheckConstraint(
                "effective_date < expiry_date AND isfinite(effective_date) AND isfinite(expiry_date)", name="interval"
            ),
            *cls.table_constraints(),
            Index(
                f"uq_{cls.__tablename__}_current",
                cls.durable_key,
                unique=True,
                postgresql_where=text("is_current"),
            ),
            {
                "comment": first_line(cls),
                "greenplum_distributed_by": cls.distribution,
                "greenplum_storage": Heap(),
            },
        )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Checks over several columns; a class overrides it."""
        return ()

    @classmethod
    def tracked_columns(cls) -> tuple[str, ...]:
        """The columns whose change makes a new version, which ``row_hash`` covers: attributes but not type 1."""
        untracked = {cls.durable_key, *cls.natural_key, *cls.type1}
        untracked |= {name for mixin in (Dimension, Audited) for name in vars(mixin)}
        table: Table = cls.__table__  # type: ignore[attr-defined]
        return tuple(column.name for column in table.columns if column.name not in untracked)

    @classmethod
    def inferred_attributes(cls, natural_key: Mapping[str, str]) -> dict[str, Any]:
        """Values that an inferred member needs besides its natural key, because a check requires them."""
        return {}

    @classmethod
    def reserved_members(cls) -> list[dict[str, Any]]:
        """The rows -1 (unknown) and -2 (not applicable), every column given that has no default of the server's."""
        return [
            {
                cls.durable_key: key,
                **dict.fromkeys(cls.natural_key, name),
                **cls.reserved_attributes(key),
                "effective_date": BEGINNING,
                "expiry_date": END_OF_TIME,
                "is_current": True,
                "is_inferred": False,
                "row_hash": hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(),
                "source_system": "gpwarehouse",
            }
            for key, name in RESERVED_NAMES.items()
        ]

    @classmethod
    def reserved_attributes(cls, key: int) -> dict[str, Any]:
        """Values of the reserved member ``key`` besides its name; a class overrides it."""
        return {}


class Fact:
    """Mixin of the facts: time, provenance, monthly partitions, append-optimized column storage.

    The primary key (``batch_id``, ``source_record_no``) exists for the mapper only: append-optimized tables have
    no unique key on Greenplum 6.
    """

    if TYPE_CHECKING:
        __tablename__: Any

    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["batch_id", "source_record_no"]}
    distribution_key: ClassVar[str] = "wafer_key"

    event_ts: Mapped[datetime] = col(
        "When it happened, UTC; the partition key (monthly, bounds in UTC)", sort_order=-100
    )
    time_key: Mapped[int] = col("Hour of event_ts in UTC, YYYYMMDDHH (dim_time)", Integer(), sort_order=-99)
    source_system: Mapped[str | None] = col("System the row came from", sort_order=900)
    source_file: Mapped[str | None] = col("File the row came from, without its folder", sort_order=901)
    source_record_no: Mapped[int] = col("Number of the record in its source, unique in the batch", sort_order=902)
    batch_id: Mapped[str] = col("Batch that loaded the row (etl_load_batch)", sort_order=903)
    loaded_at: Mapped[datetime] = col("When the row was loaded, UTC", server_default=text("now()"), sort_order=904)

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        """Checks over several columns, the one index, distribution, storage and partitions."""
        name = cls.__tablename__
        return (
            *cls.table_constraints(),
            Index(f"ix_{name}_{cls.distribution_key}", cls.distribution_key),
            {
                "comment": first_line(cls),
                "greenplum_distributed_by": DistributedBy(cls.distribution_key),
                "greenplum_storage": AppendOptimized(orientation="column", compresstype="zstd", compresslevel=1),
                "greenplum_partition_by": RangePartitions.monthly("event_ts", first=ANCHOR_MONTH),
            },
        )

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Checks over several columns; a class overrides it."""
        return ()


# How the roles that several facts share are made from an incoming frame.
LOT = KeyRole("dim_lot", {"lot_id": "lot_id"}, identifier="lot_id")
WAFER = KeyRole("dim_wafer", {"root_lot_id": "root_lot_id", "wafer_id": "wafer_id"}, identifier="wafer_id")
PRODUCT = KeyRole(
    "dim_product",
    {"product_id": "product_id", "revision": "product_revision"},
    identifier="product_id",
    defaults={"product_revision": ""},
)
STEP = KeyRole(
    "dim_process_step",
    {"process_flow_id": "process_flow_id", "flow_version": "flow_version", "step_number": "step_number"},
    identifier="step_number",
    defaults={"flow_version": ""},
)
RECIPE = KeyRole(
    "dim_recipe",
    {"recipe_id": "recipe_id", "recipe_version": "recipe_version"},
    identifier="recipe_id",
    defaults={"recipe_version": ""},
)


def tool_role(column: str, *, absent: int = -1) -> KeyRole:
    """The tool named in ``column`` of the frame, without a chamber."""
    return KeyRole(
        "dim_equipment",
        {"facility": "facility", "equipment_id": column},
        identifier=column,
        constants={"chamber_id": ""},
        absent=absent,
    )


CHAMBER = KeyRole(
    "dim_equipment",
    {"facility": "facility", "equipment_id": "equipment_id", "chamber_id": "chamber_id"},
    identifier="chamber_id",
    absent=-2,
)
