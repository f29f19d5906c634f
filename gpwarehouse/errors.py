"""The tree of errors. Catch :class:`GpwarehouseError` for all of them.

Every message names what is wrong (table, column, value) and what to do; none carries a password.
"""

from __future__ import annotations

from sqlalchemy import exc

from gpwarehouse.dialect.errors import GpwarehouseError, OptionError, UnsupportedByServerError

__all__ = [
    "AmbiguousCommitError",
    "BackupError",
    "BatchConflictError",
    "EmbeddedServerError",
    "GpwarehouseError",
    "InvalidInputError",
    "KeyCollisionError",
    "LoadError",
    "MigrationError",
    "MissingExtraError",
    "NaturalKeyError",
    "OptionError",
    "PartitionError",
    "PoolTimeoutError",
    "ReadCancelledError",
    "ReadError",
    "ResultTooLargeError",
    "RoleError",
    "SettingsError",
    "SourceFormatError",
    "TooManyRejectsError",
    "UnknownFormatError",
    "UnsupportedByServerError",
    "WarehouseConnectionError",
]


class SettingsError(GpwarehouseError, ValueError):
    """A setting is wrong: the message names the variable and what is allowed.

    :ivar problems: each thing that is wrong, a sentence each, where all settings were read.
    """

    problems: tuple[str, ...] = ()


class MissingExtraError(GpwarehouseError, ImportError):
    """An optional dependency is not installed: the message says which extra brings it."""


class WarehouseConnectionError(GpwarehouseError):
    """The server could not be reached or refused us; the message names host, port and database, never the password."""


class PoolTimeoutError(WarehouseConnectionError, exc.TimeoutError):
    """No pooled connection became free in time; the message says who holds them: thread, file and line, since when."""


class AmbiguousCommitError(WarehouseConnectionError):
    """The connection was lost while COMMIT was under way, so it may have gone through or not: look before doing it again."""


class EmbeddedServerError(GpwarehouseError):
    """The embedded PostgreSQL did not start or stop."""


class MigrationError(GpwarehouseError):
    """A migration was refused or failed."""


class PartitionError(GpwarehouseError):
    """A partition could not be made, moved, archived or restored; what was done before it stays done."""


class BackupError(GpwarehouseError):
    """A backup could not be made, read, verified or restored; the message says what stands as it was."""


class RoleError(GpwarehouseError):
    """Roles could not be made or granted; nothing was changed."""


class ReadError(GpwarehouseError):
    """A query could not be run or its result not be turned into a frame."""


class ReadCancelledError(ReadError):
    """A read was cancelled by its :class:`~gpwarehouse.engine.Cancellation`."""


class ResultTooLargeError(ReadError):
    """A result has more bytes than the caller allowed; no file was written."""


class NaturalKeyError(GpwarehouseError, ValueError):
    """A natural key part is NULL, or holds the separator U+001F."""


class SourceFormatError(GpwarehouseError, ValueError):
    """A file is not what its name says, or ends early. Nothing of it was loaded."""


class UnknownFormatError(SourceFormatError):
    """A file's content is no format that is read here."""


class LoadError(GpwarehouseError):
    """A load failed; nothing of the batch was loaded."""


class InvalidInputError(LoadError, ValueError):
    """The frame as a whole does not fit its target (unknown table, unknown or missing column)."""


class TooManyRejectsError(LoadError):
    """More rows were rejected than allowed, or all that were read; nothing was loaded, the rejects are in ``etl_reject``."""


class KeyCollisionError(LoadError):
    """Two natural keys hash to one durable key: refused, never merged."""


class BatchConflictError(LoadError):
    """The caller's batch id was loaded before with other content, or records of the batch stand in other batches since."""
