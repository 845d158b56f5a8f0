"""The inventory as rows: grouped, filtered, in pages; the users of one beta; and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.catalog import SEEN_WITHIN
from registry.core.facts import rfc3339
from registry.core.health import gravest
from registry.core.judgement import Judgement, Judges
from registry.core.places import Place
from registry.inventory.reading import Affected, Seen, lines_of, seen, who
from registry.inventory.recording import hour_of
from registry.models import ServiceRow, UsageCountRow, UsageRow

__all__ = [
    "GROUPS",
    "Day",
    "Filter",
    "Radius",
    "Row",
    "daily",
    "radius",
    "rows",
    "some_users",
    "users",
    "write_csv",
]

GROUPS: Final = ("beta", "service", "team", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which usages; what is empty asks for nothing.

    A status is that where the beta is used; `unknown` means names not in the registry.
    """

    teams: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    q: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One group of the inventory. `key` is None for the services without a team.

    `services`, `teams` and `betas` are numbers; `status` is that of the group, or of the beta at `place`:
    where it is used and stands worst.
    """

    key: str | None
    services: int
    teams: int
    betas: int
    count_30d: int
    refused_30d: int
    last_seen: datetime
    status: str | None = None
    verdict: str | None = None
    place: Place | None = None
    issue: str | None = None
    use_instead: str | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radius:
    """The blast radius of a beta: who and how much would be hit."""

    services: int = 0
    teams: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    count_30d: int = 0
    refused_30d: int = 0
    last_seen: datetime | None = None
    by_team: Mapping[str, int] = field(default_factory=dict)


def rows(
    session: Session,
    judge: Judges,
    now: datetime,
    group_by: str = "beta",
    wanted: Filter = Filter(),
    after: str | None = None,
    limit: int = 100,
) -> list[Row]:
    """Return at most `limit` rows whose keys come after `after`, in the order of their keys."""
    if wanted.statuses or group_by == "status":
        return _judged_rows(session, judge, now, group_by, wanted, after, limit)
    key = _key(group_by)
    query = (
        sa.select(
            key.label("key"),
            sa.func.count(sa.distinct(UsageRow.service)),
            sa.func.count(sa.distinct(ServiceRow.team)),
            sa.func.count(sa.distinct(UsageRow.beta)),
            sa.func.sum(UsageRow.count_30d),
            sa.func.sum(UsageRow.refused_30d),
            sa.func.max(UsageRow.last_seen, type_=UsageRow.last_seen.type),
        )
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*_conditions(wanted, now))
        .group_by(sa.text("1"))
        .order_by(sa.text("1"))
        .limit(limit)
    )
    if after is not None:
        query = query.where(key > after)
    found = session.execute(query).all()
    said_of: dict[str, list[Judgement]] = {}
    if group_by == "beta":
        here = replace(wanted, betas=tuple(row[0] for row in found))
        for item in seen(session, _conditions(here, now), judge) if found else ():
            said_of.setdefault(item.usage.beta, []).append(item.said)
    return [_row(said_of.get(row[0], ()), *row) for row in found]


def _judged_rows(
    session: Session, judge: Judges, now: datetime, group_by: str, wanted: Filter,
    after: str | None, limit: int,
) -> list[Row]:  # fmt: skip
    """Group usages by what holds where they were seen: that is for the judgement, not for the database."""
    groups: dict[str, list[Seen]] = {}
    for item in matching(session, judge, now, wanted):
        key = {
            "service": item.usage.service,
            "team": item.service.team or "",
            "status": item.said.status,
        }.get(group_by, item.usage.beta)
        if after is None or key > after:
            groups.setdefault(key, []).append(item)
    made = []
    for key in sorted(groups)[:limit]:
        usages = [item.usage for item in groups[key]]
        row = _row(
            [item.said for item in groups[key]] if group_by == "beta" else (),
            key,
            len({usage.service for usage in usages}),
            len({item.service.team for item in groups[key] if item.service.team}),
            len({usage.beta for usage in usages}),
            sum(usage.count_30d for usage in usages),
            sum(usage.refused_30d for usage in usages),
            max(usage.last_seen for usage in usages),
        )
        made.append(replace(row, status=key) if group_by == "status" else row)
    return made


def matching(session: Session, judge: Judges, now: datetime, wanted: Filter) -> list[Seen]:
    """Return the usages that fit a filter, each with what holds where it was seen."""
    found = seen(session, _conditions(wanted, now), judge)
    return [item for item in found if not wanted.statuses or item.said.status in wanted.statuses]


def _fitting(
    session: Session, judge: Judges, now: datetime, wanted: Filter
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a filter as the database can check them, a status among them."""
    found = _conditions(wanted, now)
    if wanted.statuses:
        ids = [item.usage.id for item in matching(session, judge, now, wanted)]
        found.append(
            UsageRow.id.in_(sa.bindparam("fitting", ids, expanding=True, literal_execute=True))
        )
    return found


