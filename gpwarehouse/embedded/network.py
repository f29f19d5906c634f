"""A port on this machine for programs that know no socket in a folder, as those in Java; it asks for a password."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from gpwarehouse.embedded.programs import Programs

__all__ = ["open_port", "set_password"]

_RULES = "pg_hba.port.conf"
_PASSWORD = "gpwarehouse.password"


def open_port(data: Path, programs: Programs, port: int) -> list[str]:
    """The options of ``postgres`` for a port on 127.0.0.1, where the socket stays without a password."""
    rules = data / _RULES
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    rules.chmod(0o644)  # the folder is closed; the server's user may be another than this one
    return [
        *("-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"),
        *("-c", f"hba_file={programs.named(data)}/{_RULES}"),
    ]


def set_password(home: Path, connection: Any) -> str:
    """Give the user postgres the folder's password, which is made at first; only the folder's owner can read it."""
    path = home / _PASSWORD
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    password = path.read_text()
    hashed = encrypt_password(password, "postgres", scope=connection, algorithm="scram-sha-256")
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(hashed)))
    return password
