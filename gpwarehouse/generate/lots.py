"""The life of a lot: its way through the route, splits, merges and reworks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gpwarehouse.generate.plan import TOOLS, Product, Settings, Step, Tool, products, route, stream

__all__ = ["Event", "Lot", "Stay", "Visit"]

END = float("inf")


@dataclass(frozen=True)
class Visit:
    """A lot, or part of one, at a step. Times are seconds since the fab's start. The wafers follow each other.

    :ivar number: number of the visit in its lot; it seeds the visit's random numbers.
    """

    number: int
    lot_id: str
    wafers: tuple[int, ...]
    step: Step
    tool: Tool
    start_s: float
    queue_s: float
    visit_no: int = 1

    @property
    def end_s(self) -> float:
        """When its last wafer is done."""
        return self.start_s + len(self.wafers) * self.step.wafer_s


@dataclass(frozen=True)
class Event:
    """A split or merge."""

    parent: str
    child: str
    kind: str
    at_s: float
    wafers: int


@dataclass(frozen=True)
class Stay:
    """A wafer in a lot; ``to_s`` is infinite while the wafer is there."""

    wafer: int
    lot_id: str
    from_s: float
    to_s: float


@dataclass
class Lot:
    """A lot, given by its number from 0. Everything about it follows from seed and number.

    :ivar must_use: group → tool that every visit of this lot uses.
    """

    settings: Settings
    number: int
    must_use: dict[str, Tool] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list, init=False)
    _stays: list[Stay] = field(default_factory=list, init=False)

    @property
    def lot_id(self) -> str:
        """Its name; its parts are named ``….01`` and ``….02``."""
        return f"{self.settings.prefix}{self.number + 1:05d}"

    @cached_property
    def product(self) -> Product:
        """Its product: the lots use the products in turn."""
        every = products(self.settings)
        return every[self.number % len(every)]

    @property
    def start_s(self) -> float:
        """When it is started."""
        return self.number * self.settings.lot_interval_h * 3600

    @cached_property
    def visits(self) -> tuple[Visit, ...]:
        """All visits. They also record the events and stays."""
        return tuple(self._walk())

    @property
    def events(self) -> list[Event]:
        """Its splits and merges."""
        return self._events if self.visits else []

    @property
    def stays(self) -> list[Stay]:
        """Which of its wafers was in which part of it when."""
        return self._stays if self.visits else []

    def wafer_lots(self) -> dict[int, str]:
        """Wafer → the lot that it is in at the end."""
        return {stay.wafer: stay.lot_id for stay in self.stays if stay.to_s == END}

    @property
    def end_s(self) -> float:
        """When its last visit is over."""
        return max(visit.end_s for visit in self.visits)

    def _walk(self) -> Iterator[Visit]:
        rng = stream(self.settings.seed, "lot", self.number)
        steps, every = route(self.settings), tuple(range(1, self.settings.wafers + 1))
        counter = _Counter()
        splits = rng.random() < self.settings.split_share and len(every) >= 3
        half, late = len(steps) // 2, max(len(steps) // 2 + 1, 3 * len(steps) // 4)
        if not splits:
            yield from self._go(rng, counter, self.lot_id, every, steps, self.start_s)
            self._stay(every, self.lot_id, self.start_s, END)
            return
        yield from self._go(rng, counter, self.lot_id, every, steps[:half], self.start_s)
        split_s, third = counter.at_s + 60, len(every) // 3
        kept, first, second = every[: -2 * third], every[-2 * third : -third], every[-third:]
        names = [f"{self.lot_id}.{n:02d}" for n in (1, 2)]
        self._events += [Event(self.lot_id, name, "SPLIT", split_s, third) for name in names]
        yield from self._go(rng, counter, self.lot_id, kept, steps[half:], split_s)
        ends = []
        for name, wafers in zip(names, (first, second), strict=True):
            yield from self._go(rng, counter, name, wafers, steps[half:late], split_s)
            ends.append(counter.at_s)
        merge_s = max(ends) + 60
        self._events.append(Event(names[1], names[0], "MERGE", merge_s, third))
        yield from self._go(rng, counter, names[0], first + second, steps[late:], merge_s)
        self._stay(every, self.lot_id, self.start_s, split_s)
        self._stay(kept, self.lot_id, split_s, END)
        self._stay(first, names[0], split_s, END)
        self._stay(second, names[1], split_s, merge_s)
        self._stay(second, names[0], merge_s, END)

    def _stay(self, wafers: tuple[int, ...], lot_id: str, from_s: float, to_s: float) -> None:
        """Record a stay. A stay that continues in the same lot is extended."""
        for wafer in wafers:
            before = next((s for s in self._stays if (s.wafer, s.lot_id, s.to_s) == (wafer, lot_id, from_s)), None)
            if before is not None:
                self._stays.remove(before)
            self._stays.append(Stay(wafer, lot_id, from_s if before is None else before.from_s, to_s))

    def _go(
        self,
        rng: np.random.Generator,
        counter: _Counter,
        lot_id: str,
        wafers: tuple[int, ...],
        steps: tuple[Step, ...],
        at_s: float,
    ) -> Iterator[Visit]:
        counter.at_s = at_s
        for place, step in enumerate(steps):
            yield self._visit(rng, counter, lot_id, wafers, step)
            reworked = step.kind == "CD" and place > 0 and rng.random() < self.settings.rework_share
            if reworked:  # lithography is done again, and its result is measured again
                for again in (steps[place - 1], step):
                    yield self._visit(rng, counter, lot_id, wafers, again, visit_no=2)

    def _visit(
        self,
        rng: np.random.Generator,
        counter: _Counter,
        lot_id: str,
        wafers: tuple[int, ...],
        step: Step,
        visit_no: int = 1,
    ) -> Visit:
        queue_s = float(np.round(rng.exponential(1800), 3))
        tools = TOOLS[step.group]
        tool = self.must_use.get(step.group, tools[int(rng.integers(len(tools)))])
        visit = Visit(counter.number, lot_id, wafers, step, tool, counter.at_s + queue_s, queue_s, visit_no)
        counter.number, counter.at_s = counter.number + 1, visit.end_s
        return visit


@dataclass
class _Counter:
    """The number of the next visit, and the time that a part of the lot has reached."""

    number: int = 0
    at_s: float = 0.0
