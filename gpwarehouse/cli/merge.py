"""Merge a file about a dimension's members into their history."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import app, say, warehouse_named, warn
from gpwarehouse.cli.csv_options import with_csv
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted


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
        else f"{dimension}: {counted(done.rows_read, 'row')}, {done.rows_rejected} rejected; "
        f"{counted(done.members_new, 'new member')}, "
        f"{counted(done.versions_begun, 'version')} begun, {counted(done.rows_overwritten, 'row')} overwritten "
        f"(batch {done.batch_id})"
    )
    warn(map(in_commands, done.warnings))


def _column_or_moment(said: str) -> str | datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return said
