"""The three roles of a warehouse, made and granted: reader, loader, admin; and logins for them.

They cannot log in: people and jobs are made members (``GRANT gpw_loader TO etl``). What each may do, and how tables
and months to come get the same: :mod:`gpwarehouse.roles.rights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from psycopg2 import ProgrammingError
from psycopg2.extensions import QuotedString, encrypt_password
from sqlalchemy import exc, text
from sqlalchemy.engine import Connection, Engine

from gpwarehouse.engine import could_not_look, lock_advisory, look
from gpwarehouse.engine.server_errors import reason_of
from gpwarehouse.errors import RoleError
from gpwarehouse.roles.audit import Audit, audit_roles
from gpwarehouse.roles.rights import RightsChange, rights_changes
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Roles"]

LOCK_ROLES = "roles"
_LOGIN = """
    SELECT r.rolsuper, (SELECT count(*) FROM pg_stat_activity a WHERE a.usename = r.rolname) AS sessions
    FROM pg_roles r WHERE r.rolname = :name"""


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

    def audit(self) -> Audit:
        """Tell who may what, and the differences from what should be; nothing is changed.

        :raises RoleError: there is no schema.
        """
        return look(self.engine, self.settings, "the rights", self._audit)

    def add_login(self, name: str, role: Literal["reader", "loader", "admin"], *, password: str | None = None) -> None:
        """Make a login that is a member of one of the roles only, or make an existing one a member.

        A service has a login for each role of its callers: :doc:`/how-to/serve`. A reader may also make temporary tables, which
        ``wh.schema.validate()`` needs.

        :param name: the login's name.
        :param role: which of the roles.
        :param password: the password of a new login, or a new one; the server gets it as a SCRAM or MD5 hash, so no log has it.
        :raises RoleError: the role is unknown, the login has another of the roles, or the server refused; nothing was changed.
        """
        group = {
            "reader": self.settings.role_reader,
            "loader": self.settings.role_loader,
            "admin": self.settings.role_admin,
        }
        if role not in group:
            raise RoleError(f"role {role!r}: the roles are {', '.join(group)}")
        try:
            with self.engine.connect() as connection, connection.begin():
                lock_advisory(connection, LOCK_ROLES)
                self._refuse_other_role(connection, name, group[role])
                for statement in self._login_statements(connection, name, group[role], password):
                    connection.exec_driver_sql(statement)
        except (exc.DBAPIError, ProgrammingError) as error:
            raise RoleError(f"login {name!r} cannot be made: {reason_of(error)}; nothing was changed") from None

    def _refuse_other_role(self, connection: Connection, name: str, group: str) -> None:
        """Keep a login that a service uses from becoming another's: everybody's SQL runs with a reader's."""
        own = [self.settings.role_reader, self.settings.role_loader, self.settings.role_admin]
        has = connection.execute(
            text(
                "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member "
                "WHERE r.rolname = :name AND g.rolname = ANY (:own) AND g.rolname <> :group ORDER BY 1"
            ),
            {"name": name, "own": own, "group": group},
        ).scalars()
        if other := list(has):
            raise RoleError(
                f"login {name!r} is a member of {', '.join(other)} already; take another name, or remove it first "
                f"(gpwarehouse roles remove-login {name}). Nothing was changed"
            )

    def remove_login(self, name: str) -> None:
        """Remove a login that :meth:`add_login` made, once nobody is connected by it.

        So a service gets a new password without a gap: a second login, then the first one is removed.

        :raises RoleError: there is no such login, it is a superuser or one of the roles, sessions of it are open, or it owns
            something; nothing was changed.
        """
        try:
            with self.engine.connect() as connection, connection.begin():
                lock_advisory(connection, LOCK_ROLES)
                self._refuse_removal(connection, name)
                quote = connection.dialect.identifier_preparer.quote_identifier
                database = connection.execute(text("SELECT current_database()")).scalar_one()
                for statement in (
                    f"REVOKE ALL ON DATABASE {quote(database)} FROM {quote(name)}",
                    f"DROP ROLE {quote(name)}",
                ):
                    connection.exec_driver_sql(statement.replace("%", "%%"))
        except exc.DBAPIError as error:
            raise RoleError(f"login {name!r} cannot be removed: {reason_of(error)}; nothing was changed") from None

    def _refuse_removal(self, connection: Connection, name: str) -> None:
        found = connection.execute(text(_LOGIN), {"name": name}).first()
        if found is None:
            raise RoleError(f"there is no login {name!r}; wh.schema.roles.audit() tells who there is")
        own = (self.settings.role_reader, self.settings.role_loader, self.settings.role_admin)
        if found.rolsuper or name in own:
            raise RoleError(f"{name!r} is a superuser or one of the warehouse's roles, and stays")
        if found.sessions:
            raise RoleError(
                f"login {name!r} has {found.sessions} open sessions; stop what uses it first, then remove it"
            )

    def _audit(self, connection: Connection) -> Audit:
        self._require_schema(connection)
        return audit_roles(connection, self.settings)

    def _login_statements(self, connection: Connection, name: str, group: str, password: str | None) -> Iterator[str]:
        quote = connection.dialect.identifier_preparer.quote_identifier
        there = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).first()
        attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
        driver: Any = connection.connection.driver_connection
        if password is not None:
            hashed = QuotedString(encrypt_password(password, name, driver))
            hashed.prepare(driver)
            attributes += f" PASSWORD {hashed.getquoted().decode()}"
        yield f"{'ALTER' if there else 'CREATE'} ROLE {quote(name)} {attributes}".replace("%", "%%")
        yield f"GRANT {quote(group)} TO {quote(name)}".replace("%", "%%")
        database = connection.execute(text("SELECT current_database()")).scalar_one()
        yield f"GRANT CONNECT, TEMPORARY ON DATABASE {quote(database)} TO {quote(name)}".replace("%", "%%")

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
        self._require_schema(connection)
        return rights_changes(connection, self.settings)

    def _require_schema(self, connection: Connection) -> None:
        there = text("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :schema)")
        if not connection.execute(there, {"schema": self.settings.schema_name}).scalar_one():
            raise RoleError(
                f"there is no schema {self.settings.schema_name!r} to grant rights on: run gpwarehouse upgrade first"
            )
