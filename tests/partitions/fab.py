"""Rows in months, and warehouses with a policy, for the tests of this folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.settings import WarehouseSettings

NOW = datetime(2026, 11, 15, 8, tzinfo=UTC)
TESTS = "fact_test_results"
MEASUREMENTS = "fact_process_measurements"
EXPORT = f"{TESTS}: export after 12 months"


def with_policy(wh: Warehouse, **changed: Any) -> Warehouse:
    """The same database under other settings."""
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    return Warehouse(settings=WarehouseSettings(url=url, _env_file=None, **changed))


def unit(month: str, number: int, **values: Any) -> dict[str, Any]:
    """A tested die of that month."""
    return {
        "event_ts": f"{month}-05T10:00:00+00:00", "lot_id": "L1", "wafer_id": str(number % 25 + 1), "test_type": "CP",
        "test_stage": "CP1", "step_number": "CP1", "process_flow_id": "P", "die_x": number, "die_y": 1,
        "is_first_pass": True, "is_final_result": True, "is_pass": True, "insertion_no": 1, "retest_no": 0,
    } | values  # fmt: skip


def load_units(wh: Warehouse, month: str, count: int, *, batch_id: str | None = None) -> None:
    wh.load(TESTS, [unit(month, n) for n in range(count)], batch_id=batch_id)


def contents(wh: Warehouse, table: str = TESTS) -> list[tuple[Any, ...]]:
    """All rows as the server writes them, floats bit by bit, in an order of their own."""
    with wh.engine.connect() as connection:
        found = connection.execute(text(f"SELECT CAST(t AS text) AS r FROM dw.{table} t"))
        return sorted(tuple(row) for row in found)


def names(wh: Warehouse, table: str = TESTS) -> list[str]:
    """The partitions there are."""
    listed = wh.partitions.list(tables=[table])
    return list(listed[listed.state != "archived"].partition)


def manifest(archive: Path, partition: str = "m202506") -> dict[str, Any]:
    said: dict[str, Any] = json.loads((archive / "dw" / TESTS / f"{partition}.json").read_text())
    return said


def execute(wh: Warehouse, *statements: str) -> None:
    with wh.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def command(*args: str, **environment: str) -> Any:
    """The outcome of ``gpwarehouse …``, run in this process: stdout, stderr, exit_code, exception."""
    from typer.testing import CliRunner

    from gpwarehouse.cli.app import app, console

    console.width = 160  # which it has read from the environment when it was made
    return CliRunner().invoke(app, args, env=environment)
