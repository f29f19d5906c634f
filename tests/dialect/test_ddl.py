from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_mock_engine,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    CsvFormat,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    ExternalTable,
    GreenplumDialect,
    Heap,
    ListPartition,
    ListPartitions,
    OptionError,
    OtherPartitions,
    RangePartition,
    RangePartitions,
    RejectLimit,
    UnsupportedByServerError,
)

GREENPLUMS = ("greenplum6", "greenplum7", "cloudberry")

PARAMETERS = ", fillfactor = 90" if hasattr(PGDialect, "_table_options_query") else ""
"""``postgresql_with`` of tables is SQLAlchemy's from 2.1 on."""


class Instant(TypeDecorator[datetime]):
    """A type of somebody's own."""

    impl = DateTime(timezone=True)
    cache_ok = True


def ddl(table: Table, server: str) -> str:
    return " ".join(str(CreateTable(table).compile(dialect=GreenplumDialect(server=server))).split())


def fact(**options: Any) -> Table:
    columns = (Column("k", BigInteger), Column("ts", DateTime(timezone=True)), Column("v", Text))
    return Table("f", MetaData(), *columns, **options)


@pytest.mark.parametrize("server", GREENPLUMS)
def test_storage_distribution_and_partitions_stand_in_the_grammars_order(server: str) -> None:
    table = fact(
        greenplum_distributed_by=DistributedBy("k"),
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd", compresslevel=3),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    assert ddl(table, server).endswith(
        "WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=3, "
        "blocksize=32768, checksum=true) DISTRIBUTED BY (k) "
        "PARTITION BY RANGE (ts) (PARTITION m202601 START ('2026-01-01 00:00:00+00') INCLUSIVE "
        "END ('2026-02-01 00:00:00+00') EXCLUSIVE)"
    )


def test_postgresql_gets_declarative_partitions_and_neither_distribution_nor_storage() -> None:
    table = fact(
        greenplum_distributed_by=DistributedBy("k"),
        greenplum_storage=AppendOptimized(),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    assert ddl(table, "postgresql").endswith(
        "PARTITION BY RANGE (ts); CREATE TABLE f_1_prt_m202601 PARTITION OF f "
        "FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00')"
    )


@pytest.mark.parametrize("server", GREENPLUMS)
def test_every_table_carries_a_distributed_clause(server: str) -> None:
    keyed = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("v", Text))
    unique = Table("t", MetaData(), Column("a", Text), Column("b", Text, unique=True))
    neither = Table("t", MetaData(), Column("v", Text))
    assert ddl(keyed, server).endswith("DISTRIBUTED BY (id)")
    assert ddl(unique, server).endswith("DISTRIBUTED BY (b)")
    assert ddl(neither, server).endswith("DISTRIBUTED RANDOMLY")


def test_identifiers_are_quoted_where_they_must_be() -> None:
    table = Table("t", MetaData(), Column("Wafer Key", BigInteger), greenplum_distributed_by=DistributedBy("Wafer Key"))
    assert ddl(table, "greenplum6").endswith('DISTRIBUTED BY ("Wafer Key")')


def test_a_misspelt_option_is_refused_by_sqlalchemy() -> None:
    with pytest.raises(ArgumentError, match="greenplum_distributed_bye"):
        fact(greenplum_distributed_bye=DistributedBy("k"))


