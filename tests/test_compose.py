"""docker-compose.yml: what Docker would refuse, and what must hold wherever it runs. Docker itself is not needed."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import psycopg2
import pytest
import yaml
from sqlalchemy import URL

from tests.containers import GREENPLUM_IMAGES, greenplum_container

COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture(scope="module")
def greenplum(compose: dict[str, Any]) -> dict[str, Any]:
    (service,) = compose["services"].values()
    assert isinstance(service, dict)
    return service


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The Compose specification's own schema, as check-jsonschema ships it."""
    path = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    parsed = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


def test_the_file_is_valid_by_the_compose_schema(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    assert list(jsonschema.validators.validator_for(schema)(schema).iter_errors(compose)) == []


def test_the_schema_would_notice_a_misspelt_key(schema: dict[str, Any]) -> None:
    wrong = yaml.safe_load(COMPOSE.read_text(encoding="utf-8").replace("healthcheck:", "health_check:"))
    with pytest.raises(jsonschema.ValidationError, match="health_check"):
        jsonschema.validators.validator_for(schema)(schema).validate(wrong)


def test_it_runs_the_greenplum_7_the_tests_run(greenplum: dict[str, Any]) -> None:
    assert greenplum["image"] == GREENPLUM_IMAGES["greenplum7"]


def test_the_server_is_reached_from_this_machine_only(greenplum: dict[str, Any]) -> None:
    assert greenplum["ports"] == ["127.0.0.1:${GREENPLUM_PORT:-5432}:5432"]
    assert "network_mode" not in greenplum


def test_the_password_comes_from_the_environment_or_nothing_starts(greenplum: dict[str, Any]) -> None:
    passwords = {name: value for name, value in greenplum["environment"].items() if "PASSWORD" in name}
    assert list(passwords) == ["GREENPLUM_PASSWORD"]
    assert passwords["GREENPLUM_PASSWORD"].startswith("${GREENPLUM_PASSWORD:?")


def test_the_data_outlives_the_container(compose: dict[str, Any], greenplum: dict[str, Any]) -> None:
    (mount,) = greenplum["volumes"]
    volume, target = mount.split(":")
    assert target == "/data"
    assert volume in compose["volumes"]
    # Greenplum's catalog and pg_hba.conf in that volume hold the host's name and address.
    assert greenplum["hostname"]
    assert greenplum["networks"]["default"]["ipv4_address"]


def test_the_health_check_speaks_tcp_to_the_database_of_the_url(greenplum: dict[str, Any]) -> None:
    kind, _shell, _flag, script = greenplum["healthcheck"]["test"]
    assert kind == "CMD"
    assert 'psql -h 127.0.0.1 -U "$$GREENPLUM_USER" -d "$$GREENPLUM_DATABASE_NAME"' in script
    assert greenplum["environment"]["GREENPLUM_USER"] == "gpadmin"
    assert greenplum["environment"]["GREENPLUM_DATABASE_NAME"] == "fab"


@pytest.mark.segments
def test_the_health_check_asks_what_a_greenplum_can_answer(greenplum: dict[str, Any], server_url: URL) -> None:
    query = greenplum["healthcheck"]["test"][-1].split('"')[-2]
    connection = psycopg2.connect(server_url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            ((healthy,),) = cursor.fetchall()
    finally:
        connection.close()
    assert healthy in (True, False)  # this server need not be the image's


def test_without_docker_the_run_ends_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    with pytest.raises(pytest.exit.Exception, match=r"Is Docker running\?.*GPWAREHOUSE_TEST_URL"):
        greenplum_container("greenplum7").__enter__()
