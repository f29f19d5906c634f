"""Where a new revision goes, and what it follows: never into the package, and on a line of the fab's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.config import Config

from gpwarehouse.errors import MigrationError, SettingsError
from gpwarehouse.migrate.scripts import SITE, Chain, is_ours, places_advice, script_location, site_folder
from gpwarehouse.settings import WarehouseSettings

__all__ = ["place_in", "placing", "refuse_unplaced"]

_PLACED = "gpwarehouse_placed"


def place_in(chain: Chain, folder: Path) -> dict[str, Any]:
    """After which revision, and in which folder, a new one comes; as Alembic's ``command.revision`` takes it.

    :raises MigrationError: the folder holds several lines of revisions.
    """
    ours = [name for name, script in chain.scripts.items() if Path(script.path).parent.resolve() == folder.resolve()]
    place: dict[str, Any] = {"version_path": str(folder), "splice": False}
    needed = chain.package_head
    if not ours:
        return {**place, "head": "base", "branch_label": SITE, "depends_on": needed}
    heads = [head for head in chain.directory.get_heads() if head in ours]
    if len(heads) != 1:
        raise MigrationError(
            f"{folder} holds several lines of revisions, with the heads {', '.join(heads)}; which the new one follows must "
            "be said: alembic revision --head …"
        )
    newest = heads[0]
    known = needed in chain.applied([newest])
    return {**place, "head": newest, "branch_label": None, "depends_on": None if known else needed}


def placing(config: Config, settings: WarehouseSettings, command: str | None) -> Callable[..., None]:
    """Alembic's hook on new revisions: puts those of plain ``alembic revision`` where :func:`place_in` says.

    What the command names itself (``--head``, ``--version-path`` and the like) is left.
    """

    def place(_context: Any, _revision: Any, directives: list[Any]) -> None:
        if command != "revision":  # alembic check asks here too
            return
        config.attributes[_PLACED] = True
        for script in directives:
            if (
                config.attributes.get("settings") is None
                and script.version_path is None
                and script.head in (None, "head")
            ):
                chain = Chain(config)
                for name, value in place_in(chain, _own_folder(chain, settings)).items():
                    if getattr(script, name) in (None, False, "head"):
                        setattr(script, name, value)

    return place


def _own_folder(chain: Chain, settings: WarehouseSettings) -> Path:
    """The folder of revisions of one's own among those that alembic.ini names.

    :raises SettingsError: there is none, or more than one.
    """
    named = site_folder(settings)
    if named is not None:
        return named
    package = script_location().resolve() / "versions"
    places = [Path(place) for place in chain.directory._version_locations if Path(place).resolve() != package]
    if len(places) == 1:
        return places[0]
    if places:
        raise SettingsError(
            f"alembic.ini names several folders ({', '.join(map(str, places))}): name the one for the new revision by "
            "GPWAREHOUSE_MIGRATIONS or --version-path"
        )
    raise SettingsError(f"alembic.ini names no folder for revisions of your own. {places_advice(None)}")


def refuse_unplaced(config: Config | None, down_revision: Any) -> None:
    """Called by the template of revisions: one that no environment has placed would be written into the package.

    ``config`` is None where we write the revision. It prints why, because Alembic hides what a template raises.

    :raises MigrationError: it would.
    """
    if config is None or config.attributes.get(_PLACED) or getattr(config.cmd_opts, "version_path", None):
        return
    scripts = Chain(config).scripts
    follows = {down_revision} if isinstance(down_revision, str) else set(down_revision or ())
    if not follows or any(name in scripts and is_ours(scripts[name]) for name in follows):
        told = f"the revision would be written into gpwarehouse itself. {places_advice(None)}"
        sys.stderr.write(f"{told}\n")
        raise MigrationError(told)
