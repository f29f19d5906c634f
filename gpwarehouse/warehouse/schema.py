"""The warehouse's schema: revisions, months, rights, and whether it is as the models say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from gpwarehouse.engine import RetryPolicy, dialect_of, look
from gpwarehouse.models import EtlLoadBatch
from gpwarehouse.warehouse.base import Connected

if TYPE_CHECKING:
    from gpwarehouse.migrate import Migration, PlannedStep
    from gpwarehouse.partitions import Partitions
    from gpwarehouse.roles import Roles
    from gpwarehouse.validate import Finding

__all__ = ["OfSchema", "Status"]


@dataclass(frozen=True)
class Status:
    """Where a warehouse stands.

    :ivar server: brand and version; ``revision``: the database's, None before the first; ``head``: this package's.
    :ivar rows_loaded: rows of all loaded batches, as the batches counted them.
    :ivar batches_deleted: batches that were loaded, and whose rows were deleted since; they are not among those that failed.
    """

    server: str
    schema: str
    revision: str | None
    head: str
    batches_loaded: int
    batches_failed: int
    rows_loaded: int
    batches_deleted: int

    @property
    def is_current(self) -> bool:
        """Whether the database is at this package's head."""
        return self.revision == self.head


class OfSchema(Connected):
    """Upgrade, downgrade, status, partitions, roles, validate."""

    def upgrade(self, revision: str = "head", *, progress: Callable[[str], None] | None = None) -> None:
        """Bring the schema up to a revision.

        :param progress: takes a line on each revision and batch.
        :raises MigrationError: a revision failed, and nothing of it remains; or a script was edited after it was applied.
        """
        from gpwarehouse import migrate

        migrate.upgrade(self.settings, revision, progress=progress)
        self._checked = None

    def upgrade_plan(self, revision: str = "head") -> list[PlannedStep]:
        """What :meth:`upgrade` would run: revisions, their statements, what they rewrite. Nothing is changed."""
        from gpwarehouse import migrate

        return migrate.upgrade_plan(self.settings, revision)

    def downgrade(
        self, revision: str, *, drop_data: bool = False, progress: Callable[[str], None] | None = None
    ) -> None:
        """Take the schema back to a revision; ``"base"`` drops every table of ours.

        :param drop_data: whether tables and columns that hold data may be dropped, with it.
        :raises MigrationError: data would be dropped (the message names it), or a revision failed.
        """
        from gpwarehouse import migrate

        migrate.downgrade(self.settings, revision, drop_data=drop_data, progress=progress)
        self._checked = None

    def downgrade_plan(self, revision: str) -> list[PlannedStep]:
        """What :meth:`downgrade` would run, what it would drop and the rows in it. Nothing is changed."""
        from gpwarehouse import migrate

        return migrate.downgrade_plan(self.settings, revision)

    def migrations(self) -> list[Migration]:
        """All revisions in their order, each applied, pending, edited or missing."""
        from gpwarehouse import migrate

        return migrate.migrations(self.settings)

    def accept_edit(self, revision: str, *, reason: str) -> None:
        """Accept that the script of an applied revision was edited, and record why.

        :raises MigrationError: it was not edited, or no reason is given.
        """
        from gpwarehouse import migrate

        migrate.accept_edit(self.settings, revision, reason)

    def status(self) -> Status:
        """Server, revision and batches.

        :raises WarehouseConnectionError: the server cannot be reached.
        """
        from gpwarehouse import migrate
        from gpwarehouse.batches.ledger import DELETED, FAILED, LOADED, state

        policy = RetryPolicy.once_met(self.settings, self.engine)
        revision = policy.call("look at the schema's revision", migrate.current, self.settings)
        query = select(
            state().label("state"), func.count().label("batches"), func.sum(EtlLoadBatch.rows_loaded).label("rows")
        ).group_by("state")

        def count(connection: Connection) -> dict[str, tuple[int, int]]:
            there = connection.execute(query) if revision is not None else ()
            return {row.state: (row.batches, int(row.rows or 0)) for row in there}

        counts = look(self.engine, self.settings, "the batches", count)
        loaded, failed, deleted = (counts.get(name, (0, 0)) for name in (LOADED, FAILED, DELETED))
        server = dialect_of(self.engine).server_info
        return Status(
            str(server),
            self.settings.schema_name,
            revision,
            migrate.head(self.settings),
            loaded[0],
            failed[0],
            loaded[1],
            deleted[0],
        )

    @property
    def partitions(self) -> Partitions:
        """The months of the facts: plan, apply, list, restore, skew."""
        from gpwarehouse.partitions import Partitions

        return Partitions(self.engine, self.settings)

    def validate(self, *, roles: bool | None = None) -> list[Finding]:
        """Compare the database with the models; nothing is changed, and there is no finding right after an upgrade.

        :param roles: whether to compare rights; None: if one of the roles has any in the schema.
        """
        from gpwarehouse import migrate
        from gpwarehouse.validate import validate

        revisions = [(one.revision, one.state) for one in migrate.migrations(self.settings)]
        return validate(self.engine, self.settings, roles=roles, revisions=revisions)

    def rebuild_calendar(self) -> list[str]:
        """Make the hours of ``dim_time`` that are not of the settings' calendar anew, in one transaction.

        Needed where time zone, shifts, crews, holidays or the start of the week were changed and months were loaded before:
        loads into these are refused meanwhile. Facts are not touched; their shifts are found by the hour.

        :return: the months that were made anew, ``YYYY-MM``.
        :raises LoadError: the server refused; nothing was changed.
        """
        from gpwarehouse.batches.lost_commits import settled
        from gpwarehouse.models.calendar import ShiftCalendar
        from gpwarehouse.months.hours import rebuild_hours

        self._require_current_schema()
        calendar = ShiftCalendar.build(**self.settings.calendar_options())
        return settled(
            *(self.engine, self.settings, lambda: rebuild_hours(self.engine, calendar)),
            what="rebuilding of the calendar",
            table="dim_time",
            undone="nothing was changed",
        )

    @property
    def roles(self) -> Roles:
        """Reader, loader and admin of the schema: plan, apply."""
        from gpwarehouse.roles import Roles

        return Roles(self.engine, self.settings)
