"""The settings by section: a class for each section of the settings file, with the fields that stand there.

A setting's name is the same in every place: ``pool_size`` as a keyword and in the file, ``GPWAREHOUSE_POOL_SIZE`` in the
environment. The classes' docstrings and the fields' descriptions become the comments of the file.
"""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gpwarehouse.retention import ALLOWED, ALLOWED_KEEP, Compression
from gpwarehouse.settings.monitoring import MonitoringFields, ThresholdFields
from gpwarehouse.settings.service import AuditFields, ServiceFields
from gpwarehouse.settings.types import (
    A_DAY,
    A_GROUP,
    A_ROLE,
    A_ZONE,
    Analyze,
    BackupUrl,
    ColdCompression,
    Date,
    Dates,
    File,
    Given,
    Hosts,
    Keep,
    Memory,
    OnOff,
    Ports,
    Printable,
    Regex,
    Rejects,
    Retention,
    Role,
    Schema,
    Server,
    SslMode,
    TargetSession,
    Texts,
    Times,
    Transport,
    Url,
    Zone,
    seconds,
    setting,
    whole,
)

__all__ = ["FIELDS", "PREFIX", "SECRETS", "SECTIONS", "AllFields", "allowed", "env", "section_of", "short"]

PREFIX = "GPWAREHOUSE_"
"""What every variable begins with."""
SECRETS = frozenset(
    {
        "url",
        "password",
        "backup_url",
        "service_reader_url",
        "service_loader_url",
        "service_admin_url",
        "service_metrics_token",
        "service_cache",
        "service_cache_password",
    }
)
"""Settings whose values no message shows, and which a file of their own may hold: ``GPWAREHOUSE_PASSWORD_FILE``."""


class GeneralFields(BaseModel):
    """Where settings come from."""

    config_file: File | None = setting(
        None,
        "TOML file with settings; if empty, `gpwarehouse.toml` in the working directory, if there is one",
        "a file",
    )
    profile: str | None = setting(
        None, "profile of the settings file that counts; if empty, the file says", "a name below [profiles] in the file"
    )


class ConnectionFields(BaseModel):
    """Where the server is, and who asks."""

    url: Url | None = setting(
        None, "whole URL, in place of host to database", "postgresql://user:password@host:port/name"
    )
    host: Hosts | None = setting(
        None,
        "host, or directory of the Unix socket; `localhost` if empty; of several the first that will do",
        "a host name, or several: host1:5432,host2:5432",
    )
    port: int | None = whole(None, "port; 5432 if empty", 1, 65535)
    user: str | None = setting(None, "role to log in as; the system user if empty", "a role name")
    password: SecretStr | None = setting(None, "password, also of a URL without; else libpq asks `~/.pgpass`", "text")
    database: str | None = setting(None, "database", "a database name", min_length=1)
    server: Server = setting("auto", "server to write DDL for without a connection (`--sql`); else it is asked")
    schema_name: Schema = setting("dw", "schema of all tables", "a lower-case name up to 63 long, no reserved word")
    target_session_attrs: TargetSession | None = setting(
        None, "which of several hosts will do; if empty, the one that takes writes, where there are several"
    )
    transaction_pooler: bool | None = setting(
        None,
        "a pooler (pgbouncer) stands between, so sessions are set up in each transaction; if empty, it is found out",
        "true or false",
    )
    application_name: Printable = setting(
        "gpwarehouse", "name in `pg_stat_activity`, followed by the version and the job", "1 to 63 ASCII characters"
    )
    job: Printable | None = setting(None, "what this process does, for `pg_stat_activity`", "1 to 63 ASCII characters")


class TlsFields(BaseModel):
    """TLS between this process and the server. Over a network, `verify-full` is right."""

    sslmode: SslMode | None = setting(None, "`verify-full` over a network; if empty, libpq decides (`PGSSLMODE`)")
    sslrootcert: File | None = setting(None, "authorities the server's certificate is checked against", "a file")
    sslcert: File | None = setting(None, "client certificate", "a file")
    sslkey: File | None = setting(None, "key of the client certificate", "a file")


class PoolFields(BaseModel):
    """Connections that a process keeps."""

    pool_size: int = whole(5, "connections kept open", 1, 1000)
    pool_max: int = whole(50, "most connections open at once", 1, 1000)
    pool_timeout_s: int = seconds(30, "wait for a free connection", 1)
    pool_recycle_s: int = seconds(1800, "age at which a connection is replaced; -1 is never", -1)
    pool_pre_ping: bool = setting(True, "test a connection before it is handed out", "true or false")


