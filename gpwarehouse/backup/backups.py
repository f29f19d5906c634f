"""The backups of one place, as ``wh.backup(url)``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Engine

from gpwarehouse.backup.catalog import (
    BackupInfo,
    Verified,
    last_verified,
    list_backups,
    load_manifest,
    newest,
    note_verified,
)
from gpwarehouse.backup.create import CreateResult, create
from gpwarehouse.backup.manifest import Manifest
from gpwarehouse.backup.place import Place, shown_url
from gpwarehouse.backup.prune import ABANDONED_AFTER, PruneResult, prune
from gpwarehouse.backup.restore import RestoreResult, restore
from gpwarehouse.backup.verify import Comparison, VerifyResult, compare, verify
from gpwarehouse.engine import could_not_look
from gpwarehouse.engine.progress import Announce
from gpwarehouse.errors import BackupError, InvalidInputError
from gpwarehouse.migrate import upgrade
from gpwarehouse.partitions.manager import month_named
from gpwarehouse.retention import KeepBackups, parse_keep
from gpwarehouse.settings import WarehouseSettings

__all__ = ["Backups"]

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Backups:
    """The backups of one place: create, list, verify, restore, prune.

    It is cheap to make: neither the place nor the server is asked.

    :param engine: a function that gives a pooled engine of the warehouse.
    :param url: a folder, or a URL ``file://``, ``s3://``, ``gs://`` or ``abfss://``; by default ``GPWAREHOUSE_BACKUP_URL``.
    :raises BackupError: there is no place.
    """

    def __init__(self, engine: Callable[[], Engine], settings: WarehouseSettings, url: str | None = None) -> None:
        given = url if url is not None or settings.backup_url is None else settings.backup_url.get_secret_value()
        if given is None:
            raise BackupError("GPWAREHOUSE_BACKUP_URL is not set; set it to the place of the backups, or give a URL")
        self._engine = engine
        self._settings = settings
        self._url = given
        self._made: Place | None = None

    def __repr__(self) -> str:
        return f"Backups({shown_url(self._url)!r})"

    @property
    def place(self) -> Place:
        """Where the backups are.

        :raises BackupError: the URL cannot be used.
        """
        if self._made is None:
            self._made = Place(self._url)
        return self._made

    def create(
        self, *, full: bool = False, parallel: int | None = None, progress: Announce | None = None
    ) -> CreateResult:
        """Make a backup of all tables, at one moment, while others load.

        Months that did not change since the last backup are not written again: the new backup refers to the objects of the old
        one. If a backup was killed, the next one takes up what it wrote.

        :param full: whether all rows are written, whatever earlier backups hold.
        :param parallel: connections that read; by default the setting ``backup_parallel``.
        :param progress: takes a line for every table and month; else they are logged.
        :raises BackupError: there is no backup; what was written is taken up by the next one.
        """
        return self._asking(
            lambda: create(
                self._engine(),
                self._settings,
                self.place,
                full=full,
                parallel=self._parallel(parallel),
                progress=progress,
            )
        )

    def list(self) -> list[BackupInfo]:
        """List all backups of the place, the newest first: whole ones, damaged ones, and those that were not ended.

        It reads all manifests; :meth:`last` reads one.
        """
        return list_backups(self.place)

    def last(self) -> BackupInfo | None:
        """Tell the newest whole backup; None if there is none. ``.age()`` says how old it is.

        It costs a listing of the manifests, and reading one; the server is not asked.
        """
        found = newest(self.place)
        return None if found is None else BackupInfo.of(found)

    def verify(
        self,
        backup_id: str | None = None,
        *,
        quick: bool = False,
        parallel: int | None = None,
        progress: Announce | None = None,
    ) -> VerifyResult:
        """Read all objects of a backup: sizes, SHA-256, and the checksums of their rows. The server is not asked.

        What is found is noted in the place, for :meth:`last_verified`; a listing that finds nothing wrong is not. Where nothing
        can be written, the result has a warning.

        :param backup_id: by default the newest whole one.
        :param quick: whether only to compare sizes, by a listing.
        :raises BackupError: there is no such backup, or its manifest is damaged.
        """
        manifest = self._manifest(backup_id)
        found = verify(self.place, manifest, quick=quick, parallel=self._parallel(parallel), tell=progress or log.info)
        if quick and not found.problems:
            return found
        try:
            note_verified(self.place, Verified(found.backup_id, datetime.now(UTC), len(found.problems)))
        except BackupError as error:
            return replace(found, warnings=(f"the result is not noted for monitoring: {error}",))
        return found

    def last_verified(self) -> Verified | None:
        """Tell what the last :meth:`verify` found; None if there was none."""
        return last_verified(self.place)

    def compare(
        self, backup_id: str | None = None, *, parallel: int | None = None, progress: Announce | None = None
    ) -> tuple[Comparison, ...]:
        """Compare the rows of all tables and months of the warehouse with those of a backup, by their checksums.

        The history of migrations is left out: each database has its own.

        :param backup_id: by default the newest whole one.
        :return: one entry for every table and month, equal or not.
        :raises BackupError: there is no such backup, or the warehouse is of another revision.
        """
        manifest, tell = self._manifest(backup_id), progress or log.info
        return tuple(
            self._asking(
                lambda: compare(self._engine(), self._settings, manifest, parallel=self._parallel(parallel), tell=tell)
            )
        )

    def restore(
        self,
        backup_id: str | None = None,
        *,
        tables: Sequence[str] | None = None,
        months: Sequence[str] | None = None,
        update: bool = False,
        to_head: bool = False,
        parallel: int | None = None,
        progress: Announce | None = None,
    ) -> RestoreResult:
        """Restore a backup, verified row for row.

        The server, the number of segments and the name of the schema may be others than those of the backup. If it is killed, the
        same call goes on; until it has ended, the warehouse refuses loads and upgrades.

        :param backup_id: by default the newest whole one.
        :param tables: only these tables; ``months``: only these months (``YYYY-MM``) of facts. Rows are then restored into a
            warehouse in use, one table or month at a time.
        :param update: whether to replace what is there, where it is not equal. Without it a whole backup is restored only into an
            empty warehouse, and a table or month only where there are no rows.
        :param to_head: whether to upgrade to the backup's revision before, and to the newest one afterwards.
        :param parallel: months restored at once; by default the setting ``backup_parallel``.
        :param progress: takes a line for every table and month; else they are logged.
        :raises BackupError: nothing can be restored, or rows did not come back as they were.
        :raises InvalidInputError: the backup has no such table or month.
        """
        if isinstance(tables, str) or isinstance(months, str):
            raise InvalidInputError("give tables and months as lists")
        moments = None if months is None else [month_named(month) for month in months]
        manifest = self._manifest(backup_id)
        for revision in manifest.revision.split(", ") if to_head else ():
            upgrade(self._settings, revision)
        result = self._asking(
            lambda: restore(
                self._engine(), self._settings, self.place, manifest, tables=tables, months=moments, update=update,
                parallel=self._parallel(parallel), progress=progress,
            )
        )  # fmt: skip
        if to_head:
            upgrade(self._settings)
        return result

    def prune(
        self, keep: KeepBackups | str | None = None, *, plan: bool = False, abandoned_after: timedelta = ABANDONED_AFTER
    ) -> PruneResult:
        """Remove backups that are not to be kept, and the objects that no kept one refers to.

        Backups of each warehouse are counted by themselves. The newest one always stays. While a backup is made, no object is
        removed.

        :param keep: e.g. ``"last 7, days 14, months 12"``; by default the setting ``backup_keep``.
        :param plan: whether only to say what would go.
        :param abandoned_after: time without a new object after which a backup that was not ended counts as killed for good.
        :raises InvalidInputError: nothing says which backups to keep.
        :raises BackupError: a manifest is damaged; no object was removed.
        """
        try:
            said = parse_keep(keep if keep is not None else self._settings.backup_keep)
        except ValueError as error:
            raise InvalidInputError(f"keep={keep!r}: {error}; write: last 7, days 14, months 12") from None
        if said is None:
            raise InvalidInputError("say which backups to keep: keep=, --keep, or GPWAREHOUSE_BACKUP_KEEP")
        return prune(self.place, said, plan=plan, abandoned_after=abandoned_after)

    def _parallel(self, asked: int | None) -> int:
        if asked is not None and not 1 <= asked <= 64:
            raise InvalidInputError(f"parallel={asked!r}: give a number from 1 to 64")
        return asked or self._settings.backup_parallel

    def _manifest(self, backup_id: str | None) -> Manifest:
        if backup_id is not None:
            if backup_id not in {info.id for info in self.list()}:
                raise BackupError(f"{self.place.shown} has no backup {backup_id!r}; gpwarehouse backup list shows them")
            return load_manifest(self.place, backup_id)
        newest_first = [info for info in self.list() if info.state != "unfinished"]
        whole = next((info for info in newest_first if info.state == "whole"), None)
        if whole is None:
            raise BackupError(f"{self.place.shown} has no whole backup; gpwarehouse backup create makes one")
        if whole is not newest_first[0]:  # an older one is not what was asked for
            raise BackupError(
                f"{self.place.shown}: the newest backup, {newest_first[0].id}, is damaged ({newest_first[0].error}); give the id "
                f"of an older one ({whole.id}), or make a new one: gpwarehouse backup create"
            )
        return load_manifest(self.place, whole.id)

    def _asking(self, question: Callable[[], Result]) -> Result:
        """Raise the server's errors as ours."""
        try:
            return question()
        except exc.DBAPIError as error:
            raise could_not_look(error, self._settings, "the data") from error
