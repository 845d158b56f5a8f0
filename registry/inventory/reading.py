"""Who uses what: the services, and who is affected when something happens to a beta.

A service counts as a user of a beta for 30 days after it was last seen with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.catalog import SEEN_WITHIN
from registry.core.facts import Event
from registry.core.health import (
    Declared,
    Health,
    Hour,
    answered,
    gravest,
    health_of,
    hits,
    said,
)
from registry.core.judgement import Judgement, Judges, Verdict
from registry.core.places import Place
from registry.inventory.recording import hour_of
from registry.models import (
    EventServiceRow,
    RiskRow,
    ServiceRow,
    UsageCountRow,
    UsageLocationRow,
    UsageRow,
)
from registry.report import Location

__all__ = [
    "Affected",
    "Location",
    "Seen",
    "affected",
    "affected_by",
    "count_users",
    "has_usage",
    "hours_of",
    "lines_of",
    "located",
    "names_affected",
    "seen",
    "who",
]

LOCATIONS: Final = 20
"""Code locations shown of one usage, or of one beta in one service and environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A service that was seen with a beta, in one environment.

    `place` is where it was seen, the gravest place of several, and `platform` that of it, None where
    nobody told. Counts are of requests, so scans add nothing to them. What is judged (`verdict` and on)
    is so at that place.
    """

    service: str
    environment: str
    team: str | None
    owner: str | None
    platform: str | None
    last_seen: datetime
    count_24h: int
    refused_24h: int
    locations: tuple[Location, ...]
    contacts: tuple[str, ...] = ()
    place: Place
    verdict: Verdict
    detail: str
    use_instead: str | None
    health: Health


def affected(
    session: Session,
    betas: Iterable[str],
    judges: Judges,
    now: datetime,
    *,
    days: int = SEEN_WITHIN.days,
    teams: Collection[str] = (),
) -> dict[str, list[Affected]]:
    """Return for each beta who was seen with it in these days, by service and environment.

    Every beta asked for has its list, empty where nobody uses it.
    """
    names = sorted(set(betas))
    found = who(session, _wanted(names, now, days, teams), judges, now)
    return {name: found.get(name, []) for name in names}


def affected_by(
    session: Session,
    events: Sequence[Event],
    judges: Judges,
    now: datetime,
    *,
    days: int = SEEN_WITHIN.days,
    teams: Collection[str] = (),
) -> dict[int, list[Affected]]:
    """Return whom each event affects: the users of its beta whose own place it hits.

    Of `usage.at_risk` it is the service that it tells of, whoever else uses the beta.
    """
    concerned = [event for event in events if event.beta]
    if not concerned:
        return {event.id: [] for event in events}
    wanted = _wanted(sorted({event.beta for event in concerned if event.beta}), now, days, teams)
    used = seen(session, wanted, judges)
    told = _told(session, [event.id for event in events if event.type == "usage.at_risk"])
    hours, places = hours_of(session, wanted, now), _locations(session, wanted)
    found: dict[int, list[Affected]] = {event.id: [] for event in events}
    for event in concerned:
        hit = [
            item
            for item in used
            if item.usage.beta == event.beta
            and (
                (item.usage.service, item.usage.environment) in told.get(event.id, ())
                if event.type == "usage.at_risk"
                else hits(event, item.said)
            )
        ]
        found[event.id] = [
            _one(key, group, hours, places.get(key, ())) for key, group in _grouped(hit).items()
        ]
    return found


def _wanted(
    names: Sequence[str], now: datetime, days: int, teams: Collection[str]
) -> list[sa.ColumnElement[bool]]:
    wanted = [UsageRow.beta.in_(names), UsageRow.last_seen >= now - timedelta(days=days)]
    if teams:
        wanted.append(ServiceRow.team.in_(sorted(teams)))
    return wanted


def _told(session: Session, events: Sequence[int]) -> dict[int, set[tuple[str, str]]]:
    found: dict[int, set[tuple[str, str]]] = {}
    rows = sa.select(RiskRow.event, RiskRow.service, RiskRow.environment)
    for event, service, environment in session.execute(rows.where(RiskRow.event.in_(events))):
        found.setdefault(event or 0, set()).add((service, environment))
    return found


def has_usage(session: Session) -> bool:
    """Say whether any service ever reported what it uses."""
    return bool(session.scalar(sa.select(sa.exists().select_from(UsageRow))))


def count_users(
    session: Session, betas: Iterable[str], now: datetime, *, platform: str | None = None
) -> int:
    """Return how many services were lately seen with any of these betas, there or nobody knows where."""
    query = sa.select(sa.func.count(sa.distinct(UsageRow.service))).where(
        UsageRow.beta.in_(sorted(set(betas))), UsageRow.last_seen >= now - SEEN_WITHIN
    )
    if platform is not None:
        query = query.where(UsageRow.platform.in_(("", platform)))
    return session.scalar(query) or 0


_Key = tuple[str, str, str]
"""(beta, service, environment)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A usage, its service, and what holds for it."""

    usage: UsageRow
    service: Any
    said: Judgement


def seen(session: Session, wanted: Sequence[sa.ColumnElement[bool]], judges: Judges) -> list[Seen]:
    """Judge each of the usages that meet these conditions, each beta's in the order last seen."""
    rows = session.execute(
        sa.select(
            UsageRow, ServiceRow.team, ServiceRow.owner, ServiceRow.contacts, ServiceRow.repository,
            ServiceRow.tier, ServiceRow.platform, ServiceRow.model, ServiceRow.defaults,
        )
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .order_by(UsageRow.beta, UsageRow.service, UsageRow.environment, UsageRow.last_seen)
    ).all()  # fmt: skip
    return [
        Seen(row[0], row, said(judges, row[0], Declared(row.platform, row.model, row.defaults)))
        for row in rows
    ]


