"""Differences of two snapshots, and of the options that Greenplum adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import unified_diff
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from gpwarehouse.dialect import AppendOptimized
from gpwarehouse.dialect.ddl_compiler import child_table_name
from gpwarehouse.dialect.option_checks import distribution_of
from gpwarehouse.dialect.reflection import distributions_of, encodings_of, partitionings_of, storages_of
from gpwarehouse.engine import dialect_of
from gpwarehouse.models import VIEWS
from gpwarehouse.validate.catalog import Snapshot, model_tables
from gpwarehouse.validate.finding import Finding

__all__ = ["OURS", "compare_options", "compare_revisions", "compare_snapshots"]

OURS = frozenset({"alembic_version"})
"""Tables of ours in the schema that are not the models'."""
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}


def compare_snapshots(
    expected: Snapshot, live: Snapshot, partitions: set[str], detached: set[str]
) -> Iterator[Finding]:
    """Compare two snapshots.

    :param partitions: tables that are partitions of others; ``detached``: that were once, by their names.
    """
    names = {*model_tables(), *(view.name for view in VIEWS)}
    for name in sorted(names - live.relations.keys()):
        kind = "table" if name in model_tables() else "view"
        yield Finding(kind, name, "there", "missing")
    for name in sorted(live.relations.keys() - names - OURS - partitions - detached):
        kind = _KINDS[live.relations[name]]
        yield Finding(
            f"foreign {kind.removeprefix('foreign ')}", name, "not in this schema", kind,
            "move it to a schema of its own (ALTER … SET SCHEMA), or drop it",
        )  # fmt: skip
    there = names & live.relations.keys()
    yield from _columns(expected, live, there)
    yield from _compare_named(expected.constraints, live.constraints, there)
    yield from _compare_named(_as_indexes(expected), _as_indexes(live), there)
    yield from _views(expected, live)
    for key, comment in sorted(expected.comments.items(), key=str):
        if key[0] in there and (key[1] is None or key in live.columns) and live.comments.get(key) != comment:
            yield Finding("comment", ".".join(filter(None, key)), comment or "none", live.comments.get(key) or "none")


_REVISIONS = {
    "pending": (
        "applied", "gpwarehouse upgrade; where its tables are there and somebody emptied alembic_version: alembic stamp, "
        "which notes the revision and runs nothing",
    ),
    "edited": ("as it was applied", "take the edit back, or gpwarehouse schema accept-edit"),
    "missing": (
        "known to this package", "install the package that made it, or set GPWAREHOUSE_MIGRATIONS; where alembic_version was "
        "changed by hand, bring it back",
    ),
}  # fmt: skip


def compare_revisions(revisions: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Find revisions that are not simply applied."""
    for revision, state in revisions:
        if state in _REVISIONS:
            expected, remedy = _REVISIONS[state]
            yield Finding("revision", revision, expected, state, remedy)


def _columns(expected: Snapshot, live: Snapshot, there: set[str]) -> Iterator[Finding]:
    for key in sorted({*expected.columns, *live.columns}):
        if key[0] not in there:
            continue
        wanted, found = expected.columns.get(key), live.columns.get(key)
        name = ".".join(key)
        if wanted is None or found is None:
            said = (("not there", "there"), ("there", "missing"))[wanted is not None]
            yield Finding("column", name, *said)
            continue
        for kind, value in wanted.items():
            if found[kind] != value:
                yield Finding(kind, name, value, found[kind])


def _compare_named(
    expected: dict[tuple[str, str], tuple[str, str]], live: dict[tuple[str, str], tuple[str, str]], there: set[str]
) -> Iterator[Finding]:
    for key in sorted({*expected, *live}):
        wanted, found = expected.get(key), live.get(key)
        if key[0] in there and wanted != found:
            kind = (wanted or found or ("", ""))[0]
            yield Finding(kind, ".".join(key), wanted[1] if wanted else "not there", found[1] if found else "missing")


def _as_indexes(snapshot: Snapshot) -> dict[tuple[str, str], tuple[str, str]]:
    return {key: ("index", said) for key, said in snapshot.indexes.items()}


def _views(expected: Snapshot, live: Snapshot) -> Iterator[Finding]:
    for name, wanted in sorted(expected.views.items()):
        found = live.views.get(name)
        if found is not None and found != wanted:
            lines = [*unified_diff(wanted.splitlines(), found.splitlines(), lineterm="", n=0)][2:]
            changed = [line for line in lines if not line.startswith("@@")]
            minus = "; ".join(line[1:].strip() for line in changed if line.startswith("-")) or "nothing there"
            plus = "; ".join(line[1:].strip() for line in changed if line.startswith("+")) or "nothing there"
            yield Finding("view", name, minus, plus)


# Options.


def compare_options(connection: Connection, schema: str, live: Snapshot) -> Iterator[Finding]:
    """Differences of distribution, storage, encodings and partition scheme."""
    dialect = dialect_of(connection)
    tables = {name: table for name, table in model_tables().items() if name in live.relations}
    schemes = partitionings_of(connection, dialect, schema, list(tables))
    distributions = distributions_of(connection, dialect, schema, list(tables))
    storages = storages_of(connection, dialect, schema)
    encodings = encodings_of(connection, dialect, schema, list(tables))
    for name, table in sorted(tables.items()):
        options = table.dialect_options["greenplum"]
        scheme, found = options["partition_by"], schemes.get(name)
        if (scheme is None) != (found is None) or (scheme is not None and not scheme.same_scheme(found)):
            yield Finding("partition scheme", name, _scheme(scheme), _scheme(found))
        if name in distributions and distributions[name] != distribution_of(table):
            yield Finding("distribution", name, repr(distribution_of(table)), repr(distributions[name]))
        if name in storages and options["storage"] is not None and storages[name] != options["storage"]:
            yield Finding("storage", name, repr(options["storage"]), repr(storages[name]))
        for column, encoding in sorted(encodings.get(name, {}).items()):
            if table.columns.get(column) is not None and encoding != _encoding(table, column):
                yield Finding("encoding", f"{name}.{column}", repr(_encoding(table, column)), repr(encoding))
        if found is not None:
            yield from _storage_of_partitions(table, found, storages)


def _scheme(scheme: Any) -> str:
    column = getattr(scheme, "column", None)
    return "not partitioned" if scheme is None else f"by {column or scheme!r}"


def _encoding(table: Table, column: str) -> Any:
    return table.columns[column].dialect_options["greenplum"]["encoding"]


def _storage_of_partitions(table: Table, scheme: Any, storages: dict[str, Any]) -> Iterator[Finding]:
    """Compare the storage of partitions with their table's. Their compression may differ, their kind of storage may not."""
    wanted = table.dialect_options["greenplum"]["storage"]
    if not isinstance(wanted, AppendOptimized):
        return
    for partition in getattr(scheme, "partitions", ()):
        child = partition.child or child_table_name(table.name, partition.name)
        found = storages.get(child)
        if found is not None and getattr(found, "orientation", None) != wanted.orientation:
            yield Finding(
                "storage", child, f"by {wanted.orientation}, append-optimized", repr(found),
                f"write it anew and exchange it, as retention does ({table.name}: compress after N months)",
            )  # fmt: skip