@pytest.mark.parametrize(
    ("server", "make", "told"),
    [
        ("greenplum7", lambda: fact(greenplum_distributed_by=DistributedBy("nope")), "'nope', which is no column"),
        ("greenplum7", lambda: fact(greenplum_partition_by=RangePartitions("nope")), "'nope', which is no column"),
        ("postgresql", lambda: fact(greenplum_distributed_by="k"), r"give DistributedBy\(…\)"),
        ("postgresql", lambda: fact(greenplum_storage="column"), r"give Heap\(\) or AppendOptimized"),
        ("postgresql", lambda: fact(greenplum_partition_by="RANGE (ts)"), "give RangePartitions"),
        ("greenplum6", lambda: fact(greenplum_partition_by=RangePartitions("ts")), "at least one partition"),
        (
            "greenplum7",
            lambda: fact(
                greenplum_distributed_by=DistributedReplicated(),
                greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
            ),
            "replicated table cannot be partitioned",
        ),
        (
            "greenplum7",
            lambda: fact(greenplum_storage=AppendOptimized(compresstype="quicklz")),
            "'quicklz' is unknown to this server",
        ),
    ],
)
def test_a_wrong_combination_names_table_option_and_remedy(server: str, make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        ddl(make(), server)
    assert "table 'f'" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "constraint"),
    [
        ("unique constraint", lambda: UniqueConstraint("v")),
        ("unique index", lambda: Index("i", "v", unique=True)),
    ],
)
def test_a_unique_key_without_the_distribution_key_is_refused(kind: str, constraint: Any) -> None:
    columns = (Column("k", BigInteger), Column("v", Text))
    table = Table("t", MetaData(), *columns, constraint(), greenplum_distributed_by=DistributedBy("k"))
    with pytest.raises(OptionError, match=f"{kind} on .*must contain the distribution key"):
        ddl(table, "greenplum7")
    assert "DISTRIBUTED" not in ddl(table, "postgresql")


def test_a_primary_key_without_the_distribution_key_is_refused() -> None:
    columns = (Column("id", Integer, primary_key=True), Column("k", BigInteger))
    table = Table("t", MetaData(), *columns, greenplum_distributed_by=DistributedBy("k"))
    with pytest.raises(OptionError, match="primary key"):
        ddl(table, "greenplum6")


def test_a_unique_key_on_a_random_or_append_optimized_table_is_refused() -> None:
    random = Table("t", MetaData(), Column("v", String, unique=True), greenplum_distributed_by=DistributedRandomly())
    with pytest.raises(OptionError, match=r"cannot be checked with DistributedRandomly\(\)"):
        ddl(random, "greenplum6")
    columns = Table("t", MetaData(), Column("id", Integer, primary_key=True), greenplum_storage=AppendOptimized())
    with pytest.raises(OptionError, match=r"use Heap\(\) or drop the key"):
        ddl(columns, "greenplum6")
    assert "PRIMARY KEY" in ddl(columns, "greenplum7")
    assert "PRIMARY KEY" in ddl(columns, "cloudberry")


