"""Who may do what in the warehouse's schema: what the roles should have, what they have, and the statements between.

The admin owns the schema and all in it, so every member may change it. The reader may read everything, the
loader write rows too, but neither the record of revisions nor the schema. Default privileges of the admin give the same
to tables and months to come; :func:`~gpwarehouse.months.become_owner` makes them the admin's.

What is granted to PUBLIC everybody has, the reader too, and what one of the roles is a member of it may: so neither is
to be, on tables, columns, or what is to come. Rights come by grants alone, so the roles have no attributes such as
SUPERUSER or LOGIN; these are told and not taken, for somebody may log in as one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from gpwarehouse.dialect.reflection import partition_children
from gpwarehouse.engine.table_names import dialect_of
from gpwarehouse.settings import WarehouseSettings

__all__ = ["RightsChange", "rights_changes", "roles_in_use", "surplus_attributes"]

READ = frozenset({"SELECT"})
WRITE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
RECORDS = frozenset({"alembic_version", "etl_migration_history"})
"""The tables that only migrations write."""

ADD = frozenset({"INSERT"})
APPENDED = frozenset({"etl_audit"})
"""Tables to which everybody's calls are added, and which nobody but their owner reads or changes."""

_ROLES = "SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles)"
_SCHEMA = """
    SELECT pg_get_userbyid(n.nspowner) AS owner, COALESCE(r.rolname, 'PUBLIC') AS grantee, a.privilege_type AS privilege
    FROM pg_namespace n LEFT JOIN LATERAL aclexplode(n.nspacl) a ON true LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = :schema"""
_RELATIONS = """
    SELECT c.relname, c.relkind::text AS kind, pg_get_userbyid(c.relowner) AS owner,
        ARRAY(SELECT COALESCE(r.rolname, 'PUBLIC') || ' ' || a.privilege_type FROM aclexplode(c.relacl) a
              LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee = 0 OR r.rolname = ANY (:roles)) AS rights
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname"""
_COLUMNS = """
    SELECT c.relname, c.relkind::text AS kind, f.attname AS name, COALESCE(r.rolname, 'PUBLIC') AS role,
        a.privilege_type AS privilege
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute f ON f.attrelid = c.oid AND f.attacl IS NOT NULL AND NOT f.attisdropped
    CROSS JOIN LATERAL aclexplode(f.attacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = :schema AND (a.grantee = 0 OR r.rolname = ANY (:roles)) ORDER BY 1, 3, 4, 5"""
_DEFAULTS = """
    SELECT pg_get_userbyid(d.defaclrole) AS maker, COALESCE(r.rolname, 'PUBLIC') AS role, x.privilege_type AS privilege
    FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace CROSS JOIN LATERAL aclexplode(d.defaclacl) x
    LEFT JOIN pg_roles r ON r.oid = x.grantee
    WHERE n.nspname = :schema AND d.defaclobjtype = 'r' AND (x.grantee = 0 OR r.rolname IS NOT NULL) ORDER BY 1, 2, 3"""
_MEMBERS = """
    SELECT DISTINCT g.rolname AS role, m.rolname AS member FROM pg_auth_members a
    JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE g.rolname = ANY (:roles) AND m.rolname = ANY (:roles) ORDER BY 1, 2"""
_ATTRIBUTES = """
    SELECT rolname AS role, rolsuper AS "SUPERUSER", rolcreaterole AS "CREATEROLE", rolcreatedb AS "CREATEDB",
        rolcanlogin AS "LOGIN", rolreplication AS "REPLICATION",
        COALESCE(CAST(row_to_json(r) ->> 'rolbypassrls' AS boolean), false) AS "BYPASSRLS"
    FROM pg_roles r WHERE rolname = ANY (:roles) ORDER BY rolname"""


@dataclass(frozen=True)
class RightsChange:
    """A difference, and the statement that ends it.

    :ivar object: what it is about: a role, the schema, tables.
    """

    object: str
    expected: str
    found: str
    statement: str


def roles_in_use(connection: Connection, settings: WarehouseSettings) -> bool:
    """Whether one of the roles has a right on the schema, or owns it."""
    rows = connection.execute(text(_SCHEMA), {"schema": settings.schema_name}).all()
    names = set(_roles(settings))
    return any(row.owner in names or row.grantee in names for row in rows)


def _roles(settings: WarehouseSettings) -> tuple[str, str, str]:
    return settings.role_reader, settings.role_loader, settings.role_admin


