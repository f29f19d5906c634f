"""The same query by COPY, and by a cursor, as what COPY does not take is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from gpwarehouse.read import statement

__all__ = ["WAYS", "by_cursor"]


@contextmanager
def by_cursor() -> Iterator[None]:
    """In the block queries are read as EXPLAIN and SHOW are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "_QUERIES", frozenset())
        yield


WAYS = (nullcontext, by_cursor)
