from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, inspect, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import MigrationError, WarehouseConnectionError
from gpwarehouse.models import AGGREGATES, BRIDGES, DIMENSIONS, FACTS, VIEWS
from gpwarehouse.settings import WarehouseSettings
from tests.catalog import catalog
from tests.command_line import alembic
from tests.migrate.scripts import run_script
from tests.migrate.site import HEAD, OURS
from tests.rows import die_of_l1
from tests.tree import GOLDEN

SERVERS = ("postgresql", "greenplum6", "greenplum7", "cloudberry")


def test_up_down_up_leaves_the_catalog_of_the_first_upgrade(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade()
        first = catalog(wh.engine)
        wh.downgrade("base")
        left = {name for name, *_ in catalog(wh.engine)["relations"]}
        assert not {"dim_lot", "v_wafer_yield", "etl_load_batch"} & left
        wh.upgrade()
        assert catalog(wh.engine) == first


def test_the_whole_contract_is_there_after_an_upgrade(shared_wh: Warehouse) -> None:
    found = inspect(shared_wh.engine)
    tables = {
        *DIMENSIONS,
        *FACTS,
        *BRIDGES,
        *(aggregate.__tablename__ for aggregate in AGGREGATES.values()),
        "bridge_parameter_set",
        "bridge_step_limits",
        "etl_audit",
        "etl_load_batch",
        "etl_reject",
        "etl_removal",
        "etl_member_observation",
        "etl_migration_history",
    }
    assert set(found.get_table_names("dw")) == {*tables, "alembic_version"}
    assert set(found.get_view_names("dw")) == {view.name for view in VIEWS}


def test_a_fresh_upgrade_and_the_models_do_not_differ(shared_wh: Warehouse) -> None:
    migrate.check(shared_wh.settings)  # raises where autogenerate would find anything
    assert shared_wh.schema.validate(roles=False) == []


def test_a_difference_from_the_models_is_told(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.execute(text("ALTER TABLE dw.dim_lot ADD COLUMN added_by_hand TEXT"))
    with pytest.raises(MigrationError, match="added_by_hand"):
        migrate.check(wh.settings)


def test_a_second_upgrade_changes_nothing(wh: Warehouse) -> None:
    before = catalog(wh.engine)
    wh.upgrade()
    assert catalog(wh.engine) == before


def test_every_revision_leaves_a_row_in_the_history_that_a_downgrade_keeps(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade()
        wh.downgrade("base")
        rows = wh.read("SELECT * FROM dw.etl_migration_history ORDER BY started_at")
    assert list(rows.revision) == [*OURS, *reversed(OURS)]
    assert list(rows.direction) == [*["upgrade"] * len(OURS), *["downgrade"] * len(OURS)]
    assert rows.checksum.str.fullmatch("[0-9a-f]{64}").all()
    assert (rows.seconds > 0).all()
    assert (rows.applied_by == "gpadmin").all() or (rows.applied_by == "postgres").all()


def test_the_checksum_covers_the_parts_of_a_revision(tmp_path: Path) -> None:
    script, folder = tmp_path / "0009_x.py", tmp_path / "0009_x"
    folder.mkdir()
    script.write_text("a")
    (folder / "part.py").write_text("b")
    before = migrate.revision_checksum(script)
    (folder / "part.py").write_text("c")
    assert migrate.revision_checksum(script) != before


def test_the_schema_may_have_another_name_and_two_may_share_a_database(empty_url: URL) -> None:
    url = empty_url.render_as_string(hide_password=False)
    with Warehouse(url, schema_name="fab_two") as two, Warehouse(url) as one:
        two.upgrade()
        one.upgrade()
        migrate.check(two.settings)
        assert two.load("fact_test_results", [die_of_l1()]).rows_loaded == 1
        assert two.read("SELECT count(*) AS n FROM fab_two.v_wafer_yield").n[0] == 4
        assert one.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 0
        two.downgrade("base", drop_data=True)
        assert one.status().is_current


def test_the_version_table_is_explicitly_distributed(shared_wh: Warehouse, server_info: ServerInfo) -> None:
    engine = shared_wh.engine
    if server_info.brand is Brand.POSTGRESQL:
        assert "distribution" not in catalog(engine)
    else:
        assert ("alembic_version", "DISTRIBUTED BY (version_num)") in catalog(engine)["distribution"]


def test_a_failing_migration_leaves_nothing_and_says_what_failed(empty_url: URL) -> None:
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA dw"))
        connection.execute(text("CREATE VIEW dw.v_wafer_yield AS SELECT 1 AS one"))
    with Warehouse(empty_url) as wh:
        with pytest.raises(MigrationError, match="v_wafer_yield") as caught:
            wh.upgrade()
        assert "already exists" in str(caught.value)
        assert "dim_lot" not in inspect(engine).get_table_names("dw")
        assert wh.status().revision is None
    engine.dispose()


def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    with Warehouse("postgresql://etl:hunter2@127.0.0.1:1/fab") as wh:
        with pytest.raises(WarehouseConnectionError, match=r"127\.0\.0\.1:1/fab") as caught:
            wh.upgrade()
    assert "hunter2" not in str(caught.value)


def offline(server: str, direction: str) -> str:
    settings = WarehouseSettings(server=server, _env_file=None)
    made = migrate.offline_sql(settings, direction=direction)
    return made.replace("DROP TABLE dw.alembic_version;\n\n", "")  # Alembic before 1.19 ends a way down to base so


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_the_offline_sql_is_the_golden_file(server: str, direction: str) -> None:
    """Each file has run on its server (Cloudberry's has not). To renew them: GPWAREHOUSE_TEST_WRITE_GOLDEN=1."""
    path = GOLDEN / f"{server}.{direction}.sql"
    made = offline(server, direction)
    if os.environ.get("GPWAREHOUSE_TEST_WRITE_GOLDEN"):
        path.write_text(made)
    assert made == path.read_text()


def test_the_offline_sql_makes_what_an_upgrade_makes(empty_url: URL, wh: Warehouse, server_info: ServerInfo) -> None:
    name = {Brand.POSTGRESQL: "postgresql", Brand.CLOUDBERRY: "cloudberry"}.get(
        server_info.brand, f"greenplum{server_info.version[0]}"
    )
    engine = create_engine(empty_url)
    run_script(engine, (GOLDEN / f"{name}.upgrade.sql").read_text())
    assert catalog(engine) == catalog(wh.engine)
    with Warehouse(empty_url) as other:
        assert other.status().is_current
        migrate.check(other.settings)
    run_script(engine, (GOLDEN / f"{name}.downgrade.sql").read_text())
    left = {name for name, *_ in catalog(engine)["relations"]}
    assert {name for name in left if not name.startswith(("alembic_", "etl_migration", "pk_"))} == set()
    engine.dispose()


def test_plain_alembic_commands_work_in_the_source_tree(empty_url: URL) -> None:
    url = empty_url.render_as_string(hide_password=False)
    for command in (["upgrade", "head"], ["check"], ["current"], ["downgrade", "base"]):
        done = alembic(*command, GPWAREHOUSE_URL=url)
        assert done.returncode == 0, done.stderr
        if command == ["current"]:
            assert f"{HEAD} (head)" in done.stdout


def test_plain_alembic_offline_asks_for_the_server_and_takes_it() -> None:
    without = alembic("upgrade", "head", "--sql")
    assert without.returncode != 0
    assert "greenplum6" in without.stderr + without.stdout
    assert "Traceback" not in without.stderr
    done = alembic("-x", "server=greenplum6", "upgrade", "head", "--sql")
    assert re.search(r"DISTRIBUTED BY \(wafer_key\)", done.stdout)
