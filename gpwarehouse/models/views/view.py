"""A view: its name, its text, and the meaning of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent, indent

__all__ = ["View", "compose"]


@dataclass(frozen=True)
class View:
    """A view of the warehouse.

    :ivar body: its SELECT; ``{schema}`` stands for the schema of the view and its tables. One text for every server,
        so nothing newer than PostgreSQL 9.4 (Greenplum 6).
    :ivar columns: column → comment, in the view's order.
    :ivar reads: tables and views it reads.
    """

    name: str
    body: str
    comment: str
    columns: Mapping[str, str]
    reads: tuple[str, ...]


def compose(template: str, /, **parts: str) -> str:
    """The template with each ``<<part>>`` put in, indented like the line it stands alone on."""
    lines: list[str] = []
    for line in dedent(template).strip().splitlines():
        word = line.strip()
        if word.startswith("<<") and word.endswith(">>") and word[2:-2] in parts:
            lines.append(indent(dedent(parts[word[2:-2]]).strip(), line[: len(line) - len(line.lstrip())]))
            continue
        for name, part in parts.items():
            line = line.replace(f"<<{name}>>", part)
        lines.append(line)
    return "\n".join(lines)


WAFER_COLUMNS = {
    "wafer_key": "Wafer (dim_wafer)",
    "root_lot_id": "Lot the wafer was started in",
    "wafer_id": "Wafer in its root lot",
    "lot_key": "Lot at the event (dim_lot)",
    "lot_id": "Lot at the event",
}
"""Comments of the columns that name a wafer and its lot, in the order the views have them."""

STEP_COLUMNS = {
    "process_step_key": "Step (dim_process_step)",
    "process_flow_id": "Process flow, or test program",
    "flow_version": "Version of the flow",
    "step_number": "Step of the flow, or test stage",
    "step_name": "Name of the step",
}
"""Comments of the columns that name a step."""
