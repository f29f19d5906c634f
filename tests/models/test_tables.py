"""The tables of the contract, on a real server."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Table,
    create_mock_engine,
    exc,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, configure_mappers, selectinload
from sqlalchemy.schema import CreateTable

from gpwarehouse import models
from gpwarehouse.dialect import DistributedBy, DistributedReplicated, GreenplumDialect, UnsupportedByServerError
from gpwarehouse.models.base import Domain, KeyRole
from gpwarehouse.models.calendar import DIM_TIME_COLUMNS
from gpwarehouse.models.keys import durable_key
from tests.models.conftest import NOON, Rows

TABLES: list[Table] = [*models.Base.metadata.sorted_tables, models.migration_history_table("dw")]
COLUMNS = [column for table in TABLES for column in table.columns]
VERSIONED = [cls for cls in models.DIMENSIONS.values() if issubclass(cls, models.Dimension)]


def qualified(column: Column[Any]) -> str:
    return f"{column.table.name}.{column.name}"


# What the models say


@pytest.mark.parametrize("column", COLUMNS, ids=qualified)
def test_every_column_says_what_it_holds(column: Column[Any]) -> None:
    assert column.comment
    assert "%" not in column.comment


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_table_says_what_it_holds_and_where_its_rows_lie(table: Table) -> None:
    assert table.comment
    options = table.dialect_options["greenplum"]
    assert options["distributed_by"] is not None
    assert options["storage"] is not None


def test_tables_lie_as_the_contract_says() -> None:
    by_name = {table.name: table.dialect_options["greenplum"]["distributed_by"] for table in TABLES}
    wafer, batch = DistributedBy("wafer_key"), DistributedBy("batch_id")
    assert {name: lies for name, lies in by_name.items() if lies != DistributedReplicated()} == {
        "dim_wafer": wafer,
        "bridge_wafer_lot": wafer,
        "agg_test_values": wafer,
        "agg_process_values": DistributedBy("lot_key"),
        "fact_process_measurements": wafer,
        "fact_test_results": wafer,
        "fact_defect_inspection": wafer,
        "fact_equipment_performance": DistributedBy("equipment_key"),
        "etl_audit": DistributedBy("query_id"),
        "etl_load_batch": batch,
        "etl_member_observation": DistributedBy("member_key"),
        "etl_reject": batch,
        "etl_removal": batch,
        "etl_migration_history": DistributedBy("revision"),
    }


def test_facts_are_partitioned_by_month_and_have_one_index() -> None:
    for cls in models.FACTS.values():
        table: Table = cls.__table__
        assert table.dialect_options["greenplum"]["partition_by"].column == "event_ts"
        assert [[c.name for c in index.columns] for index in table.indexes] == [[cls.distribution_key]]
        assert not table.primary_key.columns


def test_keys_have_one_type_everywhere_or_joins_would_move_rows() -> None:
    for column in COLUMNS:
        if column.name.endswith("_key") and column.name != "time_key":
            assert isinstance(column.type, BigInteger), qualified(column)
            of_measured = column.name == "parameter_set_key" and column.table.name.startswith("fact_")
            assert column.name == "parent_equipment_key" or of_measured or not column.nullable


def test_no_key_becomes_a_serial() -> None:
    dialect = GreenplumDialect(server="postgresql")
    for table in TABLES:
        assert "SERIAL" not in str(CreateTable(table).compile(dialect=dialect))


def test_units_stand_in_the_comment_of_a_column_named_after_one() -> None:
    units = {
        "_nm": "nm",
        "_um": "um",
        "_mm": "mm",
        "_torr": "Torr",
        "_w": "W",
        "_sccm": "sccm",
        "_s": ", s",
        "_c": "degC",
    }
    for column in COLUMNS:
        for ending, unit in units.items():
            if column.name.endswith(ending):
                assert unit in (column.comment or ""), qualified(column)


def test_the_calendar_fills_every_column_of_dim_time() -> None:
    table: Table = models.DimTime.__table__
    audit = {"source_system", "source_id", "batch_id", "created_at", "updated_at", "created_by", "updated_by"}
    assert [c.name for c in table.columns if c.name not in audit] == list(DIM_TIME_COLUMNS)


@pytest.mark.parametrize("cls", VERSIONED, ids=lambda cls: cls.__tablename__)
def test_tracked_columns_are_the_attributes_that_make_a_version(cls: type[models.Dimension]) -> None:
    table: Table = cls.__table__  # type: ignore[attr-defined]
    tracked = set(cls.tracked_columns())
    untracked = {c.name for c in table.columns} - tracked
    assert tracked
    assert {cls.durable_key, *cls.natural_key, *cls.type1, "row_hash", "is_current", "created_at"} <= untracked
    assert not {"expiry_date", "batch_id", "updated_by"} & tracked


def test_every_role_names_a_dimension_and_its_whole_natural_key_in_order() -> None:
    roles: list[tuple[str, KeyRole]] = [(qualified(c), c.info["role"]) for c in COLUMNS if "role" in c.info]
    assert len(roles) > 30
    for name, role in roles:
        given = {**role.inputs, **role.constants}
        key = models.DIMENSIONS[role.dimension].natural_key
        assert set(given) == set(key), name
        assert list(role.inputs) == [part for part in key if part in role.inputs], name


def test_every_key_of_a_fact_leads_to_its_dimension() -> None:
    configure_mappers()
    for cls in models.FACTS.values():
        led = {next(iter(r.local_columns)).name for r in inspect(cls).relationships if r.viewonly and not r.uselist}
        assert led == {c.name for c in cls.__table__.columns if "role" in c.info or c.name == "time_key"}


def test_importing_the_models_imports_nothing_heavy() -> None:
    code = (
        "import sys, gpwarehouse.models;"
        "print([m for m in ('alembic', 'pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What the server makes of it


def test_what_was_created_is_what_the_models_say(engine: Engine) -> None:
    inspector = inspect(engine)
    assert set(inspector.get_table_names("dw")) == {t.name for t in models.Base.metadata.sorted_tables}
    for table in models.Base.metadata.sorted_tables:
        found = {c["name"]: c for c in inspector.get_columns(table.name, schema="dw")}
        assert list(found) == [c.name for c in table.columns]
        for column in table.columns:
            there = found[column.name]
            assert there["type"].compile(engine.dialect) == column.type.compile(engine.dialect), qualified(column)
            assert there["nullable"] is column.nullable, qualified(column)
            assert there["comment"] == column.comment
        assert inspector.get_table_comment(table.name, "dw")["text"] == table.comment
        assert inspector.get_pk_constraint(table.name, "dw")["constrained_columns"] == [
            c.name for c in table.primary_key.columns
        ]
        assert {i["name"] for i in inspector.get_indexes(table.name, "dw")} == {i.name for i in table.indexes}
        checks = {c["name"] for c in inspector.get_check_constraints(table.name, "dw")}
        assert checks == {c.name for c in table.constraints if isinstance(c, CheckConstraint)}


def test_no_name_is_longer_than_the_server_keeps() -> None:
    dialect = GreenplumDialect(server="postgresql")
    preparer = dialect.identifier_preparer
    for table in TABLES:
        names = [table.name, *(c.name for c in table.columns), *(str(i.name) for i in table.indexes)]
        names += [preparer.format_constraint(c) or "" for c in table.constraints]
        assert max(map(len, names)) <= 63
        assert "_1_prt_m200001" in f"{table.name}_1_prt_m200001"[:63]


def _least_row(table: Table) -> dict[str, Any]:
    """A row with a value in every column that must have one."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.nullable or column.server_default is not None:
            continue
        kind = column.type.python_type if not isinstance(column.type, JSONB) else dict
        domain: Domain | None = column.info.get("domain")
        row[column.name] = {
            int: int(max(domain.ge or 1, 1)) if domain else 1,
            float: 1.0,
            bool: True,
            str: domain.values[0] if domain and domain.values else "x",
            dict: {},
        }.get(kind, NOON)
    if table.name == "dim_time":
        row["calendar_date"] = row["fab_date"] = NOON.date()
    if table.name == "fact_equipment_performance":
        row["total_s"] = 0.5  # the sum of the states may be off by 1 s: leaves room for a bad one
    if "expiry_date" in table.columns:
        row["effective_date"] = models.BEGINNING
    if table.name == "dim_equipment":
        row["chamber_id"] = ""
    if table.name == "bridge_lot_genealogy":
        row["child_lot_key"] = 2
    return row


