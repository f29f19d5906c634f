"""The embedded server, kept up for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpwarehouse.cli.app import console, embedded_folder, group
from gpwarehouse.embedded.programs import wheel_programs
from gpwarehouse.embedded.standing import running_server, start_standing, stop_standing
from gpwarehouse.errors import EmbeddedServerError

server = group("server", "Keep a PostgreSQL up for psql, Alembic and tools for reports.")

Folder = Annotated[
    Path | None, typer.Argument(help="Folder of its data; by default the user's own (or that of --embedded).")
]


@server.command()
def start(
    folder: Folder = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Listen on 127.0.0.1 too, with a password, for JDBC and the like."),
    ] = None,
) -> None:
    """Start it, if it does not run, and leave it up: it says its URL and its folder. Nothing stops it but `stop`."""
    up = start_standing(folder or embedded_folder(), port)
    lines = [f"url     {up.url}", f"folder  {up.folder}", f"psql    {wheel_programs() / 'psql'}"]
    if up.tcp_url is not None:
        lines.append("port    gpwarehouse server url --tcp tells its URL, with the password")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@server.command()
def url(
    folder: Folder = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="By the port of `start --port`, with the password.")] = False,
) -> None:
    """Print its URL and nothing else: export GPWAREHOUSE_URL="$(gpwarehouse server url)"."""
    up = running_server(folder or embedded_folder())
    if tcp and up.tcp_url is None:
        raise EmbeddedServerError(f"the server in {up.folder} has no port: stop it, and start it with --port")
    sys.stdout.write(f"{up.tcp_url if tcp else up.url}\n")


@server.command()
def stop(folder: Folder = None) -> None:
    """Stop it, whoever is connected. Its data stays."""
    where, ran = stop_standing(folder or embedded_folder())
    said = f"stopped; its data stays in {where}" if ran else f"no server runs in {where}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
