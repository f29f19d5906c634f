"""Who may what in the warehouse, as the server has it, and how that differs from what should be."""

from __future__ import annotations

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
_STRANGERS = """
    SELECT grantee.rolname AS name, grantee.rolcanlogin AS can_login, grantee.rolvaliduntil AS expires, c.relname AS object,
        string_agg(DISTINCT a.privilege_type, ', ') AS rights
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
    JOIN pg_roles grantee ON grantee.oid = a.grantee
    WHERE n.nspname = :schema AND a.grantee <> c.relowner AND NOT (grantee.rolname = ANY (:roles)) AND NOT grantee.rolsuper
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 4"""
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
    strangers = list(connection.execute(text(_STRANGERS), values))
    single: dict[str, Access] = {}
    for row in strangers:
        known = single.get(row.name)
        objects = row.object if known is None else f"{known.through}, {row.object}"
        single[row.name] = Access(row.name, "single rights", objects, row.can_login, row.expires)
    quote = connection.dialect.identifier_preparer.quote
    differences = [*rights_changes(connection, settings), *surplus_attributes(connection, settings)]
    schema = connection.dialect.identifier_preparer.quote_schema(settings.schema_name)
    for row in strangers:
        revoke = f"REVOKE ALL ON {schema}.{quote(row.object)} FROM {quote(row.name)}"
        differences.append(
            RightsChange(row.object, f"{row.name} may nothing by a grant of its own", row.rights, revoke)
        )
    for row in connection.execute(text(_GRANTORS), values):
        revoke = f"REVOKE ADMIN OPTION FOR {quote(row.role)} FROM {quote(row.name)}"
        differences.append(RightsChange(f"role {row.name}", f"lets nobody into {row.role}", "may", revoke))
    names = [each.name for each in members if each.can_login]
    for row in connection.execute(text(_POWERS), {"names": names}):
        alter = f"ALTER ROLE {quote(row.name)} NO{row.word}"
        differences.append(RightsChange(f"role {row.name}", f"NO{row.word}", row.word, alter))
    return Audit((*superusers, *members, *single.values()), tuple(differences))