def _bad_values(column: Column[Any]) -> list[Any]:
    domain: Domain = column.info["domain"]
    if domain.json is not None:
        return [5, [1] if domain.json == "object" else {"a": 1}]
    if domain.values is not None:
        return ["WRONG", domain.values[0].lower()]
    kind = column.type.python_type
    step = 1 if kind is int else 0.1
    limits = [(domain.ge, -step), (domain.gt, 0), (domain.le, step)]
    return [kind(limit + beyond) for limit, beyond in limits if limit is not None]


DOMAINS = [(c, bad) for c in COLUMNS if "domain" in c.info for bad in _bad_values(c)]


@pytest.mark.parametrize(("column", "bad"), DOMAINS, ids=lambda v: qualified(v) if isinstance(v, Column) else str(v))
def test_a_value_outside_its_domain_is_refused(db: Rows, column: Column[Any], bad: Any) -> None:
    table = column.table
    assert isinstance(table, Table)
    row = _least_row(table)
    with pytest.raises(exc.IntegrityError, match=f'"ck_{table.name}_{column.name}"'):
        db.connection.execute(insert(table), [{**row, column.name: bad}])


@pytest.mark.parametrize("table", models.Base.metadata.sorted_tables, ids=str)
def test_the_row_that_the_bad_values_are_put_in_is_itself_taken(db: Rows, table: Table) -> None:
    assert db.connection.execute(insert(table).values(_least_row(table))).rowcount == 1


