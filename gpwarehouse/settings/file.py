"""The settings file: a commented template with every setting, and the check of what is set, from where, and what is wrong."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from gpwarehouse.errors import SettingsError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.places import DEFAULT_FILE, find_places, shown
from gpwarehouse.settings.sections import FIELDS, SECRETS, SECTIONS, allowed, env, section_of, short

__all__ = ["CheckedSettings", "SetValue", "check_settings", "template"]

_WIDTH = 110
_HEAD = f"""\
Settings of gpwarehouse: every one, with its default. `gpwarehouse config template` writes this file.

Save it as {DEFAULT_FILE} in the working directory, or name it by GPWAREHOUSE_CONFIG_FILE. Take the # off a line to set a value.
A keyword in Python goes before a variable GPWAREHOUSE_…, that before .env, that before this file. An empty text counts as
not set. A secret is better kept in a file of its own: GPWAREHOUSE_PASSWORD_FILE=/run/secrets/password. `gpwarehouse config
check` tells what is set, from where, and what is wrong."""
_PROFILES = """\
Profiles. What stands below [profiles.NAME] goes before what stands above, for the profile that counts. Names of sections and
settings are the same."""
_DEV = {"pool_max": 5, "statement_timeout_s": 300, "partition_premake": 1}
_PROD = {"sslmode": "verify-full", "service_audit": "table"}


def template() -> str:
    """The settings file with every setting, each commented out, by section; and the profiles ``dev`` and ``prod``."""
    lines = [*_comment(_HEAD), "", *_setting_lines("profile")]
    for section, fields in SECTIONS.items():
        lines += ["", "", *_comment(_about(fields)), f"[{section}]"]
        for name in fields.model_fields:
            lines += ["", *_setting_lines(name)]
    lines += ["", "", *_comment(_PROFILES)]
    for profile, values in (("dev", _DEV), ("prod", _PROD)):
        lines += _profile_lines(profile, values)
    return "\n".join(lines) + "\n"


def _about(fields: Any) -> str:
    return " ".join((fields.__doc__ or "").split())


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from (f"# {line}" for line in textwrap.wrap(" ".join(paragraph.split()), _WIDTH))


def _setting_lines(name: str) -> Iterator[str]:
    field = FIELDS[name]
    about = f"{field.description}. Allowed: {allowed(name)}."
    yield from _comment(about[0].upper() + about[1:] + (" It is a secret." if name in SECRETS else ""))
    yield f"# {short(name)} = {_toml(field.get_default())}"


def _profile_lines(profile: str, values: dict[str, Any]) -> Iterator[str]:
    for section in SECTIONS:
        here = {name: value for name, value in values.items() if section_of(name) == section}
        if here:
            yield from ("", f"[profiles.{profile}.{section}]")
            yield from (f"{short(name)} = {_toml(value)}" for name, value in here.items())


def _toml(value: Any) -> str:
    """A default as TOML writes it."""
    if value is None or value == ():
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, date | int | float):
        return str(value)
    return json.dumps(shown("", value), ensure_ascii=False)


@dataclass(frozen=True)
class SetValue:
    """A setting that is given somewhere.

    :ivar name: its variable; ``value``: as text, ``***`` for a secret; ``where``: the place that gives it.
    """

    name: str
    value: str
    where: str


@dataclass(frozen=True)
class CheckedSettings:
    """What is set, and what is wrong with it.

    :ivar files: the files that were read.
    :ivar values: the settings that are given somewhere; the others have their defaults.
    :ivar problems: what is wrong, a sentence each; then no warehouse can be made.
    :ivar warnings: what works, and should not stay so.
    """

    files: tuple[Path, ...]
    values: tuple[SetValue, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_settings(*, env_file: str | Path | None = ".env", **keywords: Any) -> CheckedSettings:
    """Look at all settings as :class:`WarehouseSettings` does, without raising.

    :param keywords: settings that go before all others.
    """
    places = find_places(keywords, env_file)
    problems: tuple[str, ...] = ()
    try:
        WarehouseSettings(_env_file=env_file, **keywords)
    except SettingsError as error:
        problems = error.problems
    given = {name: places.given[name] for name in FIELDS if name in places.given}
    values = [SetValue(env(name), shown(name, each.value), each.where) for name, each in given.items()]
    secrets = {each.where.partition(", profile ")[0] for name, each in given.items() if name in SECRETS}
    holders = [*(path.expanduser() for path in places.files if str(path) in secrets), *places.secret_files]
    warnings = [
        f"{path} holds a secret, and others may read it: chmod 600 {path}"
        for path in holders
        if path.exists() and path.stat().st_mode & 0o077
    ]
    return CheckedSettings(tuple(places.files), tuple(values), problems, tuple(warnings))
