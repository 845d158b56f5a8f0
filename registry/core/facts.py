"""The values that travel through the product: what is claimed, what is known, what changed.

    Claim     one dated statement about one field of one beta, with its source (the evidence)
    Finding   what one run of a source learned: claims, entries, what to remember until next time
    Beta      what is known of one beta, derived from its claims
    Event     one entry of the changelog
    Snapshot  all betas at one revision; immutable, shared by the server and the client

All are frozen. `to_json` and `*_from_json` are exact inverses of each other for any of them, in the shapes
that the HTTP API promises. Times are aware and in UTC; dates are days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, get_args

from registry.core.names import Platform
from registry.core.places import ANYWHERE, Place

__all__ = [
    "BASES",
    "CONFIDENCES",
    "EVENT_TYPES",
    "GATES",
    "HEADER_EFFECTS",
    "STATES",
    "STATUSES",
    "UNDATED",
    "Basis",
    "Beta",
    "Claim",
    "Confidence",
    "Cost",
    "Entry",
    "Event",
    "EventType",
    "Finding",
    "Gate",
    "HeaderEffect",
    "Json",
    "Link",
    "PlaceFact",
    "PlatformState",
    "Seen",
    "Snapshot",
    "State",
    "Status",
    "parse_time",
    "rfc3339",
    "to_json",
]

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of them."""

Status = Literal["active", "deprecated", "ga", "retired", "unverified"]
HeaderEffect = Literal["required", "ignored", "changes_response", "unknown"]
Gate = Literal["public", "org", "internal", "unknown"]
State = Literal["supported", "refused", "restricted", "unknown"]
Basis = Literal[
    "operator",
    "probed",
    "traffic",
    "declared",
    "reported",
    "sdk",
    "litellm",
    "inferred",
    "usage",
]
Confidence = Literal["high", "medium", "low"]
EventType = Literal[
    "beta.discovered",
    "beta.deprecated",
    "beta.ga",
    "beta.retired",
    "beta.restored",
    "beta.superseded",
    "beta.supported",
    "beta.refused",
    "beta.restricted",
    "beta.changed",
    "beta.delisted",
    "beta.disputed",
    "beta.dispute_resolved",
    "beta.sunset_approaching",
    "feature.current_changed",
    "usage.at_risk",
    "usage.refusing",
    "source.entry",
    "source.failed",
    "source.recovered",
    "target.unhealthy",
    "target.recovered",
    "target.blind",
]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
HEADER_EFFECTS: Final[tuple[HeaderEffect, ...]] = get_args(HeaderEffect)
GATES: Final[tuple[Gate, ...]] = get_args(Gate)
STATES: Final[tuple[State, ...]] = get_args(State)
BASES: Final[tuple[Basis, ...]] = get_args(Basis)
CONFIDENCES: Final[tuple[Confidence, ...]] = get_args(Confidence)
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

