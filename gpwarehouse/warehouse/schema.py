"""``wh.schema``: plans and history of migrations, comparison of the database with the models, roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpwarehouse.warehouse import rooms
from gpwarehouse.warehouse.connected import Door

if TYPE_CHECKING:
    from gpwarehouse.migrate import Migration, PlannedStep
    from gpwarehouse.roles import Roles
    from gpwarehouse.validate import Finding

__all__ = ["Schema"]


class Schema(Door):
    """The warehouse's schema: plans, revisions, validation, roles."""

    def plan(self, revision: str = "head") -> list[PlannedStep]:
        """List what :meth:`~gpwarehouse.Warehouse.upgrade` would run: revisions, their statements, what they rewrite.

        Nothing is changed.
        """

        return rooms.migrate.upgrade_plan(self._connected.settings, revision)

    def plan_downgrade(self, revision: str) -> list[PlannedStep]:
        """List what :meth:`~gpwarehouse.Warehouse.downgrade` would run and drop, with the number of rows. Nothing is changed."""

        return rooms.migrate.downgrade_plan(self._connected.settings, revision)

    def revisions(self) -> list[Migration]:
        """List all revisions in order, each applied, pending, edited or missing."""

        return rooms.migrate.migrations(self._connected.settings)

    def current(self) -> str | None:
        """The revision that the database is at; several with commas between; None before the first."""

        return rooms.migrate.current(self._connected.settings)

    def head(self) -> str:
        """The newest revision of this package and of the fab's own scripts; several with commas between."""

        return rooms.migrate.head(self._connected.settings)

    def accept_edit(self, revision: str, *, reason: str) -> None:
        """Accept that the script of an applied revision was edited, and record why.

        :raises MigrationError: the script was not edited, or no reason is given.
        """

        rooms.migrate.accept_edit(self._connected.settings, revision, reason)

    def validate(self, *, roles: bool | None = None) -> list[Finding]:
        """Compare the database with the models. Nothing is changed, and there is no finding right after an upgrade.

        :param roles: whether to compare rights; None: if one of the roles has any rights in the schema.
        """

        revisions = [(one.revision, one.state) for one in rooms.migrate.migrations(self._connected.settings)]
        return rooms.validate.validate(
            self._connected.engine, self._connected.settings, roles=roles, revisions=revisions
        )

    @property
    def roles(self) -> Roles:
        """Reader, loader and admin of the schema: plan, apply."""

        return rooms.roles.Roles(self._connected.engine, self._connected.settings)
