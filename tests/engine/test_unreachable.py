"""A database or a role that is not there: every way to it says how to make it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import URL, make_url, text

from gpwarehouse import Warehouse
from gpwarehouse.engine.unreachable import way_in
from tests.conftest import database

NAME = "no such 'fab' of ours"

WAYS: dict[str, Callable[[Warehouse], object]] = {
    "read": lambda wh: wh.read("SELECT 1"),
    "load": lambda wh: wh.load("fact_test_results", [{"lot_id": "L"}]),
    "session": lambda wh: wh.session().__enter__(),
    "run": lambda wh: wh.run(lambda session: session.execute(text("SELECT 1"))),
    "upgrade": lambda wh: wh.upgrade(),
    "status": lambda wh: wh.status(),
    "engine": lambda wh: wh.engine.connect(),
    "validate": lambda wh: wh.schema.validate(),
    "check": lambda wh: wh.data.check(),
    "roles": lambda wh: wh.schema.roles.plan(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_database_says_how_to_make_it(server_url: URL, way: str) -> None:
    with Warehouse(server_url.set(database=NAME)) as wh, pytest.raises(Exception, match="does not exist") as caught:
        WAYS[way](wh)
    assert f"-T template0 -E UTF8 {shlex.quote(NAME)}" in str(caught.value)
    assert f'CREATE DATABASE "{NAME}" TEMPLATE' in str(caught.value)


def test_what_is_said_makes_it(server_url: URL) -> None:
    """The statement, run as it stands."""
    with database(server_url) as url:
        name = f"{url.database}_made"
        said = way_in(f'FATAL:  database "{name}" does not exist', server_url)
        statement = said.partition("another database: ")[2].partition(")")[0]
        connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            with Warehouse(url.set(database=name)) as wh:
                assert wh.read("SELECT current_setting('server_encoding') AS x").x.tolist() == ["UTF8"]
            cursor.execute(f"DROP DATABASE {name}")
        connection.close()


def test_the_command_is_for_the_same_server_and_has_no_password() -> None:
    missing = 'FATAL:  database "fab" does not exist'
    for url, command in {
        "postgresql://etl:s3cret@cdw:6000/fab": "createdb -h cdw -p 6000 -U etl -T template0 -E UTF8 fab",
        "postgresql://etl@/fab?host=/var/run/a b": "createdb -h '/var/run/a b' -U etl -T template0 -E UTF8 fab",
        "postgresql://etl@/fab?host=a:1&host=b:2": "createdb -h a -U etl -T template0 -E UTF8 fab",
    }.items():
        said = way_in(missing, make_url(url))
        assert f"Make it: {command} (or" in said
        assert "s3cret" not in said


def test_a_missing_role_says_how_to_make_it(server_url: URL) -> None:
    said = way_in('FATAL:  role "E tl" does not exist', server_url)
    assert "CREATE ROLE \"E tl\" LOGIN PASSWORD '…'" in said


def test_the_command_line_says_it_too(server_url: URL, tmp_path: Path) -> None:
    from tests.command_line import run

    url = server_url.set(database="no_such_fab", drivername="postgresql").render_as_string(hide_password=False)
    done = run("--url", url, "upgrade", cwd=tmp_path)
    assert done.returncode == 1
    assert "Make it: createdb" in done.stderr
    assert "Traceback" not in done.stderr
