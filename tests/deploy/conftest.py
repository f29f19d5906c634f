from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from tests.conftest import database
from tests.deploy.watching import Monitored, watched
from tests.roles import fab_with_roles


@pytest.fixture(scope="module")
def monitored(server_url: URL, upgraded_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """A warehouse of the module's own, served and watched."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse, fab_with_roles(warehouse) as fab:
        with watched(fab, tmp_path_factory.mktemp("watched")) as found:
            yield found
