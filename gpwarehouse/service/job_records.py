"""Jobs as they are stored and shown, each with its Idempotency-Key, so that one key makes one job.

They can be read while the warehouse is down, and hold no values of a statement.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gpwarehouse.service.problems import ProblemDetails
from gpwarehouse.service.spool import MEDIA_TYPES, Spooled
from gpwarehouse.service.store import Store

__all__ = ["ENDED", "JOB_EXAMPLE", "JobInfo", "JobKind", "JobRecords", "JobState", "Outcome", "StoredJob"]

JobKind = Literal["query", "load", "migrate", "rollback", "optimize"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
ENDED = ("succeeded", "failed", "cancelled", "interrupted")


class JobFile(BaseModel):
    """The file that is a job's result."""

    href: str = Field(description="Where it is.")
    media_type: str
    bytes: int
    rows: int


JOB_EXAMPLE: Any = {
    "id": "0d5c3a4e7b614f0f9a35c1f9b8a7e6d2",
    "kind": "query",
    "state": "succeeded",
    "owner": "key:4f1d2c3b5a69",
    "created_at": "2026-03-04T05:06:07Z",
    "started_at": "2026-03-04T05:06:07Z",
    "finished_at": "2026-03-04T05:06:19Z",
    "expires_at": "2026-03-05T05:06:19Z",
    "about": {"statement": "SELECT * FROM dw.v_wafer_yield WHERE lot_id = :lot", "form": "arrow"},
    "progress": None,
    "result": None,
    "problem": None,
    "file": {
        "href": "/jobs/0d5c3a4e7b614f0f9a35c1f9b8a7e6d2/result",
        "media_type": "application/vnd.apache.arrow.file",
        "bytes": 48213,
        "rows": 1200,
    },
}