UNDATED: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When a claim speaks that states no day: it is newer than nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One dated statement about one field of one beta.

    `field` is a member of a beta's JSON (`status`, `superseded_by`, `endpoints`), `current` (this beta
    is the current one of its feature), `listed` (a release of the official SDK holds the name: `version`
    and `at` say which and when), or `state` or `names` of one place. `value` is JSON in the shape of that
    member; null says nothing.
    `at` is the day or moment for which the statement speaks, not when we read it; `UNDATED` where no day
    is stated. `until` ends the claim by itself. `place` is where it holds: anywhere, unless its source says
    less. `where` is the heading, entry or path in the source that says it.
    """

    beta: str
    field: str
    value: Json
    source: str
    basis: Basis
    at: datetime
    confidence: Confidence = "high"
    version: str | None = None
    url: str | None = None
    quote: str | None = None
    until: datetime | None = None
    place: Place = ANYWHERE
    where: str | None = None

    @property
    def day(self) -> date | None:
        """The day for which it speaks; None where none is stated."""
        return None if self.at == UNDATED else self.at.date()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dated entry of a source that people read, such as a bullet of the release notes.

    `key` stays the same when the entry's words are rewritten later; `text` is what it says now.
    """

    key: str
    on: date
    text: str
    betas: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run of a source cost: requests sent, bytes received, and bytes it would have taken whole."""

    requests: int = 0
    bytes: int = 0
    bytes_whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one run of a source learned.

    `claims` holds what the source says today; what it said earlier and no longer says stays known as
    evidence. `complete` says that names which do not appear in `claims` are really absent from the
    source. `memo` is handed back to the source at its next run (an ETag, the releases already read).
    `unchanged` means the source answered "not modified": there is nothing to apply.
    `names` counts the names seen, to notice a source that forgets; `detail` is one sentence for people.
    """

    source: str
    claims: tuple[Claim, ...] = ()
    entries: tuple[Entry, ...] = ()
    complete: bool = False
    unchanged: bool = False
    memo: Mapping[str, Json] = field(default_factory=dict)
    cost: Cost = Cost()
    detail: str = ""

    @property
    def names(self) -> frozenset[str]:
        """All beta names that the claims speak of."""
        return frozenset(claim.beta for claim in self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The earliest or latest dated evidence that a beta exists."""

    source: str
    version: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """Another beta that this one needs or excludes, on one endpoint or (None) on all."""

    beta: str
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exception_:  # noqa: N801 - `Exception` is taken, and the contract says `exceptions`
    """Where a beta differs from its general facts: None means any."""

    platform: str | None = None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    model: str | None = None
    endpoint: str | None = None
    status: Status | None = None
    accepted: bool | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFact:
    """What is known of one beta at one place: the best evidence for exactly that place.

    `state` is `unknown` where only a status or a date is stated. `at` is the day for which the evidence
    speaks: None when its source states none, and then nothing is newer because of it. `disputed` names
    what contradicts it. `target` and `checked_at` say who found it by probing, and when last.
    """

    place: Place
    state: State = "unknown"
    status: Status | None = None
    accepted: bool | None = None
    names: tuple[str, ...] = ()
    deprecated_on: date | None = None
    sunset_on: date | None = None
    ga_on: date | None = None
    retired_on: date | None = None
    basis: Basis = "declared"
    source: str = ""
    url: str | None = None
    at: datetime | None = None
    target: str | None = None
    checked_at: datetime | None = None
    pending: Mapping[str, Json] | None = None
    disputed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformState:
    """What is known of one beta on one platform. `names` are what to send there."""

    state: State = "unknown"
    names: tuple[str, ...] = ()
    accepted: bool | None = None
    basis: Basis = "inferred"
    target: str | None = None
    checked_at: datetime | None = None
    pending: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beta:
    """What is known of one beta; the members are those of the API (CONTRACT: "A beta").

    `essential` None: nobody classified its body fields, so all count as essential (`core/body.py`).
    """

    name: str
    feature: str
    topic: str | None = None
    release_date: date | None = None
    status: Status = "unverified"
    status_since: date | None = None
    status_reason: str = ""
    basis: Basis = "inferred"
    confidence: Confidence = "low"
    disputed: str | None = None
    header_effect: HeaderEffect = "unknown"
    accepted: bool | None = None
    gate: Gate = "unknown"
    superseded_by: str | None = None
    newer: tuple[str, ...] = ()
    announced_on: date | None = None
    deprecated_on: date | None = None
    sunset_on: date | None = None
    ga_on: date | None = None
    retired_on: date | None = None
    summary: str = ""
    docs_url: str | None = None
    endpoints: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    requires: tuple[Link, ...] = ()
    conflicts_with: tuple[Link, ...] = ()
    body_fields: tuple[str, ...] = ()
    tool_types: tuple[str, ...] = ()
    essential: tuple[str, ...] | None = None
    body_instead: str | None = None
    notes: tuple[str, ...] = ()
    places: tuple[PlaceFact, ...] = ()
    exceptions: tuple[Exception_, ...] = ()
    platforms: Mapping[Platform, PlatformState] = field(default_factory=dict)
    current: bool = False
    listed: bool | None = None
    first_seen: Seen | None = None
    last_seen: Seen | None = None
    added_at: datetime | None = None
    changed_at: datetime | None = None
    services: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the changelog. `id` is given by the database, in commit order.

    `batch` is the id of the first event of the same transaction: what one sweep or one source told.
    """

    type: EventType
    at: datetime
    reason: str
    source: str
    id: int = 0
    effective_on: date | None = None
    backfill: bool = False
    beta: str | None = None
    feature: str | None = None
    platform: str | None = None
    target: str | None = None
    before: Json = None
    after: Json = None
    url: str | None = None
    services: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All betas at one revision (the id of the newest event). Never changed, only replaced.

    `as_of` is the day to which the bundled or synchronised facts reach; `probed_at` the end of the
    newest counted sweep, if there was one. `targets` maps a target's name to its platform, API, model
    and endpoint.
    """

    revision: int
    as_of: datetime
    betas: Mapping[str, Beta]
    probed_at: datetime | None = None
    targets: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


def rfc3339(moment: datetime) -> str:
    """Print an aware moment as RFC 3339 in UTC: `2026-11-23T12:00:00Z`, microseconds only if any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read RFC 3339 or a plain date (its first moment, UTC). Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_json(value: Any) -> Json:
    """Turn any value of this module into JSON in the shape that the API promises.

    The parts of its place stand beside the other members of a `PlaceFact`.
    """
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PlaceFact):
        rest = {item.name: getattr(value, item.name) for item in fields(value)}
        return {**to_json(rest.pop("place")), **to_json(rest)}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(member) for key, member in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [to_json(member) for member in value]
    return value
