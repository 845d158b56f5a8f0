"""Upstreams that misbehave on purpose, each a few lines: what they answer, request by request."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from tests.probing.stand_in import Reply

CONTROL = "never-issued-"


def accepted() -> Reply:
    """A count of tokens."""
    return Reply(200, {}, b'{"input_tokens": 8}')


def failure(
    status: int, message: str, kind: str = "invalid_request_error", **headers: str
) -> Reply:
    """An error as the API words it."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011x"}
    return Reply(status, headers, json.dumps(body).encode())


def naming(names: Collection[str]) -> Reply:
    """A refusal that names these."""
    shown = ", ".join(f"`{name}`" for name in names)
    return failure(400, f"Unexpected value(s) {shown} for the `anthropic-beta` header.")


def unnamed() -> Reply:
    """A refusal that names nothing."""
    return failure(400, "invalid beta flag")


@dataclass
class Ask:
    """One request as it came: the time is that of the pauses, `connection` counts them."""

    betas: tuple[str, ...]
    endpoint: str
    number: int
    connection: int
    seconds: float


@dataclass
class Scripted:
    """Sends to a function; counts requests, connections and the time that was waited."""

    answer: Callable[[Ask], Reply]
    endpoints: tuple[str, ...] = ("count_tokens",)
    asked: list[Ask] = field(default_factory=list)
    connection: int = 0
    seconds: float = 0.0
    _open: bool = False

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Reply:
        """Answer one request."""
        if not self._open:
            self.connection, self._open = self.connection + 1, True
        ask = Ask(tuple(betas), endpoint, len(self.asked), self.connection, self.seconds)
        self.asked.append(ask)
        return self.answer(ask)

    def close(self) -> None:
        """The next request opens a connection."""
        self._open = False

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def alone(self, name: str) -> list[Ask]:
        """The requests that named only this beta."""
        return [ask for ask in self.asked if ask.betas == (name,)]


def refusing(
    dead: Collection[str], *, named: bool = True, first_only: bool = False
) -> Callable[[Ask], Reply]:
    """An API that refuses these, and names that were never issued."""

    def answer(ask: Ask) -> Reply:
        bad = [name for name in ask.betas if name in dead or name.startswith(CONTROL)]
        if not bad:
            return accepted()
        return naming(bad[:1] if first_only else bad) if named else unnamed()

    return answer
