"""Services: what is declared of them, what they were seen with, and how healthy that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.catalog import SEEN_WITHIN
from registry.core.errors import Invalid, NotFound
from registry.core.facts import Json
from registry.core.health import Health, health_of
from registry.core.judgement import Judgement, Judges
from registry.core.names import PLATFORMS, is_well_formed
from registry.db import upsert
from registry.inventory.reading import LOCATIONS, Location, last_day
from registry.inventory.recording import check_name
from registry.models import ServiceRow, UsageLocationRow, UsageRow

__all__ = [
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
    model: str | None = None
    endpoint: str | None = None
    policy: str | None = None
    on_unknown: str | None = None
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
class ServiceBeta:
    """A beta that a service was seen with, how it stands there, and what to do."""

    name: str
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
    use_instead: str | None
    detail: str
    advice: str
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


def _row(item: Declaration, origin: str, now: datetime) -> dict[str, Any]:
    given = item.defaults
    more = {
        "api": given.api, "endpoint": given.endpoint, "policy": given.policy,
        "on_unknown": given.on_unknown, "betas": list(given.betas),
    }  # fmt: skip
    return {
        "name": item.name, "team": item.team, "owner": item.owner, "contacts": list(item.contacts),
        "repository": item.repository, "tier": item.tier, "platform": given.platform,
        "model": given.model, "defaults": {key: value for key, value in more.items() if value},
        "origin": origin, "created_at": now, "changed_at": now,
    }  # fmt: skip


def _check(item: Declaration) -> None:
    check_name(item.name, "service")
    given = item.defaults
    for what, text, longest in (
        ("team", item.team, 128), ("owner", item.owner, 200), ("repository", item.repository, 500),
        ("tier", item.tier, 100), ("model", given.model, 128), ("endpoint", given.endpoint, 128),
        *(("contacts", contact, 200) for contact in item.contacts),
    ):  # fmt: skip
        if text is not None:
            check_name(text, f"{item.name[:60]}: {what}", longest)
    if len(item.contacts) > 20 or len(given.betas) > 100:
        raise Invalid(f"{item.name[:60]}: at most 20 contacts and 100 betas can be declared.")
    for what, word, allowed in (
        ("platform", given.platform, PLATFORMS),
        ("policy", given.policy, ("strict", "filter", "advise")),
        ("on_unknown", given.on_unknown, ("error", "pass", "drop")),
        ("api", given.api, ("invoke", "mantle")),
    ):
        if word is not None and word not in allowed:
            raise Invalid(f"{what}: {word[:60]!r} is none; use one of {', '.join(allowed)}.")
    if given.api and given.platform != "bedrock":
        raise Invalid("api: it is for the platform bedrock only.")
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
    seen: list[sa.ColumnElement[bool]] = [
        column.in_(values)
        for column, values in (
            (UsageRow.beta, wanted.betas),
            (UsageRow.environment, wanted.environments),
            (UsageRow.platform, wanted.platforms),
        )
        if values
    ]
    if seen:
        seen.append(UsageRow.last_seen >= now - SEEN_WITHIN)
        query = query.where(sa.exists().where(UsageRow.service == ServiceRow.name, *seen))
    return query


def _shown(
    session: Session, rows: Sequence[ServiceRow], judge: Judges, now: datetime
) -> list[Service]:
    names = [row.name for row in rows]
    wanted = [UsageRow.service.in_(names), UsageRow.last_seen >= now - SEEN_WITHIN]
    usages: dict[str, list[UsageRow]] = {}
    for usage in session.scalars(sa.select(UsageRow).where(*wanted).order_by(UsageRow.last_seen)):
        usages.setdefault(usage.service, []).append(usage)
    counts = last_day(session, wanted, now)
    return [_service(row, usages.get(row.name, ()), counts, judge) for row in rows]


def _service(
    row: ServiceRow, usages: Sequence[UsageRow], counts: Mapping[int, tuple[int, int, int]],
    judge: Judges,
) -> Service:  # fmt: skip
    grouped: dict[str, list[UsageRow]] = {}
    for usage in usages:
        grouped.setdefault(usage.beta, []).append(usage)
    judged = {name: _worst(row, name, group, judge) for name, group in grouped.items()}
    betas = [_beta(judged[name], grouped[name], counts) for name in sorted(grouped)]
    day = [
        (judged[name], _sum(group, counts, 1), _sum(group, counts, 2))
        for name, group in grouped.items()
    ]
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
        environments=tuple(sorted({usage.environment for usage in usages})),
        last_seen=row.last_seen,
        health=health_of(day),
        betas=tuple(betas),
    )


def _sum(usages: Iterable[UsageRow], counts: Mapping[int, tuple[int, int, int]], part: int) -> int:
    return sum(counts[usage.id][part] for usage in usages if usage.id in counts)


def _worst(row: ServiceRow, name: str, usages: Iterable[UsageRow], judge: Judges) -> Judgement:
    """Judges a beta on every platform on which the service uses it; the worst one counts."""
    places = {usage.platform or row.platform for usage in usages}
    found = [judge(name, place, row.model) for place in sorted(places, key=str)]
    return max(found, key=lambda item: (item.fails, item.at_risk, bool(item.issue)))


def _beta(
    judged: Judgement, usages: Sequence[UsageRow], counts: Mapping[int, tuple[int, int, int]]
) -> ServiceBeta:
    return ServiceBeta(
        name=judged.name,
        status=judged.status,
        state=judged.state,
        last_seen=max(usage.last_seen for usage in usages),
        count_24h=_sum(usages, counts, 0),
        refused_24h=_sum(usages, counts, 2),
        count_30d=sum(usage.count_30d for usage in usages),
        refused_30d=sum(usage.refused_30d for usage in usages),
        environments=tuple(sorted({usage.environment for usage in usages})),
        platforms=tuple(sorted({usage.platform for usage in usages} - {""})),
        models=tuple(sorted({model for usage in usages for model in usage.models})),
        sources=tuple(sorted({usage.source for usage in usages})),
        issue=judged.issue,
        fails=judged.fails,
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
    places: dict[str, list[Location]] = {}
    for beta, path, line, url in rows:
        held = places.setdefault(beta, [])
        if len(held) < LOCATIONS:
            held.append(Location(path=path, line=line or None, url=url))
    return tuple(replace(beta, locations=tuple(places.get(beta.name, ()))) for beta in found.betas)
