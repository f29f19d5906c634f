"""A gpfdist server inside the loading process: the segments of a Greenplum fetch a load's rows from it, all at once.

One server serves one load. It listens on one address, knows one path, which cannot be guessed, and closes every other
request without an answer: what it holds are a fab's data.

The protocol, version 1, as the segments of Greenplum 6 and 7 speak it (source: src/bin/gpfdist/gpfdist.c and
src/backend/access/external/url_curl.c of Greenplum, and tried): each segment sends a GET with ``X-GP-PROTO: 1`` and the scan it
belongs to in ``X-GP-XID``, ``X-GP-CID``, ``X-GP-SN``. The answer repeats ``X-GP-PROTO: 1``, in exactly this case, and
goes on in frames: a byte for the kind, four for the length (big-endian), the content. ``D`` is data in whole rows, ``D``
of length 0 the end, ``E`` an error, which fails the statement. Without the header a segment takes whatever comes before
the connection ends for all there is, so such a request gets nothing, and the caller compares the rows.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from gpwarehouse.errors import LoadError

__all__ = ["CannotServeError", "GpfdistServer"]

Encode = Callable[[pa.RecordBatch], Any]
_HEADER = b"HTTP/1.0 200 ok\r\nContent-type: text/plain\r\nX-GP-PROTO: 1\r\nConnection: close\r\n\r\n"
_REQUEST_WITHIN_S = 30.0
"""A connection that has not said what it wants by then is closed."""
_LAST_BATCH_WITHIN_S = 5.0
"""How long the end of a load waits for a batch that is being made; one that never comes must not hold it up."""
_ERROR = "the loading process could not go on; it has the reason"


class CannotServeError(LoadError):
    """There is no address or port to serve rows on; no row has been taken."""


class GpfdistServer:
    """Serves batches to the segments, each batch to one of them, until there are none.

    A context manager; at its end every connection is closed, so a statement that still reads fails.

    :param host: address to listen on; ``ports``: to try in turn, 0 for any free one.
    :param batches: read by the threads of the segments, one at a time.
    :param encode: a batch as text; runs in those threads at the same time.
    :raises LoadError: none of the ports can be listened on.
    :ivar rows: rows given out; ``bytes``: of text; ``segments``: numbers of the segments that came.
    :ivar error: what ended it before the last row, if anything did.
    """

    def __init__(self, host: str, ports: Sequence[int], batches: Iterator[pa.RecordBatch], encode: Encode) -> None:
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._batches = batches
        self._encode = encode
        self._reading = threading.Lock()
        self._state = threading.Lock()
        self._scan: tuple[str, ...] | None = None
        self.rows = self.bytes = 0
        self.segments: set[str] = set()
        self.error: BaseException | None = None
        self._server = _listen(host, ports, self)
        at = self._server.server_address
        shown = f"[{host}]" if ":" in host else host
        self.url = f"gpfdist://{shown}:{at[1]}{self._path}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="gpwarehouse-gpfdist", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, break off what is under way, end the threads."""
        self.fail(LoadError("the load is over"))
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        # Whoever goes on with the batches' source is not to find a thread of ours still reading from it.
        if self._reading.acquire(timeout=_LAST_BATCH_WITHIN_S):
            self._reading.release()

    def knows(self, path: str) -> bool:
        """Whether it is the path of this load."""
        return hmac.compare_digest(path.encode(), self._path.encode())

    def joins(self, scan: tuple[str, ...], segment: str) -> bool:
        """Whether a segment reads for the scan that came first: a second scan would get a part of the rows."""
        with self._state:
            self._scan = self._scan or scan
            self.segments.add(segment)
            return scan == self._scan

    def fail(self, error: BaseException) -> None:
        """No more rows for anybody."""
        with self._state:
            self.error = self.error or error

    def chunks(self) -> Iterator[Any]:
        """Text for one segment, until there is no more for any.

        :raises LoadError: the load has failed, here or for another segment.
        """
        while True:
            try:
                with self._reading:
                    batch = None if self.error else next(self._batches, None)
                    if batch is not None:
                        self.rows += batch.num_rows
                if batch is not None:
                    chunk = self._encode(batch)
            except BaseException as error:
                self.fail(error)
            if self.error is not None:
                raise LoadError(_ERROR) from None
            if batch is None:
                return
            with self._state:
                self.bytes += len(chunk)
            yield chunk


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_WITHIN_S
    server: _Server

    def do_GET(self) -> None:
        """Rows for the segment that asks; a connection that ends for anything else."""
        load = self.server.load
        if not load.knows(self.path) or self.headers.get("X-GP-PROTO") != "1":
            return
        scan = tuple(self.headers.get(f"X-GP-{part}", "") for part in ("XID", "CID", "SN"))
        self.connection.settimeout(None)  # the server decides how long it may take; close() breaks it off
        try:
            self.wfile.write(_HEADER)
            if load.joins(scan, self.headers.get("X-GP-SEGMENT-ID", "")):
                self._send(load)
            else:
                self._frame(b"E", b"these rows are served once, and another scan has them")
        except OSError as error:
            load.fail(error)

    def _send(self, load: GpfdistServer) -> None:
        try:
            for chunk in load.chunks():
                self._frame(b"D", chunk)
        except LoadError as error:
            self._frame(b"E", str(error).encode())
        else:
            self._frame(b"D", b"")

    def _frame(self, kind: bytes, content: Any) -> None:
        self.wfile.write(kind + struct.pack(">i", len(content)))
        if len(content):
            self.wfile.write(content)

    def send_error(self, *_: Any, **__: Any) -> None:
        """Say nothing to what is no request of a segment."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Not on the caller's standard error."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # every segment connects at once

    def __init__(self, address: Any, family: socket.AddressFamily, load: GpfdistServer) -> None:
        self.address_family = family
        self.load = load
        self._open: set[socket.socket] = set()
        self._changing = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the look-up of a name that HTTPServer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; remembered, so that it can be broken off."""
        with self._changing:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close it."""
        with self._changing:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Break off what is under way."""
        with self._changing:
            for request in self._open:
                with contextlib.suppress(OSError):  # it may have gone already
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Not on the caller's standard error: the statement fails, and says so."""
        self.load.fail(ConnectionError("a segment's connection was lost"))


def _listen(host: str, ports: Sequence[int], load: GpfdistServer) -> _Server:
    reason: Exception | None = None
    for port in ports:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return _Server(address, family, load)
        except OSError as error:
            reason = error
    raise CannotServeError(
        f"cannot serve rows on {host}: {reason}; set GPWAREHOUSE_GPFDIST_HOST to an address of this machine that the "
        "segments reach, and GPWAREHOUSE_GPFDIST_PORTS to ports that are free"
    ) from None
