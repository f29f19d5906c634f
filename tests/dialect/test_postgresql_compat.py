"""What people use PostgreSQL's dialect for goes on working on every server, or is refused with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    any_,
    create_engine,
    event,
    func,
    insert,
    insert_sentinel,
    inspect,
    literal,
    schema,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import JSON

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    GreenplumDialect,
    Heap,
    OptionError,
    UnsupportedByServerError,
)
from gpwarehouse.dialect.ddl_compiler import distribution_of
from gpwarehouse.dialect.server import Capabilities


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A transaction that is rolled back, tables and types with it."""
    with engine.connect() as connection:
        yield connection


def can(connection: Connection) -> Capabilities:
    capabilities = cast(GreenplumDialect, connection.dialect).capabilities
    assert capabilities is not None
    return capabilities


def ddl(table: Table, server: str) -> str:
    return " ".join(str(CreateTable(table).compile(dialect=GreenplumDialect(server=server))).split())


# Arguments, types and hooks named postgresql


def test_index_arguments_of_postgresql_reach_the_server_and_come_back(connection: Connection) -> None:
    table = Table(
        "indexed",
        MetaData(),
        Column("k", Integer, primary_key=True),
        Column("name", Text),
        Column("doc", JSONB),
        Index("ix_gin", "doc", postgresql_using="gin"),
        Index("ix_part", "name", postgresql_where=text("k > 5"), postgresql_with={"fillfactor": "70"}),
        Index("ix_ops", "name", postgresql_ops={"name": "text_pattern_ops"}),
    )
    table.create(connection)
    found = {index["name"]: index["dialect_options"] for index in inspect(connection).get_indexes("indexed")}
    assert found["ix_gin"]["postgresql_using"] == "gin"
    assert found["ix_part"]["postgresql_where"] == "(k > 5)"
    assert found["ix_part"]["postgresql_with"] == {"fillfactor": "70"}
    if hasattr(schema, "CreateTableAs"):  # SQLAlchemy 2.1 reflects operator classes
        assert found["ix_ops"]["postgresql_ops"] == {"name": "text_pattern_ops"}


def test_table_arguments_of_postgresql_reach_the_server_and_come_back(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE filled (k integer) WITH (fillfactor=70)"))
    found = Table("filled", MetaData(), autoload_with=connection)
    if hasattr(schema, "CreateTableAs"):  # SQLAlchemy 2.0's Table has no such argument
        assert found.dialect_options["postgresql"]["with"] == {"fillfactor": "70"}
        found.drop(connection)
        found.create(connection)
        assert inspect(connection).get_table_options("filled")["postgresql_with"] == {"fillfactor": "70"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"postgresql_inherits": "p"}, "INHERITS (p) WITH (appendonly=false) DISTRIBUTED"),
        ({"postgresql_tablespace": "fast"}, "WITH (appendonly=false) TABLESPACE fast DISTRIBUTED"),
        (
            {"postgresql_on_commit": "DROP", "prefixes": ["TEMPORARY"]},
            "WITH (appendonly=false) ON COMMIT DROP DISTRIBUTED",
        ),
    ],
)
def test_storage_stands_where_the_grammar_wants_it(arguments: dict[str, Any], expected: str) -> None:
    table = Table("placed", MetaData(), Column("k", Integer), greenplum_storage=Heap(), **arguments)
    assert expected in ddl(table, "greenplum7").replace("( p )", "(p)")  # SQLAlchemy 2.0's spelling


def test_table_options_are_of_the_kind_asked_for(connection: Connection) -> None:
    Table("t_kind", MetaData(), Column("k", Integer)).create(connection)
    connection.execute(text("CREATE VIEW v_kind AS SELECT k FROM t_kind"))
    found = inspect(connection).get_multi_table_options()
    assert (None, "t_kind") in found
    assert (None, "v_kind") not in found


def test_variants_for_postgresql_are_taken(connection: Connection) -> None:
    kind = JSON().with_variant(JSONB(), "postgresql")
    table = Table("varied", MetaData(), Column("k", Integer, primary_key=True), Column("doc", kind))
    table.create(connection)
    assert isinstance(inspect(connection).get_columns("varied")[1]["type"], JSONB)


