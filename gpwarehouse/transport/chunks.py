"""Split rows into tables of another size."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import pyarrow as pa

__all__ = ["rechunk"]


def rechunk(tables: Iterable[pa.Table], rows: int) -> Generator[pa.Table, None, None]:
    """Yield the same rows in tables of ``rows`` rows; the last one has fewer."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count < rows:
            continue
        whole = pa.concat_tables(waiting)
        full = count - count % rows
        for start in range(0, full, rows):
            yield whole.slice(start, rows)
        waiting, count = [whole.slice(full)], count - full
    if count:
        yield pa.concat_tables(waiting)
