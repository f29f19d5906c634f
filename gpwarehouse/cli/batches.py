"""``gpwarehouse batches list``: what was loaded, what was rejected of it; batches taken out or replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import console, group, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.load import limit
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.cli.tables import AsCsv, AsJson, print_result
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted
from gpwarehouse.load import csv_of_rejects

batches = group("batches", "Batches: list, rejects, reload, delete, replace.")


@batches.command("list")
def list_batches(
    target: Annotated[str | None, typer.Option(help="Of this fact or dimension alone.")] = None,
    status: Annotated[str | None, typer.Option(help="loaded, deleted or failed.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Show the latest so many.")] = 20,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """List batches, the latest first: what they loaded, from where, and why one failed."""
    with warehouse_named() as warehouse:
        frame = warehouse.batches.list(target=target, status=status, most=most)
    print_result(frame, as_csv=as_csv, as_json=as_json)


@batches.command()
def rejects(
    batch_id: Annotated[str, typer.Argument(help="The batch's id, as load tells it.")],
    as_given: Annotated[bool, typer.Option("--as-given", help="The rows themselves, to correct them.")] = False,
) -> None:
    """Print what was rejected of a batch, as CSV. In the rows themselves an empty text is "", and NULL is nothing."""
    with warehouse_named() as warehouse:
        frame = warehouse.batches.rejects(batch_id, as_given=as_given)
    text = csv_of_rejects(frame) if as_given else frame.to_csv(index=False)
    typer.echo(text.encode(), nl=False)


@batches.command()
@with_csv
def reload(
    batch_id: Annotated[str, typer.Argument(help="The batch that rejected the rows.")],
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or Arrow: the corrected rows, with their row_number.")],
    csv: Any = None,
) -> None:
    """Load corrected rejects into their batch, each once."""
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        result = warehouse.batches.reload(batch_id, file, csv=csv, progress=bar)
        left = len(warehouse.batches.rejects(batch_id))
    say(f"{result}; {left} rejects left")


@batches.command()
def delete(batch_id: Annotated[str, typer.Argument(help="The batch, as etl_load_batch has it.")]) -> None:
    """Delete a batch's rows from its fact; then it can be loaded again."""
    with warehouse_named() as warehouse:
        done = warehouse.batches.delete(batch_id)
    say(f"{done.target}: {counted(done.rows, 'row')} of batch {batch_id} deleted")
    warn(map(in_commands, done.warnings))


@batches.command()
@with_csv
def replace(
    batch_id: Annotated[str, typer.Argument(help="The batch whose rows go.")],
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file, or a glob of them: all rows of the batch.")],
    max_rejects: Annotated[str | None, typer.Option(help="Rejects allowed: 5, 0.01 or 1%.")] = None,
    csv: Any = None,
) -> None:
    """Load a file in the place of a batch's rows, in one transaction."""
    allowed = limit(max_rejects)
    with warehouse_named() as warehouse, load_bar(console, file.name) as bar:
        done = warehouse.batches.replace(batch_id, file, csv=csv, max_rejects=allowed, progress=bar)
    warn(map(in_commands, done.warnings))
    say(str(done))
