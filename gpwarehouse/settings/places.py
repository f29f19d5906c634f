"""Where settings are given: keywords, the environment, ``.env``, the settings file with its profiles.

Each value is kept with its place, which messages name. What is wrong with a name or a file is collected, so that all of it
is told at once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import SecretStr

from gpwarehouse.settings.sections import FIELDS, PREFIX, SECRETS, SECTIONS, env, section_of, short
from gpwarehouse.settings.types import parse_url

__all__ = ["DEFAULT_FILE", "Given", "Places", "find_places", "shown"]

DEFAULT_FILE = Path("gpwarehouse.toml")
"""The settings file where no other is named."""
_PARTS = ("host", "port", "user", "password", "database")
_NAMES = {short(name): name for name in FIELDS}
_OURS = {*_NAMES, *FIELDS, *SECTIONS, "profiles"}
_KEYWORDS, _ENVIRONMENT, _ENV_FILE, _PROFILE, _FILE = range(5)


class Given(NamedTuple):
    """A value, and where it was given.

    :ivar where: for messages.
    :ivar rank: 0 is the first place to look.
    """

    value: Any
    where: str
    rank: int


class Places(NamedTuple):
    """What was found.

    :ivar given: every setting that is given somewhere, from the first place that has it.
    :ivar problems: what is wrong with names and files, a sentence each.
    :ivar files: the files that were read.
    :ivar secret_files: the files that were read and hold one secret each.
    """

    given: dict[str, Given]
    problems: list[str]
    files: list[Path]
    secret_files: list[Path]


def find_places(keywords: Mapping[str, Any], env_file: Any) -> Places:
    """Look everywhere.

    :param env_file: a file of variables, or None.
    """
    places = Places({}, [], [], [])
    _take(places, keywords, "keyword", _KEYWORDS)
    _take(places, _variables(places, os.environ, "environment"), "environment", _ENVIRONMENT)
    if env_file is not None and Path(env_file).is_file():
        places.files.append(Path(env_file))
        places.problems.extend(_cut_lines(Path(env_file)))
        variables = dotenv_values(env_file, encoding="utf-8")
        _take(places, _variables(places, variables, str(env_file)), str(env_file), _ENV_FILE)
    config = places.given.get("config_file")
    if config is not None or DEFAULT_FILE.is_file():
        _take_file(places, Path(config.value) if config is not None else DEFAULT_FILE)
    elif chosen := places.given.get("profile"):
        places.problems.append(
            f"{env('profile')} = {chosen.value!r} ({chosen.where}): there is no settings file with profiles; name one by "
            f"{env('config_file')}, or write {DEFAULT_FILE}"
        )
    _settle_url(places)
    return places


def shown(name: str, value: Any) -> str:
    """A value as text for people; a secret's is hidden."""
    if name in SECRETS or (name == "host" and "@" in str(value)):  # a URL that stands in the wrong place
        return "***"
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:%H:%M}" if hasattr(value, "hour") and not hasattr(value, "year") else str(value)


def _take(places: Places, values: Mapping[str, Any], where: str, rank: int) -> None:
    for key, value in values.items():
        name = key if key in FIELDS else _NAMES.get(key)
        if name is None:
            near = get_close_matches(key, _NAMES, n=1)
            hint = f"did you mean {env(near[0])}?" if near else "see the table: gpwarehouse settings"
            places.problems.append(f"{PREFIX}{key.upper()} ({where}) is no setting; {hint}")
        elif value is not None:
            places.given.setdefault(name, Given(value, where, rank))


# Variables


def _cut_lines(env_file: Path) -> Iterator[str]:
    """Lines with a variable of ours that python-dotenv cannot read: it would leave them out. What they hold may be secret."""
    with env_file.open(encoding="utf-8") as file:
        for binding in parse_stream(file):
            if binding.error and PREFIX in binding.original.string.upper():
                yield f"{env_file}, line {binding.original.line}: write NAME=value, and close the quotes of a value that has some"


def _variables(places: Places, variables: Mapping[str, str | None], where: str) -> dict[str, str]:
    """Our variables, by their names in lower case without the prefix; of secrets also those that files hold."""
    found = {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if value and name.upper().startswith(PREFIX) and not name.upper().startswith(f"{PREFIX}TEST_")
    }
    for name in SECRETS:
        path = found.pop(f"{name}_file", None)
        if path is None:
            continue
        if name in found:
            places.problems.append(f"{env(name)} and {env(name)}_FILE are both set ({where}): leave one out")
        else:
            found[name] = _read_secret(places, name, path, where)
    return found


