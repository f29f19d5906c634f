"""A gpfdist server inside the loading process. The segments of a Greenplum fetch a load's rows from it in parallel.

One server serves one load. It listens on one address and knows one path, which cannot be guessed. It closes every other
request without an answer, because its rows are a fab's data.

The protocol is version 1, as the segments of Greenplum 6 and 7 use it (source: src/bin/gpfdist/gpfdist.c and
src/backend/access/external/url_curl.c of Greenplum, confirmed by tests). Each segment sends a GET with ``X-GP-PROTO: 1`` and
the id of its scan in ``X-GP-XID``, ``X-GP-CID``, ``X-GP-SN``. The answer repeats ``X-GP-PROTO: 1``, in exactly this case, and
continues in frames: one byte for the kind, four for the length (big-endian), the content. ``D`` is data in whole rows, ``D``
of length 0 is the end, ``E`` is an error, which fails the statement. Without the header a segment accepts any data up to the
end of the connection as complete. So a request without it gets nothing, and the caller compares the number of rows.
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
"""A connection whose request does not arrive within this time is closed."""
_LAST_BATCH_WITHIN_S = 5.0
"""Maximum time that the end of a load waits for a batch that is being made."""
_ERROR = "the loading process failed; it reports the reason"


class CannotServeError(LoadError):
    """No address or port is available to serve rows on. No row has been taken yet."""


class GpfdistServer:
    """Serves batches to the segments, each batch to one segment, until there are none.

    It is a context manager. At its end every connection is closed, so a statement that is still reading fails.

    :param host: address to listen on.
    :param ports: ports to try in turn; 0 means any free port.
    :param batches: read by the threads of the segments, one batch at a time.
    :param encode: encodes a batch as text; runs in several of those threads at the same time.
    :raises LoadError: none of the ports is available.
    :ivar rows: number of rows that were served.
    :ivar bytes: number of bytes of text that were served.
    :ivar segments: numbers of the segments that connected.
    :ivar error: the error that ended the server before the last row; None if there was none.
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
        """Stop listening, break off open connections, end the threads."""
        self.fail(LoadError("the load is over"))
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        # The caller continues to use the source of the batches: no thread of ours may still read from it.
        if self._reading.acquire(timeout=_LAST_BATCH_WITHIN_S):
            self._reading.release()

    def knows(self, path: str) -> bool:
        """Whether the path is that of this load."""
        return hmac.compare_digest(path.encode(), self._path.encode())

    def joins(self, scan: tuple[str, ...], segment: str) -> bool:
        """Whether a segment belongs to the first scan. A second scan would get a part of the rows."""
        with self._state:
            self._scan = self._scan or scan
            self.segments.add(segment)
            return scan == self._scan

    def fail(self, error: BaseException) -> None:
        """Stop giving out rows."""
        with self._state:
            self.error = self.error or error

    def chunks(self) -> Iterator[Any]:
        """Yield text for one segment, until no rows are left.

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
        """Send rows to the segment; close the connection for any other request."""
        load = self.server.load
        if not load.knows(self.path) or self.headers.get("X-GP-PROTO") != "1":
            return
        scan = tuple(self.headers.get(f"X-GP-{part}", "") for part in ("XID", "CID", "SN"))
        self.connection.settimeout(None)  # the server limits the time; close() breaks the connection off
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
        """Send nothing for requests that do not come from a segment."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Keep the caller's standard error clean."""


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
        """Bind without the name look-up that HTTPServer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a request in a thread of its own; remember it, so that it can be broken off."""
        with self._changing:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection."""
        with self._changing:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Break off the open connections."""
        with self._changing:
            for request in self._open:
                with contextlib.suppress(OSError):  # the connection may be closed already
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the caller's standard error clean: the statement fails and reports the error."""
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
        "segments can reach, and GPWAREHOUSE_GPFDIST_PORTS to free ports"
    ) from None
