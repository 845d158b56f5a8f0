"""A trial without HTTP and without a database: sweeps and the lifecycle's table, thousands in a minute.

What is bypassed: the sender, `jobs`, `targets.record` (health, hysteresis, the guard at recording) and with it
statuses and events. What is kept: `probing.sweep` with its memory, and `lifecycle.advance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from registry import jobs
from registry.core.lifecycle import Standing, Thresholds, advance
from registry.db import Database
from registry.probing import Candidate, Limits, Memory, sweep
from tests.hostile.direct import Direct
from tests.hostile.trial import START, Trial
from tests.hostile.world import unnamed

__all__ = ["Folded", "searched"]

MODEL = "claude-haiku-4-5"


@dataclass
class Folded(Trial):
    """The same trial on standings in memory."""

    database: Database = None  # type: ignore[assignment]
    standings: dict[str, Standing] = field(default_factory=dict)
    memory: Memory = Memory()
    turn: int = 0
    named: bool = True
    is_locked: bool = False
    _due: timedelta = timedelta()

    def prepare(self) -> None:
        """Know of the betas, and nothing more."""
        blank = Standing(target="t", platform=self.platform, model=MODEL)
        self.standings = dict.fromkeys(self.names, blank)

    def wait(self, target: str) -> None:
        """Let the time pass that the schedule would."""
        self.now += self._due

    def swept(self, target: str, wanted: Sequence[str], sweep_id: int | None) -> jobs.Swept:
        """Sweep, and take in what it tells."""
        sender = Direct(
            self.answer, ("count_tokens", "models"), self.now_in_seconds, next(self.senders)
        )
        report = sweep(
            sender,
            [Candidate(name=name, standing=held) for name, held in self.standings.items()],
            self.limits,
            platform=self.platform,
            model=MODEL,
            clock=self.clock,
            pause=self.pause,
            names_refused=self.named,
            turn=self.turn,
            memory=self.memory,
            wanted=wanted,
            locked=self.is_locked,
            rng=self.draws,
        )
        self.turn, self.memory = self.turn + 1, report.memory
        if report.names_refused is not None:
            self.named = report.names_refused
        self.is_locked = self.is_locked or report.outcome == "mass_change"
        if report.outcome in ("ok", "partial"):
            for item in report.observations:
                held = replace(self.standings[item.beta], endpoint=report.endpoint)
                self.standings[item.beta], _ = advance(
                    held, item.verdict, Thresholds(), report.ended_at
                )
        undecided = report.outcome == "partial" or any(it.toward for it in self.standings.values())
        self._due = timedelta(minutes=2) if undecided else timedelta(hours=1)
        return jobs.Swept(id=self.turn, report=report, events=())

    def states(self, target: str = "t") -> dict[str, str]:
        """The state of each beta."""
        return {name: held.state for name, held in self.standings.items()}

    def retired(self) -> set[str]:
        """Nothing: a status needs the registry."""
        return set()

    def health(self, target: str = "t") -> str:
        """Whether a mass change waits for an operator; more is not known here."""
        return "unhealthy" if self.is_locked else "ok"


def searched(dead: int, draws: int) -> tuple[float, int]:
    """Let so many of 60 be refused without being named, again and again.

    Returns how many requests the first sweep took on average, and at most: all that it sent but the controls
    that were repeated at its end.
    """
    counts = []
    for seed in range(draws):
        t = Folded(seed=seed, limits=Limits(max_requests=1000), named=False)
        held = Standing(
            target="t", model=MODEL, state="supported", accepted_at=START, checked_at=START
        )
        t.standings = dict.fromkeys(t.names, held)
        t.world.wording = unnamed
        t.world.dead |= set(t.chance.sample(list(t.names), dead))
        report = t.sweep().report
        assert {it.beta for it in report.observations if it.verdict == "refused"} == t.world.dead
        counts.append(report.requests - report.controls)
    return sum(counts) / draws, max(counts)
