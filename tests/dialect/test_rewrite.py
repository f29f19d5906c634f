"""Rewrites by a copy: what they change, what they leave as it was, and what they refuse before they begin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, cast

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, Table, Text, func, insert, inspect, select
from sqlalchemy.engine import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    DropPartition,
    Encoding,
    GreenplumDialect,
    Heap,
    ListPartition,
    ListPartitions,
    OptionError,
    RangePartition,
    RangePartitions,
    RewriteTable,
    SetDistribution,
    SetEncodings,
    SetStorage,
)
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.conftest import database

COLUMNAR = AppendOptimized(orientation="column", compresstype="zlib", compresslevel=3)
MONTHS = RangePartitions("d", RangePartitions.monthly("d", first="2026-01", months=4, bounds=date).partitions, "rest")
ALL = RangePartitions("i", (RangePartition("low", 0, 10), RangePartition("high", 10, 1000)))


@pytest.fixture(scope="module")
def engine(server_url: URL) -> Iterator[Engine]:
    with database(server_url) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture(autouse=True)
def _no_tables_of_other_tests(engine: Engine) -> None:
    run(engine, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


def bare(name: str = "t", **options: Any) -> Table:
    """The table as an operation names it: nothing of it is known."""
    return Table(name, MetaData(), **options)


def run(engine: Engine, *statements: Any) -> None:
    with engine.begin() as connection:
        for statement in statements:
            if isinstance(statement, str):
                connection.exec_driver_sql(statement.replace("%", "%%"))
            else:
                connection.execute(statement)


def rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql.replace("%", "%%"))]


def has(engine: Engine) -> Any:
    return cast(GreenplumDialect, engine.dialect).capabilities


def look(engine: Engine) -> GreenplumInspector:
    return cast(GreenplumInspector, inspect(engine))


def by(engine: Engine, column: str) -> str:
    return f" DISTRIBUTED BY ({column})" if has(engine).distribution else ""


def made(engine: Engine, name: str = "t", **options: Any) -> Table:
    columns = (Column("i", Integer), Column("c", Text), Column("d", Date))
    table = Table(name, MetaData(), *columns, **{"greenplum_distributed_by": DistributedBy("i"), **options})
    values = [{"i": n, "c": f"{n}%", "d": date(2026, 1 + n % 4, 5)} for n in range(20)]
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), values)
    return table


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def names(engine: Engine, table: str = "t") -> list[str]:
    scheme = cast(Any, look(engine).get_partitions(table))
    return [partition.name for partition in scheme.partitions] + ([scheme.default] if scheme.default else [])


REPARTITION = RewriteTable(bare(greenplum_partition_by=ALL), repartition=True)


# What stays.


def test_generated_columns_stay_generated(engine: Engine) -> None:
    if not has(engine).identity:
        pytest.skip("Greenplum 6 has no generated columns")
    run(
        engine,
        f"CREATE TABLE t (i int, g int GENERATED ALWAYS AS (i * 2) STORED){by(engine, 'i')}",
        "INSERT INTO t (i) VALUES (3)",
        REPARTITION,
        "INSERT INTO t (i) VALUES (14)",
    )
    assert sorted(rows(engine, "SELECT i, g FROM t")) == [(3, 6), (14, 28)]
    assert rows(engine, "SELECT attgenerated FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'g'") == [
        ("s",)
    ]


ABOUT = """
    SELECT a.attname, a.attstattarget, a.attstorage::text, a.attoptions::text, a.attacl::text,
        col_description(a.attrelid, a.attnum) FROM pg_attribute a
    WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT 'rule', 0, '', pg_get_ruledef(oid), '', '' FROM pg_rewrite WHERE ev_class = 't'::regclass
    UNION ALL SELECT c.relname, 0, '', replace(pg_get_indexdef(c.oid), ' ONLY ', ' '), '', obj_description(c.oid, 'pg_class')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 't'::regclass
    UNION ALL SELECT conname, 0, '', pg_get_constraintdef(oid), '', obj_description(oid, 'pg_constraint')
    FROM pg_constraint WHERE conrelid = 't'::regclass
    UNION ALL SELECT 'acl', 0, '', relacl::text, pg_get_userbyid(relowner), '' FROM pg_class WHERE oid = 't'::regclass
    UNION ALL SELECT 'sequence', 0, '', pg_get_serial_sequence('t', 'k'), '', ''
    ORDER BY 1, 4"""


@pytest.mark.parametrize("how", ["partitioned", "stored"])
def test_everything_else_about_a_table_is_carried_over(engine: Engine, how: str) -> None:
    if how == "stored" and not has(engine).append_optimized:
        pytest.skip("PostgreSQL has one storage")
    run(
        engine,
        f"CREATE TABLE t (gone int, k serial, i int DEFAULT 3, v text CONSTRAINT \"50%\" CHECK (v <> '%')) "
        f"WITH (fillfactor=50){by(engine, 'k')}",
        "ALTER TABLE t DROP COLUMN gone",
        "CREATE INDEX t_v ON t (v)",
        "COMMENT ON INDEX t_v IS 'finds v'",
        "COMMENT ON COLUMN t.v IS 'it''s'",
        "COMMENT ON CONSTRAINT \"50%\" ON t IS 'why'",
        "ALTER TABLE t ALTER v SET STATISTICS 77",
        "ALTER TABLE t ALTER v SET (n_distinct = 5)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE RULE keep AS ON DELETE TO t DO INSTEAD NOTHING",
        "GRANT SELECT ON t TO PUBLIC",
        "GRANT UPDATE (v) ON t TO PUBLIC",
        "REVOKE TRUNCATE ON t FROM CURRENT_USER" if has(engine).identity else "SELECT 1",
        "INSERT INTO t (v) SELECT g::text FROM generate_series(1, 9) g",
    )
    before = rows(engine, ABOUT)
    run(engine, REPARTITION if how == "partitioned" else SetStorage(bare(), COLUMNAR))
    assert rows(engine, ABOUT) == before
    run(engine, "INSERT INTO t (v) VALUES ('x')")
    assert sorted(k for (k,) in rows(engine, "SELECT k FROM t")) == list(range(1, 11))
    fill = "SELECT bool_or('fillfactor=50' = ANY (reloptions)) FROM pg_class WHERE relname LIKE 't%' AND relkind IN ('r', 'p')"
    if how == "partitioned" or not has(engine).access_methods:
        assert rows(engine, fill) == [(True,)]


def test_statistics_of_several_columns_are_carried_over(engine: Engine) -> None:
    if not has(engine).identity:
        pytest.skip("Greenplum 6 has none")
    made(engine)
    run(engine, "CREATE STATISTICS together ON i, d FROM t", "COMMENT ON STATISTICS together IS 'both'", REPARTITION)
    found = rows(
        engine, "SELECT stxrelid::regclass::text, obj_description(oid, 'pg_statistic_ext') FROM pg_statistic_ext"
    )
    assert found == [("t", "both")]


def test_the_owner_stays_and_default_privileges_open_nothing(engine: Engine) -> None:
    role = f"gpw_rewrite_{engine.url.database}"
    run(engine, f"CREATE ROLE {role}")
    try:
        run(
            engine,
            f"GRANT ALL ON SCHEMA public TO {role}",
            f"CREATE TABLE t (k serial, i int){by(engine, 'k')}",
            f"ALTER TABLE t OWNER TO {role}",
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
            REPARTITION,
            "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC",
        )
        found = rows(
            engine,
            "SELECT relname, pg_get_userbyid(relowner), relacl::text LIKE '%{=%' FROM pg_class "
            "WHERE relname LIKE 't%' AND relkind IN ('r', 'p')",
        )
        assert {(owner, public or False) for _, owner, public in found} == {(role, False)}
        assert len(found) == 3
    finally:
        run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("repartition", [False, True])
def test_partitions_keep_the_grants_of_their_table(engine: Engine, repartition: bool) -> None:
    run(engine, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    made(engine, greenplum_partition_by=ALL)
    run(engine, "GRANT UPDATE (c) ON t TO PUBLIC")
    if not has(engine).distribution:
        run(engine, *(f"GRANT UPDATE (c) ON {name} TO PUBLIC" for name in ("t_1_prt_low", "t_1_prt_high")))
    grants = """SELECT c.relname, (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(c.relacl) x), a.attacl::text
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'c' WHERE c.relname LIKE 't%' ORDER BY 1"""
    before = rows(engine, grants)
    assert len({grant[1:] for grant in before}) == 1
    run(engine, "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC")
    rewrite = RewriteTable(bare(greenplum_partition_by=ALL), repartition=repartition)
    run(engine, rewrite, rewrite)
    assert rows(engine, grants) == before


def test_an_identity_column_goes_on_and_its_sequence_keeps_its_name(engine: Engine) -> None:
    if not has(engine).identity:
        pytest.skip("Greenplum 6 has no identity columns")
    run(
        engine,
        f"CREATE TABLE t (k int GENERATED ALWAYS AS IDENTITY (INCREMENT 5), i int){by(engine, 'i')}",
        "INSERT INTO t (i) VALUES (1), (2)",
        REPARTITION,
        "INSERT INTO t (i) VALUES (3)",
    )
    assert rows(engine, "SELECT pg_get_serial_sequence('t', 'k')") == [("public.t_k_seq",)]
    keys = [k for (k,) in rows(engine, "SELECT k FROM t ORDER BY k")]
    assert keys[:2] == [1, 6]
    assert keys[2] > 6


# What is refused.

LOST = {
    "trigger": (["CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW EXECUTE PROCEDURE noted()"], "trigger tr on t"),
    "rule": (["CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "ALTER TABLE t DISABLE RULE r"], "rule r on t"),
    "parent": (
        ["CREATE TABLE par (i int)@i", "DROP TABLE t", "CREATE TABLE t () INHERITS (par)@i"],
        "that it is part of par",
    ),
    "child": (["CREATE TABLE chi () INHERITS (t)@i"], "chi, which inherits from it"),
    "view": (["CREATE VIEW looking AS SELECT i FROM t"], "looking, which reads it"),
    "foreign key": (
        ["ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY (i)", "CREATE TABLE o (i int REFERENCES t)@i"],
        "foreign key o_i_fkey of o",
    ),
    "function": (
        ["CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'"],
        r"function f\(t\), which is of its type",
    ),
    "column": (["CREATE TABLE o (x t[], i int)@i"], r"(table o column x|column x of table o), which is of its type"),
    "row security": (["ALTER TABLE t ENABLE ROW LEVEL SECURITY"], "the row security of t"),
    "policy": (["CREATE POLICY few ON t USING (i = 1)"], "policy few on t"),
    "replica identity": (["ALTER TABLE t REPLICA IDENTITY FULL"], "the replica identity of t"),
    "publication": (["CREATE PUBLICATION pub FOR TABLE t"], "that publication pub holds t"),
    "clustering": (
        ["CREATE INDEX x ON t (i)", "ALTER TABLE t CLUSTER ON x"],
        "options or statistics target of index x",
    ),
    "temporary": (["DROP TABLE t", "CREATE TEMPORARY TABLE t (i int)@i"], "t, which is temporary"),
    "no table": (["DROP TABLE t", "CREATE VIEW t AS SELECT 1 AS i"], "is not a table|t, which is .* no table"),
}
SEVEN = {"row security", "policy", "publication"}


@pytest.mark.parametrize("case", sorted(LOST))
def test_what_a_copy_would_lose_is_named_and_nothing_is_changed(engine: Engine, case: str) -> None:
    if case in SEVEN and not has(engine).identity:
        pytest.skip("Greenplum 6 has none")
    run(
        engine,
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        f"CREATE TABLE t (i int){by(engine, 'i')}",
    )
    statements, found = LOST[case]
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("@i", by(engine, "i")))
        with pytest.raises(DBAPIError, match=found) as caught, connection.begin_nested():
            connection.execute(REPARTITION)
        if case != "no table":
            assert "Drop or reset them before" in str(caught.value)
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'gpw_rw%%'").scalar_one() == 0
        )
        connection.rollback()


OWN = {
    "index": (["CREATE INDEX own ON t_1_prt_low (c)"], "index own, of t_1_prt_low only"),
    "unique index": (["CREATE UNIQUE INDEX own ON t_1_prt_low (i)"], "index own, of t_1_prt_low only"),
    "default": (["ALTER TABLE t_1_prt_low ALTER c SET DEFAULT 'z'"], "the own settings of column c of t_1_prt_low"),
    "check": (["ALTER TABLE t_1_prt_low ADD CONSTRAINT own CHECK (i > -1)"], "constraint own, of t_1_prt_low only"),
    "grant": (["GRANT SELECT ON t_1_prt_low TO PUBLIC"], "the own grants, owner or comment of t_1_prt_low"),
    "comment": (["COMMENT ON TABLE t_1_prt_low IS 'mine'"], "the own grants, owner or comment of t_1_prt_low"),
    "fillfactor": (["ALTER TABLE t_1_prt_low SET (fillfactor=50)"], "how t_1_prt_(low|high) is stored"),
}


REFUSED_BY_SIX = {"check", "default"}


@pytest.mark.parametrize("case", sorted(OWN))
def test_what_one_partition_has_of_its_own_is_named(engine: Engine, case: str) -> None:
    table = made(engine, greenplum_partition_by=ALL, greenplum_storage=Heap())
    run(engine, "CREATE INDEX every ON t (i)")
    if case in REFUSED_BY_SIX and not has(engine).identity:
        with pytest.raises(DBAPIError):
            run(engine, *OWN[case][0])
        return
    run(engine, *OWN[case][0])
    with pytest.raises(DBAPIError, match=OWN[case][1]):
        run(engine, RewriteTable(bare(greenplum_partition_by=MONTHS), repartition=True))
    assert look(engine).get_partitions("t") == ALL
    assert count(engine, table) == 20


# Partitions.


@pytest.mark.segments
def test_a_new_storage_leaves_the_partitions_that_are_there_whatever_the_revision_saw(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=MONTHS, greenplum_storage=Heap())
    stale = bare(greenplum_partition_by=RangePartitions("d", MONTHS.partitions[:1], "rest"))
    run(engine, SetStorage(stale, COLUMNAR, encodings={"c": Encoding(compresstype="zstd", compresslevel=9)}))
    assert look(engine).get_partitions("t") == MONTHS
    assert look(engine).get_storage("t") == COLUMNAR
    parts = rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1")
    assert parts == [(f"t_1_prt_m20260{month}", 5) for month in range(1, 5)]
    encodings = look(engine).get_multi_encodings()
    assert {k[1]: v for k, v in encodings.items() if v} == {
        name: {"c": Encoding(compresstype="zstd", compresslevel=9)}
        for name in ("t", "t_1_prt_rest", *(f"t_1_prt_m20260{month}" for month in range(1, 5)))
    }
    run(engine, SetEncodings(stale, {"i": Encoding(compresstype="rle_type")}))
    assert look(engine).get_partitions("t") == MONTHS
    assert look(engine).get_multi_encodings()[(None, "t_1_prt_m202603")] == {
        "c": Encoding(compresstype="zstd", compresslevel=9),
        "i": Encoding(compresstype="rle_type"),
    }
    assert count(engine, table) == 20


SCHEMES = [
    MONTHS,
    ALL,
    RangePartitions("i", (RangePartition("a b", None, 5), RangePartition("C", 5, None))),
    ListPartitions("c", (ListPartition("odd", ("0%", "it's", "back\\slash", None)),), default="rest"),
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rewrite_that_says_nothing_of_partitions_keeps_them(engine: Engine, scheme: Any) -> None:
    table = made(engine, greenplum_partition_by=scheme)
    before = rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1")
    run(engine, RewriteTable(bare()))
    assert look(engine).get_partitions("t") == scheme
    assert rows(engine, "SELECT tableoid::regclass::text, count(*) FROM t GROUP BY 1 ORDER BY 1") == before
    run(engine, RewriteTable(bare(greenplum_partition_by=scheme)))
    assert count(engine, table) == 20


def test_a_partitioning_is_changed_only_when_that_is_said(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL)
    with pytest.raises(DBAPIError, match="t is not partitioned by d in that way; say repartition=True"):
        run(engine, RewriteTable(bare(greenplum_partition_by=MONTHS)))
    run(engine, RewriteTable(bare(greenplum_partition_by=MONTHS), repartition=True))
    assert look(engine).get_partitions("t") == MONTHS
    assert count(engine, table) == 20


def test_partitions_of_partitions_keep_their_names_and_rows(engine: Engine) -> None:
    if has(engine).partition_catalog == "classic":
        statements = [
            "CREATE TABLE t (i int, c text, d date) DISTRIBUTED BY (i) PARTITION BY RANGE (d) SUBPARTITION BY LIST (c) "
            "SUBPARTITION TEMPLATE (SUBPARTITION x VALUES ('x'), DEFAULT SUBPARTITION o) "
            "(START (date '2026-01-01') END (date '2026-04-01') EVERY (interval '1 month'))",
            "ALTER TABLE t DROP PARTITION FOR (date '2026-02-02')",
        ]
    else:
        statements = [
            f"CREATE TABLE t (i int, c text, d date){by(engine, 'i')} PARTITION BY RANGE (d)",
            "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY LIST (c)",
            "CREATE TABLE elsewhere PARTITION OF t FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
            "CREATE TABLE t_1_x PARTITION OF t_1 FOR VALUES IN ('x')",
            "CREATE TABLE t_1_o PARTITION OF t_1 DEFAULT",
        ]
    run(
        engine,
        *statements,
        "INSERT INTO t VALUES (1, 'x', '2026-01-05'), (2, 'y', '2026-01-06'), (3, 'x', '2026-03-05')",
    )
    found = "SELECT tableoid::regclass::text, i FROM t ORDER BY i"
    tables = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    tables = tables.replace("'public'::regnamespace", "(SELECT oid FROM pg_namespace WHERE nspname = 'public')")
    before = rows(engine, found), rows(engine, tables)
    run(engine, RewriteTable(bare()))
    assert (rows(engine, found), rows(engine, tables)) == before
    if has(engine).partition_catalog == "classic":
        run(engine, "ALTER TABLE t ADD PARTITION START (date '2026-05-01') END (date '2026-06-01')")  # by the template
        assert len(rows(engine, tables)) == len(before[1]) + 3
    assert rows(engine, "SELECT count(*) FROM pg_class WHERE relname LIKE 'gpw_rw%'") == [(0,)]


# Storage.


@pytest.mark.segments
@pytest.mark.parametrize("scheme", [ALL, None])
@pytest.mark.parametrize("before", [None, MONTHS])
def test_a_new_partitioning_leaves_the_storage_and_the_encodings(engine: Engine, scheme: Any, before: Any) -> None:
    table = made(engine, greenplum_storage=COLUMNAR, greenplum_partition_by=before)
    encoding = Encoding(compresstype="zstd", compresslevel=7)
    run(engine, SetEncodings(bare(), {"c": encoding}))
    run(engine, RewriteTable(bare(greenplum_partition_by=scheme), repartition=True))
    assert look(engine).get_partitions("t") == scheme
    assert set(look(engine).get_multi_storage().values()) == {COLUMNAR}
    assert {tuple(e.items()) for e in look(engine).get_multi_encodings().values()} == {(("c", encoding),)}
    assert look(engine).get_distribution("t") == DistributedBy("i")
    assert count(engine, table) == 20


@pytest.mark.segments
def test_partitions_that_are_stored_apart_stay_so_or_are_refused(engine: Engine) -> None:
    run(
        engine,
        "CREATE TABLE t (i int, c text, d date) WITH (appendonly=true, orientation=row, compresstype=zlib) "
        "DISTRIBUTED BY (i) PARTITION BY RANGE (i) (PARTITION low START (0) END (10), PARTITION high START (10) END (20))",
        "CREATE TABLE new (LIKE t) WITH (appendonly=true, orientation=column, compresstype=zstd) DISTRIBUTED BY (i)",
        "ALTER TABLE t EXCHANGE PARTITION low WITH TABLE new",
        "INSERT INTO t SELECT g FROM generate_series(0, 19) g",
    )
    run(engine, RewriteTable(bare()))
    assert look(engine).get_multi_storage() | {} == {
        (None, "new"): AppendOptimized(compresstype="zlib"),
        (None, "t"): AppendOptimized(compresstype="zlib"),
        (None, "t_1_prt_high"): AppendOptimized(compresstype="zlib"),
        (None, "t_1_prt_low"): AppendOptimized(orientation="column", compresstype="zstd"),
    }
    again = bare(greenplum_partition_by=ALL)
    with pytest.raises(DBAPIError, match="how t_1_prt_low is stored, other than the table"):
        run(engine, RewriteTable(again, repartition=True))
    run(engine, RewriteTable(bare(greenplum_partition_by=ALL, greenplum_storage=COLUMNAR), repartition=True))
    assert look(engine).get_storage("t_1_prt_low") == COLUMNAR
    assert rows(engine, "SELECT count(*) FROM t") == [(20,)]


@pytest.mark.segments
def test_options_of_one_partition_are_refused_where_a_storage_is_said(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL, greenplum_storage=Heap())
    run(engine, "ALTER TABLE t_1_prt_low SET (fillfactor=50)")
    with pytest.raises(DBAPIError, match="the own options of t_1_prt_low"):
        run(engine, RewriteTable(bare(greenplum_storage=Heap()), repartition=True))
    run(engine, RewriteTable(bare()))
    assert rows(engine, "SELECT 'fillfactor=50' = ANY (reloptions) FROM pg_class WHERE relname = 't_1_prt_low'") == [
        (True,)
    ]
    assert count(engine, table) == 20


@pytest.mark.segments
def test_a_replicated_table_stays_replicated(engine: Engine) -> None:
    table = made(engine, greenplum_distributed_by=DistributedReplicated())
    run(engine, RewriteTable(bare(greenplum_storage=AppendOptimized())))
    assert look(engine).get_distribution("t") == DistributedReplicated()
    assert look(engine).get_storage("t") == AppendOptimized()
    assert count(engine, table) == 20


def test_a_tablespace_and_options_of_the_toast_table_are_carried_over(engine: Engine) -> None:
    if has(engine).distribution:
        pytest.skip("a tablespace needs a folder on every segment; PostgreSQL makes one in place")
    place = f"gpw_{engine.url.database}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = on")
        connection.exec_driver_sql(f"CREATE TABLESPACE {place} LOCATION ''")
    try:
        options = "WITH (fillfactor=50, toast.autovacuum_enabled=false)"
        run(engine, f"CREATE TABLE t (i int, c text) {options} TABLESPACE {place}", REPARTITION, RewriteTable(bare()))
        found = """SELECT c.relkind::text, s.spcname, c.reloptions::text, k.reloptions::text FROM pg_class c
            JOIN pg_tablespace s ON s.oid = c.reltablespace LEFT JOIN pg_class k ON k.oid = c.reltoastrelid
            WHERE c.relkind IN ('r', 'p') AND c.relname LIKE 't%' ORDER BY 1"""
        leaf = ("r", place, "{fillfactor=50}", "{autovacuum_enabled=false}")
        assert rows(engine, found) == [("p", place, None, None), leaf, leaf]
        run(engine, RewriteTable(bare(), repartition=True))
        assert rows(engine, found) == [leaf]
    finally:
        run(engine, "DROP TABLE t")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"DROP TABLESPACE {place}")


def test_a_schema_that_is_translated_is_rewritten_in(engine: Engine) -> None:
    run(engine, 'CREATE SCHEMA "Fab 1"')
    translated = engine.execution_options(schema_translate_map={"fab": "Fab 1"})
    columns = Column("i", Integer), Column("c", Text)
    table = Table("Big", MetaData(), *columns, schema="fab", greenplum_distributed_by=DistributedBy("i"))
    with translated.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"i": 1, "c": "a"}])
        connection.execute(RewriteTable(bare("Big", schema="fab", greenplum_partition_by=ALL), repartition=True))
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1
    assert look(engine).get_partitions("Big", "Fab 1") == ALL
    run(engine, 'DROP SCHEMA "Fab 1" CASCADE')


@pytest.mark.segments
def test_an_encoding_of_a_table_that_is_not_stored_by_column_is_refused(engine: Engine) -> None:
    made(engine, greenplum_storage=Heap())
    with pytest.raises(DBAPIError, match=r"not stored by column|only applicable to AOCO"):
        run(engine, SetEncodings(bare(), {"c": Encoding()}))


# Names.


@pytest.mark.parametrize("length", [1, 43, 47, 49, 58, 63])
@pytest.mark.parametrize("how", ["kept", "repartitioned"])
def test_partitions_have_their_names_after_a_rewrite_however_long_the_table_s_is(
    engine: Engine, length: int, how: str
) -> None:
    name, wanted = "x" * length, RangePartitions("d", MONTHS.partitions)
    if length > 50 and not has(engine).distribution:
        with pytest.raises(OptionError, match="more than the 63 bytes a server keeps"):
            RewriteTable(bare(name, greenplum_partition_by=wanted), repartition=True).compile(engine)
        return
    table = made(engine, name, greenplum_partition_by=wanted)
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'xxx%' ORDER BY 1"
    before = names(engine, name), rows(engine, tables)
    rewrite = RewriteTable(bare(name, greenplum_partition_by=wanted), repartition=how == "repartitioned")
    run(engine, rewrite, rewrite)
    assert names(engine, name) == before[0]
    if has(engine).access_methods:
        assert rows(engine, tables) == before[1]
    assert count(engine, table) == 20
    if length < 50 or not has(engine).access_methods:
        run(engine, DropPartition(bare(name), "m202602"))
        assert names(engine, name) == ["m202601", "m202603", "m202604"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_percent_sign_in_a_name_is_one(engine: Engine, offline: bool) -> None:
    name = 'pc%t "q" it\'s \\'
    table = Table(
        name, MetaData(), Column("id%x", Integer), Column("c", Text), greenplum_distributed_by=DistributedBy("id%x")
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"id%x": 1, "c": "a%b"}])
    wanted = ListPartitions("c", (ListPartition("p%1", ("a%b", "c'd")),))
    statements: list[Any] = [
        RewriteTable(bare(name, greenplum_partition_by=wanted), repartition=True),
        RewriteTable(bare(name)),
    ]
    if has(engine).append_optimized:
        statements += [
            SetStorage(bare(name), COLUMNAR, encodings={"id%x": Encoding(compresstype="zstd")}),
            SetEncodings(bare(name), {"id%x": Encoding(compresstype="rle_type")}),
            SetDistribution(bare(name), DistributedRandomly()),
        ]
    for statement in statements:
        if not offline:
            run(engine, statement)
            continue
        written = statement.compile(dialect=GreenplumDialect(server=_called(engine), paramstyle="named"))
        raw = engine.raw_connection()
        try:
            raw.cursor().execute(str(written))
            raw.commit()
        finally:
            raw.close()
    assert look(engine).get_partitions(name) == wanted
    assert count(engine, table) == 1
    if has(engine).append_optimized:
        assert look(engine).get_encodings(name) == {"id%x": Encoding(compresstype="rle_type")}


def _called(engine: Engine) -> str:
    capabilities = has(engine)
    if not capabilities.distribution:
        return "postgresql"
    return "greenplum7" if capabilities.access_methods else "greenplum6"


def test_a_rewrite_is_one_statement_done_or_not_outside_a_transaction_too(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL)
    too_few = RangePartitions("i", (RangePartition("low", 0, 10),))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with pytest.raises(DBAPIError):
            connection.execute(RewriteTable(bare(greenplum_partition_by=too_few), repartition=True))
        connection.execute(RewriteTable(bare()))
    assert look(engine).get_partitions("t") == ALL
    assert count(engine, table) == 20


# Distribution.


@pytest.mark.segments
@pytest.mark.parametrize("storage", [Heap(), COLUMNAR])
@pytest.mark.parametrize("scheme", [MONTHS, None])
def test_rows_of_a_partitioned_table_are_spread_randomly(engine: Engine, storage: Any, scheme: Any) -> None:
    table = made(engine, greenplum_partition_by=scheme, greenplum_storage=storage)
    run(engine, SetDistribution(table, DistributedRandomly()))
    assert look(engine).get_distribution("t") == DistributedRandomly()
    assert count(engine, table) == 20
    run(engine, SetDistribution(table, DistributedBy("d", "i")))
    assert look(engine).get_distribution("t") == DistributedBy("d", "i")