REFUSED: list[tuple[type[Any], str, dict[str, Any]]] = [
    (models.DimLot, "own_parent", {"lot_id": "A", "parent_lot_id": "A"}),
    (models.DimLot, "start_complete", {"start_ts": NOON, "complete_ts": NOON - timedelta(days=1)}),
    (models.DimLot, "interval", {"effective_date": NOON, "expiry_date": NOON}),
    (models.DimLot, "interval", {"expiry_date": "infinity"}),
    (models.DimEquipment, "parent", {"chamber_id": "A", "parent_equipment_key": None}),
    (models.DimEquipment, "parent", {"chamber_id": "", "hierarchy_level": "CHAMBER", "parent_equipment_key": None}),
    (models.DimEquipment, "own_parent", {"equipment_key": 7, "parent_equipment_key": 7}),
    (models.DimEquipment, "batch_size", {"chamber_id": "", "batch_size_min": 100, "batch_size_max": 50}),
    (models.DimWafer, "resistivity", {"resistivity_min_ohm_cm": 12.0, "resistivity_max_ohm_cm": 8.0}),
    (models.DimProcessStep, "rework_to_step", {"step_number": "0100", "rework_to_step": "0100"}),
    (models.BridgeLotGenealogy, "own_parent", {"parent_lot_key": 1, "child_lot_key": 1}),
    (models.BridgeWaferLot, "interval", {"from_ts": NOON, "to_ts": NOON}),
    (models.FactProcessMeasurements, "cpk_cp", {"cp": 1.33, "cpk": 1.34}),
    (models.FactProcessMeasurements, "start_end", {"start_ts": NOON, "end_ts": NOON - timedelta(seconds=1)}),
    (models.FactEquipmentPerformance, "e10_states", {"productive_s": 28000.0, "total_s": 28801.5, "standby_s": 800.0}),
    (models.FactDefectInspection, "clean", {"is_defect": False, "defect_id": 1}),
    (
        models.FactEquipmentPerformance,
        "theoretical_good",
        {"theoretical_production_time_s": 10.0, "theoretical_good_time_s": 11.0},
    ),
]


