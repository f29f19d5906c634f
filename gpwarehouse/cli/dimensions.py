"""Dimensions and batches from a shell: merge a file, re-key wafers, take a batch out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import app, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.wording import in_commands

__all__ = ["delete_batch", "merge", "rekey_wafers"]


@app.command()
@with_csv
def merge(
    dimension: Annotated[str, typer.Argument(help="Table name, e.g. dim_lot.")],
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file: natural keys and attributes.")],
    effective: Annotated[
        str, typer.Option(help="Column with the time from which a row holds, or a moment with a time zone (ISO 8601).")
    ] = "effective_date",
    deletes: Annotated[str | None, typer.Option(help="Column that is true where a member is deleted.")] = None,
    batch_id: Annotated[str | None, typer.Option(help="The batch's id.")] = None,
    max_rejects: Annotated[int | None, typer.Option(min=0, help="Rejected rows allowed.")] = None,
    csv: Any = None,
) -> None:
    """Merge a file into a dimension's history, once."""
    with warehouse_named() as warehouse:
        done = warehouse.merge(
            dimension,
            file,
            csv=csv,
            effective=_column_or_moment(effective),
            deletes=deletes,
            batch_id=batch_id,
            max_rejects=max_rejects,
        )
    say(
        f"{dimension}: merged before, as batch {done.batch_id}"
        if done.already_merged
        else f"{dimension}: {done.rows_read} rows, {done.rows_rejected} rejected; {done.members_new} new members, "
        f"{done.versions_begun} versions begun, {done.rows_overwritten} rows overwritten (batch {done.batch_id})"
    )
    warn(map(in_commands, done.warnings))


@app.command()
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
        done = warehouse.rekey_wafers(mapping, csv=csv if mapping else None, months=month, dry_run=dry_run)
    word = "would move" if dry_run else "moved"
    say(f"{done.wafers} wafers {word}, {done.merged} of them to where they were already")
    for table, rows in done.rows.items():
        say(f"{table}: {rows} rows {word}")
    warn(map(in_commands, done.warnings))


@app.command()
def delete_batch(batch_id: Annotated[str, typer.Argument(help="The batch, as etl_load_batch has it.")]) -> None:
    """Delete a batch's rows from its fact; then it can be loaded again."""
    with warehouse_named() as warehouse:
        done = warehouse.delete_batch(batch_id)
    say(f"{done.target}: {done.rows} rows of batch {batch_id} deleted")
    warn(map(in_commands, done.warnings))


def _column_or_moment(said: str) -> str | datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return said
