"""What a hostile upstream answers: truth, wordings, noise, and a fleet of servers behind one address.

Written from captured answers (`tests/data/upstream-responses.jsonl`), not from the product's code.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Act = Literal["answer", "reset", "hang", "cut"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `at` is virtual time in seconds; `connection` counts TCP connections."""

    number: int
    connection: int
    path: str
    betas: tuple[str, ...]
    value_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. `cut`: half of the body, then the end; `hang`: nothing until the other side leaves."""

    status: int = 200
    body: bytes = b""
    media: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    act: Act = "answer"


def error(status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> Said:
    """An error as the API writes it."""
    body = {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_011Hostile",
    }
    told = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Said(status, json.dumps(body, ensure_ascii=False).encode(), headers=told)


def page(status: int, title: str) -> Said:
    """A page of some proxy."""
    text = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1><hr>nginx</body></html>"
    return Said(status, text.encode(), "text/html")


# --- Wordings of a refusal ------------------------------------------------------------------------

Wording = Callable[[Sequence[str], Asked], Said]
TAIL: Final = " for the `anthropic-beta` header. Please consult our documentation or try again without the header."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def named(bad: Sequence[str], asked: Asked) -> Said:
    """Name all that are refused, as the API does."""
    return error(400, f"Unexpected value(s) {_listed(bad)}{TAIL}")


def copilot(bad: Sequence[str], asked: Asked) -> Said:
    """Name all, in the words of a gateway, as plain text."""
    return Said(400, f"unsupported beta header(s): {', '.join(bad)}".encode(), "text/plain")


def unnamed(bad: Sequence[str], asked: Asked) -> Said:
    """Name nothing."""
    return error(400, "invalid beta flag")


def first_only(bad: Sequence[str], asked: Asked) -> Said:
    """Name only the first of those refused."""
    return named(bad[:1], asked)


def cut_message(bad: Sequence[str], asked: Asked) -> Said:
    """Cut the sentence after 90 characters, perhaps in the middle of a name."""
    return error(400, f"Unexpected value(s) {_listed(bad)}{TAIL}"[:90] + "...")


def cut_body(bad: Sequence[str], asked: Asked) -> Said:
    """Cut the bytes of the body after 200, so that its JSON never ends."""
    whole = named(bad, asked)
    return Said(400, whole.body[:200])


def cut_list(bad: Sequence[str], asked: Asked) -> Said:
    """Cut a plain list after 60 characters, perhaps where another beta's name would end."""
    return Said(400, f"unsupported beta header(s): {', '.join(bad)}"[:60].encode(), "text/plain")


def cut_names(bad: Sequence[str], asked: Asked) -> Said:
    """Cut each name after nine characters, which may be the whole name of another beta."""
    return error(400, f"Unexpected value(s) {_listed([name[:9] for name in bad])}{TAIL}")


def and_more(bad: Sequence[str], asked: Asked) -> Said:
    """Name two, and say how many more there are."""
    more = f" and {len(bad) - 2} more" if len(bad) > 2 else ""
    return error(400, f"Unexpected value(s) {_listed(bad[:2])}{more}{TAIL}")


def with_foreign(bad: Sequence[str], asked: Asked) -> Said:
    """Name also a flag that a gateway added itself."""
    return named(["gateway-flag-2024-05-05", *bad], asked)


def only_foreign(bad: Sequence[str], asked: Asked) -> Said:
    """Name nothing but a flag that a gateway added itself."""
    return named(["gateway-flag-2024-05-05"], asked)


def echo(bad: Sequence[str], asked: Asked) -> Said:
    """Repeat the whole header, whatever in it is refused."""
    return named(asked.betas, asked)


def french(bad: Sequence[str], asked: Asked) -> Said:
    """Name all, in French."""
    return error(400, f"Valeur(s) inattendue(s) {_listed(bad)} pour l'en-tête `anthropic-beta`.")


