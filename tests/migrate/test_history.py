"""What the history keeps, and what does not fit to it: edited scripts, scripts that are gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.errors import MigrationError, SettingsError
from tests.command_line import alembic
from tests.migrate.site import APPLIED, HEAD, OURS, write_revision
from tests.partitions.fab import command

NOTE = 'op.execute("SELECT 1")'


def states(wh: Warehouse) -> dict[str, str]:
    return {one.revision: one.state for one in wh.schema.revisions()}


def test_status_tells_pending_and_applied_in_order(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, NOTE)
    write_revision(folder, "a2", "a1", NOTE)
    assert [*states(swh).items()] == [*APPLIED.items(), ("a1", "pending"), ("a2", "pending")]
    swh.upgrade("a1")
    assert states(swh) == {**APPLIED, "a1": "applied", "a2": "pending"}
    assert not swh.status().is_current
    swh.upgrade()
    assert swh.status().is_current
    applied = {one.revision: one for one in swh.schema.revisions()}["a2"]
    assert applied.applied_at is not None
    assert applied.applied_by in ("postgres", "gpadmin")
    assert applied.description == "A revision of the tests."


def test_an_applied_script_that_was_edited_is_refused_until_accepted(swh: Warehouse, folder: Path) -> None:
    script = write_revision(folder, "a1", None, NOTE)
    swh.upgrade()
    script.write_text(script.read_text().replace("SELECT 1", "SELECT 2"))
    assert states(swh)["a1"] == "edited"
    for order in (swh.upgrade, lambda: swh.downgrade("site@base"), swh.schema.plan):
        with pytest.raises(MigrationError, match="revision a1 was edited after it was applied") as caught:
            order()
        assert "accept-edit a1" in str(caught.value)
    with pytest.raises(MigrationError, match="say why"):
        swh.schema.accept_edit("a1", reason=" ")
    swh.schema.accept_edit("a1", reason="a comment was wrong")
    assert states(swh)["a1"] == "applied"
    assert {one.note for one in swh.schema.revisions()} == {None, "a comment was wrong"}
    swh.upgrade()
    with pytest.raises(MigrationError, match="a1 is not edited"):
        swh.schema.accept_edit("a1", reason="again")
    rows = swh.read(
        "SELECT direction, COALESCE(note, '-') FROM dw.etl_migration_history WHERE revision = 'a1' ORDER BY started_at"
    )
    assert rows.values.tolist() == [["upgrade", "-"], ["accept", "a comment was wrong"]]


def test_an_edited_sql_file_is_an_edited_revision(swh: Warehouse, folder: Path) -> None:
    script = write_revision(folder, "a1", None, 'op.run_sql_file(__file__, "up")')
    parts = script.with_suffix("")
    parts.mkdir()
    (parts / "up.sql").write_text("SELECT 1")
    (parts / "down.sql").write_text("SELECT 1")
    swh.upgrade()
    (parts / "down.sql").write_bytes(b"SELECT 2\r\n")
    assert states(swh)["a1"] == "edited"
    (parts / "down.sql").write_bytes(b"SELECT 1")
    assert states(swh)["a1"] == "applied"


def test_a_reverted_revision_may_be_edited_and_applied_again(swh: Warehouse, folder: Path) -> None:
    script = write_revision(folder, "a1", None, NOTE)
    swh.upgrade()
    swh.downgrade("site@base")
    script.write_text(script.read_text().replace("SELECT 1", "SELECT 2"))
    assert states(swh)["a1"] == "pending"
    swh.upgrade()
    assert states(swh)["a1"] == "applied"


def test_plain_alembic_refuses_an_edited_revision_too(empty_url: URL, tmp_path: Path) -> None:
    url = empty_url.render_as_string(hide_password=False)
    assert alembic("upgrade", "head", GPWAREHOUSE_URL=url).returncode == 0
    with Warehouse(empty_url) as wh, wh.engine.begin() as connection:
        connection.execute(text("UPDATE dw.etl_migration_history SET checksum = 'another'"))
    done = alembic("upgrade", "head", GPWAREHOUSE_URL=url)
    assert done.returncode != 0
    assert f"revision {', '.join(OURS)} was edited" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_revision_without_a_script_stops_every_command_with_the_way_out(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, NOTE).rename(folder / "a1_here.py")
    swh.upgrade()
    (folder / "a1_here.py").unlink()
    assert states(swh) == {**APPLIED, "a1": "missing"}
    for order in (swh.upgrade, lambda: swh.downgrade("base"), lambda: swh.load("fact_test_results", [])):
        with pytest.raises(
            MigrationError, match=rf"is at revision a1, for which this package \(head {HEAD}\)"
        ) as caught:
            order()
        assert "newer gpwarehouse" in str(caught.value)
        assert str(folder) in str(caught.value)
    with Warehouse(swh.settings.sqlalchemy_url()) as without:
        with pytest.raises(MigrationError, match="GPWAREHOUSE_MIGRATIONS not set"):
            without.upgrade()


def test_status_of_a_database_beyond_this_package_says_so_and_does_not_say_upgrade(swh: Warehouse) -> None:
    url = swh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with swh.engine.begin() as connection:
        connection.execute(text("UPDATE dw.alembic_version SET version_num = '0099'"))
    done = command("--url", url, "status")
    assert done.exit_code == 1
    assert re.search(rf"revision  {HEAD} +applied, ", done.stdout), done.stdout
    assert re.search(r"revision  0099 +missing", done.stdout)
    assert "pending" not in done.stdout
    assert f"is at revision 0099, for which this package (head {HEAD}) has no script. Did a newer" in done.stderr
    assert "gpwarehouse upgrade" not in done.stderr


def test_status_advises_what_its_revisions_need(swh: Warehouse, folder: Path) -> None:
    script = write_revision(folder, "a1", None, NOTE)
    said = {
        "GPWAREHOUSE_URL": swh.settings.sqlalchemy_url().render_as_string(hide_password=False),
        "GPWAREHOUSE_MIGRATIONS": str(folder),
    }
    assert "a1 is pending: gpwarehouse upgrade" in command("status", **said).stderr
    swh.upgrade()
    assert command("status", **said).exit_code == 0
    script.write_text(script.read_text() + "# more\n")
    edited = command("status", **said)
    assert edited.exit_code == 1
    assert "gpwarehouse schema accept-edit a1" in edited.stderr


def test_a_load_into_a_schema_that_is_behind_names_both_revisions(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, NOTE)
    with pytest.raises(MigrationError, match=f"is at revision {HEAD}, this package writes a1"):
        swh.load("fact_test_results", [])


def test_a_folder_that_is_not_there_is_not_taken_for_empty(tmp_path: Path, swh: Warehouse) -> None:
    settings = swh.settings.model_copy(update={"migrations": tmp_path / "nowhere"})
    with pytest.raises(SettingsError, match="nowhere"):
        migrate.upgrade(settings)


def test_two_revisions_after_one_are_told_apart(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, NOTE)
    write_revision(folder, "b1", "a1", NOTE)
    write_revision(folder, "b2", "a1", NOTE)
    with pytest.raises(MigrationError, match="revisions b1 and b2 both follow the same one"):
        swh.upgrade()
    swh.upgrade("b1")
    assert states(swh) == {**APPLIED, "a1": "applied", "b1": "applied", "b2": "pending"}


def test_a_history_of_an_older_package_gets_its_new_column_and_keeps_its_rows(swh: Warehouse, folder: Path) -> None:
    with swh.engine.begin() as connection:
        connection.execute(text("ALTER TABLE dw.etl_migration_history DROP COLUMN note"))
    assert states(swh) == APPLIED
    script = write_revision(folder, "a1", None, NOTE)
    swh.upgrade()
    script.write_text(script.read_text() + "# more\n")
    swh.schema.accept_edit("a1", reason="a comment")
    # The statement of a package that knows no notes.
    old = """INSERT INTO dw.etl_migration_history
        (revision, direction, checksum, started_at, seconds, applied_by, package_version)
        VALUES ('a0', 'downgrade', '', now(), 1, current_user, '0.1.0')"""
    with swh.engine.begin() as connection:
        connection.execute(text(old))
    rows = swh.read("SELECT revision, COALESCE(note, '-') FROM dw.etl_migration_history ORDER BY started_at")
    assert rows.values.tolist() == [*([one, "-"] for one in OURS), ["a1", "-"], ["a1", "a comment"], ["a0", "-"]]


def test_a_stamp_is_noted_with_the_scripts_it_takes_for_applied(swh: Warehouse, folder: Path) -> None:
    from alembic import command

    write_revision(folder, "a1", None, "raise AssertionError")
    write_revision(folder, "a2", "a1", "raise AssertionError")
    config = migrate.alembic_config(swh.settings)
    config.attributes["command"] = "stamp"
    command.stamp(config, "heads")
    assert states(swh) == {**APPLIED, "a1": "applied", "a2": "applied"}
    rows = swh.read("SELECT revision, direction FROM dw.etl_migration_history ORDER BY 1")
    assert rows.values.tolist() == [*([one, "upgrade"] for one in OURS), ["a1", "stamp"], ["a2", "stamp"]]