@pytest.mark.parametrize(("cls", "check", "values"), REFUSED, ids=[f"{c.__tablename__}-{k}" for c, k, _ in REFUSED])
def test_columns_that_contradict_each_other_are_refused(
    db: Rows, cls: type[Any], check: str, values: dict[str, Any]
) -> None:
    row = {**_least_row(cls.__table__), **values}
    with pytest.raises(exc.IntegrityError, match=f'"ck_{cls.__tablename__}_{check}"'):
        db.connection.execute(insert(cls.__table__), [row])


TAKEN: list[tuple[type[Any], dict[str, Any]]] = [
    (models.FactProcessMeasurements, {"cp": 1.33, "cpk": 1.33}),
    (models.FactProcessMeasurements, {"cp": 1.33, "cpk": 1.3300000000000003}),
    (models.FactProcessMeasurements, {"cp": None, "cpk": 2.0}),
    (models.FactEquipmentPerformance, {"productive_s": 28000.0, "standby_s": 800.0, "total_s": 28800.9}),
    (models.FactEquipmentPerformance, {"performance": 1.2}),
    (models.DimEquipment, {"chamber_id": "A", "parent_equipment_key": 8}),
    (models.DimLot, {"wafer_count": 50}),
]


@pytest.mark.parametrize(("cls", "values"), TAKEN)
def test_what_only_looks_wrong_is_taken(db: Rows, cls: type[Any], values: dict[str, Any]) -> None:
    taken = db.connection.execute(insert(cls.__table__).values({**_least_row(cls.__table__), **values}))
    assert taken.rowcount == 1


def test_the_reserved_members_are_in_force_for_ever(db: Rows) -> None:
    for cls in VERSIONED:
        table: Table = cls.__table__  # type: ignore[attr-defined]
        keys = select(table.c[cls.durable_key], table.c[cls.natural_key[0]]).where(table.c.is_current)
        assert {row[0]: row[1] for row in db.connection.execute(keys)} == {-1: "(unknown)", -2: "(not applicable)"}


def test_a_key_has_one_current_version(db: Rows) -> None:
    db.lot("A", expiry_date=NOON, is_current=False)
    db.lot("A", effective_date=NOON)
    with pytest.raises(exc.IntegrityError, match="uq_dim_lot_current"):
        db.lot("A", effective_date=NOON + timedelta(days=1))


def test_a_version_left_open_is_current_until_further_notice(db: Rows) -> None:
    table: Table = models.DimLot.__table__
    db.connection.execute(
        insert(table), [{"lot_key": 5, "lot_id": "A", "effective_date": models.BEGINNING, "row_hash": ""}]
    )
    row = db.connection.execute(select(table).where(table.c.lot_key == 5)).mappings().one()
    assert row["expiry_date"] == models.END_OF_TIME
    assert (row["is_current"], row["is_inferred"], row["product_key"]) == (True, False, -1)


def test_an_inferred_chamber_knows_its_tool() -> None:
    natural = {"facility": "FAB", "equipment_id": "ETCH-01", "chamber_id": "A"}
    assert models.DimEquipment.inferred_attributes(natural) == {
        "hierarchy_level": "CHAMBER",
        "parent_equipment_key": durable_key("FAB", "ETCH-01", ""),
    }
    assert "parent_equipment_key" not in models.DimEquipment.inferred_attributes({**natural, "chamber_id": ""})


