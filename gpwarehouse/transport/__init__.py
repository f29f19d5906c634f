"""Store Arrow record batches in a table, in the caller's transaction, by the path that suits the server; copy archives out."""

from gpwarehouse.transport.copy import Stored, Unread, copy_rows, leave_statistics_alone
from gpwarehouse.transport.copy_stream import ahead
from gpwarehouse.transport.copy_text import numbers_first
from gpwarehouse.transport.csv_archive import copy_in
from gpwarehouse.transport.gpfdist_load import Address, RejectPolicy, insert_rows
from gpwarehouse.transport.parallel import copy_parallel
from gpwarehouse.transport.route import Route, Router
from gpwarehouse.transport.scalars import NotPlainError, plain

__all__ = [
    "Address",
    "NotPlainError",
    "RejectPolicy",
    "Route",
    "Router",
    "Stored",
    "Unread",
    "ahead",
    "copy_in",
    "copy_parallel",
    "copy_rows",
    "insert_rows",
    "leave_statistics_alone",
    "numbers_first",
    "plain",
]
