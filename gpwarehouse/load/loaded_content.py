"""Recognise content that is loaded already, before its rows are checked."""

from __future__ import annotations

from typing import Any

from gpwarehouse.batches import ledger
from gpwarehouse.batches.conflicts import judge
from gpwarehouse.intake.checksum import batch_id_for, checksum_of
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.intake.table_files import TableFiles
from gpwarehouse.load.run import Run
from gpwarehouse.load.streaming import hash_beforehand

__all__ = ["find_loaded"]


def find_loaded(run: Run) -> Any | None:
    """Find the row of the batch in which the source's content is loaded; None if it is to be loaded, or if that is not known.

    A source may have a checksum of its own. A large frame in memory is hashed. Files of tables are told by their bytes, or else
    by their content, which is hashed if a loaded batch has as many rows.

    :raises BatchConflictError: the caller wants an error if the content is loaded, or the id belongs to other content.
    """
    source = run.source
    run.own_checksum = hash_beforehand(run)
    if (checksum := source.checksum or run.own_checksum) is not None:
        return _judge(run, checksum)
    if not (isinstance(source, FrameSource) and isinstance(source.frame, TableFiles)):
        return None
    run.source_checksum = source.frame.checksum()
    checksum = run.look_up(ledger.content_of_files, run.target.name, run.source_checksum) or _hash_content(run, source)
    return None if checksum is None else _judge(run, checksum)


def _judge(run: Run, checksum: str) -> Any | None:
    options, target = run.options, run.target.name
    batch_id = options.batch_id or batch_id_for(target, checksum)
    verdict = run.look_up(
        lambda connection: judge(
            connection, options.on_conflict, target, batch_id, checksum,
            named=options.batch_id is not None, started_at=run.started_at,
        )
    )  # fmt: skip
    return verdict.loaded


def _hash_content(run: Run, source: FrameSource) -> str | None:
    """The checksum of the content of files, if a loaded batch may have the same."""
    if run.options.batch_id is not None and not run.look_up(ledger.target_of, run.options.batch_id):
        return None  # most likely the id is new; then the files are read only once
    rows, _ = source.extent()
    rows = sum(batch.num_rows for batch in source.batches()) if rows is None else rows
    is_likely = run.look_up(ledger.has_loaded, run.target.name, rows)
    return checksum_of(source.batches(), run.target) if is_likely else None
