"""SQL files: cut into the statements that stand there, whatever is in them, and read for what they drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import DropPartition, GreenplumDialect, TruncatePartition
from gpwarehouse.errors import MigrationError
from gpwarehouse.migrate.scripts import revision_checksum
from gpwarehouse.migrate.sql_files import statements_of
from gpwarehouse.migrate.sql_text import assigned, drops, hides_drops, rewrites, split
from tests.tree import GOLDEN

TEXT = st.text(alphabet="ab;'\"$\\-/*() \n%:é", max_size=12)


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def dollars(value: str, tag: str) -> str:
    return f"${tag}${value}${tag}$"


PIECES = st.one_of(
    TEXT.map(quoted),
    TEXT.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    TEXT.map(lambda text: '"' + text.replace('"', '""') + '"'),
    TEXT.map(lambda text: text.replace("$", "")).map(lambda text: dollars(text, "tag")),
    TEXT.map(lambda text: text.replace("$", "")).map(lambda text: dollars(text, "")),
    TEXT.map(lambda text: f"-- {text.replace(chr(10), ' ')}\n"),
    TEXT.map(lambda text: "/* " + text.replace("*", "").replace("/", "") + " /* inner; */ */"),
    st.sampled_from(["(a; b)", "a_$1", "1.5e3", "x::text", ":name", "é", "e", "a - -1", "5 % 2", "$1"]),
)
STATEMENTS = st.lists(PIECES, min_size=1, max_size=5).map(lambda pieces: "SELECT " + " ".join(pieces))


@given(st.lists(STATEMENTS, max_size=5))
def test_statements_come_out_as_they_went_in(statements: list[str]) -> None:
    text = " ;\n".join(statements) + " ;"
    assert [statement.text for statement in split(text)] == [statement.strip() for statement in statements]


@given(st.text(alphabet="ab;'\"$\\-/*() \nE", max_size=30))
def test_any_text_is_cut_or_refused_and_nothing_of_it_is_lost(text: str) -> None:
    try:
        found = split(text)
    except MigrationError:
        return  # what it says is the matter of another test
    rest = text
    for statement in found:
        _, mark, rest = rest.partition(statement.text)
        assert mark


def test_bodies_of_functions_and_rules_stay_whole() -> None:
    function = (
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC\n"
        "SELECT CASE WHEN a > 1 THEN 1 ELSE 2 END; SELECT 2; END"
    )
    old = "CREATE FUNCTION g() RETURNS void AS 'SELECT 1; SELECT 2' LANGUAGE sql"
    rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); INSERT INTO b VALUES (2))"
    assert [one.text for one in split(f"{function};{old};\n{rule};SELECT 1")] == [function, old, rule, "SELECT 1"]


def test_lines_are_counted_and_what_is_no_statement_is_left_out() -> None:
    found = split("-- a header\n\nSELECT 1;\n;;\n/* nothing */;\nSELECT\n2; -- the end")
    assert [(one.text, one.line) for one in found] == [("-- a header\n\nSELECT 1", 3), ("SELECT\n2", 6)]


@pytest.mark.parametrize("text", ["'a", '"a', "$$ a", "$x$ a $$", "/* a /* b */", "E'\\'"])
def test_what_is_not_closed_is_told_with_its_line(text: str) -> None:
    with pytest.raises(MigrationError, match=r"notes\.sql, line 2: .* is never closed"):
        split(f"SELECT 1;\n{text};", "notes.sql")


def test_the_golden_file_is_cut_into_what_alembic_wrote() -> None:
    whole = (GOLDEN / "postgresql.downgrade.sql").read_text()
    assert len(split(whole)) == whole.count(";\n")


def test_the_server_sees_the_same_statements(empty_engine: Engine) -> None:
    """Each piece runs alone, so it was cut where the server would cut."""
    texts = [
        "SELECT ';', E'\\';', $a$;$b$;$a$, \"x;\" FROM (SELECT 1 AS \"x;\") t -- ;\n",
        "SELECT /* ; /* ; */ ; */ 1",
        "DO $body$ BEGIN PERFORM 1; PERFORM 2; END $body$",
        "SELECT 1 % 2, 'a%b', ':c', '5'::int",
    ]
    found = split(";".join(texts))
    assert len(found) == len(texts)
    with empty_engine.connect() as connection:
        for statement in found:
            connection.exec_driver_sql(statement.text, execution_options={"no_parameters": True})


def test_drops_are_read_from_statements_not_from_texts() -> None:
    sql = """
    DROP TABLE IF EXISTS dw.a, "My Schema"."B ""b" CASCADE; drop view v; DROP MATERIALIZED VIEW m;
    ALTER TABLE ONLY dw.a ALTER COLUMN x DROP DEFAULT, DROP COLUMN IF EXISTS y CASCADE, ADD z numeric(1,2), DROP "Q";
    ALTER TABLE dw.a DROP CONSTRAINT c; ALTER TABLE dw.f DROP PARTITION m202601, DROP PARTITION FOR ('2026-01-01');
    TRUNCATE TABLE ONLY dw.t, dw.u; DROP SCHEMA s CASCADE; SELECT 'DROP TABLE no'; -- DROP TABLE no
    DO $$ BEGIN DROP TABLE no; END $$; DROP EXTERNAL TABLE dw.e; DROP INDEX CONCURRENTLY i
    """
    assert [str(drop) for drop in drops(sql)] == [
        "table dw.a", 'table My Schema.B "b', "view v", "materialized view m", "column y of dw.a", "column Q of dw.a",
        "partition m202601 of dw.f", "partition dw.f", "table dw.t", "table dw.u", "schema s", "external table dw.e",
        "index i",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "hidden"),
    [
        ("DROP OWNED BY x", True),
        ("drop /* all */ owned by x", True),
        ("CALL p()", True),
        ("EXECUTE x", True),
        ("SELECT 1; CALL p()", True),
        ("-- so\nDO $$ BEGIN DROP TABLE a; END $$", True),
        ("DO LANGUAGE plpgsql $$ BEGIN EXECUTE x; END $$", True),
        ("DROP TYPE t CASCADE", True),
        ("ALTER TABLE dw.a ALTER PARTITION m1 DROP PARTITION x", True),
        ("ALTER TABLE dw.a ALTER PARTITION FOR ('x') ALTER PARTITION b TRUNCATE DEFAULT PARTITION", True),
        ("ALTER TABLE dw.a ALTER PARTITION m1 ADD PARTITION x", False),
        ("ALTER TABLE dw.a DROP PARTITION m1", False),
        ("DO $gpw$ BEGIN DROP TABLE a; END $gpw$", False),
        ("DROP TYPE t", False),
        ("CREATE TRIGGER t AFTER INSERT ON a EXECUTE PROCEDURE f()", False),
        ("SELECT 'CALL p()'; COMMENT ON TABLE a IS 'DROP OWNED BY x'", False),
    ],
)
def test_what_may_drop_without_a_name_is_told(sql: str, hidden: bool) -> None:
    assert hides_drops(sql) is hidden


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("UPDATE dw.a SET b = 1 WHERE {batch} AND c = 2", {"b"}),
        (
            'update only "dw"."a" * as x set "B" = f(1, c), d = x.e IS DISTINCT FROM g, h[1] = ARRAY[1, 2], i = 3',
            {"B", "d", "h", "i"},
        ),
        (
            "UPDATE dw.a SET (b, c) = (SELECT d, e FROM f), g = CASE WHEN h THEN 1 ELSE 2 END, i = 1",
            {"b", "c", "g", "i"},
        ),
        ("UPDATE a SET b = 1 FROM c, d WHERE e RETURNING f, g", {"b"}),
        ("WITH x AS (UPDATE a SET b = 1, c = 2 RETURNING d, e), y AS (SELECT 1) SELECT f, g", {"b", "c"}),
        ("UPDATE other SET b = 1 FROM a", set()),
        ("SELECT 'UPDATE a SET b = 1' FROM a FOR UPDATE", set()),
        ("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1, d = 2", {"c", "d"}),
        ("DELETE FROM a WHERE {batch}", set()),
    ],
)
def test_what_an_update_sets_is_read(sql: str, columns: set[str]) -> None:
    assert assigned(sql, "a") == columns


@pytest.mark.parametrize("server", ["postgresql", "greenplum6", "greenplum7"])
@pytest.mark.parametrize("element", [DropPartition, TruncatePartition])
def test_what_the_dialects_statements_about_partitions_drop_is_seen(server: str, element: Any) -> None:
    table = Table("t", MetaData(), schema="Fab 1")
    sql = str(element(table, "m1").compile(dialect=GreenplumDialect(server=server)))
    (drop,) = drops(sql)
    assert drop.schema == "Fab 1"
    assert (drop.name if drop.part is None else f"{drop.name}_1_prt_{drop.part}") == "t_1_prt_m1"


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("ALTER TABLE dw.a SET DISTRIBUTED BY (b)", "moves all rows between segments"),
        ("ALTER TABLE dw.a SET WITH (reorganize=true) DISTRIBUTED BY (b)", "moves all rows between segments"),
        ("ALTER TABLE dw.a SET ACCESS METHOD heap", "writes the table anew"),
        ("ALTER TABLE dw.a ALTER COLUMN b TYPE text", "writes the table anew, unless the types are alike"),
        ("ALTER TABLE dw.a ADD COLUMN b int DEFAULT 1", "writes the table anew on Greenplum 6"),
        ("UPDATE dw.a SET b = 1", "changes rows"),
        ("DO $rewrite$ BEGIN PERFORM 1; END $rewrite$", "writes the table anew, by a copy"),
        ("ALTER TABLE dw.a ADD COLUMN b int", None),
        ("COMMENT ON TABLE dw.a IS 'UPDATE all'", None),
        ("CREATE TABLE dw.a (b int DEFAULT 1)", None),
    ],
)
def test_rewrites_are_told(sql: str, what: str | None) -> None:
    assert rewrites(sql) == what


# SQL files of a revision


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "0009_x.py"
    path.with_suffix("").mkdir()
    return path


def test_a_file_for_the_server_comes_before_the_one_for_all(script: Path) -> None:
    folder = script.with_suffix("")
    (folder / "up.sql").write_text("SELECT 1 FROM {schema}.a; SELECT '{}' -- {x}")
    (folder / "up.greenplum6.sql").write_text("SELECT 6")
    assert statements_of(str(script), "up", "greenplum6", "dw") == ["SELECT 6"]
    assert statements_of(str(script), "up", "greenplum7", '"D w"') == ['SELECT 1 FROM "D w".a', "SELECT '{}' -- {x}"]
    with pytest.raises(MigrationError, match=r"down\.sql: there is no such file, nor down\.postgresql\.sql"):
        statements_of(str(script), "down", "postgresql", "dw")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("COMMIT", "COMMIT is not for a revision's file"),
        ("-- so\nBEGIN", "BEGIN is not for"),
        ("start transaction", "START TRANSACTION is not for"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION is not for"),
        ("COPY dw.a FROM STDIN", "COPY FROM STDIN works in psql alone"),
        ("\\i other.sql", "begin with a backslash are psql's own"),
        ("SET ROLE bob", "SET ROLE would hold for the revisions after"),
        ("-- so\nset search_path to bob", "set search_path would hold"),
        ("SET SESSION AUTHORIZATION bob", "SET SESSION would hold"),
        ("RESET ALL", "RESET would hold"),
        ("DISCARD ALL", "DISCARD would hold"),
        ("SELECT pg_catalog.set_config('search_path', '', false)", "set_config would hold"),
    ],
)
def test_what_cannot_run_in_a_revision_is_refused_with_its_line(script: Path, line: str, told: str) -> None:
    (script.with_suffix("") / "up.sql").write_text(f"SELECT 1;\n\n{line};\nSELECT 2")
    with pytest.raises(MigrationError, match=rf"up\.sql, line [34]: .*{told}"):
        statements_of(str(script), "up", "postgresql", "dw")


def test_a_savepoint_and_texts_with_backslashes_are_allowed(script: Path) -> None:
    sql = "SAVEPOINT a;\nROLLBACK TO a;\nSELECT '\n\\d', $x$\n\\i$x$;\nCOPY dw.a FROM '/data/a.csv'"
    (script.with_suffix("") / "up.sql").write_text(sql)
    assert len(statements_of(str(script), "up", "postgresql", "dw")) == 4


def test_settings_of_the_transaction_alone_are_allowed(script: Path) -> None:
    sql = "SET LOCAL ROLE bob;\nSET CONSTRAINTS ALL DEFERRED;\nSELECT set_config('search_path', 'x', true);\nUPDATE a SET b = 1"
    (script.with_suffix("") / "up.sql").write_text(sql)
    assert len(statements_of(str(script), "up", "postgresql", "dw")) == 4


def test_a_byte_order_mark_is_no_statement_and_no_edit(script: Path) -> None:
    script.write_text("a")
    path = script.with_suffix("") / "up.sql"
    path.write_bytes("SELECT 'é'".encode())
    plain = revision_checksum(script)
    path.write_bytes("SELECT 'é'".encode("utf-8-sig"))
    assert statements_of(str(script), "up", "postgresql", "dw") == ["SELECT 'é'"]
    assert revision_checksum(script) == plain


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("SELECT 1;\r\nSELECT 'é'".encode("latin-1"), r"line 2, byte 9 of it \(0xe9\)"),
        ("SELECT 1".encode("utf-16"), r"line 1, byte 1 of it \(0xff\)"),
    ],
)
def test_a_file_that_is_no_utf_8_is_told_with_line_and_byte(script: Path, raw: bytes, where: str) -> None:
    script.write_text("a")
    (script.with_suffix("") / "up.sql").write_bytes(raw)
    assert len(revision_checksum(script)) == 64
    with pytest.raises(MigrationError, match=rf"up\.sql, {where}: not UTF-8; save the file as UTF-8"):
        statements_of(str(script), "up", "postgresql", "dw")
