"""Settings: everything that may differ from one warehouse to the next, in one place, validated when it is read.

A value is taken from the first place that has it: a keyword of :class:`WarehouseSettings`, a variable
``GPWAREHOUSE_*`` of the environment, ``.env`` in the working directory, the TOML file named by
``GPWAREHOUSE_CONFIG_FILE`` (keys are the names in lower case without the prefix, at the top level or in a table
``[gpwarehouse]``), the default. An empty variable counts as not set. What is wrong raises
:class:`~gpwarehouse.errors.SettingsError` naming the variable, the value (never a secret's) and what is allowed; so
does a name that is none of ours. Variables ``GPWAREHOUSE_TEST_*`` belong to the test suite. Lists are written with
commas (``07:00,19:00``), in TOML as arrays.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL

from gpwarehouse.errors import SettingsError
from gpwarehouse.retention import ALLOWED, ALLOWED_KEEP, Compression
from gpwarehouse.settings_service import ServiceFields
from gpwarehouse.settings_types import (
    A_DAY,
    A_GROUP,
    A_ROLE,
    A_ZONE,
    Analyze,
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
    at_places,
    parse_url,
    places_of,
    seconds,
    setting,
    whole,
)
from gpwarehouse.version import __version__

__all__ = ["WarehouseSettings", "settings_table"]

_PREFIX = "GPWAREHOUSE_"
_PARTS = ("host", "port", "user", "password", "database")
_SECRETS = {
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
_SSL = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_CALENDAR = frozenset({"timezone", "holidays", "fab_week_start"})


class _Given(NamedTuple):
    value: Any
    where: str  # for messages
    rank: int  # 0 is the first place to look


class WarehouseSettings(ServiceFields, BaseSettings):
    """The settings of a warehouse, validated and frozen. The module says where values come from.

    >>> WarehouseSettings(url="postgresql://etl@db.fab/fab", pool_size=3).redacted()
    'greenplum+psycopg2://etl@db.fab/fab'

    Raises :class:`~gpwarehouse.errors.SettingsError`. ``_env_file`` names another ``.env``; None reads none.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    # Where the server is
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
    application_name: Printable = setting(
        "gpwarehouse", "name in `pg_stat_activity`, followed by the version and the job", "1 to 63 ASCII characters"
    )
    job: Printable | None = setting(None, "what this process does, for `pg_stat_activity`", "1 to 63 ASCII characters")
    # Pool
    pool_size: int = whole(5, "connections kept open", 1, 1000)
    pool_max: int = whole(50, "most connections open at once", 1, 1000)
    pool_timeout_s: int = seconds(30, "wait for a free connection", 1)
    pool_recycle_s: int = seconds(1800, "age at which a connection is replaced; -1 is never", -1)
    pool_pre_ping: bool = setting(True, "test a connection before it is handed out", "true or false")
    transaction_pooler: bool | None = setting(
        None,
        "a pooler (pgbouncer) stands between, so sessions are set up in each transaction; if empty, it is found out",
        "true or false",
    )
    # Sessions on Greenplum; PostgreSQL has none of these, and they are left out there
    optimizer: OnOff | None = setting(None, "whether ORCA plans the queries; if empty, as the server is set")
    statement_mem: Memory | None = setting(
        None, "memory of a statement on a segment; if empty, as the server is set", "a size such as 512MB or 2GB"
    )
    # Timeouts
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
    migration_statement_timeout_s: int = seconds(
        86400, "longest a statement of a migration may run, which may write a whole table anew; 0 is for ever"
    )
    migration_wait_s: int = seconds(300, "longest a migration waits for another one to end; 0 does not wait")
    keepalives: bool = setting(True, "TCP keepalives, so that a dead server or firewall is noticed", "true or false")
    keepalives_idle_s: int = seconds(60, "silence after which a keepalive is sent", 1)
    keepalives_interval_s: int = seconds(10, "time between keepalives without answer", 1)
    keepalives_count: int = whole(6, "unanswered keepalives after which the connection is dead", 1, 127)
    tcp_user_timeout_s: int = seconds(
        120,
        "longest that what was sent may stay unacknowledged before the connection is dead; 0 leaves it to the system, and "
        "so does libpq where keepalives are off",
    )
    # SSL
    sslmode: SslMode | None = setting(None, "`verify-full` over a network; if empty, libpq decides (`PGSSLMODE`)")
    sslrootcert: File | None = setting(None, "authorities the server's certificate is checked against", "a file")
    sslcert: File | None = setting(None, "client certificate", "a file")
    sslkey: File | None = setting(None, "key of the client certificate", "a file")
    # The fab and its calendar
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
    # Partitions and the window of event times
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
    # Backups
    backup_url: SecretStr | None = setting(
        None,
        "where backups are kept; credentials in it are not shown, those of the environment need not stand in it",
        "a folder, file://, s3://bucket/prefix, gs://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix",
        min_length=1,
    )
    backup_keep: Keep | None = setting(
        None, "backups that `backup prune` keeps; it must be told if empty", ALLOWED_KEEP
    )
    backup_parallel: int = whole(2, "connections that a backup or a restore uses at once", 1, 64)
    event_min: Date = setting(date(1990, 1, 1), "earliest event (UTC) that is loaded", f"{A_DAY} from 1900-01-01 on")
    event_max_ahead_days: int = whole(31, "days an event may lie in the future", 0, 3660)
    # Roles
    role_reader: Role = setting("gpw_reader", "role that may read", A_ROLE)
    role_loader: Role = setting("gpw_loader", "role that may read and write rows", A_ROLE)
    role_admin: Role = setting("gpw_admin", "role that owns the schema and may change it", A_ROLE)
    # Loading
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
    migrations: Path | None = setting(None, "folder with revisions of your own", "a folder")
    models: str | None = setting(
        None,
        "tables of your own that `revision --autogenerate` and `check` know",
        "module:name of a MetaData or declarative base",
    )
    stdf_timezone: Zone = setting("UTC", "zone in which testers wrote their STDF times", A_ZONE)
    stdf_given: Given = setting(
        (),
        "what STDF files lack, where neither they nor the load say it",
        "name=value with commas between: product_id=CHIP",
    )
    config_file: File | None = setting(None, "TOML file with settings", "a file")

    def __init__(self, **values: Any) -> None:
        env_file = values.pop("_env_file", ".env")
        if isinstance(values.get("url"), URL):  # its str() hides the password
            values["url"] = values["url"].render_as_string(hide_password=False)
        given = _collect(values, env_file)
        try:
            super().__init__(**{name: setting.value for name, setting in given.items()})
        except ValidationError as error:
            # One sentence a setting: pydantic may complain of a list, and of what is left when its bad items are gone.
            details = {detail["loc"][:1]: detail for detail in reversed(error.errors(include_url=False))}
            message = "\n".join(_explain(detail, given) for detail in reversed(details.values()))
        else:
            return
        # Raised out here, so that the original, whose details hold the values given, is not chained to it.
        raise SettingsError(message)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the other sources come by name
        cls, settings_cls: Any, init_settings: PydanticBaseSettingsSource, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``__init__`` has collected: it knows where each value was given, which messages must say."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.pool_size > self.pool_max:
            raise ValueError(f"{_env('pool_size')} is {self.pool_size}, more than {_env('pool_max')}, {self.pool_max}")
        if (self.sslcert is None) != (self.sslkey is None):
            raise ValueError(f"{_env('sslcert')} and {_env('sslkey')} go together: give both or neither")
        if self.event_min < date(1900, 1, 1):
            raise ValueError(f"{_env('event_min')} = {self.event_min} is before 1900-01-01, where dimensions begin")
        if bool(self.shift_rota) != (self.shift_rota_start is not None):
            raise ValueError(f"{_env('shift_rota')} and {_env('shift_rota_start')} go together: give both or neither")
        if len({self.role_reader, self.role_loader, self.role_admin}) < 3:
            raise ValueError(f"{_env('role_reader')}, {_env('role_loader')} and {_env('role_admin')} must differ")
        if self.archive_schema == self.schema_name:
            raise ValueError(f"{_env('archive_schema')} must be another than {_env('schema_name')}")
        if strangers := [crew for crew in self.shift_rota if self.shift_crews and crew not in self.shift_crews]:
            raise ValueError(f"{_env('shift_rota')} names {strangers[0]!r}, which is not in {_env('shift_crews')}")
        return self

    @model_validator(mode="after")
    def _shifts_fit_together(self) -> Self:
        minutes = [start.hour * 60 + start.minute for start in self.shift_starts]
        after_first = [(minute - minutes[0]) % 1440 for minute in minutes]
        if sorted(set(after_first)) != after_first:
            raise ValueError(f"{_env('shift_starts')} must follow each other within 24 hours, none twice")
        for name in ("shift_codes", "shift_names"):
            found = getattr(self, name)
            if found and len(found) != len(minutes):
                raise ValueError(
                    f"{_env(name)} has {len(found)} entries, shift starts are {len(minutes)}: give as many"
                )
        if len(set(self.shift_codes)) < len(self.shift_codes):
            raise ValueError(f"{_env('shift_codes')} has a code twice")
        return self

    def sqlalchemy_url(self) -> URL:
        """The database's URL, always with the driver ``greenplum+psycopg2``; its ``repr`` hides the password.

        Parts (host, password, …) given nearer than the URL replace the URL's. Raises SettingsError where neither a URL
        nor a database is set.
        """
        if self.url is None and self.database is None:
            raise SettingsError(
                f"no database is named: set {_env('url')}=postgresql://user@host:5432/database, or {_env('host')}, "
                f"{_env('user')}, {_env('password')} and {_env('database')}"
            )
        password = self.password and self.password.get_secret_value()
        given = {"host": self.host, "port": self.port, "username": self.user, "password": password}
        parts: dict[str, Any] = {k: v for k, v in {**given, "database": self.database}.items() if v is not None}
        if self.url is not None:
            url = parse_url(self.url.get_secret_value())
            if "host" in parts:  # or libpq would still go to the one in the query
                url = url.difference_update_query(["host", "port"])
        else:
            url = URL.create("greenplum+psycopg2", host="localhost", port=5432)
        if "," in parts.get("host", ""):
            url = at_places(url, places_of(parts.pop("host"), parts.pop("port", None)))
        return url.set(**parts)

    def redacted(self) -> str:
        """The URL as text with no secret in it, for logs and messages."""
        url = self.sqlalchemy_url()
        hidden = {key: "***" for key in url.query if key.lower() in {"password", "sslpassword"}}
        return url.update_query_dict(hidden).render_as_string(hide_password=True)

    def connect_args(self) -> dict[str, Any]:
        """libpq connection parameters (timeouts in seconds, keepalives, SSL) to go with :meth:`sqlalchemy_url`.

        What the URL's own query says is left out, so that the URL has the last word. Session settings (statement and
        lock timeout, time zone) are no connection parameters; the engine sets them.
        """
        query = self.sqlalchemy_url().query
        several = isinstance(query.get("host"), tuple) or "," in str(query.get("host", ""))
        name = f"{self.application_name}/{__version__}" + (f" {self.job}" if self.job else "")
        args: dict[str, Any] = {
            "connect_timeout": self.connect_timeout_s,
            "application_name": name[:63],  # the server would cut it off, and say so on every connection
            "client_encoding": "utf8",  # COPY sends UTF-8; a role's or database's other default would garble it
            "keepalives": int(self.keepalives),
            "keepalives_idle": self.keepalives_idle_s,
            "keepalives_interval": self.keepalives_interval_s,
            "keepalives_count": self.keepalives_count,
            "tcp_user_timeout": self.tcp_user_timeout_s * 1000,
            **{name: str(getattr(self, name)) for name in _SSL if getattr(self, name) is not None},
        }
        if self.target_session_attrs or several:
            args["target_session_attrs"] = self.target_session_attrs or "read-write"
        return {name: value for name, value in args.items() if name not in query}

    def calendar_options(self) -> dict[str, Any]:
        """The keywords of ``ShiftCalendar.build``: settings and models do not import each other."""
        fields = WarehouseSettings.model_fields
        return {name: getattr(self, name) for name in fields if name.startswith("shift_") or name in _CALENDAR}

    def offline_server(self) -> str | None:
        """The server to write DDL for without a connection; None for ``auto``: it must be asked."""
        return None if self.server == "auto" else self.server

    def ports_to_serve(self) -> tuple[int, ...]:
        """Ports to try in turn; 0 is any free one."""
        first, _, last = (self.gpfdist_ports or "0").partition("-")
        return tuple(range(int(first), int(last or first) + 1))

    def rejects_allowed(self, rows_read: int) -> int:
        """How many rows of so many read may be rejected; of a share, as written, no part of a row counts: 0.01 of 10 is none."""
        limit = self.max_rejects
        return limit if isinstance(limit, int) else int(Decimal(repr(limit)) * rows_read)


