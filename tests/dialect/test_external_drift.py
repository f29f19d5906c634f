"""Drift of external tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy import (
    ARRAY,
    CHAR,
    DECIMAL,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Unicode,
    inspect,
    text,
)
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import CsvFormat, ExternalTable, OptionError, TextFormat
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.dialect.alembic_project import Project, capabilities


def external(**options: Any) -> MetaData:
    metadata = MetaData(schema="Fab 1")
    given = {"location": ("gpfdist://etl:8081/a.csv",), "format": CsvFormat(delimiter=";"), **options}
    Table("ext", metadata, Column("k", Integer), Column("c", Text), greenplum_external=ExternalTable(**given))
    return metadata


def test_external_tables_are_made_changed_and_dropped(project: Project, engine: Engine) -> None:
    if not capabilities(engine).distribution:
        assert project.drift(external()) == []
        return
    inspector = cast(GreenplumInspector, inspect(engine))
    assert "op.create_external_table('ext', sa.Column('k', sa.Integer()" in project.revision(external())
    project.upgrade()
    assert project.drift(external()) == []
    changed = external(location=("gpfdist://other:8081/b.csv",))
    assert "op.drop_external_table('ext', schema='Fab 1')\n    op.create_external_table(" in project.revision(changed)
    project.upgrade()
    assert project.drift(changed) == []
    project.downgrade()
    assert project.drift(external()) == []
    project.upgrade()
    project.revision(MetaData())
    project.upgrade()
    assert inspector.get_multi_external("Fab 1") == {}
    project.downgrade()
    assert project.drift(changed) == []
    with engine.begin() as connection:
        connection.execute(text('DROP EXTERNAL TABLE "Fab 1".ext'))


def test_external_tables_that_a_name_filter_leaves_out_are_left_alone(project: Project, engine: Engine) -> None:
    if not capabilities(engine).distribution:
        return
    external().create_all(engine)
    written = project.revision(MetaData(), include_name=lambda name, kind, _: kind != "table" or name != "ext")
    assert "external" not in written
    external().drop_all(engine)


def outside(*columns: Any, schema: str | None = None, **options: Any) -> MetaData:
    metadata = MetaData(schema=schema)
    given = {"location": "gpfdist://etl/a.csv", "format": CsvFormat(), **options}
    Table("ext", metadata, *(columns or (Column("k", Integer),)), greenplum_external=ExternalTable(**given))
    return metadata


@pytest.fixture
def _none_left(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        if capabilities(engine).distribution:
            connection.execute(text("DROP EXTERNAL TABLE IF EXISTS ext"))


SAID_OTHERWISE: dict[str, dict[str, Any]] = {
    "a port left out": {"location": ("gpfdist://etl/a.csv", "gpfdist://[::1]/a:b", "gpfdist://e:81/x")},
    "another name of the encoding": {"encoding": "utf-8"},
    "an encoding that is not the database's": {"encoding": "iso88591"},
    "a word in capitals": {"format": TextFormat(delimiter="OFF", escape="OFF")},
}


@pytest.mark.segments
@pytest.mark.usefixtures("_none_left")
@pytest.mark.parametrize("kind", sorted(SAID_OTHERWISE))
def test_an_external_table_said_otherwise_than_the_server_keeps_it_is_no_drift(
    project: Project, engine: Engine, kind: str
) -> None:
    said = outside(**SAID_OTHERWISE[kind])
    project.revision(said)
    project.upgrade()
    assert project.drift(said) == []
    assert project.drift(outside(location="gpfdist://etl:8081/other.csv"))
    project.downgrade()


@pytest.mark.segments
@pytest.mark.usefixtures("_none_left")
def test_columns_of_external_tables_are_compared_as_those_of_others(project: Project) -> None:
    types = (Float(), DECIMAL(10, 2), CHAR(), Unicode(5), DateTime(), LargeBinary(), JSON(), ARRAY(Integer))
    said = outside(*(Column(f"c{number}", each) for number, each in enumerate(types)))
    project.revision(said)
    project.upgrade()
    assert project.drift(said) == []
    changed = outside(*(Column(f"c{number}", each) for number, each in enumerate((BigInteger(), *types[1:]))))
    assert [kind for kind, *_ in project.drift(changed)] == ["drop_external_table", "create_external_table"]
    assert project.drift(changed, compare_type=False) == []
    project.downgrade()


@pytest.mark.segments
@pytest.mark.usefixtures("_none_left")
def test_comments_of_external_tables_come_and_go_with_them(project: Project, engine: Engine) -> None:
    said = outside(Column("k", Integer, comment="it's 5%"))
    said.tables["ext"].comment = "From the testers"
    said.create_all(engine)
    assert project.drift(said) == []
    said.drop_all(engine)
    project.revision(said)
    project.upgrade()
    assert project.drift(said) == []
    changed = outside()
    project.revision(changed)
    project.upgrade()
    assert project.drift(changed) == []
    project.downgrade()
    assert project.drift(said) == []
    project.downgrade()


@pytest.mark.segments
@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Column("n", Integer, nullable=False), "column 'n': nullable=False means nothing"),
        (Column("n", Integer, server_default="1"), "column 'n': server_default means nothing"),
        (CheckConstraint("k > 0"), "drop the CheckConstraint"),
    ],
)
def test_what_an_external_table_cannot_keep_is_refused(engine: Engine, item: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        outside(Column("k", Integer), item).create_all(engine)


def test_where_a_command_that_is_written_to_runs_cannot_be_said() -> None:
    with pytest.raises(OptionError, match="runs on all segments"):
        ExternalTable(command="cat > /dev/null", writable=True, on="host")
