"""A clock that is set back or ahead stops nothing, and nothing is promised that nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from registry import catalog, inventory, jobs, targets
from registry.alerts import deliveries
from registry.config import now
from registry.core.errors import Unavailable
from registry.core.facts import Finding, Json
from registry.core.lifecycle import Thresholds
from registry.db import Database
from registry.inventory import Item, Report
from registry.leases import LEASE, Lease
from registry.models import LeaseRow
from registry.probing import Limits
from registry.scheduler import Every, Scheduler, move
from registry.simulator import create_simulator
from registry.sources import Progress
from tests.alerts.receiver import answers
from tests.alerts.world import A, World, bodies, listening
from tests.factories import NOW, claim, finding
from tests.probing.stand_in import StandIn
from tests.waiting import until

HOUR = timedelta(hours=1)
BETA = "thing-2026-01-01"


@dataclass
class Clock:
    """The clock of the machine, for this test alone set back or ahead."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead

    def set(self, by: timedelta) -> None:
        """Set it back or ahead."""
        self.ahead += by


@dataclass
class Counting:
    """A source that counts its runs."""

    name: str = "docs"
    runs: int = 0

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Find one beta."""
        self.runs += 1
        return finding(self.name, claim(BETA, source=self.name))


def hourly_probe(name: str = "t") -> jobs.Probe:
    """A target of a simulated upstream, swept every hour."""
    world = create_simulator({"betas": [{"beta": "*-2026-01-01"}]}, clock=lambda: 0.0)
    plan = targets.Plan(
        name=name, platform="anthropic", api=None, model="claude-haiku-4-5",
        endpoint="count_tokens", identity="one", thresholds=Thresholds(), every=HOUR,
        confirm_every=HOUR,
    )  # fmt: skip

    def connect() -> StandIn:
        return StandIn(world, endpoints=("count_tokens",), key="sk-ant-good")

    return jobs.Probe(plan=plan, limits=Limits(), connect=connect, identify=lambda: "one")


@contextmanager
def running(
    database: Database,
    source: Counting,
    clock: Clock,
    probes: tuple[jobs.Probe, ...] = (),
    prune: tuple[Callable[[], int], ...] = (),
) -> Iterator[Scheduler]:
    """A scheduler that looks often, and does all by the hour."""
    made = Scheduler(
        database, [source], {source.name: HOUR}, httpx2.Client(), clock, tick_seconds=0.05,
        probes=probes, prune=prune,
    )  # fmt: skip
    made.start()
    try:
        yield made
    finally:
        made.stop()


def read(database: Database) -> int:
    """How many runs of the source have ended and are recorded; it may have been called once more."""
    with database.read() as session:
        return len(catalog.sources(session, ["docs"], runs=9)[0].runs)


def swept(database: Database) -> list[targets.Sweep]:
    """The sweeps that ended."""
    with database.read() as session:
        return [item for item in targets.sweeps(session) if item.ended_at]


def promised(database: Database, clock: Clock) -> int | None:
    """Ask for a sweep; None while nobody promises one, as in the moments after a step."""
    try:
        return jobs.ask_sweep(database, clock, "t").id
    except Unavailable:
        return None


@pytest.mark.parametrize("step", [-HOUR, -30 * 24 * HOUR, HOUR, 30 * 24 * HOUR])
def test_jobs_go_on_and_none_runs_for_ever(database: Database, step: timedelta) -> None:
    """What waits for its hour is due once when the clock is set, and then waits for its hour again."""
    source, clock = Counting(), Clock()
    with running(database, source, clock, (hourly_probe(),)):
        until(lambda: read(database) == 1 and len(swept(database)) == 1, "the first runs")
        clock.set(step)
        until(lambda: read(database) == 2 and len(swept(database)) == 2, "the runs after the step")
        assert all(item.counted for item in swept(database))
        with database.read() as session:
            (status,) = targets.statuses(session)
        assert not targets.is_due(status, clock())
        assert not jobs.is_due(database, "docs", HOUR, clock())
        clock.set(-step)  # and it is set right
        number = until(lambda: promised(database, clock), "the promise")
        until(
            lambda: number in [item.id for item in swept(database)], "the sweep that was asked for"
        )
    assert source.runs <= 3
    assert len(swept(database)) <= 4


def test_a_job_of_every_day_waits_for_no_clock_that_was_set_back(database: Database) -> None:
    """What had still a day to wait is due when the clock goes back by more than a day, each time."""
    clock, pruned = Clock(), list[int]()

    def prune() -> int:
        pruned.append(1)
        return 0

    with running(database, Counting(), clock, prune=(prune,)) as scheduler:
        until(lambda: scheduler.leads, "the lease")
        for _ in range(2):
            pruned.clear()
            clock.set(-25 * HOUR)
            until(lambda: pruned, "the run after the step")


def test_a_plan_that_is_moved_keeps_its_waits() -> None:
    """By the clock that was set, each job waits as long as it had to; then its trigger goes on."""
    planned = {"tick": NOW + timedelta(seconds=9), "hour": NOW + HOUR, "night": NOW + 12 * HOUR}
    triggers = {
        "tick": Every(10),
        "hour": Every(3600),
        "night": CronTrigger(hour=0, timezone="UTC"),
    }
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start(paused=True)
    try:
        for name, at in planned.items():
            scheduler.add_job(list, triggers[name], id=name, next_run_time=at)
        for step in (-HOUR, -30 * 24 * HOUR, HOUR):
            planned = {name: at + step for name, at in planned.items()}
            move(scheduler, step)
            assert {job.id: job.next_run_time for job in scheduler.get_jobs()} == planned
    finally:
        scheduler.shutdown()


@pytest.mark.parametrize("before", [NOW, NOW - HOUR, NOW + HOUR, datetime(1970, 1, 1, tzinfo=UTC)])
def test_an_interval_begins_with_each_run(before: datetime) -> None:
    """However far the clock was set since the run before: no run is made up for, and none is put off."""
    soonest, latest = NOW + timedelta(seconds=15), NOW + timedelta(seconds=18)
    assert soonest <= Every(15, jitter=3).get_next_fire_time(before, NOW) <= latest


def test_a_failure_that_nobody_foresaw_ends_no_job(database: Database) -> None:
    """It is tried again at the next tick."""
    tries: list[int] = []

    def identify() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError
        return "one"

    probe = replace(hourly_probe(), identify=identify)
    with running(database, Counting(), Clock(), (probe,)):
        until(lambda: swept(database), "the sweep")


def leave_a_lease(database: Database, clock: Clock, expires_in: timedelta) -> None:
    """Let a process that is gone have held the lease."""
    assert Lease(database, clock, ["t"]).acquire()
    now: Any = clock()
    if not database.is_sqlite:  # there the database's own clock counts
        with database.read() as session:
            now = session.scalar(sa.select(sa.func.clock_timestamp()))
    with database.write() as session:
        session.execute(sa.update(LeaseRow).values(expires_at=now + expires_in))


def know(database: Database, name: str = "t") -> None:
    """Let the database know a target."""
    with database.write() as session:
        targets.ensure(session, [hourly_probe(name).plan], NOW)


def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_up(database: Database) -> None:
    """It lasts longer than any lease can, so it is free, and it promises no sweep."""
    clock = Clock()
    know(database)
    leave_a_lease(database, clock, HOUR)
    with pytest.raises(Unavailable, match="No process runs the scheduler"):
        jobs.ask_sweep(database, clock, "t")
    assert Lease(database, clock).acquire()


def test_a_lease_that_can_be_is_respected(database: Database) -> None:
    """Its holder may live."""
    clock = Clock()
    leave_a_lease(database, clock, LEASE / 2)
    assert not Lease(database, clock).acquire()


def test_a_sweep_is_promised_only_where_somebody_will_do_it(database: Database) -> None:
    """The holder of the lease must live, and be set up for this very target."""
    clock = Clock()
    for name in ("t", "other"):
        know(database, name)
    with pytest.raises(Unavailable, match="No process runs the scheduler"):
        jobs.ask_sweep(database, clock, "t")
    lease = Lease(database, clock, ["t"])
    assert lease.acquire()
    assert jobs.ask_sweep(database, clock, "t").outcome == "queued"
    with pytest.raises(Unavailable, match="does not sweep 'other'"):
        jobs.ask_sweep(database, clock, "other")
    lease.release()
    with pytest.raises(Unavailable, match="No process runs the scheduler"):
        jobs.ask_sweep(database, clock, "t")
    with database.read() as session:
        assert [target for _, target, _ in targets.queued(session)] == ["t"]


def test_alerts_that_wait_are_sent_when_the_clock_is_set_back(database: Database) -> None:
    """A retry, a claim that was lost and a receiver's rest do not wait for the hour to pass again."""
    world = World(database)
    with listening() as there:
        world.subscribe(there)
        there.behave = answers(500)
        world.later(hours=1)
        world.happen(A)
        world.send()
        assert world.statuses() == ["failed"]
        there.behave = answers(204)
        there.callers.clear()
        world.later(hours=-1)
        assert world.send() >= 1
        assert world.statuses() == ["sent"]
        world.happen(A, status="ga")
        (lost,) = world.alerts.advance(deliveries.Load(room=9, slow_room=9))
        world.later(hours=-1)
        assert world.send() == 1
        assert (world.statuses(), lost.number) == (["sent", "sent"], 1)
        assert len(bodies(there)) >= 2


