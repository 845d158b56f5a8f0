"""The shell: each job gathers its inputs, lets a pure function decide, and applies the result.

Every job is safe to run twice and at the same time as itself: the database orders the writers. No
transaction is open while a source is read.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import httpx2

from registry import auth, catalog, imports, inventory, leases, targets
from registry.core import due
from registry.core.errors import Invalid, RegistryError, Unavailable
from registry.core.facts import Cost, Event, Snapshot
from registry.core.lifecycle import Standing
from registry.core.redaction import redact
from registry.db import Database
from registry.loops import Loop
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
    "ask_sweep",
    "candidates",
    "export_catalog",
    "import_catalog",
    "is_due",
    "probe",
    "prune",
    "reconcile",
    "sweep_reported",
    "sync",
    "tidy_usage",
]

log = logging.getLogger("registry.jobs")

Clock = Callable[[], datetime]
"""Returns the time. Only the composition root passes one that looks at the wall."""

RETRY_AFTER_FAILURE = timedelta(minutes=5)
USERS_FRESH = timedelta(seconds=1)
POLL_SECONDS = 0.25
"""How often a process asks whether the snapshot moved; a change is visible within a second."""
FRESH_SECONDS = 5.0
"""How long tokens count without being confirmed anew, and after which facts are called old."""
ASK_SECONDS = 1.0
"""How long a request waits for the database before it is answered from memory."""
SILENT_SECONDS = 2.0
"""How long the database may take for two numbers before it counts as away."""
IDLE_SECONDS = 60.0
"""How long a loop rests that works only when it is asked."""
_NEVER = -math.inf


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
    return due.is_due(now, status.runs[0].ended_at, wait)


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
    check_known(database, wanted)
    with database.read() as session:
        snapshot = catalog.snapshot(session)
        held = targets.standings_of(session, plan.name)
        lists = catalog.source_memo(session, "sdk").get("list_calls") or {}
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


def reconcile(database: Database, probes: Sequence[Probe], clock: Clock) -> int:
    """Let these be all targets that are configured; returns the number of events.

    For the process that schedules, at its start: what is not among them speaks for nothing any more.
    """
    plans = [replace(probe.plan, identity=probe.identify()) for probe in probes]
    with database.write() as session:
        return len(targets.reconcile(session, plans, clock()))


def check_known(database: Database, names: Sequence[str]) -> None:
    """Raise `NotFound` for a name that is not in the registry."""
    with database.read() as session:
        for name in names:
            catalog.beta(session, name)


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
        known = targets.known(session, plan.name)
    report = _redacted(_sweep(database, probe, known, clock, pause, wanted, progress))
    with database.write() as session:
        events = targets.record(session, plan, number, report, clock(), generation)
    return Swept(id=number, report=report, events=events)


def _sweep(
    database: Database,
    probe: Probe,
    known: targets.Known,
    clock: Clock,
    pause: Callable[[float], object],
    wanted: Sequence[str],
    progress: Callable[[int, str], None],
) -> Report:
    started = clock()
    try:
        invoke = probe.plan.platform == "bedrock" and probe.plan.api != "mantle"
        with closing(probe.connect()) as sender:
            check_known(database, wanted)
            return sweep(
                sender,
                candidates(database, probe.plan),
                probe.limits,
                platform=probe.plan.platform,
                model=probe.plan.model,
                clock=clock,
                pause=pause,
                names_refused=not invoke if known.names_refused is None else known.names_refused,
                turn=known.turn,
                confirmed=known.believed,
                progress=progress,
                thresholds=probe.plan.thresholds,
                memory=known.memory,
                wanted=wanted,
                locked=known.locked,
            )
    except RegistryError as error:
        return Report(
            started_at=started, ended_at=clock(), outcome="inconclusive", detail=error.detail,
            endpoint=probe.plan.endpoint, requests=0, memory=known.memory,
        )  # fmt: skip


def _redacted(report: Report) -> Report:
    """What a target or a proxy on the way answered may quote the URL that was asked."""
    return replace(
        report,
        detail=redact(report.detail),
        observations=tuple(
            replace(item, message=redact(item.message)) for item in report.observations
        ),
    )


def ask_sweep(
    database: Database, clock: Clock, target: str, betas: Sequence[str] = ()
) -> targets.Sweep:
    """Ask the process that runs the jobs for a sweep, of these betas only if any are named.

    Raises `NotFound`, and `Unavailable` where nobody would do it.
    """
    with database.write() as session:
        leases.check_led(session, clock)
        number = targets.begin(session, target, "asked", clock(), queue=True, betas=betas)
        leases.check_led(session, clock, target)
        return targets.sweep(session, number)


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

    One thread asks the database for two numbers, four times a second, and loads only what moved; another
    counts users when somebody wants them; any number of threads may read. Nothing here waits for the
    database longer than `ASK_SECONDS`: while it is away the last snapshot stays, `problem` says so, and
    tokens count until `grace` has passed since the database confirmed them. `ticks` gives seconds that
    never go back.
    """

    def __init__(
        self,
        database: Database,
        admin_token: str | None = None,
        *,
        grace: timedelta = timedelta(minutes=15),
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._grace, self._ticks = database, grace.total_seconds(), ticks
        self._seen: tuple[int, int] | None = None
        self._admin = {auth.digest(admin_token): "admin"} if admin_token else {}
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self.snapshot: Snapshot | None = None
        self.tokens: Mapping[str, str] = dict(self._admin)
        self.services: Mapping[str, inventory.Defaults] = {}
        self._users: Mapping[str, int] = {}
        self._users_at = datetime.min.replace(tzinfo=UTC)
        self._users_wanted: datetime | None = None
        self._users_failed_at = self._users_asked_at = _NEVER
        self._usages = 0
        self._failure: str | None = "The first snapshot is not loaded yet."
        self._failed_at = self._asked_at = self._turn_at = _NEVER
        self._confirmed_at = self._refreshed_at = _NEVER
        self._loop = Loop("refresh", self._turn)
        # A thread of its own: a table of usages that is locked must not keep a revoked token alive.
        self._users_loop = Loop("users", self._count_users)

    # --- Keeping it fresh ---

    def start(self) -> None:
        """Refresh four times a second from now on."""
        self._loop.start()
        self._users_loop.start()

    def stop(self) -> None:
        """Refresh no more."""
        self._loop.stop()
        self._users_loop.stop()

    def refresh(self) -> bool:
        """Load what moved since last time; returns whether anything did. Never raises."""
        with self._lock:
            try:
                moved = self._load()
            except RegistryError as error:
                self._fail(error.detail)
                return False
            except Exception as error:
                # Whatever it is, readers must hear of it, and the next turn may go well.
                detail = f"The facts could not be refreshed ({type(error).__name__})."
                if detail != self._failure:
                    log.exception(detail)
                self._fail(detail)
                return False
            finally:
                self._asked_at = _NEVER
        if moved:
            for tell in self._watchers:
                try:
                    tell()
                except Exception:  # whatever it is, the others must hear of the change
                    log.exception("Somebody who waits for changes could not be told of one.")
        return moved

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell`, from the thread that refreshes, whenever something moved."""
        self._watchers.append(tell)

    def ask(self, seconds: float = ASK_SECONDS) -> None:
        """Wait until all that the database held before this call is here, or known not to come."""
        if self._loop.runs:
            self._loop.ask(seconds, self._is_away)
        else:
            self._turn()

    def _turn(self) -> float:
        self._turn_at = self._ticks()
        try:
            self.refresh()
        finally:
            self._turn_at = _NEVER
        return POLL_SECONDS

    def _fail(self, detail: str) -> None:
        self._failure, self._failed_at = detail, self._ticks()

    def _load(self) -> bool:
        began = self._asked_at = self._ticks()
        with self._database.read() as session:
            now = catalog.revision(session)
            self._asked_at = _NEVER
            held = self._seen
            # Tokens first: facts that cannot be read must not keep a revoked token alive.
            if held is None or held[1] != now[1]:
                self.tokens = {**auth.index(session), **self._admin}
            self._confirmed_at = began
            if now != held:
                snapshot = catalog.snapshot(session)
                # The snapshot last: whoever sees a new one shall see the rest that belongs to it.
                self.services = inventory.defaults(session)
                self.snapshot = snapshot
        self._seen, self._refreshed_at = now, began
        self._failure, self._failed_at = None, _NEVER
        return now != held

    # --- How it stands ---

    @property
    def age(self) -> float:
        """Seconds since the database last confirmed facts and tokens; infinite before the first time."""
        return self._ticks() - self._refreshed_at

    @property
    def problem(self) -> str | None:
        """Say in one sentence why facts and tokens cannot be refreshed just now, if so."""
        asked = self._ticks() - self._asked_at
        if self._failure is None and SILENT_SECONDS < asked < math.inf:
            return f"The database has not answered for {asked:.0f} seconds."
        if self._failure is None and self.age > FRESH_SECONDS:
            return f"Facts and tokens were last refreshed {self.age:.0f} seconds ago."
        return self._failure

    @property
    def file_lost(self) -> bool:
        """Say whether the embedded database's file was removed or replaced."""
        return (
            self._database.file is not None and self._database.file.is_lost
        )  # checked at every refresh

    def _is_away(self) -> bool:
        """Say whether the database was asked just now and did not answer."""
        now = self._ticks()
        return (
            now - self._failed_at < FRESH_SECONDS or SILENT_SECONDS < now - self._turn_at < math.inf
        )

    # --- Reading ---

    @property
    def tokens_fresh(self) -> bool:
        """Say whether the database confirmed the tokens within `FRESH_SECONDS`."""
        return self._ticks() - self._confirmed_at <= FRESH_SECONDS

    def confirm(self) -> None:
        """Have the tokens confirmed anew if that is long ago; waits at most `ASK_SECONDS`."""
        if not self.tokens_fresh:
            self.ask()

    def scope_of(self, digest: str) -> auth.Scope | None:
        """Return the scope of a living token by the hash of its secret, from memory.

        Raises `Unavailable` where memory cannot tell: a token that is new to it while the database is
        away, or any once `grace` has passed.
        """
        held = self.tokens.get(digest)
        if digest in self._admin or self.tokens_fresh:
            return cast("auth.Scope | None", held)
        if held is None or self._ticks() - self._confirmed_at > self._grace:
            why = self.problem or "The database does not answer."
            raise Unavailable(
                f"The token cannot be checked now. {why}", slug="database-unavailable"
            )
        return cast(auth.Scope, held)

    def is_set(self, digest: str) -> bool:
        """Say whether a token comes from the settings, so that the database does not know it."""
        return digest in self._admin

    def users(self, now: datetime) -> Mapping[str, int]:
        """Return how many services use each beta, at most `USERS_FRESH` old.

        Usage moves no snapshot: it would drop every answer in memory with each report. So these are read
        when they are shown; while the database is away the last ones stay.
        """
        if not self._users_fresh(now):
            self._users_wanted = now
            if self._users_loop.runs:
                self._users_loop.ask(ASK_SECONDS, self._users_are_away)
            else:
                self._count_users()
        return self._users

    def _users_fresh(self, now: datetime) -> bool:
        return timedelta() <= now - self._users_at < USERS_FRESH

    def _users_are_away(self) -> bool:
        """Say whether they were asked for just now and did not come, or cannot."""
        now = self._ticks()
        return (
            self._is_away()
            or now - self._users_failed_at < FRESH_SECONDS
            or SILENT_SECONDS < now - self._users_asked_at < math.inf
        )

    def _count_users(self) -> float:
        now, self._users_wanted = self._users_wanted, None
        if now is None or self._failure is not None:
            return IDLE_SECONDS
        usages, self._users_asked_at = self._usages, self._ticks()
        try:
            with self._database.read() as session:
                self._users = catalog.services_by_beta(session, now)
        except RegistryError:
            self._users_failed_at = self._ticks()
        else:
            self._users_failed_at = _NEVER
            if usages == self._usages:  # else some usage may have come after it was counted
                self._users_at = now
        finally:
            self._users_asked_at = _NEVER
        return IDLE_SECONDS

    def usage_moved(self) -> None:
        """Forget the users: this process has just recorded usage."""
        self._usages += 1
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
