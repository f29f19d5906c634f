"""Where SQLAlchemy meets the catalogs: the dialect's reflection methods, and the Inspector's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql.base import PGDialect, PGInspector
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from gpwarehouse.dialect.external_tables import ExternalTable
from gpwarehouse.dialect.options import Distribution, Encoding, Heap, Storage
from gpwarehouse.dialect.partitions import Partitioning
from gpwarehouse.dialect.reflection import catalog
from gpwarehouse.dialect.reflection.external import external_names, externals_of, externals_there
from gpwarehouse.dialect.reflection.postgresql import postgresql_table_options, stock_reads_table_options
from gpwarehouse.dialect.reflection.tables import (
    distributions_of,
    encodings_of,
    partition_children,
    partitionings_of,
    storages_of,
)
from gpwarehouse.dialect.server import Capabilities, ServerDialect

__all__ = ["STORAGE_SETTINGS", "GreenplumInspector", "base_table_options", "with_encodings", "with_greenplum_options"]

Options = dict[tuple[str | None, str], dict[str, Any]]

STORAGE_SETTINGS = frozenset(
    {"appendonly", "appendoptimized", "orientation", "compresstype", "compresslevel", "blocksize", "checksum"}
)


def base_table_options(dialect: GreenplumReflection, parent: Any, connection: Connection, **kw: Any) -> Options:
    """PostgreSQL's own table options, from SQLAlchemy where it can read them."""
    if stock_reads_table_options(dialect):
        return {key: dict(options) for key, options in parent.get_multi_table_options(connection, **kw)}
    return postgresql_table_options(connection, dialect, **kw)


def with_greenplum_options(
    connection: Connection,
    dialect: ServerDialect,
    schema: str | None,
    found: Options,
    names: Sequence[str] | None = None,
) -> Options:
    """Add distribution, storage, partitioning and external tables to the options of the tables found."""
    asked = list(names) if names else None
    externals = externals_there(connection, dialect, schema, asked)
    distributions = distributions_of(connection, dialect, schema, asked)
    storages = storages_of(connection, dialect, schema, asked) if distributions else {}
    partitions = partitionings_of(connection, dialect, schema, asked)
    for (_, name), options in found.items():
        if name in externals:
            options.clear()
            if externals[name] is not None:
                options["greenplum_external"] = externals[name]
            if name in distributions:
                options["greenplum_distributed_by"] = distributions[name]
            continue
        if name in distributions:
            options["greenplum_distributed_by"] = distributions[name]
            options["greenplum_storage"] = storages.get(name, Heap())
            options.pop("postgresql_using", None)
            rest = {k: v for k, v in options.pop("postgresql_with", {}).items() if k not in STORAGE_SETTINGS}
            if rest:
                options["postgresql_with"] = rest
        if name in partitions:
            options["greenplum_partition_by"] = partitions[name]
    return found


def with_encodings(
    connection: Connection, dialect: ServerDialect, schema: str | None, columns: Any, names: Any = None
) -> dict[Any, Any]:
    """Add the columns' encodings to the columns found."""
    found = dict(columns)
    encodings = encodings_of(connection, dialect, schema, list(names) if names else None)
    for (_, table), described in found.items():
        for column in described:
            encoding = encodings.get(table, {}).get(column["name"])
            if encoding is not None:
                column.setdefault("dialect_options", {})["greenplum_encoding"] = encoding
    return found


