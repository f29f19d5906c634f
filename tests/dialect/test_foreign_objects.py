"""Tables that others made: what our values cannot say is left open with a warning, and costs nothing else of its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SAWarning

from gpwarehouse.dialect import (
    ExternalTable,
    OptionError,
    OtherPartitions,
    RangePartition,
    RangePartitions,
    ServerInfo,
    migration,
)
from gpwarehouse.dialect.reflection import parse_bound
from tests.conftest import database
from tests.dialect.alembic_project import capabilities

migration.register()
MONTHS = RangePartitions.monthly("created", first="2026-01", months=2)


@pytest.fixture(scope="module")
def their_engine(server_url: URL) -> Iterator[Engine]:
    with database(server_url) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def theirs(their_engine: Engine) -> Iterator[Connection]:
    """In a transaction that is rolled back, with the schema ``theirs`` and an innocent table in it."""
    with their_engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text("CREATE SCHEMA theirs"))
        connection.execute(text("CREATE TABLE theirs.innocent (a integer)"))
        yield connection
        transaction.rollback()


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", "%%"))


def reflected(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection, schema="theirs")
    return found


def drift(connection: Connection, metadata: MetaData) -> str:
    """What autogenerate would write."""

    def only(name: str | None, kind: str, _: Any) -> bool:
        return name == "theirs" if kind == "schema" else True

    context = MigrationContext.configure(connection, opts={"include_schemas": True, "include_name": only})
    operations = produce_migrations(context, metadata).upgrade_ops
    assert operations is not None
    return render_python_code(operations)


def innocent(metadata: MetaData) -> Table:
    return Table("innocent", metadata, Column("a", Integer), schema="theirs")


NOTHING = "pass"


# Foreign keys.


@pytest.fixture
def keyed() -> MetaData:
    """Two tables partitioned alike; b refers to a, and each row of b to one before it; c refers to both."""
    metadata = MetaData(schema="theirs")
    innocent(metadata)

    def table(name: str, **keys: str) -> None:
        columns = [Column("id", Integer, primary_key=True, autoincrement=False)]
        columns += [Column("created", DateTime(timezone=True), primary_key=True)]
        constraints = []
        for column, to in keys.items():
            columns += [Column(column, Integer), Column(f"{column}_at", DateTime(timezone=True))]
            refers = [f"theirs.{to}.id", f"theirs.{to}.created"]
            constraints.append(ForeignKeyConstraint([column, f"{column}_at"], refers, name=f"fk_{name}_{column}"))
        options: Any = {} if name == "c" else {"greenplum_partition_by": MONTHS}
        Table(name, metadata, *columns, *constraints, **options)

    table("a")
    table("b", a="a", before="b")
    table("c", a="a", b="b")
    return metadata


def test_keys_to_partitioned_tables_are_told_as_they_were_made(theirs: Connection, keyed: MetaData) -> None:
    keyed.tables["theirs.a"].create(theirs)
    keyed.tables["theirs.b"].create(theirs)
    keyed.tables["theirs.c"].create(theirs)
    found = inspect(theirs)
    told = {
        name: sorted((key["name"], key["referred_table"]) for key in found.get_foreign_keys(name, "theirs"))
        for name in ("a", "b", "c")
    }
    assert told == {
        "a": [],
        "b": [("fk_b_a", "a"), ("fk_b_before", "b")],
        "c": [("fk_c_a", "a"), ("fk_c_b", "b")],
    }
    assert sorted(reflected(theirs).tables) == ["theirs.a", "theirs.b", "theirs.c", "theirs.innocent"]
    assert NOTHING in drift(theirs, keyed)


def test_a_key_of_somebodys_own_to_one_partition_is_told(theirs: Connection, server_info: ServerInfo) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("this server has no keys to partitions")
    run(
        theirs,
        "CREATE TABLE theirs.a (id integer, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE theirs.a1 PARTITION OF theirs.a FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE theirs.b (id integer, CONSTRAINT mine FOREIGN KEY (id) REFERENCES theirs.a1)",
    )
    keys = inspect(theirs).get_foreign_keys("b", "theirs")
    assert [(key["name"], key["referred_table"]) for key in keys] == [("mine", "a1")]


# Bounds.

BOUNDS = [
    ("numeric", "0", "'NaN'"),
    ("double precision", "0", "'NaN'"),
    ("double precision", "'-Infinity'", "0"),
    ("boolean", "false", "true"),
    ("timestamptz", "'0001-01-01 00:00:00'", "'0001-01-02 00:00:00'"),
    ("timestamptz", "'0044-03-15 00:00:00+00 BC'", "'2026-01-01 00:00:00+00'"),
    ("date", "'2026-01-01'", "'infinity'"),
    ("date", "'0044-03-15 BC'", "'2026-01-01'"),
]


@pytest.mark.parametrize(("kind", "start", "end"), BOUNDS, ids=[f"{row[0]} to {row[2]}" for row in BOUNDS])
def test_a_bound_that_our_values_cannot_say_is_left_open(
    theirs: Connection, server_info: ServerInfo, kind: str, start: str, end: str
) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("this server has no such partitions")
    distributed = "" if server_info.brand.name == "POSTGRESQL" else "DISTRIBUTED RANDOMLY "
    run(
        theirs,
        "SET LOCAL TIME ZONE 'Asia/Tokyo'",
        f"CREATE TABLE theirs.p (a {kind}) {distributed}PARTITION BY RANGE (a)",
        f"CREATE TABLE theirs.p1 PARTITION OF theirs.p FOR VALUES FROM ({start}) TO ({end})",
    )
    with pytest.warns(SAWarning, match="table 'p': a bound of its partitions by 'a' is none our values can say"):
        found = reflected(theirs)
    assert sorted(found.tables) == ["theirs.innocent", "theirs.p"]
    scheme = found.tables["theirs.p"].dialect_options["greenplum"]["partition_by"]
    assert scheme == OtherPartitions("range", ("a",))
    with pytest.warns(SAWarning):
        assert NOTHING in drift(theirs, found)


def test_values_of_lists_that_our_values_cannot_say_are_left_open(theirs: Connection, server_info: ServerInfo) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("this server has no such partitions")
    run(
        theirs,
        "CREATE TABLE theirs.p (a numeric) PARTITION BY LIST (a)",
        "CREATE TABLE theirs.p1 PARTITION OF theirs.p FOR VALUES IN (1, 'NaN')",
    )
    with pytest.warns(SAWarning, match="is none our values can say"):
        found = reflected(theirs)
    scheme = found.tables["theirs.p"].dialect_options["greenplum"]["partition_by"]
    assert scheme == OtherPartitions("list", ("a",))


@pytest.mark.parametrize("expression", ["B'001'::\"bit\"", "'{1}'::integer[]", "now()", "true", "1e400", ""])
def test_what_is_no_text_and_no_number_is_no_open_end(expression: str) -> None:
    """An open end in its place would be another partition."""
    with pytest.raises(OptionError, match="only texts and numbers are understood"):
        parse_bound(expression)
    assert parse_bound("MAXVALUE") is parse_bound("NULL::character varying") is None


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_no_bound_of_ours_is_a_number_without_an_end(number: str) -> None:
    from decimal import Decimal

    with pytest.raises(OptionError, match="give a finite number"):
        RangePartition("a", Decimal(0), Decimal(number))


# Partitions that are no tables of the server's own.


def test_a_partition_that_is_a_foreign_table_is_hidden_and_left_alone(
    theirs: Connection, server_info: ServerInfo
) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("this server has no such partitions")
    run(
        theirs,
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE theirs.lonely (i integer) SERVER nowhere",
        "CREATE TABLE theirs.p (i integer) PARTITION BY RANGE (i)",
        "CREATE TABLE theirs.p_1_prt_hot PARTITION OF theirs.p FOR VALUES FROM (10) TO (20)",
        "CREATE FOREIGN TABLE theirs.cold PARTITION OF theirs.p FOR VALUES FROM (0) TO (10) SERVER nowhere",
    )
    found = inspect(theirs)
    assert sorted(found.get_table_names("theirs")) == ["innocent", "p"]
    assert found.get_foreign_table_names("theirs") == ["lonely"]
    metadata = MetaData(schema="theirs")
    innocent(metadata)
    parts = (RangePartition("cold", 0, 10), RangePartition("hot", 10, 20))
    table = Table("p", metadata, Column("i", Integer), greenplum_partition_by=RangePartitions("i", parts))
    assert NOTHING in drift(theirs, metadata)
    scheme = reflected(theirs).tables["theirs.p"].dialect_options["greenplum"]["partition_by"]
    assert scheme == table.dialect_options["greenplum"]["partition_by"]


COLD = """CREATE EXTERNAL WEB TABLE theirs.cold (i integer, d date)
    EXECUTE 'echo "1|2026-01-05"' ON SEGMENT 0 FORMAT 'text' (DELIMITER '|')"""
PARTED = """CREATE TABLE theirs.p (i integer, d date) DISTRIBUTED BY (i) PARTITION BY RANGE (d)
    (PARTITION m1 START ('2026-01-01') END ('2026-02-01'), PARTITION m2 START ('2026-02-01') END ('2026-03-01'))"""
EXCHANGED = {
    "classic": (
        "ALTER TABLE theirs.p EXCHANGE PARTITION m1 WITH TABLE theirs.cold WITHOUT VALIDATION",
        "DROP TABLE theirs.cold",
    ),
    "declarative": (
        "ALTER TABLE theirs.p DETACH PARTITION theirs.p_1_prt_m1",
        "DROP TABLE theirs.p_1_prt_m1",
        "ALTER TABLE theirs.p ATTACH PARTITION theirs.cold FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    ),
}


@pytest.mark.segments
def test_a_partition_that_is_an_external_table_is_hidden_and_never_dropped(theirs: Connection) -> None:
    has = capabilities(theirs.engine)
    run(theirs, PARTED, COLD, *EXCHANGED[has.partition_catalog])
    found = inspect(theirs)
    assert sorted(found.get_table_names("theirs")) == ["innocent", "p"]
    assert found.get_foreign_table_names("theirs") == []
    metadata = MetaData(schema="theirs")
    innocent(metadata)
    months = RangePartitions.monthly("d", first="2026-01", months=2)
    Table("p", metadata, Column("i", Integer), Column("d", Date), greenplum_partition_by=months)
    assert NOTHING in drift(theirs, metadata)


ODD = {
    "on a host": "CREATE EXTERNAL WEB TABLE theirs.x (a integer) EXECUTE 'df' ON HOST 'sdw1' FORMAT 'text'",
    "on a host of digits": "CREATE EXTERNAL WEB TABLE theirs.x (a integer) EXECUTE 'df' ON HOST '2' FORMAT 'text'",
    "a quote in its location": "CREATE EXTERNAL TABLE theirs.x (a integer) LOCATION ('gpfdist://h:1/it''s') FORMAT 'text'",
}


@pytest.mark.segments
@pytest.mark.parametrize("statement", ODD.values(), ids=ODD)
def test_an_external_table_that_our_values_cannot_say_is_left_open(theirs: Connection, statement: str) -> None:
    run(theirs, statement)
    found = inspect(theirs)
    assert found.get_table_names("theirs") == ["innocent"]
    assert found.get_foreign_table_names("theirs") == ["x"]
    assert sorted(reflected(theirs).tables) == ["theirs.innocent"]
    with pytest.warns(SAWarning, match="table 'x': what makes it external is none we know, and is left open"):
        table = Table("x", MetaData(), schema="theirs", autoload_with=theirs)
    assert [column.name for column in table.columns] == ["a"]
    assert table.dialect_options["greenplum"]["external"] is None
    metadata = MetaData()
    innocent(metadata)
    with pytest.warns(SAWarning):
        assert NOTHING in drift(theirs, metadata)
    model = ExternalTable(command="df")
    Table("x", metadata, Column("a", Integer), schema="theirs", greenplum_external=model)
    with pytest.warns(SAWarning):
        assert NOTHING in drift(theirs, metadata)


@pytest.mark.segments
def test_tables_of_a_schema_reflect_at_once_external_ones_too_partitions_or_not(theirs: Connection) -> None:
    """A schema without partitions had them in, and one with partitions on Greenplum 6 had not."""
    run(theirs, COLD)
    without = {name for _, name in inspect(theirs).get_multi_columns("theirs")}
    run(theirs, PARTED)
    assert {name for _, name in inspect(theirs).get_multi_columns("theirs")} == {*without, "p"}
