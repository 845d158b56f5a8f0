"""Which subscription wants which event, and when: pure decisions, without database or clock.

read_filter, check_pair   what a person asks for -> a filter that can match, or one clear sentence
wants                     a filter, an event and who is affected -> yes or no
next_digest               a schedule and a time zone -> the next moment
retry_after               how often it was tried -> how long to wait, or no more
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from registry.core.errors import Invalid
from registry.core.facts import EVENT_TYPES, STATUSES, Event, Json
from registry.core.names import PLATFORMS, is_well_formed, parse

__all__ = [
    "RETRIES",
    "SCHEDULES",
    "Filter",
    "Schedule",
    "is_pending",
    "next_digest",
    "read_filter",
    "read_zone",
    "retry_after",
    "wants",
]

Schedule = Literal["immediate", "daily", "weekly"]
SCHEDULES: Final[tuple[Schedule, ...]] = ("immediate", "daily", "weekly")

DIGEST_HOUR: Final = 9
"""Local hour of a digest; a weekly one comes on Monday."""

RETRIES: Final[tuple[timedelta, ...]] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Waits between the attempts, three days in all (Standard Webhooks 1.0.0, "Retry schedule")."""

JITTER: Final = 0.1
"""Share by which a wait is lengthened at most, so that receivers are not hit in step."""

