"""Drift of every kind: detected, rendered as a revision that runs as it is, and gone after it; and back again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any, cast

import alembic
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, Engine

from gpwarehouse.dialect import (
    AddPartition,
    AppendOptimized,
    CsvFormat,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    ExternalTable,
    GreenplumDialect,
    Heap,
    ListPartition,
    ListPartitions,
    OptionError,
    RangePartition,
    RangePartitions,
    UnsupportedByServerError,
    migration,
)
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.conftest import database

ENV = """
from alembic import context
from sqlalchemy import create_engine

config = context.config
given = config.attributes
options = {"target_metadata": given["metadata"], "include_schemas": True, "include_name": given.get("include_name")}
if context.is_offline_mode():
    context.configure(url=given["url"], dialect_opts={"paramstyle": "named"}, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with given["engine"].connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""


class Project:
    """An Alembic environment as anybody has one: nothing in it says Greenplum."""

    def __init__(self, folder: Path, engine: Engine | None) -> None:
        self.folder = folder
        self.config = Config(stdout=StringIO())
        self.config.output_buffer = self.output = StringIO()
        self.config.set_main_option("script_location", str(folder))
        self.config.attributes["engine"] = engine
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENV)
        template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
        shutil.copy(template, folder / "script.py.mako")

    def revision(self, metadata: MetaData, **options: Any) -> str:
        """Autogenerate a revision; its text."""
        self.config.attributes.update(metadata=metadata, **options)
        script = cast(Any, command.revision(self.config, "drift", autogenerate=True))
        return Path(script.path).read_text()

    def write(self, body: str) -> None:
        """A revision written by hand."""
        self.config.attributes["metadata"] = MetaData()
        script = cast(Any, command.revision(self.config, "by hand"))
        path = Path(script.path)
        path.write_text(path.read_text().replace('    """Upgrade schema."""\n    pass', f"    {body}"))

    def upgrade(self) -> None:
        command.upgrade(self.config, "head")

    def downgrade(self) -> None:
        command.downgrade(self.config, "-1")

    def drift(self, metadata: MetaData) -> list[Any]:
        """What autogenerate would find."""
        engine: Engine = self.config.attributes["engine"]
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"include_schemas": True, "target_metadata": metadata}
            )
            return cast(list[Any], compare_metadata(context, metadata))

    def check(self, metadata: MetaData) -> None:
        """Fails where autogenerate would find anything."""
        assert self.drift(metadata) == []

    def sql(self, server: str) -> str:
        self.config.attributes["url"] = f"greenplum+psycopg2://?server={server}"
        command.upgrade(self.config, "head", sql=True)
        return self.output.getvalue()


@pytest.fixture(autouse=True)
def _registered() -> None:
    migration.register()


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


def model(encodings: dict[str, Encoding] | None = None, **options: Any) -> MetaData:
    metadata = MetaData(schema="Fab 1")
    columns: list[Column[Any]] = [Column("k", BigInteger), Column("i", Integer), Column("d", Date), Column("c", Text)]
    for column in columns:
        if column.name in (encodings or {}):
            column.dialect_options["greenplum"]["encoding"] = (encodings or {})[column.name]
    table = Table("Big Table", metadata, *columns, Index("ix_k", columns[0]), **options)
    table.comment = "Kept"
    return metadata


NUMBERS = RangePartitions("i", (RangePartition("low", 0, 10), RangePartition("high", 10, 20)))
DAYS = RangePartitions.monthly("d", first="2026-01", months=1, bounds=date)
LETTERS = ListPartitions("c", (ListPartition("a", ("0%", None)),), default="rest")
COLUMNAR = AppendOptimized(orientation="column", compresstype="zstd", compresslevel=2)
RLE = Encoding(compresstype="rle_type", compresslevel=2)
BY_K, BY_C = DistributedBy("k"), DistributedBy("c", "k")