def test_compile_hooks_for_postgresql_are_called(connection: Connection) -> None:
    class Three(GenericFunction[int]):
        inherit_cache = True
        type = Integer()

    @compiles(Three)
    def _anywhere(element: Any, compiler: Any, **_: Any) -> str:
        return "4"

    @compiles(Three, "postgresql")
    def _postgresql(element: Any, compiler: Any, **_: Any) -> str:
        return "3"

    assert connection.scalar(select(Three())) == 3


def test_an_enum_is_made_kept_and_reflected(connection: Connection) -> None:
    metadata = MetaData()
    kind = ENUM("good", "bad", name="verdict", metadata=metadata)
    table = Table("judged", metadata, Column("k", Integer, primary_key=True), Column("verdict", kind))
    metadata.create_all(connection)
    connection.execute(insert(table), [{"k": 1, "verdict": "good"}, {"k": 2, "verdict": "bad"}])
    assert connection.scalars(select(table.c.k).where(table.c.verdict == "bad")).all() == [2]
    reflected = Table("judged", MetaData(), autoload_with=connection).c.verdict.type
    assert isinstance(reflected, ENUM)
    assert list(reflected.enums) == ["good", "bad"]
    metadata.drop_all(connection)
    assert inspect(connection).get_enums() == []


def test_arrays_are_kept_and_searched(connection: Connection) -> None:
    table = Table("bins", MetaData(), Column("k", Integer, primary_key=True), Column("bins", ARRAY(Integer)))
    table.create(connection)
    connection.execute(insert(table), [{"k": 1, "bins": [1, 2]}, {"k": 2, "bins": None}, {"k": 3, "bins": [3]}])
    assert connection.scalar(select(table.c.bins).where(literal(2) == any_(table.c.bins))) == [1, 2]
    assert connection.scalars(select(table.c.k).where(table.c.bins.contains([3]))).all() == [3]


def test_jsonb_is_kept_and_searched(connection: Connection) -> None:
    table = Table("docs", MetaData(), Column("k", Integer, primary_key=True), Column("doc", JSONB))
    table.create(connection)
    connection.execute(insert(table), {"k": 1, "doc": {"lot": "L1", "wafers": [1, 2]}})
    assert connection.scalar(select(table.c.doc["lot"].astext)) == "L1"
    assert connection.scalar(select(table.c.k).where(table.c.doc.contains({"wafers": [2]}))) == 1


def test_an_interval_can_be_a_literal(connection: Connection) -> None:
    long = timedelta(days=3, seconds=4.5)
    for kind in (Interval(), postgresql.INTERVAL()):
        literal_sql = select(literal(long, kind)).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        assert connection.exec_driver_sql(str(literal_sql)).scalar() == long


# INSERT … RETURNING many


def statements(engine_or_connection: Any) -> list[str]:
    seen: list[str] = []
    event.listen(engine_or_connection, "before_cursor_execute", lambda *a: seen.append(a[2]))
    return seen


def test_returned_rows_match_inserted_rows_when_the_server_makes_the_keys(connection: Connection) -> None:
    table = Table("numbered", MetaData(), Column("k", Integer, primary_key=True), Column("v", Integer))
    table.create(connection)
    seen = statements(connection)
    rows = connection.execute(
        insert(table).returning(table.c.k, table.c.v, sort_by_parameter_order=True), [{"v": v} for v in range(60)]
    ).all()
    assert [row.v for row in rows] == list(range(60))
    assert {row.k: row.v for row in rows} == {row.k: row.v for row in connection.execute(select(table))}
    # On a cluster no sequence tells the order, so there it is one by one: slow, and right.
    assert len([s for s in seen if s.startswith("INSERT")]) == (60 if can(connection).distribution else 1)


def test_returned_rows_match_in_one_statement_when_the_client_has_keys(connection: Connection) -> None:
    table = Table("keyed", MetaData(), Column("v", Integer), Column("given", String, primary_key=True))
    rows = [{"v": v, "given": f"k{v * 7919 % 300}"} for v in range(300)]
    assert_matched_in_one_statement(connection, table, rows)


def test_returned_rows_match_in_one_statement_by_a_sentinel_column(connection: Connection) -> None:
    key = Column("k", Integer, primary_key=True)
    table = Table("marked", MetaData(), key, Column("v", Integer), insert_sentinel("place"))
    assert_matched_in_one_statement(connection, table, [{"v": v} for v in range(300)])


