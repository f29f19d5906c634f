"""Samples of the warehouse's state in the background: a scrape never waits for the warehouse."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import exc

from gpwarehouse.errors import GpwarehouseError
from gpwarehouse.monitoring.sample import Sample, take_sample
from gpwarehouse.warehouse import Warehouse

__all__ = ["StateSampler"]

_END_S = 5.0
_logger = logging.getLogger(__name__)


class StateSampler:
    """Takes a sample every ``monitor_every_s`` seconds, in a thread. A sample that fails leaves the one before.

    :param warehouse: a reader's will do.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._every_s = warehouse.settings.monitor_every_s
        self._sizes_every_s = warehouse.settings.monitor_sizes_every_s
        self._sized = -float("inf")
        self._stop = threading.Event()
        self._sampled = threading.Condition()
        self._latest: Sample | None = None
        self._failures = 0
        self._thread: threading.Thread | None = None

    @property
    def latest(self) -> Sample | None:
        """The last sample; None before the first one."""
        return self._latest

    @property
    def failures(self) -> int:
        """Samples in a row that could not be taken."""
        return self._failures

    def start(self) -> None:
        """Begin, unless the settings want no samples."""
        if self._every_s:
            self._thread = threading.Thread(target=self._run, name="gpw-monitoring", daemon=True)
            self._thread.start()

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until there is a sample."""
        with self._sampled:
            self._sampled.wait_for(lambda: self._latest is not None, timeout_s)

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._take()
            self._stop.wait(self._every_s)

    def _take(self) -> None:
        is_due = time.monotonic() - self._sized >= self._sizes_every_s
        try:
            found = take_sample(self._warehouse, before=self._latest, sizes=is_due)
        except Exception as error:  # whatever it is, the samples after it must be taken
            self._failures += 1
            expected = isinstance(error, GpwarehouseError | exc.SQLAlchemyError)
            words = str(error).partition("\n")[0]
            _logger.warning("the state of the warehouse could not be sampled: %s", words, exc_info=not expected)
            return
        if is_due:
            self._sized = time.monotonic()
        with self._sampled:
            self._latest, self._failures = found, 0
            self._sampled.notify_all()
