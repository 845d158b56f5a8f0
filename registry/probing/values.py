"""The values of probing: what a sweep is given, what it remembers, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal, Protocol

from registry.core.facts import Json, parse_time
from registry.core.lifecycle import Observed, Standing

__all__ = [
    "Aside",
    "Candidate",
    "Limits",
    "Memory",
    "Observation",
    "Outcome",
    "Raw",
    "Report",
    "Sender",
    "read_memory",
]

Outcome = Literal["ok", "partial", "inconclusive", "blind", "mass_change"]

ASIDE_AFTER: Final = 3
"""Sweeps in a row in which a beta could not be proved alone, after which it is asked once a day."""
ONCE_A_DAY: Final = timedelta(days=1)


class Raw(Protocol):
    """One upstream answer as it came; `status` None: none came, and `error` says why."""

    @property
    def status(self) -> int | None:
        """HTTP status, or None."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers."""
        ...

    @property
    def body(self) -> bytes:
        """The body, bounded."""
        ...

    @property
    def error(self) -> str | None:
        """Why no answer came."""
        ...


class Sender(Protocol):
    """What sends one probe request (`platforms.Upstream`)."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints to probe, in order of trial."""
        ...

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Raw:
        """Send one request with these betas. Never raises for what upstream or network do."""

    def close(self) -> None:
        """Close the connections; the next request opens a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One beta to probe, with what the target knows of it. `path` is its list call, for `list`."""

    name: str
    standing: Standing
    conflicts: frozenset[str] = frozenset()
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a sweep: betas in one header, requests, and how a refusal that would decide is confirmed.

    `confirmations` requests that name it alone, spread over `confirm_spread` seconds.
    """

    max_header_betas: int = 100
    max_requests: int = 60
    confirmations: int = 5
    confirm_spread: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A beta that cannot be proved alone: what it answers, in how many sweeps, and when it was last asked."""

    strikes: int
    asked_at: datetime
    http_status: int | None = None
    message: str = ""

    def rests(self, now: datetime) -> bool:
        """Say whether it need not be asked now."""
        return self.strikes >= ASIDE_AFTER and timedelta() <= now - self.asked_at < ONCE_A_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a target's next sweep must know of the last ones, beside the standings.

    `endpoint` is where both controls held, `missing` counts the sweeps in a row in which it was not found.
    `open` are the betas among which a search for unnamed refusals goes on. `names_few`: a refusal does
    not name all that it refuses; `apart` are those whose own refusal does not name them, so that in a group
    they would cost a search. `wary` counts the sweeps for which it is remembered that a never-issued name
    was accepted. `max_names` and `max_bytes` of a header were learned at `learned_at`.
    """

    endpoint: str | None = None
    missing: int = 0
    open: tuple[str, ...] = ()
    aside: Mapping[str, Aside] = field(default_factory=lambda: MappingProxyType({}))
    names_few: bool = False
    apart: tuple[str, ...] = ()
    wary: int = 0
    max_names: int | None = None
    max_bytes: int | None = None
    learned_at: datetime | None = None


def read_memory(held: Mapping[str, Json]) -> Memory:
    """Read what `to_json` printed of a memory; nothing gives an empty one."""
    aside = {
        name: Aside(**{**item, "asked_at": parse_time(item["asked_at"])})
        for name, item in held.get("aside", {}).items()
    }
    learned = held.get("learned_at")
    made = {
        "open": tuple(held.get("open", ())),
        "apart": tuple(held.get("apart", ())),
        "aside": aside,
        "learned_at": parse_time(learned) if learned else None,
    }
    return Memory(**{**held, **made})


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a sweep learned of one beta; `confirmations` counts the requests that refused it alone.

    Those that can turn a state are made in one place, from refusals confirmed under controls that held
    at both ends of the sweep.
    """

    beta: str
    verdict: Observed
    http_status: int | None
    message: str
    request_id: str | None
    confirmations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One sweep as it went. `controls` are the requests that repeated both controls at its end.

    `names_refused` says whether this upstream names what it refuses (None: not found out);
    `retry_after` is how long it asked to be left alone, in seconds; `lost` are the betas of a mass change.
    """

    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    detail: str
    endpoint: str
    requests: int
    controls: int = 0
    observations: tuple[Observation, ...] = ()
    names_refused: bool | None = None
    retry_after: float | None = None
    lost: tuple[str, ...] = ()
    memory: Memory = Memory()
