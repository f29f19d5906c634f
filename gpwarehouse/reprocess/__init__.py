"""What was loaded, taken out or replaced in bulk: batches, months."""

from gpwarehouse.reprocess.deleting import Deleted, Deleter
from gpwarehouse.reprocess.replacing import MonthLoader, MonthSource

__all__ = ["Deleted", "Deleter", "MonthLoader", "MonthSource"]
