"""A Greenplum in a container, for ``pytest --server``; needs Docker and testcontainers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

GREENPLUM_IMAGES = {"greenplum6": "woblerr/greenplum:6.27.1", "greenplum7": "woblerr/greenplum:7.1.0"}
"""The images docker-compose.yml uses too."""


@contextmanager
def greenplum_container(name: str) -> Iterator[str]:
    """URL of a single-node Greenplum, stopped at the end."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    password = secrets.token_urlsafe(16)
    container = (
        DockerContainer(GREENPLUM_IMAGES[name])
        .with_env("GREENPLUM_PASSWORD", password)
        .with_env("GREENPLUM_DATABASE_NAME", "fab")
        .with_exposed_ports(5432)
    )
    with container:
        wait_for_logs(container, "Database successfully started", timeout=300)
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        yield f"postgresql://gpadmin:{password}@{host}:{port}/fab"
