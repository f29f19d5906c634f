"""Which row a line of COPY is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["row_of_line"]


def row_of_line(batches: Iterable[pa.RecordBatch], line: int) -> dict[str, Any] | None:
    """The row that a server means by a line of COPY: it counts the line feeds inside texts too."""
    passed = 0
    for batch in batches:
        lines = np.ones(batch.num_rows, np.int64)
        for array in batch.columns:
            if pa.types.is_string(array.type):
                lines += np.asarray(pc.fill_null(pc.count_substring(array, "\n"), 0))
        ends = passed + np.cumsum(lines)
        if batch.num_rows and line <= ends[-1]:
            return dict(batch.slice(int(np.searchsorted(ends, line)), 1).to_pylist()[0])
        passed += int(lines.sum())
    return None
