"""The parts that all commands share: the application, the consoles, and the choice of the warehouse."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.version import __version__
from gpwarehouse.warehouse import Warehouse

__all__ = [
    "UNBOUND",
    "app",
    "console",
    "embedded_folder",
    "errors",
    "group",
    "say",
    "url_named",
    "warehouse_named",
    "warn",
]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A semiconductor fab's data warehouse on Greenplum.")
UNBOUND = 100_000
"""Columns of a stream that is no terminal: nothing is broken or cut there to fit a width that nobody has."""


def _make_console(stream: TextIO, **options: Any) -> Console:
    has_width = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(**options) if has_width else Console(width=UNBOUND, **options)


console = _make_console(sys.stdout)
errors = _make_console(sys.stderr, stderr=True)


def group(name: str, about: str) -> typer.Typer:
    """The commands of one door of the warehouse: ``gpwarehouse NAME …``."""
    commands = typer.Typer(no_args_is_help=True, help=about)
    commands.callback()(lambda: None)  # a group also where it has one command
    app.add_typer(commands, name=name)
    return commands


def say(line: str, *, to: Console = console) -> None:
    """Print a line as it is: no markup, no colours, broken by the terminal alone."""
    to.print(line, markup=False, highlight=False, soft_wrap=True)


def warn(lines: Iterable[str]) -> None:
    """Print warnings of a result on stderr, so that they are seen where stdout goes into a file."""
    for line in lines:
        say(f"warning: {line}", to=errors)


class _Where:
    """Which warehouse the command is for, from the options before it."""

    url: str | None = None
    embedded: Path | None = None


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"gpwarehouse {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    url: Annotated[str | None, typer.Option(help="Server, e.g. postgresql://gpadmin@host:5432/fab.")] = None,
    embedded: Annotated[Path | None, typer.Option(help="A PostgreSQL of its own with its data in this folder.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Without --url or --embedded, GPWAREHOUSE_URL or a .env file says where the warehouse is."""
    _Where.url, _Where.embedded = url, embedded


def embedded_folder() -> Path | None:
    """The folder that ``--embedded`` names."""
    return _Where.embedded


def url_named() -> str | None:
    """The URL that ``--url`` gives."""
    return _Where.url


@contextmanager
def warehouse_named() -> Iterator[Warehouse]:
    """The warehouse that the options name, closed at the end of the block."""
    if _Where.url is not None and _Where.embedded is not None:
        raise InvalidInputError("give --url or --embedded, not both")
    with Warehouse(_Where.url) if _Where.embedded is None else Warehouse.embedded(_Where.embedded) as warehouse:
        yield warehouse
