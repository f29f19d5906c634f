"""Servers that tests start for themselves: asked, and waited for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

_MEMORY = Path("/dev/shm")


def place_for_data() -> str | None:
    """Where the folders of servers go that keep their data: they wait for the disk at each file, but not for memory.

    None is the system's folder for temporary files, where there is no room in memory for a few of them.
    """
    has_room = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 1 << 30
    return str(_MEMORY) if has_room else None


def query(url: URL | str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def is_up(url: URL | str) -> bool:
    try:
        return query(url, "SELECT 1") == 1
    except Exception as error:
        assert isinstance(error.__cause__, psycopg2.OperationalError)  # noqa: PT017  # any other is no answer
        return False


def wait_for(condition: Callable[[], bool], patience_s: float = 60) -> None:
    """What another process does when it comes to it."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)
