"""What all commands share: the application, the consoles, and which warehouse is meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.warehouse import Warehouse

__all__ = ["app", "console", "embedded_folder", "errors", "warehouse_named"]

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


def embedded_folder() -> Path | None:
    """The folder that ``--embedded`` names."""
    return _Where.embedded


@contextmanager
def warehouse_named() -> Iterator[Warehouse]:
    """The warehouse that the options name, closed at the end of the block."""
    if _Where.url is not None and _Where.embedded is not None:
        raise InvalidInputError("give --url or --embedded, not both")
    with Warehouse(_Where.url) if _Where.embedded is None else Warehouse.embedded(_Where.embedded) as warehouse:
        yield warehouse