def test_relationships_lead_to_the_current_version(db: Rows) -> None:
    tool = db.tool("ETCH-01", vendor="old", expiry_date=NOON, is_current=False)
    db.tool("ETCH-01", vendor="new", effective_date=NOON)
    chamber = db.tool("ETCH-01", "A")
    product = db.member(models.DimProduct, "P", "")
    lot = db.lot("L", product_key=product)
    wafer = db.wafer("L", "01", lot_key=lot)
    keys: dict[str, Any] = {"wafer_key": wafer, "lot_key": lot, "product_key": product}
    db.fact(models.FactProcessMeasurements, **keys, equipment_key=tool, chamber_key=chamber, recipe_key=-2)
    db.fact(models.FactTestResults, **keys, tester_key=tool, prober_key=-2)
    db.fact(models.FactDefectInspection, **keys, inspection_equipment_key=tool, inspection_id="I", is_defect=False)
    db.fact(models.FactEquipmentPerformance, equipment_key=chamber, total_s=1.0, productive_s=1.0)
    with Session(db.connection) as session:
        visit = session.scalars(select(models.FactProcessMeasurements)).one()
        assert visit.equipment.vendor == "new"
        assert visit.chamber.parent is visit.equipment
        assert visit.recipe.recipe_id == "(not applicable)"
        assert (visit.wafer.wafer_id, visit.wafer.lot.lot_id, visit.lot.product.product_id) == ("01", "L", "P")
        assert visit.process_step.process_flow_id == "(unknown)"
        tested = session.scalars(
            select(models.FactTestResults).options(selectinload(models.FactTestResults.tester))
        ).one()
        assert (tested.tester.vendor, tested.prober.equipment_id) == ("new", "(not applicable)")
        inspected = session.scalars(
            select(models.FactDefectInspection).join(models.FactDefectInspection.inspection_equipment)
        ).one()
        assert inspected.inspection_equipment.vendor == "new"
        shift = session.scalars(select(models.FactEquipmentPerformance)).one()
        assert shift.equipment.chamber_id == "A"


def test_bridges_lead_to_lots_and_wafers(db: Rows) -> None:
    parent, child, wafer = db.lot("A"), db.lot("A.1"), db.wafer("A", "01")
    with Session(db.connection) as session:
        split = models.BridgeLotGenealogy(
            parent_lot_key=parent, child_lot_key=child, event_type="SPLIT", event_ts=NOON, wafer_count=5
        )
        stay = models.BridgeWaferLot(wafer_key=wafer, lot_key=child, from_ts=NOON)
        session.add_all([split, stay])
        session.flush()
        session.expire_all()
        assert (split.parent_lot.lot_id, split.child_lot.lot_id) == ("A", "A.1")
        assert (stay.wafer.wafer_id, stay.lot.lot_id, stay.to_ts) == ("01", "A.1", models.END_OF_TIME)


def test_json_null_is_no_value(db: Rows) -> None:
    db.fact(models.FactProcessMeasurements, parameters=None)
    missing = text("SELECT count(*) FROM dw.fact_process_measurements WHERE parameters IS NULL")
    assert db.connection.scalar(missing) == 1


# Through other dialects


def _stock_connection(statements: list[str]) -> Connection:
    return create_mock_engine(  # type: ignore[return-value]
        "postgresql+psycopg2://", lambda sql, *_, **__: statements.append(str(sql))
    )


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_the_stock_dialect_is_refused_because_it_would_drop_the_options(table: Table) -> None:
    statements: list[str] = []
    with pytest.raises(UnsupportedByServerError, match=r"greenplum\+psycopg2://"):
        table.create(_stock_connection(statements), checkfirst=False)
    assert not statements


def test_all_tables_at_once_through_the_stock_dialect_are_refused_too() -> None:
    with pytest.raises(UnsupportedByServerError, match="PGDialect_psycopg2"):
        models.Base.metadata.create_all(_stock_connection([]), checkfirst=False)


@pytest.mark.parametrize("server", ["greenplum6", "greenplum7", "cloudberry", "postgresql"])
def test_every_table_compiles_for_every_server(server: str) -> None:
    dialect = GreenplumDialect(server=server)
    for table in TABLES:
        ddl = str(CreateTable(table).compile(dialect=dialect))
        assert ("DISTRIBUTED" in ddl) is (server != "postgresql")


def test_reserved_members_are_the_same_on_every_day() -> None:
    assert models.reserved_members() == models.reserved_members()
    for rows in models.reserved_members().values():
        assert [row["effective_date"] for row in rows] == [datetime(1900, 1, 1, tzinfo=UTC)] * 2
