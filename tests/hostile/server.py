"""The hostile upstream on a socket: HTTP/1.1 by hand, so that it can break off, stay silent or lie anywhere."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from tests.hostile.world import Asked, Said

__all__ = ["Exchange", "Server"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it came, and the status of its answer (None: none, or none whole)."""

    asked: Asked
    status: int | None
    act: str


class Server:
    """Serves on a free port of the loopback until it is closed. `answer` and `time` may be exchanged."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Said] = lambda _asked: Said(503)
        self.time: Callable[[], float] = lambda: 0.0
        self.exchanges: list[Exchange] = []
        self.requests = self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        # Closing alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Forget what was asked so far."""
        with self._lock:
            self.exchanges, self.requests, self.connections = [], 0, 0

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
            number = self.connections
        try:
            with contextlib.suppress(OSError), connection, connection.makefile("rb") as incoming:
                while (read := _read(incoming)) and self._one(connection, number, *read):
                    pass
        finally:
            self._open.discard(connection)

    def _one(
        self, connection: socket.socket, number: int, path: str, head: dict[str, str], body: bytes
    ) -> bool:
        """Answer one request; say whether the connection goes on."""
        value = head.get("anthropic-beta", "")
        names = [name.strip() for name in value.split(",") if name.strip()]
        if body[:1] == b"{":
            names += json.loads(body).get("anthropic_beta") or []
        with self._lock:  # one at a time, so that the draws come in the order of the requests
            self.requests += 1
            asked = Asked(
                self.requests, number, path.partition("?")[0], tuple(names), len(value), self.time()
            )
            said = self.answer(asked)
            status = said.status if said.act == "answer" else None
            self.exchanges.append(Exchange(asked, status, said.act))
        if said.act == "hang":
            connection.recv(1)  # until the other side has had enough
            return False
        if said.act == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        lines = [f"HTTP/1.1 {said.status} Answer", f"content-type: {said.media}"]
        lines += [
            f"content-length: {len(said.body)}",
            *(f"{name}: {text}" for name, text in said.headers),
        ]
        sent = said.body[: len(said.body) // 2] if said.act == "cut" else said.body
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        return said.act == "answer"


def _read(incoming: BinaryIO) -> tuple[str, dict[str, str], bytes] | None:
    """Read one request: its path, its fields in lower case (repeated ones joined), and its body."""
    first = incoming.readline(65536).split()
    if len(first) != 3:
        return None
    fields: dict[str, str] = {}
    while (line := incoming.readline(1 << 20).strip()) != b"":
        name, _, text = line.decode("latin-1").partition(":")
        key, text = name.strip().lower(), text.strip()
        fields[key] = f"{fields[key]},{text}" if key in fields else text
    return first[1].decode("latin-1"), fields, incoming.read(int(fields.get("content-length", 0)))
