"""Options → DDL, by capability.

CREATE TABLE of a partitioned table is one statement on Greenplum (the classic clause names the partitions); on
PostgreSQL the partitions follow as statements of their own, in the same text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table

from gpwarehouse.dialect.compat_ddl import CompatibleDDLCompiler, with_storage
from gpwarehouse.dialect.errors import OptionError, UnsupportedByServerError
from gpwarehouse.dialect.external_tables import CsvFormat, CustomFormat, ExternalTable
from gpwarehouse.dialect.option_checks import check_external, check_index, check_table, distribution_of
from gpwarehouse.dialect.options import (
    DEFAULT_BLOCKSIZE,
    AppendOptimized,
    DefaultPartition,
    DistributedBy,
    DistributedRandomly,
    Distribution,
    Encoding,
    Heap,
    ListPartition,
    Partition,
    RangePartition,
    RangePartitions,
    bound_literal,
)
from gpwarehouse.dialect.partitions import ListPartitions, ListValue
from gpwarehouse.dialect.server import Capabilities

__all__ = ["GreenplumDDLCompiler", "child_table_name", "distribution_of"]


_NAME_BYTES = 63


def child_table_name(table_name: str, partition_name: str) -> str:
    """Name of a partition's table: Greenplum's own rule for the first level, used on every server.

    Where it would be longer than a name may be, the table's part is shortened, as Greenplum 7 does: a server that cut
    the end would make one name of two partitions.

    :raises OptionError: the partition's name leaves no room for the table's.
    """
    suffix = f"_1_prt_{partition_name}"
    room = _NAME_BYTES - len(suffix.encode())
    if room < 1:
        raise OptionError(
            f"table {table_name!r}: partition {partition_name!r} makes a table's name of more than {_NAME_BYTES} bytes, "
            "the most there can be; give the partition a shorter name"
        )
    return table_name.encode()[:room].decode(errors="ignore") + suffix


class GreenplumDDLCompiler(CompatibleDDLCompiler):
    """PostgreSQL's DDL compiler with Greenplum's clauses behind columns and CREATE TABLE."""

    def visit_create_table(self, create: Any, **kw: Any) -> str:
        """CREATE TABLE; on PostgreSQL the partitions follow as further statements."""
        table: Table = create.element
        external = table.dialect_options["greenplum"]["external"]
        if external is not None:
            return self.create_external_table(create, external)
        text: str = super().visit_create_table(create, **kw)
        partitions = table.dialect_options["greenplum"]["partition_by"]
        if partitions is None or self.capabilities_for(table).partition_ddl == "classic":
            return text
        exists = bool(getattr(create, "if_not_exists", False))
        children = [self.partition_of(table, each, if_not_exists=exists) for each in all_partitions(partitions)]
        return ";\n\n".join([text.rstrip(), *children])

    def visit_drop_table(self, drop: Any, **kw: Any) -> str:
        """DROP TABLE, or DROP EXTERNAL TABLE."""
        text: str = super().visit_drop_table(drop, **kw)  # type: ignore[no-untyped-call]
        if drop.element.dialect_options["greenplum"]["external"] is not None:
            text = text.replace("DROP TABLE", "DROP EXTERNAL TABLE", 1)
        return text

    def visit_create_index(self, create: Any, *args: Any, **kw: Any) -> str:
        """CREATE INDEX, where the server has the method."""
        capabilities = getattr(self.dialect, "capabilities", None)
        if capabilities is not None:
            check_index(create.element, capabilities)
        text: str = super().visit_create_index(create, *args, **kw)
        return text

    def get_column_specification(self, column: Any, **kw: Any) -> str:
        """A column, of CREATE TABLE as of ADD COLUMN, with its ENCODING where the server stores by column."""
        text: str = super().get_column_specification(column, **kw)
        return text if column.constraints else text + self._encoding_of(column)

    def visit_create_column(self, create: Any, first_pk: bool = False, **kw: Any) -> Any:
        """A column; its ENCODING stands behind its own constraints."""
        text = super().visit_create_column(create, first_pk=first_pk, **kw)  # type: ignore[no-untyped-call]
        return text + self._encoding_of(create.element) if text is not None and create.element.constraints else text

    def _encoding_of(self, column: Any) -> str:
        encoding = column.dialect_options["greenplum"]["encoding"]
        capabilities = getattr(self.dialect, "capabilities", None)
        if encoding is None or capabilities is None or not capabilities.append_optimized:
            return ""
        if not isinstance(encoding, Encoding):
            raise OptionError(f"table {column.table.fullname!r}, column {column.name!r}: give Encoding(…)")
        return f" {self.encoding_clause(encoding)}"

    def post_create_table(self, table: Table) -> str:
        """The clauses behind the column list, in the order Greenplum's grammar wants them."""
        options = table.dialect_options["greenplum"]
        capabilities: Capabilities | None = getattr(self.dialect, "capabilities", None)
        ours = any(options[name] is not None for name in ("distributed_by", "storage", "partition_by"))
        ours = ours or any(column.dialect_options["greenplum"]["encoding"] is not None for column in table.columns)
        if not ours and (capabilities is None or not capabilities.distribution):
            return str(super().post_create_table(table))  # type: ignore[no-untyped-call]
        capabilities = self.capabilities_for(table)
        check_table(table, capabilities)
        storage = self.with_settings(self.storage_settings(options["storage"], capabilities))
        stock: str = super().post_create_table(table)  # type: ignore[no-untyped-call]
        text = with_storage(f"\n{storage}" if storage else "", stock)
        if capabilities.distribution:
            text += "\n " + self.distributed_clause(distribution_of(table))
        if options["partition_by"] is not None:
            text += self.partition_by_clause(options["partition_by"], capabilities)
        return text

    def capabilities_for(self, table: Table) -> Capabilities:
        """The capabilities of the target server.

        :raises UnsupportedByServerError: nobody said which server it is.
        """
        capabilities: Capabilities | None = self.dialect.capabilities  # type: ignore[attr-defined]
        if capabilities is None:
            raise UnsupportedByServerError(
                f"table {table.fullname!r}: which server is this for? Connect first, or name it: "
                "greenplum+psycopg2://?server=greenplum6 (greenplum7, cloudberry, postgresql)"
            )
        return capabilities

    def storage_settings(self, storage: Heap | AppendOptimized | None, capabilities: Capabilities) -> dict[str, str]:
        """What ``WITH (…)`` says of a storage: all of it, as ``gp_default_storage_options`` may say other defaults."""
        if storage is None or not capabilities.append_optimized:
            return {}
        if isinstance(storage, Heap):
            return {"appendonly": "false"}
        settings = {
            "appendonly": "true",
            "orientation": storage.orientation,
            "compresstype": storage.compresstype,
            "compresslevel": storage.compresslevel,
            "blocksize": storage.blocksize or DEFAULT_BLOCKSIZE,
            "checksum": str(storage.checksum).lower(),
        }
        return {name: str(value) for name, value in settings.items()}

    def settings(self, settings: Any) -> str:
        """``name=value, …``."""
        return ", ".join(f"{name}={value}" for name, value in settings.items())

    def encoding_clause(self, encoding: Encoding) -> str:
        """``ENCODING (…)``."""
        return f"ENCODING ({self.settings(encoding.settings)})"

    def distributed_clause(self, distribution: Distribution) -> str:
        """``DISTRIBUTED …`` for any of the three."""
        if isinstance(distribution, DistributedBy):
            classes = dict(distribution.opclasses)
            columns = [
                self.preparer.quote(c) + (f" {self.preparer.quote(classes[c])}" if c in classes else "")
                for c in distribution.columns
            ]
            return f"DISTRIBUTED BY ({', '.join(columns)})"
        return "DISTRIBUTED RANDOMLY" if isinstance(distribution, DistributedRandomly) else "DISTRIBUTED REPLICATED"

    def with_settings(self, settings: dict[str, str]) -> str:
        """``WITH (…)`` behind a space; nothing without settings."""
        return f" WITH ({self.settings(settings)})" if settings else ""

    # Partitions.

    def literal(self, value: ListValue) -> str:
        """A bound as a literal of the statement (``%`` doubled where the driver formats the statement)."""
        if isinstance(value, str):
            text = bound_literal(value)
            if any(character in value for character in "\\\t\n"):  # E'': whatever the session makes of backslashes,
                for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n")):  # and of tabs Alembic, offline
                    text = text.replace(plain, escaped)
                text = f"E{text}"
            return text.replace("%", "%%") if self.preparer._double_percents else text
        return bound_literal(value)

    def partition_by_clause(self, scheme: RangePartitions | ListPartitions, capabilities: Capabilities) -> str:
        """``PARTITION BY …``, with the partitions where the server takes them there."""
        method = "RANGE" if isinstance(scheme, RangePartitions) else "LIST"
        text = f"\n PARTITION BY {method} ({self.preparer.quote(scheme.column)})"
        partitions = all_partitions(scheme)
        if capabilities.partition_ddl == "classic" and partitions:
            text += "\n (" + ",\n  ".join(self.partition_clause(p) for p in partitions) + ")"
        return text

    def partition_clause(self, partition: Partition) -> str:
        """The classic clause of one partition, bounds written out."""
        name = self.preparer.quote(partition.name)
        if isinstance(partition, DefaultPartition):
            return f"DEFAULT PARTITION {name}"
        if isinstance(partition, ListPartition):
            return f"PARTITION {name} VALUES ({', '.join(map(self.literal, partition.values))})"
        return f"PARTITION {name} {self.classic_bounds(partition)}"

    def classic_bounds(self, partition: RangePartition) -> str:
        """``START (…) INCLUSIVE END (…) EXCLUSIVE``, either left out where open."""
        start = f"START ({self.literal(partition.start)}) INCLUSIVE" if partition.start is not None else ""
        end = f"END ({self.literal(partition.end)}) EXCLUSIVE" if partition.end is not None else ""
        return f"{start} {end}".strip()

    def partition_of(self, table: Table, partition: Partition, *, if_not_exists: bool = False) -> str:
        """The declarative statement that makes one partition."""
        exists = "IF NOT EXISTS " if if_not_exists else ""
        of = f"PARTITION OF {self.preparer.format_table(table)} {self.declarative_bounds(partition)}"
        return f"CREATE TABLE {exists}{self.child_of(table, partition)} {of}"

    def declarative_bounds(self, partition: Partition) -> str:
        """``FOR VALUES …`` or ``DEFAULT``."""
        if isinstance(partition, DefaultPartition):
            return "DEFAULT"
        if isinstance(partition, ListPartition):
            return f"FOR VALUES IN ({', '.join(map(self.literal, partition.values))})"
        start = "MINVALUE" if partition.start is None else self.literal(partition.start)
        end = "MAXVALUE" if partition.end is None else self.literal(partition.end)
        return f"FOR VALUES FROM ({start}) TO ({end})"

    def child_of(self, table: Table, partition: Partition | str) -> str:
        """A partition's table, qualified and quoted."""
        if isinstance(partition, str):
            return self.sibling_of(table, child_table_name(table.name, partition))
        return self.sibling_of(table, partition.child or child_table_name(table.name, partition.name))

    def plain(self, quoted: str) -> str:
        """Quoted names as the server reads them: a preparer doubles ``%`` where the driver formats the statement."""
        return quoted.replace("%%", "%") if self.preparer._double_percents else quoted

    def sibling_of(self, table: Table, name: str) -> str:
        """Another table of the same schema, qualified and quoted."""
        schema = self.preparer.schema_for_object(table)
        quoted: str = self.preparer.quote(name)
        return f"{self.preparer.quote_schema(schema)}.{quoted}" if schema is not None else quoted

    # External tables.

    def create_external_table(self, create: Any, external: ExternalTable) -> str:
        """CREATE EXTERNAL TABLE, in the order of its grammar."""
        table: Table = create.element
        capabilities = self.capabilities_for(table)
        check_external(table, external, capabilities)
        temporary = "TEMPORARY " if any(str(p).upper() in ("TEMP", "TEMPORARY") for p in table._prefixes) else ""
        exists = "IF NOT EXISTS " if getattr(create, "if_not_exists", False) else ""
        kind = "WRITABLE" if external.writable else "READABLE"
        columns = ",\n\t".join(
            f"{self.preparer.format_column(c)} {self.dialect.type_compiler_instance.process(c.type)}"
            for c in table.columns
        )
        web = "WEB " if external.web else ""
        text = f"\nCREATE {kind} EXTERNAL {web}{temporary}TABLE {exists}{self.preparer.format_table(table)} (\n\t{columns}\n)"
        text += self._external_source(external, capabilities)
        text += "\n " + self._external_format(external)
        if external.options:
            text += f"\n OPTIONS ({', '.join(f'{k} {self.literal(v)}' for k, v in external.options)})"
        if external.encoding is not None:
            text += f"\n ENCODING {self.literal(external.encoding)}"
        if external.log_errors:
            text += "\n LOG ERRORS" + (" PERSISTENTLY" if external.log_errors == "persistently" else "")
        if external.reject_limit is not None:
            text += f"\n SEGMENT REJECT LIMIT {external.reject_limit.count} {external.reject_limit.unit.upper()}"
        if external.writable:
            distribution = table.dialect_options["greenplum"]["distributed_by"] or DistributedRandomly()
            text += "\n " + self.distributed_clause(distribution)
        return text + "\n\n"

    def _external_source(self, external: ExternalTable, capabilities: Capabilities) -> str:
        where = external.on.upper()
        if external.on == "coordinator" and capabilities.partition_catalog == "classic":
            where = "MASTER"  # its name before Greenplum 7
        if external.command is not None:
            text = f"\n EXECUTE {self.literal(external.command)}"
            return text if external.writable else f"{text} ON {where}"
        text = f"\n LOCATION ({', '.join(map(self.literal, external.location))})"
        return text if external.on == "all" else f"{text} ON {where}"

    def _external_format(self, external: ExternalTable) -> str:
        form = external.format
        if isinstance(form, CustomFormat):
            pairs = [f"formatter={form.formatter}", *(f"{k}={self.literal(v)}" for k, v in form.options)]
            return f"FORMAT 'CUSTOM' ({', '.join(pairs)})"
        csv = isinstance(form, CsvFormat)
        words = ["HEADER"] if form.header else []
        words.append(f"DELIMITER {self.literal(form.delimiter)} NULL {self.literal(form.null)}")
        if isinstance(form, CsvFormat):
            words.append(f"QUOTE {self.literal(form.quote)}")
        words.append(f"ESCAPE {self.literal(form.escape)}")
        if form.newline is not None:
            words.append(f"NEWLINE {self.literal(form.newline)}")
        if isinstance(form, CsvFormat):
            for clause, columns in (("FORCE NOT NULL", form.force_not_null), ("FORCE QUOTE", form.force_quote)):
                if columns:
                    words.append(f"{clause} {', '.join(map(self.preparer.quote, columns))}")
        if form.fill_missing_fields:
            words.append("FILL MISSING FIELDS")
        return f"FORMAT '{'CSV' if csv else 'TEXT'}' ({' '.join(words)})"


def all_partitions(scheme: RangePartitions | ListPartitions) -> list[Partition]:
    """The scheme's partitions, its default one last."""
    default: list[Partition] = [] if scheme.default is None else [DefaultPartition(scheme.default)]
    return [*scheme.partitions, *default]
