"""The options of a load, checked before a row is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from gpwarehouse.engine.progress import Progress
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.settings import WarehouseSettings

__all__ = ["LoadKeywords", "LoadOptions", "OnConflict", "check_name", "check_parameters"]

OnConflict = Literal["skip", "error", "append", "replace"]
Analyze = Literal["auto", "always", "never"]
_MOST_CONNECTIONS = 16


class LoadKeywords(TypedDict, total=False):
    """Keywords of every load; see :meth:`gpwarehouse.load.Loader.load`."""

    batch_id: str | None
    on_conflict: OnConflict
    max_rejects: int | float | None
    progress: Progress | None
    parallel: int
    atomic: bool
    analyze: Analyze | None
    parameter_names: Sequence[str] | None
    parameter_prefix: str | None


class _Furthest:
    """The progress that a load has reported: the phases so far, and the rows of the last one."""

    def __init__(self) -> None:
        self._phases: list[str] = []
        self._begun: set[str] = set()
        self._rows = -1
        self._lock = threading.Lock()

    def begins(self, phase: str) -> bool:
        """Whether a phase is begun for the first time."""
        with self._lock:
            begins = phase not in self._begun and phase not in self._phases
            self._begun.add(phase)
            return begins

    def is_passed(self, phase: str, rows: int) -> bool:
        """Whether so many rows in a phase are further than all progress reported before."""
        with self._lock:
            if phase not in self._phases:
                self._phases.append(phase)
            elif phase != self._phases[-1] or rows <= self._rows:
                return False
            self._rows = rows
            return True


@dataclass(frozen=True)
class LoadOptions:
    """The keywords of a load with their defaults.

    :raises InvalidInputError: a value is not allowed, or two options exclude each other.
    """

    batch_id: str | None = None
    on_conflict: OnConflict = "skip"
    max_rejects: int | float | None = None
    progress: Progress | None = None
    parallel: int = 1
    atomic: bool = True
    analyze: Analyze | None = None
    parameter_names: Sequence[str] | None = None
    parameter_prefix: str | None = None
    _furthest: _Furthest = field(default_factory=_Furthest, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.batch_id is not None:
            check_name("batch_id", self.batch_id)
        _check_limit(self.max_rejects)
        check_parameters(self.parameter_names, self.parameter_prefix)
        if isinstance(self.parallel, bool) or not isinstance(self.parallel, int):
            raise InvalidInputError(f"parallel={self.parallel!r}: give a number of connections from 1 to 16")
        if not 1 <= self.parallel <= _MOST_CONNECTIONS:
            raise InvalidInputError(f"parallel={self.parallel!r}: give a number of connections from 1 to 16")
        for name, allowed in (("on_conflict", get_args(OnConflict)), ("analyze", (*get_args(Analyze), None))):
            if getattr(self, name) not in allowed:
                words = ", ".join(map(repr, filter(None, allowed)))
                raise InvalidInputError(f"{name}={getattr(self, name)!r}: the allowed values are {words}")
        if self.on_conflict == "replace" and self.commits_apart:
            raise InvalidInputError(
                "on_conflict='replace' deletes and loads in one transaction, atomic=False loads in several: leave one of them out"
            )

    @property
    def commits_apart(self) -> bool:
        """Whether rows may be committed before the batch is."""
        return self.parallel > 1 and not self.atomic

    def rejects_allowed(self, settings: WarehouseSettings, rows_read: int) -> int:
        """How many of so many rows may be rejected; by default as the settings say."""
        if self.max_rejects is not None:
            settings = settings.model_copy(update={"max_rejects": self.max_rejects})
        return settings.rejects_allowed(rows_read)

    def report(self, phase: str, rows: int) -> None:
        """Report progress to the caller. It never goes back, even if part of the work is done again."""
        if self.progress is not None and self._furthest.is_passed(phase, rows):
            self.progress(phase, rows)

    def begin(self, phase: str, extent: Callable[[], tuple[int | None, int | None]]) -> None:
        """Call the caller's ``begin``, if there is one, with the rows and bytes that are expected."""
        begin = getattr(self.progress, "begin", None)
        if begin is not None and self._furthest.begins(phase):
            begin(phase, *extent())


def check_parameters(names: object, prefix: object) -> None:
    """Refuse names or a prefix of parameters that cannot be any.

    :raises InvalidInputError: they are no texts, there is none, or both are given.
    """
    if names is not None and prefix is not None:
        raise InvalidInputError(
            "parameter_names= names the elements of lists, parameter_prefix= names columns of values: give one of them"
        )
    is_list = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if names is not None and not (is_list and names and all(isinstance(name, str) for name in names)):  # type: ignore[attr-defined]
        raise InvalidInputError(f"parameter_names={names!r}: give a list of texts, one for each element of measured")
    if prefix is not None and not (isinstance(prefix, str) and prefix):
        raise InvalidInputError(f"parameter_prefix={prefix!r}: give the beginning of the columns' names, e.g. 'p_'")


def check_name(name: str, value: object) -> None:
    """Refuse a name of a batch or a system that is empty or that the server could not store.

    :param name: name of the argument, for the message.
    :raises InvalidInputError: it is not a text, is empty or blank, or holds U+0000 or a lone surrogate.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{name}={value!r}: give a text that is not blank, or leave it out")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInputError(
            f"{name}={value!r}: it holds U+0000 or a lone surrogate, which cannot be stored; remove that"
        )


def _check_limit(max_rejects: int | float | None) -> None:
    share = isinstance(max_rejects, float) and 0 <= max_rejects < 1
    count = isinstance(max_rejects, int) and not isinstance(max_rejects, bool) and max_rejects >= 0
    if max_rejects is not None and not share and not count:
        raise InvalidInputError(f"max_rejects={max_rejects!r}: give a number of rows from 0, or a share below 1")
