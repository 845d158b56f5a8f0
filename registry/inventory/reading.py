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
from registry.inventory.recording import hour_of
from registry.models import RiskRow, ServiceRow, UsageCountRow, UsageLocationRow, UsageRow

__all__ = [
    "Affected",
    "Location",
    "affected",
    "affected_by",
    "count_users",
    "has_usage",
    "last_day",
    "names_affected",
    "who",
]

LOCATIONS: Final = 20
"""Code locations shown of one beta in one service and environment."""
NAMES: Final = 100
"""Services named of one event; `services` of the event counts all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where in the code a beta stands."""

    path: str
    line: int | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A service that was seen with a beta, in one environment.

    `platform` is the one on which it was last seen, None where nobody told. Counts are of requests, so
    scans add nothing to them.
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


def affected(
    session: Session,
    betas: Iterable[str],
    now: datetime,
    *,
    platform: str | None = None,
    days: int = SEEN_WITHIN.days,
    teams: Collection[str] = (),
) -> dict[str, list[Affected]]:
    """Return for each beta who was seen with it in these days, by service and environment.

    With a `platform`, those that were seen there or whose platform is unknown. Every beta asked for has
    its list, empty where nobody uses it.
    """
    names = sorted(set(betas))
    wanted = [UsageRow.beta.in_(names), UsageRow.last_seen >= now - timedelta(days=days)]
    if platform is not None:
        wanted.append(UsageRow.platform.in_(("", platform)))
    if teams:
        wanted.append(ServiceRow.team.in_(sorted(teams)))
    found = who(session, wanted, now)
    return {name: found.get(name, []) for name in names}


def affected_by(
    session: Session, event: Event, now: datetime, *, teams: Collection[str] = ()
) -> list[Affected]:
    """Return whom an event affects: of `usage.at_risk` the service it tells of, else the beta's users."""
    if event.beta is None:
        return []
    everyone = affected(session, [event.beta], now, platform=event.platform, teams=teams)
    if event.type != "usage.at_risk":
        return everyone[event.beta]
    rows = session.execute(
        sa.select(RiskRow.service, RiskRow.environment).where(RiskRow.event == event.id)
    )
    told = {(service, environment) for service, environment in rows}
    return [item for item in everyone[event.beta] if (item.service, item.environment) in told]


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


def who(
    session: Session, wanted: Sequence[sa.ColumnElement[bool]], now: datetime
) -> dict[str, list[Affected]]:
    """Return by beta who was seen with it, of the usages that meet these conditions."""
    rows = session.execute(
        sa.select(UsageRow, ServiceRow.team, ServiceRow.owner, ServiceRow.contacts)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .order_by(UsageRow.beta, UsageRow.service, UsageRow.environment, UsageRow.last_seen)
    ).all()
    counts = last_day(session, wanted, now)
    places = _locations(session, wanted)
    grouped: dict[_Key, list[Any]] = {}
    for row in rows:
        usage = row[0]
        grouped.setdefault((usage.beta, usage.service, usage.environment), []).append(row)
    found: dict[str, list[Affected]] = {}
    for key, group in grouped.items():
        found.setdefault(key[0], []).append(_one(key, group, counts, places.get(key, ())))
    return found


def _one(
    key: _Key, group: Sequence[Any], counts: Mapping[int, tuple[int, int, int]],
    places: Sequence[Any],
) -> Affected:  # fmt: skip
    usages = [row[0] for row in group]
    team, owner, contacts = group[0][1:]
    of_code = next((place.owner for place in places if place.owner), None)
    day = [counts.get(usage.id, (0, 0, 0)) for usage in usages]
    return Affected(
        service=key[1],
        environment=key[2],
        team=team,
        owner=owner or of_code,
        platform=next((usage.platform for usage in reversed(usages) if usage.platform), None),
        last_seen=usages[-1].last_seen,
        count_24h=sum(count for count, _, _ in day),
        refused_24h=sum(refused for _, _, refused in day),
        locations=tuple(
            Location(path=place.path, line=place.line or None, url=place.url) for place in places
        ),
        contacts=tuple(contacts),
    )


def last_day(
    session: Session, wanted: Sequence[sa.ColumnElement[bool]], now: datetime
) -> dict[int, tuple[int, int, int]]:
    """Return (count, accepted, refused) of the last 24 hours of the usages meant, by their id.

    Counts are kept by whole hours, so it is up to an hour more.
    """
    sums = [
        sa.func.sum(column)
        for column in (UsageCountRow.count, UsageCountRow.accepted, UsageCountRow.refused)
    ]
    rows = session.execute(
        sa.select(UsageCountRow.usage, *sums)
        .join(UsageRow, UsageRow.id == UsageCountRow.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted, UsageCountRow.hour >= hour_of(now) - 24)
        .group_by(UsageCountRow.usage)
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in rows}


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


def names_affected(session: Session, events: Sequence[Event]) -> dict[int, list[str]]:
    """Return by event the services it affected when it was recorded, at most `NAMES` of each."""
    betas = {event.beta for event in events if event.beta and event.services}
    if not betas:
        return {}
    rows = session.execute(
        sa.select(
            UsageRow.beta, UsageRow.service, UsageRow.platform,
            sa.func.min(UsageRow.first_seen), sa.func.max(UsageRow.last_seen),
        )
        .where(UsageRow.beta.in_(sorted(betas)))
        .group_by(UsageRow.beta, UsageRow.service, UsageRow.platform)
        .order_by(UsageRow.service)
    )  # fmt: skip
    seen: dict[str, list[Any]] = {}
    for row in rows:
        seen.setdefault(row[0], []).append(row)
    told = _told(session, [event.id for event in events if event.type == "usage.at_risk"])
    return {
        event.id: told.get(event.id, [])
        if event.type == "usage.at_risk"
        else _names(event, seen.get(event.beta or "", ()))
        for event in events
    }


def _names(event: Event, seen: Iterable[Any]) -> list[str]:
    names = dict.fromkeys(
        service
        for _, service, platform, first, last in seen
        if (event.platform is None or platform in ("", event.platform))
        and first <= event.at
        and last >= event.at - SEEN_WITHIN
    )
    return list(names)[:NAMES]


def _told(session: Session, events: Sequence[int]) -> dict[int, list[str]]:
    rows = session.execute(
        sa.select(RiskRow.event, RiskRow.service)
        .where(RiskRow.event.in_(events))
        .order_by(RiskRow.service)
    )
    found: dict[int, list[str]] = {}
    for event, service in rows:
        found.setdefault(event or 0, []).append(service)
    return found
