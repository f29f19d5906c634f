"""gpwarehouse schema revision, and the commands of the schema."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.errors import MigrationError, SettingsError
from gpwarehouse.settings import WarehouseSettings
from tests.migrate.site import HEAD, OURS, write_revision


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The command in this process: a new one takes seconds to import, which tests/cli tries."""
    from gpwarehouse.cli import main

    def running(*args: str, **environment: str) -> Done:
        for name, value in {"COLUMNS": "160", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["gpwarehouse", *args])
        out, told = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(told):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, out.getvalue(), told.getvalue())

    return running


def test_revisions_follow_each_other_on_a_line_of_their_own(swh: Warehouse, folder: Path) -> None:
    (first,) = migrate.create_revision(swh.settings, "a table of ours")
    second, up, down = migrate.create_revision(swh.settings, "more of it", sql=True)
    assert first.parent == folder
    assert first.name.endswith("_a_table_of_ours.py")
    up.write_text(up.read_text() + "CREATE TABLE {schema}.ours (a int);\n")
    down.write_text(down.read_text() + "DROP TABLE {schema}.ours;\n")
    swh.upgrade()
    assert swh.status().is_current
    assert swh.status().revision == second.name[:14]
    assert [one.description for one in swh.schema.revisions()][len(OURS) :] == ["a table of ours", "more of it"]
    swh.downgrade("site@base")
    assert swh.status().revision == HEAD


def test_a_revision_depends_on_what_the_package_was_at(swh: Warehouse) -> None:
    """So the package may add its own without forking the line of the fab."""
    (first,) = migrate.create_revision(swh.settings, "first")
    source = first.read_text().replace("'", '"')
    assert "down_revision: str | tuple[str, ...] | None = None" in source
    assert f'depends_on: str | tuple[str, ...] | None = "{HEAD}"' in source
    assert 'branch_labels: str | tuple[str, ...] | None = ("site",)' in source
    (second,) = migrate.create_revision(swh.settings, "second")
    source = second.read_text().replace("'", '"')
    assert f'down_revision: str | tuple[str, ...] | None = "{first.name[:14]}"' in source
    assert "depends_on: str | tuple[str, ...] | None = None" in source


