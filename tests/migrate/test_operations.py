"""op.run_batched, op.replace_view, op.run_sql_file."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.dialect import DropPartition
from gpwarehouse.errors import LoadError, MigrationError
from gpwarehouse.migrate.operations import ReplaceViewOp
from gpwarehouse.models import FACTS
from gpwarehouse.settings import WarehouseSettings
from tests.command_line import alembic
from tests.migrate.site import HEAD, write_revision, write_site
from tests.rows import die_of_l1

MONTHS = 'op.run_batched("{sql}", table="fact_test_results")'
KEYS = 'op.run_batched("{sql}", table="dim_lot", by="lot_key", slices=4)'
NAMED = KEYS.replace("slices=4", 'slices=4, name="count"')


def fill_lots(wh: Warehouse) -> None:
    """Lots in each quarter of the keys."""
    insert = """INSERT INTO dw.dim_lot (lot_key, lot_id, product_key, effective_date, row_hash)
        SELECT (i * 2 + 1) * 1152921504606846976, 'L' || i, -1, '1900-01-01+00', 'x' FROM generate_series(-4, 3) i"""
    with wh.engine.begin() as connection:
        connection.execute(text(insert))


def batches(wh: Warehouse) -> list[str]:
    rows = wh.read("SELECT note FROM dw.etl_migration_history WHERE direction = 'upgrade batch' ORDER BY started_at")
    return list(rows.note)


def test_a_change_by_month_commits_month_by_month_and_tells_its_progress(swh: Warehouse, folder: Path) -> None:
    rows = [{**die_of_l1(), "event_ts": f"2026-0{month}-05T10:00:00+00:00", "die_x": month} for month in (1, 2, 3)]
    swh.load("fact_test_results", rows)
    sql = "UPDATE {schema}.fact_test_results SET source_file = '5 % of :x' WHERE {batch}"
    write_revision(folder, "a1", None, MONTHS.format(sql=sql))
    told: list[str] = []
    swh.upgrade(progress=told.append)
    assert set(swh.read("SELECT source_file FROM dw.fact_test_results").source_file) == {"5 % of :x"}
    batched = [line for line in told if "batch" in line]
    assert sum(line.endswith(" s") and " 1 rows in" in line for line in batched) == 3
    assert any("event_ts from 2026-02-01" in line for line in batched)
    assert batches(swh) == []
    (note,) = swh.read("SELECT note FROM dw.etl_migration_history WHERE revision = 'a1'").note
    assert note == f"{len(batched)} batches, 3 rows"


def test_a_change_goes_on_though_a_finished_month_went(swh: Warehouse, folder: Path) -> None:
    """As retention takes one; a month that is cut otherwise is refused, for rows of it may be done."""
    swh.load("fact_test_results", [{**die_of_l1(), "event_ts": f"2026-0{m}-05T10:00:00+00:00"} for m in (1, 2, 3)])
    sql = "UPDATE {{schema}}.fact_test_results SET retest_no = retest_no + {by} WHERE {{batch}}"
    named = MONTHS.replace('results")', 'results", name="count")')
    wrong = "1 / (CASE WHEN event_ts >= '2026-03-01+00' THEN 0 ELSE 1 END)"
    write_revision(folder, "a1", None, named.format(sql=sql.format(by=wrong)))
    with pytest.raises(MigrationError, match="division by zero"):
        swh.upgrade()
    assert any("from 2026-01-01" in note for note in batches(swh))
    with swh.engine.begin() as connection:
        connection.execute(DropPartition(FACTS["fact_test_results"].__table__, "m202601"))
    write_revision(folder, "a1", None, named.format(sql=sql.format(by="1")))
    with swh.engine.begin() as connection:
        shift = (
            "UPDATE dw.etl_migration_history SET note = replace(note, :was, :now) WHERE note LIKE '%from 2026-02-01%'"
        )
        connection.execute(text(shift), {"was": "from 2026-02-01", "now": "from 2026-02-02"})
    with pytest.raises(MigrationError, match=r"interrupted with other batches \(done: event_ts from 2026-02-02"):
        swh.upgrade()
    with swh.engine.begin() as connection:
        connection.execute(
            text(shift.replace("02-01%", "02-02%")), {"was": "from 2026-02-02", "now": "from 2026-02-01"}
        )
    swh.upgrade()
    assert set(swh.read("SELECT retest_no FROM dw.fact_test_results").retest_no) == {1}


def test_a_change_that_failed_goes_on_where_it_stopped(swh: Warehouse, folder: Path) -> None:
    """The third of four batches fails; when the statement is mended, the first two are not run again."""
    fill_lots(swh)
    sql = (
        "UPDATE {{schema}}.dim_lot SET rework_count = COALESCE(rework_count, 0) + {by} "
        "WHERE {{batch}} AND lot_key NOT IN (-1, -2)"
    )
    wrong = "1 / (CASE WHEN lot_key > 0 THEN 0 ELSE 1 END)"
    write_revision(folder, "a1", None, NAMED.format(sql=sql.format(by=wrong)))
    with pytest.raises(
        MigrationError, match=r"upgrade of revision a1, batch count: lot_key from 0 to .*division by zero"
    ):
        swh.upgrade()
    assert swh.status().revision == HEAD
    assert len(batches(swh)) == 2
    assert {one.revision: (one.state, one.interrupted) for one in swh.schema.revisions()}["a1"] == (
        "pending",
        "upgrade",
    )
    write_revision(folder, "a1", None, NAMED.format(sql=sql.format(by="1")))
    told: list[str] = []
    swh.upgrade(progress=told.append)
    assert sum("done before" in line for line in told) == 2
    counts = swh.read("SELECT lot_key, rework_count FROM dw.dim_lot WHERE lot_key NOT IN (-1, -2)").rework_count
    assert counts.tolist() == [1] * 8
    assert batches(swh) == []


def test_an_interrupted_change_is_finished_before_anything_else(swh: Warehouse, folder: Path) -> None:
    fill_lots(swh)
    up = NAMED.format(sql="UPDATE {schema}.dim_lot SET rework_count = 1 WHERE {batch}")
    write_revision(folder, "a1", None, 'op.execute("SELECT 1")')
    down = NAMED.format(sql="UPDATE {schema}.dim_lot SET rework_count = NULL WHERE {batch}")
    write_revision(folder, "a2", "a1", up, down)
    swh.upgrade()
    # As a downgrade that was killed after its second batch leaves it.
    half = """INSERT INTO dw.etl_migration_history (revision, direction, checksum, applied_by, package_version, note)
        VALUES ('a2', 'downgrade batch', '', 'x', '0', 'count: lot_key from None to -4611686018427387904')"""
    with swh.engine.begin() as connection:
        connection.execute(text(half))
        connection.execute(text("UPDATE dw.dim_lot SET rework_count = NULL WHERE lot_key < -4611686018427387904"))
    write_revision(folder, "a3", "a2", 'op.execute("SELECT 1")')
    told: list[str] = []
    swh.upgrade(progress=told.append)
    assert [line.partition(":")[0] for line in told if "batch" not in line and "done in" not in line] == [
        "downgrade a2",
        "upgrade a2",
        "upgrade a3",
    ]
    assert set(swh.read("SELECT rework_count FROM dw.dim_lot").rework_count) == {1}


def test_plain_alembic_refuses_to_go_past_an_interrupted_change(swh: Warehouse) -> None:
    half = f"""INSERT INTO dw.etl_migration_history (revision, direction, checksum, applied_by, package_version, note)
        VALUES ('{HEAD}', 'downgrade batch', '', 'x', '0', '1: all')"""
    with swh.engine.begin() as connection:
        connection.execute(text(half))
    url = swh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = alembic("upgrade", "head", GPWAREHOUSE_URL=url)
    assert done.returncode != 0
    assert f"the downgrade of revision {HEAD} changes data in batches and was interrupted" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            'op.execute("SELECT 1"); ' + KEYS.format(sql="DELETE FROM dw.dim_lot WHERE {batch}"),
            "follows other statements",
        ),
        (KEYS.format(sql="DELETE FROM dw.dim_lot"), r"needs \{batch\}"),
        (KEYS.format(sql="DELETE FROM dw.dim_lot WHERE {batch}").replace("slices=4", "name=':'"), "letters, digits"),
        ('op.run_batched("DELETE FROM dw.x WHERE {batch}", table="nothing")', "there is no such table"),
        ('op.run_batched("DELETE FROM dw.dim_lot WHERE {batch}", table="dim_lot")', "not partitioned by range"),
        ('op.run_batched("DELETE FROM dw.dim_lot WHERE {batch}", table="dim_lot", by="colour")', "by='colour'"),
        (
            MONTHS.format(sql="UPDATE {schema}.fact_test_results f SET event_ts = now() WHERE {batch}"),
            "sets column 'event_ts'",
        ),
        (KEYS.format(sql="UPDATE ONLY dw.dim_lot SET owner = '', lot_key = 1 WHERE {batch}"), "sets column 'lot_key'"),
    ],
)
def test_a_change_that_cannot_be_cut_is_refused(swh: Warehouse, folder: Path, call: str, told: str) -> None:
    write_revision(folder, "a1", None, call)
    with pytest.raises(MigrationError, match=told):
        swh.upgrade()
    assert swh.status().revision == HEAD


def test_an_interrupted_change_that_is_cut_otherwise_is_refused(swh: Warehouse, folder: Path) -> None:
    """Or rows that are done would be changed again."""
    fill_lots(swh)
    sql = "UPDATE dw.dim_lot SET lot_id = lot_id || {what} WHERE {{batch}} AND lot_key NOT IN (-1, -2)"
    failing = sql.format(
        what="CASE WHEN lot_key < 2000000000000000000 THEN 'x' ELSE CAST(1/(lot_key - lot_key) AS text) END"
    )
    write_revision(folder, "a1", None, NAMED.format(sql=failing))
    with pytest.raises(MigrationError, match="division by zero"):
        swh.upgrade()
    assert len(batches(swh)) >= 1
    mended = sql.format(what="'x'")
    # Not of the same length: Python takes a script of the same second and size for the one that it has compiled.
    write_revision(folder, "a1", None, NAMED.replace("slices=4", "slices=10").format(sql=mended))
    with pytest.raises(MigrationError, match="was interrupted with other batches"):
        swh.upgrade()
    write_revision(folder, "a1", None, NAMED.format(sql=mended))
    swh.upgrade()
    assert set(swh.read("SELECT DISTINCT lot_id FROM dw.dim_lot WHERE lot_id LIKE 'L%'").lot_id) == {
        f"L{i}x" for i in range(-4, 4)
    }


def failing(by: str) -> str:
    """Counts where the key is below zero, that is in two batches of four, and then fails."""
    return (
        "UPDATE {schema}.dim_lot SET rework_count = COALESCE(rework_count, 0) + " + by + " "
        "WHERE {batch} AND lot_key NOT IN (-1, -2)"
    )


WRONG = "1 / (CASE WHEN lot_key > 0 THEN 0 ELSE 1 END)"


def counts(wh: Warehouse) -> list[int]:
    found = wh.read("SELECT rework_count FROM dw.dim_lot WHERE lot_key NOT IN (-1, -2)").rework_count
    return [int(count) for count in found]


def interrupted(wh: Warehouse, folder: Path) -> str:
    """An operation without a name, two of its four batches done; its name."""
    fill_lots(wh)
    write_revision(folder, "a1", None, KEYS.format(sql=failing(WRONG)))
    with pytest.raises(MigrationError, match="division by zero"):
        wh.upgrade()
    (name,) = {note.partition(":")[0] for note in batches(wh)}
    return name


NOTES = 'op.run_batched("{sql}", table="dim_lot", by="lot_key", slices=4'


def test_nothing_is_loaded_while_data_is_half_changed(swh: Warehouse, folder: Path) -> None:
    """Neither by a package that has the revision, nor by one that never heard of it."""
    interrupted(swh, folder)
    told = (
        r"upgrade of revision a1 changes data of schema 'dw' in batches and is not ended.*gpwarehouse upgrade must end"
    )
    url = swh.settings.sqlalchemy_url()
    with Warehouse(url) as older, Warehouse(url, migrations=folder) as newer:
        for wh in (older, newer):
            with pytest.raises(MigrationError, match=told):
                wh.load("fact_test_results", [die_of_l1()])
        (name,) = {note.partition(":")[0] for note in batches(swh)}
        write_revision(folder, "a1", None, f"{NOTES.format(sql=failing('1'))}, name={name!r})")
        swh.upgrade()
        assert newer.load("fact_test_results", [die_of_l1()]).rows_loaded == 1


def test_a_warehouse_that_has_loaded_before_sees_what_another_process_began(swh: Warehouse, folder: Path) -> None:
    with Warehouse(swh.settings.sqlalchemy_url()) as wh:
        assert wh.load("fact_test_results", [die_of_l1()]).rows_loaded == 1
        interrupted(swh, folder)
        with pytest.raises(MigrationError, match="in batches and is not ended"):
            wh.load("fact_test_results", [die_of_l1() | {"wafer_id": "7"}])
        with pytest.raises(MigrationError, match="in batches and is not ended"):
            wh.merge("dim_lot", [{"lot_id": "L1", "owner": "me"}], effective="2026-01-01T00:00:00+00:00")
        (name,) = {note.partition(":")[0] for note in batches(swh)}
        write_revision(folder, "a1", None, f"{NOTES.format(sql=failing('1'))}, name={name!r})")
        swh.upgrade()
        with pytest.raises(MigrationError, match=r"is at revision .*a1"):
            wh.load("fact_test_results", [die_of_l1() | {"wafer_id": "7"}])


def test_a_load_that_a_change_in_batches_overtakes_is_taken_back(swh: Warehouse, folder: Path) -> None:
    """It looked before; while it read its rows the first batches were committed."""
    with Warehouse(swh.settings.sqlalchemy_url()) as wh:

        def overtaken(phase: str, _: int) -> None:
            if phase == "prepare" and not batches(swh):
                interrupted(swh, folder)

        with pytest.raises(LoadError, match="revision a1 began to change data in batches during the load"):
            wh.load("fact_test_results", [die_of_l1()], progress=overtaken)
        assert wh.read("SELECT 1 FROM dw.fact_test_results").empty
        (name,) = {note.partition(":")[0] for note in batches(swh)}
        write_revision(folder, "a1", None, f"{NOTES.format(sql=failing('1'))}, name={name!r})")
        swh.upgrade()
        assert swh.load("fact_test_results", [die_of_l1()]).rows_loaded == 1


def test_a_batch_waits_for_rows_that_are_not_committed_yet(swh: Warehouse, folder: Path) -> None:
    """Or it would not see them, and they would miss the change."""
    swh.load("fact_test_results", [die_of_l1()])
    sql = "UPDATE {schema}.fact_test_results SET retest_no = retest_no + 1 WHERE {batch}"
    write_revision(folder, "a1", None, MONTHS.format(sql=sql))
    with swh.engine.connect() as loading, ThreadPoolExecutor(1) as pool:
        columns = ", ".join(FACTS["fact_test_results"].__table__.columns.keys())
        mine = columns.replace("batch_id", "'mine' AS batch_id")
        loading.execute(text(f"INSERT INTO dw.fact_test_results ({columns}) SELECT {mine} FROM dw.fact_test_results"))
        upgrade = pool.submit(swh.upgrade)
        waits = """SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
            WHERE NOT l.granted AND c.relname = 'fact_test_results'"""
        deadline = time.monotonic() + 60
        while not swh.read(waits).iloc[0, 0]:
            assert not upgrade.done(), upgrade.result()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        loading.commit()
        upgrade.result(timeout=60)
    assert swh.read("SELECT retest_no FROM dw.fact_test_results").retest_no.tolist() == [1, 1]


def test_an_operation_put_in_before_an_interrupted_one_takes_none_of_its_batches(swh: Warehouse, folder: Path) -> None:
    name = interrupted(swh, folder)
    first = NOTES.format(sql="UPDATE {schema}.dim_lot SET owner = 'me' WHERE {batch}")
    second = NOTES.format(sql=failing("1")) + f", name={name!r})"
    write_revision(folder, "a1", None, f"{first}); {second}")
    with pytest.raises(MigrationError, match=rf"interrupted in the op.run_batched named '{name}' \(2 batches done\)"):
        swh.upgrade()
    assert set(swh.read("SELECT owner FROM dw.dim_lot").owner.dropna()) == set()
    write_revision(folder, "a1", None, f"{first}, name='owners'); {second}")
    swh.upgrade()
    assert counts(swh) == [1] * 8
    assert set(swh.read("SELECT owner FROM dw.dim_lot").owner) == {"me"}
    assert batches(swh) == []


def test_a_corrected_statement_without_a_name_is_refused_with_the_name_that_lets_it_go_on(
    swh: Warehouse, folder: Path
) -> None:
    name = interrupted(swh, folder)
    corrected = NOTES.format(sql=failing("1"))
    write_revision(folder, "a1", None, f"{corrected})")
    with pytest.raises(MigrationError, match=f"give it name='{name}', and it goes on where it stopped"):
        swh.upgrade()
    write_revision(folder, "a1", None, f"{corrected}, name={name!r})")
    swh.upgrade()
    assert counts(swh) == [1] * 8


def test_an_interrupted_operation_that_is_gone_from_its_script_is_missed(swh: Warehouse, folder: Path) -> None:
    name = interrupted(swh, folder)
    write_revision(folder, "a1", None, 'op.execute("SELECT 1")')
    with pytest.raises(MigrationError, match=f"named '{name}', which its script no longer has"):
        swh.upgrade()
    assert swh.status().revision == HEAD
    assert len(batches(swh)) == 2


def test_the_same_statement_twice_runs_twice_and_a_name_stands_once(swh: Warehouse, folder: Path) -> None:
    fill_lots(swh)
    one = NOTES.format(sql=failing("1"))
    write_revision(folder, "a1", None, f"{one}); {one}); {one})")
    swh.upgrade()
    assert counts(swh) == [3] * 8
    write_revision(folder, "a2", "a1", f"{one}, name='n'); {one}, name='n')")
    with pytest.raises(MigrationError, match=r"two op\.run_batched have the name 'n'"):
        swh.upgrade()


def test_a_view_is_replaced_in_place(swh: Warehouse, folder: Path) -> None:
    """Grants and comments stay, and so does a view that reads it."""
    with swh.engine.begin() as connection:
        connection.execute(text("COMMENT ON VIEW dw.v_lot_status IS 'kept'"))
        connection.execute(text("CREATE VIEW dw.reads_it AS SELECT lot_key FROM dw.v_lot_status"))
        connection.execute(text("SET LOCAL search_path = pg_catalog"))  # or the definition would leave schemas out
        old = connection.execute(text("SELECT pg_get_viewdef('dw.v_lot_status'::regclass)")).scalar_one().rstrip(";")
    body = f"SELECT x.*, 1 AS more FROM ({old}) x"
    (folder / "a1_test").mkdir()
    (folder / "a1_test" / "new.sql").write_text(body)
    read = 'open(__file__.replace(".py", "/new.sql")).read()'
    write_revision(folder, "a1", None, f'op.replace_view("v_lot_status", {read}, schema="dw")')
    swh.upgrade()
    assert "more" in swh.read("SELECT * FROM dw.v_lot_status").columns
    assert swh.read("SELECT * FROM dw.reads_it").empty
    kept = swh.read("SELECT obj_description('dw.v_lot_status'::regclass) AS comment").comment
    assert list(kept) == ["kept"]


def test_the_reverse_of_a_replaced_view_is_the_one_before() -> None:
    made = ReplaceViewOp("v", "SELECT 2", was="SELECT 1", schema="dw")
    back = made.reverse()
    assert back.to_diff_tuple() == (
        "replace_view", "dw", "v", "SELECT 1", {"was": "SELECT 2", "recreate": True},
    )  # fmt: skip
    assert [type(element).__name__ for element in back.elements()] == ["DropView", "CreateView"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", ["postgresql", "greenplum6", "greenplum7", "cloudberry"])
def test_all_of_them_are_written_offline(tmp_path: Path, server: str) -> None:
    site = write_site(tmp_path / "site")
    settings = WarehouseSettings(server=server, migrations=site, _env_file=None)
    up = migrate.offline_sql(settings)
    assert "INSERT INTO site.note (note_key) SELECT i * 922337203685477580 FROM generate_series(-9, 9) i;" in up
    assert "body text DEFAULT ':x; 5 %'" in up
    assert "UPDATE site.note SET done = 1 WHERE TRUE;" in up
    assert "CREATE OR REPLACE VIEW dw.v_note AS" in up
    down = migrate.offline_sql(settings, direction="downgrade")
    assert down.index("DROP VIEW dw.v_note") < down.index("DROP TABLE site.note") < down.index("DROP TABLE dw.dim_lot")


def test_sql_files_run_as_they_are_written_and_back(swh: Warehouse, folder: Path) -> None:
    write_site(folder)
    swh.upgrade()
    assert set(swh.read("SELECT body FROM site.note").body) == {":x; 5 %"}
    assert set(swh.read("SELECT done FROM site.note").done) == {1}
    assert list(swh.read("SELECT * FROM dw.v_note").columns) == ["note_key", "extra"]
    with pytest.raises(MigrationError, match=r"table site\.note: 19 rows"):
        swh.downgrade("site@base")
    swh.downgrade("site@base", drop_data=True)
    assert swh.read("SELECT count(*) AS n FROM pg_namespace WHERE nspname = 'site'").n[0] == 0
