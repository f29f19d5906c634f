"""SQL is cut into tokens as the server cuts it, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from gpwarehouse.engine.sql_lexer import first_word, first_words, meaningful_tokens, sql_tokens
from gpwarehouse.read.whole_table import whole_table

PIECES = st.sampled_from(
    [
        "'",
        "''",
        "\\",
        '"',
        "$",
        "$$",
        "$t$",
        "--",
        "/*",
        "*/",
        "\n",
        "\r",
        " ",
        "E'",
        'U&"',
        "x",
        "é",
        "1",
        ".5e",
        "-",
        ";",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_cutting_and_joining_loses_nothing(sql: str) -> None:
    tokens = list(sql_tokens(sql))
    assert "".join(token.text for token in tokens) == sql
    assert all(sql.startswith(token.text, token.start) and token.text for token in tokens)
    assert all(token.closed for token in tokens[:-1])


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("SELECT a$b$c, $1", "word space word other space word"),
        ("E'a\\'' 'b\\''", "string"),
        ("E'a'\n-- so\n'b\\'c' d", "string space word"),
        ("'a\\' b", "string space word"),
        ("$$a$b$$ $é1$ $$ $é1$", "string space string"),
        ('/* /* */ \' */U&"a""b"', "comment name"),
        ("-- '\r\n1e-5", "comment space number"),
        ("a.b::int[1:2]", "word other word other other word other number other number other"),
        ("\\i x", "other word space word"),
    ],
)
def test_tokens_are_postgresqls(sql: str, kinds: str) -> None:
    assert [token.kind for token in sql_tokens(sql)] == kinds.split()


@pytest.mark.parametrize("sql", ["'a''", "E'a\\'", "E'a'\n'b\\'c", "$t$ $$", '"a""', "/* /* */", "U&'a"])
def test_what_is_not_closed_goes_on_to_the_end(sql: str) -> None:
    (token,) = sql_tokens(sql)
    assert not token.closed


def test_the_server_cuts_strings_in_the_same_places(empty_engine: Engine) -> None:
    """The server's own value of each literal is that of a literal, so it begins and ends there."""
    literals = ["'a\\'", "E'a\\''\n'\\''", "$x$'$$ $x$", "U&'\\0061'", "'a''b'", "e'\\\\'"]
    assert [len(list(meaningful_tokens(literal))) for literal in literals] == [1] * len(literals)
    with empty_engine.connect() as connection:
        options = {"no_parameters": True}
        row = connection.exec_driver_sql(f"SELECT {', '.join(literals)}", execution_options=options).one()
    assert tuple(row) == ("a\\", "a''", "'$$ ", "a", "a'b", "\\")


def test_first_words_are_those_of_the_statements() -> None:
    assert first_word("-- a\n /* b */ ((select 1)") == "SELECT"
    assert first_word("'select'") == ""
    assert first_words("select 1; ; -- x\n'a' with; $1") == ["SELECT", "WITH", "$1"]


@pytest.mark.parametrize(
    ("sql", "name", "named"),
    [
        ("TABLE dw.a", "dw.a", False),
        ("/* all */ select * from A -- of it", "A", False),
        ('SELECT t.a, b, s.t.c FROM "My s"."t ""x" ', '"My s"."t ""x"', True),
    ],
)
def test_a_query_of_a_whole_table_is_recognised(sql: str, name: str, named: bool) -> None:
    found = whole_table(sql)
    assert found is not None
    assert (found.name, found.named) == (name, named)
    assert found.query == ("SELECT * FROM dw.a" if sql.startswith("TABLE") else sql)


@pytest.mark.parametrize(
    "sql",
    ["", "TABLE", "SELECT 1", "SELECT 'a' FROM t", "SELECT a b FROM t", "SELECT * FROM t, u", "SELECT * FROM t x",
     "SELECT * FROM f()", "SELECT *, a FROM t", "SELECT * FROM t; SELECT 1", "SELECT * FROM U&\"t\"", "WITH t FROM t"],
)  # fmt: skip
def test_other_queries_are_not(sql: str) -> None:
    assert whole_table(sql) is None