def japanese(bad: Sequence[str], asked: Asked) -> Said:
    """Name all, in Japanese."""
    return error(400, f"`anthropic-beta` ヘッダーに予期しない値 {_listed(bad)} があります。")


def allowed_too(bad: Sequence[str], asked: Asked) -> Said:
    """Name all that are refused, and then those that are not."""
    fine = [name for name in asked.betas if name not in bad]
    return error(
        400, f"Unsupported beta header(s): {', '.join(bad)}. Supported: {', '.join(fine)}."
    )


def buried(bad: Sequence[str], asked: Asked) -> Said:
    """Name all, under the status of a gateway and inside the text of an exception."""
    inner = named(bad, asked).body
    return Said(
        500, f"litellm.InternalServerError: AnthropicException - {inner!r}".encode(), "text/plain"
    )


# --- Answers that say nothing about a beta --------------------------------------------------------

BILLING: Final = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
    "purchase credits."
)
CREDITS: Final = "Usage credits are required for long context requests"

FAULTS: Final[dict[str, Said]] = {
    "429": error(429, "Rate limited", "rate_limit_error"),
    "429 wait 7 s": error(429, "Number of requests has exceeded your limit", "rate_limit_error", retry_after="7"),
    "429 wait 10 min": error(429, "Rate limited", "rate_limit_error", retry_after="600"),
    "429 credits": error(429, CREDITS, "rate_limit_error"),
    "529": error(529, "Overloaded", "overloaded_error"),
    "500": error(500, "Internal server error", "api_error"),
    "500 empty": Said(500),
    "502 HTML": page(502, "Bad Gateway"),
    "503 text": Said(503, b"upstream connect error or disconnect/reset before headers", "text/plain"),
    "504 HTML": page(504, "Gateway Time-out"),
    "reset": Said(act="reset"),
    "time-out": Said(act="hang"),
    "cut body": Said(200, b'{"input_tokens": 8' + b" " * 40 + b"}", act="cut"),
    "odd JSON": Said(200, b'{"status":"ok","result":[1,2,{"messages":null}]}'),
    "half JSON": Said(200, b'{"input_tok'),
    "200 empty": Said(200),
    "200 HTML": page(200, "Welcome to the hotel network"),
    "200 error": error(200, "Overloaded", "overloaded_error"),
    "400 nothing": Said(400, b"Bad Request", "text/plain"),
    "400 billing": error(400, BILLING),
    "400 disabled": error(400, "This organization has been disabled."),
    "400 field": error(400, "messages.0.content: Input should be a valid list"),
    "400 needs a tool": error(400, "Skills beta requires the code_execution tool to be enabled."),
    "401": error(401, "invalid x-api-key", "authentication_error"),
    "403": error(403, "Request not allowed", "permission_error"),
    "403 HTML": page(403, "Forbidden"),
    "403 workspace": error(403, "This beta is not supported in your workspace.", "permission_error"),
    "404": error(404, "Not found", "not_found_error"),
    "404 model": error(404, "model: claude-haiku-4-5", "not_found_error"),
    "413": error(413, "Request exceeds the maximum size", "request_too_large"),
    "400 too many": error(400, "anthropic-beta: too many values, at most 16 are allowed"),
    "400 too large": page(400, "Request Header Or Cookie Too Large"),
    "431": Said(431),
    "302": Said(302, b"", headers=(("location", "/login"),)),
}  # fmt: skip
"""By a short name: what an upstream, or something on the way, answers for reasons of its own."""

LIES: Final[dict[str, Callable[[Asked], Said]]] = {
    "refuses all": lambda asked: named(asked.betas or ("",), asked),
    "refuses unnamed": lambda asked: unnamed((), asked),
    "refuses first": lambda asked: named(asked.betas[:1] or ("",), asked),
    "refuses others": lambda asked: named(["context-1m-2025-08-07", "afk-mode-2026-01-31"], asked),
    "accepts all": lambda asked: accepted(asked),
    "restricts": lambda asked: error(400, "This beta is not yet available for this subscription."),
}
"""Answers that speak of betas and are not true, as of a server with another configuration."""


