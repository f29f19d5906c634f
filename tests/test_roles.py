"""The roles: what each may and may not do, now and with what is to come; made twice, they are made once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from gpwarehouse import Warehouse
from gpwarehouse.errors import LoadError, PartitionError, RoleError
from gpwarehouse.settings import WarehouseSettings
from tests.partitions.fab import NOW, TESTS, command, contents, execute, load_units, with_policy
from tests.roles import LOGINS, NAMES, fab_with_roles


@pytest.fixture
def fab(wh: Warehouse) -> Iterator[Warehouse]:
    with fab_with_roles(wh) as made:
        yield made


def become(fab: Warehouse, kind: str) -> Warehouse:
    """The warehouse as a member of one of the roles sees it; the embedded server asks no password of anybody."""
    login = LOGINS[kind]
    with fab.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {login} NOLOGIN IN ROLE {NAMES[kind]}"))
    other = Warehouse(settings=fab.settings)

    from sqlalchemy import event

    @event.listens_for(other.engine, "connect")
    def _become(connection: object, _record: object) -> None:
        connection.autocommit = True  # type: ignore[attr-defined]
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f"SET SESSION AUTHORIZATION {login}")
        connection.autocommit = False  # type: ignore[attr-defined]

    return other


def refused(wh: Warehouse, *statements: str) -> None:
    for statement in statements:
        with pytest.raises(exc.DBAPIError, match=r"permission denied|must be owner|must be member"):
            with wh.engine.begin() as connection:
                connection.execute(text(statement))


def test_a_login_does_not_become_one_of_another_role(fab: Warehouse) -> None:
    """A service's reader runs everybody's SQL."""
    fab.schema.roles.apply()
    add = fab.schema.roles.add_login
    add(LOGINS["reader"], "reader", password="secret-of-the-test")
    with pytest.raises(
        RoleError, match=f"is a member of {NAMES['reader']} already; take another name, or remove it first"
    ):
        add(LOGINS["reader"], "loader", password="another-secret")
    add(LOGINS["reader"], "reader", password="another-secret")
    with fab.engine.connect() as connection:
        member = text("SELECT pg_has_role(:login, :role, 'MEMBER')")
        has = {
            kind: connection.execute(member, {"login": LOGINS["reader"], "role": NAMES[kind]}).scalar_one()
            for kind in NAMES
        }
    assert has == {"reader": True, "loader": False, "admin": False}


def test_a_second_apply_has_nothing_to_do(fab: Warehouse) -> None:
    assert len(fab.schema.roles.plan()) > 5
    done = fab.schema.roles.apply()
    assert any("CREATE ROLE" in change.statement for change in done)
    assert fab.schema.roles.plan() == []
    assert fab.schema.roles.apply() == []


def test_a_reader_reads_everything_and_writes_nothing(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    load_units(fab, "2026-03", 4)
    with become(fab, "reader") as reader:
        assert reader.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 4
        assert len(reader.read("SELECT * FROM dw.v_wafer_yield")) > 0
        assert reader.read("SELECT count(*) AS n FROM dw.fact_test_results_1_prt_m202603").n[0] == 4
        assert reader.schema.validate() == []
        refused(
            reader,
            "INSERT INTO dw.dim_lot SELECT * FROM dw.dim_lot",
            "DELETE FROM dw.fact_test_results",
            "UPDATE dw.dim_lot SET lot_type = 'ENG'",
            "TRUNCATE dw.etl_reject",
            "CREATE TABLE dw.mine (a integer)",
            "ALTER TABLE dw.dim_lot ADD COLUMN mine text",
            "DROP VIEW dw.v_wafer_yield",
        )


def test_a_loader_loads_into_months_that_are_there_and_cannot_change_the_schema(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    fab.partitions.apply(months=["2026-03"], tables=[TESTS], now=NOW)
    with become(fab, "loader") as loader:
        load_units(loader, "2026-03", 4)
        assert len(contents(loader)) == 4
        with pytest.raises(
            LoadError, match=r"may not change its partitions .* needs 2026-04: gpwarehouse partitions apply"
        ):
            load_units(loader, "2026-04", 3)
        with pytest.raises(PartitionError, match="may not change its partitions"):
            raise PartitionError(loader.partitions.apply(months=["2026-04"], tables=[TESTS], now=NOW).failed[0].error)
        refused(
            loader,
            "CREATE TABLE dw.mine (a integer)",
            "ALTER TABLE dw.dim_lot ADD COLUMN mine text",
            "DROP TABLE dw.etl_reject",
            "CREATE INDEX mine ON dw.dim_lot (lot_id)",
            "TRUNCATE dw.fact_test_results",
            "DELETE FROM dw.etl_migration_history",
            "UPDATE dw.alembic_version SET version_num = 'x'",
        )
    fab.partitions.apply(months=["2026-04"], tables=[TESTS], now=NOW)
    with Warehouse(settings=fab.settings) as again:
        load_units(again, "2026-04", 3)


def test_an_admin_keeps_up_the_partitions_and_what_is_to_come_is_the_roles_too(fab: Warehouse, tmp_path: Path) -> None:
    settings = WarehouseSettings(
        url=fab.settings.url, _env_file=None, retention="*: export after 12 months", archive_dir=tmp_path,
        partition_premake=1, **{f"role_{kind}": name for kind, name in NAMES.items()},
    )  # fmt: skip
    fab.schema.roles.apply()
    load_units(fab, "2025-06", 4)
    with become(Warehouse(settings=settings), "admin") as admin:
        report = admin.partitions.apply(now=NOW)
        assert report.failed == []
        assert {o.step.action for o in report.outcomes if o.done} == {"create", "export"}
        assert admin.partitions.restore(TESTS, "2025-06") == 4
        with admin.engine.begin() as connection:
            connection.execute(text("ALTER TABLE dw.dim_lot ADD COLUMN mine text"))
            connection.execute(text(f"SET LOCAL ROLE {NAMES['admin']}"))
            connection.execute(text("CREATE TABLE dw.mine (a integer)"))
    assert [change.statement for change in fab.schema.roles.plan()] == []


def moving(fab: Warehouse) -> Warehouse:
    """The same warehouse with a policy that came after its roles."""
    names = {f"role_{kind}": name for kind, name in NAMES.items()}
    return with_policy(fab, retention=f"{TESTS}: move after 12 months", partition_premake=0, **names)


def test_months_are_moved_once_somebody_who_may_has_made_the_archive_schema(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    load_units(fab, "2025-06", 4)
    with moving(fab) as policy:
        with become(policy, "admin") as admin:
            (failed,) = admin.partitions.apply(tables=[TESTS], now=NOW).failed
            assert "schema 'dw_archive', to which months are moved, does not exist, and this role may not" in str(
                failed.error
            )
            assert "gpwarehouse roles apply" in str(failed.error)
            assert len(contents(admin)) == 4
            assert ("rights", "schema dw_archive") in [(f.kind, f.object) for f in admin.schema.validate()]
            policy.schema.roles.apply()
            assert policy.schema.validate() == []
            assert not admin.partitions.apply(tables=[TESTS], now=NOW).failed
            assert admin.read(f"SELECT count(*) AS n FROM dw_archive.{TESTS}_detached_m202506").n[0] == 4


def test_whoever_may_make_schemas_moves_months_without_roles_apply_anew(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    load_units(fab, "2025-06", 4)
    with moving(fab) as policy:
        assert not policy.partitions.apply(tables=[TESTS], now=NOW).failed
        load_units(policy, "2025-06", 2)
        with become(policy, "admin") as admin:
            assert not admin.partitions.apply(tables=[TESTS], now=NOW).failed
        me = fab.read("SELECT CAST(current_user AS text) AS name").name[0]
        execute(fab, f"ALTER SCHEMA dw_archive OWNER TO {me}")
        load_units(policy, "2025-06", 3, batch_id="more")
        (failed,) = policy.partitions.apply(tables=[TESTS], now=NOW).failed
        assert f"its owner {NAMES['admin']} may not create in schema 'dw_archive'" in str(failed.error)


def test_what_was_granted_too_much_is_taken_back(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    with fab.engine.begin() as connection:
        connection.execute(text(f"GRANT INSERT, TRUNCATE ON dw.dim_lot TO {NAMES['reader']}"))
        connection.execute(text(f"GRANT CREATE ON SCHEMA dw TO {NAMES['loader']}"))
        connection.execute(text(f"REVOKE SELECT ON dw.v_wafer_yield FROM {NAMES['reader']}"))
    told = [(change.object, change.expected) for change in fab.schema.roles.plan()]
    assert told == [
        ("schema dw", f"{NAMES['loader']} may not create in it"),
        ("v_wafer_yield", f"{NAMES['reader']} may SELECT"),
        ("dim_lot", f"{NAMES['reader']} may not INSERT, TRUNCATE"),
    ]
    fab.schema.roles.apply()
    assert fab.schema.roles.plan() == []


def test_what_everybody_or_another_role_has_is_taken_back(fab: Warehouse) -> None:
    """Grants to PUBLIC on a table and on one month, on columns, on what is to come, and membership."""
    fab.schema.roles.apply()
    load_units(fab, "2026-03", 4)
    reader, loader, admin = NAMES["reader"], NAMES["loader"], NAMES["admin"]
    execute(fab, "GRANT SELECT, DELETE ON dw.dim_lot TO PUBLIC")
    execute(fab, "GRANT SELECT ON dw.fact_test_results_1_prt_m202603 TO PUBLIC")
    execute(fab, f"GRANT SELECT (lot_id), UPDATE (lot_id) ON dw.dim_lot TO {reader}")
    execute(fab, "GRANT SELECT (wafer_id) ON dw.dim_wafer TO PUBLIC")
    execute(fab, f"ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA dw GRANT SELECT ON TABLES TO PUBLIC")
    execute(fab, f"ALTER DEFAULT PRIVILEGES FOR ROLE {loader} IN SCHEMA dw GRANT DELETE ON TABLES TO {reader}")
    execute(fab, f"GRANT {admin} TO {reader}")
    told = {(change.object, change.expected) for change in fab.schema.roles.plan()}
    assert told == {
        (f"role {reader}", f"no member of {admin}"),
        ("dim_lot", "PUBLIC may not DELETE, SELECT"),
        ("fact_test_results_1_prt_m202603", "PUBLIC may not SELECT"),
        ("dim_lot.lot_id", f"{reader} may not UPDATE"),
        ("dim_wafer.wafer_id", "PUBLIC may not SELECT"),
        ("tables to come", f"PUBLIC may not SELECT those of {admin}"),
        ("tables to come", f"{reader} may not DELETE those of {loader}"),
    }
    assert {(f.object, f.expected) for f in fab.schema.validate()} == told
    fab.schema.roles.apply()
    assert fab.schema.roles.plan() == []
    assert fab.schema.validate() == []


def test_attributes_of_the_roles_are_told_and_left(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    execute(fab, f"ALTER ROLE {NAMES['reader']} SUPERUSER LOGIN")
    found = [(f.kind, f.object, f.expected, f.found) for f in fab.schema.validate()]
    role = f"role {NAMES['reader']}"
    assert found == [("rights", role, "NOSUPERUSER", "SUPERUSER"), ("rights", role, "NOLOGIN", "LOGIN")]
    assert fab.schema.roles.apply() == []


def test_who_may_not_is_told_who_may(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    with fab.engine.begin() as connection:
        connection.execute(text(f"REVOKE SELECT ON dw.dim_lot FROM {NAMES['reader']}"))
    with become(fab, "reader") as reader:
        with pytest.raises(RoleError, match=r"permission denied.*nothing was changed. A superuser may"):
            reader.schema.roles.apply()


def test_without_a_schema_it_is_told(settings: WarehouseSettings) -> None:
    with Warehouse(settings=settings) as empty:
        with pytest.raises(RoleError, match="no schema 'dw' to grant rights on: run gpwarehouse upgrade first"):
            empty.schema.roles.plan()


def test_the_commands_print_the_statements_and_run_them(fab: Warehouse) -> None:
    said = {f"GPWAREHOUSE_ROLE_{kind.upper()}": name for kind, name in NAMES.items()}
    said["GPWAREHOUSE_URL"] = fab.settings.sqlalchemy_url().render_as_string(hide_password=False)
    sql = command("roles", "plan", "--sql", **said)
    assert f"CREATE ROLE {NAMES['reader']} NOLOGIN;" in sql.stdout, sql.stderr
    assert re.search(r"\d+ statements? run", command("roles", "apply", **said).stdout)
    assert "nothing is to be done" in command("roles", "plan", **said).stdout
    assert command("roles", "plan", "--json", **said).stdout == "[]\n"
