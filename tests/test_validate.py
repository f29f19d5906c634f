"""The live schema against the models: nothing right after an upgrade, and each kind of difference by its name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from gpwarehouse import Warehouse
from gpwarehouse.dialect import AddPartition, Brand, DropPartition, RangePartition, ServerInfo
from gpwarehouse.errors import ReadError
from gpwarehouse.models import FACTS
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.validate import Finding, _compare, validate
from gpwarehouse.validate.catalog import Snapshot, expected_snapshot, live_snapshot
from gpwarehouse.validate.compare import compare_snapshots
from tests.catalog import catalog
from tests.migrate.site import OURS
from tests.partitions.fab import NOW, TESTS, command, execute, load_units, with_policy
from tests.roles import fab_with_roles

FACT = FACTS[TESTS].__table__


@pytest.fixture
def fab(wh: Warehouse) -> Iterator[Warehouse]:
    with fab_with_roles(wh) as made:
        yield made


@pytest.fixture(scope="module")
def models(shared_wh: Warehouse) -> Snapshot:
    """The schema as the models would have it on this server: the same whatever a test does to its own."""
    with shared_wh.engine.connect() as connection:
        return expected_snapshot(connection)


def told(wh: Warehouse) -> list[tuple[str, str]]:
    return [(finding.kind, finding.object) for finding in wh.schema.validate()]


def one(wh: Warehouse, kind: str) -> Finding:
    (found,) = [finding for finding in wh.schema.validate() if finding.kind == kind]
    return found


def test_right_after_an_upgrade_there_is_nothing_to_tell_and_nothing_is_changed(shared_wh: Warehouse) -> None:
    before = catalog(shared_wh.engine)
    assert shared_wh.schema.validate() == []
    assert catalog(shared_wh.engine) == before


def test_neither_loads_nor_months_nor_another_schema_name_make_a_difference(empty_url: URL) -> None:
    url = empty_url.render_as_string(hide_password=False)
    with Warehouse(url, schema_name="fab_two") as two:
        two.upgrade()
        load_units(two, "2026-03", 3)
        two.partitions.apply()
        assert two.schema.validate() == []


def test_a_database_without_the_schema_has_one_finding(settings: WarehouseSettings) -> None:
    with Warehouse(settings=settings) as empty:
        assert [(f.kind, f.object, f.remedy) for f in empty.schema.validate()] == [
            ("schema", "dw", "gpwarehouse upgrade")
        ]


DRIFT = [
    ("DROP TABLE dw.etl_reject", "table", "etl_reject", "there", "missing"),
    ("CREATE TABLE dw.bobs_copy (a integer)", "foreign table", "bobs_copy", "not in this schema", "table"),
    ("CREATE VIEW dw.bobs_view AS SELECT 1 AS a", "foreign view", "bobs_view", "not in this schema", "view"),
    ("DROP VIEW dw.v_lot_status", "view", "v_lot_status", "there", "missing"),
    ("ALTER TABLE dw.dim_lot ADD COLUMN mine text", "column", "dim_lot.mine", "not there", "there"),
    ("ALTER TABLE dw.etl_reject DROP COLUMN raw", "column", "etl_reject.raw", "there", "missing"),
    ("ALTER TABLE dw.etl_reject ALTER reason TYPE varchar(80)", "type", "etl_reject.reason", "text",
     "character varying(80)"),
    ("ALTER TABLE dw.etl_reject ALTER reason DROP NOT NULL", "nullability", "etl_reject.reason", "NOT NULL", "NULL"),
    ("ALTER TABLE dw.dim_lot ALTER is_current DROP DEFAULT", "default", "dim_lot.is_current", "true", "none"),
    ("COMMENT ON TABLE dw.etl_reject IS 'mine'", "comment", "etl_reject",
     "Row of a source that was refused, with the column at fault and the reason", "mine"),
    ("COMMENT ON COLUMN dw.v_lot_status.lot_key IS NULL", "comment", "v_lot_status.lot_key", "Lot (dim_lot)", "none"),
    ("ALTER TABLE dw.etl_load_batch DROP CONSTRAINT ck_etl_load_batch_rows_read", "check",
     "etl_load_batch.ck_etl_load_batch_rows_read", "CHECK ((rows_read >= 0))", "missing"),
    ("ALTER TABLE dw.dim_time DROP CONSTRAINT pk_dim_time", "key", "dim_time.pk_dim_time", "PRIMARY KEY (time_key)",
     "missing"),
    ("DROP INDEX dw.uq_dim_lot_current", "index", "dim_lot.uq_dim_lot_current",
     "UNIQUE btree (lot_key) WHERE is_current", "missing"),
    (f"CREATE INDEX mine ON dw.{TESTS} (lot_key)", "index", f"{TESTS}.mine", "not there", "btree (lot_key)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "kind", "name", "expected", "found"), DRIFT, ids=[f"{row[1]} {row[2]}" for row in DRIFT]
)
def test_each_difference_is_told_with_what_was_expected_and_found(
    shared_wh: Warehouse, models: Snapshot, statement: str, kind: str, name: str, expected: str, found: str
) -> None:
    """Told within the transaction that makes it, so that one warehouse serves all."""
    with shared_wh.engine.connect() as connection:
        with connection.begin() as transaction:
            connection.execute(text(statement))
            live = live_snapshot(connection, "dw")
            assert live is not None
            partitions = {name for name in live.relations if "_1_prt_" in name}
            findings = list(compare_snapshots(models, live, partitions, set()))
            transaction.rollback()
    assert [(f.kind, f.object, f.expected, f.found) for f in findings if f.kind == kind] == [
        (kind, name, expected, found)
    ]


MONTH = f"{TESTS}_1_prt_m200001"
FUNCTION = "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
HANGING = [
    (["CREATE RULE mine AS ON INSERT TO dw.etl_reject DO ALSO NOTIFY mine"], "rule", "etl_reject.mine", "a rule, which"),
    (
        [FUNCTION, "CREATE TRIGGER mine BEFORE UPDATE ON dw.etl_reject FOR EACH ROW EXECUTE PROCEDURE public.f()"],
        "trigger", "etl_reject.mine", "a trigger, which",
    ),
    (["UPDATE pg_class SET relpersistence = 'u' WHERE oid = CAST('dw.etl_reject' AS regclass)"], "unlogged",
     "etl_reject", "UNLOGGED: a crash empties it"),
    (["UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('dw.uq_dim_lot_current' AS regclass)"],
     "invalid index", "dim_lot.uq_dim_lot_current", "invalid: no query uses it"),
    ([FUNCTION.replace("public.f()", "dw.f(a integer)").replace("RETURNS trigger", "RETURNS integer")
      .replace("plpgsql", "sql").replace("BEGIN RETURN NEW; END", "SELECT 1")],
     "foreign function", "f(a integer)", "function"),
    (["CREATE TYPE dw.pair AS (a integer, b integer)"], "foreign type", "pair", "type"),
    (["CREATE DOMAIN dw.amount AS integer"], "foreign type", "amount", "type"),
    (["CREATE SEQUENCE dw.mine"], "foreign sequence", "mine", "sequence"),
    ([f"ALTER TABLE dw.{MONTH} ALTER operator_id SET NOT NULL"], "nullability", f"{MONTH}.operator_id", "NOT NULL"),
    ([f"ALTER TABLE dw.{MONTH} ALTER operator_id SET DEFAULT 'me'"], "default", f"{MONTH}.operator_id", "'me'"),
    ([f"ALTER TABLE dw.{MONTH} ADD CONSTRAINT mine CHECK (die_x < 1000)"], "check", f"{MONTH}.mine",
     "CHECK ((die_x < 1000))"),
    ([f"CREATE INDEX mine ON dw.{MONTH} (lot_key)"], "index", f"{MONTH}.mine", "btree (lot_key)"),
    (["DELETE FROM dw.dim_lot WHERE lot_key = -2"], "reserved member", "dim_lot", "missing"),
    ([f"CREATE TABLE dw.{TESTS}_detached_m202001 (a integer)"], "foreign table", f"{TESTS}_detached_m202001", "table"),
    ([f"CREATE TABLE dw.{TESTS}_detached_m202001 (event_ts timestamptz)"], "detached month",
     f"{TESTS}_detached_m202001", "a table of its own"),
    (["ALTER TABLE dw.etl_reject ALTER reason TYPE text COLLATE \"C\""], "collation", "etl_reject.reason", "C"),
    (
        [FUNCTION, "CREATE TRIGGER mine BEFORE UPDATE ON dw.etl_reject FOR EACH ROW EXECUTE PROCEDURE public.f()",
         "ALTER TABLE dw.etl_reject DISABLE TRIGGER mine"],
        "disabled trigger", "etl_reject.mine", "a trigger, disabled",
    ),
    (["ALTER TABLE dw.dim_lot REPLICA IDENTITY FULL"], "replica identity", "dim_lot", "FULL"),
    (["ALTER TABLE dw.dim_lot REPLICA IDENTITY NOTHING"], "replica identity", "dim_lot", "NOTHING"),
    (["ALTER TABLE dw.dim_lot REPLICA IDENTITY USING INDEX pk_dim_lot"], "replica identity", "dim_lot", "an index"),
    (["CREATE PUBLICATION mine FOR TABLE dw.dim_lot"], "publication", "dim_lot.mine", "a publication, which sends it"),
    (["CREATE PUBLICATION mine FOR ALL TABLES"], "publication", "mine", "a publication, which sends all tables to others"),
    (["ALTER TABLE dw.dim_lot ALTER owner SET STATISTICS 500"], "statistics target", "dim_lot.owner", "500"),
    ([f"ALTER TABLE dw.{TESTS} ALTER die_x SET STATISTICS 0"], "statistics target", f"{TESTS}.die_x", "0"),
    (["ALTER TABLE dw.dim_lot ALTER owner SET (n_distinct = -0.5)"], "column options", "dim_lot.owner", "n_distinct=-0.5"),
    (["ALTER TABLE dw.dim_lot SET (autovacuum_enabled = false)"], "options", "dim_lot", "autovacuum_enabled=false"),
    (["ALTER TABLE dw.dim_lot SET (toast.autovacuum_enabled = false)"], "options", "dim_lot",
     "toast.autovacuum_enabled=false"),
    ([f"ALTER TABLE dw.{MONTH} SET (autovacuum_vacuum_threshold = 7)"], "options", MONTH, "autovacuum_vacuum_threshold=7"),
    (["ALTER VIEW dw.v_lot_status SET (security_barrier = true)"], "options", "v_lot_status", "security_barrier=true"),
]  # fmt: skip
POSTGRESQL_ONLY = [
    (
        ["CREATE PUBLICATION mine FOR TABLES IN SCHEMA dw"],
        "publication",
        "mine",
        "a publication, which sends all tables of the schema",
    ),
    (["ALTER TABLE dw.dim_lot ENABLE ROW LEVEL SECURITY"], "row security", "dim_lot", "on: some see some rows only"),
    (["CREATE POLICY mine ON dw.dim_lot USING (true)"], "policy", "dim_lot.mine", "a policy of row security"),
]


@pytest.mark.parametrize(
    ("statements", "kind", "name", "found"),
    [*HANGING, *POSTGRESQL_ONLY],
    ids=[f"{row[1]} {row[2]}" for row in (*HANGING, *POSTGRESQL_ONLY)],
)
def test_what_hangs_on_tables_and_what_one_partition_has_is_told(
    shared_wh: Warehouse,
    models: Snapshot,
    server_info: ServerInfo,
    statements: list[str],
    kind: str,
    name: str,
    found: str,
) -> None:
    if kind in ("row security", "policy") and server_info.postgres_version < (9, 5):
        pytest.skip("this server has no row security")
    if statements[0].startswith("UPDATE pg_") and server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("the catalogs are changed by hand, which a cluster does not take")
    with shared_wh.engine.connect() as connection:
        with connection.begin() as transaction:
            for statement in statements:
                try:
                    connection.exec_driver_sql(statement)
                except DBAPIError as error:
                    if server_info.brand is Brand.POSTGRESQL:
                        raise
                    pytest.skip(f"this server refuses it: {str(error.orig).splitlines()[0]}")
            told = findings_in(connection, shared_wh, models)
            transaction.rollback()
    assert [(f.kind, f.object) for f in told] == [(kind, name)]
    assert told[0].found.startswith(found)
    assert told[0].remedy


def findings_in(connection: Connection, wh: Warehouse, models: Snapshot) -> list[Finding]:
    """All findings within a transaction, so that one warehouse serves all."""
    live = live_snapshot(connection, "dw")
    assert live is not None
    (snapshot, partitions, detached), others = _compare(connection, live, wh.settings, None, NOW)
    return [*compare_snapshots(models, snapshot, partitions, detached), *others]


def test_a_partition_that_lacks_its_tables_index_is_told(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("this server makes indexes on all partitions alike")
    execute(wh, f"CREATE INDEX mine ON ONLY dw.{TESTS} (lot_key)")
    found = [(f.kind, f.object, f.found) for f in wh.schema.validate()]
    assert ("index", f"{TESTS}.mine", "btree (lot_key)") in found
    assert ("index", MONTH, "missing") in found


def test_a_trigger_of_a_fact_is_told_once_and_not_for_each_month(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("this server has no triggers on such tables")
    wh.partitions.apply(now=NOW)
    execute(wh, FUNCTION, f"CREATE TRIGGER t AFTER INSERT ON dw.{TESTS} FOR EACH ROW EXECUTE PROCEDURE public.f()")
    assert told(wh) == [("trigger", f"{TESTS}.t")]


def test_a_key_whose_triggers_are_disabled_is_told_to_be_kept_by_nobody(
    shared_wh: Warehouse, models: Snapshot, server_info: ServerInfo
) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("foreign keys are never enforced here")
    with shared_wh.engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql(
            "ALTER TABLE dw.etl_reject ADD CONSTRAINT fk FOREIGN KEY (batch_id) REFERENCES dw.etl_load_batch"
        )
        connection.exec_driver_sql("ALTER TABLE dw.etl_reject DISABLE TRIGGER ALL")
        found = {(f.kind, f.object) for f in findings_in(connection, shared_wh, models)}
        transaction.rollback()
    assert found == {("foreign key", "etl_reject.fk"), ("disabled trigger", "etl_reject")}


def test_hours_of_months_that_were_loaded_are_missed(wh: Warehouse) -> None:
    load_units(wh, "2026-03", 3)
    execute(wh, "TRUNCATE dw.dim_time")
    hours = [(f.kind, f.object, f.expected) for f in wh.schema.validate()]
    assert hours == [("hours", "dim_time", "the hours of 2026-03, of which facts were loaded")]
    load_units(wh, "2026-03", 1, batch_id="more")
    assert "hours" not in {f.kind for f in wh.schema.validate()}


def test_a_version_table_that_somebody_emptied_or_changed_is_told(wh: Warehouse) -> None:
    execute(wh, "DELETE FROM dw.alembic_version")
    findings = [finding for finding in wh.schema.validate() if finding.kind == "revision"]
    assert [(f.object, f.expected, f.found) for f in findings] == [(one, "applied", "pending") for one in OURS]
    finding = findings[0]
    assert "alembic stamp" in finding.remedy
    execute(wh, "INSERT INTO dw.alembic_version VALUES ('0099')")
    finding = one(wh, "revision")
    assert (finding.object, finding.found) == ("0099", "missing")
    assert "install the package that made it" in finding.remedy
    execute(wh, "DROP TABLE dw.alembic_version")
    assert told(wh) == [("revision", one) for one in OURS]


def test_owners_that_differ_are_told_where_no_roles_are(wh: Warehouse, nobody: str) -> None:
    execute(wh, f"ALTER TABLE dw.etl_reject OWNER TO {nobody}", f"ALTER VIEW dw.v_lot_status OWNER TO {nobody}")
    finding = one(wh, "owner")
    assert (finding.object, finding.found) == ("etl_reject, v_lot_status", nobody)
    assert told(wh) == [("owner", "etl_reject, v_lot_status")]


def test_nothing_is_told_after_roles_and_partitions_were_applied(fab: Warehouse) -> None:
    fab.schema.roles.apply()
    load_units(fab, "2026-03", 3)
    fab.partitions.apply()
    assert fab.schema.validate() == []
    assert fab.schema.validate(roles=False) == []


def test_a_view_of_another_text_is_told_by_the_lines_that_differ(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        said = connection.execute(text("SELECT pg_get_viewdef('dw.v_lot_status'::regclass)")).scalar_one()
        connection.exec_driver_sql(f"CREATE OR REPLACE VIEW dw.v_lot_status AS {said.rstrip().rstrip(';')} LIMIT 10")
    finding = one(wh, "view")
    assert finding.object == "v_lot_status"
    assert "LIMIT 10" in finding.found
    assert told(wh) == [("view", "v_lot_status")]


@pytest.mark.segments
def test_distribution_storage_and_encoding_are_told(wh: Warehouse, server_info: ServerInfo) -> None:
    execute(
        wh,
        "ALTER TABLE dw.etl_reject SET DISTRIBUTED RANDOMLY",
        "DROP TABLE dw.bridge_wafer_lot CASCADE",
        "CREATE TABLE dw.bridge_wafer_lot (a integer) WITH (appendonly=true) DISTRIBUTED BY (a)",
    )
    found = {finding.kind: finding for finding in wh.schema.validate() if finding.kind in ("distribution", "storage")}
    assert found["storage"].object == "bridge_wafer_lot"
    assert ("distribution", "etl_reject") in told(wh)
    assert server_info.brand is not Brand.POSTGRESQL


def test_another_partition_scheme_is_told(wh: Warehouse) -> None:
    execute(
        wh,
        f"ALTER TABLE dw.{TESTS} RENAME TO old",
        "CREATE SCHEMA elsewhere",
        "ALTER TABLE dw.old SET SCHEMA elsewhere",
        f"CREATE TABLE dw.{TESTS} (event_ts timestamptz)",
    )
    assert ("partition scheme", TESTS) in told(wh)


def test_overlaps_and_odd_bounds_are_told_with_the_way_out(wh: Warehouse) -> None:
    with with_policy(wh, partition_window=12, retention=f"{TESTS}: detach after 36 months") as gapped:
        gapped.partitions.apply(tables=[TESTS], months=["2022-01", "2026-08", "2026-10"], hold_days=0, now=NOW)
        with gapped.engine.begin() as connection:
            odd = RangePartition("odd", NOW.replace(month=3, day=1, hour=0), NOW.replace(month=3, day=9, hour=0))
            connection.execute(AddPartition(FACT, odd))
        gapped.partitions.apply(tables=[TESTS], now=NOW)
        gapped.partitions.apply(tables=[TESTS], months=["2022-01"], now=NOW)
        found = validate(gapped.engine, gapped.settings, now=NOW)
    by_kind = {finding.kind: finding for finding in found}
    assert by_kind["bounds"].object == f"{TESTS}.odd"
    assert (by_kind["overlap"].object, by_kind["overlap"].found) == (
        f"{TESTS}_detached_m202201", "partition m202201 too",
    )  # fmt: skip


def test_months_in_which_nothing_was_loaded_are_no_finding_and_one_that_lost_its_rows_is(wh: Warehouse) -> None:
    with with_policy(wh, partition_window=36) as kept:
        for month in ("2024-02", "2025-07", "2026-03"):
            load_units(kept, month, 3)
        assert validate(kept.engine, kept.settings, now=NOW) == []
        kept.facts.delete_month(TESTS, "2024-02")
        assert validate(kept.engine, kept.settings, now=NOW) == []
        with kept.engine.begin() as connection:
            connection.execute(DropPartition(FACT, "m202507"))
        (gap,) = validate(kept.engine, kept.settings, now=NOW)
    assert (gap.kind, gap.object) == ("gap", f"{TESTS}.m202507")
    assert gap.expected == "a partition, as rows of it were loaded"
    assert "gpwarehouse data check" in gap.remedy


def test_rights_are_told_once_roles_have_any(fab: Warehouse) -> None:
    assert fab.schema.validate() == []
    assert ("rights", f"role {fab.settings.role_reader}") in [
        (f.kind, f.object) for f in fab.schema.validate(roles=True)
    ]
    fab.schema.roles.apply()
    assert fab.schema.validate() == []
    execute(fab, f"REVOKE SELECT ON dw.dim_lot FROM {fab.settings.role_reader}")
    finding = one(fab, "rights")
    assert (finding.object, finding.expected) == ("dim_lot", f"{fab.settings.role_reader} may SELECT")
    assert finding.remedy == "gpwarehouse roles apply"


@pytest.fixture
def nobody(wh: Warehouse) -> Iterator[str]:
    name = f"gpw_t{os.getpid()}_nobody"
    execute(wh, f"CREATE ROLE {name}")
    yield name
    execute(wh, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_role_that_may_not_make_temporary_tables_is_told_what_it_needs(wh: Warehouse, nobody: str) -> None:
    database = wh.engine.url.database
    execute(wh, f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    from sqlalchemy import event

    with Warehouse(settings=wh.settings) as other:

        @event.listens_for(other.engine, "begin")
        def _become(connection: object) -> None:
            connection.exec_driver_sql(f"SET ROLE {nobody}")  # type: ignore[attr-defined]

        with pytest.raises(ReadError, match=r"could not be compared: .*; the role needs TEMPORARY on the database"):
            other.schema.validate()


def test_the_command_prints_findings_and_says_so_by_its_exit_code(wh: Warehouse) -> None:
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = command("--url", url, "schema", "validate")
    assert (done.exit_code, done.stdout.strip()) == (0, "the schema is as the models say"), done.stderr
    execute(wh, "CREATE TABLE dw.bobs_copy (a integer)")
    shown = command("--url", url, "schema", "validate")
    assert shown.exit_code == 1
    assert "bobs_copy" in shown.stdout
    said = command("--url", url, "schema", "validate", "--json")
    assert said.exit_code == 1
    (finding,) = json.loads(said.stdout)
    assert (finding["kind"], finding["object"]) == ("foreign table", "bobs_copy")
