"""docker-compose.yml: what Docker would refuse, and what must hold wherever it runs. Docker itself is not needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import psycopg2
import pytest
import yaml
from sqlalchemy import URL

from gpwarehouse.settings.sections import FIELDS, SECRETS, env
from tests.containers import GREENPLUM_IMAGES, greenplum_container

TREE = Path(__file__).parents[2]
COMPOSE = TREE / "docker-compose.yml"
CLUSTER = TREE / "deploy" / "docker-compose.cluster.yml"
FILES = (COMPOSE, CLUSTER)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture(scope="module")
def greenplum(compose: dict[str, Any]) -> dict[str, Any]:
    service = compose["services"]["greenplum"]
    assert isinstance(service, dict)
    return service


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The Compose specification's own schema, as check-jsonschema ships it."""
    path = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    parsed = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_is_valid_by_the_compose_schema(file: Path, schema: dict[str, Any]) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert list(jsonschema.validators.validator_for(schema)(schema).iter_errors(content)) == []


def test_the_schema_would_notice_a_misspelt_key(schema: dict[str, Any]) -> None:
    wrong = yaml.safe_load(COMPOSE.read_text(encoding="utf-8").replace("healthcheck:", "health_check:"))
    with pytest.raises(jsonschema.ValidationError, match="health_check"):
        jsonschema.validators.validator_for(schema)(schema).validate(wrong)


def test_it_runs_the_greenplum_7_the_tests_run(greenplum: dict[str, Any]) -> None:
    assert greenplum["image"] == GREENPLUM_IMAGES["greenplum7"]


def test_the_server_is_reached_from_this_machine_only(greenplum: dict[str, Any]) -> None:
    assert greenplum["ports"] == ["127.0.0.1:${GREENPLUM_PORT:-5432}:5432"]
    assert "network_mode" not in greenplum


def test_by_default_only_the_server_starts(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["greenplum"]
    profiles = {each for service in compose["services"].values() for each in service.get("profiles", ())}
    assert profiles == {"service", "monitoring", "tools", "cache", "data"}


def test_no_password_stands_in_the_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            if re.search("PASSWORD|TOKEN|_URL", variable) and variable != "GPWAREHOUSE_URL":
                assert variable.endswith("_FILE"), f"{name}: {variable}"
        assert "@" not in service.get("environment", {}).get("GPWAREHOUSE_URL", "").partition(":")[2].partition("@")[0]


def test_secrets_are_files_that_the_script_makes(compose: dict[str, Any], tmp_path: Path) -> None:
    subprocess.run([sys.executable, TREE / "deploy/make_secrets.py", "--folder", tmp_path / "made"], check=True)
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {name: secret["file"] for name, secret in compose["secrets"].items()} == {
        name: f"./deploy/secrets/{name}" for name in made
    }
    used = {each for service in compose["services"].values() for each in service.get("secrets", ())}
    assert used == made
    for service in compose["services"].values():
        named = re.findall(r"/run/secrets/(\w+)", str(service))
        assert set(named) <= set(service.get("secrets", ()))
    assert "deploy/secrets/" in (TREE / ".gitignore").read_text()


def test_every_port_is_of_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) > 5
    assert all(port.startswith("127.0.0.1:${") for port in ports)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_that_is_mounted_is_there(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for service in content["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./") and not source.startswith("./deploy/secrets/"):
                assert (TREE / source).exists(), source
            elif not source.startswith("."):
                assert source in content["volumes"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_is_documented(file: Path) -> None:
    page = (TREE / "docs/how-to/deploy.md").read_text(encoding="utf-8")
    for variable in re.findall(r"(?<!\$)\$\{(\w+)", file.read_text(encoding="utf-8")):
        assert f"`{variable}`" in page, variable


def test_every_variable_of_ours_is_a_setting(compose: dict[str, Any]) -> None:
    known = {env(name) for name in FIELDS} | {f"{env(name)}_FILE" for name in SECRETS}
    for service in compose["services"].values():
        ours = {name for name in service.get("environment", {}) if name.startswith("GPWAREHOUSE_")}
        assert ours <= known


def test_every_image_has_a_tag_of_its_own_and_every_service_a_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"]), name
        assert not service["image"].endswith(":latest")
        checked = "healthcheck" in service or service["image"] == "gpwarehouse:local"  # whose image has one
        assert checked, name


def test_what_is_waited_for_is_there_and_can_be_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            profiles = set(services[other].get("profiles", service.get("profiles", ())))
            assert set(service.get("profiles", ())) <= profiles, f"{name} waits for {other}, which its profile lacks"


def test_servers_and_monitoring_have_networks_of_their_own(compose: dict[str, Any]) -> None:
    assert set(compose["networks"]) == {"warehouse", "monitoring"}
    both = {name for name, service in compose["services"].items() if len(service["networks"]) == 2}
    assert both == {"service", "grafana"}
    (config,) = compose["networks"]["warehouse"]["ipam"]["config"]
    fixed = ip_address(compose["services"]["greenplum"]["networks"]["warehouse"]["ipv4_address"])
    assert fixed in ip_network(config["subnet"])
    assert fixed not in ip_network(config["ip_range"])


def test_the_cluster_has_a_coordinator_and_two_hosts_of_the_same_image(compose: dict[str, Any]) -> None:
    cluster = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))["services"]
    assert set(cluster) == {"greenplum", "sdw1", "sdw2"}
    assert {cluster[name]["image"] for name in ("sdw1", "sdw2")} == {compose["services"]["greenplum"]["image"]}
    hosts = (TREE / "deploy/cluster/hostfile_gpinitsystem").read_text().split()
    assert hosts == [cluster[name]["hostname"] for name in ("sdw1", "sdw2")]
    config = (TREE / "deploy/cluster/gpinitsystem_config").read_text()
    assert f"COORDINATOR_HOSTNAME={compose['services']['greenplum']['hostname']}" in config
    assert f"DATABASE_NAME={compose['services']['greenplum']['environment']['GREENPLUM_DATABASE_NAME']}" in config
    primaries = config.count("/primary") * len(hosts)
    assert f'= {primaries}"' in cluster["greenplum"]["healthcheck"]["test"][-1]


def test_the_data_outlives_the_container(compose: dict[str, Any], greenplum: dict[str, Any]) -> None:
    (mount,) = greenplum["volumes"]
    volume, target = mount.split(":")
    assert target == "/data"
    assert volume in compose["volumes"]
    # Greenplum's catalog and pg_hba.conf in that volume hold the host's name and address.
    assert greenplum["hostname"]
    assert greenplum["networks"]["warehouse"]["ipv4_address"]


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
