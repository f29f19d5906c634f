"""The schema: bring it up, look at it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpwarehouse.cli.app import app, console, errors, warehouse_named


@app.command()
def upgrade(revision: Annotated[str, typer.Argument(help="Revision to come to.")] = "head") -> None:
    """Bring the schema up to a revision."""
    with warehouse_named() as warehouse:
        warehouse.upgrade(revision)
        status_now = warehouse.status()
        console.print(f"schema {status_now.schema} on {status_now.server} is at revision {status_now.revision}")


@app.command()
def status() -> None:
    """Server, revision and batches; exit code 1 where the schema is not at this package's revision."""
    with warehouse_named() as warehouse:
        now = warehouse.status()
    console.print(f"server    {now.server}")
    console.print(f"schema    {now.schema}, revision {now.revision or 'none'} (this package: {now.head})")
    console.print(f"batches   {now.batches_loaded} loaded ({now.rows_loaded} rows), {now.batches_failed} failed")
    if not now.is_current:
        errors.print("the schema is not at this package's revision: gpwarehouse upgrade")
        raise typer.Exit(1)


@app.command()
def diagram() -> None:
    """Print the star schema as a Mermaid ER diagram."""
    from gpwarehouse.models.diagram import mermaid

    sys.stdout.write(mermaid())
