"""Every value of a file is in a row under its own name, or counted as left out: against a plain reading of any file."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdf_help import read, stdf_bytes, verdicts_of

from gpwarehouse.sources import ValueCounts
from gpwarehouse.sources.stdf_writer import StdfWriter

PINS = {1: "P1", 2: "P2", 3: "P3"}
TESTS = {
    "PARAMETRIC": [(1, "A"), (1, "B"), (2, ""), (3, "C"), (4294967295, "Z")],
    "MULTIPLE": [(1, "M"), (10, "M")],
    "FUNCTIONAL": [(20, "F"), (21, "")],
    "SCAN": [(30, "S")],
}
PLACES = [(1, 0), (1, 1), (2, 0), (2, 255)]


class Test(NamedTuple):
    kind: str
    number: int
    name: str
    pins: tuple[int, ...]
    values: tuple[float, ...]
    test_flg: int
    parm_flg: int
    place: tuple[int, int]

    __test__ = False

    def write(self, out: StdfWriter) -> None:
        place: dict[str, Any] = {"head": self.place[0], "site": self.place[1], "test_flg": self.test_flg}
        text = self.name or None
        if self.kind == "PARAMETRIC":
            out.ptr(self.number, self.values[0], test_txt=text, parm_flg=self.parm_flg, **place)
        elif self.kind == "MULTIPLE":
            given: dict[str, Any] = {"test_txt": text, "parm_flg": self.parm_flg, "rtn_indx": self.pins}
            out.mpr(self.number, self.values, **given, **place)
        elif self.kind == "FUNCTIONAL":
            out.ftr(self.number, test_txt=self.name, **place)
        else:
            out.scan(self.number, test_txt=self.name, **place)

    def results(self) -> list[tuple[tuple[str, int, str, str], float, str, bool]]:
        """Identity without the occurrence, value, verdict, and whether the value is stored."""
        letter = "-" if self.test_flg & 0x10 else "N" if self.test_flg & 0x40 else "F" if self.test_flg & 0x80 else "P"
        sound = not self.test_flg & 0x3E and not self.parm_flg & 0x07
        pins = [PINS[pin] for pin in self.pins] or [""]
        values = self.values or (math.nan,)
        return [
            ((self.kind, self.number, self.name, pin), value, letter, sound and math.isfinite(value))
            for pin, value in zip(pins, values, strict=True)
        ]


@st.composite
def draw_test(draw: st.DrawFn) -> Test:
    kind = draw(st.sampled_from([*TESTS, "PARAMETRIC", "MULTIPLE"]))
    number, name = draw(st.sampled_from(TESTS[kind]))
    floats = st.floats(width=32) | st.sampled_from([0.5, 0.1, math.inf, math.nan])
    count = {"PARAMETRIC": 1, "MULTIPLE": draw(st.integers(1, 3))}.get(kind, 0)
    return Test(
        kind,
        number,
        name,
        tuple(draw(st.permutations(list(PINS)))[:count]) if kind == "MULTIPLE" else (),
        tuple(draw(st.lists(floats, min_size=count, max_size=count))),
        draw(st.sampled_from([0, 0, 0, 0x80, 0x80, 0x01, 0x02, 0x04, 0x08, 0x20, 0x40, 0x12, 0x90])),
        draw(
            st.sampled_from([0xC0, 0xC0, 0, 0x01, 0x02, 0x04, 0x20])
            if kind in ("PARAMETRIC", "MULTIPLE")
            else st.just(0)
        ),
        draw(st.sampled_from(PLACES)),
    )


EVENTS = st.lists(
    st.tuples(st.sampled_from(["pir", "prr"]), st.sampled_from(PLACES)) | draw_test(), min_size=10, max_size=80
)


def name_of(identity: tuple[str, int, str, str], occurrence: int) -> str:
    _, number, name, pin = identity
    text = f"{number} {name}".strip() + (f" [{pin}]" if pin else "")
    return text + (f" #{occurrence}" if occurrence > 1 else "")


def number_repeats(part: list[Test]) -> dict[str, tuple[float, str, bool]]:
    seen: Counter[tuple[str, int, str, str]] = Counter()
    found = {}
    for test in part:
        for identity, *result in test.results():
            seen[identity] += 1
            found[name_of(identity, seen[identity])] = tuple(result)
    return found  # type: ignore[return-value]


@given(EVENTS, st.integers(20, 2000))
@settings(max_examples=120, deadline=None)
def test_values_in_rows_and_values_left_out_are_all_values(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], chunk_bytes: int
) -> None:
    opened: dict[tuple[int, int], list[Test]] = {}
    parts: list[list[Test]] = []

    def fill(out: StdfWriter) -> None:
        for index, name in PINS.items():
            out.pmr(index, log_nam=name, head=1, site=0)
        for event in events:
            if isinstance(event, Test):
                event.write(out)
                opened.setdefault(event.place, []).append(event)  # without a PIR since the last PRR, it waits for one
            elif event[0] == "pir":
                out.pir(head=event[1][0], site=event[1][1])
                opened[event[1]] = []
            else:
                out.prr(head=event[1][0], site=event[1][1])
                parts.append(opened.pop(event[1], []))

    file = tmp_path_factory.mktemp("f") / "a.stdf"
    file.write_bytes(stdf_bytes(fill))
    rows, source = read(file, chunk_bytes=chunk_bytes)
    expected = [number_repeats(part) for part in parts]
    assert [row["values"] for row in rows] == [
        {name: float(str(np.float32(value))) for name, (value, _, stored) in part.items() if stored}
        for part in expected
    ]
    assert [verdicts_of(row, source) for row in rows] == [
        {name: letter for name, (_, letter, _) in part.items() if letter != "-"} for part in expected
    ]
    written = sum(len(event.values) for event in events if isinstance(event, Test))
    stored = sum(is_stored for part in expected for _, _, is_stored in part.values())
    assert source.values() == ValueCounts(stored, written - stored)
    assert (written == stored) or any("left out" in told for told in source.warnings())