class GreenplumInspector(PGInspector):
    """Inspector with Greenplum's views of a table, as option objects.

    The ``get_multi_…`` methods ask once for a whole schema, however many tables and partitions it has.
    """

    dialect: GreenplumReflection

    def _all(self, function: Any, schema: str | None, filter_names: Sequence[str] | None) -> Any:
        with self._operation_context() as connection:
            found = function(connection, self.dialect, schema, filter_names)
        return {(schema, name): value for name, value in found.items()}

    def get_multi_distribution(
        self, schema: str | None = None, filter_names: Sequence[str] | None = None
    ) -> dict[tuple[str | None, str], Distribution]:
        """(schema, table) → how its rows are spread; empty on servers without segments."""
        found: dict[tuple[str | None, str], Distribution] = self._all(distributions_of, schema, filter_names)
        return found

    def get_multi_storage(
        self, schema: str | None = None, filter_names: Sequence[str] | None = None
    ) -> dict[tuple[str | None, str], Storage]:
        """(schema, table) → storage, partitions included; empty on servers without append-optimized tables."""
        found: dict[tuple[str | None, str], Storage] = self._all(storages_of, schema, filter_names)
        return found

    def get_multi_encodings(
        self, schema: str | None = None, filter_names: Sequence[str] | None = None
    ) -> dict[tuple[str | None, str], dict[str, Encoding]]:
        """(schema, table) → column → encoding, where it is not the table's own."""
        found: dict[tuple[str | None, str], dict[str, Encoding]] = self._all(encodings_of, schema, filter_names)
        return found

    def get_multi_partitions(
        self, schema: str | None = None, filter_names: Sequence[str] | None = None
    ) -> dict[tuple[str | None, str], Partitioning]:
        """(schema, table) → how it is partitioned, and by which partitions."""
        found: dict[tuple[str | None, str], Partitioning] = self._all(partitionings_of, schema, filter_names)
        return found

    def get_multi_external(
        self, schema: str | None = None, filter_names: Sequence[str] | None = None
    ) -> dict[tuple[str | None, str], ExternalTable]:
        """(schema, table) → what makes it external; empty on servers without external tables."""
        found: dict[tuple[str | None, str], ExternalTable] = self._all(externals_of, schema, filter_names)
        return found

    def get_distribution(self, table_name: str, schema: str | None = None) -> Distribution | None:
        """How the table's rows are spread; None on servers without segments."""
        return self.get_multi_distribution(schema, [table_name]).get((schema, table_name))

    def get_storage(self, table_name: str, schema: str | None = None) -> Storage | None:
        """How the table is stored; None on servers without append-optimized tables."""
        return self.get_multi_storage(schema, [table_name]).get((schema, table_name))

    def get_encodings(self, table_name: str, schema: str | None = None) -> dict[str, Encoding]:
        """Column → encoding, where it is not the table's own."""
        return self.get_multi_encodings(schema, [table_name]).get((schema, table_name), {})

    def get_partitions(self, table_name: str, schema: str | None = None) -> Partitioning | None:
        """How the table is partitioned and by which partitions; None if it is not."""
        return self.get_multi_partitions(schema, [table_name]).get((schema, table_name))

    def get_external(self, table_name: str, schema: str | None = None) -> ExternalTable | None:
        """What makes the table external; None if it is not."""
        return self.get_multi_external(schema, [table_name]).get((schema, table_name))


def _add_encodings(dialect: GreenplumReflection, connection: Any, schema: Any, names: Any, found: Any) -> Any:
    return with_encodings(connection, dialect, schema, found, names).items()


def _drop_unknown_words(dialect: GreenplumReflection, connection: Any, schema: Any, names: Any, found: Any) -> Any:
    """SQLAlchemy says of every key that its NULLs are distinct, which a server before PostgreSQL 15 cannot parse."""
    if dialect.capabilities is None or dialect.capabilities.nulls_not_distinct:
        return found
    tables = dict(found)
    for key in (key for keys in tables.values() for key in keys):
        options = key.get("dialect_options", {})
        options.pop("postgresql_nulls_not_distinct", None)
        if not options:
            key.pop("dialect_options", None)
    return tables.items()


def _drop_clones(dialect: GreenplumReflection, connection: Any, schema: Any, names: Any, found: Any) -> Any:
    """The keys that somebody made: not those that the server added to each for the partitions of what it refers to."""
    if dialect.server_version_info is None or dialect.server_version_info < (12,):
        return found
    asked = list(names) if names else None
    clones = {tuple(row) for row in catalog.rows(connection, catalog.FOREIGN_KEY_CLONES, schema, asked)}
    return {
        (where, table): [key for key in keys if (table, key["name"]) not in clones] for (where, table), keys in found
    }.items()


