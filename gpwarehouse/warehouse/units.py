"""Units of work that are repeated where that is safe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.warehouse.base import Connected

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gpwarehouse.engine import Settled

__all__ = ["Units"]

P = ParamSpec("P")
Result = TypeVar("Result")


class Units(Connected):
    """Run, retrying, attempts: a unit of work from BEGIN to COMMIT, again after errors that are safe to repeat.

    Safe are: the connection lost, serialization failure, deadlock, a server that is going down, starting or full, a segment
    lost. A unit whose COMMIT was under way when the connection was lost may have gone through: it is repeated only if
    ``settled=`` is given, a check that looks in a session of its own and says whether the work is there.
    """

    def run(
        self,
        work: Callable[[Session], Result],
        *,
        settled: Settled | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> Result:
        """Call ``work`` with a session and commit; again where that is safe.

        :param work: must do nothing outside the session that may not be done twice.
        :param deadline_s: seconds after which no attempt begins any more; else ``retry_deadline_s`` of the settings.
        :param options: of the session, as for :meth:`session`.
        :return: what ``work`` returned.
        :raises InvalidInputError: ``work`` is a coroutine or a generator, which does nothing when it is called.
        :raises AmbiguousCommitError: the COMMIT may have gone through, and there is no ``settled`` to look.
        """
        results: list[Result] = []
        name = getattr(work, "__qualname__", type(work).__name__)
        policy = RetryPolicy.of(self.settings, deadline_s)
        for attempt in policy.units(self.engine, name, settled=settled, options=options):
            with attempt as session:
                results.append(_done(work(session), name))
        return results[-1]

    def retrying(
        self, *, settled: Settled | None = None, deadline_s: float | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Session, P], Result]], Callable[P, Result]]:
        """A decorator: the function is given a session first, and is run as :meth:`run` does.

        >>> @wh.retrying()                                                          # doctest: +SKIP
        ... def close_lot(session, lot_id): ...
        >>> close_lot("A123.1")                                                     # doctest: +SKIP
        """

        def decorate(function: Callable[Concatenate[Session, P], Result]) -> Callable[P, Result]:
            @wraps(function)
            def repeated(*args: P.args, **kwargs: P.kwargs) -> Result:
                @wraps(function)
                def work(session: Session) -> Result:
                    return function(session, *args, **kwargs)

                return self.run(work, settled=settled, deadline_s=deadline_s, **options)

            return repeated

        return decorate

    def attempts(
        self, *, settled: Settled | None = None, deadline_s: float | None = None, **options: Any
    ) -> Iterator[AbstractContextManager[Session]]:
        """The same for a block: ``for attempt in wh.attempts(): with attempt as session: …``."""
        policy = RetryPolicy.of(self.settings, deadline_s)
        return policy.units(self.engine, settled=settled, options=options)


def _done(result: Result, name: str) -> Result:
    if isinstance(result, Awaitable | Generator):
        if isinstance(result, Coroutine | Generator):
            result.close()
        raise InvalidInputError(
            f"{name} is a coroutine or a generator, which would run after its transaction; give a plain function (from "
            "asyncio: await asyncio.to_thread(wh.run, work))"
        )
    return result
