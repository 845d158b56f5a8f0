"""The lease and the jobs: of several processes one works, and a lost one is replaced."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx2
import pytest

from registry import catalog, jobs
from registry.core.facts import Finding, Json
from registry.db import Database
from registry.leases import LEASE, Lease
from registry.scheduler import Scheduler
from registry.sources import Progress, SourceError
from tests.factories import NOW, claim, finding
from tests.waiting import until


@dataclass
class Clock:
    """A clock that goes when told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Counting:
    """A source that counts its runs."""

    name: str = "docs"
    runs: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    error: str | None = None

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Find one beta, or fail."""
        with self.lock:
            self.runs += 1
        if self.error:
            raise SourceError(self.error)
        return finding(self.name, claim("thing-2026-01-01", source=self.name))


def expired(database: Database, clock: Clock) -> None:
    """Let the lease run out without waiting for it."""
    clock.now += LEASE + timedelta(seconds=1)
    if not database.is_sqlite:  # there the database's own clock counts
        import sqlalchemy as sa

        with database.write() as session:
            session.execute(sa.text("UPDATE lease SET expires_at = now() - interval '1 second'"))


def test_one_of_several_holds_the_lease(database: Database) -> None:
    """The holder renews it; the others wait until it runs out or is given back."""
    clock = Clock()
    first, second = Lease(database, clock), Lease(database, clock)
    assert first.acquire()
    assert not second.acquire()
    assert first.acquire()
    expired(database, clock)
    assert second.acquire()
    assert not first.acquire()
    assert second.generation == 2
    second.release()
    assert first.acquire()


def test_many_at_once_give_one_holder(database: Database) -> None:
    """One conditional update decides."""
    clock = Clock()
    leases = [Lease(database, clock) for _ in range(8)]
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda held=held: won.append(held.acquire())) for held in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 1


def scheduler(database: Database, source: Counting) -> Scheduler:
    """A scheduler that ticks fast."""
    from registry.config import now

    every = {source.name: timedelta(hours=1)}
    return Scheduler(database, [source], every, httpx2.Client(), now, tick_seconds=0.1)


def test_of_two_schedulers_one_runs_what_is_due_once(database: Database) -> None:
    """And when it stops, the other takes over without waiting."""
    source = Counting()
    first, second = scheduler(database, source), scheduler(database, source)
    first.start()
    until(lambda: source.runs == 1)
    second.start()
    until(lambda: first.leads)
    assert not second.leads
    first.stop()
    until(lambda: second.leads)
    second.stop()
    assert source.runs == 1  # not due again for an hour
    with database.read() as session:
        assert len(catalog.sources(session, ["docs"])[0].runs) == 1


def test_a_source_that_fails_is_recorded_and_tried_again_sooner(database: Database) -> None:
    """Nothing changes but its log."""
    source, clock = Counting(error="It is gone."), Clock()
    done = jobs.sync(database, source, httpx2.Client(), clock)
    assert done.error == "It is gone."
    every = timedelta(days=1)
    assert not jobs.is_due(database, "docs", every, NOW + timedelta(minutes=4))
    assert jobs.is_due(database, "docs", every, NOW + timedelta(minutes=6))
    source.error = None
    clock.now += timedelta(minutes=6)
    assert jobs.sync(database, source, httpx2.Client(), clock).error is None
    assert not jobs.is_due(database, "docs", every, clock.now + timedelta(hours=23))
    assert jobs.is_due(database, "docs", every, clock.now + timedelta(days=1))


def test_the_snapshot_stays_when_the_database_goes(sqlite_url: str, tmp_path: object) -> None:
    """Reads go on from memory, and the trouble is told."""
    database = Database(sqlite_url)
    live = jobs.Live(database)
    jobs.sync(database, Counting(), httpx2.Client(), Clock())
    assert live.refresh()
    database.close()
    from pathlib import Path

    file = Path(sqlite_url.removeprefix("sqlite:///"))
    file.write_bytes(b"rubbish" * 1000)
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    assert not live.refresh()
    assert "thing-2026-01-01" in live.current().betas
    assert live.problem
    assert "not a usable SQLite database" in live.problem


def test_export_and_import_lose_nothing(database: Database, tmp_path: object) -> None:
    """A registry made from the export of another knows the same."""
    from registry import db

    jobs.sync(database, Counting(), httpx2.Client(), Clock())
    with database.write() as session:
        catalog.amend(session, "thing-2026-01-01", {"gate": "org"}, "told", None, NOW)
    text = jobs.export_catalog(database)
    url = f"sqlite:///{tmp_path}/other.db"
    db.upgrade(url)
    other = Database(url)
    assert jobs.import_catalog(other, text, Clock()) == 1
    assert jobs.export_catalog(other) == text
    assert jobs.import_catalog(other, text, Clock()) == 0
    with database.read() as a, other.read() as b:
        one = catalog.snapshot(a).betas["thing-2026-01-01"]
        two = catalog.snapshot(b).betas["thing-2026-01-01"]
    assert (one.status, one.gate, one.basis) == (two.status, two.gate, two.basis)
    other.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"betas": 3}', "[" * 100_000])
def test_an_import_that_is_no_catalog_changes_nothing(database: Database, text: str) -> None:
    """One sentence says what is wrong."""
    from registry.core.errors import Invalid

    with pytest.raises(Invalid):
        jobs.import_catalog(database, text, Clock())
    with database.read() as session:
        assert catalog.snapshot(session).betas == {}
