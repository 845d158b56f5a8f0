"""A TCP relay in front of PostgreSQL that can fall silent: nothing arrives, and nothing is closed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

import sqlalchemy as sa

__all__ = ["Relay"]


class Relay:
    """Passes bytes between callers and a PostgreSQL server, but for the time that it is held."""

    def __init__(self, url: str) -> None:
        self._server = sa.make_url(url)
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The URL of the same database by way of this relay."""
        _, port = self._listener.getsockname()
        through = self._server.set(host="127.0.0.1", port=port, query={})
        return through.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    def hold(self) -> None:
        """Fall silent, on open connections and on new ones."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass on what waits, and all that follows."""
        self._flowing.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        for item in (self._listener, *self._sockets):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for item in (self._listener, *self._sockets):
            item.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._server.query['host']}/.s.PGSQL.{self._server.port or 5432}")
            self._sockets += [caller, server]
            for pair in ((caller, server), (server, caller)):
                self._threads.append(threading.Thread(target=self._pass, args=pair))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
