"""Storage, encoding and partitioning of a table that has rows: in place where the server can, else by a copy.

Greenplum 7 changes storage and encodings in place (``SET ACCESS METHOD``, ``SET ENCODING``; it still rewrites the
data). Greenplum 6 cannot, and no server changes how a table is partitioned: there the statements lock the table, copy
its rows into a new one and drop the old one; see ``copy_block``. The copy needs the table's size in free space. It is
one statement, done or not. What the statement does not change is read from the table there is when it runs; what the
copy could not carry over is named and refused before anything changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.ext.compiler import compiles

from gpwarehouse.dialect.ddl import TableDDL, refuse
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.options import AppendOptimized, Encoding, Heap, Storage
from gpwarehouse.dialect.rewrite.copy_block import Copy, copy_block, do_block, literal, unformatted

__all__ = ["RewriteTable", "SetEncoding", "SetEncodings", "SetStorage"]


class SetStorage(TableDDL):
    """Change how a table is stored; all of it is rewritten.

    On Greenplum 7 ``SET ACCESS METHOD``; on 6 a rewrite by copy, with the partitions that the table has then.

    :param encodings: of columns that shall differ from the table's; the others get the table's.
    """

    def __init__(self, table: Table, storage: Storage, *, encodings: Mapping[str, Encoding] | None = None) -> None:
        super().__init__(table)
        self.storage = storage
        self.encodings = dict(encodings or {})


class SetEncoding(TableDDL):
    """Change how one column is stored; all of it is rewritten.

    On Greenplum 7 ``SET ENCODING``; on 6 a rewrite by copy. Storage, partitions and the other columns stay as they are
    then.
    """

    def __init__(self, table: Table, column: str, encoding: Encoding) -> None:
        super().__init__(table)
        self.column = column
        self.encoding = encoding


class SetEncodings(TableDDL):
    """The same of several columns at once: one rewrite."""

    def __init__(self, table: Table, encodings: Mapping[str, Encoding]) -> None:
        super().__init__(table)
        if not encodings:
            raise OptionError(f"table {table.fullname!r}: SetEncodings encodings={encodings!r}; give one or more")
        self.encodings = dict(encodings)


class RewriteTable(TableDDL):
    """Copy a table into one with the options that ``table`` says, which then takes its place.

    :param table: its ``greenplum_distributed_by`` and ``greenplum_storage`` are what the table shall have; those it
        does not say stay. With ``repartition`` so is its ``greenplum_partition_by``, whose partitions must hold every
        row; without a storage, partitions that are stored apart are refused then.
    :param encodings: column → encoding; those of other columns stay where no storage is said.
    :param repartition: whether changing the partitioning, or losing it, is meant; else the partitions stay.
    """

    def __init__(
        self, table: Table, *, encodings: Mapping[str, Encoding] | None = None, repartition: bool = False
    ) -> None:
        super().__init__(table)
        self.encodings = dict(encodings or {})
        self.repartition = repartition


def _change_options(table: Table, **options: Any) -> Table:
    """A table of that name and schema which says these options alone: the others are those of the table there is."""
    return Table(table.name, MetaData(), schema=table.schema, **options)


@compiles(SetStorage, "postgresql")
def _set_storage(element: SetStorage, compiler: Any, **kw: Any) -> str:
    table, storage = element.table, element.storage
    capabilities = compiler.capabilities_for(table)
    if not capabilities.append_optimized:
        raise refuse(element, "other storage than the heap", "leave the statement out")
    if not isinstance(storage, Heap | AppendOptimized):
        raise OptionError(f"table {table.fullname!r}: storage={storage!r}; give Heap() or AppendOptimized(…)")
    if not capabilities.access_methods:
        wanted = _change_options(table, greenplum_storage=storage)
        return _rewrite(RewriteTable(wanted, encodings=element.encodings), compiler, **kw)
    alter = f"ALTER TABLE {compiler.preparer.format_table(table)}"
    if isinstance(storage, Heap):
        return f"{alter} SET ACCESS METHOD heap"
    settings = {**storage.encoding.settings, "checksum": "true" if storage.checksum else "false"}
    method = f"{alter} SET ACCESS METHOD ao_{storage.orientation} WITH ({compiler.settings(settings)})"
    return method if storage.orientation == "row" else f"{method};\n{_align_columns(element, storage, compiler)}"


def _align_columns(element: SetStorage, storage: AppendOptimized, compiler: Any) -> str:
    """Every column's encoding made what was said: SET ACCESS METHOD leaves those of a column store as they were."""
    table = unformatted(compiler.preparer.format_table(element.table), compiler)
    cases = " ".join(
        f"WHEN {literal(name)} THEN ARRAY{_pairs(encoding)}" for name, encoding in sorted(element.encodings.items())
    )
    default = f"ARRAY{_pairs(storage.encoding)}"
    wanted = f"CASE a.attname {cases} ELSE {default} END" if cases else default
    body = f"""
DECLARE
    changes text;
BEGIN
    SELECT string_agg(format('ALTER COLUMN %I SET ENCODING (%s)', w.attname, array_to_string(w.options, ', ')), ', ')
    INTO changes FROM (
        SELECT a.attname, e.attoptions, {wanted} AS options
        FROM pg_catalog.pg_attribute_encoding e
        JOIN pg_catalog.pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum AND NOT a.attisdropped
        WHERE e.attrelid = {literal(table)}::regclass) w
    WHERE NOT w.attoptions @> w.options;
    IF changes IS NOT NULL THEN
        EXECUTE 'ALTER TABLE ' || {literal(table)} || ' ' || changes;
    END IF;
END"""
    return do_block(body, compiler)


def _pairs(encoding: Encoding) -> str:
    return "[" + ", ".join(f"'{name}={value}'" for name, value in encoding.settings.items()) + "]"


@compiles(SetEncoding, "postgresql")
def _set_encoding(element: SetEncoding, compiler: Any, **kw: Any) -> str:
    return _set_encodings(SetEncodings(element.table, {element.column: element.encoding}), compiler, **kw)


@compiles(SetEncodings, "postgresql")
def _set_encodings(element: SetEncodings, compiler: Any, **kw: Any) -> str:
    table = element.table
    capabilities = compiler.capabilities_for(table)
    if not capabilities.append_optimized:
        raise refuse(element, "column storage", "leave the statement out")
    if capabilities.access_methods:
        changes = [
            f"ALTER COLUMN {compiler.preparer.quote(column)} SET {compiler.encoding_clause(encoding)}"
            for column, encoding in element.encodings.items()
        ]
        return f"ALTER TABLE {compiler.preparer.format_table(table)} {', '.join(changes)}"
    return _rewrite(RewriteTable(_change_options(table), encodings=element.encodings), compiler, **kw)


@compiles(RewriteTable, "postgresql")
def _rewrite(element: RewriteTable, compiler: Any, **_: Any) -> str:
    return copy_block(Copy(element.table, element.encodings, element.repartition), compiler)