# What the table is, what it should be, and the operation that a revision has for it.
DRIFT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "distribution: another key": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": BY_C},
        "op.set_distribution('Big Table', DistributedBy('c', 'k'), existing=DistributedBy('k'), schema='Fab 1')",
    ),
    "distribution: an operator class": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedBy("k", opclasses={"k": "cdbhash_int8_ops"})},
        "op.set_distribution(",
    ),
    "distribution: randomly": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedRandomly()},
        "op.set_distribution('Big Table', DistributedRandomly()",
    ),
    "distribution: replicated": (
        {"greenplum_distributed_by": BY_K},
        {"greenplum_distributed_by": DistributedReplicated()},
        "op.set_distribution('Big Table', DistributedReplicated()",
    ),
    "distribution: of a partitioned table": (
        {"greenplum_distributed_by": BY_K, "greenplum_partition_by": NUMBERS},
        {"greenplum_distributed_by": BY_C, "greenplum_partition_by": NUMBERS},
        "op.set_distribution(",
    ),
    "storage: heap to columns": (
        {"greenplum_storage": Heap()},
        {"greenplum_storage": COLUMNAR},
        "op.set_storage('Big Table', AppendOptimized(orientation='column', compresstype='zstd'",
    ),
    "storage: columns to rows": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": AppendOptimized(compresstype="zlib", compresslevel=4)},
        "op.set_storage(",
    ),
    "storage: compression level": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": AppendOptimized(orientation="column", compresstype="zstd", compresslevel=9)},
        "op.set_storage(",
    ),
    "storage: block size and checksum": (
        {"greenplum_storage": AppendOptimized()},
        {"greenplum_storage": AppendOptimized(blocksize=65536, checksum=False)},
        "op.set_storage(",
    ),
    "storage: with encodings": (
        {"greenplum_storage": Heap()},
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE}},
        "encodings={'k': Encoding(compresstype='rle_type'",
    ),
    "storage: of a partitioned table": (
        {"greenplum_storage": Heap(), "greenplum_partition_by": NUMBERS},
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS},
        "partition_by=RangePartitions(column='i'",
    ),
    "encoding: of one column": (
        {"greenplum_storage": COLUMNAR},
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE}},
        "op.set_encoding('Big Table', {'k': Encoding(compresstype='rle_type'",
    ),
    "encoding: of one column, another kept": (
        {"greenplum_storage": COLUMNAR, "encodings": {"k": RLE, "c": RLE}},
        {"greenplum_storage": COLUMNAR, "encodings": {"c": RLE}},
        "others={'c': Encoding(",
    ),
    "encoding: of a partitioned table": (
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS},
        {"greenplum_storage": COLUMNAR, "greenplum_partition_by": NUMBERS, "encodings": {"i": RLE}},
        "op.set_encoding(",
    ),
    "partitions: none to ranges": (
        {},
        {"greenplum_partition_by": NUMBERS},
        "op.repartition_table('Big Table', RangePartitions(column='i'",
    ),
    "partitions: ranges to another column": (
        {"greenplum_partition_by": NUMBERS},
        {"greenplum_partition_by": DAYS},
        "op.repartition_table('Big Table', RangePartitions(column='d'",
    ),
    "partitions: ranges to a list": (
        {"greenplum_partition_by": NUMBERS},
        {"greenplum_partition_by": LETTERS, "greenplum_storage": COLUMNAR, "greenplum_distributed_by": BY_C},
        "op.repartition_table('Big Table', ListPartitions(column='c'",
    ),
    "partitions: a list to none": (
        {"greenplum_partition_by": LETTERS},
        {},
        "op.repartition_table('Big Table', None",
    ),
}


def on_segments(kind: str) -> bool:
    return not kind.startswith("partitions")


@pytest.mark.parametrize("kind", sorted(DRIFT))
def test_drift_is_detected_its_revision_runs_and_nothing_is_left(project: Project, engine: Engine, kind: str) -> None:
    before, after, operation = DRIFT[kind]
    is_now, should_be = model(**before), model(**after)
    table = is_now.tables["Fab 1.Big Table"]
    is_now.create_all(engine)
    try:
        with engine.begin() as connection:
            rows = [{"k": n, "i": n, "d": date(2026, 1, n + 1), "c": f"{n}%"} for n in range(20)]
            connection.execute(insert(table), rows)
        if on_segments(kind) and not cast(GreenplumDialect, engine.dialect).capabilities.distribution:  # type: ignore[union-attr]
            project.check(should_be)
            return
        assert project.drift(should_be)
        written = project.revision(should_be)
        assert operation in written
        assert "# This rewrites all of Fab 1.Big Table, locked for as long as it takes:" in written
        assert "from gpwarehouse.dialect import " in written
        assert "drop_table" not in written
        project.upgrade()
        project.check(should_be)
        with engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 20
            assert [i["name"] for i in inspect(connection).get_indexes("Big Table", "Fab 1")] == ["ix_k"]
        project.downgrade()
        project.check(is_now)
    finally:
        is_now.drop_all(engine)


@pytest.mark.segments
def test_a_distribution_left_open_is_drift_only_where_a_key_would_not_hold(project: Project, engine: Engine) -> None:
    is_now, keyed = model(greenplum_distributed_by=BY_C), model()
    is_now.create_all(engine)
    try:
        project.check(model())
        keyed.tables["Fab 1.Big Table"].append_constraint(UniqueConstraint("c", "k", "i", name="uq_it"))
        assert [kind for kind, *_ in project.drift(keyed)] == ["add_constraint"]
        keyed.tables["Fab 1.Big Table"].append_constraint(UniqueConstraint("k", name="uq_k"))
        project.revision(keyed)
        project.upgrade()
        project.check(keyed)
        assert inspect(engine).get_distribution("Big Table", "Fab 1") == BY_K  # type: ignore[attr-defined]
    finally:
        is_now.drop_all(engine)


