"""Services: what is declared of them, what they were seen with, and how healthy that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.catalog import SEEN_WITHIN
from registry.core.errors import Invalid, NotFound
from registry.core.facts import Json
from registry.core.health import (
    HEALTHS,
    Answered,
    Health,
    answered,
    gravest,
    health_of,
)
from registry.core.judgement import Judgement, Judges
from registry.core.names import is_well_formed
from registry.core.places import PARTS, Place, place_of
from registry.db import upsert
from registry.inventory.reading import LOCATIONS, hours_of, located, seen
from registry.inventory.recording import check_name
from registry.models import ServiceRow, UsageLocationRow, UsageRow
from registry.report import Location

__all__ = [
    "BetaPlace",
    "Declaration",
    "Defaults",
    "Service",
    "ServiceBeta",
    "ServiceFilter",
    "declare",
    "defaults",
    "service",
    "services",
]

CHUNK: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What `/v1/header` takes for a service where the call says nothing."""

    platform: str | None = None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    model: str | None = None
    endpoint: str | None = None
    policy: str | None = None
    on_unknown: str | None = None
    on_unproven: str | None = None
    on_restricted: str | None = None
    betas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What somebody says of a service."""

    name: str
    team: str | None = None
    owner: str | None = None
    contacts: tuple[str, ...] = ()
    repository: str | None = None
    tier: str | None = None
    defaults: Defaults = Defaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaPlace:
    """How a beta stands at one place where the service was seen with it; counts are of 24 hours."""

    place: Place
    verdict: str
    status: str
    state: str
    since: date | None
    issue: str | None
    fails: bool
    health: Health
    count_24h: int
    refused_24h: int
    use_instead: str | None
    detail: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBeta:
    """A beta that a service was seen with, how it stands there, and what to do.

    `places` tells it for each place; what stands beside it is so at `place`, the gravest of them.
    """

    name: str
    place: Place
    verdict: str
    status: str
    state: str
    last_seen: datetime
    count_24h: int
    refused_24h: int
    count_30d: int
    refused_30d: int
    environments: tuple[str, ...]
    platforms: tuple[str, ...]
    models: tuple[str, ...]
    sources: tuple[str, ...]
    issue: str | None
    fails: bool
    health: Health
    use_instead: str | None
    detail: str
    advice: str
    places: tuple[BetaPlace, ...]
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as the API shows it; `betas` are those it was seen with in the last 30 days."""

    name: str
    team: str | None
    owner: str | None
    contacts: tuple[str, ...]
    repository: str | None
    tier: str | None
    platform: str | None
    model: str | None
    defaults: Mapping[str, Json]
    origin: str
    created_at: datetime
    environments: tuple[str, ...]
    last_seen: datetime | None
    health: Health
    betas: tuple[ServiceBeta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFilter:
    """Which services; what is empty asks for nothing."""

    teams: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    healths: tuple[str, ...] = ()
    q: str = ""


# --- Declaring ------------------------------------------------------------------------------------


def declare(
    session: Session,
    made: Sequence[Declaration],
    origin: str,
    now: datetime,
    *,
    owners_only: bool = False,
) -> int:
    """Declare services, in place of what was declared before; returns how many are new.

    `owners_only` changes of services that are there the team, the owner and the repository, where given: an
    import from a list of owners knows nothing of the rest. Raises `Invalid`, and then declares none.
    """
    for item in made:
        _check(item)
    unique = {item.name: item for item in made}
    rows = [_row(unique[name], origin, now) for name in sorted(unique)]
    change = _owners if owners_only else _everything
    new = 0
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        found = upsert(session, ServiceRow, part, change, returning=["created_at"])
        new += sum(created == now for (created,) in found)
    writer = catalog.Writer(session, now)
    writer.touch()  # every process holds the defaults in memory
    writer.finish()
    return new


def _everything(_held: Any, new: Any) -> dict[str, Any]:
    names = (
        "team", "owner", "contacts", "repository", "tier", "platform", "model", "defaults",
        "origin", "changed_at",
    )  # fmt: skip
    return {name: new[name] for name in names}


def _owners(held: Any, new: Any) -> dict[str, Any]:
    names = ("team", "owner", "repository")
    given = {name: sa.func.coalesce(new[name], held[name]) for name in names}
    return {**given, "origin": new.origin, "changed_at": new.changed_at}


_MORE: Final = (
    "api", "hosting", "region", "endpoint", "policy", "on_unknown", "on_unproven", "on_restricted",
)  # fmt: skip


def _row(item: Declaration, origin: str, now: datetime) -> dict[str, Any]:
    given = item.defaults
    more = {name: getattr(given, name) for name in _MORE} | {"betas": list(given.betas)}
    return {
        "name": item.name, "team": item.team, "owner": item.owner, "contacts": list(item.contacts),
        "repository": item.repository, "tier": item.tier, "platform": given.platform,
        "model": given.model, "defaults": {key: value for key, value in more.items() if value},
        "origin": origin, "created_at": now, "changed_at": now,
    }  # fmt: skip


_CHOICES: Final = ("error", "pass", "drop")


def _check(item: Declaration) -> None:
    check_name(item.name, "service")
    given = item.defaults
    for what, text, longest in (
        ("team", item.team, 128), ("owner", item.owner, 200), ("repository", item.repository, 500),
        ("tier", item.tier, 100), ("model", given.model, 128), ("endpoint", given.endpoint, 128),
        ("region", given.region, 64),
        *(("contacts", contact, 200) for contact in item.contacts),
    ):  # fmt: skip
        if text is not None:
            check_name(text, f"{item.name[:60]}: {what}", longest)
    if len(item.contacts) > 20 or len(given.betas) > 100:
        raise Invalid(f"{item.name[:60]}: at most 20 contacts and 100 betas can be declared.")
    for what, word, allowed in (
        ("policy", given.policy, ("strict", "filter", "advise")),
        ("on_unknown", given.on_unknown, _CHOICES),
        ("on_unproven", given.on_unproven, _CHOICES),
        ("on_restricted", given.on_restricted, _CHOICES),
    ):
        if word is not None and word not in allowed:
            raise Invalid(f"{what}: {word[:60]!r} is none; use one of {', '.join(allowed)}.")
    place_of(**{part: getattr(given, part) for part in PARTS})
    for name in given.betas:
        if not is_well_formed(name):
            raise Invalid(f"betas: {name[:60]!r} is not a beta name.", slug="malformed-name")


def defaults(session: Session) -> dict[str, Defaults]:
    """Return the defaults of all services that have any."""
    rows = session.execute(
        sa.select(ServiceRow.name, ServiceRow.platform, ServiceRow.model, ServiceRow.defaults)
    )
    return {
        name: Defaults(
            platform=platform, model=model, **{**more, "betas": tuple(more.get("betas", ()))}
        )
        for name, platform, model, more in rows
        if platform or model or more
    }


# --- Reading --------------------------------------------------------------------------------------


def service(session: Session, name: str, judge: Judges, now: datetime) -> Service:
    """Return one service with the places of its betas in the code. Raises `NotFound`."""
    row = session.get(ServiceRow, name) if name.isprintable() else None
    if row is None:
        raise NotFound(
            f"There is no service {name[:60]!r}; it appears with its first report, or declare it with PUT."
        )
    found = _shown(session, [row], judge, now)[0]
    return replace(found, betas=_with_places(session, found))


def services(
    session: Session,
    judge: Judges,
    now: datetime,
    wanted: ServiceFilter = ServiceFilter(),
    after: str = "",
    limit: int = 100,
) -> list[Service]:
    """Return at most `limit` services whose names come after `after`, in the order of their names."""
    found: list[Service] = []
    chunk = CHUNK if wanted.healths else min(limit, CHUNK)
    while len(found) < limit:
        rows = session.scalars(_query(wanted, after, now).limit(chunk)).all()
        found += [
            item
            for item in _shown(session, rows, judge, now)
            if not wanted.healths or item.health in wanted.healths
        ]
        if len(rows) < chunk:
            break
        after = rows[-1].name
    return found[:limit]


def _query(wanted: ServiceFilter, after: str, now: datetime) -> sa.Select[ServiceRow]:
    query = sa.select(ServiceRow).where(ServiceRow.name > after).order_by(ServiceRow.name)
    if wanted.teams:
        query = query.where(ServiceRow.team.in_(wanted.teams))
    if wanted.q:
        query = query.where(
            ServiceRow.name.icontains(wanted.q, autoescape=True)
            | ServiceRow.team.icontains(wanted.q, autoescape=True)
        )
    used: list[sa.ColumnElement[bool]] = [
        column.in_(values)
        for column, values in (
            (UsageRow.beta, wanted.betas),
            (UsageRow.environment, wanted.environments),
            (UsageRow.platform, wanted.platforms),
        )
        if values
    ]
    if used:
        used.append(UsageRow.last_seen >= now - SEEN_WITHIN)
        query = query.where(sa.exists().where(UsageRow.service == ServiceRow.name, *used))
    return query


def _shown(
    session: Session, rows: Sequence[ServiceRow], judge: Judges, now: datetime
) -> list[Service]:
    names = [row.name for row in rows]
    wanted: list[sa.ColumnElement[bool]] = [
        UsageRow.service.in_(names),
        UsageRow.last_seen >= now - SEEN_WITHIN,
    ]
    hours = hours_of(session, wanted, now)
    used: dict[str, list[_Judged]] = {}
    for item in seen(session, wanted, judge):
        day = answered(hours.get(item.usage.id, ()), item.said.turned_at)
        used.setdefault(item.usage.service, []).append(_Judged(item.usage, item.said, day))
    return [_service(row, used.get(row.name, ())) for row in rows]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A usage with what holds where it was seen, and its last 24 hours."""

    usage: UsageRow
    said: Judgement
    day: Answered


def _service(row: ServiceRow, used: Sequence[_Judged]) -> Service:
    grouped: dict[str, list[_Judged]] = {}
    for item in used:
        grouped.setdefault(item.usage.beta, []).append(item)
    betas = [_beta(grouped[name]) for name in sorted(grouped)]
    return Service(
        name=row.name,
        team=row.team,
        owner=row.owner,
        contacts=tuple(row.contacts),
        repository=row.repository,
        tier=row.tier,
        platform=row.platform,
        model=row.model,
        defaults=row.defaults,
        origin=row.origin,
        created_at=row.created_at,
        environments=tuple(sorted({item.usage.environment for item in used})),
        last_seen=row.last_seen,
        health=max((beta.health for beta in betas), key=HEALTHS.index, default="ok"),
        betas=tuple(betas),
    )


def _beta(group: Sequence[_Judged]) -> ServiceBeta:
    """Sum up a beta. What a scan found says nothing of requests where some are known."""
    usages = [item.usage for item in group]
    sent = [item for item in group if item.usage.source != "scan"] or group
    by_place: dict[Place, list[_Judged]] = {}
    for item in sent:
        by_place.setdefault(item.said.place, []).append(item)
    judged = gravest(item.said for item in sent)
    places = [_place(each) for each in by_place.values()]
    return ServiceBeta(
        name=judged.name,
        place=judged.place,
        verdict=judged.verdict,
        status=judged.status,
        state=judged.state,
        last_seen=max(usage.last_seen for usage in usages),
        count_24h=sum(item.day.count for item in group),
        refused_24h=sum(item.day.refused for item in group),
        count_30d=sum(usage.count_30d for usage in usages),
        refused_30d=sum(usage.refused_30d for usage in usages),
        environments=tuple(sorted({usage.environment for usage in usages})),
        platforms=tuple(sorted({usage.platform for usage in usages} - {""})),
        models=tuple(sorted({m for usage in usages for m in (usage.model, *usage.models) if m})),
        sources=tuple(sorted({usage.source for usage in usages})),
        issue=judged.issue,
        fails=judged.fails,
        health=max((place.health for place in places), key=HEALTHS.index),
        use_instead=judged.use_instead,
        detail=judged.detail,
        advice=judged.advice,
        places=tuple(sorted(places, key=lambda item: str(item.place))),
    )


def _place(group: Sequence[_Judged]) -> BetaPlace:
    judged, day = group[0].said, sum((item.day for item in group), Answered())
    return BetaPlace(
        place=judged.place,
        verdict=judged.verdict,
        status=judged.status,
        state=judged.state,
        since=judged.since,
        issue=judged.issue,
        fails=judged.fails,
        health=health_of([(judged, day)]),
        count_24h=day.count,
        refused_24h=day.refused,
        use_instead=judged.use_instead,
        detail=judged.detail,
        advice=judged.advice,
    )


def _with_places(session: Session, found: Service) -> tuple[ServiceBeta, ...]:
    rows = session.execute(
        sa.select(UsageRow.beta, UsageLocationRow.path, UsageLocationRow.line, UsageLocationRow.url)
        .join(UsageRow, UsageRow.id == UsageLocationRow.usage)
        .where(UsageRow.service == found.name)
        .order_by(UsageLocationRow.path, UsageLocationRow.line)
    )
    lines: dict[str, list[Any]] = {}
    for row in rows:
        lines.setdefault(row.beta, []).append(row)
    return tuple(
        replace(beta, locations=located(lines.get(beta.name, ())[:LOCATIONS]))
        for beta in found.betas
    )
