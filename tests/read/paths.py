"""The same query by COPY, run as what COPY does not take, and by a cursor of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from gpwarehouse.read import frames, statement
from gpwarehouse.read.query import Stream

__all__ = ["WAYS", "by_result", "by_server_cursor"]


@contextmanager
def by_result() -> Iterator[None]:
    """In the block queries are read as EXPLAIN and SHOW are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "_QUERIES", frozenset())
        yield


@contextmanager
def by_server_cursor() -> Iterator[None]:
    """In the block queries are read with ``transport="cursor"``, unless they say another."""
    with pytest.MonkeyPatch.context() as patch:
        for function in (frames.read, Stream.__init__):
            patch.setitem(function.__kwdefaults__, "transport", "cursor")
        yield


WAYS = (nullcontext, by_result, by_server_cursor)