class TimeoutsFields(BaseModel):
    """How long something may take or be silent."""

    connect_timeout_s: int = seconds(10, "wait for a connection to be made; 0 is for ever")
    statement_timeout_s: int = seconds(3600, "longest a statement may run; 0 is for ever")
    lock_timeout_s: int = seconds(60, "longest a statement may wait for a lock; 0 is for ever")
    idle_in_transaction_timeout_s: int = seconds(
        3600, "longest a transaction may lie idle (Greenplum 6 cannot tell); 0 is for ever"
    )
    retry_deadline_s: int = seconds(
        120, "longest a unit of work is repeated after an error that is safe to repeat; 0 never repeats"
    )
    slow_query_s: int = seconds(30, "a query that takes longer is logged, without its values; 0 logs none")
    keepalives: bool = setting(True, "TCP keepalives, so that a dead server or firewall is noticed", "true or false")
    keepalives_idle_s: int = seconds(60, "silence after which a keepalive is sent", 1)
    keepalives_interval_s: int = seconds(10, "time between keepalives without answer", 1)
    keepalives_count: int = whole(6, "unanswered keepalives after which the connection is dead", 1, 127)
    tcp_user_timeout_s: int = seconds(
        120,
        "longest that what was sent may stay unacknowledged before the connection is dead; 0 leaves it to the system, and "
        "so does libpq where keepalives are off",
    )


class PerformanceFields(BaseModel):
    """Memory, sizes of batches and connections used at once."""

    optimizer: OnOff | None = setting(
        None, "whether ORCA plans the queries of Greenplum; if empty, as the server is set"
    )
    statement_mem: Memory | None = setting(
        None,
        "memory of a statement on a segment of Greenplum; if empty, as the server is set",
        "a size such as 512MB or 2GB",
    )
    work_mem: Memory | None = setting(
        None,
        "memory of a sort or hash of PostgreSQL's planner; if empty, as the server is set",
        "a size such as 64MB or 1GB",
    )
    load_parallel: int = whole(1, "connections that a load copies with, where it does not say", 1, 16)
    load_batch_rows: int = whole(
        65_536, "rows of a frame or table file that are checked at once: more take more memory", 1_000, 10_000_000
    )


class FabFields(BaseModel):
    """The fab and its calendar."""

    facility: Printable = setting("FAB", "facility of rows whose source names none", "1 to 63 ASCII characters")
    timezone: Zone = setting("UTC", "time zone of the fab calendar", A_ZONE)
    shift_starts: Times = setting(
        (time(7), time(19)),
        "starts of the shifts; the first one starts the fab day",
        "HH:MM,… within 24 hours",
        min_length=1,
    )
    shift_codes: Texts = setting((), "codes of the shifts; D,N if empty", "as many as shift starts, all different")
    shift_names: Texts = setting((), "names of the shifts; Day,Night if empty", "as many as shift starts")
    shift_crews: Texts = setting((), "crew codes the rota may name; any if empty", "codes with commas between")
    shift_rota: Texts = setting((), "crews that take over shift by shift, for ever", "crew codes, and a rota start")
    shift_rota_start: Date | None = setting(None, "fab day whose first shift the rota's first crew has", A_DAY)
    holidays: Dates = setting((), "fab days that are holidays", "dates YYYY-MM-DD with commas between")
    fab_week_start: int = whole(1, "ISO weekday on which fab weeks begin, 1 is Monday", 1, 7)


class MonthsFields(BaseModel):
    """Months of the facts: how many are made ahead, how long they stay, which events are loaded."""

    partition_premake: int = whole(3, "months that `partitions apply` makes ahead of today", 0, 120)
    partition_window: int = whole(
        36, "months back from today in which missing months, since the first there is, are filled in", 0, 1200
    )
    retention: Retention = setting((), "what becomes of old months, by table; all are kept if empty", ALLOWED)
    cold_compression: ColdCompression = setting(
        Compression("zstd", 9), "how `compress` stores a month", "zstd:1 to zstd:19, zlib:1 to zlib:9, rle_type:1 to :4"
    )
    archive_dir: Path | None = setting(None, "folder that `export` writes to, kept for ever", "a folder's path")
    archive_schema: Schema = setting("dw_archive", "schema that `move` moves to", A_ROLE)
    event_min: Date = setting(date(1990, 1, 1), "earliest event (UTC) that is loaded", f"{A_DAY} from 1900-01-01 on")
    event_max_ahead_days: int = whole(31, "days an event may lie in the future", 0, 3660)