def assert_matched_in_one_statement(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    table.create(connection)
    seen = statements(connection)
    found = connection.scalars(insert(table).returning(table.c.v, sort_by_parameter_order=True), rows).all()
    assert found == [row["v"] for row in rows]
    assert len([s for s in seen if s.startswith("INSERT")]) == 1


def test_the_orm_gives_every_object_its_own_key(engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Lot(Base):
        __tablename__ = "orm_lot"
        key: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    Base.metadata.create_all(engine)
    with Session(engine, expire_on_commit=False) as session:
        lots = [Lot(name=f"lot {n}") for n in range(30)]
        session.add_all(lots)
        session.commit()
        stored = {row.key: row.name for row in session.execute(select(Lot.key, Lot.name))}
    assert stored == {lot.key: lot.name for lot in lots}


# What not every server has


def test_on_conflict_on_an_append_optimized_table_is_refused_with_the_way_out() -> None:
    table = Table("ao", MetaData(), Column("k", Integer), greenplum_storage=AppendOptimized())
    statement = postgresql.insert(table).values(k=1).on_conflict_do_nothing()
    with pytest.raises(UnsupportedByServerError, match="'ao': ON CONFLICT works on heap tables only"):
        statement.compile(dialect=GreenplumDialect(server="greenplum7"))
    assert "ON CONFLICT" in str(statement.compile(dialect=GreenplumDialect(server="postgresql")))


def test_on_conflict_works_or_says_what_to_do(connection: Connection) -> None:
    table = Table("upserted", MetaData(), Column("k", Integer, primary_key=True), Column("v", Integer))
    table.create(connection)
    connection.execute(insert(table), {"k": 1, "v": 1})
    base = postgresql.insert(table).values(k=1, v=2)
    update = base.on_conflict_do_update(index_elements=[table.c.k], set_={"v": base.excluded.v})
    for statement in (base.on_conflict_do_nothing(), update):
        if can(connection).on_conflict:
            connection.execute(statement)
        else:
            with pytest.raises(UnsupportedByServerError, match=r"'upserted'.*has no ON CONFLICT.*INSERT … SELECT"):
                connection.execute(statement)
    assert connection.scalar(select(table.c.v)) == (2 if can(connection).on_conflict else 1)


def test_identity_columns_are_identity_or_serial(connection: Connection) -> None:
    table = Table(
        "identified",
        MetaData(),
        Column("k", BigInteger, Identity(), primary_key=True),
        Column("n", Integer, Identity()),
        Column("v", Integer),
        greenplum_distributed_by=DistributedBy("k"),
    )
    table.create(connection)
    for v in (1, 2):
        connection.execute(insert(table), {"v": v})
    rows = connection.execute(select(table.c.k, table.c.n).order_by(table.c.v)).all()
    assert rows == [(1, 1), (2, 2)]
    column = inspect(connection).get_columns("identified")[1]
    assert ("identity" in column) == can(connection).identity
    assert column["nullable"] is False


@pytest.mark.parametrize(
    ("identity", "kind", "words"),
    [
        (Identity(start=5, cycle=True), Integer(), r"Identity\(start, cycle\).*Sequence"),
        (Identity(always=True), Integer(), r"Identity\(always\)"),
        (Identity(), Numeric(10), "cannot be a serial; use an integer type"),
    ],
)
def test_an_identity_that_cannot_be_a_serial_is_refused(identity: Identity, kind: Any, words: str) -> None:
    table = Table("refused", MetaData(), Column("k", kind, identity))
    with pytest.raises(UnsupportedByServerError, match=f"table 'refused', column 'k'.*{words}"):
        ddl(table, "greenplum6")
    assert "AS IDENTITY" in ddl(table, "greenplum7")


def test_create_index_if_not_exists_works_or_says_what_to_do(connection: Connection) -> None:
    table = Table("sought", MetaData(), Column("k", Integer))
    table.create(connection)
    create = CreateIndex(Index("ix_sought", table.c.k), if_not_exists=True)
    if can(connection).create_index_if_not_exists:
        connection.execute(create)
        connection.execute(create)
        assert [index["name"] for index in inspect(connection).get_indexes("sought")] == ["ix_sought"]
    else:
        with pytest.raises(UnsupportedByServerError, match=r"'ix_sought' on table 'sought'.*checkfirst=True"):
            connection.execute(create)


@pytest.mark.skipif(not hasattr(schema, "CreateTableAs"), reason="CreateTableAs came with SQLAlchemy 2.1")
def test_create_table_as_is_distributed_as_said(connection: Connection) -> None:
    create_table_as = schema.CreateTableAs
    query = select(func.generate_series(1, 10).label("k"))
    connection.execute(create_table_as(query, "copied"))
    connection.execute(create_table_as(query, "copied_by_k", greenplum_distributed_by=DistributedBy("k")))
    inspector = cast(Any, inspect(connection))
    expected = (DistributedRandomly(), DistributedBy("k")) if can(connection).distribution else (None, None)
    assert (inspector.get_distribution("copied"), inspector.get_distribution("copied_by_k")) == expected


@pytest.mark.skipif(not hasattr(schema, "CreateTableAs"), reason="CreateTableAs came with SQLAlchemy 2.1")
def test_create_table_if_not_exists_as_works_or_says_what_to_do(connection: Connection) -> None:
    query = select(func.generate_series(1, 10).label("k"))
    create = schema.CreateTableAs(query, "copied", if_not_exists=True)
    by_k = schema.CreateTableAs(query, "by_k", if_not_exists=True, greenplum_distributed_by=DistributedBy("k"))
    if not can(connection).create_table_as_if_not_exists:
        with pytest.raises(UnsupportedByServerError, match=r"'copied'.*ask the inspector"):
            connection.execute(create)
        return
    connection.execute(create)
    connection.execute(create)
    if can(connection).distribution:
        assert cast(Any, inspect(connection)).get_distribution("copied") == DistributedRandomly()
        with pytest.raises(UnsupportedByServerError, match=r"'by_k'.*DistributedBy\('k'\).*ask the inspector"):
            connection.execute(by_k)


def test_an_isolation_level_that_the_server_only_pretends_to_have_is_refused(engine: Engine) -> None:
    """Greenplum takes SERIALIZABLE and gives REPEATABLE READ."""
    whole = create_engine(engine.url, isolation_level="SERIALIZABLE")
    with engine.connect() as connection:
        if can(connection).distribution:
            with pytest.raises(ArgumentError, match=r"Valid isolation levels.*REPEATABLE READ$"):
                connection.execution_options(isolation_level="SERIALIZABLE")
            with pytest.raises(ArgumentError, match="Valid isolation levels"):
                whole.connect()
        else:
            with whole.connect() as other:
                assert other.get_isolation_level() == "SERIALIZABLE"
    whole.dispose()


# Distribution of a table that says none


def keyed(primary: str, *unique: str, **options: Any) -> Table:
    """A table of columns a, b and c, with a key of the columns in each word."""
    columns = [Column(name, Integer, key=f"key_of_{name}", primary_key=name in primary) for name in "abc"]
    constraints = [UniqueConstraint(*(f"key_of_{name}" for name in word)) for word in unique]
    return Table("keys", MetaData(), *columns, *constraints, **options)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([""], DistributedRandomly()),
        (["ab"], DistributedBy("a", "b")),
        (["", "b"], DistributedBy("b")),
        (["a", "ba"], DistributedBy("a")),
        (["ab", "cb"], DistributedBy("b")),
        (["a", "b"], DistributedReplicated()),
        (["", "ab", "bc", "ca"], DistributedReplicated()),
    ],
)
def test_a_table_without_options_is_distributed_so_that_its_keys_hold(keys: list[str], expected: Any) -> None:
    table = keyed(*keys)
    assert distribution_of(table) == expected
    assert "DISTRIBUTED" in ddl(table, "greenplum6")


def test_an_expression_of_a_unique_index_is_no_column_to_distribute_by() -> None:
    table = keyed("a")
    Index("ix_lower", func.abs(table.c.key_of_a), unique=True)
    assert distribution_of(table) == DistributedReplicated()


def test_every_unique_key_of_a_table_without_options_is_checked(connection: Connection) -> None:
    table = Table("look_up", MetaData(), Column("k", Integer, primary_key=True), Column("name", Text, unique=True))
    table.create(connection)
    connection.execute(insert(table), {"k": 1, "name": "a"})
    for row in ({"k": 1, "name": "b"}, {"k": 2, "name": "a"}):
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(insert(table), row)


def test_a_distribution_that_does_not_fit_a_key_is_still_refused() -> None:
    table = keyed("a", "b", greenplum_distributed_by=DistributedBy("a"))
    with pytest.raises(OptionError, match=r"unique constraint on \('b',\).*DistributedReplicated"):
        ddl(table, "greenplum7")
