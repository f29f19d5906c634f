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

import math
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gpwarehouse.errors import SettingsError
from gpwarehouse.policy import ALLOWED, Compression, RetentionRule, parse_compression, parse_retention

__all__ = ["WarehouseSettings", "settings_table"]

_PREFIX = "GPWAREHOUSE_"
_PARTS = ("host", "port", "user", "password", "database")
_SSL = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_CALENDAR = frozenset({"timezone", "holidays", "fab_week_start"})


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _clock(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f"{value!r} is no time of day")
    if isinstance(value, time) and (value.second or value.microsecond or value.tzinfo):
        raise ValueError(f"{value} is not in whole minutes")
    return time.fromisoformat(value) if isinstance(value, str) else value


def _date(value: Any) -> Any:
    return date.fromisoformat(value) if isinstance(value, str) else value  # pydantic takes "5" for a Unix time


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, KeyError, OSError):
        near = get_close_matches(value, available_timezones(), n=1)
        raise ValueError(f"no such time zone{f'; did you mean {near[0]!r}?' if near else ''}") from None
    return value


def _schema(value: str) -> str:
    if value in RESERVED_WORDS or value == "information_schema" or value.startswith(("pg_", "gp_")):
        raise ValueError("the name is reserved by the server")
    return value


def _existing_file(value: Path) -> Path:
    if not value.expanduser().is_file():
        raise ValueError("there is no such file")
    return value.expanduser()


def _regex(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    if not groups:
        raise ValueError("the expression has no group in round brackets")
    return value


def _url(value: SecretStr) -> SecretStr:
    _parse_url(value.get_secret_value())
    return value


def _parse_url(text: str) -> URL:
    """The URL with our driver. Messages show the scheme at most: the rest may hold a password."""
    try:
        url = make_url(re.sub(r"^postgres(?=://|\+)", "postgresql", text.strip()))
    except (ArgumentError, ValueError):
        raise ValueError("it cannot be read as a URL (is a special character of the password not %-encoded?)") from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in {"postgresql", "greenplum"}:
        raise ValueError(f"the URL is for {backend!r}, but the warehouse lives on Greenplum or PostgreSQL")
    if driver not in {"", "psycopg2"}:
        raise ValueError(f"{driver!r} does not speak to every Greenplum, psycopg2 does: leave '+{driver}' out")
    if "password" in url.query:  # libpq allows it there; as part of the query it would be shown in messages
        password = url.query["password"]
        url = url.difference_update_query(["password"])
        url = url.set(password=password if isinstance(password, str) else password[0])
    return url.set(drivername="greenplum+psycopg2")


def _ports(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,5}(-\d{1,5})?", value):
        raise ValueError("neither a port nor a first and a last one")
    first, _, last = value.partition("-")
    if not 1 <= int(first) <= int(last or first) <= 65535:
        raise ValueError("ports are 1 to 65535, the lower one first")
    return value


def _rejects(value: Any) -> Any:
    if isinstance(value, str):
        number, percent, _ = value.strip().partition("%")
        value = float(number) / 100 if percent else float(number) if "." in number else int(number)
    if isinstance(value, bool) or value < 0 or (isinstance(value, float) and value >= 1):
        raise ValueError("neither a count nor a share below 1")
    return value


def _field(default: Any, meaning: str, allowed: str = "", **limits: Any) -> Any:
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **limits)


def _whole(default: int | None, meaning: str, lowest: int, highest: int) -> Any:
    return _field(default, meaning, f"a whole number from {lowest} to {highest}", ge=lowest, le=highest)


def _seconds(default: int, meaning: str, lowest: int = 0) -> Any:
    return _whole(default, meaning, lowest, 2_147_483)  # the server keeps milliseconds in 32 bits


_Url = Annotated[SecretStr, AfterValidator(_url)]
_Server = Literal["auto", "postgresql", "greenplum6", "greenplum7", "cloudberry"]
_Transport = Literal["auto", "copy", "gpfdist"]
_SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_Schema = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema)]
_Printable = Annotated[str, Field(pattern=r"^[ -~]{1,63}$")]
_Zone = Annotated[str, AfterValidator(_zone)]
_File = Annotated[Path, AfterValidator(_existing_file)]
_Regex = Annotated[str, AfterValidator(_regex)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
_Times = Annotated[tuple[Annotated[time, BeforeValidator(_clock)], ...], BeforeValidator(_split)]
_Date = Annotated[date, BeforeValidator(_date)]
_Dates = Annotated[tuple[_Date, ...], BeforeValidator(_split)]
_Ports = Annotated[str, BeforeValidator(_ports)]
_Rejects = Annotated[int | float, BeforeValidator(_rejects)]
_Retention = Annotated[tuple[tuple[str, RetentionRule], ...], BeforeValidator(parse_retention)]
_Compression = Annotated[Compression, BeforeValidator(parse_compression)]
_Role = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema)]
_ROLE = "a lower-case name up to 63 long, no reserved word"
_GROUP = "a regular expression with a group"
_DAY = "a date YYYY-MM-DD"
_IANA = "an IANA name such as Asia/Taipei"


