from __future__ import annotations

from decimal import Decimal
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gpwarehouse.cli.tables import cell_text, print_frame


def printed(frame: pd.DataFrame, *, width: int, **options: object) -> str:
    out = StringIO()
    print_frame(Console(file=out, width=width), frame, **options)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-0.00027, "-0.00027"),
        (86.80352, "86.8035"),
        (1234567.891, "1234568"),
        (1.25e-9, "1.25e-9"),
        (2.0, "2"),
        (np.float32(0.1), "0.1"),
        (Decimal("1e400"), "1e+400"),
        (Decimal("12.500"), "12.5"),
        (float("-inf"), "-inf"),
        (float("nan"), ""),
        (None, ""),
        (pd.NA, ""),
        (pd.NaT, ""),
        (12345678901234567890, "12345678901234567890"),
        (b"\x00\xff", "\\x00ff"),
        ("", ""),
    ],
)
def test_a_number_keeps_its_significant_digits(value: object, shown: str) -> None:
    assert cell_text(value) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_shown_is_the_number_to_six_digits_or_better(value: float) -> None:
    shown = float(cell_text(value))
    assert shown == pytest.approx(value, rel=0.51e-5, abs=0) or value == 0


def test_a_result_that_is_wider_than_the_terminal_is_printed_as_records_and_whole() -> None:
    frame = pd.DataFrame([{f"column_{n}": f"value {n} " + "x" * 30 for n in range(20)}] * 2)
    out = printed(frame, width=80)
    assert out.count("-[ ") == 2
    assert "column_19 | value 19 " + "x" * 30 in out
    assert "…" not in out


def test_a_result_that_fits_is_a_table_and_vertical_makes_records_of_it() -> None:
    frame = pd.DataFrame({"n": [1], "long_name": ["x"]})
    assert "┃" in printed(frame, width=80)
    assert "long_name | x" in printed(frame, width=80, vertical=True)


def test_a_result_without_rows_shows_its_columns() -> None:
    assert "long_name" in printed(pd.DataFrame({"n": [], "long_name": []}), width=80)


def test_markup_in_a_value_is_shown_as_it_is() -> None:
    assert "[red]x[/red]" in printed(pd.DataFrame({"[bold]": ["[red]x[/red]"]}), width=80)
