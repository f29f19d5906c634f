"""/migrations: where the schema stands, plans, and jobs that change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from tests.conftest import database
from tests.roles import fab_with_roles
from tests.service.serving import Served, ended, secret, serve, wait_for


@pytest.fixture
def fab(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse of the test's own: these tests change its schema."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse, fab_with_roles(warehouse) as made:
        yield made


@pytest.fixture
def served(fab: Warehouse, tmp_path: Path) -> Iterator[Served]:
    with serve(fab, tmp_path) as running:
        fab.schema.roles.apply()
        yield running


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


def change(client: httpx.Client, way: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/migrations/{way}", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    return ended(client, answer.json()["id"], 120)


def test_a_rollback_and_a_migration_change_the_schema_and_the_status_says_so(
    served: Served, admin: httpx.Client
) -> None:
    with served.client("reader") as reader:
        status = reader.get("/migrations/status").json()
        assert status["current"] == status["head"] == served.owner.schema.head()
        assert {one["state"] for one in status["revisions"]} == {"applied"}
        below = status["revisions"][-2]["revision"]
        plan = admin.post("/migrations/rollback", json={"revision": below, "plan": True})
        assert plan.status_code == 200
        assert [step["direction"] for step in plan.json()["steps"]] == ["downgrade"]
        assert plan.json()["steps"][0]["statements"] == []  # it moves data alone
        further = admin.post(
            "/migrations/rollback", json={"revision": status["revisions"][-3]["revision"], "plan": True}
        )
        assert further.json()["steps"][1]["statements"]
        assert reader.get("/migrations/status").json() == status

        job = change(admin, "rollback", revision=below)
        assert job["state"] == "succeeded", job
        assert job["result"] == {"revision": below}
        behind = reader.get("/migrations/status").json()
        assert behind["current"] == below
        assert behind["pending"] == [status["head"]]

        steps = admin.post("/migrations/migrate", json={"plan": True}).json()["steps"]
        assert [step["revision"] for step in steps] == [status["head"]]
        assert change(admin, "migrate")["state"] == "succeeded"
        assert reader.get("/migrations/status").json()["current"] == status["head"]
    assert admin.post("/migrations/migrate", json={"plan": True}).json() == {"steps": []}


def test_a_rollback_that_would_drop_data_is_409_and_changes_nothing(served: Served, admin: httpx.Client) -> None:
    served.owner.load(
        "fact_equipment_performance",
        [{"equipment_id": "EQ-1", "event_ts": "2026-03-04T06:00:00Z", "productive_s": 43200.0, "total_s": 43200.0}],
        batch_id="b",
    )
    refused = admin.post("/migrations/rollback", json={"revision": "base"})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith(":data-would-go")
    assert "fact_equipment_performance" in refused.json()["detail"]
    assert admin.get("/jobs").json()["jobs"] == []
    plan = admin.post("/migrations/rollback", json={"revision": "base", "plan": True}).json()
    assert any("fact_equipment_performance" in loss for step in plan["steps"] for loss in step["losses"])
    assert served.owner.read("SELECT count(*) AS n FROM dw.fact_equipment_performance").n[0] == 1
    assert change(admin, "rollback", revision="base", drop_data=True)["state"] == "succeeded"
    assert served.owner.schema.current() is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"revision": "no_such_one"}, 409),
        ({"revision": "a:b"}, 422),
        ({"revision": "site@"}, 422),
        ({"revision": 1}, 422),
        ({"revision": "head", "plan": "yes"}, 422),
        ({"revision": "head", "sql": True}, 422),
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_job(admin: httpx.Client, body: Any, status: int) -> None:
    for way in ("migrate", "rollback"):
        answer = admin.post(f"/migrations/{way}", json=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert admin.get("/jobs").json()["jobs"] == []


def test_one_key_makes_one_migration(admin: httpx.Client) -> None:
    key = {"idempotency-key": "migrate-once"}
    first = admin.post("/migrations/migrate", json={}, headers=key)
    assert first.status_code == 202
    ended(admin, first.json()["id"], 60)
    assert admin.post("/migrations/migrate", json={}, headers=key).json()["id"] == first.json()["id"]
    assert admin.post("/migrations/migrate", json={"revision": "+1"}, headers=key).status_code in (409, 422)


def test_a_migration_that_waits_for_a_lock_is_cancelled_and_leaves_nothing(served: Served, admin: httpx.Client) -> None:
    head = served.owner.schema.head()
    below = served.owner.schema.revisions()[-2].revision
    with served.owner.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE dw.alembic_version IN SHARE MODE")
        job_id = admin.post("/migrations/rollback", json={"revision": below}).json()["id"]
        blocked = "SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted"
        wait_for(lambda: connection.exec_driver_sql(blocked).scalar_one() > 0)
        busy = admin.post("/migrations/migrate", json={"plan": True})
        assert busy.status_code == 409
        assert busy.json()["type"].endswith(":migration-runs")
        assert admin.get(f"/jobs/{job_id}").json()["progress"].startswith(f"downgrade {head}")
        assert admin.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"
        wait_for(lambda: connection.exec_driver_sql(blocked).scalar_one() == 0, 1)
    assert served.owner.schema.current() == head
    assert change(admin, "rollback", revision=below)["state"] == "succeeded"


def test_a_migration_that_waits_for_another_migrator_is_cancelled(served: Served, admin: httpx.Client) -> None:
    from gpwarehouse.engine import create_migration_engine
    from gpwarehouse.migrate.lock import one_migrator

    job_id = admin.post("/migrations/migrate", json={}).json()["id"]
    ended(admin, job_id, 60)
    engine = create_migration_engine(served.owner.settings)
    with one_migrator(engine, served.owner.settings):
        answer = admin.post("/migrations/rollback", json={"revision": "base", "plan": True}).json()
        assert answer["steps"]
        job_id = admin.post("/migrations/migrate", json={}).json()["id"]
        wait_for(lambda: admin.get(f"/jobs/{job_id}").json()["state"] == "running")
        assert admin.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"


def test_others_than_admins_may_look_only(served: Served) -> None:
    for role in ("reader", "loader"):
        with served.client(role) as client:
            assert client.get("/migrations/status").status_code == 200
            assert client.post("/migrations/migrate", json={"plan": True}).status_code == 403
            assert client.post("/migrations/rollback", json={"revision": "base"}).status_code == 403


def test_without_a_login_of_an_admin_nothing_can_be_changed(fab: Warehouse, served: Served, tmp_path: Path) -> None:
    only = {"service_reader_url": secret(served.settings.service_reader_url)}
    with serve(fab, tmp_path / "bare", logins=only) as bare, bare.client("admin") as admin:
        assert admin.get("/migrations/status").status_code == 200
        assert admin.post("/migrations/migrate", json={"plan": True}).status_code == 404
        assert admin.post("/migrations/rollback", json={"revision": "base"}).status_code == 404
