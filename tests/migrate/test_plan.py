"""What would run is told before it runs, and data is not dropped unless that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import MigrationError
from tests.catalog import catalog
from tests.command_line import alembic
from tests.migrate.site import HEAD, OURS, write_revision
from tests.partitions.fab import command
from tests.rows import die_of_l1

TABLE = 'op.create_table("made", sa.Column("a", sa.Integer()), sa.Column("b", sa.Integer()), schema="dw")'
DROP = 'op.drop_table("made", schema="dw")'
ASKS = 'op.get_bind().execute(sa.text("SELECT 1")).one()'


def fill(wh: Warehouse, sql: str = "INSERT INTO dw.made VALUES (1, NULL), (2, NULL), (3, NULL)") -> None:
    with wh.engine.begin() as connection:
        connection.execute(text(sql))


def test_an_upgrades_plan_has_the_statements_that_it_runs_and_changes_nothing(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, TABLE, DROP, doc="Something made.")
    alter = 'op.alter_column("made", "a", type_=sa.Text(), schema="dw")'
    write_revision(folder, "a2", "a1", f"{alter}\n    op.execute(\"UPDATE dw.made SET b = 1 WHERE a LIKE '%;'\")")
    before = catalog(swh.engine)
    made, changed = swh.schema.plan()
    assert catalog(swh.engine) == before
    assert (made.revision, made.direction, made.description) == ("a1", "upgrade", "Something made.")
    assert made.statements[0].startswith("CREATE TABLE dw.made")
    assert not made.rewrites
    assert changed.statements[1] == "UPDATE dw.made SET b = 1 WHERE a LIKE '%;'"
    assert [what for _, what in changed.rewrites] == [
        "writes the table anew, unless the types are alike",
        "changes rows",
    ]
    swh.upgrade()
    assert swh.schema.plan() == []


def test_a_script_that_asks_the_database_is_said_to_be_unknown(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, ASKS)
    (step,) = swh.schema.plan()
    assert step.statements == ()
    assert "does not run without the database" in str(step.unknown)
    swh.upgrade()


def test_a_downgrades_plan_names_what_goes_and_the_rows_in_it(swh: Warehouse) -> None:
    swh.load("fact_test_results", [die_of_l1()])
    *_, step = swh.schema.plan_downgrade("base")
    dropped = {str(drop) for drop in step.drops}
    assert {"table dw.fact_test_results", "view dw.v_wafer_yield", "table dw.dim_time"} <= dropped
    lost = {str(loss) for loss in step.losses}
    assert {"table dw.fact_test_results: 1 row", "table dw.dim_lot: 1 row", "table dw.etl_load_batch: 1 row"} <= lost
    assert not any("dim_time" in one or "dim_recipe" in one for one in lost)  # reserved members do not count
    assert inspect(swh.engine).has_table("fact_test_results", "dw")


def test_a_downgrade_over_rows_is_refused_and_names_them_before_anything_is_reverted(
    swh: Warehouse, folder: Path
) -> None:
    write_revision(folder, "a1", None, TABLE, DROP)
    write_revision(folder, "a2", "a1", 'op.execute("SELECT 1")')
    swh.upgrade()
    fill(swh)
    with pytest.raises(MigrationError, match=r"would drop data: table dw\.made: 3 rows") as caught:
        swh.downgrade("site@base")
    assert "drop_data=True" in str(caught.value)
    assert swh.status().revision == "a2"
    swh.downgrade("a1")
    swh.downgrade("site@base", drop_data=True)
    assert not inspect(swh.engine).has_table("made", "dw")


@pytest.mark.parametrize("plan_tells", [True, False])
def test_a_downgrade_that_hides_what_it_drops_is_refused(swh: Warehouse, folder: Path, plan_tells: bool) -> None:
    block = "op.execute(\"DO $$ BEGIN EXECUTE 'DROP TABLE dw.made'; END $$\")"
    asks = "" if plan_tells else "op.get_bind().exec_driver_sql('SELECT 1').scalar_one() + 1; "
    write_revision(folder, "a1", None, TABLE, asks + block)
    swh.upgrade()
    with pytest.raises(MigrationError, match="may drop data that its text does not name: DO"):
        swh.downgrade("site@base")
    assert inspect(swh.engine).has_table("made", "dw")
    swh.downgrade("site@base", drop_data=True)
    assert not inspect(swh.engine).has_table("made", "dw")


def test_a_warehouse_with_its_reserved_members_alone_goes_down_to_base(swh: Warehouse) -> None:
    with swh.engine.begin() as connection:
        connection.execute(text("INSERT INTO dw.dim_time SELECT * FROM dw.dim_time"))
    swh.downgrade("base")
    assert swh.status().revision is None


def test_a_column_with_values_is_data(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, TABLE, DROP)
    write_revision(folder, "a2", "a1", 'op.execute("SELECT 1")', 'op.drop_column("made", "b", schema="dw")')
    swh.upgrade()
    fill(swh, "INSERT INTO dw.made VALUES (1, 5), (2, NULL)")
    with pytest.raises(MigrationError, match=r"column b of dw\.made: 1 value"):
        swh.downgrade("a1")
    fill(swh, "UPDATE dw.made SET b = NULL")
    swh.downgrade("a1")


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE dw.made", "TRUNCATE dw.made", "DROP SCHEMA IF EXISTS extra CASCADE", "SELECT 1; DROP TABLE dw.made"],
)
def test_a_script_that_cannot_be_told_beforehand_is_watched_as_it_runs(
    swh: Warehouse, folder: Path, statement: str
) -> None:
    up = 'op.execute("CREATE SCHEMA extra; CREATE TABLE extra.more (a int); INSERT INTO extra.more VALUES (1)")'
    write_revision(folder, "a1", None, f"{TABLE}\n    {up}", f'{ASKS}\n    op.execute("{statement}")')
    swh.upgrade()
    fill(swh)
    with pytest.raises(MigrationError, match=r"downgrade of revision a1 would drop data: table (dw\.made|extra\.more)"):
        swh.downgrade("site@base")
    assert swh.read("SELECT count(*) AS n FROM dw.made").n[0] == 3
    swh.downgrade("site@base", drop_data=True)


def test_plain_alembic_refuses_to_drop_data_unless_told(swh: Warehouse) -> None:
    fill(swh, "INSERT INTO dw.etl_reject (batch_id, target, row_number, reason) VALUES ('b', 't', 1, 'r')")
    url = swh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = alembic("downgrade", "base", GPWAREHOUSE_URL=url)
    assert done.returncode != 0
    assert "table dw.etl_reject: 1 row" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    wrong = alembic("-x", "drop-data=no", "downgrade", "base", GPWAREHOUSE_URL=url)
    assert "drop-data=no: allowed is yes" in wrong.stderr + wrong.stdout
    assert swh.status().is_current
    assert alembic("-x", "drop-data=yes", "downgrade", "base", GPWAREHOUSE_URL=url).returncode == 0


def test_a_way_back_across_lines_is_found_by_branch_and_by_steps(swh: Warehouse, folder: Path) -> None:
    write_revision(folder, "a1", None, 'op.execute("SELECT 1")')
    write_revision(folder, "a2", "a1", 'op.execute("SELECT 1")')
    swh.upgrade()
    assert [step.revision for step in swh.schema.plan_downgrade("-1")] == ["a2"]
    assert [step.revision for step in swh.schema.plan_downgrade("site@a1")] == ["a2"]
    assert [step.revision for step in swh.schema.plan_downgrade("site@base")] == ["a2", "a1"]
    assert [step.revision for step in swh.schema.plan_downgrade("base")] == ["a2", "a1", *reversed(OURS)]
    with pytest.raises(MigrationError, match=r"they depend on it.*site@base"):
        swh.downgrade(HEAD)
    with pytest.raises(MigrationError, match="nowhere"):
        swh.downgrade("nowhere")


def test_rows_are_counted_up_to_a_limit(swh: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting all of a large table takes longer than dropping it."""
    monkeypatch.setattr("gpwarehouse.migrate.losses.COUNTED", 2)
    write_revision(folder, "a1", None, TABLE, DROP)
    swh.upgrade()
    fill(swh)
    (step,) = swh.schema.plan_downgrade("site@base")
    assert [str(loss) for loss in step.losses] == ["table dw.made: more than 2 rows"]


@pytest.mark.parametrize("command_line", [("upgrade",), ("downgrade", "base")])
def test_a_plan_and_sql_at_once_are_refused(command_line: tuple[str, ...]) -> None:
    done = command(
        *command_line, "--plan", "--sql", "--server", "greenplum6", GPWAREHOUSE_URL="postgresql://no.where/x"
    )
    assert done.exit_code == 1
    assert "give --plan or --sql, not both" in str(done.exception)
    assert done.stdout == ""


def test_a_plan_of_a_file_that_cannot_run_says_so(swh: Warehouse, folder: Path) -> None:
    script = write_revision(folder, "a1", None, 'op.run_sql_file(__file__, "up")', 'op.run_sql_file(__file__, "down")')
    script.with_suffix("").mkdir()
    up = script.with_suffix("") / "up.sql"
    up.write_text("SET ROLE bob")
    with pytest.raises(MigrationError, match=r"up\.sql, line 1: SET ROLE would hold"):
        swh.schema.plan()
    up.write_text("SELECT 1")
    swh.upgrade()
    with pytest.raises(MigrationError, match=r"down\.sql: there is no such file"):
        swh.schema.plan_downgrade("site@base")
