"""``gpwarehouse facts``: what a fact takes; its records and months put in, taken out or replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpwarehouse.cli.app import console, group, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.load import limit
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.cli.tables import AsCsv, AsJson, print_result
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted
from gpwarehouse.errors import InvalidInputError, PartitionError
from gpwarehouse.warehouse.facts import columns_of

if TYPE_CHECKING:
    from gpwarehouse.warehouse import Warehouse

__all__: list[str] = []

facts = group("facts", "Facts: what they take; records and months put in, taken out or replaced.")

_Fact = Annotated[str, typer.Argument(help="Table name, e.g. fact_test_results.")]
_Month = Annotated[str, typer.Argument(help="YYYY-MM.")]
_Yes = Annotated[bool, typer.Option("--yes-drop-data", help="Do it although rows go.")]
_Months = Annotated[
    list[str] | None,
    typer.Option("--month", help="YYYY-MM to look into besides the months of the rows; may be given again."),
]
_Across = Annotated[bool, typer.Option("--across", help="Even where batches have rows in other months too.")]


@facts.command()
def columns(
    target: Annotated[str, typer.Argument(help="The fact, e.g. fact_test_results.")],
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """List what a file for a fact may bring: columns, types, which are needed, and what they mean."""
    print_result(columns_of(target), as_csv=as_csv, as_json=as_json)


@facts.command()
def delete_month(fact: _Fact, month: _Month, across: _Across = False, yes_drop_data: _Yes = False) -> None:
    """Empty a month of a fact; shows what that deletes, and refuses to unless told to."""
    with warehouse_named() as warehouse:
        there = warehouse.facts.delete_month(fact, month, across=across, dry_run=True)
        _refuse(fact, month, there.rows, len(there.batches), "empty it", yes_drop_data)
        done = warehouse.facts.delete_month(fact, month, across=across)
    say(
        f"{fact}: {counted(done.rows, 'row')} of {month} deleted; {counted(len(done.loadable), 'batch')} can be loaded again"
    )
    warn(map(in_commands, done.warnings))


@facts.command()
@with_csv
def replace_month(
    fact: _Fact,
    month: _Month,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file, or a glob of them: the month's rows.")],
    batch_id: Annotated[str | None, typer.Option(help="The batch's id.")] = None,
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed: 5, 0.01 or 1%.")] = None,
    yes_drop_data: _Yes = False,
    csv: Any = None,
) -> None:
    """Put a file in the place of all rows of a month; shows what that replaces, and refuses to unless told to."""
    allowed = limit(max_rejects)
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        _refuse(fact, month, *_rows(warehouse, fact, month), "replace them", yes_drop_data)
        done = warehouse.facts.replace_month(
            fact, month, file, csv=csv, batch_id=batch_id, max_rejects=allowed, progress=bar
        )
    warn(map(in_commands, done.warnings))
    say(f"{done}; {counted(done.rows_replaced, 'row')} replaced")


@facts.command()
@with_csv
def upsert(
    fact: _Fact,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file, or a glob of them: the records.")],
    month: _Months = None,
    batch_id: Annotated[str | None, typer.Option(help="The batch's id.")] = None,
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed: 5, 0.01 or 1%.")] = None,
    csv: Any = None,
) -> None:
    """Put records into a fact; those whose business key is there take the file's columns."""
    allowed = limit(max_rejects)
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        done = warehouse.facts.upsert(
            fact, file, csv=csv, months=month or (), batch_id=batch_id, max_rejects=allowed, progress=bar
        )
    warn(map(in_commands, done.warnings))
    say(str(done))


@facts.command()
@with_csv
def delete(
    fact: _Fact,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file: the columns of the key, and event_ts.")],
    month: _Months = None,
    batch_id: Annotated[str | None, typer.Option(help="The batch's id.")] = None,
    yes_drop_data: _Yes = False,
    csv: Any = None,
) -> None:
    """Take records out of a fact by their business key, whoever loaded them; only when told to."""
    if not yes_drop_data:
        raise InvalidInputError(
            f"{fact}: to take out the records of {file.name}, say --yes-drop-data; nothing was changed"
        )
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        done = warehouse.facts.delete(fact, file, csv=csv, months=month or (), batch_id=batch_id, progress=bar)
    warn(map(in_commands, done.warnings))
    say(
        f"{fact}: done before, as batch {done.batch_id}"
        if done.already_loaded
        else f"{fact}: {counted(done.rows_replaced, 'row')} deleted, {done.rows_rejected} rejected (batch {done.batch_id})"
    )


def _rows(warehouse: Warehouse, fact: str, month: str) -> tuple[int, int]:
    """Rows that a month holds, and of how many batches."""
    try:
        there = warehouse.facts.delete_month(fact, month, across=True, dry_run=True)
    except PartitionError:  # a month that is not there yet is made
        return 0, 0
    return there.rows, len(there.batches)


def _refuse(fact: str, month: str, rows: int, batches: int, what: str, told_to: bool) -> None:
    if rows:
        say(f"{fact}: {month} holds {counted(rows, 'row')} of {counted(batches, 'batch')}")
    if rows and not told_to:
        raise InvalidInputError(f"{fact}: to {what}, say --yes-drop-data; nothing was changed")
