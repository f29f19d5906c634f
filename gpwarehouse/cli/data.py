"""``gpwarehouse data``: the data against its own rules, and made-up data with known answers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpwarehouse.cli.app import console, errors, group, say, warehouse_named
from gpwarehouse.cli.tables import print_frame
from gpwarehouse.warehouse import Warehouse, rooms

if TYPE_CHECKING:
    from gpwarehouse.generate import Fab

__all__ = ["load_fab"]

data = group("data", "All data: check it, or make it up.")


@data.command()
def check(
    month: Annotated[list[str] | None, typer.Option("--month", help="A month of the facts, YYYY-MM.")] = None,
    since: Annotated[str | None, typer.Option(help="Months from this one on, YYYY-MM.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="A fact, dimension or bridge.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="A check, e.g. 'orphan key'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check the data, changing nothing; exit code 1 where something is wrong. Without options, all of it."""

    def tell(what: str) -> None:
        if errors.is_terminal:
            errors.print(what, style="dim", markup=False, highlight=False)

    with warehouse_named() as warehouse:
        found = warehouse.data.check(months=month, since=since, tables=table, checks=only, progress=tell)
    if as_json:
        sys.stdout.write(found.to_json(orient="records", indent=2) + "\n")
    elif len(found):
        print_frame(console, found)
    else:
        console.print("nothing is wrong with the data")
    if len(found):
        raise typer.Exit(1)


@data.command()
def aggregates(
    month: Annotated[list[str] | None, typer.Option("--month", help="A month, YYYY-MM; by default all.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="A fact that has aggregates; by default all.")] = None,
) -> None:
    """Make the aggregates of measured values anew, month by month, and the limits of steps as rows."""
    with warehouse_named() as warehouse:
        done = warehouse.data.rebuild_aggregates(table, months=month, progress=say)
    say(f"{len(done)} months, {int(done['written'].sum())} rows of aggregates")


@data.command()
def generate(
    seed: Annotated[int, typer.Option(min=0, help="Of all chance: the same seed makes the same fab.")] = 1,
    lots: Annotated[int, typer.Option(min=1, help="Lots; one of 25 wafers has about 10 000 tests.")] = 20,
    wafers: Annotated[int, typer.Option(min=1, max=99, help="Wafers of a lot.")] = 25,
    layers: Annotated[int, typer.Option(min=1, max=90, help="Layers of the route, seven steps each.")] = 2,
    radius: Annotated[int, typer.Option(min=2, max=500, help="Radius of a wafer in die.")] = 10,
    start: Annotated[datetime | None, typer.Option(help="Start of the first lot, UTC.")] = None,
    prefix: Annotated[str, typer.Option(help="What the names of lots begin with.")] = "G",
    folder: Annotated[
        Path | None, typer.Option(help="Write Parquet files here; gpwarehouse load takes the folder.")
    ] = None,
) -> None:
    """Make up a fab with known answers, and load it, or write it to a folder."""
    size = {"lots": lots, "wafers": wafers, "layers": layers, "radius": radius, "prefix": prefix}
    fab = rooms.generate.generate_fab(seed, **size, **({} if start is None else {"start": start.replace(tzinfo=UTC)}))
    if folder is not None:
        path = rooms.generate.write_fab(fab, folder)
        say(f"{path}: the answers stand in fab.json")
        return
    with warehouse_named() as warehouse:
        load_fab(warehouse, fab)
    excursion = fab.excursion
    say(
        f"planted: {excursion.equipment_id} chamber {excursion.chamber_id}, {excursion.parameter} off by "
        f"{excursion.shift:g} from {excursion.start:%Y-%m-%d %H:%M} to {excursion.end:%Y-%m-%d %H:%M} UTC"
    )


def load_fab(warehouse: Warehouse, fab: Fab | str) -> None:
    """Load a fab or a folder of one, and say what came of it."""
    for result in warehouse.data.load_fab(fab):
        say(str(result))
