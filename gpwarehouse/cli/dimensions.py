"""``gpwarehouse dimensions``: wafers under another root lot, and the fab's calendar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import console, group, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted

__all__: list[str] = []

dimensions = group("dimensions", "Dimensions: re-key wafers, rebuild the calendar.")


@dimensions.command()
@with_csv
def rekey_wafers(
    mapping: Annotated[
        Path | None, typer.Argument(help="File of root_lot_id, true_root_lot_id and, if wanted, wafer_id.")
    ] = None,
    month: Annotated[
        list[str] | None,
        typer.Option("--month", help="YYYY-MM that holds their facts; may be given again. All without."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    csv: Any = None,
) -> None:
    """Move wafers to their true root lot; without a file, to what dim_lot and the genealogy say."""
    with warehouse_named() as warehouse:
        done = warehouse.dimensions.rekey_wafers(mapping, csv=csv if mapping else None, months=month, dry_run=dry_run)
    word = "would move" if dry_run else "moved"
    say(f"{done.wafers} wafers {word}, {done.merged} of them to where they were already")
    for table, rows in done.rows.items():
        say(f"{table}: {counted(rows, 'row')} {word}")
    warn(map(in_commands, done.warnings))


@dimensions.command()
def rebuild_calendar() -> None:
    """Make the hours anew that are not of the settings' time zone, shifts, crews and holidays."""
    with warehouse_named() as warehouse:
        months = warehouse.dimensions.rebuild_calendar()
    console.print(f"made anew: {', '.join(months)}" if months else "all hours are of this calendar", soft_wrap=True)
