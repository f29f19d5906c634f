"""Which unit an insertion tested, in SQL.

A wafer's die is known by its coordinates. A packaged part is known by its 2D code or part text (``unit_id``): its coordinates
may be read from fuses, or be zeros. Where it has none, it is known by the counter of its file, sublot, head and site, and a
retest in another file, which counts its parts anew, tests units that cannot be told.
"""

from __future__ import annotations

__all__ = ["DIE", "PART", "RETESTS_UNKNOWN"]

DIE = "f.unit_id IS NULL AND f.die_x IS NOT NULL AND f.die_y IS NOT NULL AND f.test_type IS DISTINCT FROM 'FT'"
"""Whether the unit is a die that its coordinates name."""

PART = (
    f"CASE WHEN f.unit_id IS NOT NULL THEN f.unit_id WHEN {DIE} THEN NULL\n"
    "     ELSE chr(31) || f.batch_id || chr(31) || coalesce(f.sublot_id, '') || chr(31)\n"
    "          || coalesce(CAST(f.head_no AS text), '') || chr(31) || coalesce(CAST(f.site_no AS text), '') || chr(31)\n"
    "          || coalesce(f.part_id, chr(31) || CAST(f.source_record_no AS text)) END"
)
"""What names the unit within its wafer or lot where it is no die; NULL of a die."""

RETESTS_UNKNOWN = f"f.retest_of_bins IS NOT NULL AND f.unit_id IS NULL AND NOT ({DIE})"
"""Whether it tests a unit of another file again, and nothing tells which."""
