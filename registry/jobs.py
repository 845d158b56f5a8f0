"""The shell: each job gathers its inputs, lets a pure function decide, and applies the result.

Every job is safe to run twice and at the same time as itself: the database orders the writers. No
transaction is open while a source is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx2
import sqlalchemy as sa

from registry import auth, catalog, imports, inventory, targets
from registry.core.errors import Invalid, NotFound, RegistryError, Unavailable
from registry.core.facts import Cost, Event, Snapshot
from registry.core.lifecycle import Standing
from registry.db import Database
from registry.models import LeaseRow
from registry.probing import Candidate, Limits, Report, Sender, sweep
from registry.sources import Progress, Source, SourceError, collect, quiet
from registry.sources.catalog import dump_catalog, parse_catalog

__all__ = [
    "Clock",
    "Live",
    "Probe",
    "Swept",
    "Synced",
    "advance",
    "candidates",
    "export_catalog",
    "import_catalog",
    "is_alive",
    "is_due",
    "probe",
    "prune",
    "sweep_reported",
    "sync",
    "tidy_usage",
]

Clock = Callable[[], datetime]
"""Returns the time. Only the composition root passes one that looks at the wall."""

RETRY_AFTER_FAILURE = timedelta(minutes=5)
USERS_FRESH = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What one run of a source did; `error` is one sentence when it failed."""

    source: str
    events: int = 0
    unchanged: bool = False
    detail: str = ""
    cost: Cost = Cost()
    seconds: float = 0.0
    error: str | None = None


def sync(
    database: Database,
    source: Source,
    http: httpx2.Client,
    clock: Clock,
    progress: Progress = quiet,
) -> Synced:
    """Read one source and apply what it found. A source that fails changes nothing but its log."""
    started = clock()
    with database.read() as session:
        memo = catalog.source_memo(session, source.name)
    try:
        finding = collect(source, http, memo, started, progress)
        with database.write() as session:
            events = catalog.apply(session, finding, started, clock())
    except (SourceError, Invalid) as error:
        with database.write() as session:
            catalog.record_failure(session, source.name, started, clock(), str(error))
        return Synced(source=source.name, error=str(error), seconds=_seconds(started, clock()))
    return Synced(
        source=source.name,
        events=len(events),
        unchanged=finding.unchanged,
        detail=finding.detail,
        cost=finding.cost,
        seconds=_seconds(started, clock()),
    )


def _seconds(started: datetime, ended: datetime) -> float:
    return (ended - started).total_seconds()


def is_due(database: Database, source: str, every: timedelta, now: datetime) -> bool:
    """Say whether a source was not read for its interval; one that failed is tried again sooner."""
    with database.read() as session:
        status = catalog.sources(session, [source], runs=1)[0]
    if not status.runs:
        return True
    wait = min(every, RETRY_AFTER_FAILURE) if status.error else every
    return now - status.runs[0].ended_at >= wait


