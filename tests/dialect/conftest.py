"""A database with a schema that wants quotes, and an Alembic environment on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Engine

from tests.conftest import database
from tests.dialect.alembic_project import Project


@pytest.fixture(scope="module")
def engine(server_url: URL) -> Iterator[Engine]:
    with database(server_url) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text('CREATE SCHEMA "Fab 1"'))
        yield engine
        engine.dispose()


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> Iterator[Project]:
    yield Project(tmp_path / "migrations", engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
