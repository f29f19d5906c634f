"""A migrator killed at any statement: the next run ends at head, with the catalog of one that was never killed.

Statements are counted over all connections of the run, COMMITs among them. Here some are tried: the first, the last,
every COMMIT and a seeded choice of the others; all of them with GPWAREHOUSE_TEST_EVERY_KILL=1, or a choice of so many a
direction with a greater number. With all of them, a kill that leaves the database exactly as another one did is not followed
by a run of its own: what the next run makes of that has been seen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, inspect, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import MigrationError, WarehouseConnectionError
from tests.catalog import catalog
from tests.conftest import database
from tests.embedded_servers import place_for_data
from tests.migrate.kills import ENDS_WITHIN_S, HOW_MANY, chosen, counted, die_after, text_of
from tests.migrate.site import write_site
from tests.processes import PROCESS


def run(url: str, folder: str, direction: str) -> None:
    with Warehouse(url, migrations=folder) as wh:
        if direction == "up":
            wh.upgrade()
        else:
            wh.downgrade("base", drop_data=True)


def run_and_die(url: str, folder: str, direction: str, k: int) -> None:
    """In a process of its own: killed right after statement ``k``."""
    die_after(k, lambda: run(url, folder, direction))


def statements(url: str, folder: str, direction: str) -> list[str]:
    found: list[str] = []
    with counted(found.append):
        run(url, folder, direction)
    return found


def state(wh: Warehouse) -> dict[str, Any]:
    """All that the migrations make: catalogs, partitions, reserved members, the version, the rows of a change."""
    queries = {
        "version": "SELECT version_num FROM dw.alembic_version",
        "members": "SELECT lot_key, lot_id, is_current FROM dw.dim_lot ORDER BY 1",
        "notes": "SELECT note_key, body, done, extra FROM site.note ORDER BY 1",
        "unfinished": "SELECT revision FROM dw.etl_migration_history WHERE direction LIKE '% batch'",
    }
    found: dict[str, Any] = {schema: catalog(wh.engine, schema) for schema in ("dw", "site")}
    with wh.engine.connect() as connection:
        found |= {name: connection.execute(text(query)).all() for name, query in queries.items()}
        inspector: Any = inspect(connection)
        found["partitions"] = inspector.get_multi_partitions(schema="dw")
    return found


def left_behind(wh: Warehouse) -> str:
    """All that a killed run left, once the server has ended its session: catalogs of both schemas, versions, history."""
    found: dict[str, Any] = {}
    with wh.engine.connect() as connection:
        others = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        until = time.monotonic() + ENDS_WITHIN_S
        while connection.execute(others).scalar_one():
            connection.rollback()  # or it would see the same activity for ever
            assert time.monotonic() < until
        tables = inspect(connection)
        for table in ("dw.alembic_version", "dw.etl_migration_history", "site.note"):
            schema, _, name = table.partition(".")
            if tables.has_table(name, schema=schema):
                query = f"SELECT * FROM {table}"
                rows = connection.execute(text(query)).mappings()
                timeless = [{k: v for k, v in row.items() if not k.endswith("_at") and k != "seconds"} for row in rows]
                found[table] = sorted(map(repr, timeless))
    found |= {schema: catalog(wh.engine, schema) for schema in ("dw", "site")}
    return repr(found)


def emptied(url: URL) -> None:
    """The database as new: schemas are all that migrations make in it."""
    with Warehouse(url) as wh, wh.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS dw, site CASCADE"))


class Followed:
    """Follows a kill by a clean run to head, unless one that left the same was followed by one."""

    def __init__(self, folder: str, head: dict[str, Any]) -> None:
        self.folder = folder
        self.head = head
        self.seen: set[str] = set()

    def by_a_clean_run(self, url: URL, told: str) -> bool:
        """Whether it was; where it was not, the database is as the kill left it."""
        with Warehouse(url, migrations=self.folder) as wh:
            if HOW_MANY == 1:
                left = left_behind(wh)
                if left in self.seen:
                    return False
                self.seen.add(left)
            wh.upgrade()
            assert state(wh) == self.head, told
            assert wh.schema.validate(roles=False) == [], told
        return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fab's own revisions, with their view in their own schema, so that validate has nothing to tell."""
    made = write_site(tmp_path_factory.mktemp("kill") / "site")
    ours = 'schema=op.get_context().opts["gpwarehouse_schema"]'
    for path in (made / "s1_test" / "up.sql", made / "s1_test" / "down.sql", made / "s4_test.py"):
        path.write_text(path.read_text().replace("{schema}.v_note", "site.v_note").replace(ours, 'schema="site"'))
    return str(made)


