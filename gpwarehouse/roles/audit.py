"""Who may what in the warehouse, as the server has it, and how that differs from what should be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.roles.rights import RightsChange, rights_changes, surplus_attributes
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Access", "Audit", "audit_roles"]

May = Literal["read", "write", "change", "everything", "single rights"]

_MEMBERS = """
    SELECT o.rolname AS role, r.rolname AS name, r.rolcanlogin AS can_login, r.rolvaliduntil AS expires
    FROM pg_roles o CROSS JOIN pg_roles r
    WHERE o.rolname = ANY (:roles) AND r.oid <> o.oid AND NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'MEMBER')
    ORDER BY r.rolname, o.rolname"""
_SUPERUSERS = """
    SELECT rolname AS name, rolcanlogin AS can_login, rolvaliduntil AS expires FROM pg_roles WHERE rolsuper ORDER BY 1"""
# An array for each table: Greenplum 6 fails to join the rows of such a function ("cannot execute squelched plan node").
_STRANGERS = """
    SELECT c.relname AS object, ARRAY(
        SELECT r.rolname || ' ' || a.privilege_type FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE a.grantee <> c.relowner AND NOT (r.rolname = ANY (:roles)) AND NOT r.rolsuper ORDER BY 1) AS rights
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relacl IS NOT NULL ORDER BY c.relname"""
_LOGINS = "SELECT rolname AS name, rolcanlogin AS can_login, rolvaliduntil AS expires FROM pg_roles WHERE rolname = ANY (:names)"
_GRANTORS = """
    SELECT DISTINCT g.rolname AS role, m.rolname AS name FROM pg_auth_members a
    JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE a.admin_option AND g.rolname = ANY (:roles) AND NOT m.rolsuper ORDER BY 2, 1"""
_POWERS = """
    SELECT r.rolname AS name, x.word FROM pg_roles r CROSS JOIN LATERAL (VALUES
        ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication)) x (word, has)
    WHERE x.has AND NOT r.rolsuper AND r.rolname = ANY (:names) ORDER BY 1, 2"""


@dataclass(frozen=True)
class Access:
    """A role of the server that may do something here.

    :ivar may: ``read``, ``write`` rows too, ``change`` the schema too, ``everything`` as a superuser, or ``single rights``
        that were granted beside the three roles.
    :ivar through: the role that it is a member of; ``superuser``; or the tables.
    :ivar can_login: whether it may log in; ``expires``: when its password ends, if it does.
    """

    name: str
    may: May
    through: str
    can_login: bool
    expires: datetime | None


@dataclass(frozen=True)
class Audit:
    """Who may what, and the differences from what should be.

    :ivar access: one row for each role and way.
    :ivar differences: what should not be so, each with the statement that ends it. ``roles apply`` runs those that
        ``wh.schema.roles.plan()`` has too; the others are left to the DBA.
    """

    access: tuple[Access, ...]
    differences: tuple[RightsChange, ...]


def audit_roles(connection: Connection, settings: WarehouseSettings) -> Audit:
    """Ask the server."""
    kinds: dict[str, May] = {
        settings.role_reader: "read",
        settings.role_loader: "write",
        settings.role_admin: "change",
    }
    values = {"roles": list(kinds), "schema": settings.schema_name}
    members = [
        Access(row.name, kinds[row.role], row.role, row.can_login, row.expires)
        for row in connection.execute(text(_MEMBERS), values)
    ]
    superusers = [
        Access(row.name, "everything", "superuser", row.can_login, row.expires)
        for row in connection.execute(text(_SUPERUSERS))
    ]
    grants: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in connection.execute(text(_STRANGERS), values):
        for name, _, right in (each.rpartition(" ") for each in row.rights):
            grants[name, row.object].append(right)
    single = [
        Access(
            row.name,
            "single rights",
            ", ".join(object for name, object in grants if name == row.name),
            row.can_login,
            row.expires,
        )
        for row in connection.execute(text(_LOGINS), {"names": [name for name, _ in grants]})
    ]
    quote = connection.dialect.identifier_preparer.quote
    differences = [*rights_changes(connection, settings), *surplus_attributes(connection, settings)]
    schema = connection.dialect.identifier_preparer.quote_schema(settings.schema_name)
    for (name, object), rights in grants.items():
        revoke = f"REVOKE ALL ON {schema}.{quote(object)} FROM {quote(name)}"
        expected = f"{name} may nothing by a grant of its own"
        differences.append(RightsChange(object, expected, ", ".join(rights), revoke))
    for row in connection.execute(text(_GRANTORS), values):
        revoke = f"REVOKE ADMIN OPTION FOR {quote(row.role)} FROM {quote(row.name)}"
        differences.append(RightsChange(f"role {row.name}", f"lets nobody into {row.role}", "may", revoke))
    names = [each.name for each in members if each.can_login]
    for row in connection.execute(text(_POWERS), {"names": names}):
        alter = f"ALTER ROLE {quote(row.name)} NO{row.word}"
        differences.append(RightsChange(f"role {row.name}", f"NO{row.word}", row.word, alter))
    return Audit((*superusers, *members, *single), tuple(differences))
