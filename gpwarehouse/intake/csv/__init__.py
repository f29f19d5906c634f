"""CSV files → Arrow record batches, exactly, or refused with the line and what helps."""

from gpwarehouse.intake.csv.options import CsvOptions
from gpwarehouse.intake.csv.reader import csv_batches

__all__ = ["CsvOptions", "csv_batches"]