class JobInfo(BaseModel):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})

    id: str
    kind: JobKind
    state: JobState = Field(
        description="`queued` and `running` go on to one of the others. `interrupted`: the service stopped before its end."
    )
    owner: str = Field(description="The caller who made it.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(None, description="When the job and its result are deleted.")
    about: dict[str, Any] = Field(description="What it does. A statement is without its values.")
    progress: str | None = Field(default=None, description="What it does now, while it runs.")
    result: dict[str, Any] | None = Field(None, description="What a job without a file has done.")
    problem: ProblemDetails | None = Field(None, description="Why it failed.")
    file: JobFile | None = Field(None, description="The result of a query.")


@dataclass(frozen=True)
class Outcome:
    """What a job has done.

    :ivar result: facts for JSON.
    :ivar file: a file in the folder of results.
    """

    result: dict[str, Any] | None = None
    file: Spooled | None = None


@dataclass(frozen=True)
class StoredJob:
    """A row of the table ``job``.

    :ivar info: as it is shown, without its progress.
    :ivar expired: whether only its id is left.
    :ivar form: form of the file that it has or had; None if it never had one.
    """

    info: JobInfo
    expired: bool
    form: str | None
    etag: str | None
    payload: str | None = field(repr=False)


class JobRecords:
    """The table ``job``.

    :param keep_s: seconds after a job's end after which it expires.
    :param results: the folder of results.
    """

    def __init__(self, store: Store, keep_s: float, results: Path) -> None:
        self._store, self._keep_s, self._results = store, keep_s, results

    def add(
        self,
        job_id: str,
        kind: JobKind,
        owner: str,
        about: dict[str, Any],
        query_id: str,
        key: str | None,
        payload: str,
    ) -> None:
        """Add a job that waits."""
        with self._store.transaction() as store:
            store.execute(
                "INSERT INTO job (id, kind, owner, state, about, query_id, idempotency_key, payload_sha256, created_at) "
                "VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                (job_id, kind, owner, json.dumps(about), query_id, key, payload if key else None, time.time()),
            )

    def begin(self, job_id: str) -> None:
        """Record that a job runs."""
        with self._store.transaction() as store:
            store.execute("UPDATE job SET state = 'running', started_at = ? WHERE id = ?", (time.time(), job_id))

    def end(self, job_id: str, state: JobState, outcome: Outcome, problem: ProblemDetails | None) -> None:
        """Record the end of a job."""
        file = outcome.file
        told = None if problem is None else problem.model_dump_json(exclude_none=True)
        result = None if outcome.result is None else json.dumps(outcome.result, default=str)
        facts = (None, 0, None, None, None) if file is None else (file.form, 1, file.bytes, file.rows, file.etag)
        with self._store.transaction() as store:
            store.execute(
                "UPDATE job SET state = ?, finished_at = ?, result = ?, problem = ?, form = ?, has_file = ?, bytes = ?, "
                "rows = ?, etag = ? WHERE id = ? AND finished_at IS NULL",
                (state, time.time(), result, told, *facts, job_id),
            )

    def interrupt_unfinished(self) -> None:
        """Record that all jobs that wait or run were interrupted."""
        with self._store.transaction() as store:
            store.execute(
                "UPDATE job SET state = 'interrupted', finished_at = ? WHERE finished_at IS NULL", (time.time(),)
            )

    def find(self, job_id: str) -> StoredJob | None:
        """The job with an id; None if there is none."""
        row = self._store.row("SELECT * FROM job WHERE id = ?", job_id)
        return None if row is None else self._stored(row)

    def find_key(self, owner: str, key: str) -> StoredJob | None:
        """The job that a caller made with an Idempotency-Key; None if there is none."""
        row = self._store.row("SELECT * FROM job WHERE owner = ? AND idempotency_key = ?", owner, key)
        return None if row is None else self._stored(row)

    def list(self, owner: str | None, limit: int, before: str | None) -> list[JobInfo]:
        """Jobs that have not expired, the newest first.

        :param owner: whose; None: everybody's.
        :param before: id of the job behind which the list begins; if it is unknown, the list is empty.
        """
        found = self._store.rows(
            "SELECT * FROM job WHERE expired_at IS NULL AND (? IS NULL OR owner = ?) "
            "AND (? IS NULL OR number < (SELECT number FROM job WHERE id = ?)) ORDER BY number DESC LIMIT ?",
            *(owner, owner, before, before, limit),
        )
        return [self._stored(row).info for row in found]

    def forget_file(self, job_id: str) -> None:
        """Record that a job's file was deleted."""
        with self._store.transaction() as store:
            store.execute("UPDATE job SET has_file = 0 WHERE id = ?", (job_id,))

    def expire(self, now: float) -> tuple[str, ...]:
        """Empty the rows of jobs that ended ``keep_s`` ago. Their ids are known for as long again.

        :return: ids of the jobs whose files may be deleted.
        """
        with self._store.transaction() as store:
            store.execute("DELETE FROM job WHERE expired_at < ?", (now - self._keep_s,))
            old = (now - self._keep_s,)
            gone = store.execute("SELECT id FROM job WHERE finished_at <= ? AND expired_at IS NULL", old).fetchall()
            store.execute(
                "UPDATE job SET expired_at = ?, about = '{}', query_id = NULL, idempotency_key = NULL, payload_sha256 = NULL, "
                "result = NULL, problem = NULL, has_file = 0 WHERE finished_at <= ? AND expired_at IS NULL",
                (now, *old),
            )
        return tuple(row["id"] for row in gone)

    def bytes_kept(self, owner: str) -> int:
        """Bytes of the files of a caller's jobs."""
        row = self._store.row("SELECT COALESCE(SUM(bytes), 0) AS n FROM job WHERE owner = ? AND has_file", owner)
        assert row is not None
        return int(row["n"])

    def files(self) -> set[str]:
        """Names of the files that jobs have."""
        return {f"{row['id']}.{row['form']}" for row in self._store.rows("SELECT id, form FROM job WHERE has_file")}

    def spooled(self, job: StoredJob) -> Spooled:
        """The file of a job that has one."""
        file, form, etag = job.info.file, job.form, job.etag
        assert file is not None
        assert form is not None
        assert etag is not None
        return Spooled(self._results / f"{job.info.id}.{form}", form, file.rows, file.bytes, etag)

    def _stored(self, row: sqlite3.Row) -> StoredJob:
        ended: float | None = row["finished_at"]
        file = None
        if row["has_file"]:
            media_type = MEDIA_TYPES[row["form"]]
            href = f"/jobs/{row['id']}/result"
            file = JobFile(href=href, media_type=media_type, bytes=row["bytes"], rows=row["rows"])
        created = _instant(row["created_at"])
        assert created is not None
        info = JobInfo(
            id=row["id"], kind=row["kind"], state=row["state"], owner=row["owner"], created_at=created,
            started_at=_instant(row["started_at"]), finished_at=_instant(ended),
            expires_at=_instant(None if ended is None else ended + self._keep_s),
            about=json.loads(row["about"]), result=json.loads(row["result"] or "null"),
            problem=row["problem"] and ProblemDetails.model_validate_json(row["problem"]), file=file,
        )  # fmt: skip
        return StoredJob(info, row["expired_at"] is not None, row["form"], row["etag"], row["payload_sha256"])


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
