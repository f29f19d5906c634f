"""Airflow 3: a warehouse from a connection, and a batch id from the task instance that runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL

from gpwarehouse.errors import MissingExtraError, SettingsError
from gpwarehouse.jobs.batch_ids import make_batch_id
from gpwarehouse.settings.types import at_places, places_of
from gpwarehouse.warehouse import Warehouse

try:
    from airflow.sdk import Connection, get_current_context
except ImportError:
    raise MissingExtraError("gpwarehouse.jobs.airflow needs Airflow 3: pip install 'apache-airflow>=3.1.8'") from None

__all__ = ["batch_id", "open_warehouse"]


def open_warehouse(conn_id: str = "gpwarehouse", **overrides: Any) -> Warehouse:
    """Make a warehouse from an Airflow connection; call it in a task.

    Of the connection come host, port, login, password, and schema, which is the name of the database. Host may be several,
    ``host1:5432,host2:5432``, or the directory of a Unix socket. Extra holds other settings by their names in lower case, for
    example ``{"sslmode": "verify-full", "statement_mem": "2GB"}``.

    :param conn_id: the connection. Its type does not matter.
    :param overrides: single settings, which take precedence over the extra.
    :raises SettingsError: a field or the extra holds what no setting may be.
    """
    found = Connection.get(conn_id)
    url = URL.create("postgresql", found.login, found.password, found.host, found.port, found.schema or None)
    if url.host and url.host.startswith("/"):  # a socket's directory, which only the query of a URL can hold
        socket = {"host": url.host, "port": str(url.port or 5432)}
        url = URL.create("postgresql", url.username, url.password, None, None, url.database, socket)
    elif url.host and "," in url.host:
        try:
            url = at_places(url, places_of(url.host, url.port))
        except ValueError as error:
            raise SettingsError(f"host {url.host!r} of the Airflow connection {conn_id!r}: {error}") from None
    return Warehouse(url, **{**found.extra_dejson, **overrides})


def batch_id(key: str = "") -> str:
    """Make the batch id of the task instance that runs: from DAG, run, task and map index.

    All attempts of a task instance have the same id, also after it was cleared. Another run of the DAG has another one.

    :param key: what tells the loads of one task apart, for example the name of a file.
    :raises RuntimeError: no task runs here.
    """
    instance = get_current_context()["ti"]
    mapped = () if instance.map_index in (None, -1) else (str(instance.map_index),)
    return make_batch_id("airflow", instance.dag_id, instance.run_id, instance.task_id, *mapped, key=key)
