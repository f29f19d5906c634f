"""A Greenplum in a container, for ``pytest --server``; needs Docker and testcontainers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
import pytest

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

GREENPLUM_IMAGES = {"greenplum6": "woblerr/greenplum:6.27.1", "greenplum7": "woblerr/greenplum:7.1.0"}
"""The second one is docker-compose.yml's too."""

READY_WITHIN_S = 600.0  # initialising a cluster takes minutes; pulling the image comes before and is not counted


@contextmanager
def greenplum_container(name: str) -> Iterator[str]:
    """URL of a single-node Greenplum of its own, removed at the end."""
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    password = secrets.token_hex(16)  # the image passes it through a shell unquoted
    try:
        container = (
            DockerContainer(GREENPLUM_IMAGES[name])
            .with_env("GREENPLUM_PASSWORD", password)
            .with_env("GREENPLUM_DATABASE_NAME", "fab")
            .with_exposed_ports(5432)
            .start()
        )
    except DockerException as error:
        pytest.exit(
            f"--server {name}: Docker cannot start {GREENPLUM_IMAGES[name]}: {error}. "
            "Is Docker running? Without it, point GPWAREHOUSE_TEST_URL at a Greenplum and leave --server out.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    try:
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        url = f"postgresql://gpadmin:{password}@{host}:{port}/fab"
        _wait_until_ready(container, url)
        yield url
    finally:
        container.stop()


def _wait_until_ready(container: DockerContainer, url: str) -> None:
    """Wait until a client logs in from outside and all segments answer.

    From outside one can log in only after the restart by which the image ends a first start, so this is the last state.
    """
    docker, deadline = container.get_wrapped_container(), time.monotonic() + READY_WITHIN_S
    while True:
        try:
            connection = psycopg2.connect(url, connect_timeout=5)
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM gp_dist_random('gp_id')")
                return
            finally:
                connection.close()
        except psycopg2.Error as error:
            docker.reload()
            if docker.status != "running" or time.monotonic() > deadline:
                log = docker.logs(tail=30).decode(errors="replace")
                why = f"Greenplum's container is {docker.status} but not ready: {str(error).strip()}"
                raise RuntimeError(f"{why}; the end of its log:\n{log}") from error
            time.sleep(1)
