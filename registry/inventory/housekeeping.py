"""What time alone does to usage: hours become days, totals forget, old usage goes.

Each function is one short transaction's worth of work on a part of the tables, and safe to run twice;
`jobs.tidy` walks over all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db import upsert
from registry.inventory.recording import HOURLY, KEEP, hour_of, window_starts
from registry.models import (
    IdempotencyRow,
    RefusalRow,
    RiskRow,
    ServiceRow,
    UsageCountRow,
    UsageRow,
)

__all__ = ["last_usage", "next_services", "prune", "roll", "thin_out"]

MARGIN: Final = 2
"""Hours beyond `HOURLY` after which no report writes by the hour any more, whatever its clock says."""


def last_usage(session: Session) -> int:
    """Return the highest id of a usage, 0 without any."""
    return session.scalar(sa.select(sa.func.max(UsageRow.id))) or 0


def thin_out(session: Session, first: int, last: int, now: datetime) -> int:
    """Add up the hours of past days of the usages `first` to `last`, and drop days too old to keep.

    What is deleted is what is added up: of two that do it at once, one finds nothing.
    """
    count = UsageCountRow
    meant = [count.usage >= first, count.usage <= last]
    session.execute(sa.delete(count).where(*meant, count.hour < hour_of(now - KEEP)))
    gone = session.execute(
        sa.delete(count)
        .where(*meant, count.hour < hour_of(now - HOURLY) - MARGIN, count.hour % 24 != 0)
        .returning(count.usage, count.hour, count.count, count.accepted, count.refused)
    ).all()
    days: dict[tuple[int, int], list[int]] = {}
    for usage, hour, *counts in gone:
        held = days.setdefault((usage, hour - hour % 24), [0, 0, 0])
        for place, number in enumerate(counts):
            held[place] += number
    rows = [
        {"usage": usage, "hour": hour, "count": sums[0], "accepted": sums[1], "refused": sums[2]}
        for (usage, hour), sums in sorted(days.items())
    ]
    names = ("count", "accepted", "refused")
    upsert(session, UsageCountRow, rows, lambda held, new: {n: held[n] + new[n] for n in names})
    return len(gone)


def next_services(session: Session, after: str, limit: int) -> list[str]:
    """Return the next names of services, in their order."""
    return list(
        session.scalars(
            sa.select(ServiceRow.name)
            .where(ServiceRow.name > after)
            .order_by(ServiceRow.name)
            .limit(limit)
        )
    )


def roll(session: Session, services: Sequence[str], now: datetime) -> None:
    """Let the totals of these services forget what is older than 30 days.

    Their rows are locked first, as every report locks them: so no count is added meanwhile.
    """
    session.execute(
        sa.select(ServiceRow.name)
        .where(ServiceRow.name.in_(services))
        .order_by(ServiceRow.name)
        .with_for_update()
    ).all()
    start = window_starts(now)

    def total(column: Any) -> Any:
        return (
            sa.select(sa.func.coalesce(sa.func.sum(column), 0))
            .where(UsageCountRow.usage == UsageRow.id, UsageCountRow.hour >= start)
            .scalar_subquery()
        )

    session.execute(
        sa.update(UsageRow)
        .where(UsageRow.service.in_(services), UsageRow.source != "scan", UsageRow.count_30d > 0)
        .values(
            count_30d=total(UsageCountRow.count),
            accepted_30d=total(UsageCountRow.accepted),
            refused_30d=total(UsageCountRow.refused),
        )
        .execution_options(synchronize_session=False)
    )


def prune(session: Session, now: datetime) -> int:
    """Drop usage, and services nobody declared, not seen for 400 days; used keys; quiet refusals.

    Returns how many usages went.
    """
    old = now - KEEP
    gone = session.execute(
        sa.delete(UsageRow).where(UsageRow.last_seen < old).returning(UsageRow.id)
    ).all()
    session.execute(
        sa.delete(ServiceRow).where(
            ServiceRow.origin == "report",
            ServiceRow.last_seen < old,
            ~sa.exists().where(UsageRow.service == ServiceRow.name),
        )
    )
    session.execute(sa.delete(RiskRow).where(RiskRow.at < old))
    day = now - timedelta(days=1)
    session.execute(sa.delete(IdempotencyRow).where(IdempotencyRow.at < day))
    session.execute(sa.delete(RefusalRow).where(RefusalRow.last_at < day))
    return len(gone)
