"""What probing costs and whether it errs: requests a sweep, a soak with faults, and 1,000 betas."""

from __future__ import annotations

import math
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.table import show
from registry import catalog, jobs, targets
from registry.core.facts import Claim, Finding
from registry.core.lifecycle import MIXED_WITHIN, Standing, Thresholds
from registry.db import Database, upgrade
from registry.probing import Candidate, Limits, Report, sweep
from registry.simulator import Simulator, create_simulator
from tests.probing.stand_in import MODEL, StandIn

START = datetime(2026, 1, 1, tzinfo=UTC)
SWEEPS = 10_000
FAULTS = (
    "rate_limited", "overloaded", "error_500", "error_in_200", "billing", "disabled", "expired",
    "generic_400", "forbidden", "html_502", "html_503", "html_504", "text_503", "empty_500", "html_200",
    "empty_200", "stream_error", "truncated", "redirect", "slow", "cut", "closed", "huge", "endless",
)  # fmt: skip


def run() -> None:
    """Measure all of it."""
    _requests()
    _thousand()
    _soak()


# --- Requests a sweep -----------------------------------------------------------------------------


def _requests() -> None:
    names = [f"feature{number}-2026-01-01" for number in range(60)]
    rows = []
    for unnamed in (False, True):
        for new in (0, 1, 2, 5):
            draws = 200 if unnamed and new else 20
            reports = [
                _swept(names, random.Random(seed).sample(names, new), unnamed)
                for seed in range(draws)
            ]
            mean = sum(report.requests - report.controls for report in reports) / draws
            controls = sum(report.controls for report in reports) / draws
            bound = (
                (4.0 if not new else math.log2(math.comb(60, new)) + 2 * new + 4)
                if unnamed
                else 3.0 + new
            )
            kind = "refusals name nothing" if unnamed else "refusals name names"
            rows.append((kind, new, f"{mean:.2f}", f"{bound:.2f}", f"{controls:.1f}", 60))
    show("Requests a sweep, 60 betas without conflicts",
         ("upstream", "new refusals", "mean", "at most", "repeated controls", "one by one"), rows)  # fmt: skip


def _swept(names: Sequence[str], bad: Sequence[str], unnamed: bool) -> Report:
    rules = [{"beta": "feature*"}] + [{"beta": name, "do": "refuse"} for name in bad]
    sender = StandIn(create_simulator({"betas": rules}, clock=lambda: 0.0), unnamed=unnamed,
                     endpoints=("messages",) if unnamed else ("count_tokens",))  # fmt: skip
    held = Standing(state="supported", accepted_at=START, checked_at=START)
    report = sweep(
        sender, [Candidate(name=name, standing=held) for name in names], Limits(),
        platform="bedrock" if unnamed else "anthropic", model=MODEL, clock=lambda: START,
        pause=lambda _seconds: None, names_refused=not unnamed, confirmed=True,
    )  # fmt: skip
    found = {item.beta for item in report.observations if item.verdict == "refused"}
    assert found == set(bad)
    return report


