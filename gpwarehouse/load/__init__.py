"""Frames and files → rows: validate, resolve keys, make months and members, COPY, once."""

from gpwarehouse.load.again import Corrected, RejectLoader, rejects_as_given
from gpwarehouse.load.csv import CsvOptions
from gpwarehouse.load.files import files_named, table_files
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
    "files_named",
    "rejects_as_given",
    "table_files",
    "target_named",
]
