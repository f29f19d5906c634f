from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from tests.conftest import database
from tests.roles import fab_with_roles
from tests.service.serving import Served, serve


@pytest.fixture(scope="module")
def fab(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse of the module's own, with roles."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse, fab_with_roles(warehouse) as made:
        yield made


@pytest.fixture(scope="module")
def served(fab: Warehouse, tmp_path_factory: Any) -> Iterator[Served]:
    """A service that the tests of a module share."""
    with serve(fab, tmp_path_factory.mktemp("state")) as running:
        yield running
