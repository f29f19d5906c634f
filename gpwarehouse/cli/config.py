"""The settings: a file with all of them, and what is set, from where, and what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import console, group, say, url_named, warn
from gpwarehouse.cli.tables import make_table
from gpwarehouse.errors import SettingsError
from gpwarehouse.monitoring import check_limits
from gpwarehouse.partitions.plan import rules_of
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.file import check_settings, template

config = group("config", "Settings: a file with all of them, and a check.")


@config.command("template")
def write_template() -> None:
    """Print a settings file with every setting commented out: gpwarehouse config template > gpwarehouse.toml."""
    sys.stdout.write(template())


@config.command()
def check(
    profile: Annotated[
        str | None, typer.Option(help="Check this profile of the file, not the one that counts.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what is set, its value (secrets masked), from where, and what is wrong; exit code 1 if something is."""
    keywords: dict[str, Any] = {"url": url_named(), "profile": profile}
    given = {name: value for name, value in keywords.items() if value is not None}
    found = check_settings(**given)
    if not found.problems:
        found = replace(found, problems=tuple(_check_tables(WarehouseSettings(**given))))
    if as_json:
        facts = {**asdict(found), "files": [str(path) for path in found.files]}
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        if found.values:
            rows = [(each.name, each.value, each.where) for each in found.values]
            console.print(make_table(("setting", "value", "from"), rows))
        else:
            say("nothing is set: every setting has its default")
        warn(found.warnings)
        for problem in found.problems:
            say(f"wrong: {problem}")
        if not found.problems:
            say("the settings are right")
    raise typer.Exit(1 if found.problems else 0)


def _check_tables(settings: WarehouseSettings) -> Iterator[str]:
    """What settings say wrongly of tables, which the settings themselves do not know."""
    checks: tuple[Callable[[WarehouseSettings], object], ...] = (rules_of, check_limits)
    for check_one in checks:
        try:
            check_one(settings)
        except SettingsError as error:
            yield str(error)