def test_what_is_written_passes_ruff(swh: Warehouse) -> None:
    pytest.importorskip("ruff")
    script, *_ = migrate.create_revision(swh.settings, "it's 'quoted' \"text\"", sql=True)
    for command in (["check", "--isolated"], ["format", "--isolated", "--check", "--line-length", "120"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(script)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    compile(script.read_text(), str(script), "exec")


def test_autogenerate_writes_what_the_database_and_the_models_differ_in(swh: Warehouse) -> None:
    with swh.engine.begin() as connection:
        connection.execute(text("ALTER TABLE dw.dim_lot DROP COLUMN owner"))
        connection.execute(text("ALTER TABLE dw.dim_lot ADD COLUMN by_hand text"))
        connection.execute(text("CREATE TABLE dw.our_own (a int)"))
    (script,) = migrate.create_revision(swh.settings, "drift", autogenerate=True)
    source = script.read_text()
    assert "add_column" in source
    assert "owner" in source
    assert "by_hand" in source
    assert "our_own" not in source  # or the revision would drop it
    swh.upgrade()
    with pytest.raises(MigrationError, match="our_own") as caught:
        migrate.check(swh.settings)
    assert "dim_lot" not in str(caught.value)
    swh.downgrade("site@base")
    assert "by_hand" in swh.read("SELECT * FROM dw.dim_lot").columns


def test_autogenerate_needs_a_database_at_head(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, 'op.execute("SELECT 1")')
    with pytest.raises(MigrationError, match="not up to date"):
        migrate.create_revision(swh.settings, "drift", autogenerate=True)
    assert [path.name for path in folder.glob("*.py")] == ["a1_test.py"]


def test_the_folder_must_be_named_and_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GPWAREHOUSE_MIGRATIONS is not set"):
        migrate.create_revision(WarehouseSettings(_env_file=None), "x")
    settings = WarehouseSettings(migrations=tmp_path / "of" / "ours", _env_file=None)
    (script,) = migrate.create_revision(settings, "x")
    assert script.parent == tmp_path / "of" / "ours"
    with pytest.raises(MigrationError, match="say what the revision does"):
        migrate.create_revision(settings, " ")
    with pytest.raises(MigrationError, match="not both"):
        migrate.create_revision(settings, "x", autogenerate=True, sql=True)


# The command line


def test_the_commands_plan_upgrade_refuse_accept_and_take_back(
    swh: Warehouse, folder: Path, run: Callable[..., Done]
) -> None:
    where = {
        "GPWAREHOUSE_URL": swh.settings.sqlalchemy_url().render_as_string(hide_password=False),
        "GPWAREHOUSE_MIGRATIONS": str(folder),
    }
    made = run("schema", "revision", "-m", "ours", "--sql", **where)
    assert made.returncode == 0, made.stderr
    script, up, down = map(Path, made.stdout.split())
    name = script.name[:14]
    up.write_text("CREATE TABLE dw.ours (a int); INSERT INTO dw.ours VALUES (1)")
    down.write_text("DROP TABLE dw.ours")
    plan = run("upgrade", "--plan", **where).stdout
    assert f"upgrade {name}: ours (2 statements)" in plan
    assert "CREATE TABLE dw.ours (a int);" in plan
    assert not swh.status().is_current
    assert f"is at revision {name}" in run("upgrade", **where).stdout
    refused = run("downgrade", "site@base", **where)
    assert refused.returncode == 1
    assert "drops table dw.ours: 1 row" in refused.stdout
    assert "would drop data" in refused.stderr
    assert "--yes-drop-data" in refused.stderr
    script.write_text(script.read_text() + "# more\n")
    status = run("status", **where)
    assert status.returncode == 1
    assert "edited" in status.stdout
    assert "edited" in status.stderr
    assert run("schema", "accept-edit", name, "--reason", "a comment", **where).returncode == 0
    status = run("status", **where)
    assert status.returncode == 0, status.stderr
    assert "edit accepted: a comment" in status.stdout
    assert run("downgrade", "site@base", "--yes-drop-data", **where).returncode == 0
    assert swh.status().revision == HEAD


@pytest.mark.parametrize("server", ["postgresql", "greenplum6", "greenplum7", "cloudberry"])
def test_the_sql_of_each_server_is_printed_without_a_database(server: str, run: Callable[..., Done]) -> None:
    up = run("upgrade", "--sql", "--server", server)
    assert up.returncode == 0, up.stderr
    assert ("DISTRIBUTED BY" in up.stdout) == (server != "postgresql")
    down = run("downgrade", "base", "--sql", "--server", server)
    assert "DROP TABLE dw.dim_lot" in down.stdout


def test_the_sql_of_no_server_is_asked_for(run: Callable[..., Done]) -> None:
    done = run("upgrade", "--sql")
    assert done.returncode == 1
    assert "--server" in done.stderr


def test_a_step_back_is_given_as_its_number(swh: Warehouse, run: Callable[..., Done]) -> None:
    url = swh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    shown = run("downgrade", "-1", "--plan", GPWAREHOUSE_URL=url)
    assert shown.returncode == 0, shown.stderr
    assert HEAD in shown.stdout
    assert run("downgrade", "base", "--yes-drop-dta", GPWAREHOUSE_URL=url).returncode != 0
    assert swh.status().is_current


def test_an_sql_file_without_a_statement_is_refused(swh: Warehouse, run: Callable[..., Done], folder: Path) -> None:
    url = swh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    said = {"GPWAREHOUSE_URL": url, "GPWAREHOUSE_MIGRATIONS": str(folder)}
    assert run("schema", "revision", "-m", "notes", "--sql", **said).returncode == 0
    refused = run("upgrade", **said)
    assert refused.returncode == 1
    assert "up.sql: it holds no statement; write what the revision does" in refused.stderr
