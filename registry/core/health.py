"""How usage stands: where it was seen, what holds there, which answers speak of that, and how healthy it is.

    places, said    a usage's own place, and what the judgement says of it there; `gravest` of several
    answered        requests by the hour, and the answers among them that speak of what holds now
    health_of       all of a service's betas together
    hits            whether an event concerns a usage

Nothing is judged here: this chooses among judgements, and weighs them with what a service itself saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol, get_args

from registry.core.facts import Event, Json
from registry.core.judgement import VERDICTS, Judgement, Judges, lenient_place
from registry.core.names import PLATFORMS
from registry.core.places import PARTS, Place, covers

__all__ = [
    "ENDING",
    "HEALTHS",
    "Answered",
    "Cell",
    "Declared",
    "Health",
    "Hour",
    "answered",
    "event_place",
    "gravest",
    "health_of",
    "hits",
    "places",
    "said",
]

Health = Literal["ok", "at_risk", "failing"]
HEALTHS: Final[tuple[Health, ...]] = get_args(Health)


class Cell(NamedTuple):
    """A beta and where it was seen, beside the platform; what is not known is empty."""

    beta: str
    api: str = ""
    hosting: str = ""
    region: str = ""
    model: str = ""
    endpoint: str = ""


class Seen(Protocol):
    """A usage, as far as its place goes. `models` are those of before each usage had one."""

    @property
    def beta(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def api(self) -> str: ...
    @property
    def hosting(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def models(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Declared:
    """What a service has declared of its place."""

    platform: str | None = None
    model: str | None = None
    defaults: Mapping[str, Json] | None = None


def places(usage: Seen, declared: Declared = Declared()) -> list[Place]:
    """Return where a usage was: one place, or one for each of its models where counts are not kept by it.

    What nobody told is taken from the service; its API, hosting and region belong to its platform.
    """
    platform = usage.platform or declared.platform
    given = declared.defaults or {}
    own = given if platform == declared.platform else {}
    models: Sequence[str | None] = [usage.model] if usage.model else usage.models or [None]
    return [
        lenient_place(
            platform,
            usage.api or own.get("api"),
            usage.hosting or own.get("hosting"),
            usage.region or own.get("region"),
            model or declared.model,
            usage.endpoint or given.get("endpoint"),
        )
        for model in models
    ]


def said(judges: Judges, usage: Seen, declared: Declared = Declared()) -> Judgement:
    """Return what holds for a usage where it was seen."""
    return gravest(judges.there(usage.beta, place) for place in places(usage, declared))


def gravest(judged: Iterable[Judgement]) -> Judgement:
    """Choose the gravest of some judgements, in the order of rule 0."""
    return min(judged, key=lambda item: (VERDICTS.index(item.verdict), item.issue is None))


@dataclass(frozen=True, slots=True)
class Answered:
    """Requests of some time, and the answers among them that speak of what holds now."""

    count: int = 0
    refused: int = 0
    count_since: int = 0
    accepted_since: int = 0
    refused_since: int = 0

    def __add__(self, other: Answered) -> Answered:
        return Answered(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


Hour = tuple[int, int, int, int]
"""(number of the hour since 1970, count, accepted, refused)."""


def answered(hours: Iterable[Hour], turned_at: datetime | None) -> Answered:
    """Add up hours. An acceptance speaks only in an hour that began after the turn (rule 10).

    A refusal speaks in the hour of the turn, too: it cannot make a place look better than it is.
    """
    turn = turned_at.timestamp() / 3600 if turned_at is not None else float("-inf")
    total = Answered()
    for hour, count, accepted, refused in hours:
        since = hour >= turn
        total += Answered(
            count=count,
            refused=refused,
            count_since=count if since else 0,
            accepted_since=accepted if since else 0,
            refused_since=refused if hour + 1 > turn else 0,
        )
    return total


def health_of(judged: Iterable[tuple[Judgement, Answered]]) -> Health:
    """Return a service's health from its usages: what holds there, and the answers of the last 24 hours.

    What the service itself saw since then outweighs what is known: refusals mean that it fails, and a
    beta that should fail and is accepted there puts it at risk only.
    """
    health: Health = "ok"
    for item, seen in judged:
        if seen.refused_since or (item.fails and not seen.accepted_since):
            return "failing"
        if item.at_risk:
            health = "at_risk"
    return health


# --- Events ---------------------------------------------------------------------------------------


def event_place(event: Event) -> Place:
    """Return where an event happened: its platform, and what it tells of a narrower place."""
    for side in (event.after, event.before):
        if not isinstance(side, Mapping):
            continue
        for told in (side.get("place"), *(side.get("places") or ())):
            parts = told.get("place", told) if isinstance(told, Mapping) else None
            if isinstance(parts, Mapping) and parts.get("platform") == event.platform:
                return _narrow(parts)
    known = [platform for platform in PLATFORMS if platform == event.platform]
    return Place(platform=known[0] if known else None)


def _narrow(parts: Mapping[str, Json]) -> Place:
    return Place(**{part: parts.get(part) for part in PARTS})


ENDING: Final = frozenset(
    {
        "beta.retired",
        "beta.refused",
        "beta.deprecated",
        "beta.sunset_approaching",
        "beta.superseded",
    }
)
"""Events after which another beta is wanted, or none."""


def hits(event: Event, item: Judgement) -> bool:
    """Say whether an event concerns a usage: it happened where that is, and what it tells holds there."""
    if not covers(event_place(event), item.place):
        return False
    if event.type in ENDING:
        return item.fails or item.issue in ("retired", "refused", "deprecated", "superseded")
    if event.type == "beta.ga":
        return item.status == "ga"
    return True
