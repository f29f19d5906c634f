"""What was loaded, taken out or replaced in bulk: batches, months."""

from gpwarehouse.reprocess.bykey import KeyLoader, KeySource
from gpwarehouse.reprocess.deleting import Deleted, Deleter
from gpwarehouse.reprocess.replacing import MonthLoader, MonthSource

__all__ = ["Deleted", "Deleter", "KeyLoader", "KeySource", "MonthLoader", "MonthSource"]
