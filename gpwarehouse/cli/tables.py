"""Frames on a terminal: a table where it fits, a record a row where it does not; nothing is cut off.

Numbers have significant digits, not decimals: a mean of −0.00027 is not −0.00.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gpwarehouse.cli.app import UNBOUND, console
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.warehouse import rooms

__all__ = ["DIGITS", "cell_text", "make_table", "print_frame"]

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DIGITS = 6
"""Significant digits of a number that is no integer, unless the user says otherwise. Digits before the point all stay."""
_SMALL, _LARGE = -5, 15
"""Powers of ten beyond which a number is written with an exponent."""


def print_frame(
    console: Console, frame: Any, *, digits: int = DIGITS, vertical: bool = False, title: str | None = None
) -> None:
    """Print a pandas frame.

    :param digits: significant digits of numbers that are no integers.
    :param vertical: a line a value; without it only where the table is wider than the terminal.
    """
    names = [str(name) for name in frame.columns]
    numeric = [getattr(frame.dtypes.iloc[at], "kind", "O") in "iuf" for at in range(len(names))]
    rows = [[cell_text(value, digits) for value in row] for row in frame.itertuples(index=False, name=None)]
    if not vertical:
        table = make_table(names, rows, numeric=numeric, title=title)
        unbound = console.options.update(max_width=UNBOUND)
        if Measurement.get(console, unbound, table).maximum <= console.width or not rows:
            console.print(table)
            return
    if title is not None:
        console.print(title, markup=False, highlight=False)
    _print_records(console, names, rows)


def make_table(
    names: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    numeric: Iterable[bool] | None = None,
    title: str | None = None,
) -> Table:
    """A table whose cells are broken into lines where they are too wide, never cut off.

    :param numeric: of each column, whether it is aligned to the right.
    """
    table = Table(title=title)
    names = list(names)
    for name, right in zip(names, numeric or [False] * len(names), strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print_records(console: Console, names: list[str], rows: list[list[str]]) -> None:
    """A line a value, the names aligned, a long value on as many lines of the terminal as it takes."""
    width = max(map(len, names), default=0)
    for number, row in enumerate(rows, 1):
        lines = [f"-[ {number} ]".ljust(width + 3, "-")]
        lines += [f"{name:<{width}} | {value}" for name, value in zip(names, row, strict=True)]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def cell_text(value: Any, digits: int = DIGITS) -> str:
    """A value as it is shown; NULL is empty."""
    if isinstance(value, float):
        value = Decimal(repr(float(value)))
    if isinstance(value, Decimal):
        return "" if value.is_nan() else _number_text(value, digits)
    if hasattr(value, "dtype") and value.dtype.kind == "f":  # numpy's single precision is no float
        return cell_text(float(str(value)), digits)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return "" if value is None or str(value) in ("<NA>", "NaT") else str(value)


def _number_text(value: Decimal, digits: int) -> str:
    if value.is_infinite():
        return "inf" if value > 0 else "-inf"
    if not value:
        return "0"
    power = value.adjusted()
    if not _SMALL <= power < _LARGE:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"
    text = f"{value:.{max(digits - 1 - power, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def print_result(frame: Any, *, as_csv: bool, as_json: bool) -> None:
    """Print a frame as a table, as CSV or as JSON."""
    import pyarrow as pa

    if as_csv and as_json:
        raise InvalidInputError("give --csv or --json, not both")
    if not as_csv and not as_json:
        print_frame(console, frame)
        return
    table = pa.Table.from_pandas(frame, preserve_index=False)
    write = rooms.read.write_csv if as_csv else rooms.read.write_json
    write(table.schema, [table], sys.stdout)
