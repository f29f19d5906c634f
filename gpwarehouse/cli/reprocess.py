"""Months of facts from a shell: emptied, or replaced by a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpwarehouse.cli.app import app, console, errors, warehouse_named
from gpwarehouse.cli.load import limit
from gpwarehouse.errors import InvalidInputError, PartitionError
from gpwarehouse.load.bar import load_bar

if TYPE_CHECKING:
    from gpwarehouse.warehouse import Warehouse

__all__ = ["delete_month", "replace_month"]

_Fact = Annotated[str, typer.Argument(help="Table name, e.g. fact_test_results.")]
_Month = Annotated[str, typer.Argument(help="YYYY-MM.")]
_Yes = Annotated[bool, typer.Option("--yes-drop-data", help="Do it although rows go.")]
_Across = Annotated[bool, typer.Option("--across", help="Even where batches have rows in other months too.")]


@app.command()
def delete_month(fact: _Fact, month: _Month, across: _Across = False, yes_drop_data: _Yes = False) -> None:
    """Empty a month of a fact; shows what that deletes, and refuses to unless told to."""
    with warehouse_named() as warehouse:
        there = warehouse.delete_month(fact, month, across=across, dry_run=True)
        _refuse(fact, month, there.rows, len(there.batches), "empty it", yes_drop_data)
        done = warehouse.delete_month(fact, month, across=across)
    _say(f"{fact}: {done.rows} rows of {month} deleted; {len(done.loadable)} batches can be loaded again")
    for warning in done.warnings:
        errors.print(warning, markup=False, highlight=False, soft_wrap=True)


@app.command()
def replace_month(
    fact: _Fact,
    month: _Month,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file, or a glob of them: the month's rows.")],
    batch_id: Annotated[str | None, typer.Option(help="The batch's id.")] = None,
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed: 5, 0.01 or 1%.")] = None,
    yes_drop_data: _Yes = False,
) -> None:
    """Put a file in the place of all rows of a month; shows what that replaces, and refuses to unless told to."""
    allowed = limit(max_rejects)
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        _refuse(fact, month, *_rows(warehouse, fact, month), "replace them", yes_drop_data)
        done = warehouse.replace_month(fact, month, file, batch_id=batch_id, max_rejects=allowed, progress=bar)
    for warning in done.warnings:
        errors.print(warning, markup=False, highlight=False, soft_wrap=True)
    _say(f"{done}; {done.rows_replaced} rows replaced")


def _rows(warehouse: Warehouse, fact: str, month: str) -> tuple[int, int]:
    """Rows that a month holds, and of how many batches."""
    try:
        there = warehouse.delete_month(fact, month, across=True, dry_run=True)
    except PartitionError:  # a month that is not there yet is made
        return 0, 0
    return there.rows, len(there.batches)


def _refuse(fact: str, month: str, rows: int, batches: int, what: str, told_to: bool) -> None:
    if rows:
        _say(f"{fact}: {month} holds {rows} rows of {batches} batches")
    if rows and not told_to:
        raise InvalidInputError(f"{fact}: to {what}, say --yes-drop-data; nothing was changed")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