def _thousand() -> None:
    names = [f"feature{number}-2026-01-01" for number in range(1000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    report = _swept(names, names[:3], False)
    seconds = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = [(report.requests, f"{seconds:.2f}", f"{grown:.0f}")]
    columns = ("requests, 3 betas newly refused", "seconds without the network", "memory, MB")
    show("A sweep of 1,000 betas", columns, rows)


# --- The soak -------------------------------------------------------------------------------------


@dataclass
class Soak:
    """A registry that probes a simulated upstream for years, with a script that is known."""

    database: Database
    simulator: Simulator
    now: datetime = START
    names: list[str] = field(default_factory=lambda: [f"soak{n}-2026-01-01" for n in range(40)])
    dead: set[str] = field(default_factory=set)
    key: str = "sk-ant-one"
    outcomes: Counter[str] = field(default_factory=Counter)
    late: int = 0
    found: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    conclusive: int = 0
    special: int = 0

    def clock(self) -> datetime:
        """Time, compressed."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def probe(self) -> jobs.Probe:
        """The target with the key of the moment."""
        plan = targets.Plan(
            name="soak", platform="anthropic", api=None, model=MODEL, endpoint="count_tokens",
            identity="", thresholds=Thresholds(), every=timedelta(hours=1),
            confirm_every=timedelta(minutes=2),
        )  # fmt: skip
        return jobs.Probe(
            plan=plan, limits=Limits(), identify=lambda: self.key,
            connect=lambda: StandIn(self.simulator, endpoints=("count_tokens",), key=self.key),
        )  # fmt: skip

    def sweeps_to_die(self, name: str) -> int:
        """Return 3, or more where a lost plan had it refused and accepted in turn within the last sweeps."""
        with self.database.read() as session:
            held = targets.standings_of(session, "soak")[name]
        return Thresholds().refusals_to_confirm + (MIXED_WITHIN if held.mixed_since else 0)

    def script(self, **more: Any) -> None:
        """Tell the upstream what is dead now; a fifth of the requests go wrong."""
        rules = [{"beta": "soak*"}, *({"beta": name, "do": "refuse"} for name in sorted(self.dead))]
        probability = dict.fromkeys(FAULTS, 0.2 / len(FAULTS))
        faults = {"seed": self.special, "probability": probability, "queue": more.pop("queue", [])}
        self.simulator.set_script({"betas": rules, "faults": faults, **more})


def soak_for(sweeps: int, seed: int = 7) -> Soak:
    """Let a registry live through so many sweeps; returns what came of it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"sqlite:///{folder}/soak.db")
        database = Database(f"sqlite:///{folder}/soak.db")
        soak = Soak(database, create_simulator({"betas": []}, clock=lambda: 0.0))
        made = tuple(
            Claim(
                beta=name, field="status", value="active", source="docs", basis="declared", at=START
            )
            for name in soak.names
        )
        with database.write() as session:
            catalog.apply(session, Finding(source="docs", claims=made), START, START)
        _live(soak, rng, sweeps)
        database.close()
    return soak


def _soak() -> None:
    begun = time.perf_counter()
    soak = soak_for(SWEEPS)
    seconds = time.perf_counter() - begun
    rows = [
        ("sweeps", f"{SWEEPS:,}"),
        ("requests", f"{soak.simulator.count:,}"),
        *((f"  outcome {name}", f"{count:,}") for name, count in sorted(soak.outcomes.items())),
        ("mid-sweep blindness, swapped keys, lost plans", soak.special),
        *((f"events {name}", count) for name, count in sorted(soak.found.items())),
        ("turns found later than at their threshold's sweep", soak.late),
        ("events that the rules exclude", len(soak.wrong)),
        ("seconds", f"{seconds:.0f}"),
    ]
    show("Soak: 40 betas, a fault in 20% of the requests, time compressed", ("what", "count"), rows)
    for line in soak.wrong[:5]:
        print(line)


def _live(soak: Soak, rng: random.Random, sweeps: int) -> None:
    """Turn a beta now and then; between turns everything else happens that must not be believed."""
    soak.script()
    turned: str | None = None
    streak, needed = 0, 0
    for number in range(sweeps):
        if turned is None and number % 25 == 10:
            turned, streak = rng.choice(soak.names), 0
            needed = 2 if turned in soak.dead else soak.sweeps_to_die(turned)
            soak.dead ^= {turned}
            soak.script()
        elif turned is None and rng.random() < 0.02:
            _trouble(soak, rng)
        soak.now += timedelta(minutes=10)
        done = jobs.probe(soak.database, soak.probe(), soak.clock, lambda _seconds: None)
        soak.outcomes[done.report.outcome] += 1
        told = {
            (event.type, event.beta)
            for event in done.events
            if not event.backfill and event.type in _ALARMS
        }
        for kind, _ in told:
            soak.found[kind] += 1
        if done.report.outcome == "mass_change":  # a lost plan; the operator finds it mended
            soak.script()
            with soak.database.write() as session:
                targets.new_baseline(session, "soak", soak.now)
            _calm(soak, "after a new baseline")
        if turned is not None:
            streak += any(
                item.beta == turned and item.verdict != "inconclusive"
                for item in done.report.observations
            ) and done.report.outcome in ("ok", "partial")
        allowed = _allowed(turned, dead=turned in soak.dead) if streak >= needed else set()
        soak.wrong += [f"sweep {number}: {kind} {beta}" for kind, beta in told
                       if (kind, beta) not in allowed]  # fmt: skip
        if turned is not None and streak >= needed:
            soak.late += not told
            turned = None


_ALARMS = frozenset(
    {"beta.retired", "beta.refused", "beta.restored", "beta.supported", "beta.restricted"}
)


def _allowed(turned: str | None, *, dead: bool) -> set[tuple[str, str | None]]:
    kinds = ("beta.retired", "beta.refused") if dead else ("beta.restored", "beta.supported")
    return {(kind, turned) for kind in kinds}


def _trouble(soak: Soak, rng: random.Random) -> None:
    """One of: a gateway that goes blind in mid-sweep, a lost plan, a swapped key."""
    soak.special += 1
    kind = rng.choice(("blind", "plan", "key"))
    if kind == "blind":
        soak.script(
            queue=[{"fault": "blind", "after": rng.randint(1, 4), "times": rng.randint(1, 20)}]
        )
    elif kind == "plan":
        soak.script(
            queue=[{"fault": "refusing", "after": rng.randint(0, 3), "times": rng.randint(5, 30)}]
        )
    else:
        soak.script()
        bad = soak.key
        soak.key = "nonsense"
        for _ in range(3):
            soak.now += timedelta(minutes=10)
            done = jobs.probe(soak.database, soak.probe(), soak.clock, lambda _seconds: None)
            soak.wrong += [f"with a wrong key: {e.type}" for e in done.events if e.type in _ALARMS]
        soak.key = bad
        _calm(soak, "with the old key again")


def _calm(soak: Soak, when: str) -> None:
    """Sweep until all is well.

    After another identity or a new baseline nothing is proven: what is accepted must be accepted again before
    its refusal can be a retirement. So nothing dies before that.
    """
    outcome = ""
    while outcome != "ok":
        soak.now += timedelta(minutes=10)
        done = jobs.probe(soak.database, soak.probe(), soak.clock, lambda _seconds: None)
        soak.wrong += [f"{when}: {e.type}" for e in done.events if e.type in _ALARMS]
        outcome = done.report.outcome
