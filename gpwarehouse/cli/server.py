"""The embedded server, kept up for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpwarehouse.cli.app import app, console, embedded_folder

server = typer.Typer(no_args_is_help=True, help="Keep a PostgreSQL up for psql, Alembic and tools for reports.")
app.add_typer(server, name="server")

Folder = Annotated[
    Path | None, typer.Argument(help="Folder of its data; by default the user's own (or that of --embedded).")
]


@server.command()
def start(folder: Folder = None) -> None:
    """Start it, if it does not run, and leave it up: it says its URL and its folder. Nothing stops it but `stop`."""
    from gpwarehouse.embedded.standing import start_standing

    up = start_standing(folder or embedded_folder())
    for line in (
        f"url     {up.url}",
        f"folder  {up.folder}",
        f"psql    {up.psql}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@server.command()
def url(folder: Folder = None) -> None:
    """Print its URL and nothing else: export GPWAREHOUSE_URL="$(gpwarehouse server url)"."""
    from gpwarehouse.embedded.standing import url_of_running

    sys.stdout.write(f"{url_of_running(folder or embedded_folder())}\n")


@server.command()
def stop(folder: Folder = None) -> None:
    """Stop it, whoever is connected. Its data stays."""
    from gpwarehouse.embedded.standing import stop_standing

    where, ran = stop_standing(folder or embedded_folder())
    said = f"stopped; its data stays in {where}" if ran else f"no server runs in {where}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
