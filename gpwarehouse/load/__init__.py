"""Frames and files → rows: validate, resolve keys, make months and members, COPY, once."""

from gpwarehouse.load.again import Corrected, RejectLoader, csv_of_rejects, rejects_as_given, require_batch
from gpwarehouse.load.csv import CsvOptions
from gpwarehouse.load.files import files_named, table_files
from gpwarehouse.load.folders import files_to_load
from gpwarehouse.load.loader import FrameSource, Loader, Source
from gpwarehouse.load.options import LoadOptions, OnConflict, Progress
from gpwarehouse.load.report import FileOutcome, FilesReport
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.target import Target, target_named
from gpwarehouse.load.validate import Reject

__all__ = [
    "Corrected",
    "CsvOptions",
    "FileOutcome",
    "FilesReport",
    "FrameSource",
    "LoadOptions",
    "LoadResult",
    "Loader",
    "OnConflict",
    "Progress",
    "Reject",
    "RejectLoader",
    "Source",
    "Target",
    "csv_of_rejects",
    "files_named",
    "files_to_load",
    "rejects_as_given",
    "require_batch",
    "table_files",
    "target_named",
]
