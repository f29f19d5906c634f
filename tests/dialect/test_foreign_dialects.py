"""Other people's engines and migrations, in an environment that has this package: as if it were not there."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations, ops
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, inspect, text
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import AppendOptimized, migration
from gpwarehouse.dialect.migration import operations as our_operations
from gpwarehouse.migrate.operations import register_operations
from tests.dialect.alembic_project import Project, model

migration.register()


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "greenplum+psycopg2"])
def any_engine(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Engine]:
    """Of a foreign dialect, of the one that has our dialect's name, and of ours."""
    made = create_engine("sqlite://" if request.param == "sqlite" else engine.url.set(drivername=request.param))
    yield made
    made.dispose()


@pytest.mark.parametrize("recreate", ["auto", "always"])
def test_a_batch_adds_columns_on_any_dialect(any_engine: Engine, recreate: Any) -> None:
    with any_engine.connect() as connection, connection.begin() as transaction:
        if (
            recreate == "always"
            and any_engine.dialect.server_version_info < (12,)
            and "sqlite" not in str(any_engine.url)
        ):
            pytest.skip("SQLAlchemy's stock dialect cannot reflect a table of this server")
        op = Operations(MigrationContext.configure(connection))
        op.create_table("batched", Column("id", Integer, primary_key=True), Column("x", Text))
        op.execute("INSERT INTO batched (id, x) VALUES (1, 'kept')")
        with op.batch_alter_table("batched", recreate=recreate) as batch:
            batch.add_column(Column("y", Text))
        op.add_column("batched", Column("z", Text))
        assert [column["name"] for column in inspect(connection).get_columns("batched")] == ["id", "x", "y", "z"]
        assert [tuple(row) for row in connection.execute(text("SELECT * FROM batched"))] == [(1, "kept", None, None)]
        transaction.rollback()


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "mysql", "mssql", "oracle"])
def test_a_batch_is_written_offline_for_any_dialect(name: str) -> None:
    written = StringIO()
    context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True, "output_buffer": written})
    op = Operations(context)
    with op.batch_alter_table("batched", recreate="never") as batch:
        batch.add_column(Column("y", Integer))
    op.add_column("batched", Column("z", Integer))
    assert written.getvalue().count("ALTER TABLE batched ADD") == 2


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "mysql", "mssql", "oracle"])
def test_none_of_our_implementations_is_reached_from_another_dialects_name(name: str) -> None:
    found = Operations._to_impl.dispatch(ops.AddColumnOp, name)
    assert found.__module__.startswith("gpwarehouse") == (name == "postgresql")


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_who_replaces_an_operation_of_alembics_replaces_it_for_good(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``replace=True`` is Alembic's documented way, and comes after our plugin was loaded."""
    added: list[str] = []
    monkeypatch.setattr(Operations, "_to_impl", Operations._to_impl.branch())
    Operations.implementation_for(ops.AddColumnOp, replace=True)(
        lambda _, operation: added.append(operation.column.name)
    )
    context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True, "output_buffer": StringIO()})
    Operations(context).add_column("t", Column("mine", Integer))
    assert added == ["mine"]


def test_revisions_of_other_dialects_import_nothing_of_ours(tmp_path: Path) -> None:
    """Whatever their names and texts hold."""
    lite = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    metadata = MetaData()
    Table("greenplum_load", metadata, Column("greenplum_key", Text, server_default=text("(Heap())")))
    revision = Project(tmp_path / "migrations", lite).revision(metadata)
    assert "op.create_table('greenplum_load'" in revision
    assert "gpwarehouse" not in revision
    lite.dispose()


class CreateViewOfTheirs(MigrateOperation):
    """As in Alembic's cookbook, "Replaceable Objects"."""

    made: list[str] = []  # noqa: RUF012

    @classmethod
    def create_view(cls, operations: Any, view: str) -> None:
        cls.made.append(view)


@pytest.fixture
def their_create_view(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Registered by another project after our plugin; what was there comes back at the end."""
    kept = Operations.create_view  # type: ignore[attr-defined]
    CreateViewOfTheirs.made.clear()
    Operations.register_operation("create_view")(CreateViewOfTheirs)
    yield CreateViewOfTheirs.made
    Operations.create_view = kept  # type: ignore[attr-defined]


@pytest.mark.parametrize("taken_back", [1, 2])
def test_an_operation_of_the_same_name_stays_theirs_on_their_dialect(
    their_create_view: list[str], taken_back: int
) -> None:
    for _ in range(taken_back):
        register_operations()
    theirs = MigrationContext.configure(dialect_name="sqlite", opts={"as_sql": True, "output_buffer": StringIO()})
    Operations(theirs).create_view("v")  # type: ignore[attr-defined]
    assert their_create_view == ["v"]
    written = StringIO()
    opts = {"as_sql": True, "output_buffer": written}
    ours = MigrationContext.configure(url="greenplum+psycopg2://?server=greenplum7", opts=opts)
    Operations(ours).create_view("v", "SELECT 1")  # type: ignore[attr-defined]
    assert "CREATE VIEW v AS" in written.getvalue()
    assert their_create_view == ["v"]


def test_operations_that_nobody_else_has_keep_their_signatures() -> None:
    our_operations.setup()
    names = Operations.add_partition.__code__.co_varnames  # type: ignore[attr-defined]
    assert names[:3] == ("self", "table_name", "partition")


@pytest.mark.segments
def test_a_column_added_in_a_batch_to_a_column_store_is_compressed_as_the_table_is(engine: Engine) -> None:
    storage = AppendOptimized(orientation="column", compresstype="zlib", compresslevel=2)
    metadata = model(greenplum_storage=storage)
    metadata.create_all(engine)
    with engine.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        with op.batch_alter_table("Big Table", schema="Fab 1") as batch:
            batch.add_column(Column("more", Integer))
        inspector: Any = inspect(connection)
        assert inspector.get_encodings("Big Table", "Fab 1") == {}
    metadata.drop_all(engine)