def test_partitions_that_came_and_went_are_no_drift(project: Project, engine: Engine) -> None:
    metadata = model(greenplum_partition_by=NUMBERS, greenplum_storage=COLUMNAR)
    metadata.create_all(engine)
    with engine.begin() as connection:
        table = metadata.tables["Fab 1.Big Table"]
        connection.execute(AddPartition(table, RangePartition("later", 20, 30)))
    project.check(metadata)
    metadata.drop_all(engine)


def test_a_new_table_is_rendered_with_its_options_and_dropped_again(project: Project, engine: Engine) -> None:
    metadata = model(
        {"k": RLE},
        greenplum_storage=COLUMNAR,
        greenplum_distributed_by=BY_C,
        greenplum_partition_by=DAYS,
    )
    written = project.revision(metadata)
    assert "import datetime" in written
    assert (
        "from gpwarehouse.dialect import AppendOptimized, DistributedBy, Encoding, RangePartition, RangePartitions"
        in (written)
    )
    project.upgrade()
    project.check(metadata)
    written = project.revision(MetaData())
    assert written.count("op.drop_table(") == 1
    project.upgrade()
    project.downgrade()
    project.check(metadata)
    metadata.drop_all(engine)


@pytest.mark.segments
def test_a_new_column_has_its_encoding(project: Project, engine: Engine) -> None:
    metadata = model(greenplum_storage=COLUMNAR)
    metadata.create_all(engine)
    wanted = model(greenplum_storage=COLUMNAR)
    table = wanted.tables["Fab 1.Big Table"]
    table.append_column(Column("more", Integer, server_default="1", greenplum_encoding=RLE))
    assert "greenplum_encoding=Encoding(compresstype='rle_type'" in project.revision(wanted)
    project.upgrade()
    project.check(wanted)
    metadata.drop_all(engine)


def external(**options: Any) -> MetaData:
    metadata = MetaData(schema="Fab 1")
    given = {"location": ("gpfdist://etl:8081/a.csv",), "format": CsvFormat(delimiter=";"), **options}
    Table("ext", metadata, Column("k", Integer), Column("c", Text), greenplum_external=ExternalTable(**given))
    return metadata


def test_external_tables_are_made_changed_and_dropped(project: Project, engine: Engine) -> None:
    if not cast(GreenplumDialect, engine.dialect).capabilities.distribution:  # type: ignore[union-attr]
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
    if not cast(GreenplumDialect, engine.dialect).capabilities.distribution:  # type: ignore[union-attr]
        return
    external().create_all(engine)
    written = project.revision(MetaData(), include_name=lambda name, kind, _: kind != "table" or name != "ext")
    assert "external" not in written
    external().drop_all(engine)


def test_alembics_version_table_is_distributed_by_its_key(project: Project, engine: Engine) -> None:
    project.write("pass")
    project.upgrade()
    found = cast(GreenplumInspector, inspect(engine)).get_distribution("alembic_version")
    expected = DistributedBy("version_num")
    assert found == (expected if cast(GreenplumDialect, engine.dialect).capabilities.distribution else None)  # type: ignore[union-attr]


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
    op.set_encoding('u', {'k': Encoding(compresstype='zlib')}, storage=AppendOptimized(orientation='column'))
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
    if cast(GreenplumDialect, engine.dialect).capabilities.distribution:  # type: ignore[union-attr]
        assert inspector.get_distribution("u") == DistributedBy("i")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE t, u"))


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
    project.check(metadata)
    lite.dispose()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("op.set_distribution('t', DistributedBy('k'))", "say existing="),
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
        o.SetStorageOp("t", COLUMNAR, existing=Heap(), encodings={"k": RLE}, partition_by=NUMBERS),
        o.SetEncodingOp("t", {"k": RLE}, existing={"k": Encoding()}, storage=COLUMNAR),
        o.RepartitionTableOp("t", NUMBERS, existing=DAYS, storage=Heap(), existing_options={"storage": COLUMNAR}),
        o.CreateExternalTableOp("e", Column("k", Integer), external=ExternalTable(command="ls")),
        o.CreateViewOp("v", "SELECT 1", schema="s"),
    ):
        assert operation.reverse().reverse().to_diff_tuple() == operation.to_diff_tuple()
