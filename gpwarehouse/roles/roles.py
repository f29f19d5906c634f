"""The three roles of a warehouse, made and granted: reader, loader, admin.

They cannot log in: people and jobs are made members (``GRANT gpw_loader TO etl``). What each may do, and how tables
and months to come get the same: :mod:`gpwarehouse.roles.rights`.
"""

from __future__ import annotations

from sqlalchemy import exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import could_not_look, lock_advisory, look
from gpwarehouse.errors import RoleError
from gpwarehouse.roles.rights import RightsChange, rights_changes
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Roles"]

LOCK_ROLES = "roles"


class Roles:
    """The roles of a warehouse, as ``wh.schema.roles``.

    :param engine: a pooled engine of the warehouse, of a role that may create roles and owns the schema.
    :param settings: names of the roles and of the schema.
    """

    def __init__(self, engine: Engine, settings: WarehouseSettings) -> None:
        self.engine = engine
        self.settings = settings

    def plan(self) -> list[RightsChange]:
        """List rights that are missing or too many, each with the statement that corrects it; nothing is changed.

        :raises RoleError: there is no schema.
        """
        return look(self.engine, self.settings, "the rights", self._changes)

    def apply(self) -> list[RightsChange]:
        """Run the statements of :meth:`plan`, in one transaction; a second time there are none.

        :raises RoleError: the server refused one; nothing was changed.
        """
        try:
            return self._apply()
        except exc.DBAPIError as error:
            raise could_not_look(error, self.settings, "the rights") from error

    def _apply(self) -> list[RightsChange]:
        with self.engine.connect() as connection, connection.begin():
            lock_advisory(connection, LOCK_ROLES)
            changes = self._changes(connection)
            for change in changes:
                try:
                    connection.execute(text(change.statement))
                except exc.DBAPIError as error:
                    reason = str(error.orig).strip().splitlines()[0]
                    raise RoleError(
                        f"{change.object}: the server refused {change.statement[:200]!r}: {reason}; nothing was changed. "
                        "A superuser may, or a role with CREATEROLE that owns the schema and is a member of "
                        f"{self.settings.role_admin}"
                    ) from error
        return changes

    def _changes(self, connection: Connection) -> list[RightsChange]:
        there = text("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :schema)")
        if not connection.execute(there, {"schema": self.settings.schema_name}).scalar_one():
            raise RoleError(
                f"there is no schema {self.settings.schema_name!r} to grant rights on: run gpwarehouse upgrade first"
            )
        return rights_changes(connection, self.settings)