def who(
    session: Session, wanted: Sequence[sa.ColumnElement[bool]], judges: Judges, now: datetime
) -> dict[str, list[Affected]]:
    """Return by beta who was seen with it, of the usages that meet these conditions."""
    hours, places = hours_of(session, wanted, now), _locations(session, wanted)
    found: dict[str, list[Affected]] = {}
    for key, group in _grouped(seen(session, wanted, judges)).items():
        found.setdefault(key[0], []).append(_one(key, group, hours, places.get(key, ())))
    return found


def _grouped(used: Iterable[Seen]) -> dict[_Key, list[Seen]]:
    grouped: dict[_Key, list[Seen]] = {}
    for item in used:
        usage = item.usage
        grouped.setdefault((usage.beta, usage.service, usage.environment), []).append(item)
    return grouped


def _one(
    key: _Key,
    group: Sequence[Seen],
    hours: Mapping[int, Sequence[Hour]],
    places: Sequence[Any],
) -> Affected:
    service = group[0].service
    of_code = next((place.owner for place in places if place.owner), None)
    sent = [item for item in group if item.usage.source != "scan"] or group
    day = [
        (item.said, answered(hours.get(item.usage.id, ()), item.said.turned_at)) for item in sent
    ]
    worst = gravest(judged for judged, _ in day)
    platforms = [item.usage.platform for item in sent if item.said.place == worst.place]
    return Affected(
        service=key[1],
        environment=key[2],
        team=service.team,
        owner=service.owner or of_code,
        platform=next(filter(None, [*platforms, *(item.usage.platform for item in group)]), None),
        last_seen=group[-1].usage.last_seen,
        count_24h=sum(told.count for _, told in day),
        refused_24h=sum(told.refused for _, told in day),
        locations=located(places),
        contacts=tuple(service.contacts),
        place=worst.place,
        verdict=worst.verdict,
        detail=worst.detail,
        use_instead=worst.use_instead,
        health=health_of(day),
    )


def hours_of(
    session: Session,
    wanted: Sequence[sa.ColumnElement[bool]],
    now: datetime,
    first: int | None = None,
) -> dict[int, list[Hour]]:
    """Return the hours of the usages meant, by their id: of the last 24 hours, or from `first` on.

    Counts are kept by whole hours, so it is up to an hour more.
    """
    row = UsageCountRow
    rows = session.execute(
        sa.select(row.usage, row.hour, row.count, row.accepted, row.refused)
        .join(UsageRow, UsageRow.id == row.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted, row.hour >= (hour_of(now) - 24 if first is None else first))
    )
    found: dict[int, list[Hour]] = {}
    for usage, hour, count, accepted, refused in rows:
        found.setdefault(usage, []).append((hour, int(count), int(accepted), int(refused)))
    return found


def _locations(session: Session, wanted: Sequence[sa.ColumnElement[bool]]) -> dict[_Key, list[Any]]:
    key = (UsageRow.beta, UsageRow.service, UsageRow.environment)
    place = sa.func.row_number().over(
        partition_by=key, order_by=(UsageLocationRow.path, UsageLocationRow.line)
    )
    ranked = (
        sa.select(*key, UsageLocationRow.path, UsageLocationRow.line, UsageLocationRow.url,
                  UsageLocationRow.owner, place.label("place"))
        .join(UsageRow, UsageRow.id == UsageLocationRow.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .subquery()
    )  # fmt: skip
    rows = session.execute(
        sa.select(ranked).where(ranked.c.place <= LOCATIONS).order_by(ranked.c.place)
    )
    found: dict[_Key, list[Any]] = {}
    for row in rows:
        found.setdefault((row.beta, row.service, row.environment), []).append(row)
    return found


def located(lines: Iterable[Any]) -> tuple[Location, ...]:
    """Make values of rows."""
    return tuple(Location(path=row.path, line=row.line or None, url=row.url) for row in lines)


def lines_of(session: Session, wanted: Sequence[sa.ColumnElement[bool]]) -> dict[int, list[Any]]:
    """Return the first code locations of the usages meant, by their id."""
    row = UsageLocationRow
    rows = session.execute(
        sa.select(row.usage, row.path, row.line, row.url, row.owner)
        .join(UsageRow, UsageRow.id == row.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .order_by(row.usage, row.path, row.line)
    )
    found: dict[int, list[Any]] = {}
    for line in rows:
        held = found.setdefault(line.usage, [])
        if len(held) < LOCATIONS:
            held.append(line)
    return found


def names_affected(session: Session, events: Sequence[Event]) -> dict[int, list[str]]:
    """Return by event the services it hit when it was recorded, at most `catalog.NAMES` of each."""
    hit = [event.id for event in events if event.services]
    rows = session.execute(
        sa.select(EventServiceRow.event, EventServiceRow.service)
        .where(EventServiceRow.event.in_(hit))
        .order_by(EventServiceRow.event, EventServiceRow.service)
    )
    found: dict[int, list[str]] = {}
    for event, service in rows:
        found.setdefault(event, []).append(service)
    return found
