"""Servers that cannot be connected to: what to do about it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, ExceptionContext

from gpwarehouse.embedded.disk import server_without_room

__all__ = ["explain_failures_to_connect", "way_in"]

_NO_DATABASE = re.compile(r'database "(?P<name>.+)" does not exist')
_NO_ROLE = re.compile(r'role "(?P<name>.+)" does not exist')
_GENERAL = "Check that the server runs and that GPWAREHOUSE_URL (or HOST, PORT, USER, PASSWORD, DATABASE) is right"


def way_in(reason: str, url: URL) -> str:
    """Say what to do if a server cannot be reached.

    :param reason: the server's or the system's words; ``url``: of the connection.
    """
    return _what_is_missing(reason, url) or _GENERAL


def _what_is_missing(reason: str, url: URL) -> str | None:
    if found := _NO_DATABASE.search(reason):
        name = found["name"]
        return (
            f"Make it: {_client('createdb', url)} -T template0 -E UTF8 {shlex.quote(name)} (or, connected to another database: "
            f"CREATE DATABASE {_quote(name)} TEMPLATE template0 ENCODING 'UTF8'); then: gpwarehouse upgrade. "
            "If the name is wrong, correct GPWAREHOUSE_URL (or DATABASE)"
        )
    if found := _NO_ROLE.search(reason):
        return (
            f"Make it, as one who may: CREATE ROLE {_quote(found['name'])} LOGIN PASSWORD '…'; "
            "or name another in GPWAREHOUSE_URL (or USER)"
        )
    return None


def _quote(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))


def _client(program: str, url: URL) -> str:
    """A call of one of PostgreSQL's clients, for the same server."""
    host, port = url.host or _one(url.query.get("host")), url.port or _one(url.query.get("port"))
    options = {"-h": host.split(":")[0] if host else None, "-p": port, "-U": url.username}
    given = [f"{name} {shlex.quote(str(value))}" for name, value in options.items() if value]
    return " ".join([program, *given])


def _one(value: Any) -> str | None:
    """Of several hosts the first; which of them takes writes is not known here."""
    return value if isinstance(value, str | None) else str(value[0])


def explain_failures_to_connect(engine: Engine) -> None:
    """Have the engine's own errors say what to do where a database or role is missing.

    And have it say at once that an embedded server ended because its disk is full: it comes back as little as the room does,
    so a repetition is no use. Other servers that end are started again.
    """
    host = engine.url.query.get("host")
    socket = Path(host) if isinstance(host, str) and host.startswith("/") else None

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        connecting = context.connection is None
        ended = server_without_room(socket) if socket and (connecting or context.is_disconnect) else None
        if ended is not None:
            raise ended from context.original_exception
        if connecting and context.sqlalchemy_exception is not None:
            missing = _what_is_missing(str(context.original_exception), engine.url)
            if missing is not None:
                context.sqlalchemy_exception.add_detail(missing)
