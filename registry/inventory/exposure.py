"""Usage as the exposure report needs it (see `registry/report`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.catalog import SEEN_WITHIN
from registry.core.facts import Snapshot
from registry.core.health import Declared, Hour, places
from registry.inventory.reading import hours_of, lines_of, located
from registry.inventory.recording import hour_of
from registry.models import ServiceRow, UsageRow
from registry.report import Report, Use, expose

__all__ = ["report", "silent_services", "uses"]


def uses(session: Session, start: datetime, now: datetime, team: str | None = None) -> list[Use]:
    """Return what was used since `start`, with counts since then; of scans those of the last 30 days.

    What a scan found stands in the code until a newer scan says otherwise, so it is not counted by time.
    """
    recent = sa.or_(
        UsageRow.last_seen >= start,
        sa.and_(UsageRow.source == "scan", UsageRow.last_seen >= now - SEEN_WITHIN),
    )
    wanted = [recent] if team is None else [recent, ServiceRow.team == team]
    hours = hours_of(session, wanted, now, hour_of(start))
    rows = session.execute(
        sa.select(
            UsageRow, ServiceRow.team, ServiceRow.owner, ServiceRow.platform, ServiceRow.model,
            ServiceRow.defaults,
        )
        .join(ServiceRow, ServiceRow.name == UsageRow.service)
        .where(*wanted)
        .order_by(UsageRow.service, UsageRow.environment, UsageRow.beta, UsageRow.id)
    ).all()  # fmt: skip
    lines = lines_of(session, wanted)
    return [_use(row, hours.get(row[0].id, ()), lines.get(row[0].id, [])) for row in rows]


def _use(row: Any, hours: Sequence[Hour], lines: Sequence[Any]) -> Use:
    usage: UsageRow = row[0]
    of_code = next((line.owner for line in lines if line.owner), None)
    place, *others = places(usage, Declared(row.platform, row.model, row.defaults))
    return Use(
        service=usage.service,
        environment=usage.environment,
        beta=usage.beta,
        source=usage.source,
        place=place,
        others=tuple(others),
        placed=bool(usage.platform or row.platform),
        team=row.team,
        owner=row.owner or of_code,
        hours=tuple(hours) if usage.source != "scan" else (),
        last_seen=usage.last_seen,
        locations=located(lines),
    )


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
