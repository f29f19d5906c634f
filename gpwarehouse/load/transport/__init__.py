"""Arrow record batches → rows of a table, in the caller's transaction, by the path that suits the server."""

from gpwarehouse.load.transport.copy import Stored, copy_rows

__all__ = ["Stored", "copy_rows"]
