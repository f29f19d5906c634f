"""Load frames and files into facts: check rows, resolve keys, make months and members, COPY; each batch once."""

from gpwarehouse.engine.progress import Progress
from gpwarehouse.intake.csv import CsvOptions
from gpwarehouse.intake.first_pass import Source
from gpwarehouse.intake.folders import files_to_load
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.intake.load_options import LoadKeywords, LoadOptions, OnConflict
from gpwarehouse.intake.rejects import Reject
from gpwarehouse.intake.table_files import files_named, table_files
from gpwarehouse.intake.target import Target, target_named
from gpwarehouse.load.delete import Deleted, Deleter
from gpwarehouse.load.loader import Loader
from gpwarehouse.load.maintenance import Optimized, optimize
from gpwarehouse.load.rejects import csv_of_rejects, rejects_as_given, require_batch
from gpwarehouse.load.reload_rejects import Corrected, reload_rejects
from gpwarehouse.load.replace_month import MonthSource, ReplaceMonth
from gpwarehouse.load.report import FileOutcome, FilesReport
from gpwarehouse.load.result import LoadResult
from gpwarehouse.load.upsert import KeySource, Upsert

__all__ = [
    "Corrected",
    "CsvOptions",
    "Deleted",
    "Deleter",
    "FileOutcome",
    "FilesReport",
    "FrameSource",
    "KeySource",
    "LoadKeywords",
    "LoadOptions",
    "LoadResult",
    "Loader",
    "MonthSource",
    "OnConflict",
    "Optimized",
    "Progress",
    "Reject",
    "ReplaceMonth",
    "Source",
    "Target",
    "Upsert",
    "csv_of_rejects",
    "files_named",
    "files_to_load",
    "optimize",
    "rejects_as_given",
    "reload_rejects",
    "require_batch",
    "table_files",
    "target_named",
]