def test_a_retry_waits_for_its_time_by_a_clock_that_goes(database: Database) -> None:
    """A small step back makes nothing early that waits since before it."""
    world = World(database)
    with listening() as there:
        world.subscribe(there)
        there.behave = answers(500, retry_after="7200")
        world.happen(A)
        world.send()
        world.later(minutes=30)
        world.later(minutes=-10)
        assert world.send() == 0


def test_a_digest_of_a_clock_that_was_ahead_comes_at_nine(database: Database) -> None:
    """A clock that was a month ahead for a moment does not put it off by a month."""
    world = World(database)
    with listening() as there:
        world.subscribe(there, schedule="daily")
        world.later(days=30)
        world.send()
        world.later(days=-30)
        world.happen(A)
        world.send()
        world.later(days=1)
        assert world.send() == 1


def test_refusals_are_news_again_after_a_clock_that_was_ahead(database: Database) -> None:
    """What was told in the future silences nothing now, and holds no sweep back."""
    with database.write() as session:
        catalog.apply(session, finding("docs", claim(BETA, source="docs")), NOW, NOW)
        targets.ensure(session, [hourly_probe().plan], NOW)

    def tell(now: datetime) -> tuple[str, ...]:
        report = Report(
            service="shop", platform="anthropic", items=(Item(beta=BETA, count=5, refused=5),)
        )
        with database.write() as session:
            row = LeaseRow(name="jobs", holder="x", generation=1, targets=["t"])
            row.expires_at = now + LEASE
            session.merge(row)
            return inventory.record(session, report, now).sweeps

    def told() -> int:
        with database.read() as session:
            wanted = catalog.EventFilter(types=("usage.refusing",))
            return len(catalog.events(session, wanted, 10))

    assert (tell(NOW + HOUR), told()) == (("t",), 1)
    with database.write() as session:
        (waiting,) = targets.queued(session)
        targets.begin(session, "t", "asked", NOW, sweep_id=waiting[0])
    assert (tell(NOW), told()) == (("t",), 2)