def _ask_for_tables(name: str, meaning: str, finish: Callable[..., Any] | None = None) -> Any:
    """SQLAlchemy's method of that name, asked for tables, not for their partitions; a fixed number of queries."""

    def get_multi(
        self: GreenplumReflection, connection: Any, schema: Any, filter_names: Any, scope: Any, kind: Any, **kw: Any
    ) -> Any:
        names = self._narrow(connection, schema, filter_names, scope, kind, kw)
        stock = getattr(super(GreenplumReflection, self), name)
        found = stock(connection, schema=schema, filter_names=names, scope=scope, kind=kind, **kw)
        return found if finish is None else finish(self, connection, schema, names, found)

    get_multi.__name__, get_multi.__doc__ = name, meaning
    return get_multi


class GreenplumReflection(PGDialect):
    """The dialect's half: children of partitioned tables, of whatever kind, are storage, and no tables, nor foreign ones;
    external tables are foreign ones; options come back as our objects.
    """

    capabilities: Capabilities | None = None

    def _get_relnames_for_relkinds(self, connection: Any, schema: Any, relkinds: Any, scope: Any) -> Any:
        names = super()._get_relnames_for_relkinds(connection, schema, relkinds, scope)  # type: ignore[no-untyped-call]
        kinds = set(relkinds)
        if scope is ObjectScope.TEMPORARY or not kinds & {"r", "p", "f"}:
            return names
        children = partition_children(connection, self, schema)
        external = external_names(connection, self, schema)
        shown = ({*names, *external} if "f" in kinds else {*names} - external) - children
        return [*(name for name in names if name in shown), *sorted(shown.difference(names))]

    def _narrow(self, connection: Any, schema: Any, filter_names: Any, scope: Any, kind: Any, kw: Any) -> Any:
        """Names to ask for where SQLAlchemy would ask for everything: without the partitions, which are the most."""
        if filter_names or scope is ObjectScope.TEMPORARY or ObjectKind.TABLE not in kind:
            return filter_names
        cache = kw.get("info_cache")  # the inspector's, as long as it lives
        cache = {} if cache is None else cache
        key = ("gpwarehouse narrowed", schema, scope, kind)
        if key not in cache:
            names = None
            if partition_children(connection, self, schema):
                relkinds = self._kind_to_relkinds(kind)
                names = self._get_relnames_for_relkinds(connection, schema, relkinds, scope)
            cache[key] = names
        return cache[key] or filter_names

    get_multi_columns = _ask_for_tables("get_multi_columns", "Columns of tables, with their encodings.", _add_encodings)
    get_multi_pk_constraint = _ask_for_tables(
        "get_multi_pk_constraint", "Primary keys of tables, not of their partitions."
    )
    get_multi_foreign_keys = _ask_for_tables(
        "get_multi_foreign_keys", "Foreign keys of tables, not of, nor to, their partitions.", _drop_clones
    )
    get_multi_check_constraints = _ask_for_tables(
        "get_multi_check_constraints", "Checks of tables, not of their partitions."
    )
    get_multi_table_comment = _ask_for_tables("get_multi_table_comment", "Comments of tables, not of their partitions.")
    get_multi_unique_constraints = _ask_for_tables(
        "get_multi_unique_constraints",
        "Unique constraints of tables, in the words this server has.",
        _drop_unknown_words,
    )
    get_multi_indexes = _ask_for_tables(
        "get_multi_indexes", "Indexes of tables, in the words this server has.", _drop_unknown_words
    )

    def get_multi_table_options(  # type: ignore[override]
        self, connection: Any, schema: Any, filter_names: Any, scope: Any, kind: Any, **kw: Any
    ) -> Any:
        """PostgreSQL's own options and ours, in a fixed number of queries however many tables there are."""
        names = self._narrow(connection, schema, filter_names, scope, kind, kw)
        asked = {"schema": schema, "filter_names": names, "scope": scope, "kind": kind, **kw}
        base = base_table_options(self, super(), connection, **asked)
        return with_greenplum_options(connection, self, schema, base, names).items()

    def get_table_options(self, connection: Any, table_name: str, schema: Any = None, **kw: Any) -> Any:
        """Options of one table, as Table keyword arguments."""
        data = self.get_multi_table_options(
            connection, schema=schema, filter_names=[table_name], scope=ObjectScope.ANY, kind=ObjectKind.ANY, **kw
        )
        return self._value_or_raise(data, table_name, schema)  # type: ignore[no-untyped-call]
