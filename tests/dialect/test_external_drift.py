"""Drift of external tables."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    CsvFormat,
    ExternalTable,
)
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.dialect.alembic_project import (
    Project,
    capabilities,
)


def external(**options: Any) -> MetaData:
    metadata = MetaData(schema="Fab 1")
    given = {"location": ("gpfdist://etl:8081/a.csv",), "format": CsvFormat(delimiter=";"), **options}
    Table("ext", metadata, Column("k", Integer), Column("c", Text), greenplum_external=ExternalTable(**given))
    return metadata


def test_external_tables_are_made_changed_and_dropped(project: Project, engine: Engine) -> None:
    if not capabilities(engine).distribution:
        project.check(external())
        return
    inspector = cast(GreenplumInspector, inspect(engine))
    assert "op.create_external_table('ext', sa.Column('k', sa.Integer()" in project.revision(external())
    project.upgrade()
    project.check(external())
    changed = external(location=("gpfdist://other:8081/b.csv",))
    assert "op.drop_external_table('ext', schema='Fab 1')\n    op.create_external_table(" in project.revision(changed)
    project.upgrade()
    project.check(changed)
    project.downgrade()
    project.check(external())
    project.upgrade()
    project.revision(MetaData())
    project.upgrade()
    assert inspector.get_multi_external("Fab 1") == {}
    project.downgrade()
    project.check(changed)
    with engine.begin() as connection:
        connection.execute(text('DROP EXTERNAL TABLE "Fab 1".ext'))


def test_external_tables_that_a_name_filter_leaves_out_are_left_alone(project: Project, engine: Engine) -> None:
    if not capabilities(engine).distribution:
        return
    external().create_all(engine)
    written = project.revision(MetaData(), include_name=lambda name, kind, _: kind != "table" or name != "ext")
    assert "external" not in written
    external().drop_all(engine)
