"""Run a script of SQL as psql would, each statement in a transaction of its own."""

from __future__ import annotations

from sqlalchemy.engine import Engine

__all__ = ["run_script"]


def run_script(engine: Engine, sql: str) -> None:
    driver = engine.raw_connection()
    try:
        driver.autocommit = True  # type: ignore[attr-defined]
        with driver.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(sql)
    finally:
        driver.close()
