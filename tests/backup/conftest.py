from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from tests.backup.fab import fill
from tests.conftest import database


@pytest.fixture
def fab(wh: Warehouse) -> Warehouse:
    """A warehouse with rows in all kinds of tables."""
    fill(wh)
    return wh


@pytest.fixture
def other(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """Another warehouse at head, empty."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse:
        yield warehouse
