"""Alembic's operations: from a revision, offline, with reverses, and without disturbing other dialects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    DistributedBy,
    Encoding,
    ExternalTable,
    GreenplumDialect,
    Heap,
    OptionError,
    RangePartition,
    RangePartitions,
    UnsupportedByServerError,
)
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.dialect.alembic_project import (
    BY_C,
    BY_K,
    COLUMNAR,
    DAYS,
    NUMBERS,
    RLE,
    Project,
    capabilities,
    model,
)


def test_alembics_version_table_is_distributed_by_its_key(project: Project, engine: Engine) -> None:
    project.write("pass")
    project.upgrade()
    found = cast(GreenplumInspector, inspect(engine)).get_distribution("alembic_version")
    expected = DistributedBy("version_num")
    assert found == (expected if capabilities(engine).distribution else None)


BY_HAND = """from gpwarehouse.dialect import (
        AppendOptimized, DistributedBy, Encoding, ExternalTable, RangePartition, RangePartitions)
    columns = [sa.Column(name, sa.Integer()) for name in ('k', 'i')]
    low = RangePartition('low', 0, 10)
    op.create_table('t', *columns, greenplum_distributed_by=DistributedBy('k'),
        greenplum_partition_by=RangePartitions('i', (low,)))
    op.create_table('u', *[sa.Column(c.name, c.type) for c in columns],
        greenplum_distributed_by=DistributedBy('k'))
    op.add_partition('t', RangePartition('high', 10, 20))
    op.rename_partition('t', 'high', 'higher')
    op.exchange_partition('t', low, 'u')
    op.drop_partition('t', 'higher')
    op.set_distribution('u', DistributedBy('i'))
    op.set_storage('u', AppendOptimized(orientation='column'))
    op.set_encoding('u', {'k': Encoding(compresstype='zlib')})
    op.create_external_table('e', sa.Column('k', sa.Integer()), external=ExternalTable(command='echo 1'))
    op.drop_external_table('e')
    op.create_view('v', 'SELECT k FROM {schema}.t')
    op.drop_view('v')
    op.repartition_table('u', RangePartitions('i', (low,)))"""


def test_every_operation_runs_from_a_revision_written_by_hand(project: Project, engine: Engine) -> None:
    project.write(BY_HAND)
    project.upgrade()
    inspector = cast(GreenplumInspector, inspect(engine))
    expected = RangePartitions("i", (RangePartition("low", 0, 10),))
    assert inspector.get_partitions("t") == inspector.get_partitions("u") == expected
    if capabilities(engine).distribution:
        assert inspector.get_distribution("u") == DistributedBy("i")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE t, u"))


@pytest.mark.segments
def test_a_column_added_by_hand_to_a_column_store_is_compressed_as_the_table_is(
    project: Project, engine: Engine
) -> None:
    metadata = model(greenplum_storage=COLUMNAR)
    metadata.create_all(engine)
    project.write("op.add_column('Big Table', sa.Column('more', sa.Integer(), comment='kept'), schema='Fab 1')")
    project.upgrade()
    metadata.tables["Fab 1.Big Table"].append_column(Column("more", Integer, comment="kept"))
    assert project.drift(metadata) == []
    metadata.drop_all(engine)


@pytest.mark.parametrize("server", ["greenplum6", "greenplum7", "cloudberry", "postgresql"])
def test_every_operation_is_written_offline(tmp_path: Path, server: str) -> None:
    project = Project(tmp_path / "migrations", None)
    project.write(BY_HAND)
    sql = project.sql(server)
    assert ("SET WITH (reorganize=true) DISTRIBUTED BY (i)" in sql) == (server != "postgresql")
    assert ("SET ACCESS METHOD ao_column" in sql) == (server in ("greenplum7", "cloudberry"))
    assert ("COLUMN k ENCODING (compresstype=zlib" in sql) == (server == "greenplum6")
    assert ("CREATE READABLE EXTERNAL WEB TABLE e" in sql) == (server != "postgresql")
    assert "%%" not in sql
    for always in (
        "CREATE VIEW v AS",
        "DO $rewrite$",
        "ATTACH PARTITION" if server == "postgresql" else "EXCHANGE PARTITION",
    ):
        assert always in sql


def test_the_offline_sql_runs_on_the_server_it_was_written_for(tmp_path: Path, engine: Engine) -> None:
    info = cast(GreenplumDialect, engine.dialect).server_info
    assert info is not None
    server = "postgresql" if info.brand.name == "POSTGRESQL" else f"greenplum{info.version[0]}"
    project = Project(tmp_path / "migrations", None)
    project.write(BY_HAND)
    driver = engine.raw_connection()
    try:
        with driver.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(project.sql(server))
            cursor.execute("DROP TABLE t, u, alembic_version")
        driver.commit()
    finally:
        driver.close()


def test_an_operation_on_another_dialects_connection_says_so(tmp_path: Path, engine: Engine) -> None:
    stock = create_engine(engine.url.set(drivername="postgresql+psycopg2"))
    project = Project(tmp_path / "migrations", stock)
    project.write("from gpwarehouse.dialect import DistributedBy\n    op.set_distribution('t', DistributedBy('k'))")
    with pytest.raises(UnsupportedByServerError, match="use greenplum"):
        project.upgrade()
    stock.dispose()


def test_autogenerate_of_another_dialect_is_left_as_it_was(tmp_path: Path) -> None:
    lite = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    project = Project(tmp_path / "migrations", lite)
    metadata = MetaData()
    Table("t", metadata, Column("k", Integer), Column("at", DateTime), greenplum_distributed_by=DistributedBy("k"))
    project.config.attributes["include_name"] = None
    assert "op.create_table('t'" in project.revision(metadata)
    project.upgrade()
    assert project.drift(metadata) == []
    lite.dispose()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("op.set_distribution('t', DistributedBy('k'))", "give existing="),
        ("op.drop_partition('t', 'a')", "give the partition, not its name"),
        ("op.drop_view('v')", "write the downgrade by hand"),
        ("op.detach_partition('t', 'a')", "give the partition to reverse it"),
    ],
)
def test_an_operation_that_does_not_say_what_was_there_cannot_be_reversed(call: str, told: str) -> None:
    from gpwarehouse.dialect.migration import operations

    made: list[Any] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            cls = next(cls for cls in operations.OPERATIONS if cls.operation == name)
            return lambda *args, **kw: getattr(cls, name)(Invoker(), *args, **kw)

    class Invoker:
        def invoke(self, operation: Any) -> None:
            made.append(operation)

    eval(call, {"op": Recorder(), "DistributedBy": DistributedBy})
    with pytest.raises(OptionError, match=told):
        made[0].reverse()


def test_the_reverse_of_the_reverse_is_the_operation() -> None:
    from gpwarehouse.dialect.migration import operations as o

    part = RangePartition("a", 1, 2)
    for operation in (
        o.AddPartitionOp("t", part, storage=Heap(), schema="s"),
        o.RenamePartitionOp("t", "a", "b"),
        o.ExchangePartitionOp("t", part, "u"),
        o.AttachPartitionOp("t", "u", part),
        o.SetDistributionOp("t", BY_C, existing=BY_K),
        o.SetStorageOp("t", COLUMNAR, existing=Heap(), encodings={"k": RLE}),
        o.SetEncodingOp("t", {"k": RLE}, existing={"k": Encoding()}),
        o.RepartitionTableOp("t", NUMBERS, existing=DAYS, storage=Heap(), existing_options={"storage": COLUMNAR}),
        o.CreateExternalTableOp("e", Column("k", Integer), external=ExternalTable(command="ls")),
        o.CreateViewOp("v", "SELECT 1", schema="s"),
    ):
        assert operation.reverse().reverse().to_diff_tuple() == operation.to_diff_tuple()


def test_the_plugin_is_a_module_and_a_collection_of_one_as_older_alembics_take_it() -> None:
    """Alembic 1.18 to 1.19.0 iterates over what an entry point names, and fails to be imported where it cannot."""
    import gpwarehouse.dialect.migration as plugin

    assert list(plugin) == [plugin]  # type: ignore[call-overload]
