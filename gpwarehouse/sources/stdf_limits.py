"""Limits, units and names per test, in the form of ``dim_process_step.control_limits``.

STDF V4, "PTR": the first record of a test number sets the defaults. Later records may omit the fields or mark them as not
valid; then those of the first record apply. So one set of limits per test number and program is kept: that of the first record
that has limits. The pass/fail limits (LO_LIMIT, HI_LIMIT) become ``lsl`` and ``usl``, because they decide the bin. The
specification limits, if there are any, become ``lo_spec`` and ``hi_spec``. RESULT, limits and UNITS are all in the base unit
(``v``, ``a``; ``%`` with RES_SCAL 2 is a fraction). RES_SCAL, LLM_SCAL and HLM_SCAL only say how to *print* them, so no value
is scaled here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpwarehouse.sources.stdf_records import Header, tidy

__all__ = ["LimitBook", "flag_bytes", "shortest"]

# PTR and MPR OPT_FLAG (STDF V4): a set bit marks the field as not valid.
NO_LO_SPEC, NO_HI_SPEC = 0x04, 0x08
LO_FROM_FIRST, HI_FROM_FIRST = 0x10, 0x20
NO_LO_LIMIT, NO_HI_LIMIT = 0x40, 0x80


def flag_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Convert a B*1 column to numbers; a missing byte is 0."""
    flags = np.zeros(len(column), dtype=np.uint8)
    at = 0
    for chunk in column.chunks:
        _, ends, data = chunk.buffers()
        size = len(chunk)
        if size and data is not None and data.size:
            offsets = np.frombuffer(ends, dtype=np.int32)[chunk.offset : chunk.offset + size + 1]
            there = offsets[1:] > offsets[:-1]
            flags[at : at + size][there] = np.frombuffer(data, dtype=np.uint8)[offsets[:-1][there]]
        at += size
    return flags


def shortest(value: float | None) -> float | None:
    """The decimal with the fewest digits that is read back as the same float32 (0.1, not 0.10000000149011612)."""
    return None if value is None or not math.isfinite(value) else float(str(np.float32(value)))


@dataclass
class LimitBook:
    """What is known of each test, collected as the records pass."""

    first: dict[int, dict[str, Any]] = field(default_factory=dict)
    pins: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    changed: dict[str, set[int]] = field(default_factory=dict)
    crossed: list[int] = field(default_factory=list)

    def see_parametric(self, table: pa.Table, pins: bool) -> None:
        """Collect limits and names from PTR records, or with ``pins`` from MPR records."""
        tests = table["TEST_NUM"].to_numpy()
        self._see_names(table, tests)
        carries = ~table["OPT_FLAG"].is_null().to_numpy()
        numbers, at = np.unique(tests[carries], return_index=True)
        rows = np.flatnonzero(carries)[at]
        fresh = [(int(n), int(r)) for n, r in zip(numbers, rows, strict=True) if int(n) not in self.first]
        if fresh:
            columns = ["OPT_FLAG", "LO_LIMIT", "HI_LIMIT", "LO_SPEC", "HI_SPEC", "UNITS"]
            found = table.select(columns).take([row for _, row in fresh]).to_pylist()
            for (number, _), row in zip(fresh, found, strict=True):
                self.first[number] = _read_limits(row)
                if _remove_crossed(self.first[number]):
                    self.crossed.append(number)
        if len(numbers):
            self._see_changes(table, tests, carries, numbers)
        if pins:
            for number, count in zip(tests.tolist(), table["RSLT_CNT"].to_pylist(), strict=True):
                self.pins[number] = max(count, self.pins.get(number, 0))

    def see_functional(self, table: pa.Table) -> None:
        """Collect names from FTR records."""
        self._see_names(table, table["TEST_NUM"].to_numpy())

    def _see_names(self, table: pa.Table, tests: npt.NDArray[np.uint32]) -> None:
        numbers, rows = np.unique(tests, return_index=True)
        fresh = [(int(n), int(r)) for n, r in zip(numbers, rows, strict=True) if int(n) not in self.names]
        texts = table["TEST_TXT"].take(pa.array([row for _, row in fresh], pa.int64())).to_pylist()
        self.names.update({number: tidy(text) or "" for (number, _), text in zip(fresh, texts, strict=True)})

    def _see_changes(
        self,
        table: pa.Table,
        tests: npt.NDArray[np.uint32],
        carries: npt.NDArray[np.bool_],
        numbers: npt.NDArray[np.uint32],
    ) -> None:
        flags = flag_bytes(table["OPT_FLAG"].filter(pa.array(carries)))
        at = np.searchsorted(numbers, tests[carries])
        for column, key, gone in (
            ("LO_LIMIT", "lsl", NO_LO_LIMIT | LO_FROM_FIRST),
            ("HI_LIMIT", "usl", NO_HI_LIMIT | HI_FROM_FIRST),
        ):
            known = np.array([self.first[int(n)]["raw"].get(key, np.nan) for n in numbers], dtype=np.float32)
            value = table[column].to_numpy()[carries].astype(np.float32)
            differs = ((flags & gone) == 0) & ~np.isnan(value) & (value != known[at])
            self.changed.setdefault(column, set()).update(tests[carries][differs].tolist())

    def warnings(self) -> list[str]:
        """What is not kept of the limits, one sentence each."""
        told = [
            f"{column} of {len(tests)} tests changes within the file ({_name_some(tests)}); "
            "control_limits has that of the first record"
            for column, tests in self.changed.items()
            if tests
        ]
        if self.crossed:
            told.append(
                f"the low limit of {len(self.crossed)} tests is above the high one "
                f"({_name_some(self.crossed)}); they are left out"
            )
        return told

    def control_limits(self, header: Header) -> dict[str, dict[str, Any]]:
        """Parameter key (as in ``fact_test_results.parameters``) → name, unit, lsl, usl, lo_spec, hi_spec."""
        entries: dict[str, dict[str, Any]] = {}
        for number in sorted(self.names.keys() | self.first.keys()):
            entry: dict[str, Any] = {}
            if name := self.names.get(number) or header.test_names.get(number):
                entry["name"] = name
            entry |= {key: value for key, value in self.first.get(number, {}).items() if key != "raw"}
            if number not in self.pins:
                entries[str(number)] = entry
            for pin in range(1, self.pins.get(number, 0) + 1):
                entries[f"{number}:{pin}"] = dict(entry)
        return entries


def _read_limits(row: dict[str, Any]) -> dict[str, Any]:
    flag = row["OPT_FLAG"][0] if row["OPT_FLAG"] else 0
    fields = (
        ("lsl", "LO_LIMIT", NO_LO_LIMIT | LO_FROM_FIRST),
        ("usl", "HI_LIMIT", NO_HI_LIMIT | HI_FROM_FIRST),
        ("lo_spec", "LO_SPEC", NO_LO_SPEC),
        ("hi_spec", "HI_SPEC", NO_HI_SPEC),
    )
    raw = {key: row[column] for key, column, gone in fields if not flag & gone and row[column] is not None}
    found: dict[str, Any] = {"raw": raw}
    if unit := tidy(row["UNITS"]):
        found["unit"] = unit
    found |= {key: value for key in raw if (value := shortest(raw[key])) is not None}
    return found


def _remove_crossed(limits: dict[str, Any]) -> bool:
    """Remove limits that do not form an interval; return whether there were any."""
    crossed = "lsl" in limits and "usl" in limits and bool(limits["lsl"] > limits["usl"])
    if crossed:
        del limits["lsl"], limits["usl"]
    return crossed


def _name_some(tests: Iterable[int]) -> str:
    numbers = sorted(tests)
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
