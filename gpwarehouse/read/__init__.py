"""Run statements and return their rows as frames or files."""

from gpwarehouse.engine.progress import Progress
from gpwarehouse.read.csv_json import json_rows, write_csv, write_json
from gpwarehouse.read.export import ExportResult, export, write_table
from gpwarehouse.read.frames import Chunks, read, to_pandas
from gpwarehouse.read.measured_values import (
    Basis,
    Per,
    Span,
    read_statistics,
    read_values,
    read_wide_values,
    read_yields,
)
from gpwarehouse.read.version_joins import as_of
from gpwarehouse.read.views import view_table

__all__ = [
    "Basis",
    "Chunks",
    "ExportResult",
    "Per",
    "Progress",
    "Span",
    "as_of",
    "export",
    "json_rows",
    "read",
    "read_statistics",
    "read_values",
    "read_wide_values",
    "read_yields",
    "to_pandas",
    "view_table",
    "write_csv",
    "write_json",
    "write_table",
]
