"""What the warehouse's tables hold: rows, size, months, skew, statistics."""

from gpwarehouse.tables.sizes import TableStats, list_tables, table_stats
from gpwarehouse.tables.skew_and_bloat import measure_bloat, measure_skew

__all__ = ["TableStats", "list_tables", "measure_bloat", "measure_skew", "table_stats"]