def accepted(asked: Asked) -> Said:
    """What the asked endpoint answers when all is well."""
    if asked.path.startswith("/v1/models"):
        return Said(200, b'{"data":[],"has_more":false,"first_id":null,"last_id":null}')
    if asked.path.endswith("count_tokens"):
        return Said(200, b'{"input_tokens":8}')
    return Said(
        200,
        b'{"type":"message","id":"msg_1","role":"assistant","content":[],"stop_reason":"max_tokens"}',
    )


# --- The fleet ------------------------------------------------------------------------------------

Balance = Literal["request", "alternate", "connection", "alternate connections", "sticky"]


@dataclass
class Fleet:
    """Two kinds of server behind one address: `share` of them are odd, refuse more or strip the header.

    `balance` is by what a request finds its server: a throw for each request or connection, strict
    alternation of either, or one server for all that comes within `window` seconds.
    """

    share: float = 0.0
    balance: Balance = "request"
    refuses: frozenset[str] = frozenset()
    strips: bool = False
    window: float = 90.0
    seed: int = 0
    _of_connection: dict[int, bool] = field(default_factory=dict)

    requests: int = 0

    def is_odd(self, asked: Asked, chance: random.Random) -> bool:
        """Say whether a request comes to one of the odd servers."""
        self.requests += 1
        match self.balance:
            case "request":
                return chance.random() < self.share
            case "alternate":
                return self.requests % 2 == 0
            case "alternate connections":
                return asked.connection % 2 == 0
            case "connection":
                return self._of_connection.setdefault(
                    asked.connection, chance.random() < self.share
                )
            case "sticky":
                return random.Random(f"{self.seed} {asked.at // self.window}").random() < self.share


@dataclass
class World:
    """All that decides an answer. Change it between requests; every draw comes from `chance`.

    In this order: `once` (answers for the next requests, None for a true one), limits, noise, a stripped
    header, poison (a beta that always gets its fault), and then the truth. `success` is how a beta is accepted.
    """

    known: set[str]
    chance: random.Random
    dead: set[str] = field(default_factory=set)
    wording: Wording = named
    noise: list[tuple[float, Callable[[Asked], Said]]] = field(default_factory=list)
    flapping: dict[str, float] = field(default_factory=dict)
    poison: dict[str, Said] = field(default_factory=dict)
    success: dict[str, Said] = field(default_factory=dict)
    fleet: Fleet | None = None
    longest_value: int | None = None
    most_betas: int | None = None
    too_long: Said = Said(431)
    no_endpoint: frozenset[str] = frozenset()
    once: list[Said | None] = field(default_factory=list)

    def answer(self, asked: Asked) -> Said:
        """Answer one request."""
        if self.once and (said := self.once.pop(0)) is not None:
            return said
        if any(asked.path.endswith(end) for end in self.no_endpoint):
            return FAULTS["404"]
        long = self.longest_value is not None and asked.value_bytes > self.longest_value
        if long or (self.most_betas is not None and len(asked.betas) > self.most_betas):
            return self.too_long
        draw = self.chance.random()
        for share, fault in self.noise:
            if draw < share:
                return fault(asked)
            draw -= share
        odd = self.fleet is not None and self.fleet.is_odd(asked, self.chance)
        return self._truth(asked, odd)

    def _truth(self, asked: Asked, odd: bool) -> Said:
        if odd and self.fleet is not None and self.fleet.strips:
            return accepted(asked)
        for name in asked.betas:
            if name in self.poison:
                return self.poison[name]
        more = self.fleet.refuses if odd and self.fleet is not None else frozenset()
        bad = [
            name
            for name in asked.betas
            if name not in self.known
            or name in self.dead
            or name in more
            or (name in self.flapping and self.chance.random() < self.flapping[name])
        ]
        if bad:
            return self.wording(bad, asked)
        return next(
            (self.success[name] for name in asked.betas if name in self.success), accepted(asked)
        )
