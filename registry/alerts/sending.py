"""The values of sending: a message, what became of it, and the administrator's rules.

Pure. What an answer means for the next try is decided here, once for every channel:

    sent        2xx
    gone        410: the receiver says that it will never listen again
    permanent   waiting cannot help: the rules refuse the address, the URL or a secret cannot be read, the
                message is too large (413), the URL takes no POST (405), the scheme is not allowed
    transient   all else, so that the schedule of retries decides: no connection, no answer in time, 5xx,
                429, 408, 425, a certificate that does not verify (it may be renewed), a name that does not
                resolve, and 3xx and other 4xx too, because somebody may mend the receiver tomorrow (this is
                what Standard Webhooks asks for)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.parse import unquote

from registry.core.facts import Json
from registry.core.redaction import redact

__all__ = [
    "Message",
    "Outcome",
    "Refused",
    "Result",
    "Rules",
    "hidden_in",
    "meaning",
    "tidy",
    "wait_asked",
]

Result = Literal["sent", "transient", "permanent", "gone"]

ANSWER_LENGTH: Final = 500
LONGEST_WAIT: Final = 86_400.0
_HELPLESS: Final = frozenset({405, 413})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, ready in every form."""

    id: str
    """Goes out as `webhook-id`: the same on every try."""
    at: datetime
    """When it happened; goes out as the `timestamp` of a webhook's body."""
    type: str
    """The event's type, or `digest`, `welcome`, `test`."""
    title: str
    severity: str
    """`critical`, `warning` or `info`."""
    text: str
    markdown: str
    html: str
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one try."""

    result: Result
    status: int | None
    latency_ms: int
    answer: str
    """What the receiver said: cut, without control characters and without secrets."""
    error: str | None
    """One sentence for the delivery log, when it was not sent."""
    retry_after: float | None
    """The seconds that the receiver asked to wait; a day at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the administrator allows."""

    allow_private: bool = False
    """Loopback, private, link-local and metadata addresses, and plain http."""
    apprise_schemes: frozenset[str] = frozenset()
    """Self-hosted services that are allowed beside those of fixed public hosts."""
    timeout: float = 10.0
    """Seconds for a whole try, from the name's resolution to the end of the answer."""


class Refused(Exception):
    """A try that failed without an answer. Its text is a sentence without secrets."""

    def __init__(self, sentence: str, result: Result) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.result: Result = result


def meaning(status: int) -> Result:
    """Say what a status is for the next try; the table stands at the top."""
    if 200 <= status < 300:
        return "sent"
    if status == 410:
        return "gone"
    return "permanent" if status in _HELPLESS else "transient"


def wait_asked(value: str | None, now: datetime) -> float | None:
    """Read `retry-after`: seconds or a date (RFC 9110, section 10.2.3). None if there is none to read."""
    if not value:
        return None
    if re.fullmatch(r"[0-9]+", value.strip()):
        return min(float(value.strip()[:12]), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return min(max((moment - now).total_seconds(), 0.0), LONGEST_WAIT)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def hidden_in(url: str, secrets: Iterable[str]) -> list[str]:
    """List what must not be shown of a channel: its secrets, and every part of its URL.

    Of a webhook's URL the host may be shown, so it is left out of the list. Of a service's URL nothing may:
    where others have a host, it often has the token.
    """
    scheme, _, rest = url.partition("://")
    wholes = [rest]
    if scheme.lower() in ("http", "https"):
        account, _, place = rest.rpartition("@")
        wholes = [account, place.partition("/")[2], place.partition("?")[2]]
    pieces = {url, *wholes}
    for whole in wholes:
        pieces |= {*whole.split("?"), *re.split(r"[/?&;=#@: ]+", whole)}
    bare = {secret.removeprefix("whsec_") for secret in secrets}
    return sorted(pieces | {unquote(piece) for piece in pieces} | set(secrets) | bare)


def tidy(text: str, secrets: Iterable[str]) -> str:
    """Make what somebody else said fit for a log: secrets masked, on one line, cut."""
    text = re.sub(r"whsec_[A-Za-z0-9+/=_-]*", "whsec_***", redact(text, secrets))
    kept = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(kept.split())[:ANSWER_LENGTH]
