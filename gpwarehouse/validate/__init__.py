"""The live schema against the models: what is missing, foreign, or other than it should be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.dialect.reflection import partition_children
from gpwarehouse.engine import could_not_connect, dialect_of, explain_operational_error, refused_look
from gpwarehouse.models import VIEWS
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.roles.rights import rights_changes, roles_in_use, surplus_attributes
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.validate.catalog import Snapshot, expected_snapshot, live_snapshot, model_tables
from gpwarehouse.validate.compare import OURS, compare_options, compare_revisions, compare_snapshots
from gpwarehouse.validate.finding import Finding
from gpwarehouse.validate.foreign_objects import compare_objects, compare_owners, parents_of
from gpwarehouse.validate.months import compare_months, detached_months
from gpwarehouse.validate.partition_drift import compare_partitions
from gpwarehouse.validate.required_rows import compare_content, loaded_months

__all__ = ["Finding", "validate"]

_DROPPED = re.compile(r"could not open relation with OID|cache lookup failed for")
"""The server's words where an object is dropped between two looks into its catalog."""


def validate(
    engine: Engine,
    settings: WarehouseSettings,
    *,
    roles: bool | None = None,
    revisions: Iterable[tuple[str, str]] = (),
    now: datetime | None = None,
) -> list[Finding]:
    """Compare the database with the models; nothing is changed, and a schema just upgraded has no finding.

    The live schema is read in a read-only transaction. What the models would be on this server is asked for by
    temporary tables, which needs the right to make them (everybody's by default), in a transaction that is rolled back.

    :param roles: whether to compare the rights of the roles; None: if one of them has any in the schema.
    :param revisions: each with its state, as ``gpwarehouse.migrate.migrations`` tells them.
    :param now: the instant that says from where on a missing month is a gap; else now.
    :raises WarehouseConnectionError: the server cannot be reached.
    :raises ReadError: the server refused to tell.
    """
    try:
        try:
            live, findings = _live(engine, settings, roles, now or datetime.now(UTC))
        except exc.DBAPIError as error:
            if not _DROPPED.search(str(error.orig)):
                raise
            live, findings = _live(engine, settings, roles, now or datetime.now(UTC))  # a migration runs beside us
        if live is None:
            return findings
        expected = _make_expected(engine)
    except exc.DBAPIError as error:
        if could_not_connect(error):
            raise explain_operational_error(error, settings) from error
        needs = f"TEMPORARY on the database, USAGE on schema {settings.schema_name!r} and SELECT on its tables"
        raise refused_look(error, "the schema could not be compared", f"the role needs {needs}") from error
    snapshot, partitions, detached = live
    told = compare_revisions(revisions)
    return [*told, *compare_snapshots(expected, snapshot, partitions, detached), *findings]


def _live(
    engine: Engine, settings: WarehouseSettings, roles: bool | None, now: datetime
) -> tuple[tuple[Snapshot, set[str], set[str]] | None, list[Finding]]:
    """The live schema, its partitions and those that once were; and what can be told without the models' deparse."""
    with engine.connect().execution_options(postgresql_readonly=True) as connection, connection.begin():
        snapshot = live_snapshot(connection, settings.schema_name)
        if snapshot is None:
            return None, [Finding("schema", settings.schema_name, "there", "missing", "gpwarehouse upgrade")]
        return _compare(connection, snapshot, settings, roles, now)


def _compare(
    connection: Connection, snapshot: Snapshot, settings: WarehouseSettings, roles: bool | None, now: datetime
) -> tuple[tuple[Snapshot, set[str], set[str]], list[Finding]]:
    dialect, schema = dialect_of(connection), settings.schema_name
    partitions = partition_children(connection, dialect, schema)
    detached = detached_months(connection, snapshot.space, snapshot.relations.keys() - partitions)
    ours = {*model_tables(), *OURS, *(view.name for view in VIEWS)}
    parents = parents_of(connection, snapshot.space)
    classic = dialect.capabilities is not None and dialect.capabilities.partition_catalog == "classic"
    findings = [
        *compare_options(connection, schema, snapshot),
        *compare_objects(connection, snapshot.space, ours, parents),
        *compare_partitions(connection, snapshot.space, parents, classic=classic),
        *compare_content(connection, schema, snapshot, ShiftCalendar.build(**settings.calendar_options())),
        *compare_months(connection, schema, settings, detached, loaded_months(connection, schema, snapshot), now),
    ]
    if roles or (roles is None and roles_in_use(connection, settings)):
        findings += [
            Finding("rights", change.object, change.expected, change.found, "gpwarehouse roles apply")
            for change in rights_changes(connection, settings)
        ]
        findings += [
            Finding("rights", change.object, change.expected, change.found, f"{change.statement}, if nobody needs it")
            for change in surplus_attributes(connection, settings)
        ]
    else:
        findings += compare_owners(connection, snapshot.space, ours, parents)
    return (snapshot, partitions, set(detached)), findings


def _make_expected(engine: Engine) -> Snapshot:
    with engine.connect() as connection:
        transaction = connection.begin()
        try:
            return expected_snapshot(connection)
        finally:
            transaction.rollback()
