"""The kinds of values that settings take, each checked when it is read. A ValueError's text becomes part of a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from psycopg2 import ProgrammingError
from psycopg2.extensions import make_dsn
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gpwarehouse.retention import (
    Compression,
    KeepBackups,
    RetentionRule,
    parse_compression,
    parse_keep,
    parse_retention,
)

__all__ = [
    "A_DAY",
    "A_GROUP",
    "A_ROLE",
    "A_ZONE",
    "MEMORY",
    "STORES",
    "BackupUrl",
    "ColdCompression",
    "Date",
    "Dates",
    "File",
    "Given",
    "Hosts",
    "Keep",
    "Memory",
    "OnOff",
    "Ports",
    "Printable",
    "Regex",
    "Rejects",
    "Retention",
    "Role",
    "Schema",
    "Server",
    "SslMode",
    "TargetSession",
    "Texts",
    "Times",
    "Transport",
    "Url",
    "Zone",
    "at_places",
    "parse_url",
    "places_of",
    "seconds",
    "setting",
    "whole",
]


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
    parse_url(value.get_secret_value())
    return value


_HOSTS = re.compile(
    r"(?P<before>[^/?#]*?://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*,[^/?#@]*)(?P<after>(?:[/?#].*)?)", re.DOTALL
)
"""A URL with several hosts, which libpq reads and SQLAlchemy does not."""
_PLACE = re.compile(r"(\[[^\]]+\]|[^:,]+)(?::(\d{1,5}))?")


def places_of(hosts: str, port: int | None = None) -> tuple[str, ...]:
    """``"a,b:6000"`` → ``("a:5432", "b:6000")``: what libpq tries in turn, each with its port."""
    places = []
    for host in hosts.split(","):
        found = _PLACE.fullmatch(host.strip())
        if found is None or not 1 <= int(found[2] or port or 5432) <= 65535:
            raise ValueError("hosts are written host1,host2 or host1:5432,host2:5432")
        places.append(f"{found[1]}:{found[2] or port or 5432}")
    return tuple(places)


def at_places(url: URL, places: tuple[str, ...]) -> URL:
    """The URL with these hosts in place of its own."""
    plain = URL.create(url.drivername, url.username, url.password, None, None, url.database, url.query)
    return plain.difference_update_query(["port"]).update_query_dict({"host": places})


def _hosts(value: str) -> str:
    if "://" in value or "@" in value:
        raise ValueError("that is a URL, which belongs in url")
    if "," in value:
        places_of(value)
    return value


STORES = ("file", "s3", "gs", "gcs", "abfs", "abfss")
"""Schemes of the URLs of backups."""


def _backup_url(value: SecretStr) -> SecretStr:
    scheme, separator, _ = value.get_secret_value().partition("://")
    if separator and scheme.lower() not in STORES:
        raise ValueError("backups are not kept in such a place")
    return value


def parse_url(text: str) -> URL:
    """The URL with our driver. Messages show the scheme at most: the rest may hold a password."""
    several = _HOSTS.fullmatch(text.strip())
    if several:
        places = places_of(several["hosts"])
        return at_places(parse_url(several["before"] + several["after"]), places)
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
    for option in url.query.keys() - {"plugin"}:  # SQLAlchemy's own
        try:
            make_dsn(**{option: "x"})
        except ProgrammingError:
            raise ValueError(f"the URL has the option {option!r}, which libpq does not know") from None
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


STDF_LACKS = ("facility", "lot_id", "wafer_id", "product_id", "test_program", "equipment_id", "event_ts")
"""What an STDF file may lack, and a load may give."""


def _given(value: Any) -> Any:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): said.strip() for name, _, said in pairs}
    if not isinstance(value, Mapping):
        return value
    for name, said in value.items():
        if name not in STDF_LACKS or not str(said).strip():
            raise ValueError(f"{name}={said} cannot be given for an STDF file; these can: {', '.join(STDF_LACKS)}")
    return tuple((name, str(said)) for name, said in value.items())


def setting(default: Any, meaning: str, allowed: str = "", **limits: Any) -> Any:
    """A pydantic field: ``allowed`` says in words what the type alone does not tell, for messages and the README."""
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **limits)


def whole(default: int | None, meaning: str, lowest: int, highest: int) -> Any:
    """A setting that is a whole number within limits, both included."""
    return setting(default, meaning, f"a whole number from {lowest} to {highest}", ge=lowest, le=highest)


def seconds(default: int, meaning: str, lowest: int = 0) -> Any:
    """A setting in whole seconds."""
    return whole(default, meaning, lowest, 2_147_483)  # the server keeps milliseconds in 32 bits


Url = Annotated[SecretStr, AfterValidator(_url)]
BackupUrl = Annotated[SecretStr, AfterValidator(_backup_url)]
Server = Literal["auto", "postgresql", "greenplum6", "greenplum7", "cloudberry"]
Transport = Literal["auto", "copy", "gpfdist"]
Analyze = Literal["auto", "always", "never"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
TargetSession = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
OnOff = Literal["on", "off"]
MEMORY = r"[1-9]\d{0,8}\s?(kB|MB|GB)"
"""How the server takes a size of memory."""
Memory = Annotated[str, Field(pattern=f"^{MEMORY}$")]
Schema = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema)]
Printable = Annotated[str, Field(pattern=r"^[ -~]{1,63}$")]
Zone = Annotated[str, AfterValidator(_zone)]
File = Annotated[Path, AfterValidator(_existing_file)]
Regex = Annotated[str, AfterValidator(_regex)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Times = Annotated[tuple[Annotated[time, BeforeValidator(_clock)], ...], BeforeValidator(_split)]
Date = Annotated[date, BeforeValidator(_date)]
Dates = Annotated[tuple[Date, ...], BeforeValidator(_split)]
Hosts = Annotated[str, AfterValidator(_hosts)]
Ports = Annotated[str, BeforeValidator(_ports)]
Rejects = Annotated[int | float, BeforeValidator(_rejects)]
Retention = Annotated[tuple[tuple[str, RetentionRule], ...], BeforeValidator(parse_retention)]
Keep = Annotated[KeepBackups, BeforeValidator(parse_keep)]
ColdCompression = Annotated[Compression, BeforeValidator(parse_compression)]
Given = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_given)]
Role = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema)]
A_ROLE = "a lower-case name up to 63 long, no reserved word"
A_GROUP = "a regular expression with a group"
A_DAY = "a date YYYY-MM-DD"
A_ZONE = "an IANA name such as Asia/Taipei"
