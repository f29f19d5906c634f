"""A load's progress in a terminal: rows, MB/s, and the remaining time if the total is known. It needs rich."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["LoadBar", "load_bar"]


class LoadBar:
    """The ``progress=`` of a load that drives one line of a rich progress display."""

    def __init__(self, display: Progress, name: str) -> None:
        self._display = display
        self._name = name
        self._task: TaskID = display.add_task(name, total=None, speed="")
        self._phase = ""
        self._began = time.monotonic()
        self._bytes_a_row: float | None = None

    def begin(self, phase: str, rows: int | None, size: int | None) -> None:
        """Begin a phase, with the total of rows and bytes if they are known."""
        self._phase, self._began = phase, time.monotonic()
        self._bytes_a_row = size / rows if rows and size else None
        self._display.reset(self._task, total=rows, completed=0, description=f"{self._name}: {phase}", speed="")

    def __call__(self, phase: str, rows: int) -> None:
        """Show how many rows of a phase are done."""
        if phase != self._phase:
            self.begin(phase, None, None)
        seconds = time.monotonic() - self._began
        speed = ""
        if rows and seconds > 0:
            many = self._bytes_a_row
            speed = f"{rows / seconds:,.0f} rows/s" if many is None else f"{rows * many / seconds / 1e6:,.1f} MB/s"
        self._display.update(self._task, completed=rows, speed=speed)


@contextmanager
def load_bar(console: Console, name: str) -> Iterator[LoadBar]:
    """Show a bar during the block; nothing if the console is not a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,} rows"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        yield LoadBar(display, name)
