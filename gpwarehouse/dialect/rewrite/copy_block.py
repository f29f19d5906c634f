"""The block that rewrites a table by a copy, put together from ``copy_sql`` for one server and one statement.

Nothing about the table but what the statement changes is known when it is written: the same revision runs on databases
with other partitions, offline too. So the block reads all of it from the catalog where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from gpwarehouse.dialect.ddl_compiler import all_partitions
from gpwarehouse.dialect.errors import OptionError
from gpwarehouse.dialect.options import AppendOptimized, Encoding, Partition
from gpwarehouse.dialect.partitions import ListPartitions, OtherPartitions, RangePartitions
from gpwarehouse.dialect.rewrite import copy_checks as checks
from gpwarehouse.dialect.rewrite import copy_sql as sql

__all__ = ["Copy", "copy_block", "do_block", "literal", "unformatted"]


def literal(value: str) -> str:
    """A text as an SQL literal, whatever the session makes of backslashes."""
    text = "'" + value.replace("'", "''") + "'"
    return "E" + text.replace("\\", "\\\\") if "\\" in value else text


def unformatted(text: str, compiler: Any) -> str:
    """What the preparer or the compiler wrote, less the ``%`` they double for the driver."""
    return text.replace("%%", "%") if compiler.preparer._double_percents else text


def do_block(body: str, compiler: Any) -> str:
    """The block as a statement. psycopg2 formats every statement; offline output does not."""
    text = f"DO $rewrite$\n{body.strip()}\n$rewrite$"
    return text.replace("%", "%%") if compiler.preparer._double_percents else text


@dataclass(frozen=True)
class Copy:
    """The changes that a rewrite by copy makes; all else stays.

    :ivar table: its ``greenplum_`` options that are said are the new ones.
    :ivar encodings: new encodings; those of the other columns stay where the storage stays.
    :ivar repartition: whether ``greenplum_partition_by``, which may be None, is the new partitioning.
    """

    table: Table
    encodings: Mapping[str, Encoding]
    repartition: bool

    def option(self, name: str) -> Any:
        """A Greenplum option of the table."""
        return self.table.dialect_options["greenplum"][name]


def copy_block(copy: Copy, compiler: Any) -> str:
    """The whole rewrite as one statement, which is done or not, in a transaction or out of one."""
    capabilities = compiler.capabilities_for(copy.table)
    kind = capabilities.partition_catalog
    columns = sql.ALL_COLUMNS if not capabilities.identity else sql.WRITABLE_COLUMNS
    body = sql.BLOCK.format(
        table=_name(copy, compiler),
        old=literal(_name(copy, compiler)),
        kids=sql.KIDS[kind],
        checks="\n        UNION ALL ".join(_checks(copy, capabilities)),
        sense=_sense(copy, capabilities),
        again="\n        UNION ALL ".join([*sql.AGAIN, *(sql.AGAIN_DECLARATIVE if kind == "declarative" else ())]),
        template=sql.TEMPLATE if kind == "classic" and not copy.repartition else "",
        columns=columns,
        park=sql.PARK[kind],
        like=sql.LIKE if capabilities.identity else sql.LIKE_CLASSIC,
        encodings=_encodings(copy, compiler, capabilities),
        made=_make_copy(copy, compiler, capabilities),
        clauses=_clauses(copy, compiler, capabilities),
        partitioned=_write_partitioning(copy, compiler, capabilities),
        children=_children(copy, compiler, capabilities),
        overriding="OVERRIDING SYSTEM VALUE " if capabilities.identity else "",
        owner=sql.OWNER[kind],
        numbers=sql.NUMBERS if capabilities.identity else "",
        comments=sql.COMMENTS[kind],
        granted="" if capabilities.distribution else sql.GRANTED,
    )
    return do_block(body, compiler)


def _name(copy: Copy, compiler: Any) -> str:
    return unformatted(compiler.preparer.format_table(copy.table), compiler)


def _checks(copy: Copy, capabilities: Any) -> list[str]:
    """Queries of what a copy could not carry."""
    kind, said = capabilities.partition_catalog, _said_storage(copy, capabilities)
    found = [*checks.CHECKS, checks.CHILD_INDEXES[kind]]
    if kind == "declarative":
        found += checks.CHECKS_DECLARATIVE
    if said is None and copy.repartition:
        found.append(checks.STORED_APART[kind].format(root="true" if capabilities.append_optimized else "false"))
        found += [checks.ENCODED_APART] if capabilities.append_optimized else []
    if said is not None and (copy.repartition or kind == "declarative"):
        found.append(checks.OPTIONS_APART)
    if isinstance(said, AppendOptimized) and capabilities.access_methods:
        found.append(checks.HEAP_OPTIONS)
    if kind == "classic" and not copy.repartition:
        found.append(checks.LISTS_OF_SEVERAL)
    return found


def _said_storage(copy: Copy, capabilities: Any) -> Any:
    return copy.option("storage") if capabilities.append_optimized else None


def _sense(copy: Copy, capabilities: Any) -> str:
    """Checks that what is said fits the table there is.

    A partitioning that is said without ``repartition`` is not made; it must be the one there is.
    """
    kind, scheme = capabilities.partition_catalog, copy.option("partition_by")
    text = ""
    if not copy.repartition and isinstance(scheme, RangePartitions | ListPartitions):
        method = "r" if isinstance(scheme, RangePartitions) else "l"
        text = sql.SCHEME.format(found=sql.FOUND_SCHEME[kind], method=method, column=literal(scheme.column))
    if copy.encodings and capabilities.append_optimized and _said_storage(copy, capabilities) is None:
        text += sql.COLUMNS.format(found=sql.BY_COLUMN[kind])
    return text


def _encodings(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """An expression: what follows LIKE in the parentheses."""
    if not capabilities.append_optimized:
        return "''"
    said = "".join(
        f", COLUMN {unformatted(compiler.preparer.quote(name), compiler)} {compiler.encoding_clause(encoding)}"
        for name, encoding in sorted(copy.encodings.items())
    )
    if _said_storage(copy, capabilities) is not None:
        return literal(said)
    return f"{literal(said)} || {sql.ENCODINGS.format(said=_names(copy))}"


def _names(copy: Copy) -> str:
    names = ", ".join(literal(name) for name in sorted(copy.encodings))
    return f"ARRAY[{names}]::text[]"


def _storage_of(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """An expression of the settings and options of the relation ``c``: said ones before its own."""
    said, kind = _said_storage(copy, capabilities), capabilities.partition_catalog
    if said is not None:
        settings = literal(compiler.settings(compiler.storage_settings(said, capabilities)))
        return sql.OPTIONS[kind].format(first=settings, leave=sql.STORAGE_OPTIONS)
    if kind == "classic":
        return sql.OPTIONS[kind].format(first=sql.HEAP_CLASSIC, leave=sql.LEAVE_CLASSIC)
    return sql.OPTIONS[kind].format(first="NULL::text", leave="'{}'")


def _storage_clause(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """An expression: ``USING … WITH (…) TABLESPACE …`` of the relation ``c``."""
    method = "''"
    if capabilities.access_methods and _said_storage(copy, capabilities) is None:
        method = sql.METHOD.format(heap="true" if capabilities.append_optimized else "false")
    options = _storage_of(copy, compiler, capabilities)
    return f"{method} || COALESCE(' WITH (' || {options} || ')', '') || {sql.TABLESPACE}"


def _make_copy(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """Statements that set ``made``: how the new table, and in ``made_leaf`` each of its partitions, is stored."""
    clause = _storage_clause(copy, compiler, capabilities)
    if capabilities.append_optimized:
        return sql.MADE_GREENPLUM.format(clause=clause)
    new = "true" if copy.repartition and copy.option("partition_by") is not None else "false"
    return sql.MADE_POSTGRESQL.format(clause=clause, partitioned=new, kept="false" if copy.repartition else "true")


def _clauses(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """An expression of the clauses behind the columns, in the order of the server's grammar."""
    if not capabilities.distribution:
        return "divided || made"
    return f"made || {_write_distribution(copy, compiler)} || divided"


