"""What the warehouse's tables hold: rows, size, months, skew, statistics."""

from gpwarehouse.tables.sizes import TableStats, list_tables, table_stats

__all__ = ["TableStats", "list_tables", "table_stats"]
