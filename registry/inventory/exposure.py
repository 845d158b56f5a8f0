"""Usage as the exposure report needs it (see `registry/report`)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.catalog import SEEN_WITHIN
from registry.core.facts import Snapshot
from registry.inventory.recording import hour_of
from registry.models import ServiceRow, UsageCountRow, UsageLocationRow, UsageRow
from registry.report import Location, Report, Use, expose

__all__ = ["report", "silent_services", "uses"]

PLACES: Final = 20
"""Code locations of one usage that are told."""


def uses(session: Session, start: datetime, now: datetime, team: str | None = None) -> list[Use]:
    """Return what was used since `start`, with counts since then; of scans those of the last 30 days.

    What a scan found stands in the code until a newer scan says otherwise, so it is not counted by time.
    """
    recent = sa.or_(
        UsageRow.last_seen >= start,
        sa.and_(UsageRow.source == "scan", UsageRow.last_seen >= now - SEEN_WITHIN),
    )
    wanted = [recent] if team is None else [recent, ServiceRow.team == team]
    sums = (
        sa.select(
            UsageCountRow.usage,
            sa.func.sum(UsageCountRow.count).label("count"),
            sa.func.sum(UsageCountRow.accepted).label("accepted"),
            sa.func.sum(UsageCountRow.refused).label("refused"),
        )
        .where(UsageCountRow.hour >= hour_of(start))
        .group_by(UsageCountRow.usage)
        .subquery()
    )
    rows = session.execute(
        sa.select(UsageRow, ServiceRow.team, ServiceRow.owner, sums)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .outerjoin(sums, sums.c.usage == UsageRow.id)
        .where(*wanted)
        .order_by(UsageRow.service, UsageRow.environment, UsageRow.beta, UsageRow.id)
    ).all()
    places = _places(session, wanted)
    return [_use(row, places.get(row[0].id, [])) for row in rows]


def _use(row: Any, places: list[Any]) -> Use:
    usage: UsageRow = row[0]
    of_code = next((place.owner for place in places if place.owner), None)
    return Use(
        service=usage.service,
        environment=usage.environment,
        beta=usage.beta,
        source=usage.source,
        platform=usage.platform or None,
        team=row.team,
        owner=row.owner or of_code,
        models=tuple(usage.models),
        count=int(row.count or 0) if usage.source != "scan" else 0,
        accepted=int(row.accepted or 0),
        refused=int(row.refused or 0),
        last_seen=usage.last_seen,
        locations=tuple(
            Location(path=place.path, line=place.line or None, url=place.url) for place in places
        ),
    )


def _places(session: Session, wanted: list[Any]) -> dict[int, list[Any]]:
    rows = session.execute(
        sa.select(UsageLocationRow.usage, UsageLocationRow.path, UsageLocationRow.line,
                  UsageLocationRow.url, UsageLocationRow.owner)
        .join(UsageRow, UsageRow.id == UsageLocationRow.usage)
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .order_by(UsageLocationRow.usage, UsageLocationRow.path, UsageLocationRow.line)
    )  # fmt: skip
    found: dict[int, list[Any]] = {}
    for row in rows:
        held = found.setdefault(row.usage, [])
        if len(held) < PLACES:
            held.append(row)
    return found


def silent_services(session: Session, start: datetime, team: str | None = None) -> list[str]:
    """Return the services that are known and reported nothing since `start`."""
    wanted = [sa.or_(ServiceRow.last_seen.is_(None), ServiceRow.last_seen < start)]
    if team is not None:
        wanted.append(ServiceRow.team == team)
    rows = sa.select(ServiceRow.name).where(*wanted).order_by(ServiceRow.name)
    return list(session.scalars(rows))


def report(
    session: Session,
    now: datetime,
    *,
    days: int = 7,
    team: str | None = None,
    platform: str | None = None,
    snapshot: Snapshot | None = None,
) -> Report:
    """Make the exposure report of the last `days` days: today and the days before, in UTC."""
    start = datetime.combine(now.date() - timedelta(days=days - 1), time.min, UTC)
    return expose(
        uses(session, start, now, team),
        snapshot or catalog.snapshot(session),
        days=days,
        start=start,
        stop=now,
        silent=silent_services(session, start, team),
        team=team,
        platform=platform,
    )
