"""The tables that autogenerate compares a database with: the warehouse's, and a fab's own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.schema import SchemaConst

from gpwarehouse.errors import SettingsError
from gpwarehouse.migrate import history
from gpwarehouse.models import Base
from gpwarehouse.settings import WarehouseSettings

__all__ = ["compared", "target_metadata"]


def target_metadata(settings: WarehouseSettings) -> list[MetaData]:
    """The warehouse's tables in its schema, and those that the setting ``models`` names.

    :raises SettingsError: it names nothing that can be imported, or tables of the warehouse's names.
    """
    ours = _metadata_in(settings.schema_name)
    theirs = _models(settings.models)
    if theirs is None or theirs is Base.metadata:  # whose tables are in ours by having been imported
        return [ours]
    doubled = sorted(ours.tables.keys() & theirs.tables.keys())
    if doubled:
        raise SettingsError(
            f"GPWAREHOUSE_MODELS = {settings.models!r}: {', '.join(doubled)} are the warehouse's own; name yours otherwise, or "
            "put them into a schema of your own"
        )
    return [ours, theirs]


def _metadata_in(schema: str) -> MetaData:
    if schema == Base.metadata.schema:
        return Base.metadata
    moved = MetaData(schema=schema, naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        table.to_metadata(moved, schema=schema if table.schema == Base.metadata.schema else SchemaConst.RETAIN_SCHEMA)
    return moved


def _models(named: str | None) -> MetaData | None:
    if named is None:
        return None
    module, _, name = named.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"GPWAREHOUSE_MODELS = {named!r}: {error}; allowed is module:name of a MetaData or declarative base that Python "
            "finds (alembic.ini: prepend_sys_path = %(here)s; else PYTHONPATH)"
        ) from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise SettingsError(
            f"GPWAREHOUSE_MODELS = {named!r} is a {type(found).__name__}; allowed is a MetaData or declarative base"
        )
    return metadata


def compared(
    settings: WarehouseSettings, targets: list[MetaData], command: str | None
) -> dict[str, Callable[..., bool]]:
    """The options of Alembic's context that say what of a database is compared.

    A table that no model knows is somebody's own, and autogenerate must not write its DROP. ``alembic check`` tells it where
    it stands in the warehouse's schema.
    """
    ours = settings.schema_name
    # What Alembic calls None is the schema that the search_path begins with.
    schemas = {ours, *(table.schema for target in targets for table in target.tables.values())}

    def include_name(name: str | None, kind: str, _parents: Any) -> bool:
        if kind == "schema":
            return name in schemas
        return not (kind == "table" and name == history.HISTORY_TABLE)

    def include_object(thing: Any, _name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
        unknown = kind == "table" and reflected and compare_to is None
        return not unknown or (command != "revision" and thing.schema == ours)

    return {"include_name": include_name, "include_object": include_object}
