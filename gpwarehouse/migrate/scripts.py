"""The revisions there are: where their scripts stand, what they are made of, and how they follow each other.

The package's scripts stand in ``alembic/`` of the source tree; ``gpwarehouse/_alembic`` is a link there, and travels as a
folder in the wheel, so that Alembic finds both as ``gpwarehouse:_alembic``. A fab
may add its own in the folder that the setting ``migrations`` names: a line of its own (branch label ``site``) which
depends on the package's, so that both go on without merging.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib.util
import os
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from types import ModuleType

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from gpwarehouse.errors import MigrationError, SettingsError
from gpwarehouse.settings import WarehouseSettings

__all__ = [
    "SITE",
    "Chain",
    "alembic_config",
    "is_ours",
    "places_advice",
    "revision_checksum",
    "revision_part",
    "script_location",
]

SITE = "site"
"""Branch label of the revisions in the folder of the setting ``migrations``."""


def script_location() -> Path:
    """Where the revisions are. In a source tree without links (some copies have none) they are beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "_alembic"
    return inside if (inside / "env.py").exists() else package.parent / "alembic"


def is_ours(script: Script) -> bool:
    """Whether a revision is the package's own."""
    return Path(script.path).parent.resolve() == script_location().resolve() / "versions"


def places_advice(folder: Path | None) -> str:
    """How plain ``alembic`` is told of the package's revisions and a folder of one's own."""
    return (
        "Use the gpwarehouse command, or write in alembic.ini, under [alembic]:\n"
        "script_location = gpwarehouse:_alembic\n"
        "prepend_sys_path = %(here)s\n"
        "path_separator = newline\n"
        "version_locations =\n"
        "    gpwarehouse:_alembic/versions\n"
        f"    {folder or '%(here)s/versions'}\n"
        "revision_environment = true"
    )


def alembic_config(settings: WarehouseSettings | None = None, output: StringIO | None = None) -> Config:
    """An Alembic configuration for the warehouse of ``settings``; pass it to any ``alembic.command``.

    :param output: takes what Alembic would print; without it, nothing is printed.
    :raises SettingsError: the folder of the setting ``migrations`` is not there.
    """
    config = Config(stdout=output or StringIO())
    config.output_buffer = config.stdout
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    folder = site_folder(settings)
    if folder is not None:
        places = os.pathsep.join((str(script_location() / "versions"), str(folder)))
        config.set_main_option("version_locations", places.replace("%", "%%"))
    config.attributes["settings"] = settings
    config.attributes["configure_logging"] = False
    return config


def site_folder(settings: WarehouseSettings | None) -> Path | None:
    """The folder of the fab's own revisions, or None.

    :raises SettingsError: it is not there; taken for empty, its applied revisions would seem lost.
    """
    if settings is None or settings.migrations is None:
        return None
    folder = settings.migrations.expanduser().absolute()
    if not folder.is_dir():
        raise SettingsError(
            f"GPWAREHOUSE_MIGRATIONS = {str(folder)!r}: there is no such folder; make it (empty, for a first revision) or "
            "correct the setting"
        )
    return folder


