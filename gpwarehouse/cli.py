"""``gpwarehouse``: the warehouse from a shell. Errors are one message on stderr and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
except ImportError:  # installed without the extra: the command exists all the same, so it must say why it cannot run
    sys.exit("the gpwarehouse command needs typer and rich: pip install 'gpwarehouse[cli]'")

from gpwarehouse.errors import GpwarehouseError, InvalidInputError
from gpwarehouse.warehouse import Warehouse

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A semiconductor fab's data warehouse on Greenplum.")
console = Console()
errors = Console(stderr=True)


class _Where:
    """Which warehouse the command is for, from the options before it."""

    url: str | None = None
    embedded: Path | None = None


@app.callback()
def _options(
    url: Annotated[str | None, typer.Option(help="Server, e.g. postgresql://gpadmin@host:5432/fab.")] = None,
    embedded: Annotated[Path | None, typer.Option(help="A PostgreSQL of its own with its data in this folder.")] = None,
) -> None:
    """Without --url or --embedded, GPWAREHOUSE_URL or a .env file says where the warehouse is."""
    _Where.url, _Where.embedded = url, embedded


@contextmanager
def _warehouse() -> Iterator[Warehouse]:
    if _Where.url is not None and _Where.embedded is not None:
        raise InvalidInputError("give --url or --embedded, not both")
    with Warehouse(_Where.url) if _Where.embedded is None else Warehouse.embedded(_Where.embedded) as warehouse:
        yield warehouse


@app.command()
def demo(
    wafers: Annotated[int, typer.Option(min=1, max=25, help="Wafers of the made-up lot.")] = 5,
    keep: Annotated[Path | None, typer.Option(help="Keep the server's data in this folder.")] = None,
) -> None:
    """Bring a made-up lot through a warehouse of its own: DDL, load, yields, wafer map."""
    from gpwarehouse.demo import run_demo

    run_demo(console, wafers=wafers, keep=keep)


@app.command()
def upgrade(revision: Annotated[str, typer.Argument(help="Revision to come to.")] = "head") -> None:
    """Bring the schema up to a revision."""
    with _warehouse() as warehouse:
        warehouse.upgrade(revision)
        status_now = warehouse.status()
        console.print(f"schema {status_now.schema} on {status_now.server} is at revision {status_now.revision}")


@app.command()
def load(
    files: Annotated[list[Path], typer.Argument(help="STDF V4 files, plain or compressed.")],
    batch_id: Annotated[str | None, typer.Option(help="The batch's id, for a single file.")] = None,
    facility: Annotated[str | None, typer.Option(help="Facility, where the file names none.")] = None,
    test_type: Annotated[str | None, typer.Option(help="WAT, CP or FT; else the file tells.")] = None,
    max_rejects: Annotated[int | None, typer.Option(min=0, help="Rejected rows allowed in a file.")] = None,
) -> None:
    """Load files, each once: what was loaded before is recognised by its content."""
    from gpwarehouse.demo import describe, load_with_progress

    if batch_id is not None and len(files) > 1:
        raise InvalidInputError("--batch-id names one batch; load one file with it")
    given = {"batch_id": batch_id, "facility": facility, "test_type": test_type, "max_rejects": max_rejects}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    failed = 0
    with _warehouse() as warehouse:
        for file in files:
            try:
                result = load_with_progress(console, warehouse, file, **options)
            except (GpwarehouseError, OSError) as error:
                failed += 1
                errors.print(f"{file}: {error}", markup=False, highlight=False, soft_wrap=True)
            else:
                console.print(f"{file.name}: {describe(result)}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT; :name stands for a parameter.")],
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value, bound as text.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Run a query and print its result."""
    from gpwarehouse.demo import frame_table

    params: dict[str, Any] = dict(item.partition("=")[::2] for item in param or [])
    with _warehouse() as warehouse:
        frame = warehouse.read(sql, **params)
    if csv:
        sys.stdout.write(frame.to_csv(index=False))
    else:
        console.print(frame_table(frame))


@app.command()
def status() -> None:
    """Server, revision and batches; exit code 1 where the schema is not at this package's revision."""
    with _warehouse() as warehouse:
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


@app.command()
def settings() -> None:
    """Print all settings as a Markdown table."""
    from gpwarehouse.settings import settings_table

    sys.stdout.write(settings_table())


def main() -> None:
    """Entry point."""
    try:
        app()
    except (GpwarehouseError, OSError) as error:
        errors.print(f"gpwarehouse: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
