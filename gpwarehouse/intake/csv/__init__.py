"""Read CSV files as Arrow record batches, exactly, or refuse them with the line and the way out."""

from gpwarehouse.intake.csv.options import CsvOptions
from gpwarehouse.intake.csv.reader import csv_batches

__all__ = ["CsvOptions", "csv_batches"]
