"""PostgreSQL's DDL on servers that lack some of it: refused with the way out, or said in the server's own way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Integer, SmallInteger, TypeDecorator
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler

from gpwarehouse.dialect.errors import UnsupportedByServerError
from gpwarehouse.dialect.options import DistributedRandomly

__all__ = ["CompatibleDDLCompiler", "identity_options", "with_storage"]

_IDENTITY_OPTIONS = (
    "always",
    "start",
    "increment",
    "minvalue",
    "maxvalue",
    "nominvalue",
    "nomaxvalue",
    "cycle",
    "cache",
)


def identity_options(identity: Identity) -> list[str]:
    """The options of an identity that a serial cannot have."""
    return [name for name in _IDENTITY_OPTIONS if getattr(identity, name, None) not in (None, False)]


def with_storage(storage: str, stock: str) -> str:
    """Put the storage's ``WITH (…)`` into PostgreSQL's own clauses, where the grammar has one place for it.

    :param storage: ``""`` or ``"\\n WITH (…)"``.
    :param stock: INHERITS, WITH, ON COMMIT and TABLESPACE as SQLAlchemy writes them, in that order, each if it is given.
    """
    if not storage:
        return stock
    if "\n WITH (" in stock:
        return stock.replace("\n WITH (", f"{storage.removesuffix(')')}, ", 1)
    places = [stock.index(clause) for clause in ("\n ON COMMIT", "\n TABLESPACE") if clause in stock]
    place = min(places, default=len(stock))
    return stock[:place] + storage + stock[place:]


class CompatibleDDLCompiler(PGDDLCompiler):
    """PostgreSQL's DDL compiler for servers that are older, or clusters."""

    def visit_create_table(self, create: Any, **kw: Any) -> str:
        """``CREATE TABLE``. Identity columns are looked at first: SQLAlchemy would wrap an error out of its column."""
        for column in create.element.columns:
            if self._made_serial(column):
                self._serial(column, column.identity)
        return str(super().visit_create_table(create, **kw))  # type: ignore[no-untyped-call]

    def _made_serial(self, column: Column[Any]) -> bool:
        capabilities = getattr(self.dialect, "capabilities", None)
        return column.identity is not None and capabilities is not None and not capabilities.identity

    def get_column_specification(self, column: Any, **kw: Any) -> str:
        """A column; where the server has no identity columns, an identity without options becomes a serial."""
        if not self._made_serial(column):
            return str(super().get_column_specification(column, **kw))  # type: ignore[no-untyped-call]
        return f"{self.preparer.format_column(column)} {self._serial(column, column.identity)} NOT NULL"

    def _serial(self, column: Column[Any], identity: Identity) -> str:
        where = f"table {column.table.fullname!r}, column {column.name!r}"
        server = getattr(self.dialect, "server_info", None)
        said = identity_options(identity)
        if said:
            raise UnsupportedByServerError(
                f"{where}: {server} has no identity columns, and a serial cannot have Identity({', '.join(said)}). "
                "Use Identity() for a serial, or a Sequence with these options and server_default=sequence.next_value()"
            )
        kind = column.type.dialect_impl(self.dialect)
        kind = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
        if isinstance(kind, BigInteger):
            return "BIGSERIAL"
        if isinstance(kind, SmallInteger):
            return "SMALLSERIAL"
        if isinstance(kind, Integer):
            return "SERIAL"
        raise UnsupportedByServerError(
            f"{where}: {server} has no identity columns, and {kind!r} cannot be a serial; "
            "use an integer type, or a Sequence with server_default=sequence.next_value()"
        )

    def visit_create_index(self, create: Any, **kw: Any) -> str:  # type: ignore[override]
        """``CREATE INDEX``; ``IF NOT EXISTS`` where the server has it."""
        capabilities = getattr(self.dialect, "capabilities", None)
        if create.if_not_exists and capabilities is not None and not capabilities.create_index_if_not_exists:
            raise UnsupportedByServerError(
                f"index {create.element.name!r} on table {create.element.table.fullname!r}: "
                f"{getattr(self.dialect, 'server_info', None)} has no CREATE INDEX IF NOT EXISTS; "
                "use index.create(connection, checkfirst=True), or ask the inspector first"
            )
        options = create.element.dialect_options["postgresql"]
        if options["nulls_not_distinct"] is None or self._says_nulls_distinct(create.element):
            return str(super().visit_create_index(create, **kw))  # type: ignore[no-untyped-call]
        options["nulls_not_distinct"] = None  # which is what this server does
        try:
            return str(super().visit_create_index(create, **kw))  # type: ignore[no-untyped-call]
        finally:
            options["nulls_not_distinct"] = False

    def define_unique_constraint_distinct(self, constraint: Any, **kw: Any) -> str:
        """``NULLS [NOT] DISTINCT`` of a unique constraint, where the server has it."""
        said = constraint.dialect_options["postgresql"]["nulls_not_distinct"]
        if said is None or not self._says_nulls_distinct(constraint):
            return ""
        return str(super().define_unique_constraint_distinct(constraint, **kw))  # type: ignore[no-untyped-call]

    def _says_nulls_distinct(self, key: Any) -> bool:
        """Whether the server's grammar has the words; where it has not, NULLs are distinct."""
        capabilities = getattr(self.dialect, "capabilities", None)
        if capabilities is None or capabilities.nulls_not_distinct:
            return True
        if key.dialect_options["postgresql"]["nulls_not_distinct"]:
            raise UnsupportedByServerError(
                f"unique key {key.name!r} on table {key.table.fullname!r}: {getattr(self.dialect, 'server_info', None)} "
                "has no NULLS NOT DISTINCT; make the columns NOT NULL, or put a value in place of NULL"
            )
        return False

    def visit_set_table_comment(self, create: Any, **kw: Any) -> str:
        """``COMMENT ON``; an external table is a foreign one from Greenplum 7 on."""
        return self._name_foreign(create, str(super().visit_set_table_comment(create, **kw)))  # type: ignore[no-untyped-call]

    def visit_drop_table_comment(self, drop: Any, **kw: Any) -> str:
        """``COMMENT ON … IS NULL``."""
        return self._name_foreign(drop, str(super().visit_drop_table_comment(drop, **kw)))  # type: ignore[no-untyped-call]

    def _name_foreign(self, comment: Any, text: str) -> str:
        capabilities = getattr(self.dialect, "capabilities", None)
        external = comment.element.dialect_options["greenplum"]["external"] is not None
        if not external or capabilities is None or capabilities.partition_catalog == "classic":
            return text
        return text.replace("COMMENT ON TABLE", "COMMENT ON FOREIGN TABLE", 1)

    def visit_create_table_as(self, element: Any, **kw: Any) -> str:
        """``CREATE TABLE … AS`` with a distribution (randomly, unless ``greenplum_distributed_by`` says one)."""
        capabilities = getattr(self.dialect, "capabilities", None)
        if element.if_not_exists and capabilities is not None and not capabilities.create_table_as_if_not_exists:
            raise UnsupportedByServerError(
                f"table {element.table.fullname!r}: {getattr(self.dialect, 'server_info', None)} has no "
                "CREATE TABLE IF NOT EXISTS … AS; ask the inspector first"
            )
        text = str(super().visit_create_table_as(element, **kw))
        if capabilities is None or not capabilities.distribution:
            return text
        distribution = element.dialect_options["greenplum"]["distributed_by"] or DistributedRandomly()
        if not element.if_not_exists:
            return f"{text} {self.distributed_clause(distribution)}"
        # Greenplum 7's grammar has no place for a distribution here; the table is distributed randomly (tried).
        if isinstance(distribution, DistributedRandomly):
            return text
        raise UnsupportedByServerError(
            f"table {element.table.fullname!r}: CREATE TABLE IF NOT EXISTS … AS takes no distribution, and "
            f"greenplum_distributed_by={distribution!r} was asked for; leave out if_not_exists and ask the inspector first"
        )

    def distributed_clause(self, distribution: Any) -> str:
        """``DISTRIBUTED …``."""
        raise NotImplementedError
