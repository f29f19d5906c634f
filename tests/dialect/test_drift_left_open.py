"""What a model leaves open, what cannot be made, and what a revision says of it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Identity,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    AppendOptimized,
    DistributedBy,
    DistributedRandomly,
    DistributedReplicated,
    Encoding,
    Heap,
    ListPartition,
    ListPartitions,
    OtherPartitions,
    RangePartition,
    RangePartitions,
    UnsupportedByServerError,
)
from gpwarehouse.dialect.reflection import GreenplumInspector
from tests.dialect.alembic_project import COLUMNAR, RLE, Project, capabilities

MONTHS = RangePartitions.monthly("d", first="2026-01", months=2, bounds=date)


@pytest.fixture(autouse=True)
def _clean(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW IF EXISTS v"))
        connection.execute(text('DROP TABLE IF EXISTS t, "of%all"'))


def inspector_of(engine: Engine) -> GreenplumInspector:
    return cast(GreenplumInspector, inspect(engine))


def table(*items: Any, name: str = "t", **options: Any) -> MetaData:
    metadata = MetaData()
    a, b, d = Column("a", Integer), Column("b", Text), Column("d", Date)
    given = {f"greenplum_{key}": value for key, value in options.items()}
    Table(name, metadata, a, b, d, *items, **given)
    return metadata


def encoded(metadata: MetaData, **encodings: Encoding) -> MetaData:
    for name, encoding in encodings.items():
        metadata.tables["t"].c[name].dialect_options["greenplum"]["encoding"] = encoding
    return metadata


@pytest.mark.segments
@pytest.mark.parametrize("distribution", [DistributedBy("a"), DistributedBy("b", "d"), DistributedRandomly()])
def test_repartitioning_keeps_the_storage_encodings_and_distribution_that_a_model_leaves_open(
    project: Project, engine: Engine, distribution: Any
) -> None:
    is_now = encoded(table(distributed_by=distribution, storage=COLUMNAR), b=RLE)
    is_now.create_all(engine)
    wanted = table(partition_by=MONTHS)
    written = project.revision(wanted)
    assert not any(option in written for option in ("distributed_by", "storage", "encoding"))
    for change, scheme in ((project.upgrade, MONTHS), (project.downgrade, None), (project.upgrade, MONTHS)):
        change()
        inspector = inspector_of(engine)
        assert inspector.get_partitions("t") == scheme
        assert inspector.get_distribution("t") == distribution
        assert inspector.get_storage("t") == COLUMNAR
        assert inspector.get_encodings("t") == {"b": RLE}
        assert project.drift(is_now if scheme is None else wanted) == []


@pytest.mark.segments
def test_a_replicated_table_is_partitioned_by_another_distribution(project: Project, engine: Engine) -> None:
    table(distributed_by=DistributedReplicated()).create_all(engine)
    wanted = table(partition_by=MONTHS)
    project.revision(wanted)
    project.upgrade()
    assert project.drift(wanted) == []
    project.downgrade()
    assert inspector_of(engine).get_distribution("t") == DistributedReplicated()


@pytest.mark.parametrize("options", [{}, {"postgresql_nulls_not_distinct": False}])
def test_unique_keys_come_back_in_words_that_the_server_has(
    project: Project, engine: Engine, options: dict[str, Any]
) -> None:
    metadata = table(UniqueConstraint("a", name="uq_a", **options))
    metadata.create_all(engine)
    reflected = MetaData()
    Table("t", reflected, autoload_with=engine)
    project.revision(table())
    project.upgrade()
    project.downgrade()
    assert project.drift(metadata) == []
    project.upgrade()
    project.revision(MetaData())
    project.downgrade()
    metadata.drop_all(engine)
    reflected.create_all(engine)
    assert project.drift(reflected) == []


def test_nulls_that_are_not_distinct_are_refused_where_there_are_none(engine: Engine) -> None:
    with engine.connect():
        pass
    if capabilities(engine).nulls_not_distinct:
        return
    metadata = table(UniqueConstraint("a", name="uq_a", postgresql_nulls_not_distinct=True))
    with pytest.raises(UnsupportedByServerError, match="make the columns NOT NULL"):
        metadata.create_all(engine)


TWO_LEVELS = {
    True: "CREATE TABLE t (a int, b text, d date) DISTRIBUTED BY (a) PARTITION BY RANGE (d) SUBPARTITION BY LIST (b) "
    "SUBPARTITION TEMPLATE (SUBPARTITION s1 VALUES ('a'), DEFAULT SUBPARTITION o) "
    "(START ('2026-01-01') END ('2026-03-01') EVERY (interval '1 month'))",
    False: "CREATE TABLE t (a int, b text, d date) PARTITION BY HASH (a)",
}


@pytest.fixture
def two_levels(engine: Engine) -> OtherPartitions:
    with engine.begin() as connection:
        connection.execute(text(TWO_LEVELS[capabilities(engine).distribution]))
    found = inspector_of(engine).get_partitions("t")
    assert isinstance(found, OtherPartitions)
    return found


@pytest.mark.usefixtures("two_levels")
def test_partitions_that_cannot_be_made_are_left_alone_by_a_model_that_says_nothing_of_them(project: Project) -> None:
    assert project.drift(table()) == []


def test_partitions_that_cannot_be_made_are_replaced_and_brought_back_by_hand(
    project: Project, two_levels: OtherPartitions
) -> None:
    wanted = table(partition_by=MONTHS)
    written = project.revision(wanted)
    assert written.index("raise NotImplementedError(\"'t' was, or is to be, OtherPartitions(") > written.index(
        "def down"
    )
    project.upgrade()
    assert project.drift(wanted) == []
    with pytest.raises(NotImplementedError, match="by SQL of your own"):
        project.downgrade()
    assert [kind for kind, *_ in project.drift(table(partition_by=two_levels))] == ["repartition_table"]


@pytest.mark.usefixtures("two_levels")
def test_a_dropped_table_with_partitions_that_cannot_be_made_says_so_in_its_downgrade(project: Project) -> None:
    written = project.revision(MetaData())
    down = written[written.index("def downgrade") :]
    assert down.index("# OtherPartitions(…) can be read, but not made") < down.index("op.create_table('t'")
    project.upgrade()


@pytest.mark.segments
def test_storage_that_would_need_partitions_that_cannot_be_made_is_told_and_left(
    project: Project, engine: Engine, two_levels: OtherPartitions, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = table(partition_by=two_levels, storage=AppendOptimized())
    with caplog.at_level("WARNING", "gpwarehouse"):
        kinds = [kind for kind, *_ in project.drift(wanted)]
    assert kinds == (["set_storage"] if capabilities(engine).access_methods else [])
    assert ("make the copy by sql of your own" in caplog.text.lower()) != bool(kinds)


STOPPED: dict[str, dict[str, Any]] = {"partitions": {"partition_by": MONTHS}, "storage": {"storage": COLUMNAR}}


@pytest.mark.parametrize("kind", sorted(STOPPED))
def test_what_stops_a_copy_is_named_above_it(project: Project, engine: Engine, kind: str) -> None:
    table(distributed_by=DistributedBy("a"), storage=Heap()).create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW v AS SELECT a FROM t"))
    written = project.revision(table(distributed_by=DistributedBy("a"), **STOPPED[kind]))
    copied = kind == "partitions" or (capabilities(engine).distribution and not capabilities(engine).access_methods)
    assert ("# It is a copy, which fails while there is: view v." in written) == copied


@pytest.mark.segments
def test_a_key_that_makes_a_table_replicated_is_explained_with_what_it_takes(project: Project, engine: Engine) -> None:
    is_now, wanted = (table(*(UniqueConstraint(k, name=f"uq_{k}") for k in keys)) for keys in ("a", "ab"))
    is_now.create_all(engine)
    written = project.revision(wanted)
    assert "op.set_distribution('t', DistributedReplicated(), existing=DistributedBy('a'))" in written
    assert "# Then each of 2 segments holds all of it: about " in written
    assert "# The model leaves the distribution open" in written
    project.upgrade()
    assert project.drift(wanted) == []
    project.downgrade()
    assert project.drift(is_now) == []


@pytest.mark.segments
@pytest.mark.parametrize("name", ["of%all", 'q"t'])
def test_a_table_of_any_name_is_measured(project: Project, engine: Engine, name: str) -> None:
    is_now = table(name=name, distributed_by=DistributedBy("a"))
    wanted = table(name=name, distributed_by=DistributedBy("b"))
    is_now.create_all(engine)
    assert f"# This rewrites all of {name}, locked" in project.revision(wanted)
    project.upgrade()
    assert project.drift(wanted) == []
    project.downgrade()
    assert project.drift(is_now) == []
    is_now.drop_all(engine)


@pytest.mark.segments
def test_the_operator_class_that_the_server_takes_anyway_is_no_drift(project: Project, engine: Engine) -> None:
    said = table(distributed_by=DistributedBy("a", opclasses={"a": "int4_ops"}))
    said.create_all(engine)
    assert project.drift(said) == []
    other = table(distributed_by=DistributedBy("a", opclasses={"a": "cdbhash_int4_ops"}))
    assert [kind for kind, *_ in project.drift(other)] == ["set_distribution"]


class Site(enum.StrEnum):
    A = "a"


NEW_YEAR = datetime(2026, 1, 1, tzinfo=ZoneInfo("America/New_York"))
BOUNDS = {
    "of another zone": RangePartitions.every("at", start=NEW_YEAR, step=timedelta(days=1), count=2),
    "of an enumeration": ListPartitions("c", (ListPartition("a", (Site.A, None)),)),
    "numbers": RangePartitions("n", (RangePartition("low", Decimal("0.5"), Decimal(7)),)),
}


@pytest.mark.parametrize("kind", sorted(BOUNDS))
def test_bounds_are_rendered_as_python_with_what_it_imports(project: Project, kind: str) -> None:
    metadata = MetaData()
    columns = Column("at", DateTime(timezone=True)), Column("c", Text), Column("n", Numeric)
    Table("t", metadata, *columns, greenplum_partition_by=BOUNDS[kind])
    project.revision(metadata)
    project.upgrade()
    assert project.drift(metadata) == []
    project.downgrade()


def test_an_identity_is_no_drift(project: Project, engine: Engine) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("a", BigInteger, Identity(), primary_key=True), Column("b", Integer))
    metadata.create_all(engine)
    assert project.drift(metadata, compare_server_default=True) == []


@pytest.mark.segments
def test_a_storage_is_said_whole_whatever_the_servers_defaults_are(project: Project, engine: Engine) -> None:
    metadata = table(distributed_by=DistributedBy("a"), storage=COLUMNAR)
    with engine.begin() as connection:
        connection.execute(text("SET gp_default_storage_options = 'blocksize=65536,checksum=false'"))
        metadata.create_all(connection)
        connection.execute(text("RESET gp_default_storage_options"))
    assert project.drift(metadata) == []
