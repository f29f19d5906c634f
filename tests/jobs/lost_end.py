"""Loads whose end is lost: the rows are committed, then the task dies before it can say so.

An orchestrator's process imports it, in which no other module of the tests is. ``LOST_END`` says how the first load ends:
``raise``, ``kill`` (of its process) or not at all. ``LOST_END_IDS`` names the file that the batch ids are written to.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from gpwarehouse import Warehouse

_load_file = Warehouse.load_file


def load_file(self: Warehouse, path: Path, **options: Any) -> Any:
    """Load, note the id, and end as it is told."""
    result = _load_file(self, path, **options)
    file = Path(os.environ["LOST_END_IDS"])
    with file.open("a") as ids:
        ids.write(f"{options['batch_id']}\n")
    how = os.environ.get("LOST_END")
    if how and _is_first(file.with_suffix(".lost")):
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ConnectionError("the end of the load is lost")
    return result


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


Warehouse.load_file = load_file  # type: ignore[method-assign]
