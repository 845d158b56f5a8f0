"""The lease: one row that says which process runs the jobs, until when, and which targets it sweeps.

A holder that dies loses it when it expires, within `LEASE`, and another process takes over. The lease
saves work; correctness does not rest on it.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from registry.core.due import holds
from registry.core.errors import Unavailable
from registry.db import Database
from registry.models import LeaseRow

__all__ = ["LEASE", "Lease", "check_led"]

LEASE = timedelta(seconds=30)
LONGEST = 2 * LEASE
"""How far ahead a lease can end that was written just now, by a process that waited for the row."""
JOBS = "jobs"


class Lease:
    """One process's hold on the row. `targets` are those that the process sweeps when asked to."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        targets: Collection[str] = (),
    ) -> None:
        self._database, self._clock, self._targets = database, clock, sorted(targets)
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.generation = 0

    def acquire(self) -> bool:
        """Take or renew the lease; one conditional update, so that of several processes one wins.

        One that lasts longer than any can was written before the clock was set back, and is free.
        """
        with self._database.write() as session:
            now = _moment(session, self._clock)
            self._ensure_row(session, now)
            row = LeaseRow.__table__.c
            renewed = session.execute(
                sa.update(LeaseRow)
                .where(row.name == JOBS)
                .where(
                    sa.or_(
                        row.holder == self.holder,
                        row.expires_at <= now,
                        row.expires_at > now + LONGEST,
                    )
                )
                .values(
                    generation=sa.case(
                        (row.holder == self.holder, row.generation), else_=row.generation + 1
                    ),
                    holder=self.holder,
                    expires_at=now + LEASE,
                    targets=self._targets,
                )
                .returning(row.generation)
            ).scalar_one_or_none()
        self.generation = renewed or 0
        return renewed is not None

    def release(self) -> None:
        """Give the lease back, so that another process need not wait for it to expire."""
        with self._database.write() as session:
            session.execute(
                sa.update(LeaseRow)
                .where(LeaseRow.name == JOBS, LeaseRow.holder == self.holder)
                .values(expires_at=_moment(session, self._clock))
            )

    def _ensure_row(self, session: Session, now: datetime) -> None:
        if session.get(LeaseRow, JOBS) is None:
            values = {"name": JOBS, "holder": "", "generation": 0, "expires_at": now, "targets": []}
            insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
            session.execute(insert(LeaseRow).values(values).on_conflict_do_nothing())


def check_led(session: Session, clock: Callable[[], datetime], target: str | None = None) -> None:
    """Raise `Unavailable` unless a process lives that runs the jobs, and sweeps this target if one is named."""
    row = session.get(LeaseRow, JOBS, populate_existing=True)
    if row is None or not holds(row.expires_at, _moment(session, clock), LONGEST):
        raise Unavailable(
            "No process runs the scheduler, so nothing would sweep; start one without "
            "BETA_REGISTRY_SCHEDULER=false."
        )
    if target is not None and row.targets is not None and target not in row.targets:
        raise Unavailable(
            f"The process that runs the scheduler does not sweep {target[:64]!r}; add it to the settings "
            "of that process and restart it."
        )


def _moment(session: Session, clock: Callable[[], datetime]) -> datetime:
    # Replicas' clocks differ, so PostgreSQL's own is asked; SQLite has one machine, one clock.
    if session.get_bind().dialect.name == "sqlite":
        return clock()
    moment = session.scalar(sa.select(sa.func.clock_timestamp()))
    assert isinstance(moment, datetime)
    return moment
