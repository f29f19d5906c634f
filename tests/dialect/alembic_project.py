"""An Alembic environment as anybody has one, and a model that it migrates."""

from __future__ import annotations

import shutil
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any, cast

import alembic
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Column, Date, Index, Integer, MetaData, Table, Text
from sqlalchemy.engine import Engine

from gpwarehouse.dialect import (
    AppendOptimized,
    Capabilities,
    DistributedBy,
    Encoding,
    GreenplumDialect,
    ListPartition,
    ListPartitions,
    RangePartition,
    RangePartitions,
    migration,
)

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
        migration.register()
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

    def drift(self, metadata: MetaData, **options: Any) -> list[Any]:
        """What autogenerate would find."""
        engine: Engine = self.config.attributes["engine"]
        with engine.connect() as connection:
            options = {"include_schemas": True, "target_metadata": metadata, **options}
            context = MigrationContext.configure(connection, opts=options)
            return cast(list[Any], compare_metadata(context, metadata))

    def sql(self, server: str) -> str:
        self.config.attributes["url"] = f"greenplum+psycopg2://?server={server}"
        command.upgrade(self.config, "head", sql=True)
        return self.output.getvalue()


def capabilities(engine: Engine) -> Capabilities:
    """What the tests' server can do; some engine must have connected."""
    found = cast(GreenplumDialect, engine.dialect).capabilities
    assert found is not None
    return found


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
BY_K, BY_C = DistributedBy("k"), DistributedBy("c", "k")
