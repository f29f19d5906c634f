"""Jobs: work that outlives its request. It waits for its turn, runs in a thread, can be cancelled, and expires.

What a job runs is kept in memory only, so a statement and its values are stored nowhere, and a restart interrupts all jobs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpwarehouse.engine import Cancellation
from gpwarehouse.errors import AmbiguousCommitError, GpwarehouseError
from gpwarehouse.service.access import Caller
from gpwarehouse.service.job_records import ENDED, JobInfo, JobKind, JobRecords, JobState, Outcome, StoredJob
from gpwarehouse.service.problems import Problem, details_of, problem_of, retry_after
from gpwarehouse.service.spool import Spool, Spooled
from gpwarehouse.service.store import Store
from gpwarehouse.settings import WarehouseSettings

__all__ = ["JobRequest", "Jobs", "Task", "Work"]

_logger = logging.getLogger("gpwarehouse.service")
_LANES: dict[JobKind, str] = {
    "query": "query",
    "load": "load",
    "migrate": "schema",
    "rollback": "schema",
    "optimize": "optimize",
}
"""Jobs of one lane wait for each other. A lane has one runner, that of queries several."""
_TIDY_S = 60.0
_AGAIN_S = 0.5
"""Pause before a job that has not ended is cancelled again."""
_END_S = 10.0
"""How long a shutdown waits for cancelled jobs to end."""


class Task:
    """What a job's work is given.

    :ivar id: the job's id.
    :ivar cancellation: the work must put it around what it asks the warehouse.
    """

    def __init__(self, job_id: str) -> None:
        self.id = job_id
        self.cancellation = Cancellation()
        self.progress: str | None = None

    def tell(self, progress: str, rows: int | None = None) -> None:
        """Say what the job does now. It can be passed to the warehouse as ``progress``."""
        self.progress = progress if rows is None else f"{progress}: {rows} rows"


Work = Callable[[Task], Outcome]


@dataclass(frozen=True)
class JobRequest:
    """A job to be made.

    :ivar about: facts for JSON that are shown and stored: no secrets, and no values of a statement.
    :ivar payload: digest of all that the job depends on.
    :ivar key: the Idempotency-Key.
    :ivar cleanup: called once after the job's end, or if it never began.
    """

    kind: JobKind
    about: dict[str, Any]
    work: Work
    query_id: str
    payload: str = ""
    key: str | None = None
    cleanup: Callable[[], None] = lambda: None


@dataclass(eq=False)
class _Entry:
    """A job that waits or runs.

    :ivar ends_as: the state that it gets when its cancelled work ends.
    """

    task: Task
    owner: str
    request: JobRequest
    done: Future[None] = field(default_factory=Future)
    ends_as: JobState | None = None


class Jobs:
    """The jobs of a service. Jobs that an earlier process left unfinished are interrupted.

    :param settings: ``service_concurrency``, ``service_jobs_per_caller``, ``service_max_kept`` and ``service_keep_s`` count.
    """

    def __init__(self, store: Store, spool: Spool, settings: WarehouseSettings) -> None:
        self._records = JobRecords(store, settings.service_keep_s, spool.results)
        self._spool, self._most, self._most_kept = spool, settings.service_jobs_per_caller, settings.service_max_kept
        self._slots = {**dict.fromkeys(_LANES.values(), 1), "query": settings.service_concurrency}
        self._lock = threading.RLock()
        self._waiting: list[_Entry] = []
        self._running: list[_Entry] = []
        self._arriving: Counter[str] = Counter()
        self._last_start: dict[str, int] = {}
        self._starts = 0
        self._closed = False
        self._stop = threading.Event()
        self._tidier: threading.Thread | None = None
        self._records.interrupt_unfinished()
        self._spool.tidy(self._records.files())

    def start(self) -> None:
        """Begin to delete what has expired, once a minute."""
        self.expire()
        self._tidier = threading.Thread(target=self._tidy, name="gpw-jobs-tidy", daemon=True)
        self._tidier.start()

    def close(self) -> None:
        """Cancel what runs. It is interrupted, and so is what waits."""
        self._stop.set()
        with self._lock:
            self._closed = True
            for entry in tuple(self._waiting):
                self._end(entry, "interrupted", Outcome(), None)
            running = tuple(self._running)
            for entry in running:
                self._cancel_running(entry, "interrupted", "shutdown")
        wait([entry.done for entry in running], timeout=_END_S)
        with self._lock:
            for entry in tuple(self._running):
                _logger.error("job %s (%s) did not end when the service stopped", entry.task.id, entry.request.kind)
                self._end(entry, "interrupted", Outcome(), None)
        if self._tidier is not None:
            self._tidier.join()

    def submit(self, caller: Caller, request: JobRequest, *, has_arrived: bool = False) -> JobInfo:
        """Make a job, or return the one that the caller made with the same Idempotency-Key.

        :param has_arrived: whether :meth:`arriving` has admitted it.
        :return: the job. If ``id`` is not that of a new one, ``cleanup`` was called.
        :raises Problem: 422, the key was used for something else; 429, too many jobs wait or run; 503, the service stops.
        """
        try:
            with self._lock:
                known = self.known(caller, request.key, request.payload)
                if known is None:
                    if not has_arrived:
                        self._admit(caller)
                    return self._add(caller, request)
        except BaseException:
            request.cleanup()
            raise
        request.cleanup()
        return known

    def known(self, caller: Caller, key: str | None, payload: str) -> JobInfo | None:
        """The job that a caller made with a key; None if there is none.

        :raises Problem: 422, the key was used for something else.
        """
        stored = None if key is None else self._records.find_key(caller.id, key)
        if stored is None:
            return None
        if stored.payload != payload:
            raise Problem(
                422, "idempotency-mismatch", f"job {stored.info.id} was made with this Idempotency-Key for something else; "
                "send a new key",
            )  # fmt: skip
        return self._with_progress(stored.info)

    def admit_file(self, caller: Caller) -> None:
        """Refuse another file to a caller who has as many bytes of them here as one may have.

        :raises Problem: 429.
        """
        kept = self._records.bytes_kept(caller.id) + self._spool.bytes_of_answers(caller.id)
        if kept >= self._most_kept:
            raise retry_after(
                429, "too-much-kept", f"files of yours take {kept} bytes here, and {self._most_kept} is the limit; delete "
                "results (DELETE /jobs/{job_id}), or read the answers that are being sent",
            )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How many jobs wait and run."""
        with self._lock:
            return {"waiting": len(self._waiting), "running": len(self._running)}

    def is_busy(self, kind: JobKind) -> bool:
        """Whether a job waits or runs for which one of this kind would wait."""
        with self._lock:
            return any(_LANES[each.request.kind] == _LANES[kind] for each in (*self._waiting, *self._running))

    @contextmanager
    def arriving(self, caller: Caller) -> Iterator[None]:
        """Count a job whose request is still being received.

        :raises Problem: 429, too many jobs of the caller arrive, wait or run.
        """
        with self._lock:
            self._admit(caller)
            self._arriving[caller.id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving[caller.id] -= 1
                self._arriving += Counter()  # forgets zeros

    def get(self, caller: Caller, job_id: str) -> JobInfo:
        """A job.

        :raises Problem: 404, there is none, or it is somebody else's; 410, it has expired.
        """
        return self._with_progress(self._find(caller, job_id).info)

    def list(self, caller: Caller, limit: int, before: str | None) -> list[JobInfo]:
        """The caller's jobs, or everybody's for an admin, the newest first."""
        owner = None if caller.may("admin") else caller.id
        return [self._with_progress(info) for info in self._records.list(owner, limit, before)]

    def result(self, caller: Caller, job_id: str) -> Spooled:
        """The file of a job.

        :raises Problem: 404, it has none; 409, it has not ended; 410, the file was deleted.
        """
        stored = self._find(caller, job_id)
        info = stored.info
        if info.file is not None and (spooled := self._records.spooled(stored)).path.is_file():
            return spooled
        if stored.form is not None:
            raise Problem(410, "gone", "the result was deleted; make the job again")
        if info.state not in ENDED:
            headers = {"Retry-After": "1"}
            raise Problem(409, "not-ended", f"the job is {info.state}; ask for its result when it has ended", headers)
        raise Problem(
            404, "no-file", f"the job {info.state} and has no file; GET /jobs/{job_id} tells what became of it"
        )

    def cancel(self, caller: Caller, job_id: str) -> JobInfo:
        """Cancel a job that waits or runs. A job that has ended stays, but its file is deleted.

        A job that runs may end a moment later; it may also have been done before the server could be told.

        :raises Problem: as for :meth:`get`.
        """
        self._find(caller, job_id)
        with self._lock:
            entry = self._entry(job_id)
            if entry is None:
                if self._find(caller, job_id).info.file is not None:
                    self._delete_file(job_id)
                    self._records.forget_file(job_id)
            elif entry in self._waiting:
                self._end(entry, "cancelled", Outcome(), None)
            else:
                self._cancel_running(entry, "cancelled", "its owner cancelled the job")
        return self.get(caller, job_id)

    async def wait(self, caller: Caller, job_id: str, seconds: float) -> JobInfo:
        """A job, after its end, or after so many seconds."""
        entry = self._entry(job_id)
        if entry is not None and seconds > 0:
            await asyncio.wait((asyncio.wrap_future(entry.done),), timeout=seconds)
        return self.get(caller, job_id)

    def expire(self, now: float | None = None) -> None:
        """Delete the jobs that ended ``service_keep_s`` ago, and their files.

        :param now: seconds since 1970.
        """
        for job_id in self._records.expire(time.time() if now is None else now):
            self._delete_file(job_id)

    # ------------------------------------------------------------------------------------------------------------------

    def _find(self, caller: Caller, job_id: str) -> StoredJob:
        stored = self._records.find(job_id) if re.fullmatch("[0-9a-f]{32}", job_id) else None
        if stored is None or not (caller.id == stored.info.owner or caller.may("admin")):
            raise Problem(404, "unknown-job", "you have no such job; GET /jobs lists yours")
        if stored.expired:
            raise Problem(410, "gone", "the job has expired, and was deleted with its result")
        return stored

    def _entry(self, job_id: str) -> _Entry | None:
        with self._lock:
            return next((each for each in (*self._running, *self._waiting) if each.task.id == job_id), None)

    def _with_progress(self, info: JobInfo) -> JobInfo:
        entry = None if info.state in ENDED else self._entry(info.id)
        return info if entry is None else info.model_copy(update={"progress": entry.task.progress})

    def _admit(self, caller: Caller) -> None:
        there = sum(entry.owner == caller.id for entry in (*self._waiting, *self._running)) + self._arriving[caller.id]
        if there >= self._most:
            told = f"{self._most} jobs of yours wait or run; wait until one of them has ended, or cancel one"
            raise retry_after(429, "too-many-jobs", told)

    def _add(self, caller: Caller, request: JobRequest) -> JobInfo:
        if self._closed:
            raise retry_after(503, "shutdown", "the service stops; try again")
        task = Task(uuid.uuid4().hex)
        about = request.about, request.query_id, request.key, request.payload
        self._records.add(task.id, request.kind, caller.id, *about)
        self._waiting.append(_Entry(task, caller.id, request))
        self._begin_ready()
        return self.get(caller, task.id)

    def _begin_ready(self) -> None:
        """Begin the jobs whose lanes are free. Of those that wait, a caller's with fewer running jobs comes first."""
        while not self._closed:
            lanes = Counter(_LANES[entry.request.kind] for entry in self._running)
            owners = Counter(entry.owner for entry in self._running)
            ready = [entry for entry in self._waiting if lanes[lane := _LANES[entry.request.kind]] < self._slots[lane]]
            if not ready:
                return
            entry = min(ready, key=lambda each: (owners[each.owner], self._last_start.get(each.owner, 0)))
            self._records.begin(entry.task.id)
            self._starts += 1
            self._last_start[entry.owner] = self._starts
            self._waiting.remove(entry)
            self._running.append(entry)
            name = f"gpw-job-{entry.request.kind}"
            threading.Thread(target=self._run, args=(entry,), name=name, daemon=True).start()

    def _run(self, entry: _Entry) -> None:
        outcome, problem = Outcome(), None
        state: JobState = "succeeded"
        try:
            outcome = entry.request.work(entry.task)
        except Exception as error:
            if entry.ends_as is not None and not isinstance(error, AmbiguousCommitError):
                state = entry.ends_as
            else:
                state, problem = "failed", self._problem_of(entry, error)
        with self._lock:
            self._end(entry, state, outcome, problem)

    def _problem_of(self, entry: _Entry, error: Exception) -> Problem:
        if isinstance(error, GpwarehouseError):
            return problem_of(error)
        if isinstance(error, Problem):
            return error
        _logger.error("job %s (%s) failed", entry.task.id, entry.request.kind, exc_info=error)
        return Problem(500, "internal", "the service failed; its log has the cause under the job's id")

    def _end(self, entry: _Entry, state: JobState, outcome: Outcome, problem: Problem | None) -> None:
        """Record the end of a job, once, and begin what waited for it. The lock must be held."""
        line = self._running if entry in self._running else self._waiting
        if entry not in line:
            return
        line.remove(entry)
        request = entry.request
        try:
            told = None if problem is None else details_of(problem, request.query_id)
            self._records.end(entry.task.id, state, outcome, told)
            request.cleanup()
        except (OSError, sqlite3.Error):  # it is shown as unfinished until the next start, which says "interrupted"
            _logger.exception("the end of job %s (%s) could not be recorded", entry.task.id, state)
        facts = {"job_id": entry.task.id, "kind": request.kind, "owner": entry.owner, "state": state}
        _logger.info("job %s (%s) of %s: %s", *facts.values(), extra=facts)
        entry.done.set_result(None)
        self._begin_ready()

    def _cancel_running(self, entry: _Entry, state: JobState, reason: str) -> None:
        if entry.ends_as is None:
            entry.ends_as = state
            entry.task.tell("is being cancelled")
            threading.Thread(
                target=_cancel_until_ended, args=(entry, reason), name="gpw-job-cancel", daemon=True
            ).start()

    def _delete_file(self, job_id: str) -> None:
        for file in self._spool.results.glob(f"{job_id}.*"):
            file.unlink(missing_ok=True)

    def _tidy(self) -> None:
        while not self._stop.wait(_TIDY_S):
            try:
                self.expire()
            except (OSError, sqlite3.Error):
                _logger.exception("expired jobs could not be deleted; it is tried again in a minute")


def _cancel_until_ended(entry: _Entry, reason: str) -> None:
    """Between two statements a job may hold no connection, and begin to wait for the server later."""
    while not entry.done.done():
        entry.task.cancellation.cancel(reason, wait_s=1.0)
        wait([entry.done], timeout=_AGAIN_S)
