"""The settings of a session: the engine's on every new connection, and a block's for its own transaction.

Behind a pooler the engine's is set for each transaction alone, too: a session there is everybody's.

Names are looked up here and values are bound, so nothing of a caller's becomes SQL. Options that only Greenplum has are
checked and then left out on PostgreSQL: one job runs on both. A block's options are set for its transaction alone
(``set_config(…, true)``), so they are gone at its end and do not leak to the next user of a pooled session.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.types import MEMORY

__all__ = [
    "SESSION_OPTIONS",
    "SHARED_SESSION",
    "connection_values",
    "has_shared_session",
    "only_known",
    "session_values",
    "set_for_transaction",
    "statement_for",
    "statement_for_transaction",
]

_logger = logging.getLogger(__name__)

SHARED_SESSION = "gpwarehouse_shared_session"
"""In a connection's ``info``: whether a pooler stands between, which gives the server's session to others too."""


def has_shared_session(connection: Connection) -> bool:
    """Whether others are given the connection's session between two transactions, so that nothing may be left in it."""
    return bool(connection.info.get(SHARED_SESSION))


@dataclass(frozen=True)
class SessionOption:
    """An option of a session: the server's name of it, how a value is written, what is allowed, and where it is.

    :ivar segments: only servers with segments have it; ``since``: the PostgreSQL version that brought it.
    """

    name: str
    write: Callable[[Any], str]
    allowed: str
    segments: bool = False
    since: tuple[int, ...] = ()

    def known_to(self, server: ServerInfo) -> bool:
        """Whether the server has it."""
        return server.postgres_version >= self.since and not (self.segments and server.brand is Brand.POSTGRESQL)


def _seconds(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2_147_483:
        raise ValueError
    return f"{value * 1000:.0f}"


def _memory(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(MEMORY, value):
        raise ValueError
    return value


def _switch(value: Any) -> str:
    if value not in (True, False, "on", "off"):
        raise ValueError
    return value if isinstance(value, str) else "on" if value else "off"


def _one_of(*names: str) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return write


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) < 64 or "\0" in value:
        raise ValueError
    return value


_SECONDS = "seconds from 0 (no limit) to 2147483"
_SIZE = 'a size such as "512MB" or "2GB"'
_ON_OFF = '"on" or "off"'

SESSION_OPTIONS: dict[str, SessionOption] = {
    "statement_timeout_s": SessionOption("statement_timeout", _seconds, _SECONDS),
    "lock_timeout_s": SessionOption("lock_timeout", _seconds, _SECONDS),
    "idle_in_transaction_timeout_s": SessionOption(
        "idle_in_transaction_session_timeout", _seconds, _SECONDS, since=(9, 6)
    ),
    "application_name": SessionOption("application_name", _name, "a text of 1 to 63 bytes"),
    "work_mem": SessionOption("work_mem", _memory, _SIZE),
    "standard_conforming_strings": SessionOption("standard_conforming_strings", _switch, _ON_OFF),
    "enable_nestloop": SessionOption("enable_nestloop", _switch, _ON_OFF),
    "role": SessionOption("role", _name, "a role of which the login is a member"),
    "statement_mem": SessionOption("statement_mem", _memory, _SIZE, segments=True),
    "optimizer": SessionOption("optimizer", _switch, _ON_OFF, segments=True),
    "gp_autostats_mode": SessionOption(
        "gp_autostats_mode",
        _one_of("none", "on_change", "on_no_stats"),
        '"none", "on_change" or "on_no_stats"',
        segments=True,
    ),
    "gp_resource_group_bypass": SessionOption(
        "gp_resource_group_bypass", _switch, f"{_ON_OFF}; a superuser's on Greenplum 7", segments=True
    ),
}
"""The options that a block may set, by name.

A resource queue or group belongs to a role on Greenplum, not to a session: ``role`` runs the block as a role that has it.
"""


def session_values(options: Mapping[str, Any]) -> dict[str, str]:
    """A block's options as the texts to set, by the names given; None leaves one out.

    :raises InvalidInputError: an unknown option, or a value that is not allowed.
    """
    values: dict[str, str] = {}
    for given, value in options.items():
        option = SESSION_OPTIONS.get(given)
        if option is None:
            raise InvalidInputError(f"{given}= is no option of a session; allowed are {', '.join(SESSION_OPTIONS)}")
        if value is None:
            continue
        try:
            values[given] = option.write(value)
        except (ValueError, TypeError):
            raise InvalidInputError(f"{given}={value!r}: allowed is {option.allowed}") from None
    return values


def only_known(values: Mapping[str, str], server: ServerInfo) -> dict[str, str]:
    """The values by the server's own names, without those it does not have."""
    left_out = [given for given in values if not SESSION_OPTIONS[given].known_to(server)]
    if left_out:
        _logger.debug("%s has no %s: left out", server, ", ".join(left_out))
    return {SESSION_OPTIONS[given].name: value for given, value in values.items() if given not in left_out}


def statement_for(values: Mapping[str, str], *, local: bool) -> tuple[str, tuple[str, ...]]:
    """A driver's statement that sets these, and its parameters."""
    calls = ", ".join(f"pg_catalog.set_config(%s, %s, {str(local).lower()})" for _ in values)
    return f"SELECT {calls}", tuple(part for item in values.items() for part in item)


def statement_for_transaction(
    connection: Connection, values: Mapping[str, str], others: Mapping[str, str] | None = None
) -> tuple[str, tuple[str, ...]]:
    """A driver's statement that sets a block's options (:func:`session_values`) to the end of the connection's transaction.

    :param others: settings by the server's own names, which every server has; an option goes before one.
    :return: the statement, and its parameters; without any the statement would set nothing.
    """
    server = getattr(connection.dialect, "server_info", None)
    assert isinstance(server, ServerInfo)  # the connection is there, so it has been asked
    return statement_for({**(others or {}), **only_known(values, server)}, local=True)


def set_for_transaction(
    connection: Connection, values: Mapping[str, str], others: Mapping[str, str] | None = None
) -> None:
    """Run :func:`statement_for_transaction`, in one round trip."""
    statement, parameters = statement_for_transaction(connection, values, others)
    if parameters:
        connection.exec_driver_sql(statement, parameters)


def connection_values(settings: WarehouseSettings) -> dict[str, str]:
    """The settings that every connection of the warehouse's engine is made with, by option."""
    return session_values(
        {
            "statement_timeout_s": settings.statement_timeout_s,
            "lock_timeout_s": settings.lock_timeout_s,
            "idle_in_transaction_timeout_s": settings.idle_in_transaction_timeout_s,
            "statement_mem": settings.statement_mem,
            "work_mem": settings.work_mem,
            "optimizer": settings.optimizer,
        }
    )