class _Given(NamedTuple):
    value: Any
    where: str  # for messages
    rank: int  # 0 is the first place to look


class WarehouseSettings(BaseSettings):
    """The settings of a warehouse, validated and frozen. The module says where values come from.

    >>> WarehouseSettings(url="postgresql://etl@db.fab/fab", pool_size=3).redacted()
    'greenplum+psycopg2://etl@db.fab/fab'

    Raises :class:`~gpwarehouse.errors.SettingsError`. ``_env_file`` names another ``.env``; None reads none.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    # Where the server is
    url: _Url | None = _field(
        None, "whole URL, in place of host to database", "postgresql://user:password@host:port/name"
    )
    host: str | None = _field(None, "host, or directory of the Unix socket; `localhost` if empty", "a host name")
    port: int | None = _whole(None, "port; 5432 if empty", 1, 65535)
    user: str | None = _field(None, "role to log in as; the system user if empty", "a role name")
    password: SecretStr | None = _field(None, "password, also of a URL without; else libpq asks `~/.pgpass`", "text")
    database: str | None = _field(None, "database", "a database name", min_length=1)
    server: _Server = _field("auto", "server to write DDL for without a connection (`--sql`); else it is asked")
    schema_name: _Schema = _field("dw", "schema of all tables", "a lower-case name up to 63 long, no reserved word")
    application_name: _Printable = _field("gpwarehouse", "name in `pg_stat_activity`", "1 to 63 ASCII characters")
    # Pool
    pool_size: int = _whole(5, "connections kept open", 1, 1000)
    pool_max: int = _whole(50, "most connections open at once", 1, 1000)
    pool_timeout_s: int = _seconds(30, "wait for a free connection", 1)
    pool_recycle_s: int = _seconds(1800, "age at which a connection is replaced; -1 is never", -1)
    pool_pre_ping: bool = _field(True, "test a connection before it is handed out", "true or false")
    # Timeouts
    connect_timeout_s: int = _seconds(10, "wait for a connection to be made; 0 is for ever")
    statement_timeout_s: int = _seconds(3600, "longest a statement may run; 0 is for ever")
    lock_timeout_s: int = _seconds(60, "longest a statement may wait for a lock; 0 is for ever")
    migration_statement_timeout_s: int = _seconds(
        86400, "longest a statement of a migration may run, which may write a whole table anew; 0 is for ever"
    )
    migration_wait_s: int = _seconds(300, "longest a migration waits for another one to end; 0 does not wait")
    keepalives: bool = _field(True, "TCP keepalives, so that a dead server or firewall is noticed", "true or false")
    keepalives_idle_s: int = _seconds(60, "silence after which a keepalive is sent", 1)
    keepalives_interval_s: int = _seconds(10, "time between keepalives without answer", 1)
    keepalives_count: int = _whole(6, "unanswered keepalives after which the connection is dead", 1, 127)
    # SSL
    sslmode: _SslMode | None = _field(None, "`verify-full` over a network; if empty, libpq decides (`PGSSLMODE`)")
    sslrootcert: _File | None = _field(None, "authorities the server's certificate is checked against", "a file")
    sslcert: _File | None = _field(None, "client certificate", "a file")
    sslkey: _File | None = _field(None, "key of the client certificate", "a file")
    # The fab and its calendar
    facility: _Printable = _field("FAB", "facility of rows whose source names none", "1 to 63 ASCII characters")
    timezone: _Zone = _field("UTC", "time zone of the fab calendar", _IANA)
    shift_starts: _Times = _field(
        (time(7), time(19)),
        "starts of the shifts; the first one starts the fab day",
        "HH:MM,… within 24 hours",
        min_length=1,
    )
    shift_codes: _Texts = _field((), "codes of the shifts; D,N if empty", "as many as shift starts, all different")
    shift_names: _Texts = _field((), "names of the shifts; Day,Night if empty", "as many as shift starts")
    shift_crews: _Texts = _field((), "crew codes the rota may name; any if empty", "codes with commas between")
    shift_rota: _Texts = _field((), "crews that take over shift by shift, for ever", "crew codes, and a rota start")
    shift_rota_start: _Date | None = _field(None, "fab day whose first shift the rota's first crew has", _DAY)
    holidays: _Dates = _field((), "fab days that are holidays", "dates YYYY-MM-DD with commas between")
    fab_week_start: int = _whole(1, "ISO weekday on which fab weeks begin, 1 is Monday", 1, 7)
    # Partitions and the window of event times
    partition_premake: int = _whole(3, "months that `partitions apply` makes ahead of today", 0, 120)
    partition_window: int = _whole(
        36, "months back from today in which missing months, since the first there is, are filled in", 0, 1200
    )
    retention: _Retention = _field((), "what becomes of old months, by table; all are kept if empty", ALLOWED)
    cold_compression: _Compression = _field(
        Compression("zstd", 9), "how `compress` stores a month", "zstd:1 to zstd:19, zlib:1 to zlib:9, rle_type:1 to :4"
    )
    archive_dir: Path | None = _field(None, "folder that `export` writes to, kept for ever", "a folder's path")
    archive_schema: _Schema = _field("dw_archive", "schema that `move` moves to", _ROLE)
    event_min: _Date = _field(date(1990, 1, 1), "earliest event (UTC) that is loaded", f"{_DAY} from 1900-01-01 on")
    event_max_ahead_days: int = _whole(31, "days an event may lie in the future", 0, 3660)
    # Roles
    role_reader: _Role = _field("gpw_reader", "role that may read", _ROLE)
    role_loader: _Role = _field("gpw_loader", "role that may read and write rows", _ROLE)
    role_admin: _Role = _field("gpw_admin", "role that owns the schema and may change it", _ROLE)
    # Loading
    max_rejects: _Rejects = _field(
        0.01, "rejects above which nothing is loaded", "a count, or a share: 0, 100, 0.01, 1%"
    )
    transport: _Transport = _field("auto", "how rows reach the server; `auto` and `gpfdist` go by COPY where they must")
    gpfdist_host: str | None = _field(
        None, "address of this machine that the segments reach; if empty, the one that reaches the server", "an address"
    )
    gpfdist_ports: _Ports | None = _field(
        None, "ports to serve rows to the segments on; any free one if empty", "a port, or a range such as 8100-8199"
    )
    lot_root_pattern: _Regex | None = _field(None, "finds the root in a lot id; if empty, it ends at a `.`", _GROUP)
    wafer_id_pattern: _Regex | None = _field(None, "finds the wafer id; if empty, a leading lot id is left out", _GROUP)
    migrations: Path | None = _field(None, "folder with revisions of your own", "a folder")
    stdf_timezone: _Zone = _field("UTC", "zone in which testers wrote their STDF times", _IANA)
    config_file: _File | None = _field(None, "TOML file with settings", "a file")

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
            url = _parse_url(self.url.get_secret_value())
            if "host" in parts:  # or libpq would still go to the one in the query
                url = url.difference_update_query(["host", "port"])
            return url.set(**parts)
        return URL.create("greenplum+psycopg2", **{"host": "localhost", "port": 5432, **parts})

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
        args: dict[str, Any] = {
            "connect_timeout": self.connect_timeout_s,
            "application_name": self.application_name,
            "client_encoding": "utf8",  # COPY sends UTF-8; a role's or database's other default would garble it
            "keepalives": int(self.keepalives),
            "keepalives_idle": self.keepalives_idle_s,
            "keepalives_interval": self.keepalives_interval_s,
            "keepalives_count": self.keepalives_count,
            **{name: str(getattr(self, name)) for name in _SSL if getattr(self, name) is not None},
        }
        return {name: value for name, value in args.items() if name not in self.sqlalchemy_url().query}

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
        """How many rows of so many read may be rejected; a share is rounded up, so a small file may have one."""
        return self.max_rejects if isinstance(self.max_rejects, int) else math.ceil(self.max_rejects * rows_read)


def settings_table() -> str:
    """All settings as a Markdown table (variable, default, meaning and what is allowed), for the README."""
    lines = ["| Variable | Default | Meaning (allowed) |", "|---|---|---|"]
    for name, field in WarehouseSettings.model_fields.items():
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
            hint = f"did you mean {_env(near[0])}?" if near else "see the table of settings in the README"
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
        content = tomllib.loads(path.expanduser().read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_env('config_file')} = {str(path)!r} cannot be read as TOML: {error}") from None
    table = content.get("gpwarehouse", content)
    if not isinstance(table, dict):
        raise SettingsError(f"{_env('config_file')} = {str(path)!r}: gpwarehouse must be a table, [gpwarehouse]")
    return table


def _settle_url(given: dict[str, _Given]) -> None:
    """A URL and its parts: what was given nearer wins, at the same distance it is not clear what is meant."""
    url = given.get("url")
    if url is None:
        return
    text = url.value.get_secret_value() if isinstance(url.value, SecretStr) else str(url.value)
    try:
        has_password = bool(_parse_url(text).password)
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
    value = "" if name in {"url", "password"} else f" = {_shown(setting.value)!r}"
    return f"{_env(name)}{value} ({setting.where}): {reason}; allowed: {_allowed(field)}"
