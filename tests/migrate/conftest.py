from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from tests.conftest import database
from tests.migrate.site import write_site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for revisions of one's own."""
    made = tmp_path / "site"
    made.mkdir()
    return made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a line of four revisions."""
    return write_site(tmp_path / "site")


@pytest.fixture
def swh(server_url: URL, upgraded_template: str, folder: Path) -> Iterator[Warehouse]:
    """A warehouse at the package's head, with an empty folder for revisions of its own."""
    with database(server_url, upgraded_template) as url, Warehouse(url, migrations=folder) as warehouse:
        yield warehouse
