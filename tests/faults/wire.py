"""A wire to the server that can be cut where it hurts, slowed, stopped, and closed in TLS as a server would be."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL

Verdict = Literal["cut", "cut after"] | None
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104


class Wire:
    """Passes bytes to and from a server.

    :param watch: called with what the client sends, in the thread that passes it on, so it may do anything first.
        ``"cut"`` cuts that connection before the server sees it, ``"cut after"`` when the server has answered it.
    :param listener: where clients come in; else any free port of this machine.
    :param tls: answer the client's request for TLS with this certificate; the way to the server stays plain.
    :ivar delay_s: added to every piece on its way; ``flowing``: clear it, and nothing gets through.
    """

    def __init__(
        self,
        url: URL,
        watch: Callable[[bytes], Verdict] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        listener: socket.socket | None = None,
    ):
        self._server = url
        self.watch = watch
        self._tls = tls
        self.delay_s = 0.0
        self.flowing = threading.Event()
        self.flowing.set()
        self._open: set[Any] = set()
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        host, self.port = self._listener.getsockname()[:2]
        plain = {"sslmode": "disable", "gssencmode": "disable"}  # so that messages can be read on the way
        self.url = url.set(host=host, port=self.port, query={} if tls else plain)
        self.cuts = 0
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, as a host that is gone."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or a thread in accept() would keep it open
        self._listener.close()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        for end in list(self._open):
            _cut(end)

    def _connect(self) -> socket.socket:
        folder = self._server.host or self._server.query.get("host")
        if isinstance(folder, str) and folder.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(Path(folder) / f".s.PGSQL.{self._server.port or self._server.query.get('port', 5432)}"))
            return server
        return socket.create_connection((self._server.host, self._server.port))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._begin, args=(client,), daemon=True).start()

    def _begin(self, client: socket.socket) -> None:
        self.connections += 1
        try:
            self._serve(self._encrypted(client), self._connect())
        except OSError:  # no server, or the client did not like the certificate
            client.close()

    def _encrypted(self, client: socket.socket) -> Any:
        while self._tls is not None:
            _, request = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
            if request == SSL_REQUEST:
                client.sendall(b"S")
                return self._tls.wrap_socket(client, server_side=True)
            if request != GSS_REQUEST:
                raise ConnectionRefusedError("this server takes TLS only")
            client.sendall(b"N")
        return client

    def _serve(self, client: Any, server: socket.socket) -> None:
        silent = threading.Event()
        self._open |= {client, server}
        back = threading.Thread(target=self._answer, args=(client, server, silent), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                verdict = self.watch(data) if self.watch is not None else None
                if verdict is not None:
                    self.cuts += 1
                    silent.set()
                    if verdict == "cut after":
                        server.sendall(data)
                        back.join(30)
                    break
                self._wait()
                server.sendall(data)
        for end in (client, server):
            _cut(end)
            end.close()
        self._open -= {client, server}

    def _wait(self) -> None:
        self.flowing.wait(60)
        if self.delay_s:
            time.sleep(self.delay_s)

    def _answer(self, client: Any, server: socket.socket, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if silent.is_set():
                    return
                self._wait()
                client.sendall(data)
        if not silent.is_set():
            _cut(client)  # the server is gone


def _cut(end: Any) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # closing alone tells nobody while a thread still reads


@contextlib.contextmanager
def wire(url: URL, watch: Callable[[bytes], Verdict] | None = None, **options: Any) -> Iterator[Wire]:
    made = Wire(url, watch, **options)
    try:
        yield made
    finally:
        made.close()
        made.cut_all()


@contextlib.contextmanager
def proxy(url: URL, cut: Callable[[bytes], bool], *, after: bool) -> Iterator[Wire]:
    """A wire that is cut where ``cut`` says so of what the client sends, before or ``after`` the server saw it."""
    verdict: Verdict = "cut after" if after else "cut"
    with wire(url, lambda data: verdict if cut(data) else None) as made:
        yield made


class AtLastCommit:
    """Cuts, once, where a load's own transaction commits: after the batch's row was written."""

    def __init__(self, wrote: bytes = b"INSERT INTO dw.etl_load_batch") -> None:
        self._wrote = wrote
        self._recorded = self._done = False

    def __call__(self, data: bytes) -> bool:
        self._recorded |= self._wrote in data
        if self._recorded and not self._done and b"COMMIT\0" in data:
            self._done = True
            return True
        return False