def _write_distribution(copy: Copy, compiler: Any) -> str:
    said = copy.option("distributed_by")
    if said is None:
        return "' ' || pg_get_table_distributedby(was)"
    return literal(" " + unformatted(compiler.distributed_clause(said), compiler))


def _write_partitioning(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """Statements that set ``divided``: the PARTITION BY of the new table."""
    if copy.repartition:
        scheme = copy.option("partition_by")
        if isinstance(scheme, OtherPartitions):
            raise OptionError(
                f"table {copy.table.fullname!r}: greenplum_partition_by={scheme!r} was read from a server and cannot be "
                "made; give RangePartitions(…) or ListPartitions(…), or leave repartition=True out to keep what there is"
            )
        clause = "" if scheme is None else unformatted(compiler.partition_by_clause(scheme, capabilities), compiler)
        return f"divided := {literal(clause)};"
    if capabilities.partition_catalog == "declarative":
        return sql.KEPT_SCHEME
    settings = _storage_of(copy, compiler, capabilities)
    encodings = (
        "NULL" if _said_storage(copy, capabilities) is not None else sql.LEAF_ENCODINGS.format(said=_names(copy))
    )
    return sql.KEPT_CLASSIC.format(settings=settings, encodings=encodings, tablespace=sql.TABLESPACE)


def _children(copy: Copy, compiler: Any, capabilities: Any) -> str:
    """Statements that make the partitions where CREATE TABLE did not."""
    if not copy.repartition:
        if capabilities.partition_catalog == "classic":
            return ""
        said = _said_storage(copy, capabilities) is not None
        clause = "''" if said else _storage_clause(copy, compiler, capabilities)
        match = sql.MATCH_ENCODINGS.format(said=_names(copy)) if capabilities.append_optimized and not said else ""
        return sql.KEPT_CHILDREN.format(clause=clause, match=match)
    scheme = copy.option("partition_by")
    if scheme is None or capabilities.partition_ddl == "classic":
        return ""
    return "\n    ".join(_child(copy, partition, compiler) for partition in all_partitions(scheme))


def _child(copy: Copy, partition: Partition, compiler: Any) -> str:
    return f"EXECUTE {literal(unformatted(compiler.partition_of(copy.table, partition), compiler))} || made_leaf;"
