"""Where things are in the source tree."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).parents[1]
GOLDEN = TREE / "tests" / "golden"
