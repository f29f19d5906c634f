"""Small STDF files for the tests of this folder."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from gpwarehouse.models.parameter_sets import Parameter
from gpwarehouse.sources import open_source
from gpwarehouse.sources.stdf import FACT_SCHEMA, StdfSource
from gpwarehouse.sources.stdf_given import GIVEN
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
    """Rows, with parsed JSON and ``values`` by name of the parameter, and the exhausted source."""
    source = open_source(path, **options) if options.keys() <= OPEN_OPTIONS else StdfSource(path, **options)
    assert isinstance(source, StdfSource)
    rows = pa.Table.from_batches(list(source.batches()), FACT_SCHEMA).to_pylist()
    for row in rows:
        for name in ("parameters", "own_limits"):
            row[name] = json.loads(row[name]) if row[name] is not None else None
        row["values"] = values_of(row, source)
    return rows, source


OPEN_OPTIONS = {"timezone", "test_type", "source_file", "allow_incomplete", "defaults", *GIVEN}


def names_of(row: dict[str, Any], source: StdfSource) -> list[str]:
    """The names of a row's list, in order."""
    key = row["parameter_set_key"]
    return [entry.name for entry in source.parameter_sets()[key].parameters] if key is not None else []


def values_of(row: dict[str, Any], source: StdfSource) -> dict[str, float]:
    """The row's values by the names of its list."""
    pairs = zip(names_of(row, source), row["measured"] or [], strict=True)
    return {name: value for name, value in pairs if not math.isnan(value)}


def verdicts_of(row: dict[str, Any], source: StdfSource) -> dict[str, str]:
    """The row's verdicts by the names of its list, without those that were not executed."""
    found = {n: letter for n, letter in zip(names_of(row, source), row["verdicts"] or "", strict=True) if letter != "-"}
    positions = [place for place, letter in enumerate(row["verdicts"] or "", start=1) if letter == "F"]
    assert (row["failed"] or []) == positions
    return found


def parameters_of(source: StdfSource) -> dict[str, Parameter]:
    """The parameters of a file's list by name."""
    return {entry.name: entry for one in source.parameter_sets().values() for entry in one.parameters}


def limits_of(source: StdfSource) -> dict[str, dict[str, Any]]:
    """Unit and limits of each parameter, without what it has not."""
    fields = ("unit", "lsl", "usl")
    return {
        name: {field: getattr(entry, field) for field in fields if getattr(entry, field) is not None}
        for name, entry in parameters_of(source).items()
    }


def step(source: StdfSource) -> dict[str, Any]:
    return source.members()["dim_process_step"][0]
