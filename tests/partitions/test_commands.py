"""``gpwarehouse partitions …`` from a shell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from gpwarehouse import Warehouse
from tests.partitions.fab import TESTS, command, load_units


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
    assert "nothing is to be done" in command("partitions", "plan", *only, **said).stdout
    restored = command("partitions", "restore", TESTS, "2020-06", **said)
    assert "6 rows of 2020-06 restored" in restored.stdout, restored.stderr
    refused = command("partitions", "restore", TESTS, "2020-06", **said)
    assert refused.exit_code == 1
    assert "holds rows already" in str(refused.exception)
    listed = json.loads(command("partitions", "list", *only, "--json", **said).stdout)
    assert {m["partition"]: m["state"] for m in listed}["m202006"] == "reopened"
    assert "m202006" in command("partitions", "skew", *only, "--month", "2020-06", **said).stdout
