"""Small STDF files for the tests of this folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from gpwarehouse.sources.stdf import StdfSource
from gpwarehouse.sources.stdf_writer import StdfWriter

T0 = 1_700_000_000  # 2023-11-14 22:13:20 UTC

MIR = {
    "lot_id": "LOT7.1",
    "part_typ": "CHIP",
    "node_nam": "T-01",
    "job_nam": "PROG",
    "job_rev": "3",
    "test_cod": "CP1",
    "facil_id": "FAB1",
}


def stdf_bytes(
    fill: Callable[[StdfWriter], None],
    order: Literal["<", ">"] = "<",
    mrr: bool = True,
    numbers: dict[str, Any] | None = None,
    **mir: str,
) -> bytes:
    """FAR, MIR, whatever ``fill`` writes, MRR."""
    stream = io.BytesIO()
    out = StdfWriter(stream, order)
    out.mir(**({"start_t": T0} | (numbers or {})), **(MIR | mir))
    fill(out)
    if mrr:
        out.mrr(finish_t=T0 + 900)
    return stream.getvalue()


def write(path: Path, fill: Callable[[StdfWriter], None], **options: Any) -> Path:
    path.write_bytes(stdf_bytes(fill, **options))
    return path


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], StdfSource]:
    """Rows with parsed JSON, and the exhausted source."""
    source = StdfSource(path, **options)
    rows = pa.Table.from_batches(list(source.batches())).to_pylist()
    for row in rows:
        for name in ("parameters", "parameter_counts"):
            row[name] = json.loads(row[name]) if row[name] is not None else None
    return rows, source


def step(source: StdfSource) -> dict[str, Any]:
    return source.members()["dim_process_step"][0]
