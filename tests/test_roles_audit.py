"""Who may what is told as the server has it; a service gets a new login without a moment in which neither works."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from gpwarehouse import Warehouse
from gpwarehouse.cli import app
from gpwarehouse.errors import RoleError
from gpwarehouse.roles import Access, Audit
from tests.roles import LOGINS, NAMES, fab_with_roles
from tests.service.processes import make_keys, service_process

PASSWORD = "secret-of-the-test"
SECOND = f"{LOGINS['reader']}_b"
STRANGER = f"{NAMES['reader']}_stranger"


@pytest.fixture
def fab(wh: Warehouse) -> Iterator[Warehouse]:
    with fab_with_roles(wh) as made:
        made.schema.roles.apply()
        try:
            yield made
        finally:
            with made.engine.begin() as connection:
                for name in (SECOND, STRANGER):
                    if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).first():
                        connection.execute(text(f"DROP OWNED BY {name}"))
                        connection.execute(text(f"DROP ROLE {name}"))


def run(fab: Warehouse, *statements: str) -> None:
    with fab.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def ours(found: Audit) -> list[tuple[str, str, str]]:
    return [(one.name, one.may, one.through) for one in found.access if one.name.startswith(tuple(NAMES.values()))]


def test_logins_are_told_with_what_they_may_and_nothing_differs(fab: Warehouse) -> None:
    for kind in ("reader", "loader", "admin"):
        fab.schema.roles.add_login(LOGINS[kind], kind, password=PASSWORD)  # type: ignore[arg-type]
    run(fab, f"ALTER ROLE {LOGINS['loader']} VALID UNTIL '2030-01-01 00:00:00+00'")
    found = fab.schema.roles.audit()
    assert set(ours(found)) == {
        (LOGINS["reader"], "read", NAMES["reader"]),
        (LOGINS["loader"], "write", NAMES["loader"]),
        (LOGINS["admin"], "change", NAMES["admin"]),
    }
    assert found.differences == ()
    (loader,) = [one for one in found.access if one.name == LOGINS["loader"]]
    assert loader.can_login
    assert loader.expires is not None
    assert loader.expires.year in (2029, 2030)
    assert any(one.may == "everything" for one in found.access), "a superuser may everything"


def test_what_differs_is_told_with_the_statement_that_ends_it(fab: Warehouse) -> None:
    fab.schema.roles.add_login(LOGINS["reader"], "reader", password=PASSWORD)
    run(
        fab,
        f"CREATE ROLE {STRANGER} LOGIN",
        f"GRANT SELECT, DELETE ON dw.dim_lot TO {STRANGER}",
        f"GRANT INSERT ON dw.dim_lot TO {NAMES['reader']}",
        f"GRANT {NAMES['loader']} TO {LOGINS['reader']} WITH ADMIN OPTION",
        f"ALTER ROLE {LOGINS['reader']} CREATEDB",
    )
    found = fab.schema.roles.audit()
    assert Access(STRANGER, "single rights", "dim_lot", True, None) in found.access
    told = {(one.object, one.expected): one.found for one in found.differences}
    assert told["dim_lot", f"{STRANGER} may nothing by a grant of its own"] == "DELETE, SELECT"
    assert told["dim_lot", f"{NAMES['reader']} may not INSERT"] == "may"
    assert told[f"role {LOGINS['reader']}", f"lets nobody into {NAMES['loader']}"] == "may"
    assert told[f"role {LOGINS['reader']}", "NOCREATEDB"] == "CREATEDB"
    run(fab, *(one.statement for one in found.differences))
    assert fab.schema.roles.audit().differences == ()


def test_the_command_ends_with_1_where_something_differs(fab: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPWAREHOUSE_URL", fab.settings.sqlalchemy_url().render_as_string(hide_password=False))
    for kind, name in NAMES.items():
        monkeypatch.setenv(f"GPWAREHOUSE_ROLE_{kind.upper()}", name)
    right = CliRunner().invoke(app, ["roles", "audit"])
    assert (right.exit_code, "nothing differs" in right.output) == (0, True)
    run(fab, "GRANT SELECT ON dw.dim_lot TO PUBLIC")
    wrong = CliRunner().invoke(app, ["roles", "audit", "--json"])
    assert wrong.exit_code == 1
    (difference,) = json.loads(wrong.output)["differences"]
    assert (difference["object"], difference["expected"]) == ("dim_lot", "PUBLIC may not SELECT")
    fab.schema.roles.add_login(SECOND, "reader", password=PASSWORD)
    assert CliRunner().invoke(app, ["roles", "remove-login", SECOND]).exit_code == 0


def test_a_login_is_not_removed_while_it_is_used_or_needed(fab: Warehouse) -> None:
    roles = fab.schema.roles
    roles.add_login(SECOND, "reader", password=PASSWORD)
    url = fab.settings.sqlalchemy_url().set(username=SECOND, password=PASSWORD)
    with Warehouse(url) as other:
        assert int(other.read("SELECT 1 AS n").n[0]) == 1
        with pytest.raises(RoleError, match="has 1 open sessions"):
            roles.remove_login(SECOND)
    with pytest.raises(RoleError, match="stays"):
        roles.remove_login(NAMES["reader"])
    with pytest.raises(RoleError, match="there is no login 'nobody'"):
        roles.remove_login("nobody")


def test_a_service_changes_its_login_without_a_gap(fab: Warehouse, tmp_path: Path) -> None:
    """The steps of docs/how-to/roles.md: a second login, a second service, callers move, the first one goes."""
    failures: list[str] = []
    answered = {"old": 0, "new": 0}
    with service_process(fab, tmp_path / "old") as old:
        current = ["old"]
        stop, moved = threading.Event(), threading.Event()
        clients = {"old": old.client()}

        def call() -> None:
            while not stop.is_set():
                name = current[0]
                answer = clients[name].post("/query", json={"sql": "SELECT 1"})
                answered[name] += answer.status_code == 200
                if answer.status_code != 200:
                    failures.append(f"{name}: {answer.text}")
                if name == "new":
                    moved.set()

        caller = threading.Thread(target=call)
        caller.start()
        fab.schema.roles.add_login(SECOND, "reader", password=PASSWORD)
        login = fab.settings.sqlalchemy_url().set(username=SECOND, password=PASSWORD)
        logins = {"service_reader_url": login.render_as_string(hide_password=False)}
        with service_process(fab, tmp_path / "new", logins=logins) as new:
            make_keys(tmp_path / "new", 0)
            clients["new"] = new.client()
            current[0] = "new"
            assert moved.wait(60)
            assert old.end() == 0
            fab.schema.roles.remove_login(LOGINS["reader"])
            before = answered["new"]
            while answered["new"] < before + 3 and not failures:
                stop.wait(0.01)
            stop.set()
            caller.join()
    assert failures == []
    assert answered["old"] > 0
    assert ours(fab.schema.roles.audit()).count((SECOND, "read", NAMES["reader"])) == 1
