"""``gpwarehouse partitions …`` from a shell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import PartitionError
from gpwarehouse.migrate.history import part_row
from gpwarehouse.partitions import Plan
from gpwarehouse.settings import WarehouseSettings
from tests.partitions.fab import TESTS, command, execute, load_units


def test_plan_apply_list_restore_and_skew_follow_each_other(wh: Warehouse, tmp_path: Path) -> None:
    load_units(wh, "2020-06", 6)
    (tmp_path / "archive").mkdir()
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    said = {
        "GPWAREHOUSE_URL": url,
        "GPWAREHOUSE_RETENTION": f"{TESTS}: export after 12 months; *: keep",
        "GPWAREHOUSE_ARCHIVE_DIR": str(tmp_path / "archive"),
        "GPWAREHOUSE_PARTITION_PREMAKE": "0",
        "GPWAREHOUSE_PARTITION_WINDOW": "0",
    }
    this_month = f"m{datetime.now(UTC):%Y%m}"
    only = ("--table", TESTS)
    shown = command("partitions", "plan", *only, **said)
    assert "export after 12 months" in shown.stdout, shown.stderr
    plan = json.loads(command("partitions", "plan", *only, "--json", **said).stdout)
    assert [(s["action"], s["partition"]) for s in plan["steps"]] == [("create", this_month), ("export", "m202006")]
    applied = command("partitions", "apply", *only, **said)
    assert applied.exit_code == 0, applied.stderr
    assert "done" in applied.stdout
    assert f"export {TESTS} m202006: export after 12 months" in applied.stderr
    assert f"export {TESTS} m202006: done, 6 rows, " in applied.stderr
    assert "nothing is to be done" in command("partitions", "plan", *only, **said).stdout
    restored = command("partitions", "restore", TESTS, "2020-06", **said)
    assert "6 rows of 2020-06 restored" in restored.stdout, restored.stderr
    refused = command("partitions", "restore", TESTS, "2020-06", **said)
    assert refused.exit_code == 1
    assert "holds rows already" in str(refused.exception)
    listed = json.loads(command("partitions", "list", *only, "--json", **said).stdout)
    assert {m["partition"]: m["state"] for m in listed}["m202006"] == "reopened"
    assert "m202006" in command("partitions", "skew", *only, "--month", "2020-06", **said).stdout


@pytest.mark.parametrize("schema_is_there", [False, True])
def test_before_an_upgrade_every_command_says_to_run_it_first(
    settings: WarehouseSettings, schema_is_there: bool
) -> None:
    with Warehouse(settings=settings) as empty:
        if schema_is_there:  # as a DBA makes it beforehand
            execute(empty, "CREATE SCHEMA dw")
    said = {"GPWAREHOUSE_URL": settings.sqlalchemy_url().render_as_string(hide_password=False)}
    commands = [["partitions", name] for name in ("list", "plan", "apply", "skew")]
    for line in [*commands, ["partitions", "restore", TESTS, "2020-06"]]:
        done = command(*line, GPWAREHOUSE_ARCHIVE_DIR="/", **said)
        assert done.exit_code == 1, line
        assert isinstance(done.exception, PartitionError), line
        assert "run gpwarehouse upgrade first" in str(done.exception), line
    with Warehouse(settings=settings) as empty, pytest.raises(PartitionError, match="upgrade first"):
        empty.partitions.apply(Plan(()))
    if not schema_is_there:
        for name in ("plan", "apply"):
            assert "run gpwarehouse upgrade first" in str(command("roles", name, **said).exception)
    validated = command("schema", "validate", "--json", **said)
    assert validated.exit_code == 1
    assert "gpwarehouse upgrade" in json.loads(validated.stdout)[0]["remedy"]


def test_months_are_left_alone_while_a_restore_is_half_done(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.execute(part_row("dw", "some backup", "restore", "restore"))
    before = wh.partitions.plan()
    for change in (wh.partitions.apply, lambda: wh.partitions.apply(before)):
        with pytest.raises(
            PartitionError, match=r"the restore of backup some backup .* gpwarehouse backup restore has ended"
        ):
            change()
    with pytest.raises(PartitionError, match="is not ended"):
        wh.partitions.restore(TESTS, "2020-06")
    assert wh.partitions.plan() == before
