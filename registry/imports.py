"""Imported logs: records batches, and remembers what has been counted so that nothing counts twice.

How a file is cut into batches and recognised is written in `core/batches.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog, inventory
from registry.core.batches import Mark
from registry.core.errors import Conflict, Invalid
from registry.core.facts import Json, parse_time
from registry.db import upsert
from registry.inventory.recording import KEEP, MAX_SERVICES
from registry.models import ImportRow, ServiceRow

__all__ = ["Imported", "checks", "marks", "prune", "record", "report_of"]

CHECKS_SHOWN: Final = 50
MARKS_MAX: Final = 100_000
"""Marks kept of one file: enough for 500 million records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a batch; `not_kept` are names that the inventory did not take, at most a hundred."""

    reports: int
    items: int
    not_kept: tuple[inventory.NotKept, ...]
    not_kept_count: int


def report_of(data: Mapping[str, Json]) -> inventory.Report:
    """Read a report as `core/batches.py` prints it, which is the shape of `POST /v1/usages`."""
    window = data.get("window")
    try:
        span = (parse_time(window["start"]), parse_time(window["stop"])) if window else None
    except (ValueError, OverflowError):
        raise Invalid("window: write times as 2026-11-23T12:00:00Z.") from None
    items = tuple(inventory.Item(**item) for item in data["items"])
    return inventory.Report(**{**data, "window": span, "items": items})


def marks(session: Session, file: str) -> list[Mark]:
    """Return the marks of a file, in the order in which they were made."""
    rows = session.execute(
        sa.select(ImportRow.line, ImportRow.digest)
        .where(ImportRow.file == file)
        .order_by(ImportRow.number)
    )
    return [Mark(line, digest) for line, digest in rows]


def checks(session: Session, file: str, after: int) -> list[bytes]:
    """Return the checks of the batches whose marks lie after a line, the nearest first."""
    rows = (
        sa.select(ImportRow.checks)
        .where(ImportRow.file == file, ImportRow.line > after)
        .order_by(ImportRow.line, ImportRow.number)
        .limit(CHECKS_SHOWN)
    )
    return list(session.scalars(rows))


def record(
    session: Session,
    *,
    file: str,
    number: int,
    mark: Mark,
    checks: bytes,
    requests: int,
    reports: Sequence[inventory.Report],
    now: datetime,
) -> Imported:
    """Record a batch and its mark, all or nothing.

    Raises `Conflict` when the file has another number of marks than `number`: somebody else is importing
    it, or an answer got lost. Reading the file again from its start then finds out what is left.
    """
    _check(file, number, mark, reports)
    made = {
        "file": file, "number": number, "line": mark.line, "digest": mark.digest, "checks": checks,
        "requests": requests, "at": now,
    }  # fmt: skip
    has = session.scalar(sa.select(sa.func.count()).where(ImportRow.file == file))
    if has != number or not upsert(session, ImportRow, [made], returning=["number"]):
        raise Conflict(
            "Another import of this file has gone on meanwhile; import it again, and what is left will "
            "be counted.",
            slug="import-moved",
        )
    _lock(session, {report.service for report in reports}, now)
    snapshot = catalog.snapshot(session)
    done = [inventory.record(session, report, now, snapshot=snapshot) for report in reports]
    return Imported(
        reports=len(done),
        items=sum(item.items for item in done),
        not_kept=tuple(name for item in done for name in item.not_kept)[:100],
        not_kept_count=sum(item.not_kept_count for item in done),
    )


def _check(file: str, number: int, mark: Mark, reports: Sequence[inventory.Report]) -> None:
    for digest in (file, mark.digest):
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise Invalid(f"{digest[:70]!r} is no SHA-256; use 64 hexadecimal digits.")
    if not 0 <= number < MARKS_MAX:
        raise Invalid(f"A file has at most {MARKS_MAX:,} marks; cut it into several files.")
    if any(report.source != "gateway" for report in reports):
        raise Invalid("source: what is imported comes from a gateway; use `gateway`.")


def _lock(session: Session, services: set[str], now: datetime) -> None:
    """Lock all services of a batch, in order, before the first report is recorded.

    A report holds its service's lock until the end of the transaction. Two batches that took them one by
    one could wait for each other.
    """
    names = sorted(services)
    known = set(session.scalars(sa.select(ServiceRow.name).where(ServiceRow.name.in_(names))))
    count = session.scalar(sa.select(sa.func.count()).select_from(ServiceRow)) or 0
    new = [name for name in names if name not in known]
    if count + len(new) > MAX_SERVICES:
        return  # the inventory says it in its own words
    rows = [
        {"name": name, "contacts": [], "defaults": {}, "origin": "report", "created_at": now,
         "changed_at": now}
        for name in new
    ]  # fmt: skip
    upsert(session, ServiceRow, rows)
    session.execute(
        sa.select(ServiceRow.name)
        .where(ServiceRow.name.in_(names))
        .order_by(ServiceRow.name)
        .with_for_update()
    ).all()


def prune(session: Session, now: datetime) -> None:
    """Forget marks as old as usage that is no longer kept: what they stand for is gone."""
    session.execute(sa.delete(ImportRow).where(ImportRow.at < now - KEEP))
