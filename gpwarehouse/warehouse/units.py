"""Units of work, which are repeated if that is safe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.warehouse.connected import Connected

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gpwarehouse.engine import Settled

__all__ = ["run"]

Result = TypeVar("Result")


def run(
    connected: Connected,
    work: Callable[[Session], Result],
    settled: Settled | None,
    deadline_s: float | None,
    options: dict[str, Any],
) -> Result:
    """:meth:`gpwarehouse.Warehouse.run`."""
    results: list[Result] = []
    name = getattr(work, "__qualname__", type(work).__name__)
    policy = RetryPolicy.of(connected.settings, deadline_s)
    for attempt in policy.units(connected.engine, name, settled=settled, options=options):
        with attempt as session:
            results.append(_require_result(work(session), name))
    return results[-1]


def _require_result(result: Result, name: str) -> Result:
    if isinstance(result, Awaitable | Generator):
        if isinstance(result, Coroutine | Generator):
            result.close()
        raise InvalidInputError(
            f"{name} is a coroutine or a generator, which would run after its transaction; give an ordinary function (from "
            "asyncio: await asyncio.to_thread(wh.run, work))"
        )
    return result
