"""A frame, or files of tables, as the source of a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from gpwarehouse.intake.expected_columns import expected_of
from gpwarehouse.intake.frames import BATCH_ROWS, bytes_of, record_batches
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.intake.table_files import TableFiles, table_files
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["FrameSource"]


@dataclass
class FrameSource:
    """A frame as a source: it has rows, and knows nothing of their members.

    :ivar constants: columns with one value for all rows, besides those of the frame.
    """

    frame: Any
    target: str
    source_system: str = "FRAME"
    source_file: str = ""
    checksum: str | None = None
    batch_rows: int = BATCH_ROWS
    constants: Mapping[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("source_system", self.source_system)
        self.frame = table_files(self.frame)
        if isinstance(self.frame, TableFiles) and not self.source_file:
            self.source_file = self.frame.paths[0].name if len(self.frame.paths) == 1 else ""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The frame in record batches."""
        target = self.row_target()
        expected = expected_of(target, constants=self.constants)
        for batch in record_batches(self.frame, target.json_columns, expected, rows=self.batch_rows):
            for name, moment in self.constants.items():
                batch = batch.append_column(name, pa.repeat(pa.scalar(moment, TIMESTAMP), batch.num_rows))
            yield batch
            del batch  # it may be large

    def row_target(self) -> Target:
        """The target that the rows are checked against."""
        return target_named(self.target)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """A frame has none."""
        return {}

    def warnings(self) -> Sequence[str]:
        """A frame has none."""
        return ()

    def extent(self) -> tuple[int | None, int | None]:
        """Rows and bytes, as far as they are known without reading the frame."""
        if isinstance(self.frame, TableFiles):
            return self.frame.extent()
        rows = len(self.frame) if hasattr(self.frame, "__len__") else None
        return rows, bytes_of(self.frame)
