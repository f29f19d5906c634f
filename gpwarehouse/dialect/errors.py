"""The root of the error tree, and the dialect's branch of it.

The root stands here because the dialect imports nothing else of ours; :mod:`gpwarehouse.errors` holds the rest.
"""

from __future__ import annotations

from sqlalchemy import exc


class GpwarehouseError(Exception):
    """Base of every error this package raises on purpose.

    :ivar safe_to_repeat: why the same may simply be done again, e.g. because the connection was lost; else None.
    :ivar sqlstate: the SQLSTATE of the server's error that it tells of; empty if there is none.
    """

    safe_to_repeat: str | None = None
    sqlstate: str = ""


class OptionError(GpwarehouseError, exc.ArgumentError):
    """A table option is wrong where it is written: the message names the option, the value and what is allowed."""


class UnsupportedByServerError(GpwarehouseError, exc.CompileError):
    """The statement needs what the target server does not have: the message names both, and the remedy."""