@pytest.fixture(scope="module")
def reference(server_url: URL, folder: str) -> Iterator[tuple[dict[str, Any], list[str], list[str], str]]:
    """The state at head, the statements up and down, and a database at head to copy."""
    with database(server_url) as url:
        up = statements(text_of(url), folder, "up")
        down = statements(text_of(url), folder, "down")
        with Warehouse(url, migrations=folder) as wh:
            wh.upgrade()
            migrate.check(wh.settings)
            head = state(wh)
        assert url.database is not None
        yield head, up, down, url.database


def kill(url: URL, folder: str, direction: str, k: int) -> None:
    process = PROCESS.Process(target=run_and_die, args=(text_of(url), folder, direction, k))
    process.start()
    process.join(ENDS_WITHIN_S)
    assert process.exitcode == -signal.SIGKILL, f"k = {k}: exit code {process.exitcode}"


def test_a_migrator_killed_on_its_way_up_leaves_what_the_next_one_completes(
    server_url: URL, folder: str, reference: tuple[dict[str, Any], list[str], list[str], str]
) -> None:
    head, up, _, _ = reference
    killed = chosen(up)
    assert len(killed) >= 13
    follow = Followed(folder, head)
    with database(server_url) as url:
        for k in killed:
            kill(url, folder, "up", k)
            follow.by_a_clean_run(url, f"killed after statement {k}: {up[k - 1]}")
            emptied(url)


def test_a_migrator_killed_on_its_way_down_leaves_what_the_next_one_brings_back(
    server_url: URL, folder: str, reference: tuple[dict[str, Any], list[str], list[str], str]
) -> None:
    head, _, down, template = reference
    killed = chosen(down)
    assert len(killed) >= 13
    follow = Followed(folder, head)
    with database(server_url, template) as url:
        for k in killed:
            kill(url, folder, "down", k)
            if not follow.by_a_clean_run(url, f"killed after statement {k}: {down[k - 1]}"):
                run(text_of(url), folder, "up")


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gpw-test-", dir=place_for_data()) as place:
        yield Path(place)


def test_a_server_that_goes_down_under_a_migrator_leaves_what_the_next_run_completes(folder: str, data: Path) -> None:
    """An immediate shutdown, as in a crash, in the middle and at the last COMMIT."""
    home = data / "server"
    with EmbeddedServer.start(home) as server:
        with counted((said := list[str]()).append):
            run(text_of(server.url()), folder, "up")
        with Warehouse(server.url(), migrations=folder) as wh:
            head = state(wh)
            wh.downgrade("base", drop_data=True)
    for share in (0.4, 1.0):
        with EmbeddedServer.start(home) as server:
            emptied(server.url())
            go_down_after(round(len(said) * share), server, folder)
        with EmbeddedServer.start(home) as again, Warehouse(again.url(), migrations=folder) as wh:
            wh.upgrade()
            assert state(wh) == head
            assert wh.schema.validate(roles=False) == []


def go_down_after(k: int, server: EmbeddedServer, folder: str) -> None:
    """Migrate up; after statement ``k`` the server is shut down at once."""
    seen = 0
    postmaster = int((server.path / "data" / "postmaster.pid").read_text().splitlines()[0])

    def see(_statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == k:
            os.kill(postmaster, signal.SIGQUIT)

    with counted(see), contextlib.suppress(WarehouseConnectionError, MigrationError):
        run(text_of(server.url()), folder, "up")
    assert seen >= k
