"""A fact finds the version of a dimension that was in force when it happened."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import aliased

from gpwarehouse import Warehouse
from gpwarehouse.errors import ReadError
from gpwarehouse.models import DimEquipment, DimLot, DimTime, FactTestResults
from gpwarehouse.read import as_of
from tests.rows import die_of_l1

CHANGE = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def versioned(wh: Warehouse) -> Warehouse:
    """A lot whose owner changed at noon, and a die tested before, at and after it."""
    wh.load(
        "fact_test_results",
        [die_of_l1(event_ts=CHANGE.replace(hour=hour), die_x=hour, tester_id="T1") for hour in (10, 12, 14)],
    )
    copied = [
        c.name
        for c in DimLot.__table__.columns
        if c.name not in ("effective_date", "expiry_date", "is_current", "owner")
    ]
    names = ", ".join(copied)
    with wh.engine.begin() as connection:
        connection.execute(
            text("UPDATE dw.dim_lot SET is_current = false, expiry_date = :at WHERE lot_id = 'L1'"), {"at": CHANGE}
        )
        connection.execute(
            text(
                f"INSERT INTO dw.dim_lot ({names}, effective_date, owner) "
                f"SELECT {names}, CAST(:at AS timestamptz), 'after' FROM dw.dim_lot WHERE lot_id = 'L1'"
            ),
            {"at": CHANGE},
        )
    return wh


def test_the_version_in_force_is_joined_and_only_it(versioned: Warehouse) -> None:
    query = select(FactTestResults.die_x, DimLot.owner).join(DimLot, as_of(FactTestResults, DimLot))
    frame = versioned.read(query.order_by(FactTestResults.die_x))
    assert list(frame.die_x) == [10, 12, 14]
    assert frame.owner.isna().tolist() == [True, False, False]
    with versioned.session() as session:
        owners = session.execute(query.order_by(FactTestResults.die_x)).all()
    assert [tuple(pair) for pair in owners] == [(10, None), (12, "after"), (14, "after")]


def test_a_role_is_joined_by_its_key_and_an_alias(versioned: Warehouse) -> None:
    tester = aliased(DimEquipment, name="tester")
    query = select(tester.equipment_id).join_from(
        FactTestResults, tester, as_of(FactTestResults, tester, key="tester_key")
    )
    assert set(versioned.read(query).equipment_id) == {"T1"}


def test_what_has_no_versions_or_no_such_key_is_refused() -> None:
    with pytest.raises(ReadError, match="DimTime has no versions"):
        as_of(FactTestResults, DimTime)
    with pytest.raises(ReadError, match=r"no column 'loader_key'; its columns of this kind are .*tester_key"):
        as_of(FactTestResults, DimEquipment, key="loader_key")
    with pytest.raises(ReadError, match="mapped classes"):
        as_of("fact_test_results", DimLot)
