"""The page about moving house, run as it stands: from PostgreSQL to PostgreSQL, or between the servers that are named.

``GPWAREHOUSE_TEST_MOVE`` names servers, with spaces between: it goes from the first to the second, on to the third, and
so on. Each is a URL of a role that may make databases, or ``own``, the server of the other tests.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import URL, make_url

from gpwarehouse import Warehouse
from gpwarehouse.backup import Comparison
from tests.backup.fab import content, fill, odd, tables
from tests.conftest import database
from tests.doc_blocks import MOVED, blocks_of, run_sh
from tests.partitions.fab import TESTS

ROAD = os.environ.get("GPWAREHOUSE_TEST_MOVE", "").split()


def test_the_page_about_moving_runs_as_it_stands(
    server_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [server_url if name == "own" else make_url(name).set(drivername="greenplum+psycopg2") for name in ROAD]
    servers = servers or [server_url, server_url]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPWAREHOUSE_BACKUP_URL", str(tmp_path / "backups"))
    with database(servers[0]) as first:
        with Warehouse(first) as old:
            old.upgrade()
            fill(old)
        moves = _move_on(first, servers, monkeypatch, 0)
    assert len(moves) == len(servers) - 1
    for compared in moves:
        assert sum(each.rows_here for each in compared) > 500
        assert [each for each in compared if not each.equal] == []


def _move_on(
    old_url: URL, servers: list[URL], monkeypatch: pytest.MonkeyPatch, number: int
) -> list[tuple[Comparison, ...]]:
    """Move to the next server, and from there to the one after it; the tables and months of each after its cut-over."""
    if number + 1 == len(servers):
        return []
    while_loads_go_on, cut_over = (block for block in blocks_of(MOVED) if block.kind == "sh")
    with database(servers[number + 1]) as new_url, Warehouse(old_url) as old, Warehouse(new_url) as new:
        monkeypatch.setenv("OLD", old_url.render_as_string(hide_password=False))
        monkeypatch.setenv("NEW", new_url.render_as_string(hide_password=False))
        run_sh(while_loads_go_on)
        old.load(TESTS, [odd("2026-02", 700 + number), odd("2026-05", 700 + number)])
        if number == 0:
            old.batches.delete("odd-2026-01")
        moved = pd.DataFrame([{"product_id": "P2", "product_name": f"moved {number}"}])
        old.merge("dim_product", moved, effective=datetime(2026, 2, 1, tzinfo=UTC))
        said = run_sh(cut_over)
        assert said.count("0 not equal") == 2
        wanted = content(old)
        assert content(new) == wanted
        info = new.backup().last()
        assert info is not None
        compared = new.backup().compare()
        rows = sum(each.rows_here for each in compared)
        print(f"{old.status().server} -> {new.status().server}: {len(tables(new))} tables, {rows} rows equal")  # noqa: T201
        for each in sorted(compared, key=lambda each: -each.rows_here)[:4]:
            print(f"  {each.table} {each.partition}: {each.rows_here} rows, checksum {each.checksum_here}")  # noqa: T201
        return [compared, *_move_on(new_url, servers, monkeypatch, number + 1)]
