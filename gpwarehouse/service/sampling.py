"""The warehouse's health, sampled in the background: a question about health never waits for the warehouse."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gpwarehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from gpwarehouse.warehouse import Health

__all__ = ["HealthSampler"]

_EVERY_S = 10.0
_TIMEOUT_S = 5.0


class HealthSampler:
    """Asks for the health every ten seconds, in a thread.

    :param warehouse: the reader's.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._stop = threading.Event()
        self._sampled = threading.Event()
        self._health: Health | None = None
        self._at = 0.0
        self._thread = threading.Thread(target=self._run, name="gpw-health", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._health, self._at = self._warehouse.health(timeout_s=_TIMEOUT_S), time.monotonic()
            self._sampled.set()
            self._stop.wait(_EVERY_S)

    def latest(self) -> tuple[Health, float] | None:
        """The last sample and its age in seconds; None before the first one, and where the last one is too old to count."""
        if self._health is None:
            return None
        age = time.monotonic() - self._at
        return (self._health, age) if age < 3 * (_EVERY_S + _TIMEOUT_S) else None

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until there is a sample."""
        self._sampled.wait(timeout_s)

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_S + 1)
