"""When each job runs.

Every process has the same jobs, and only the process that holds the lease does anything. What is due is read
from the database, so nothing is missed and nothing is done twice. No exception ends a job: it is tried again
at its next tick. APScheduler plans by the wall clock, so its plan is moved when that clock is set back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx2
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from registry import jobs, targets
from registry.core.errors import Conflict, RegistryError
from registry.db import Database
from registry.leases import LEASE, Lease
from registry.sources import Source

__all__ = ["Every", "Scheduler", "move"]

log = logging.getLogger("registry.scheduler")

RENEW_SECONDS = 10
TICK_SECONDS = 15
ADVANCE_SECONDS = 3600
PRUNE_SECONDS = 86400
LOOK_SECONDS = 1.0
STEP = timedelta(seconds=3)
"""How far the clock must go back between two looks to have been set; less delays a job by no more."""


class Every(IntervalTrigger):  # type: ignore[misc]  # the package has no types
    """An interval that begins anew with each run.

    The trigger of the package goes on from the run before and lists every run since, which are 100 million
    where a machine starts in 1970 and is then set right.
    """

    def __init__(self, seconds: float, jitter: float | None = None) -> None:
        super().__init__(seconds=seconds, jitter=jitter, timezone="UTC")

    def get_next_fire_time(self, _previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the moment one interval after now."""
        due: datetime = super().get_next_fire_time(now, now)
        return due


def move(scheduler: BaseScheduler, step: timedelta) -> None:
    """Move the plan of all jobs by a step of the clock, so that each waits as long as it had still to wait."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=job.next_run_time + step)


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
        self.lease = Lease(database, clock, self._probes)
        self._leads_until = 0.0
        self._stopping = threading.Event()
        # A thread for each job, so that none that takes long keeps the lease from being renewed.
        threads = len(sources) + len(self._probes) + len(self._prunes) + 4
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(threads)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    @property
    def leads(self) -> bool:
        """Say whether this process runs the jobs: the lease was renewed, and not longer ago than it lasts."""
        return time.monotonic() < self._leads_until

    def start(self) -> None:
        """Begin; what is overdue runs at once."""
        tick, seen = self._tick, self._look()
        self._add("lease", self._lead, Every(min(RENEW_SECONDS, tick)), always=True)
        for source in self._sources:
            trigger = Every(tick, jitter=tick / 4)
            self._add(f"sync {source.name}", partial(self._sync, source), trigger, first=0.5)
        self._add("advance", self._advance, Every(ADVANCE_SECONDS), first=1)
        for name, probe in self._probes.items():
            seconds = min(tick, max(0.2, probe.plan.confirm_every.total_seconds() / 4))
            trigger = Every(seconds, jitter=seconds / 4)
            self._add(f"probe {name}", partial(self._probe, probe), trigger, first=0.5)
        if self._probes:
            self._add("sweep reported", self._sweep_reported, Every(tick), first=tick)
        for number, prune in enumerate(self._prunes):
            self._add(f"prune {number}", prune, Every(PRUNE_SECONDS), first=60)
        # Just after midnight, when the totals of 30 days forget a day.
        midnight = CronTrigger(hour=0, minute=1, jitter=60, timezone="UTC")
        self._add("tidy usage", self._tidy_usage, midnight, first=120)
        self._scheduler.start()
        self._watcher = threading.Thread(target=self._watch, args=seen, name="clock", daemon=True)
        self._watcher.start()

    def _add(
        self,
        name: str,
        job: Callable[[], object],
        trigger: BaseTrigger,
        *,
        first: float = 0.0,
        always: bool = False,
    ) -> None:
        """Plan a job, first in so many seconds; unless `always`, it runs only while this process leads."""
        self._scheduler.add_job(
            self._run, trigger, [name, job, always], id=name, name=name,
            next_run_time=self._clock() + timedelta(seconds=first),
        )  # fmt: skip

    def _run(self, name: str, job: Callable[[], object], always: bool) -> None:
        if self._stopping.is_set() or not (always or self.leads):
            return
        try:
            job()
        except RegistryError as error:
            log.warning("%s: not done now, and tried again: %s", name, error)

    def _look(self) -> tuple[datetime, float]:
        return self._clock(), time.monotonic()

    def _watch(self, wall: datetime, steady: float) -> None:
        """Look for steps of the clock. One ahead needs nothing: it makes jobs due, and none late."""
        while not self._stopping.wait(LOOK_SECONDS):
            before, since = wall, steady
            wall, steady = self._look()
            step = wall - before - timedelta(seconds=steady - since)
            if step < -STEP:
                log.warning("The clock was set back by %.0f s.", -step.total_seconds())
                move(self._scheduler, step)

    def stop(self) -> None:
        """Stop the jobs and give the lease back."""
        self._stopping.set()
        self._watcher.join()
        self._scheduler.shutdown(wait=True)
        if self.leads:
            try:
                self.lease.release()
            except RegistryError as error:
                log.warning("The lease was not given back: %s", error)
        self._leads_until = 0.0

    def _lead(self) -> None:
        asked, until = time.monotonic(), 0.0
        try:
            if self.lease.acquire():
                if not self.leads:
                    log.info("This process runs the jobs (%s).", self.lease.holder)
                    self._take_over()
                until = asked + LEASE.total_seconds()
        finally:
            self._leads_until = until

    def _take_over(self) -> None:
        """Let these targets be all there are, and end the sweeps that a lost process left running."""
        jobs.reconcile(self._database, list(self._probes.values()), self._clock)
        with self._database.write() as session:
            targets.abandon(session, self._clock())

    def _probe(self, probe: jobs.Probe) -> None:
        """Run the sweeps of one target that are asked for or due."""
        name = probe.plan.name
        with self._database.read() as session:
            asked = [item for item in targets.queued(session) if item[1] == name]
            status = {item.name: item for item in targets.statuses(session)}.get(name)
        try:
            if asked:
                number, _, wanted = asked[0]
                self._run_sweep(probe, trigger="asked", sweep_id=number, wanted=wanted)
            elif status is None or targets.is_due(status, self._clock()):
                self._run_sweep(probe)
        except Conflict:
            return  # another process took it

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

    def _sweep_reported(self) -> None:
        jobs.sweep_reported(self._database, self._clock)

    def _tidy_usage(self) -> None:
        jobs.tidy_usage(self._database, self._clock)

    def _sync(self, source: Source) -> None:
        if not jobs.is_due(self._database, source.name, self._every[source.name], self._clock()):
            return
        done = jobs.sync(self._database, source, self._http, self._clock)
        if done.error:
            log.warning("%s failed: %s", source.name, done.error)
        elif done.events or not done.unchanged:
            log.info("%s: %d events. %s", source.name, done.events, done.detail)

    def _advance(self) -> None:
        jobs.advance(self._database, self._clock)