def rights_changes(connection: Connection, settings: WarehouseSettings) -> list[RightsChange]:
    """List the differences from these rights, in an order in which the statements can run."""
    return list(_Rights(connection, settings).changes())


def surplus_attributes(connection: Connection, settings: WarehouseSettings) -> list[RightsChange]:
    """List attributes that the roles have and should not have. ``roles apply`` leaves them to the DBA."""
    quote = connection.dialect.identifier_preparer.quote
    rows = connection.execute(text(_ATTRIBUTES), {"roles": list(_roles(settings))}).mappings()
    return [
        RightsChange(f"role {row['role']}", f"NO{name}", name, f"ALTER ROLE {quote(row['role'])} NO{name}")
        for row in rows
        for name, has in row.items()
        if has is True
    ]


class _Rights:
    def __init__(self, connection: Connection, settings: WarehouseSettings) -> None:
        self.connection = connection
        self.schema = settings.schema_name
        self.reader, self.loader, self.admin = _roles(settings)
        preparer = connection.dialect.identifier_preparer
        self.quote = preparer.quote
        self.quoted_schema = preparer.quote_schema(settings.schema_name)
        dialect = dialect_of(connection)
        assert dialect.capabilities is not None
        # Greenplum 6 hands a table's owner down to its partitions, and refuses to have one of them changed.
        follows = dialect.capabilities.partition_catalog == "classic"
        self.followers = partition_children(connection, dialect, self.schema) if follows else set()
        self.archive = settings.archive_schema if any(r.action == "move" for _, r in settings.retention) else None

    def changes(self) -> Iterator[RightsChange]:
        yield from self._missing_roles()
        yield from self._members()
        yield from self._compare_schema()
        relations = self._rows(_RELATIONS, roles=[self.reader, self.loader])
        yield from self._owners(relations)
        yield from self._compare_relations(relations)
        yield from self._compare_columns()
        yield from self._of_relations_to_come()
        yield from self._compare_archive()

    def _rows(self, sql: str, **values: Any) -> list[Any]:
        return list(self.connection.execute(text(sql), {"schema": self.schema, **values}))

    def _missing_roles(self) -> Iterator[RightsChange]:
        wanted = [self.reader, self.loader, self.admin]
        there = set(self.connection.execute(text(_ROLES), {"roles": wanted}).scalars())
        for role in wanted:
            if role not in there:
                yield RightsChange(f"role {role}", "there", "missing", f"CREATE ROLE {self.quote(role)} NOLOGIN")

    def _members(self) -> Iterator[RightsChange]:
        for row in self._rows(_MEMBERS, roles=[self.reader, self.loader, self.admin]):
            revoke = f"REVOKE {self.quote(row.role)} FROM {self.quote(row.member)}"
            yield RightsChange(f"role {row.member}", f"no member of {row.role}", "is one", revoke)

    def _whom(self, role: str) -> str:
        return role if role == "PUBLIC" else self.quote(role)

    def _compare_schema(self) -> Iterator[RightsChange]:
        rows = self._rows(_SCHEMA)
        name = f"schema {self.schema}"
        if rows and rows[0].owner != self.admin:
            alter = f"ALTER SCHEMA {self.quoted_schema} OWNER TO {self.quote(self.admin)}"
            yield RightsChange(name, f"owner {self.admin}", f"owner {rows[0].owner}", alter)
        found = {(row.grantee, row.privilege) for row in rows}
        for role in (self.reader, self.loader):
            if (role, "USAGE") not in found:
                grant = f"GRANT USAGE ON SCHEMA {self.quoted_schema} TO {self.quote(role)}"
                yield RightsChange(name, f"{role} may use it", "may not", grant)
        for role in (self.reader, self.loader, "PUBLIC"):
            if (role, "CREATE") in found:
                revoke = f"REVOKE CREATE ON SCHEMA {self.quoted_schema} FROM {self._whom(role)}"
                yield RightsChange(name, f"{role} may not create in it", "may", revoke)

    def _owners(self, relations: Iterable[Any]) -> Iterator[RightsChange]:
        for row in relations:
            if row.owner != self.admin and row.relname not in self.followers:
                kind = {"v": "VIEW", "m": "MATERIALIZED VIEW"}.get(row.kind, "TABLE")
                alter = f"ALTER {kind} {self._qualify(row.relname)} OWNER TO {self.quote(self.admin)}"
                yield RightsChange(row.relname, f"owner {self.admin}", f"owner {row.owner}", alter)

    def _qualify(self, name: str) -> str:
        return f"{self.quoted_schema}.{self.quote(name)}"

    def _compare_relations(self, relations: Iterable[Any]) -> Iterator[RightsChange]:
        missing: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
        excess: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
        for row in relations:
            for role in (self.reader, self.loader, "PUBLIC"):
                found = {right.rpartition(" ")[2] for right in row.rights if right.rpartition(" ")[0] == role}
                wanted, allowed = self._choose_rights(role, row)
                if lacking := tuple(sorted(wanted - found)):
                    missing[role, lacking].append(row.relname)
                if surplus := tuple(sorted(found - allowed)):
                    excess[role, surplus].append(row.relname)
        for (role, rights), names in missing.items():
            grant = f"GRANT {', '.join(rights)} ON {self._list(names)} TO {self.quote(role)}"
            yield RightsChange(_some(names), f"{role} may {', '.join(rights)}", "may not", grant)
        for (role, rights), names in excess.items():
            revoke = f"REVOKE {', '.join(rights)} ON {self._list(names)} FROM {self._whom(role)}"
            yield RightsChange(_some(names), f"{role} may not {', '.join(rights)}", "may", revoke)

    def _choose_rights(self, role: str, row: Any) -> tuple[frozenset[str], frozenset[str]]:
        """Return the rights that a role should have on a relation, and those that it may have."""
        if role == "PUBLIC":
            return frozenset(), frozenset()
        if row.relname in APPENDED:
            return ADD, ADD
        if role == self.reader or row.relname in RECORDS:
            return READ, READ
        return (READ, WRITE) if row.kind in ("v", "m") else (WRITE, WRITE)  # a view to come is given all of WRITE

    def _compare_columns(self) -> Iterator[RightsChange]:
        for row in self._rows(_COLUMNS, roles=[self.reader, self.loader]):
            if row.privilege not in self._choose_rights(row.role, row)[1]:
                revoke = (
                    f"REVOKE {row.privilege} ({self.quote(row.name)}) ON {self._qualify(row.relname)} "
                    f"FROM {self._whom(row.role)}"
                )
                told = f"{row.role} may not {row.privilege}"
                yield RightsChange(f"{row.relname}.{row.name}", told, "may", revoke)

    def _list(self, names: Iterable[str]) -> str:
        return ", ".join(map(self._qualify, names))

    def _of_relations_to_come(self) -> Iterator[RightsChange]:
        rows = self._rows(_DEFAULTS)
        allowed = {self.reader: READ, self.loader: WRITE, "PUBLIC": frozenset()}
        for row in rows:
            if row.privilege not in allowed.get(row.role, {row.privilege}):
                alter = (
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {self.quote(row.maker)} IN SCHEMA {self.quoted_schema} "
                    f"REVOKE {row.privilege} ON TABLES FROM {self._whom(row.role)}"
                )
                told = f"{row.role} may not {row.privilege} those of {row.maker}"
                yield RightsChange("tables to come", told, "may", alter)
        for role, wanted in ((self.reader, READ), (self.loader, WRITE)):
            if lacking := sorted(
                wanted - {row.privilege for row in rows if (row.maker, row.role) == (self.admin, role)}
            ):
                alter = (
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {self.quote(self.admin)} IN SCHEMA {self.quoted_schema} "
                    f"GRANT {', '.join(lacking)} ON TABLES TO {self.quote(role)}"
                )
                yield RightsChange("tables to come", f"{role} may {', '.join(lacking)}", "may not", alter)

    def _compare_archive(self) -> Iterator[RightsChange]:
        """The schema that retention moves to: the admin could not make it."""
        if self.archive is None:
            return
        rows = self.connection.execute(text(_SCHEMA), {"schema": self.archive}).all()
        quoted = self.connection.dialect.identifier_preparer.quote_schema(self.archive)
        if not rows:
            yield RightsChange(f"schema {self.archive}", "there", "missing", f"CREATE SCHEMA {quoted}")
        if not rows or rows[0].owner != self.admin:
            # Not AUTHORIZATION: the segments of Greenplum 7 would ask the admin for CREATE on the database (seen).
            alter = f"ALTER SCHEMA {quoted} OWNER TO {self.quote(self.admin)}"
            found = f"owner {rows[0].owner}" if rows else "missing"
            yield RightsChange(f"schema {self.archive}", f"owner {self.admin}", found, alter)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