class BackupFields(BaseModel):
    """Backups of the whole warehouse."""

    backup_url: BackupUrl | None = setting(
        None,
        "where backups are kept; credentials in it are not shown, those of the environment need not stand in it",
        "a folder, file://, s3://bucket/prefix, gs://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix",
        min_length=1,
    )
    backup_keep: Keep | None = setting(
        None, "backups that `backup prune` keeps; it must be told if empty", ALLOWED_KEEP
    )
    backup_parallel: int = whole(2, "connections that a backup or a restore uses at once", 1, 64)


class LoadingFields(BaseModel):
    """Loads."""

    max_rejects: Rejects = setting(
        0.01, "rejects above which nothing is loaded", "a count, or a share: 0, 100, 0.01, 1%"
    )
    transport: Transport = setting("auto", "how rows reach the server; `auto` and `gpfdist` go by COPY where they must")
    analyze: Analyze = setting("auto", "statistics after a load; `auto`: where there are none, or a tenth is new")
    gpfdist_host: str | None = setting(
        None, "address of this machine that the segments reach; if empty, the one that reaches the server", "an address"
    )
    gpfdist_ports: Ports | None = setting(
        None, "ports to serve rows to the segments on; any free one if empty", "a port, or a range such as 8100-8199"
    )
    lot_root_pattern: Regex | None = setting(None, "finds the root in a lot id; if empty, it ends at a `.`", A_GROUP)
    wafer_id_pattern: Regex | None = setting(
        None, "finds the wafer id; if empty, a leading lot id is left out", A_GROUP
    )


class StdfFields(BaseModel):
    """STDF files."""

    stdf_timezone: Zone = setting("UTC", "zone in which testers wrote their STDF times", A_ZONE)
    stdf_given: Given = setting(
        (),
        "what STDF files lack, where neither they nor the load say it",
        "name=value with commas between: product_id=CHIP",
    )


class UpgradesFields(BaseModel):
    """Revisions of the schema."""

    migrations: Path | None = setting(None, "folder with revisions of your own", "a folder")
    models: str | None = setting(
        None,
        "tables of your own that `revision --autogenerate` and `check` know",
        "module:name of a MetaData or declarative base",
    )
    migration_statement_timeout_s: int = seconds(
        86400, "longest a statement of a migration may run, which may write a whole table anew; 0 is for ever"
    )
    migration_wait_s: int = seconds(300, "longest a migration waits for another one to end; 0 does not wait")


class RoleNamesFields(BaseModel):
    """Names of the roles: who may do what."""

    role_reader: Role = setting("gpw_reader", "role that may read", A_ROLE)
    role_loader: Role = setting("gpw_loader", "role that may read and write rows", A_ROLE)
    role_admin: Role = setting("gpw_admin", "role that owns the schema and may change it", A_ROLE)


SECTIONS: dict[str, type[BaseModel]] = {
    "connection": ConnectionFields,
    "tls": TlsFields,
    "pool": PoolFields,
    "timeouts": TimeoutsFields,
    "performance": PerformanceFields,
    "fab": FabFields,
    "months": MonthsFields,
    "backup": BackupFields,
    "loading": LoadingFields,
    "stdf": StdfFields,
    "upgrades": UpgradesFields,
    "roles": RoleNamesFields,
    "service": ServiceFields,
    "audit": AuditFields,
    "monitoring": MonitoringFields,
    "thresholds": ThresholdFields,
}
"""The sections of the settings file, in its order."""


class AllFields(
    ThresholdFields,
    MonitoringFields,
    AuditFields,
    ServiceFields,
    RoleNamesFields,
    UpgradesFields,
    StdfFields,
    LoadingFields,
    BackupFields,
    MonthsFields,
    FabFields,
    PerformanceFields,
    TimeoutsFields,
    PoolFields,
    TlsFields,
    ConnectionFields,
    GeneralFields,
):
    """Every setting; pydantic takes the fields of the last base first."""


FIELDS: dict[str, FieldInfo] = AllFields.model_fields


def short(name: str) -> str:
    """A field's name in variables and files. ``schema`` itself is a method of every pydantic model."""
    return "schema" if name == "schema_name" else name


def env(name: str) -> str:
    """The variable of a field."""
    return PREFIX + short(name).upper()


def section_of(name: str) -> str | None:
    """The section of the settings file in which a field stands; None if it stands above them."""
    return next((section for section, fields in SECTIONS.items() if name in fields.model_fields), None)


def allowed(name: str) -> str:
    """What is allowed: as the field says, else the names of its Literal."""
    field = FIELDS[name]
    extra = field.json_schema_extra
    said = str(extra["allowed"]) if isinstance(extra, dict) else ""
    kinds = [get_args(kind) or (kind,) for kind in get_args(field.annotation)]
    return said or ", ".join(str(name) for names in kinds for name in names if isinstance(name, str))
