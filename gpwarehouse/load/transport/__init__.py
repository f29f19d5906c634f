"""Arrow record batches → rows of a table, in the caller's transaction, by the path that suits the server."""

from gpwarehouse.load.transport.copy import Stored, copy_rows
from gpwarehouse.load.transport.external import Address, insert_rows
from gpwarehouse.load.transport.parallel import copy_parallel
from gpwarehouse.load.transport.route import Route, Router

__all__ = ["Address", "Route", "Router", "Stored", "copy_parallel", "copy_rows", "insert_rows"]