def _read_secret(places: Places, name: str, path: str, where: str) -> str:
    try:
        places.secret_files.append(Path(path).expanduser())
        text = places.secret_files[-1].read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        places.problems.append(f"{env(name)}_FILE = {path!r} ({where}) cannot be read: {reason}")
        return ""
    if not text:
        places.problems.append(f"{env(name)}_FILE = {path!r} ({where}) is empty; write the secret into it")
    return text


# The settings file


def _take_file(places: Places, path: Path) -> None:
    """Take a file's values, and before them those of the profile that counts."""
    where, text = str(path), ""
    places.files.append(path)
    try:
        text = path.expanduser().read_text("utf-8-sig")
        content = tomllib.loads(text)
    except (OSError, ValueError) as error:
        told = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the last one")
        places.problems.append(f"{env('config_file')} = {where!r} cannot be read as TOML: {told}")
        return
    table = content.get("gpwarehouse", content)
    if not isinstance(table, dict):
        places.problems.append(f"{env('config_file')} = {where!r}: gpwarehouse must be a table, [gpwarehouse]")
        return
    if table is not content:
        places.problems.extend(_beside(where, content))
    profiles = table.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        places.problems.append(f"{where}: profiles must be tables, such as [profiles.prod.pool]")
        return
    base = _flatten(places, {key: value for key, value in table.items() if key != "profiles"}, where)
    overlays = {name: _flatten(places, each, _place(where, name)) for name, each in profiles.items()}
    _refuse_unknown(places, overlays, where)
    chosen = places.given.get("profile") or (Given(base["profile"], where, _FILE) if base.get("profile") else None)
    if chosen is not None and chosen.value in overlays:
        _take(places, overlays[chosen.value], _place(where, chosen.value), _PROFILE)
    elif chosen is not None:
        near = get_close_matches(str(chosen.value), overlays, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(overlays) or 'none'}"
        places.problems.append(
            f"{env('profile')} = {chosen.value!r} ({chosen.where}): {where} has no such profile; {hint}"
        )
    _take(places, base, where, _FILE)


def _place(where: str, profile: str) -> str:
    return f"{where}, profile {profile}"


def _refuse_unknown(places: Places, overlays: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Names of every profile are checked, also of those that do not count now."""
    for profile, values in overlays.items():
        strangers = {key: value for key, value in values.items() if key not in FIELDS and key not in _NAMES}
        if {"profile", "config_file"} & values.keys():
            places.problems.append(f"{_place(where, profile)}: a profile names no other file or profile")
        _take(Places({}, places.problems, [], []), strangers, _place(where, profile), _PROFILE)


def _flatten(places: Places, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of a table and of its sections; an empty text counts as not set, as an empty variable does."""
    found: dict[str, Any] = {}
    for name, key, value in _keys(table):
        field = _NAMES.get(key, key)
        belongs = section_of(field) if field in FIELDS else name
        if name is not None and belongs != name:
            place = f"in [{belongs}]" if belongs else "above the sections"
            places.problems.append(f"{where}: {key} stands in [{name}]; it belongs {place}")
        elif field in found:
            places.problems.append(f"{where}: {key} stands twice, in [{belongs}] and above the sections")
        elif name is None and isinstance(value, dict) and field not in FIELDS:
            near = get_close_matches(key, SECTIONS, n=1)
            hint = f"did you mean [{near[0]}]?" if near else f"the sections are {', '.join(SECTIONS)}"
            places.problems.append(f"{where}: [{key}] is no section; {hint}")
        elif value != "":
            found[field] = value
    return found


def _keys(table: Mapping[str, Any]) -> Iterator[tuple[str | None, str, Any]]:
    """Each key with its section and value."""
    for key, value in table.items():
        if key in SECTIONS and isinstance(value, dict):
            yield from ((key, inner, each) for inner, each in value.items())
        else:
            yield None, key, value


def _beside(path: str, content: Mapping[str, Any]) -> Iterator[str]:
    """What stands beside ``[gpwarehouse]`` and looks like ours: it would be left out without a word."""
    for key, value in content.items():
        if key == "gpwarehouse":
            continue
        name = key.lower().replace("-", "_").removeprefix(PREFIX.lower())
        near = [name] if name in _OURS else get_close_matches(name, _OURS, n=1, cutoff=0.8)
        if near or key.lower().startswith("gpwarehouse"):
            named = near[0] if near else name
            right = (
                f"the table [gpwarehouse.{named}]" if isinstance(value, dict) else f"{named} = … below [gpwarehouse]"
            )
            yield (
                f"{env('config_file')} = {path!r}: {key!r} stands beside [gpwarehouse], where it says nothing; write {right}"
            )


# URL and parts


def _settle_url(places: Places) -> None:
    """A URL and its parts: what was given nearer wins, at the same distance it is not clear what is meant."""
    given = places.given
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
            places.problems.append(f"{env('url')} and {env(name)} are both set ({part.where}): give URL or parts")
        else:
            del given[name]
