"""The last message of a server that ended a COPY."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

__all__ = ["last_message_kept"]

_guard = threading.Lock()
_here = threading.local()
_open = 0
_before: Any = None


@contextmanager
def last_message_kept() -> Iterator[None]:
    """Around a COPY: raise the reason for which the server ended it, not only that the connection was lost.

    If a server ends a COPY and then the connection (the disk is full, an administrator ended the session), psycopg2 2.9 gets two
    errors. It prints the first, through ``sys.excepthook``, as the cause of a SystemError, and raises the second.
    """
    said: list[psycopg2.Error] = []
    outer = getattr(_here, "said", None)
    _here.said = said
    _listen()
    try:
        yield
    except psycopg2.Error as error:
        if said:
            raise said[0] from error
        raise
    finally:
        _here.said = outer
        _listen_no_more()


def _listen() -> None:
    global _open, _before
    with _guard:
        if _open == 0:
            _before, sys.excepthook = sys.excepthook, _hear
        _open += 1


def _listen_no_more() -> None:
    global _open
    with _guard:
        _open -= 1
        if _open == 0 and sys.excepthook is _hear:
            sys.excepthook = _before


def _hear(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    said: list[psycopg2.Error] | None = getattr(_here, "said", None)
    cause = error.__cause__
    if said is not None and isinstance(error, SystemError) and isinstance(cause, psycopg2.Error):
        said.append(cause)
    else:
        _before(kind, error, trace)