def _key(group_by: str) -> sa.ColumnElement[str]:
    match group_by:
        case "service":
            return UsageRow.service.expression
        case "team":
            return sa.func.coalesce(ServiceRow.team, "")
        case _:
            return UsageRow.beta.expression


def _row(said: Sequence[Judgement], key: str, *found: Any) -> Row:
    services, teams, betas, count, refused, last = found
    row = Row(
        key=key or None, services=services, teams=teams, betas=betas, count_30d=int(count),
        refused_30d=int(refused), last_seen=last,
    )  # fmt: skip
    if not said:
        return row
    judged = gravest(said)
    return replace(
        row,
        status=judged.status,
        verdict=judged.verdict,
        place=judged.place,
        issue=judged.issue,
        use_instead=judged.use_instead,
        advice=judged.advice,
    )


def _conditions(wanted: Filter, now: datetime) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [UsageRow.last_seen >= now - SEEN_WITHIN]
    found += [
        column.in_(values)
        for column, values in (
            (UsageRow.service, wanted.services),
            (UsageRow.beta, wanted.betas),
            (UsageRow.environment, wanted.environments),
            (UsageRow.platform, wanted.platforms),
            (ServiceRow.team, wanted.teams),
        )
        if values
    ]
    if wanted.q:
        found.append(
            UsageRow.service.icontains(wanted.q, autoescape=True)
            | UsageRow.beta.icontains(wanted.q, autoescape=True)
            | ServiceRow.team.icontains(wanted.q, autoescape=True)
        )
    return found


# --- One beta -------------------------------------------------------------------------------------


def users(
    session: Session,
    judge: Judges,
    now: datetime,
    wanted: Filter,
    after: tuple[str, str] = ("", ""),
    limit: int = 100,
) -> list[Affected]:
    """Return who uses the beta of the filter, by service and environment, after a place in that order."""
    place = (UsageRow.service, UsageRow.environment)
    conditions = _conditions(wanted, now)
    page = session.execute(
        sa.select(*place)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*conditions, sa.tuple_(*place) > sa.tuple_(*after))
        .distinct()
        .order_by(*place)
        .limit(limit)
    ).all()
    if not page:
        return []
    services = sorted({service for service, _ in page})
    found = who(session, [*conditions, UsageRow.service.in_(services)], judge, now)
    placed = {(item.service, item.environment): item for group in found.values() for item in group}
    return [placed[service, environment] for service, environment in page]


def some_users(
    session: Session, betas: Sequence[str], now: datetime, each: int = 5
) -> dict[str, list[str]]:
    """Return the names of the first few services that use each beta; of all betas by one query."""
    place = sa.func.row_number().over(partition_by=UsageRow.beta, order_by=UsageRow.service)
    ranked = (
        sa.select(UsageRow.beta, UsageRow.service, place.label("place"))
        .where(UsageRow.beta.in_(betas), UsageRow.last_seen >= now - SEEN_WITHIN)
        .group_by(UsageRow.beta, UsageRow.service)
        .subquery()
    )
    found: dict[str, list[str]] = {}
    for beta, service, _ in session.execute(sa.select(ranked).where(ranked.c.place <= each)):
        found.setdefault(beta, []).append(service)
    return {beta: sorted(names) for beta, names in found.items()}


