"""When each job runs, and the lease that lets one process of several run them.

The jobs of every process tick alike; only the one that holds the lease does anything. A holder that
dies loses the lease when it expires, within `LEASE` seconds, and the next tick of another process
takes over. What is due is read from the database, so nothing is missed and nothing is done twice.
The lease saves work; correctness does not rest on it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx2
import sqlalchemy as sa
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from registry import jobs, targets
from registry.core.errors import Conflict, RegistryError
from registry.db import Database
from registry.models import LeaseRow
from registry.sources import Source

__all__ = ["Lease", "Scheduler"]

log = logging.getLogger("registry.scheduler")

LEASE = timedelta(seconds=30)
RENEW_SECONDS = 10
TICK_SECONDS = 15
ADVANCE_SECONDS = 3600
PRUNE_SECONDS = 86400


class Lease:
    """One row that says which process runs the jobs."""

    def __init__(self, database: Database, clock: jobs.Clock, name: str = "jobs") -> None:
        self._database, self._clock, self._name = database, clock, name
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.generation = 0

    def acquire(self) -> bool:
        """Take or renew the lease; one conditional update, so that of several processes one wins."""
        with self._database.write() as session:
            now = self._now(session)
            self._ensure_row(session, now)
            row = LeaseRow.__table__.c
            renewed = session.execute(
                sa.update(LeaseRow)
                .where(row.name == self._name)
                .where(sa.or_(row.holder == self.holder, row.expires_at <= now))
                .values(
                    generation=sa.case(
                        (row.holder == self.holder, row.generation), else_=row.generation + 1
                    ),
                    holder=self.holder,
                    expires_at=now + LEASE,
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
                .where(LeaseRow.name == self._name, LeaseRow.holder == self.holder)
                .values(expires_at=self._now(session))
            )

    def _now(self, session: Session) -> datetime:
        # Replicas' clocks differ, so PostgreSQL's own is asked; SQLite has one machine, one clock.
        if self._database.is_sqlite:
            return self._clock()
        moment = session.scalar(sa.select(sa.func.clock_timestamp()))
        assert isinstance(moment, datetime)
        return moment

    def _ensure_row(self, session: Session, now: datetime) -> None:
        if session.get(LeaseRow, self._name) is None:
            values = {"name": self._name, "holder": "", "generation": 0, "expires_at": now}
            insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
            session.execute(insert(LeaseRow).values(values).on_conflict_do_nothing())


class Scheduler:
    """The jobs of one process. `start` returns at once; `stop` waits for a running job."""

    def __init__(
        self,
        database: Database,
        sources: Sequence[Source],
        every: Mapping[str, timedelta],
        http: httpx2.Client,
        clock: jobs.Clock,
        tick_seconds: float = TICK_SECONDS,
        probes: Sequence[jobs.Probe] = (),
        prune: Sequence[Callable[[], int]] = (),
    ) -> None:
        self._database, self._sources, self._every = database, sources, every
        self._http, self._clock, self._tick = http, clock, tick_seconds
        self._probes = {probe.plan.name: probe for probe in probes}
        self._prunes = [lambda: jobs.prune(database, clock), *prune]
        self.lease = Lease(database, clock)
        self.leads = False
        self._stopping = threading.Event()
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Add the jobs and begin; what is overdue runs at once."""
        self._scheduler.add_job(
            self._lead, "interval", seconds=min(RENEW_SECONDS, self._tick), id="lease",
            next_run_time=self._clock(),
        )  # fmt: skip
        for source in self._sources:
            self._scheduler.add_job(
                self._sync, "interval", [source], seconds=self._tick, jitter=self._tick / 4,
                id=f"sync {source.name}", next_run_time=self._clock() + timedelta(seconds=0.5),
            )  # fmt: skip
        self._scheduler.add_job(
            self._advance, "interval", seconds=ADVANCE_SECONDS, id="advance",
            next_run_time=self._clock() + timedelta(seconds=1),
        )  # fmt: skip
        for name, probe in self._probes.items():
            seconds = min(self._tick, max(0.2, probe.plan.confirm_every.total_seconds() / 4))
            self._scheduler.add_job(
                self._probe, "interval", [probe], seconds=seconds, jitter=seconds / 4,
                id=f"probe {name}", next_run_time=self._clock() + timedelta(seconds=0.5),
            )  # fmt: skip
        if self._probes:
            self._scheduler.add_job(
                self._sweep_reported, "interval", seconds=self._tick, id="sweep reported",
            )  # fmt: skip
        self._scheduler.add_job(
            self._prune, "interval", seconds=PRUNE_SECONDS, id="prune",
            next_run_time=self._clock() + timedelta(seconds=60),
        )  # fmt: skip
        # Just after midnight, when the totals of 30 days forget a day.
        self._scheduler.add_job(
            self._tidy_usage, "cron", hour=0, minute=1, jitter=60, id="tidy usage",
            next_run_time=self._clock() + timedelta(seconds=120),
        )  # fmt: skip
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the jobs and give the lease back."""
        self._stopping.set()
        self._scheduler.shutdown(wait=True)
        if self.leads:
            try:
                self.lease.release()
            except RegistryError as error:
                log.warning("The lease was not given back: %s", error)

    def _lead(self) -> None:
        try:
            leads = self.lease.acquire()
        except RegistryError as error:
            leads = False
            log.warning("No lease: %s", error)
        if leads and not self.leads:
            log.info("This process runs the jobs (%s).", self.lease.holder)
            self._take_over()
        self.leads = leads

    def _take_over(self) -> None:
        """Give the targets their rows, and end the sweeps that a lost process left running."""
        try:
            with self._database.write() as session:
                targets.ensure(
                    session, [probe.plan for probe in self._probes.values()], self._clock()
                )
                targets.abandon(session, self._clock())
        except RegistryError as error:
            log.warning("The targets were not prepared: %s", error)

    def _probe(self, probe: jobs.Probe) -> None:
        """Run the sweeps of one target that are asked for or due."""
        if not self.leads or self._stopping.is_set():
            return
        name = probe.plan.name
        try:
            with self._database.read() as session:
                asked = [item for item in targets.queued(session) if item[1] == name]
                status = {item.name: item for item in targets.statuses(session)}.get(name)
            due = status is not None and (
                status.next_sweep_at is None or status.next_sweep_at <= self._clock()
            )
            if asked:
                number, _, wanted = asked[0]
                self._run_sweep(probe, trigger="asked", sweep_id=number, wanted=wanted)
            elif due:
                self._run_sweep(probe)
        except Conflict:
            return  # another process took it
        except RegistryError as error:
            log.warning("%s was not probed: %s", name, error)

    def _run_sweep(self, probe: jobs.Probe, **more: Any) -> None:
        done = jobs.probe(
            self._database, probe, self._clock, self._stopping.wait,
            generation=self.lease.generation, **more,
        )  # fmt: skip
        report = done.report
        level = logging.INFO if report.outcome in ("ok", "partial") else logging.WARNING
        log.log(
            level, "%s: sweep %d %s, %d requests, %d events. %s", probe.plan.name, done.id,
            report.outcome, report.requests, len(done.events), report.detail,
        )  # fmt: skip

    def _prune(self) -> None:
        if not self.leads:
            return
        for prune in self._prunes:
            try:
                prune()
            except RegistryError as error:
                log.warning("Old rows were not pruned: %s", error)

    def _sweep_reported(self) -> None:
        if not self.leads or self._stopping.is_set():
            return
        try:
            jobs.sweep_reported(self._database, self._clock)
        except RegistryError as error:
            log.warning("Reported refusals lead to no sweep: %s", error)

    def _tidy_usage(self) -> None:
        if not self.leads:
            return
        try:
            jobs.tidy_usage(self._database, self._clock)
        except RegistryError as error:
            log.warning("Usage was not tidied: %s", error)

    def _sync(self, source: Source) -> None:
        if not self.leads or self._stopping.is_set():
            return
        try:
            if not jobs.is_due(
                self._database, source.name, self._every[source.name], self._clock()
            ):
                return
            done = jobs.sync(self._database, source, self._http, self._clock)
        except RegistryError as error:
            log.warning("%s was not synchronised: %s", source.name, error)
            return
        if done.error:
            log.warning("%s failed: %s", source.name, done.error)
        elif done.events or not done.unchanged:
            log.info("%s: %d events. %s", source.name, done.events, done.detail)

    def _advance(self) -> None:
        if not self.leads:
            return
        try:
            jobs.advance(self._database, self._clock)
        except RegistryError as error:
            log.warning("Time was not applied: %s", error)