MAX_WORDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a subscription wants to hear of. An empty member asks for nothing in particular.

    `types` may end in `.*`. An event without a platform concerns every platform of its beta. `teams`
    are those whose services are affected. `backfill`: history, too. `pending`: also what a target has
    begun to see and has not decided yet.
    """

    types: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    backfill: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True)
class _Words:
    """What the members of one list of a filter may be."""

    what: str
    allowed: Collection[str] = field(default=())

    def check(self, member: str, word: str) -> None:
        if self.allowed and word not in self.allowed:
            shown = ", ".join(sorted(self.allowed))
            raise Invalid(f"filter.{member}: {word[:60]!r} is not a {self.what}; use {shown}.")
        if not 0 < len(word.strip()) <= 200:
            raise Invalid(f"filter.{member}: a {self.what} has 1 to 200 characters.")


_GROUPS: Final = frozenset(f"{kind.partition('.')[0]}.*" for kind in EVENT_TYPES)
_LISTS: Final[Mapping[str, _Words]] = {
    "types": _Words("type of event", frozenset(EVENT_TYPES) | _GROUPS),
    "betas": _Words("beta"),
    "features": _Words("feature"),
    "platforms": _Words("platform", frozenset(PLATFORMS)),
    "statuses": _Words("status", frozenset(STATUSES)),
    "teams": _Words("team"),
}

_WITHOUT_BETA: Final = ("source.", "target.")


def read_filter(value: Json) -> Filter:
    """Read and check a filter. Raises `Invalid`, also for one that no event can ever match."""
    if not isinstance(value, Mapping):
        raise Invalid('filter: send an object, such as {"types": ["beta.retired"]}.')
    known = {item.name for item in fields(Filter)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise Invalid(
            f"filter: {str(unknown[0])[:60]!r} is no member; use {', '.join(sorted(known))}."
        )
    flags = {flag: value.get(flag, False) for flag in ("backfill", "pending")}
    for flag, given in flags.items():
        if not isinstance(given, bool):
            raise Invalid(f"filter.{flag}: say true or false.")
    lists = {member: _read_words(member, value.get(member)) for member in _LISTS}
    made = Filter(**lists, backfill=flags["backfill"], pending=flags["pending"])
    _check_possible(made)
    return made


def _read_words(member: str, value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Invalid(f"filter.{member}: send a list of texts.")
    if len(value) > MAX_WORDS:
        raise Invalid(
            f"filter.{member}: at most {MAX_WORDS} are taken; leave it out to hear of all."
        )
    for word in value:
        _LISTS[member].check(member, word)
    return tuple(dict.fromkeys(value))


def _check_possible(made: Filter) -> None:
    """Refuse what can never match, instead of being silent for ever."""
    for name in made.betas:
        if not is_well_formed(name):
            raise Invalid(f"filter.betas: {name[:60]!r} is not a beta name.")
    if made.betas and made.features:
        possible = {parse(name).feature for name in made.betas} & set(made.features)
        if not possible:
            raise Invalid(
                "filter: none of the betas belongs to one of the features, so nothing can match; "
                "leave one of the two out."
            )
    narrowed = made.betas or made.features or made.statuses or made.teams
    without = made.types and all(kind.startswith(_WITHOUT_BETA) for kind in made.types)
    if narrowed and without and "source.*" not in made.types and "source.entry" not in made.types:
        raise Invalid(
            "filter: events of sources and targets concern no beta, so with betas, features, statuses "
            "or teams nothing can match."
        )


def read_zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name. Raises `Invalid`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Names come from outside: one that is a folder of the database is an OSError.
        raise Invalid(
            f"{name[:64]!r} is no time zone; use an IANA name such as Europe/Berlin or UTC."
        ) from None


# --- Who hears of what ----------------------------------------------------------------------------


def wants(filter: Filter, event: Event, status: str | None, teams: Collection[str]) -> bool:
    """Say whether a filter lets an event through.

    `status` is that of its beta where it happened, as it is now; `teams` are those with affected services.
    """
    if (event.backfill and not filter.backfill) or (is_pending(event) and not filter.pending):
        return False
    return (
        (not filter.types or any(_is_of(event.type, kind) for kind in filter.types))
        and (not filter.betas or event.beta in filter.betas)
        and (not filter.features or event.feature in filter.features)
        and (not filter.platforms or _is_on(event, filter.platforms))
        and (not filter.statuses or status in filter.statuses)
        and (not filter.teams or not set(teams).isdisjoint(filter.teams))
    )


def is_pending(event: Event) -> bool:
    """Say whether an event only tells what a target has begun to see: nothing is decided by it."""
    if event.type != "beta.changed" or event.before == event.after:
        return False
    return bool(_decided(event.before) == _decided(event.after))


def _decided(side: Json) -> Json:
    """Return a side of an event without what is pending."""
    if isinstance(side, Mapping):
        return {key: _decided(member) for key, member in side.items() if key != "pending"}
    return [_decided(member) for member in side] if isinstance(side, list) else side


def _is_of(type: str, kind: str) -> bool:
    return type.startswith(kind[:-1]) if kind.endswith(".*") else type == kind


def _is_on(event: Event, platforms: Sequence[str]) -> bool:
    if event.platform is None:
        return event.beta is not None  # it may concern any of them
    return event.platform in platforms


# --- When -----------------------------------------------------------------------------------------


def next_digest(schedule: str, timezone: str, now: datetime) -> datetime | None:
    """Return the first moment after `now` at which a digest is due; None for `immediate`.

    It is 9 o'clock local time, on Mondays if weekly; a clock that jumps over it makes it come an hour
    later, never twice.
    """
    if schedule == "immediate":
        return None
    zone = read_zone(timezone)
    local = now.astimezone(zone)
    day = local.date()
    for _ in range(16):
        due = datetime(day.year, day.month, day.day, DIGEST_HOUR, tzinfo=zone)
        if due.astimezone(now.tzinfo) > now and (schedule == "daily" or day.weekday() == 0):
            return due.astimezone(now.tzinfo)
        day += timedelta(days=1)
    raise AssertionError("a week has a Monday")


def retry_after(tries: int, share: float, asked: float | None = None) -> timedelta | None:
    """Return how long to wait after the `tries`-th failure in a row, or None to give up.

    `share` from 0 to 1 places the wait within its jitter; `asked` is the receiver's `retry-after` in
    seconds, which can lengthen the wait and never shorten it.
    """
    if tries > len(RETRIES):
        return None
    wait = RETRIES[max(tries, 1) - 1] * (1 + JITTER * share)
    return max(wait, timedelta(seconds=asked)) if asked else wait
