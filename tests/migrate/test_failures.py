"""A revision that fails leaves nothing of itself, and the message says which statement it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import MigrationError, WarehouseConnectionError
from tests.command_line import alembic
from tests.migrate.site import HEAD, write_revision
from tests.tree import TREE

TABLE = 'op.create_table("made", sa.Column("a", sa.Integer()), schema="dw")'


def test_the_message_names_revision_and_statement_and_what_came_before_stays(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, 'op.execute("SELECT 1")')
    write_revision(folder, "a2", "a1", f'{TABLE}\n    op.execute("INSERT INTO dw.made VALUES (1 / 0)")')
    with pytest.raises(MigrationError, match="statement 2 of the upgrade of revision a2 failed") as caught:
        swh.upgrade()
    told = str(caught.value)
    assert "division by zero" in told
    assert "INSERT INTO dw.made VALUES (1 / 0)" in told
    assert swh.status().revision == "a1"
    assert not inspect(swh.engine).has_table("made", "dw")


def test_a_failing_downgrade_is_told_in_the_same_way(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, TABLE, 'op.drop_table("made", schema="dw")\n    op.execute("SELECT 1 / 0")')
    swh.upgrade()
    with pytest.raises(MigrationError, match="statement 2 of the downgrade of revision a1 failed: division by zero"):
        swh.downgrade("site@base")
    assert inspect(swh.engine).has_table("made", "dw")
    assert swh.status().revision == "a1"


def test_a_failure_in_python_names_the_revision_too(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, f'{TABLE}\n    raise KeyError("colour")')
    with pytest.raises(MigrationError, match="upgrade of revision a1 failed after statement 1: KeyError: 'colour'"):
        swh.upgrade()
    assert not inspect(swh.engine).has_table("made", "dw")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("COMMIT", "COMMIT"),
        ("/* so */ end", "END"),
        ("ROLLBACK", "ROLLBACK"),
        ("SELECT 1; commit; SELECT 2", "COMMIT"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
    ],
)
def test_a_revision_ends_its_transaction_by_no_statement(
    swh: Warehouse, folder: Path, statement: str, word: str
) -> None:
    """COMMIT would let a part of it stay, ROLLBACK would lose a part of it and call it done."""
    write_revision(folder, "a1", None, f'{TABLE}\n    op.execute("{statement}")\n    op.execute("SELECT 1")')
    with pytest.raises(
        MigrationError, match=f"statement 2 of the upgrade of revision a1: {word} is not for a revision"
    ):
        swh.upgrade()
    assert not inspect(swh.engine).has_table("made", "dw")
    assert swh.status().revision == HEAD
    write_revision(
        folder, "a1", None, f'{TABLE}; op.execute("SAVEPOINT a"); op.execute("ROLLBACK TO a; SELECT \'COMMIT;\'")'
    )
    swh.upgrade()
    assert swh.status().revision == "a1"


@pytest.mark.parametrize(
    "how", ["op.get_bind().commit()", "with op.get_context().autocommit_block():\n        op.execute('SELECT 1')"]
)
def test_what_a_script_committed_by_itself_is_not_said_to_be_gone(swh: Warehouse, folder: Path, how: str) -> None:
    write_revision(folder, "a1", None, f'{TABLE}\n    {how}\n    op.execute("SELECT 1 / 0")')
    write_revision(folder, "a2", "a1", 'op.execute("SELECT 1 / 0")')
    with pytest.raises(
        MigrationError, match=r"revision a1 failed: division by zero.*has committed by itself"
    ) as caught:
        swh.upgrade()
    assert "Nothing of this revision remains" not in str(caught.value)
    assert inspect(swh.engine).has_table("made", "dw")
    write_revision(folder, "a1", None, "pass")
    with pytest.raises(MigrationError, match=r"revision a2 failed: .*Nothing of this revision remains"):
        swh.upgrade()


def test_a_lock_that_is_not_had_in_time_fails_the_revision(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, 'op.add_column("dim_lot", sa.Column("x", sa.Text()), schema="dw")')
    settings = swh.settings.model_copy(update={"lock_timeout_s": 1})
    blocker = create_engine(swh.settings.sqlalchemy_url())
    with blocker.connect() as connection, Warehouse(settings=settings) as wh:
        connection.execute(text("LOCK TABLE dw.dim_lot IN ACCESS SHARE MODE"))
        with pytest.raises(MigrationError, match=r"statement \d of the upgrade of revision a1 failed.*lock timeout"):
            wh.upgrade()
    blocker.dispose()
    swh.upgrade()


def test_a_statement_that_takes_too_long_fails_the_revision(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, 'op.execute("SELECT pg_sleep(60)")')
    settings = swh.settings.model_copy(update={"migration_statement_timeout_s": 1})
    with Warehouse(settings=settings) as wh:
        with pytest.raises(
            MigrationError, match=r"statement 1 of the upgrade of revision a1 failed.*statement timeout"
        ):
            wh.upgrade()
    assert swh.status().revision == HEAD


def test_a_lost_connection_is_told_with_the_statement(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, f'{TABLE}\n    op.execute("SELECT pg_terminate_backend(pg_backend_pid())")')
    with pytest.raises(WarehouseConnectionError, match="was lost at statement 2 of the upgrade of revision a1"):
        swh.upgrade()
    assert not inspect(swh.engine).has_table("made", "dw")


def test_plain_alembic_tells_it_without_a_traceback(swh: Warehouse, folder: Path, tmp_path: Path) -> None:
    write_revision(folder, "a1", None, 'op.execute("SELECT 1 / 0")')
    settings = {
        "GPWAREHOUSE_URL": swh.settings.sqlalchemy_url().render_as_string(hide_password=False),
        "GPWAREHOUSE_MIGRATIONS": str(folder),
    }
    not_named = alembic("upgrade", "heads", **settings)
    assert not_named.returncode != 0
    assert "version_locations =" in not_named.stderr + not_named.stdout
    ini = tmp_path / "alembic.ini"
    places = f"{TREE / 'alembic' / 'versions'}:{folder}"
    ini.write_text(
        f"[alembic]\nscript_location = {TREE / 'alembic'}\npath_separator = os\nversion_locations = {places}\n"
    )
    done = alembic("-c", str(ini), "upgrade", "heads", **settings)
    assert done.returncode != 0
    assert "statement 1 of the upgrade of revision a1 failed: division by zero" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
