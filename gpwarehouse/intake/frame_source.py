"""A frame, or files of tables, as the source of a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from gpwarehouse.intake.expected_columns import expected_of
from gpwarehouse.intake.frames import BATCH_ROWS, bytes_of, record_batches
from gpwarehouse.intake.load_options import check_name, check_parameters
from gpwarehouse.intake.measured_values import ParameterSets
from gpwarehouse.intake.parameter_columns import ParameterColumns
from gpwarehouse.intake.table_files import TableFiles, table_files
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.sources.value_counts import ValueCounts
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["FrameSource"]


@dataclass
class FrameSource:
    """A frame as a source: it has rows, and knows nothing of their members.

    :ivar constants: columns with one value for all rows, besides those of the frame.
    :ivar parameter_names: names of the elements of ``measured``.
    :ivar parameter_prefix: beginning of the names of columns that hold values.
    :ivar made_sets: the lists of parameters that are made of the frame's names.
    """

    frame: Any
    target: str
    source_system: str = "FRAME"
    source_file: str = ""
    checksum: str | None = None
    batch_rows: int = BATCH_ROWS
    constants: Mapping[str, datetime] = field(default_factory=dict)
    parameter_names: Sequence[str] | None = None
    parameter_prefix: str | None = None
    made_sets: ParameterSets = field(default_factory=ParameterSets)

    def __post_init__(self) -> None:
        check_name("source_system", self.source_system)
        check_parameters(self.parameter_names, self.parameter_prefix)
        self.frame = table_files(self.frame)
        if isinstance(self.frame, TableFiles) and not self.source_file:
            self.source_file = self.frame.paths[0].name if len(self.frame.paths) == 1 else ""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The frame in record batches."""
        target = self.row_target()
        names = None if self.parameter_names is None else tuple(self.parameter_names)
        values = ParameterColumns(target, self.made_sets, names, self.parameter_prefix)
        expected = expected_of(target, constants=self.constants, takes=values.takes)
        nested = (target.json_columns, target.list_columns)
        for batch in record_batches(self.frame, nested[0], expected, list_columns=nested[1], rows=self.batch_rows):
            for name, moment in self.constants.items():
                batch = batch.append_column(name, pa.repeat(pa.scalar(moment, TIMESTAMP), batch.num_rows))
            yield from values.convert(batch)
            del batch  # it may be large

    def row_target(self) -> Target:
        """The target that the rows are checked against."""
        return target_named(self.target)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """A frame has none."""
        return {}

    def parameter_sets(self) -> Mapping[int, ParameterSet]:
        """The lists that are made of the frame's names so far."""
        return self.made_sets.made

    def values(self) -> ValueCounts:
        """A frame leaves no value out; the loader counts those that it stores."""
        return ValueCounts()

    def warnings(self) -> Sequence[str]:
        """A frame has none."""
        return ()

    def extent(self) -> tuple[int | None, int | None]:
        """Rows and bytes, as far as they are known without reading the frame."""
        if isinstance(self.frame, TableFiles):
            return self.frame.extent()
        rows = len(self.frame) if hasattr(self.frame, "__len__") else None
        return rows, bytes_of(self.frame)
