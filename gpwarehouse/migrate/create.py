"""New revisions, in the fab's own folder.

They are a line of their own: the first has no ``down_revision`` but the branch label ``site``, and each depends on the
package's head of its day. So a new gpwarehouse brings its revisions, the fab writes its own, and neither has to be put
in order with the other.
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from gpwarehouse.errors import MigrationError, SettingsError
from gpwarehouse.migrate.lock import one_thread_in_alembic
from gpwarehouse.migrate.placement import place_in
from gpwarehouse.migrate.scripts import Chain, alembic_config, site_folder
from gpwarehouse.settings import WarehouseSettings

__all__ = ["create_revision"]

log = logging.getLogger(__name__)

_SQL_HEAD = """\
-- {message} ({what})
-- Statements end with a semicolon; {{schema}} stands for the warehouse's schema. They run in one transaction.
-- Where servers differ: {name}.greenplum6.sql, {name}.greenplum7.sql, {name}.postgresql.sql beside this file.
"""


def create_revision(
    settings: WarehouseSettings, message: str, *, autogenerate: bool = False, sql: bool = False
) -> list[Path]:
    """Write a new revision into the folder of the setting ``migrations``, which is made if it is not there.

    :param autogenerate: fill it with what the live database and the models differ in; else it is empty.
    :param sql: write ``up.sql`` and ``down.sql`` to be filled, and the script that runs them.
    :returns: the files written, the script first. Where ruff is installed, it has formatted and checked the script.
    :raises MigrationError: the message is empty, both kinds are asked for, the line of the fab has forked, or, to
        autogenerate, the database is not at head.
    :raises SettingsError: no folder is set.
    """
    if autogenerate and sql:
        raise MigrationError("give --autogenerate or --sql, not both: what is generated is Python")
    if not message.strip():
        raise MigrationError('say what the revision does: gpwarehouse schema revision -m "add column …"')
    folder = _folder(settings)
    config = alembic_config(settings)
    config.cmd_opts = Namespace(quiet=True)
    config.attributes["command"] = "revision"
    chain = Chain(config)
    chain.target("head")  # refuses forks
    where = place_in(chain, folder)
    revision = _new_id(chain)
    try:
        with one_thread_in_alembic(settings):
            make = _autogenerate if autogenerate else _write
            script = make(chain, config, revision, message.strip(), where, sql)
    except CommandError as error:
        raise MigrationError(f"the revision was not written: {error}") from error
    files = [script, *(_sql_files(script, message.strip()) if sql else ())]
    _tidy(script)
    return files


def _folder(settings: WarehouseSettings) -> Path:
    if settings.migrations is None:
        raise SettingsError(
            "GPWAREHOUSE_MIGRATIONS is not set: name the folder for your own revisions, which belongs under version control"
        )
    settings.migrations.expanduser().mkdir(parents=True, exist_ok=True)
    folder = site_folder(settings)
    assert folder is not None
    return folder


def _new_id(chain: Chain) -> str:
    """The time, so that files sort as they were written; two people at once hardly ever get the same."""
    now = datetime.now(UTC)
    while (revision := f"{now:%Y%m%d%H%M%S}") in chain.scripts:
        now += timedelta(seconds=1)
    return revision


def _write(chain: Chain, _config: Config, revision: str, message: str, where: dict[str, Any], sql: bool) -> Path:
    bodies: dict[str, Any] = {"upgrades": "", "downgrades": "", "imports": ""}
    if sql:
        bodies = {**bodies, **{f"{name}grades": f'op.run_sql_file(__file__, "{name}")' for name in ("up", "down")}}
    label = where["branch_label"]
    place = {name: value for name, value in where.items() if name != "branch_label"}
    script = chain.directory.generate_revision(revision, message, branch_labels=label, **place, **bodies)
    assert script is not None
    return Path(script.path)


def _autogenerate(
    _chain: Chain, config: Config, revision: str, message: str, where: dict[str, Any], _sql: bool
) -> Path:
    made: Any = command.revision(config, message, autogenerate=True, rev_id=revision, **where)
    return Path(made.path)


def _sql_files(script: Path, message: str) -> list[Path]:
    folder = script.with_suffix("")
    folder.mkdir()
    files = []
    for name, what in (("up", "to apply"), ("down", "to revert")):
        path = folder / f"{name}.sql"
        path.write_text(_SQL_HEAD.format(message=message, what=what, name=name), encoding="utf-8")
        files.append(path)
    return files


def _tidy(script: Path) -> None:
    """Format the script and mend what ruff can, where it is installed; what it complains of is logged, not raised."""
    if importlib.util.find_spec("ruff") is None:
        log.info("ruff is not installed, so %s is as it was generated", script)
        return
    for arguments in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, str(script)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            log.info("ruff %s: %s", arguments[0], (done.stdout + done.stderr).strip())
