"""A wire to the server that can be cut where it hurts."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import URL


class Proxy:
    """Passes bytes to and from a server; what the client sends may cut the wire.

    :param cut: called with what the client sends; True cuts that connection ``after`` the server has answered it, or
        before the server sees it.
    """

    def __init__(self, url: URL, cut: Callable[[bytes], bool], *, after: bool) -> None:
        self._server = url
        self._cut = cut
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        plain = {"sslmode": "disable", "gssencmode": "disable"}  # so that messages can be read on the way
        self.url = url.set(host="127.0.0.1", port=self._listener.getsockname()[1], query=plain)
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

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
                threading.Thread(target=self._serve, args=(client, self._connect()), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        silent = threading.Event()
        back = threading.Thread(target=self._answer, args=(client, server, silent), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._cut(data):
                    self.cuts += 1
                    silent.set()
                    if self._after:
                        server.sendall(data)
                        back.join(30)
                    break
                server.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # closing alone tells nobody while a thread still reads
            end.close()

    @staticmethod
    def _answer(client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if silent.is_set():
                    return
                client.sendall(data)


@contextlib.contextmanager
def proxy(url: URL, cut: Callable[[bytes], bool], *, after: bool) -> Iterator[Proxy]:
    wire = Proxy(url, cut, after=after)
    try:
        yield wire
    finally:
        wire.close()


class AtLastCommit:
    """Cuts, once, where a load's own transaction commits: after the batch's row was written."""

    def __init__(self, wrote: bytes = b"INSERT INTO dw.etl_load_batch") -> None:
        self._wrote = wrote
        self._recorded = self._done = False

    def __call__(self, data: bytes) -> bool:
        self._recorded |= self._wrote in data
        if self._recorded and not self._done and b"COMMIT" in data:
            self._done = True
            return True
        return False
