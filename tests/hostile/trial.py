"""A registry that lives with a hostile upstream, in virtual time, and what it believes wrongly or misses.

The path is the product's own: the real sender over real HTTP, `jobs.probe`, a real database. Only time is
not real: every wait goes to `Trial.pause`, and each sweep begins when the registry said that it is due.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registry import catalog, jobs, targets
from registry.core.facts import Claim, Finding
from registry.core.lifecycle import Thresholds
from registry.core.names import Platform
from registry.db import Database
from registry.probing import Limits, Sender
from registry.probing.platforms import Setup, Upstream
from tests.hostile.direct import Direct
from tests.hostile.server import Server
from tests.hostile.world import Asked, Said, World

__all__ = ["BETAS", "START", "Tally", "Trial", "one_authority"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON: Final = 24
"""Sweeps within which a death must be found, and a revival."""

_WORDS: Final = "mcp files skills tool cache compact effort fast memory search batch output vision audio".split()  # noqa: SIM905
BETAS: Final = [
    "mcp", "files-api",  # names that others begin with: a list that is cut may seem to name them
    *(f"{word}-client-2025-{month:02}-1{len(word)}" for word in _WORDS for month in (3, 4, 9, 11)),
    "files-api-2025-04-14", "mcp-client",
]  # fmt: skip
assert len(BETAS) == len(set(BETAS)) == 60


@dataclass
class Tally:
    """What came of some trials. Lists hold one number for each death that was found."""

    sweeps: int = 0
    requests: int = 0
    false_deaths: int = 0
    false_refusals: int = 0
    deaths: int = 0
    missed: int = 0
    unrevived: int = 0
    unrestored: int = 0
    alerts: int = 0
    broken: int = 0
    sweeps_to_certainty: list[int] = field(default_factory=list)
    requests_to_certainty: list[int] = field(default_factory=list)
    hours_to_certainty: list[float] = field(default_factory=list)
    sweeps_to_revival: list[int] = field(default_factory=list)
    quiet_requests: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what came of other trials."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, list):
                mine.extend(value)
            elif isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)


@dataclass
class Trial:
    """One registry, one upstream.

    `dead` are the betas that really died, `limited` those to which the key has no access; whatever else
    turns is wrong. `suspects` are those that a hostility picked. Without a `server` the world is asked in this
    process. `trust` is a small file of certificates: to read a whole trust store is half the time of a sweep.
    """

    database: Database
    server: Server | None = None
    trust: Path | None = None
    seed: int = 0
    names: Sequence[str] = tuple(BETAS)
    platform: str = "anthropic"
    api: str | None = None
    endpoint: str = "auto"
    timeout: float = 20.0
    limits: Limits = field(default_factory=Limits)
    now: datetime = START
    key: str = "sk-ant-hostile"
    dead: set[str] = field(default_factory=set)
    limited: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    wrong: set[tuple[str, str]] = field(default_factory=set)
    events: list[tuple[str, str | None, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"trial {self.seed}")
        self.world = World(known=set(self.names), chance=random.Random(f"world {self.seed}"))
        self.asked: list[Asked] = []
        self.intercept: Callable[[Asked], Said] | None = None
        self.draws = random.Random(f"draws {self.seed}")
        self.senders = itertools.count(1000, 1000)  # the first connection of each sender
        if self.server is not None:
            self.server.reset()
            self.server.answer, self.server.time = self.answer, self.now_in_seconds
        self.prepare()

    def prepare(self) -> None:
        """Tell the registry of the betas."""
        claims = tuple(
            Claim(
                beta=name, field="status", value="active", source="docs", basis="declared", at=START
            )
            for name in self.names
        )
        with self.database.write() as session:
            catalog.apply(session, Finding(source="docs", claims=claims), START, START)

    def answer(self, asked: Asked) -> Said:
        """Answer one request, and note it; `intercept` may answer in the world's place."""
        self.asked.append(asked)
        return (self.intercept or self.world.answer)(asked)

    # --- Time -------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        """Tell the time; looking at it takes a millisecond."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def now_in_seconds(self) -> float:
        """Tell the time without looking at the clock."""
        return self.now.timestamp()

    def pause(self, seconds: float) -> bool:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return False

    # --- Sweeps -----------------------------------------------------------------------------------

    def probe(self, name: str = "t") -> jobs.Probe:
        """A target of this upstream."""
        endpoints = ("count_tokens", "models") if self.endpoint == "auto" else (self.endpoint,)
        setup = Setup(
            name=name, platform=self.platform, api=self.api, endpoint=self.endpoint,
            base_url=self.server.url if self.server else None, timeout=self.timeout,
            region="us-east-1" if self.platform == "bedrock" else None,
            allow_paid=self.endpoint == "messages", api_key_env="KEY",
        )  # fmt: skip
        plan = targets.Plan(
            name=name, platform=self.platform, api=self.api, model=setup.model, endpoint=self.endpoint,
            identity=self.key, thresholds=Thresholds(), every=timedelta(hours=1),
            confirm_every=timedelta(minutes=2),
        )  # fmt: skip

        def connect() -> Sender:
            if self.server is None:
                return Direct(self.answer, endpoints, self.now_in_seconds, next(self.senders))
            return Upstream(setup, {"KEY": self.key, "SSL_CERT_FILE": str(self.trust or "")})

        return jobs.Probe(
            plan=plan, limits=self.limits, connect=connect,
            identify=lambda: self.key,
        )  # fmt: skip

    def sweep(
        self, target: str = "t", *, wanted: Sequence[str] = (), sweep_id: int | None = None,
        soon: bool = False,
    ) -> jobs.Swept:  # fmt: skip
        """Sweep once, when the target is due (or at once), and judge what the registry believes then."""
        if not (soon or wanted):
            self.wait(target)
        self.now += timedelta(seconds=1)
        before = len(self.asked)
        done = self.swept(target, wanted, sweep_id)
        self.tally.sweeps += 1
        self.tally.requests += len(self.asked) - before
        self.tally.outcomes[done.report.outcome] += 1
        self._judge(target, done.events)
        return done

    def swept(self, target: str, wanted: Sequence[str], sweep_id: int | None) -> jobs.Swept:
        """Sweep by the product's own job."""
        return jobs.probe(
            self.database, self.probe(target), self.clock, self.pause, wanted=wanted, sweep_id=sweep_id,
            trigger="asked" if wanted else "schedule",
        )  # fmt: skip

    def sweeps(self, times: int, target: str = "t") -> None:
        """Sweep some times."""
        for _ in range(times):
            self.sweep(target)

    def wait(self, target: str) -> None:
        with self.database.read() as session:
            due = [item.next_sweep_at for item in targets.statuses(session) if item.name == target]
        if due and due[0] is not None:
            self.now = max(self.now, due[0])

    def _judge(self, target: str, events: Iterable[Any]) -> None:
        for event in events:
            self.events.append((event.type, event.beta, event.reason))
            self.tally.alerts += event.type in (
                "target.blind",
                "target.unhealthy",
                "target.recovered",
            )
            if event.type == "beta.retired" and event.beta not in self.dead:
                self.tally.false_deaths += 1
                self.note(f"{event.beta} was called retired")
        for name, state in self.states(target).items():
            right = name in self.dead or (state == "restricted" and name in self.limited)
            if right or state not in ("refused", "restricted"):
                self.wrong.discard((target, name))
            elif (target, name) not in self.wrong:
                self.wrong.add((target, name))
                self.tally.false_refusals += 1
                self.note(f"{name} was called {state}")

    def note(self, what: str) -> None:
        self.tally.notes.append(f"seed {self.seed}, sweep {self.tally.sweeps}: {what}")

    # --- What the registry believes ---------------------------------------------------------------

    def states(self, target: str = "t") -> dict[str, str]:
        """The state of each beta on a target."""
        with self.database.read() as session:
            return {
                name: item.state for name, item in targets.standings_of(session, target).items()
            }

    def retired(self) -> set[str]:
        """The betas that the registry calls retired."""
        with self.database.read() as session:
            return {
                n for n, it in catalog.snapshot(session).betas.items() if it.status == "retired"
            }

    def platform_state(self, name: str, platform: Platform) -> str:
        """The state of a beta on a platform."""
        with self.database.read() as session:
            return catalog.beta(session, name).platforms[platform].state

    def health(self, target: str = "t") -> str:
        """How a target stands."""
        with self.database.read() as session:
            return next(item.health for item in targets.statuses(session) if item.name == target)

    # --- The settings -----------------------------------------------------------------------------

    def configure(self, *names: str) -> None:
        """Start again with these targets, and no others, in the settings."""
        jobs.reconcile(self.database, [self.probe(name) for name in names], self.clock)

    def believe(self, target: str = "t") -> None:
        """Say, as an operator, that the betas of a mass change died."""
        with self.database.write() as session:
            targets.confirm(session, target)

    def new_baseline(self, target: str = "t") -> None:
        """Say, as an operator, that the key or the plan changed."""
        with self.database.write() as session:
            targets.new_baseline(session, target, self.clock())

    # --- Scenes -----------------------------------------------------------------------------------

    def settle(self, target: str = "t") -> None:
        """Sweep while all is well, until the truth is known."""
        truth = {name: "refused" if name in self.dead else "supported" for name in self.names}
        for _ in range(4):
            self.sweep(target)
            if self.states(target) == truth:
                return
        raise AssertionError(f"An honest upstream was not understood: {self.states(target)}")

    def stay(self, times: int) -> None:
        """Sweep while nothing changes, and note what it costs."""
        for _ in range(times):
            before = self.tally.requests
            self.sweep()
            self.tally.quiet_requests.append(self.tally.requests - before)

    def die(self, *names: str, within: int = HORIZON) -> bool:
        """Let betas die, and sweep until the registry knows; says whether it came to know all."""
        begun, requests, at = self.tally.sweeps, self.tally.requests, self.now
        self.dead |= set(names)
        self.world.dead |= set(names)
        self.tally.deaths += len(names)
        for _ in range(within):
            self.sweep()
            if all(self.states()[name] == "refused" for name in names):
                break
        left = {name for name in names if self.states()[name] != "refused"}
        if not left:
            self.tally.sweeps_to_certainty.append(self.tally.sweeps - begun)
            self.tally.requests_to_certainty.append(self.tally.requests - requests)
            self.tally.hours_to_certainty.append((self.now - at).total_seconds() / 3600)
        self.tally.missed += len(left)
        for name in sorted(left):
            self.note(f"the death of {name} was missed")
        return not left

    def revive(self, *names: str, within: int = HORIZON) -> bool:
        """Let betas live again, and sweep until the registry knows; says whether it came to know all."""
        begun = self.tally.sweeps
        self.world.dead -= set(names)
        for _ in range(within):
            self.sweep()
            if all(self.states()[name] == "supported" for name in names):
                break
        self.tally.sweeps_to_revival.append(self.tally.sweeps - begun)
        left = {name for name in names if self.states()[name] != "supported"}
        self.dead -= set(names)
        self.tally.unrevived += len(left)
        for name in sorted(left):
            self.note(f"the revival of {name} was missed")
        return not left

    def pick(self, count: int = 1) -> list[str]:
        """Draw betas for a hostility; they are not among those that die."""
        found = self.chance.sample([name for name in self.names if name not in self.dead], count)
        self.suspects |= set(found)
        return found

    def honest(self) -> None:
        """End every hostility; what really died stays dead."""
        fresh = World(known=self.world.known, chance=self.world.chance, dead=set(self.dead))
        self.world = fresh

    def miss(self, name: str, why: str) -> None:
        """Count a death as missed."""
        self.tally.missed += 1
        self.note(f"the death of {name} was missed: {why}")

    def recover(self, end: Callable[[], None], within: int = 2) -> None:
        """End a hostility, and count what is still believed wrongly after so many sweeps."""
        end()
        self.sweeps(within)
        self.tally.unrestored += len(self.wrong)
        for _, name in sorted(self.wrong):
            self.note(f"{name} was not restored after {within} sweeps")


def one_authority(path: Path) -> Path:
    """Write a file of certificates with one in it, which no server has; returns its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 1, START, START + timedelta(days=9999)
    )
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path