class Chain:
    """The scripts as a graph: what each stands on, by ``down_revision`` and by ``depends_on``.

    :param config: as from :func:`alembic_config`.
    :raises MigrationError: the scripts cannot be read (one is broken, or stands on one that is not there).
    """

    def __init__(self, config: Config) -> None:
        self.directory = ScriptDirectory.from_config(config)
        try:
            newest_first = list(self.directory.walk_revisions())
            self.scripts: dict[str, Script] = {script.revision: script for script in reversed(newest_first)}
            self._under = {name: self._stands_on(script) for name, script in self.scripts.items()}
        except CommandError as error:
            raise MigrationError(f"the revisions cannot be put in order: {error}") from error
        if not self.scripts:
            raise MigrationError(f"no revision found in {script_location()}; reinstall gpwarehouse")

    @classmethod
    def of(cls, settings: WarehouseSettings | None = None) -> Chain:
        """The chain of the package and of the fab's own folder."""
        return cls(alembic_config(settings))

    def _stands_on(self, script: Script) -> set[str]:
        down = script.down_revision
        below = {down} if isinstance(down, str) else set(down or ())
        needs = script.dependencies
        for name in (needs,) if isinstance(needs, str) else needs or ():
            below |= {found.revision for found in self.directory.get_revisions(name) if found is not None}
        return below

    def applied(self, heads: Iterable[str]) -> set[str]:
        """All revisions that a database at these heads has: they and what they stand on; unknown ones are left out."""
        found: set[str] = set()
        todo = [name for name in heads if name in self.scripts]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo.extend(self._under[name] & self.scripts.keys())
        return found

    def tops(self, revisions: Iterable[str]) -> tuple[str, ...]:
        """Return the revisions that no other of them stands on, sorted; unknown ones are kept."""
        names = set(revisions)
        below = set().union(*(self.applied(self._under.get(name, ())) for name in names)) if names else set()
        return tuple(sorted(names - below))

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions of a database to which every script is applied."""
        return self.tops(self.scripts)

    @property
    def package_head(self) -> str:
        """The newest of the package's own revisions."""
        return ", ".join(self.tops(name for name, script in self.scripts.items() if is_ours(script)))

    def forks(self) -> list[tuple[str, ...]]:
        """Groups of revisions of one line that all claim to be its newest; there should be none."""
        lines: dict[str, set[str]] = {}
        for head in self.directory.get_heads():
            for base in self._bases(head):
                lines.setdefault(base, set()).add(head)
        return [tuple(sorted(heads)) for heads in lines.values() if len(heads) > 1]

    def _bases(self, revision: str) -> set[str]:
        down = self.scripts[revision].down_revision
        below = (down,) if isinstance(down, str) else tuple(down or ())
        return set().union(*map(self._bases, below)) if below else {revision}

    def target(self, revision: str) -> str:
        """``head`` as Alembic wants it named: with several lines it is ``heads``.

        :raises MigrationError: a line has forked, so that its head is not one revision.
        """
        if revision not in ("head", "heads"):
            return revision
        for heads in self.forks():
            raise MigrationError(
                f"revisions {' and '.join(heads)} both follow the same one, so there is no single head: set "
                f"down_revision of one to the other, or join them (alembic merge {' '.join(heads)})"
            )
        return "heads"

    def path(self, revision: str) -> Path:
        """The file of a revision."""
        return Path(self.scripts[revision].path)

    def checksum(self, revision: str) -> str:
        """The checksum of a revision's script as it is now."""
        return revision_checksum(self.path(revision))


def revision_part(script: str, name: str) -> ModuleType:
    """Load ``<script without .py>/<name>.py``: a long revision keeps its parts in a folder of its own name.

    They are loaded by path, because the folder of scripts is no package (it must not shadow Alembic's).
    """
    path = Path(script).with_suffix("") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"gpwarehouse_revision_{path.parent.name}_{name}", path)
    if spec is None or spec.loader is None:
        raise MigrationError(f"{path} cannot be loaded; reinstall gpwarehouse")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def revision_checksum(script: Path) -> str:
    """SHA-256 of a revision's text and of the parts and SQL files in the folder of its name; line ends do not count."""
    digest = hashlib.sha256()
    folder = script.with_suffix("")
    for path in (script, *sorted(folder.glob("*.py"))):
        digest.update(_lines(path))
    for path in sorted(folder.glob("*.sql")):  # with the name: which of two texts is UP matters
        digest.update(f"\0{path.name}\0".encode() + _lines(path).removeprefix(codecs.BOM_UTF8))
    return digest.hexdigest()


def _lines(path: Path) -> bytes:
    """A file's bytes, whatever its encoding, with line ends as UTF-8 text would be read with."""
    return path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
