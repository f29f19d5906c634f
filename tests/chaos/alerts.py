"""What a real Prometheus and Alertmanager tell of a day, in the order in which they tell it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Alerts", "listening"]

_PATIENCE_S = 180


class Alerts:
    """The notifications that came to a webhook.

    :ivar told: name and status (``firing``, ``resolved``) of each.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def add(self, message: dict[str, Any]) -> None:
        """Take a notification."""
        with self._changed:
            self.told += [(alert["labels"]["alertname"], alert["status"]) for alert in message["alerts"]]
            self._changed.notify_all()

    def wait_for(self, name: str, status: str) -> None:
        """Wait until the last that was told of an alert is this.

        :raises AssertionError: it is not told in three minutes.
        """
        with self._changed:
            come = self._changed.wait_for(lambda: self._last(name) == status, _PATIENCE_S)
        assert come, f"{name} was not told to be {status}; told was {self.told}"

    def _last(self, name: str) -> str | None:
        return next((status for each, status in reversed(self.told) if each == name), None)

    def fired(self) -> set[str]:
        """Names of all that fired."""
        return {name for name, status in self.told if status == "firing"}


@contextmanager
def listening(told: queue.Queue[dict[str, Any]]) -> Iterator[Alerts]:
    """Gather what a webhook puts into its queue."""
    alerts, over = Alerts(), threading.Event()

    def gather() -> None:
        while not over.is_set():
            try:
                alerts.add(told.get(timeout=0.2))
            except queue.Empty:
                continue

    thread = threading.Thread(target=gather)
    thread.start()
    try:
        yield alerts
    finally:
        over.set()
        thread.join()
