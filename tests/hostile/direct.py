"""The same world without HTTP, for statistics over thousands of searches and tables of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.hostile.world import Asked, Said

__all__ = ["Direct"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as a sender gives it."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    error: str | None = None


@dataclass
class Direct:
    """Sends to a world in this process, each request over a connection of its own if that was asked for."""

    answer: Callable[[Asked], Said]
    endpoints: tuple[str, ...] = ("count_tokens", "models")
    time: Callable[[], float] = lambda: 0.0
    connection: int = 1
    number: int = 0

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Reply:
        """Ask once."""
        where = path or {
            "count_tokens": "/v1/messages/count_tokens",
            "messages": "/v1/messages",
        }.get(endpoint, "/v1/models")
        value = ",".join(betas)
        self.number += 1
        asked = Asked(self.number, self.connection, where, tuple(betas), len(value), self.time())
        said = self.answer(asked)
        if said.act != "answer":
            return Reply(None, {}, b"", f"The other side broke off ({said.act}).")
        return Reply(said.status, dict(said.headers), said.body)

    def close(self) -> None:
        """Leave the connection."""
        self.connection += 1
