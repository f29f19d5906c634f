"""CSV files → Arrow record batches, exactly, or refused with the line and what helps."""

from gpwarehouse.load.csv.options import CsvOptions
from gpwarehouse.load.csv.reader import csv_batches

__all__ = ["CsvOptions", "csv_batches"]