WRONG: dict[str, tuple[str, Any, str]] = {
    "encoding of a row": (
        "greenplum6",
        lambda: Table("f", MetaData(), Column("k", Integer, greenplum_encoding=Encoding(compresstype="zlib"))),
        "column 'k': greenplum_encoding needs greenplum_storage=AppendOptimized\\(orientation='column'\\)",
    ),
    "encoding that is none": (
        "greenplum7",
        lambda: Table("f", MetaData(), Column("k", Integer, greenplum_encoding="zlib")),
        r"give Encoding\(…\)",
    ),
    "encoding unknown to the server": (
        "greenplum7",
        lambda: Table(
            "f",
            MetaData(),
            Column("k", Integer, greenplum_encoding=Encoding(compresstype="quicklz")),
            greenplum_storage=AppendOptimized(orientation="column"),
        ),
        "'quicklz' is unknown to this server",
    ),
    "partitioning read from others": (
        "postgresql",
        lambda: fact(greenplum_partition_by=OtherPartitions("hash", ("k",))),
        "cannot be made here",
    ),
    "two ways to partition": (
        "greenplum7",
        lambda: fact(greenplum_partition_by=RangePartitions("ts"), postgresql_partition_by="RANGE (ts)"),
        "exclude each other",
    ),
    "declarative on 6": ("greenplum6", lambda: fact(postgresql_partition_by="RANGE (ts)"), "declarative"),
    "access method on 6": ("greenplum6", lambda: fact(postgresql_using="ao_row"), "use greenplum_storage="),
    "two storages": (
        "greenplum7",
        lambda: fact(greenplum_storage=Heap(), postgresql_using="ao_row"),
        "exclude each other",
    ),
    "on commit of a table that stays": ("greenplum6", lambda: fact(postgresql_on_commit="DROP"), "prefixes="),
    "temporary and partitioned": (
        "greenplum6",
        lambda: fact(
            prefixes=["TEMP"],
            greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
        ),
        "temporary table cannot be partitioned",
    ),
    "date for an instant": (
        "greenplum6",
        lambda: fact(greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01", bounds=date)),
        "give an aware datetime",
    ),
    "instant for a wall clock": (
        "postgresql",
        lambda: Table(
            "f",
            MetaData(),
            Column("ts", DateTime()),
            greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
        ),
        "the column has no time zone; give text",
    ),
    "instant for a date": (
        "postgresql",
        lambda: Table(
            "f", MetaData(), Column("d", Date), greenplum_partition_by=RangePartitions.daily("d", first="2026-01-01")
        ),
        "give a date",
    ),
    "list without a partition on 6": (
        "greenplum6",
        lambda: fact(greenplum_partition_by=ListPartitions("v")),
        r"give ListPartitions\('v', \(ListPartition",
    ),
    "key without the partition key on 7": (
        "greenplum7",
        lambda: Table(
            "f",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("v", Text),
            greenplum_partition_by=ListPartitions("v"),
        ),
        "must contain the partition key 'v'",
    ),
    "key without the partition key on 6": (
        "greenplum6",
        lambda: Table(
            "f",
            MetaData(),
            Column("k", Integer, primary_key=True),
            Column("v", Text),
            greenplum_partition_by=ListPartitions("v", (ListPartition("a", ("a",)),)),
        ),
        "must contain the partition key 'v'",
    ),
    "text for a decorated instant": (
        "postgresql",
        lambda: Table(
            "f",
            MetaData(),
            Column("ts", Instant),
            greenplum_partition_by=RangePartitions("ts", (RangePartition("p", "2026-01-01", "2026-02-01"),)),
        ),
        "it would follow the session's time zone",
    ),
    "text for a number": (
        "greenplum6",
        lambda: fact(greenplum_partition_by=RangePartitions("k", (RangePartition("p", "1", "2"),))),
        "give a whole number",
    ),
    "number for text": (
        "greenplum6",
        lambda: fact(greenplum_partition_by=ListPartitions("v", (ListPartition("p", (1,)),))),
        "give text",
    ),
    "external and stored": (
        "greenplum6",
        lambda: fact(greenplum_external=ExternalTable(command="ls"), greenplum_storage=Heap()),
        "drop greenplum_storage",
    ),
    "external that is read and distributed": (
        "greenplum6",
        lambda: fact(greenplum_external=ExternalTable(command="ls"), greenplum_distributed_by=DistributedBy("k")),
        "only a writable external table is distributed",
    ),
    "external with a key": (
        "greenplum7",
        lambda: Table(
            "f", MetaData(), Column("k", Integer, primary_key=True), greenplum_external=ExternalTable(command="ls")
        ),
        "no keys",
    ),
}


if PARAMETERS:  # SQLAlchemy 2.0's Table has no postgresql_with
    WRONG["storage said twice"] = (
        "greenplum7",
        lambda: fact(greenplum_storage=Heap(), postgresql_with={"AppendOnly": True}),
        "postgresql_with says appendonly, which greenplum_storage says; keep one",
    )


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_a_server_would_refuse_or_change_is_refused_with_the_way_out(case: str) -> None:
    server, make, told = WRONG[case]
    with pytest.raises(OptionError, match=told) as caught:
        ddl(make(), server)
    assert "table 'f'" in str(caught.value)


def test_an_external_table_is_refused_where_there_are_none() -> None:
    with pytest.raises(UnsupportedByServerError, match="table 'f': PostgreSQL has no external tables; use file_fdw"):
        ddl(fact(greenplum_external=ExternalTable(command="ls")), "postgresql")


@pytest.mark.parametrize(
    ("server", "method", "remedy"),
    [("postgresql", "bitmap", "use btree"), ("greenplum6", "brin", "use btree"), ("greenplum6", "hash", "use btree")],
)
def test_an_index_of_a_kind_the_server_lacks_is_refused(server: str, method: str, remedy: str) -> None:
    table = fact()
    index = Index("i", table.c.k, postgresql_using=method)
    with pytest.raises(UnsupportedByServerError, match=f"table 'f': index 'i' .*{method}.*{remedy}"):
        CreateIndex(index).compile(dialect=GreenplumDialect(server=server))


@pytest.mark.parametrize(
    ("server", "method"),
    [("greenplum6", "bitmap"), ("greenplum7", "brin"), ("postgresql", "brin"), ("greenplum6", "gin")],
)
def test_an_index_of_a_kind_the_server_has_is_made(server: str, method: str) -> None:
    index = Index("i", fact().c.k, postgresql_using=method)
    written = str(CreateIndex(index).compile(dialect=GreenplumDialect(server=server)))
    assert written == f"CREATE INDEX i ON f USING {method} (k)"


def test_a_unique_index_made_later_is_checked_like_one_made_with_the_table() -> None:
    table = fact(greenplum_distributed_by=DistributedBy("k"))
    with pytest.raises(OptionError, match="must contain the distribution key"):
        CreateIndex(Index("i", table.c.v, unique=True)).compile(dialect=GreenplumDialect(server="greenplum7"))


def test_every_clause_stands_where_the_grammar_wants_it() -> None:
    table = Table(
        "f",
        MetaData(),
        Column("k", BigInteger, nullable=False, greenplum_encoding=Encoding(compresstype="rle_type", compresslevel=2)),
        Column("Text One", Text, server_default="x"),
        prefixes=["TEMPORARY"],
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zlib", checksum=False, blocksize=65536),
        greenplum_distributed_by=DistributedBy("k", "Text One", opclasses={"k": "cdbhash_int8_ops"}),
        **({"postgresql_with": {"fillfactor": 90}} if PARAMETERS else {}),
        postgresql_on_commit="PRESERVE_ROWS",
        postgresql_tablespace="Fast Disks",
    )
    assert ddl(table, "greenplum6") == (
        "CREATE TEMPORARY TABLE f ( "
        "k BIGINT NOT NULL ENCODING (compresstype=rle_type, compresslevel=2, blocksize=32768), "
        "\"Text One\" TEXT DEFAULT 'x' ) "
        "WITH (appendonly=true, orientation=column, compresstype=zlib, compresslevel=1, blocksize=65536, checksum=false"
        f'{PARAMETERS}) ON COMMIT PRESERVE ROWS TABLESPACE "Fast Disks" '
        'DISTRIBUTED BY (k cdbhash_int8_ops, "Text One")'
    )
    assert ddl(table, "postgresql").endswith(
        "( k BIGINT NOT NULL, \"Text One\" TEXT DEFAULT 'x' ) "
        f'{"WITH (fillfactor = 90) " if PARAMETERS else ""}ON COMMIT PRESERVE ROWS TABLESPACE "Fast Disks"'
    )


def test_lists_open_ranges_and_defaults_are_written_for_each_server() -> None:
    scheme = ListPartitions("v", (ListPartition("a", ("it's 5%", None)),), default="rest")
    classic = ddl(fact(greenplum_partition_by=scheme), "greenplum6")
    assert classic.endswith("PARTITION BY LIST (v) (PARTITION a VALUES ('it''s 5%%', NULL), DEFAULT PARTITION rest)")
    assert ddl(fact(greenplum_partition_by=scheme), "postgresql").endswith(
        "PARTITION BY LIST (v); CREATE TABLE f_1_prt_a PARTITION OF f FOR VALUES IN ('it''s 5%%', NULL); "
        "CREATE TABLE f_1_prt_rest PARTITION OF f DEFAULT"
    )
    numbers = RangePartitions("k", (RangePartition("low", None, 0), RangePartition("high", 10, None)))
    assert ddl(fact(greenplum_partition_by=numbers), "greenplum7").endswith(
        "(PARTITION low END (0) EXCLUSIVE, PARTITION high START (10) INCLUSIVE)"
    )
    assert "FOR VALUES FROM (MINVALUE) TO (0)" in ddl(fact(greenplum_partition_by=numbers), "postgresql")


@pytest.mark.parametrize("server", GREENPLUMS)
def test_an_external_table_is_written_in_its_grammars_order(server: str) -> None:
    external = ExternalTable(
        location=("gpfdist://etl:8081/a*.csv", "gpfdist://etl:8082/b.csv"),
        format=CsvFormat(header=True, delimiter=";", force_not_null=("v",)),
        log_errors="persistently",
        reject_limit=RejectLimit(5, "percent"),
        encoding="UTF8",
    )
    assert ddl(fact(greenplum_external=external), server) == (
        "CREATE READABLE EXTERNAL TABLE f ( k BIGINT, ts TIMESTAMP WITH TIME ZONE, v TEXT ) "
        "LOCATION ('gpfdist://etl:8081/a*.csv', 'gpfdist://etl:8082/b.csv') "
        "FORMAT 'CSV' (HEADER DELIMITER ';' NULL '' QUOTE '\"' ESCAPE '\"' FORCE NOT NULL v) "
        "ENCODING 'UTF8' LOG ERRORS PERSISTENTLY SEGMENT REJECT LIMIT 5 PERCENT"
    )
    command = ExternalTable(command="date", on="coordinator")
    where = "MASTER" if server == "greenplum6" else "COORDINATOR"
    web = Table("f", MetaData(), Column("v", Text), prefixes=["TEMP"], greenplum_external=command)
    assert ddl(web, server).startswith(
        f"CREATE READABLE EXTERNAL WEB TEMPORARY TABLE f ( v TEXT ) EXECUTE 'date' ON {where} FORMAT 'TEXT' ("
    )
    out = ExternalTable(location=("gpfdist://etl:8081/out",), writable=True)
    written = Table(
        "f", MetaData(), Column("v", Text), greenplum_external=out, greenplum_distributed_by=DistributedBy("v")
    )
    assert ddl(written, server).startswith("CREATE WRITABLE EXTERNAL TABLE f ( v TEXT ) LOCATION (")
    assert ddl(written, server).endswith("DISTRIBUTED BY (v)")
    assert str(DropTable(web).compile(dialect=GreenplumDialect(server=server))).strip() == "DROP EXTERNAL TABLE f"


def test_a_replicated_table_may_have_any_unique_keys() -> None:
    columns = (Column("a", Integer, primary_key=True), Column("b", Integer, unique=True))
    table = Table("t", MetaData(), *columns, greenplum_distributed_by=DistributedReplicated(), greenplum_storage=Heap())
    assert ddl(table, "greenplum6").endswith("WITH (appendonly=false) DISTRIBUTED REPLICATED")


def test_without_a_server_the_error_says_how_to_name_one() -> None:
    with pytest.raises(UnsupportedByServerError, match=r"\?server=greenplum6"):
        str(CreateTable(fact(greenplum_storage=Heap())).compile(dialect=GreenplumDialect()))


@pytest.mark.parametrize(
    ("url", "options"),
    [("greenplum+psycopg2://", {"server": "greenplum6"}), ("greenplum://?server=greenplum6", {})],
)
def test_a_mock_engine_writes_the_ddl_of_the_server_it_is_told(url: str, options: dict[str, str]) -> None:
    written: list[str] = []
    table = fact(greenplum_distributed_by=DistributedBy("k"))
    engine = create_mock_engine(
        url, lambda sql, *_, **__: written.append(str(sql.compile(dialect=engine.dialect))), **options
    )
    table.metadata.create_all(engine, checkfirst=False)
    assert "DISTRIBUTED BY (k)" in written[0]


def test_a_partition_added_on_greenplum_carries_the_tables_storage() -> None:
    table = fact(
        greenplum_storage=AppendOptimized(orientation="column", compresstype="zstd"),
        greenplum_partition_by=RangePartitions.monthly("ts", first="2026-01"),
    )
    month = RangePartitions.monthly("ts", first="2026-02").partitions[0]
    classic = str(AddPartition(table, month).compile(dialect=GreenplumDialect(server="greenplum6")))
    assert classic == (
        "ALTER TABLE f ADD PARTITION m202602 START ('2026-02-01 00:00:00+00') INCLUSIVE "
        "END ('2026-03-01 00:00:00+00') EXCLUSIVE "
        "WITH (appendonly=true, orientation=column, compresstype=zstd, compresslevel=1, blocksize=32768, checksum=true)"
    )
    declarative = str(AddPartition(table, month).compile(dialect=GreenplumDialect(server="postgresql")))
    assert declarative.startswith("CREATE TABLE f_1_prt_m202602 PARTITION OF f FOR VALUES FROM")