def radius(session: Session, judge: Judges, now: datetime, wanted: Filter) -> Radius:
    """Return how far the loss of what the filter names would reach."""
    conditions = _fitting(session, judge, now, wanted)
    made = session.execute(
        sa.select(
            ServiceRow.team, UsageRow.environment, UsageRow.platform,
            sa.func.sum(UsageRow.count_30d), sa.func.sum(UsageRow.refused_30d),
            sa.func.max(UsageRow.last_seen, type_=UsageRow.last_seen.type),
        )
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*conditions)
        .group_by(ServiceRow.team, UsageRow.environment, UsageRow.platform)
    ).all()  # fmt: skip
    by_team = session.execute(
        sa.select(ServiceRow.team, sa.func.count(sa.distinct(UsageRow.service)))
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*conditions)
        .group_by(ServiceRow.team)
        .order_by(ServiceRow.team)
    ).all()
    return Radius(
        services=sum(count for _, count in by_team),
        teams=tuple(team for team, _ in by_team if team),
        environments=tuple(sorted({row[1] for row in made})),
        platforms=tuple(sorted({row[2] for row in made} - {""})),
        count_30d=sum(int(row[3]) for row in made),
        refused_30d=sum(int(row[4]) for row in made),
        last_seen=max((row[5] for row in made), default=None),
        by_team={team or "": count for team, count in by_team},
    )


@dataclass(frozen=True, slots=True)
class Day:
    """How often on one day, in UTC, and how often refused."""

    on: date
    count: int = 0
    refused: int = 0


def daily(
    session: Session, judge: Judges, now: datetime, wanted: Filter = Filter(), days: int = 30
) -> list[Day]:
    """Return the counts of the last days, today last; days without any, too."""
    last = hour_of(now) // 24
    day = UsageCountRow.hour // 24
    counted = session.execute(
        sa.select(day, sa.func.sum(UsageCountRow.count), sa.func.sum(UsageCountRow.refused))
        .join(UsageRow, UsageRow.id == UsageCountRow.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*_fitting(session, judge, now, wanted), UsageCountRow.hour >= (last - days + 1) * 24)
        .group_by(sa.text("1"))
    )
    found = {int(row[0]): (int(row[1]), int(row[2])) for row in counted}
    return [
        Day(date(1970, 1, 1) + timedelta(days=number), *found.get(number, (0, 0)))
        for number in range(last - days + 1, last + 1)
    ]


# --- CSV ------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "service", "environment", "beta", "status", "issue", "use_instead", "advice", "team", "owner",
    "contacts", "repository", "tier", "platform", "source", "instance", "models", "first_seen",
    "last_seen", "count_30d", "accepted_30d", "refused_30d", "locations", "verdict", "api", "hosting",
    "region", "endpoint",
)  # fmt: skip


def write_csv(session: Session, judge: Judges, now: datetime, wanted: Filter = Filter()) -> str:
    """Print every usage as CSV (RFC 4180). No cell can be taken for a formula by a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    writer.writerows([_safe(cell) for cell in row] for row in _cells(session, judge, now, wanted))
    return out.getvalue()


def _cells(
    session: Session, judge: Judges, now: datetime, wanted: Filter
) -> Iterator[Sequence[object]]:
    conditions = _conditions(wanted, now)
    lines = lines_of(session, conditions)
    found = matching(session, judge, now, wanted)
    order = ("service", "environment", "beta", "id")
    found.sort(key=lambda item: tuple(getattr(item.usage, name) for name in order))
    for item in found:
        usage, judged, service = item.usage, item.said, item.service
        yield (
            usage.service, usage.environment, usage.beta, judged.status, judged.issue,
            judged.use_instead, judged.advice, service.team, service.owner,
            "; ".join(service.contacts), service.repository, service.tier, usage.platform,
            usage.source, usage.instance, "; ".join(filter(None, [usage.model, *usage.models])),
            rfc3339(usage.first_seen), rfc3339(usage.last_seen), usage.count_30d,
            usage.accepted_30d, usage.refused_30d,
            "; ".join(f"{at.path}:{at.line}" if at.line else at.path for at in lines.get(usage.id, ())),
            judged.verdict, usage.api, usage.hosting, usage.region, usage.endpoint,
        )  # fmt: skip


def _safe(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return cell
