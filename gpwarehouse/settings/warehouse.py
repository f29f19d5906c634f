"""Settings: everything that may differ from one warehouse to the next, in one place, validated when it is read.

A value is taken from the first place that has it: a keyword of :class:`WarehouseSettings`, a variable
``GPWAREHOUSE_*`` of the environment, ``.env`` in the working directory, the settings file (TOML, named by
``GPWAREHOUSE_CONFIG_FILE``, else ``gpwarehouse.toml`` in the working directory), the default. In the file, keys are the names in
lower case without the prefix, in sections (``[pool]``) or at the top level, all of it also below ``[gpwarehouse]``; what
``[profiles.NAME.…]`` says goes before, for the profile that ``GPWAREHOUSE_PROFILE`` or the file names. A file may hold a
secret: ``GPWAREHOUSE_PASSWORD_FILE``. An empty variable counts as not set. What is wrong raises
:class:`~gpwarehouse.errors.SettingsError` naming the variable, the value (never a secret's) and what is allowed; so
does a name that is none of ours. Variables ``GPWAREHOUSE_TEST_*`` belong to the test suite. Lists are written with
commas (``07:00,19:00``), in TOML as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL

from gpwarehouse.errors import SettingsError
from gpwarehouse.settings.places import Given, find_places, shown
from gpwarehouse.settings.sections import FIELDS, PREFIX, SECRETS, AllFields, allowed, env
from gpwarehouse.settings.types import at_places, parse_url, places_of
from gpwarehouse.version import __version__

__all__ = ["WarehouseSettings", "settings_table"]

_SSL = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_CALENDAR = frozenset({"timezone", "holidays", "fab_week_start"})


class WarehouseSettings(AllFields, BaseSettings):
    """The settings of a warehouse, validated and frozen. The module says where values come from.

    >>> WarehouseSettings(url="postgresql://etl@db.fab/fab", pool_size=3).redacted()
    'greenplum+psycopg2://etl@db.fab/fab'

    Raises :class:`~gpwarehouse.errors.SettingsError`. ``_env_file`` names another ``.env``; None reads none.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        env_file = values.pop("_env_file", ".env")
        if isinstance(values.get("url"), URL):  # its str() hides the password
            values["url"] = values["url"].render_as_string(hide_password=False)
        places = find_places(values, env_file)
        problems = [*places.problems, *self._take_values(places.given)]
        if problems:
            error = SettingsError("\n".join(problems))
            error.problems = tuple(problems)
            raise error

    def _take_values(self, given: Mapping[str, Given]) -> list[str]:
        """Validate and keep the values; what is wrong with them, a sentence a setting."""
        try:
            super().__init__(**{name: setting.value for name, setting in given.items()})
        except ValidationError as error:
            # Pydantic may complain of a list, and of what is left when its bad items are gone. Its error, whose details hold the
            # values given, goes no further.
            details = {detail["loc"][:1]: detail for detail in reversed(error.errors(include_url=False))}
            return [_explain(detail, given) for detail in reversed(details.values())]
        return []

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the other sources come by name
        cls, settings_cls: Any, init_settings: PydanticBaseSettingsSource, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``__init__`` has collected: it knows where each value was given, which messages must say."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.pool_size > self.pool_max:
            raise ValueError(f"{env('pool_size')} is {self.pool_size}, more than {env('pool_max')}, {self.pool_max}")
        if (self.sslcert is None) != (self.sslkey is None):
            raise ValueError(f"{env('sslcert')} and {env('sslkey')} go together: give both or neither")
        if self.event_min < date(1900, 1, 1):
            raise ValueError(f"{env('event_min')} = {self.event_min} is before 1900-01-01, where dimensions begin")
        if bool(self.shift_rota) != (self.shift_rota_start is not None):
            raise ValueError(f"{env('shift_rota')} and {env('shift_rota_start')} go together: give both or neither")
        if len({self.role_reader, self.role_loader, self.role_admin}) < 3:
            raise ValueError(f"{env('role_reader')}, {env('role_loader')} and {env('role_admin')} must differ")
        if self.archive_schema == self.schema_name:
            raise ValueError(f"{env('archive_schema')} must be another than {env('schema_name')}")
        if strangers := [crew for crew in self.shift_rota if self.shift_crews and crew not in self.shift_crews]:
            raise ValueError(f"{env('shift_rota')} names {strangers[0]!r}, which is not in {env('shift_crews')}")
        return self

    @model_validator(mode="after")
    def _shifts_fit_together(self) -> Self:
        minutes = [start.hour * 60 + start.minute for start in self.shift_starts]
        after_first = [(minute - minutes[0]) % 1440 for minute in minutes]
        if sorted(set(after_first)) != after_first:
            raise ValueError(f"{env('shift_starts')} must follow each other within 24 hours, none twice")
        for name in ("shift_codes", "shift_names"):
            found = getattr(self, name)
            if found and len(found) != len(minutes):
                raise ValueError(f"{env(name)} has {len(found)} entries, shift starts are {len(minutes)}: give as many")
        if len(set(self.shift_codes)) < len(self.shift_codes):
            raise ValueError(f"{env('shift_codes')} has a code twice")
        return self

    def sqlalchemy_url(self) -> URL:
        """The database's URL, always with the driver ``greenplum+psycopg2``; its ``repr`` hides the password.

        Parts (host, password, …) given nearer than the URL replace the URL's. Raises SettingsError where neither a URL
        nor a database is set.
        """
        if self.url is None and self.database is None:
            raise SettingsError(
                f"no database is named: set {env('url')}=postgresql://user@host:5432/database, or {env('host')}, "
                f"{env('user')}, {env('password')} and {env('database')}"
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
    """All settings as a Markdown table (variable, default, meaning and what is allowed), by section."""
    lines = ["| Variable | Default | Meaning (allowed) |", "|---|---|---|"]
    for name, field in FIELDS.items():
        default = shown("", field.get_default())
        text = f"{field.description} ({allowed(name)})".replace("|", "\\|")
        lines.append(f"| `{env(name)}` | {f'`{default}`' if default else '–'} | {text} |")
    return "\n".join(lines) + "\n"


def _explain(detail: Any, given: Mapping[str, Given]) -> str:
    """One of pydantic's complaints as a sentence: variable, value, where it was given, what is allowed."""
    reason = detail["msg"].removeprefix("Value error, ")
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if name not in FIELDS:
        return str(reason)
    setting = given[name]  # defaults are right
    value = "" if name in SECRETS else f" = {shown(name, setting.value)!r}"
    return f"{env(name)}{value} ({setting.where}): {reason}; allowed: {allowed(name)}"
