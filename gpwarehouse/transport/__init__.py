"""Arrow record batches → rows of a table, in the caller's transaction, by the path that suits the server; and out again."""

from gpwarehouse.transport.copy import Stored, copy_rows, leave_statistics_alone
from gpwarehouse.transport.external import Address, insert_rows
from gpwarehouse.transport.parallel import copy_parallel
from gpwarehouse.transport.route import Route, Router
from gpwarehouse.transport.texts import copy_in, copy_out

__all__ = [
    "Address",
    "Route",
    "Router",
    "Stored",
    "copy_in",
    "copy_out",
    "copy_parallel",
    "copy_rows",
    "insert_rows",
    "leave_statistics_alone",
]