def settings_table() -> str:
    """All settings as a Markdown table (variable, default, meaning and what is allowed), for the README."""
    lines = ["| Variable | Default | Meaning (allowed) |", "|---|---|---|"]
    fields = WarehouseSettings.model_fields
    for name in sorted(fields, key=lambda name: name.startswith("service_")):  # the service's at the end
        field = fields[name]
        default = _shown(field.get_default())
        text = f"{field.description} ({_allowed(field)})".replace("|", "\\|")
        lines.append(f"| `{_env(name)}` | {f'`{default}`' if default else '–'} | {text} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return ",".join(_shown(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:%H:%M}" if isinstance(value, time) else str(value)


def _short(name: str) -> str:
    """A field's name in variables and files. ``schema`` itself is a method of every pydantic model."""
    return "schema" if name == "schema_name" else name


def _env(name: str) -> str:
    return _PREFIX + _short(name).upper()


def _allowed(field: FieldInfo) -> str:
    """What is allowed: as the field says, else the names of its Literal."""
    extra = field.json_schema_extra
    said = str(extra["allowed"]) if isinstance(extra, dict) else ""
    kinds = [get_args(kind) or (kind,) for kind in get_args(field.annotation)]
    return said or ", ".join(str(name) for names in kinds for name in names if isinstance(name, str))


def _collect(keywords: Mapping[str, Any], env_file: Any) -> dict[str, _Given]:
    """Every setting that is given somewhere, from the first place that has it."""
    given: dict[str, _Given] = {}
    _take(given, keywords, "keyword", 0)
    _take(given, _variables(os.environ), "environment", 1)
    if env_file is not None and Path(env_file).is_file():
        _take(given, _variables(dotenv_values(env_file, encoding="utf-8")), str(env_file), 2)
    if config := given.get("config_file"):
        _take(given, _config(Path(config.value)), str(config.value), 3)
    _settle_url(given)
    return given


def _take(given: dict[str, _Given], values: Mapping[str, Any], where: str, rank: int) -> None:
    fields = {_short(name): name for name in WarehouseSettings.model_fields}
    for key, value in values.items():
        name = key if key in WarehouseSettings.model_fields else fields.get(key)
        if name is None:
            near = get_close_matches(key, fields, n=1)
            hint = f"did you mean {_env(near[0])}?" if near else "see the table: gpwarehouse settings"
            raise SettingsError(f"{_PREFIX}{key.upper()} ({where}) is no setting; {hint}")
        if value is not None:
            given.setdefault(name, _Given(value, where, rank))


def _variables(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Our variables, by their names in lower case without the prefix."""
    return {
        name[len(_PREFIX) :].lower(): value
        for name, value in variables.items()
        if value and name.upper().startswith(_PREFIX) and not name.upper().startswith(f"{_PREFIX}TEST_")
    }


def _config(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.expanduser().read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_env('config_file')} = {str(path)!r} cannot be read as TOML: {error}") from None
    table = content.get("gpwarehouse", content)
    if not isinstance(table, dict):
        raise SettingsError(f"{_env('config_file')} = {str(path)!r}: gpwarehouse must be a table, [gpwarehouse]")
    if table is not content:
        _refuse_beside(path, content)
    return table


def _refuse_beside(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse what stands beside ``[gpwarehouse]`` and looks like ours: it would be left out without a word."""
    ours = {_short(name) for name in WarehouseSettings.model_fields} | WarehouseSettings.model_fields.keys()
    for key, value in content.items():
        if key == "gpwarehouse":
            continue
        name = key.lower().replace("-", "_").removeprefix(_PREFIX.lower())
        near = [name] if name in ours else get_close_matches(name, ours, n=1, cutoff=0.8)
        if near or key.lower().startswith("gpwarehouse"):
            named = near[0] if near else name
            right = (
                f"the table [gpwarehouse.{named}]" if isinstance(value, dict) else f"{named} = … below [gpwarehouse]"
            )
            raise SettingsError(
                f"{_env('config_file')} = {str(path)!r}: {key!r} stands beside [gpwarehouse], where it says nothing; write "
                f"{right}"
            )


def _settle_url(given: dict[str, _Given]) -> None:
    """A URL and its parts: what was given nearer wins, at the same distance it is not clear what is meant."""
    url = given.get("url")
    if url is None:
        return
    text = url.value.get_secret_value() if isinstance(url.value, SecretStr) else str(url.value)
    try:
        has_password = bool(parse_url(text).password)
    except ValueError:
        return  # the field's own check will say what is wrong
    for name in _PARTS:
        part = given.get(name)
        if part is None or part.rank < url.rank or (name == "password" and not has_password):
            continue
        if part.rank == url.rank:
            raise SettingsError(f"{_env('url')} and {_env(name)} are both set ({part.where}): give URL or parts")
        del given[name]


def _explain(detail: Any, given: Mapping[str, _Given]) -> str:
    """One of pydantic's complaints as a sentence: variable, value, where it was given, what is allowed."""
    reason = detail["msg"].removeprefix("Value error, ")
    name = str(detail["loc"][0]) if detail["loc"] else ""
    field = WarehouseSettings.model_fields.get(name)
    if field is None:
        return str(reason)
    setting = given[name]  # defaults are right
    value = "" if name in _SECRETS else f" = {_shown(setting.value)!r}"
    return f"{_env(name)}{value} ({setting.where}): {reason}; allowed: {_allowed(field)}"
