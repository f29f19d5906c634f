"""Rewrites by a copy: what they carry over, and what they refuse before they begin."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gpwarehouse.dialect import (
    Heap,
    RangePartition,
    RangePartitions,
    RewriteTable,
    SetStorage,
)
from tests.dialect.rewriting import (
    ALL,
    COLUMNAR,
    MONTHS,
    REPARTITION,
    bare,
    by,
    count,
    has,
    look,
    made,
    rows,
    run,
)


@pytest.fixture(autouse=True)
def _no_tables_of_other_tests(engine: Engine) -> None:
    run(engine, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


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


def comments(engine: Engine) -> dict[str, str]:
    query = (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.relname LIKE 't_1%' ORDER BY 1"
    )
    return {name: said for name, said in rows(engine, query) if said is not None}


@pytest.mark.parametrize("repartition", [False, True])
def test_partitions_keep_their_comments(engine: Engine, repartition: bool) -> None:
    """Holds of months, and that they were restored, stand there."""
    table = made(engine, greenplum_partition_by=ALL)
    said = "gpwarehouse: held until 2026-12-15T08:00:00+00:00: 100% of tester 7's\nback\\slash"
    run(
        engine,
        "COMMENT ON TABLE t IS 'root'",
        f"COMMENT ON TABLE t_1_prt_low IS '{said.replace(chr(39), chr(39) * 2)}'",
    )
    more = RangePartitions("i", (*ALL.partitions, RangePartition("more", 1000, 2000)))
    rewrite = RewriteTable(bare(greenplum_partition_by=more if repartition else ALL), repartition=repartition)
    run(engine, rewrite, rewrite)
    assert comments(engine) == {"t_1_prt_low": said}
    assert rows(engine, "SELECT obj_description('t'::regclass, 'pg_class')") == [("root",)]
    assert count(engine, table) == 20


def test_a_comment_goes_with_the_bounds_and_not_with_the_name(engine: Engine) -> None:
    made(engine, greenplum_partition_by=ALL)
    run(engine, "COMMENT ON TABLE t_1_prt_low IS 'to 10'", "COMMENT ON TABLE t_1_prt_high IS 'from 10'")
    other = RangePartitions("i", (RangePartition("high", 0, 10), RangePartition("low", 10, 1000)))
    run(engine, RewriteTable(bare(greenplum_partition_by=other), repartition=True))
    assert comments(engine) == {"t_1_prt_high": "to 10", "t_1_prt_low": "from 10"}


def test_a_comment_of_bounds_that_are_no_more_is_not_lost_in_silence(engine: Engine) -> None:
    table = made(engine, greenplum_partition_by=ALL)
    run(engine, "COMMENT ON TABLE t_1_prt_high IS 'mine'")
    other = RangePartitions("i", (RangePartition("low", 0, 10), RangePartition("high", 10, 2000)))
    for scheme in (other, None):
        with pytest.raises(
            DBAPIError, match="would lose: the comment of t_1_prt_high, as no new partition has its bounds"
        ):
            run(engine, RewriteTable(bare(greenplum_partition_by=scheme), repartition=True))
    assert (comments(engine), count(engine, table)) == ({"t_1_prt_high": "mine"}, 20)


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
    "grant": (["GRANT SELECT ON t_1_prt_low TO PUBLIC"], "the own grants or owner of t_1_prt_low"),
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
