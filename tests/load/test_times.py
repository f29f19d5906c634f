"""Times as text: read by columns where all are of the usual form, and as one by one."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpwarehouse.intake.convert import convert
from gpwarehouse.intake.target import InputColumn
from gpwarehouse.transport.columns import TIMESTAMP

COLUMN = InputColumn("event_ts", TIMESTAMP)
_PARTS = st.tuples(
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 60),
)
_ZONES = st.sampled_from(["Z", "+00:00", "-05:30", "+14:59", "+15:00", "-00:60", "+99:99", "", "+0100", "z"])
_FRACTIONS = st.sampled_from(["", ".5", ".123456", ".1234567", ".000001999", "."])


def by_python(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


@settings(max_examples=400, deadline=None)
@given(_PARTS, st.sampled_from("T "), _FRACTIONS, _ZONES)
@example((2026, 2, 29, 0, 0, 0), "T", "", "Z")
@example((1, 1, 1, 0, 0, 0), "T", "", "+01:00")
@example((9999, 12, 31, 23, 59, 59), "T", ".999999", "-01:00")
@example((0, 1, 1, 0, 0, 0), "T", "", "Z")
def test_a_time_is_the_same_alone_and_beside_one_of_another_form(
    parts: tuple[int, ...], between: str, fraction: str, zone: str
) -> None:
    text = "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format(*parts[:3], between, *parts[3:], fraction, zone)
    alone, faults = convert(pa.array([text]), COLUMN)
    assert alone.to_pylist() == [by_python(text)]
    beside, others = convert(pa.array([text, "20260301T081500Z", None]), COLUMN)
    assert (beside.to_pylist()[0], others.get(0)) == (alone.to_pylist()[0], faults.get(0))
