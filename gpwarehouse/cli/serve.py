"""``gpwarehouse serve``: the warehouse over HTTP, by uvicorn; with ``--demo`` a made-up lot on a server of its own."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from gpwarehouse.cli.app import app, console, say, warehouse_named
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.errors import InvalidInputError, MissingExtraError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.service import ROLES
from gpwarehouse.sources.synthetic import write_demo_lot
from gpwarehouse.warehouse import Warehouse

_BACKLOG = 2048


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, in place of GPWAREHOUSE_SERVICE_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port, in place of GPWAREHOUSE_SERVICE_PORT; 0 takes a free one."),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve a made-up lot from a PostgreSQL of its own, without keys.")
    ] = False,
) -> None:
    """Serve the warehouse over HTTP, with a page for people at /. Ctrl-C ends it.

    Each call is a JSON line on stdout, except with --demo.
    """
    changed: dict[str, Any] = {}
    if host is not None:
        changed["service_host"] = host
    if port is not None:
        changed["service_port"] = port
    with _end_by_signals(), _demo_settings() if demo else _named_settings() as settings:
        _run(settings.model_copy(update=changed), audit=not demo)


@contextmanager
def _end_by_signals() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that servers and folders are cleared away. Neither is an error."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _named_settings() -> Iterator[WarehouseSettings]:
    with warehouse_named() as warehouse:
        yield warehouse.settings


@contextmanager
def _demo_settings() -> Iterator[WarehouseSettings]:
    """A warehouse with a made-up lot and a login for each role, gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="gpw-demo-") as folder, Warehouse.embedded() as warehouse:
        say("Making a warehouse with a made-up lot …")
        warehouse.upgrade()
        warehouse.schema.roles.apply()
        lot = write_demo_lot(Path(folder) / "demo-lot.stdf.gz")
        with load_bar(console, lot.path.name) as bar:
            say(str(warehouse.load_file(lot.path, progress=bar)))
        own = {"service_auth": "off", "service_host": "127.0.0.1", "service_state_dir": Path(folder) / "state"}
        yield warehouse.settings.model_copy(update={**_add_logins(warehouse), **own})


def _add_logins(warehouse: Warehouse) -> dict[str, SecretStr]:
    """Make a login for each role; the settings that name them."""
    found = {}
    for role in ROLES:
        name, password = f"demo_{role}", secrets.token_urlsafe()
        warehouse.schema.roles.add_login(name, role, password=password)
        url = warehouse.settings.sqlalchemy_url().set(username=name, password=password)
        found[f"service_{role}_url"] = SecretStr(url.render_as_string(hide_password=False))
    return found


def _run(settings: WarehouseSettings, *, audit: bool) -> None:
    """Serve until a signal comes. Answers have the time of grace to end; then their statements are cancelled."""
    from gpwarehouse.service import create_app

    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("gpwarehouse serve needs uvicorn: pip install 'gpwarehouse[service]'") from None
    _log_calls(audit=audit)
    with _listen(settings) as listening:
        config = uvicorn.Config(
            create_app(settings), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=settings.service_grace_s,
        )  # fmt: skip
        address = listening.getsockname()
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        say(f"The warehouse is at http://{name}:{address[1]}/ (Ctrl-C ends it)")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listening])


def _listen(settings: WarehouseSettings) -> socket.socket:
    host, port = settings.service_host.strip("[]"), settings.service_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InvalidInputError(
            f"the service cannot listen on {host}, port {port}: {error.strerror or error}; give others by --host and --port"
        ) from None
    # asyncio turns Nagle's algorithm off where the socket names its protocol; else an answer to a kept connection takes 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, made.detach())


def _log_calls(*, audit: bool) -> None:
    """Warnings go to stderr. The audit goes to stdout as it is: one JSON object a line, and nothing else."""
    warnings, calls = logging.StreamHandler(), logging.StreamHandler(sys.stdout)
    warnings.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    warnings.addFilter(lambda record: not _is_call(record))
    calls.setFormatter(logging.Formatter("%(message)s"))
    calls.addFilter(_is_call)
    logging.basicConfig(level=logging.WARNING, handlers=[warnings, calls])
    logging.getLogger("gpwarehouse.audit").setLevel(logging.INFO if audit else logging.WARNING)


def _is_call(record: logging.LogRecord) -> bool:
    return hasattr(record, "audit")