def advance(database: Database, clock: Clock) -> int:
    """Apply what follows from time alone; returns the number of events."""
    with database.write() as session:
        return len(catalog.advance(session, clock()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A configured target, ready to sweep. `connect` makes what sends, `identify` the identity.

    Both look at the credentials of the moment; `connect` raises `RegistryError` when there are none.
    """

    plan: targets.Plan
    limits: Limits
    connect: Callable[[], Sender]
    identify: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One sweep as it went, and what it changed."""

    id: int
    report: Report
    events: tuple[Event, ...]


def candidates(
    database: Database, plan: targets.Plan, wanted: Sequence[str] = ()
) -> list[Candidate]:
    """Return the betas that a target can learn something of; `wanted` names the only ones to take."""
    with database.read() as session:
        snapshot = catalog.snapshot(session)
        held = targets.standings_of(session, plan.name)
        lists = catalog.source_memo(session, "sdk").get("list_calls") or {}
    for name in wanted:
        if name not in snapshot.betas:
            raise NotFound(f"{name} is not in the registry; add it with POST /v1/betas.")
    blank = Standing(target=plan.name, platform=plan.platform, api=plan.api, model=plan.model)
    return [
        Candidate(
            name=name,
            standing=held.get(name, blank),
            conflicts=frozenset(link.beta for link in beta.conflicts_with),
            path=lists.get(name) if plan.endpoint == "list" else None,
        )
        for name, beta in snapshot.betas.items()
        if (not wanted or name in wanted)
        and targets.speaks_of(beta, plan.platform, plan.endpoint)
        and (plan.endpoint != "list" or name in lists)
    ]


def probe(
    database: Database,
    probe: Probe,
    clock: Clock,
    pause: Callable[[float], object],
    *,
    trigger: str = "schedule",
    wanted: Sequence[str] = (),
    sweep_id: int | None = None,
    generation: int | None = None,
    progress: Callable[[int, str], None] = lambda _requests, _what: None,
) -> Swept:
    """Sweep a target once and record it. No transaction is open while requests are sent.

    Raises `Conflict` when another process took the asked-for sweep.
    """
    plan = replace(probe.plan, identity=probe.identify())
    with database.write() as session:
        targets.ensure(session, [plan], clock())
        number = targets.begin(session, plan.name, trigger, clock(), sweep_id=sweep_id)
        status = next(item for item in targets.statuses(session) if item.name == plan.name)
    report = _sweep(database, probe, status, clock, pause, wanted, progress)
    with database.write() as session:
        events = targets.record(session, plan, number, report, clock(), generation)
    return Swept(id=number, report=report, events=events)


def _sweep(
    database: Database,
    probe: Probe,
    status: targets.TargetStatus,
    clock: Clock,
    pause: Callable[[float], object],
    wanted: Sequence[str],
    progress: Callable[[int, str], None],
) -> Report:
    started = clock()
    try:
        invoke = probe.plan.platform == "bedrock" and probe.plan.api != "mantle"
        with closing(probe.connect()) as sender:
            return sweep(
                sender,
                candidates(database, probe.plan, wanted),
                probe.limits,
                platform=probe.plan.platform,
                model=probe.plan.model,
                clock=clock,
                pause=pause,
                names_refused=not invoke if status.names_refused is None else status.names_refused,
                turn=status.turn,
                confirmed=status.confirmed,
                progress=progress,
            )
    except RegistryError as error:
        return Report(
            started_at=started, ended_at=clock(), outcome="inconclusive", detail=error.detail,
            endpoint=probe.plan.endpoint, requests=0,
        )  # fmt: skip


def is_alive(database: Database, clock: Clock) -> bool:
    """Say whether some process holds the lease, so that what is asked for will be done."""
    with database.read() as session:
        expires = session.scalar(sa.select(LeaseRow.expires_at).where(LeaseRow.name == "jobs"))
        if expires is None:
            return False
        if database.is_sqlite:
            return expires > clock()
        moment = session.scalar(sa.select(sa.func.clock_timestamp()))
        return bool(moment and expires > moment)


def prune(database: Database, clock: Clock) -> int:
    """Thin out old observations; returns how many went."""
    with database.write() as session:
        imports.prune(session, clock())
        return targets.prune(session, clock())


def sweep_reported(database: Database, clock: Clock) -> tuple[str, ...]:
    """Ask for the sweeps that refusals reported by services wait for; returns the targets asked."""
    with database.write() as session:
        return inventory.ask_for_sweeps(session, clock())


USAGES_AT_ONCE = 500
SERVICES_AT_ONCE = 100


def tidy_usage(database: Database, clock: Clock) -> int:
    """Thin out, roll on and prune usage, in many short transactions; returns how many usages went."""
    now = clock()
    with database.read() as session:
        last = inventory.last_usage(session)
    for first in range(0, last + 1, USAGES_AT_ONCE):
        with database.write() as session:
            inventory.thin_out(session, first, first + USAGES_AT_ONCE - 1, now)
    after = ""
    while True:
        with database.write() as session:
            names = inventory.next_services(session, after, SERVICES_AT_ONCE)
            inventory.roll(session, names, now)
        if len(names) < SERVICES_AT_ONCE:
            break
        after = names[-1]
    with database.write() as session:
        return inventory.prune(session, now)


class Live:
    """What every request reads: the newest snapshot, the living tokens and the services' defaults.

    `refresh` asks the database for two numbers and loads only what moved. When the database is away
    the last snapshot stays, and `problem` says so. One thread refreshes; any number may read.
    """

    def __init__(self, database: Database, admin_token: str | None = None) -> None:
        self._database = database
        self._seen: tuple[int, int] | None = None
        self._admin = {auth.digest(admin_token): "admin"} if admin_token else {}
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self.snapshot: Snapshot | None = None
        self.tokens: Mapping[str, str] = dict(self._admin)
        self.services: Mapping[str, inventory.Defaults] = {}
        self.problem: str | None = "The first snapshot is not loaded yet."
        self._users: Mapping[str, int] = {}
        self._users_at = datetime.min.replace(tzinfo=UTC)

    def refresh(self) -> bool:
        """Load what moved since last time; returns whether anything did. Never raises."""
        with self._lock:
            try:
                moved = self._load()
            except RegistryError as error:
                self.problem = error.detail
                return False
        if moved:
            for tell in self._watchers:
                tell()
        return moved

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell`, from the thread that refreshes, whenever something moved. It must not raise."""
        self._watchers.append(tell)

    def _load(self) -> bool:
        with self._database.read() as session:
            now = catalog.revision(session)
            if now != self._seen:
                snapshot = catalog.snapshot(session)
                tokens = {**auth.index(session), **self._admin}
                # The snapshot last: whoever sees a new one shall see the rest that belongs to it.
                self.services, self.tokens = inventory.defaults(session), tokens
                self.snapshot = snapshot
        moved, self._seen, self.problem = now != self._seen, now, None
        return moved

    def users(self, now: datetime) -> Mapping[str, int]:
        """Return how many services use each beta, at most `USERS_FRESH` old.

        Usage moves no snapshot: it would drop every answer in memory with each report. So these are read
        when they are shown; while the database is away the last ones stay.
        """
        if not timedelta() <= now - self._users_at < USERS_FRESH:
            with suppress(RegistryError), self._database.read() as session:
                self._users, self._users_at = catalog.services_by_beta(session, now), now
        return self._users

    def usage_moved(self) -> None:
        """Forget the users: this process has just recorded usage."""
        self._users_at = datetime.min.replace(tzinfo=UTC)

    def current(self) -> Snapshot:
        """Return the snapshot. Raises `Unavailable` before the first one could be loaded."""
        if self.snapshot is None:
            raise Unavailable(self.problem or "Starting.", slug="database-unavailable")
        return self.snapshot


def export_catalog(database: Database) -> str:
    """Print every claim that counts, in the catalog's own format."""
    with database.read() as session:
        return dump_catalog(catalog.snapshot(session).as_of, catalog.claims(session))


def import_catalog(database: Database, text: str | bytes, clock: Clock) -> int:
    """Take in what `export_catalog` printed; returns the number of events. Raises `Invalid`."""
    as_of, made = parse_catalog(text)
    with database.write() as session:
        return len(catalog.import_claims(session, made, as_of, clock()))
