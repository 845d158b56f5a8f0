"""From a sweep's report to state and events, on both databases: the rules of evidence for probing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from registry import catalog, jobs, targets
from registry.core.facts import Beta
from registry.core.lifecycle import Thresholds
from registry.db import Database
from registry.probing import Limits
from registry.simulator import Simulator, create_simulator
from tests.factories import NOW, claim, finding
from tests.probing.stand_in import StandIn

X, Y = "thing-2026-01-01", "other-2026-01-01"
CROWD = [f"crowd{n}-2026-01-01" for n in range(12)]


@dataclass
class World:
    """A registry that probes one simulated upstream; each sweep is a minute after the last."""

    database: Database
    simulator: Simulator
    now: datetime = NOW
    identity: str = "one"
    probe: jobs.Probe | None = None
    senders: list[StandIn] = field(default_factory=list)
    key: str = "sk-ant-good"

    def clock(self) -> datetime:
        """The time, which goes on by itself a little."""
        self.now += timedelta(milliseconds=10)
        return self.now

    def connect(self) -> StandIn:
        """Make a sender."""
        return StandIn(self.simulator, endpoints=("count_tokens",), key=self.key)

    def sweep(self, times: int = 1, target: str = "t", platform: str = "anthropic") -> Any:
        """Sweep, and return what the last one did."""
        plan = targets.Plan(
            name=target, platform=platform, api=None, model="claude-haiku-4-5",
            endpoint="count_tokens", identity=self.identity, thresholds=Thresholds(),
            every=timedelta(hours=1), confirm_every=timedelta(minutes=2),
        )  # fmt: skip
        probe = jobs.Probe(plan=plan, limits=Limits(), connect=self.connect,
                           identify=lambda: self.identity)  # fmt: skip
        done = None
        for _ in range(times):
            self.now += timedelta(minutes=1)
            done = jobs.probe(self.database, probe, self.clock, lambda _seconds: None)
        return done

    def refuse(self, *names: str) -> None:
        """Let the upstream refuse these from now on."""
        rules = [{"beta": "*-2026-01-01"}]
        self.simulator.set_script(
            {"betas": [*rules, *({"beta": name, "do": "refuse"} for name in names)]}
        )

    def beta(self, name: str = X) -> Beta:
        """What is known now."""
        with self.database.read() as session:
            return catalog.snapshot(session).betas[name]

    def health(self) -> str:
        """How the target stands."""
        with self.database.read() as session:
            return targets.statuses(session)[0].health

    def events(self) -> list[str]:
        """All alarming events, oldest first."""
        with self.database.read() as session:
            found = catalog.events(session, catalog.EventFilter(ascending=True), 10_000)
        quiet = ("beta.discovered", "beta.changed", "feature.current_changed")
        return [event.type for event in found if event.type not in quiet and not event.backfill]


@pytest.fixture
def world(database: Database) -> World:
    """A registry with two betas and a crowd, and an upstream that takes them all."""
    made = [claim(name, "status", "active", source="docs") for name in (X, Y, *CROWD)]
    with database.write() as session:
        catalog.apply(session, finding("docs", *made), NOW, NOW)
    simulator = create_simulator({"betas": [{"beta": "*-2026-01-01"}]}, clock=lambda: 0.0)
    return World(database, simulator)


def test_a_death_is_certain_after_three_sweeps_and_not_before(world: World) -> None:
    """Pending shows it meanwhile; then it is retired, with the reason and the evidence."""
    world.sweep()
    assert (world.beta().platforms["anthropic"].state, world.events()) == ("supported", [])
    world.refuse(X)
    world.sweep(2)
    pending = world.beta().platforms["anthropic"].pending
    assert pending
    assert (pending["kind"], pending["count"], pending["of"]) == ("refused", 2, 3)
    assert world.beta().status == "active"
    assert world.events() == []
    done = world.sweep()
    assert "beta.retired" in world.events()
    beta = world.beta()
    assert (beta.status, beta.basis, beta.accepted) == ("retired", "probed", False)
    assert beta.retired_on == done.report.ended_at.date()
    assert beta.platforms["anthropic"].state == "refused"
    assert beta.platforms["vertex"].state == "unknown"
    assert world.beta(Y).status == "active"
    with world.database.read() as session:
        made = catalog.evidence(session, X, world.now)
    assert ("status", "retired", True) in [(e.claim.field, e.claim.value, e.decides) for e in made]


def test_a_recovery_takes_two_and_restores_what_was_before(world: World) -> None:
    """Only what probing found is undone."""
    world.sweep()
    world.refuse(X)
    world.sweep(3)
    world.refuse()
    world.sweep()
    assert world.beta().status == "retired"
    world.sweep()
    assert (world.beta().status, world.beta().basis) == ("active", "declared")
    assert "beta.restored" in world.events()


def test_a_declared_retirement_is_never_undone_by_acceptances(world: World) -> None:
    """It is disputed instead."""
    with world.database.write() as session:
        gone = claim(X, "status", "retired", source="docs", on="2026-06-01")
        catalog.apply(session, finding("docs", gone), NOW, NOW + timedelta(seconds=1))
    world.sweep(5)
    beta = world.beta()
    assert beta.status == "retired"
    assert beta.disputed
    assert "beta.restored" not in world.events()


def test_what_was_never_accepted_here_is_refused_and_not_retired(world: World) -> None:
    """A key that never had it proves nothing about the beta."""
    world.refuse(X)
    world.sweep(5)
    assert (world.beta().status, world.beta().platforms["anthropic"].state) == ("active", "refused")
    assert "beta.retired" not in world.events()


def test_another_platform_is_not_where_anthropic_retires(world: World) -> None:
    """A refusal on Vertex is one on Vertex."""
    world.sweep(platform="foundry")
    world.refuse(X)
    world.sweep(4, platform="foundry")
    assert (world.beta().status, world.beta().platforms["foundry"].state) == ("active", "refused")
    assert "beta.refused" in world.events()


def test_a_beta_for_few_is_refused_and_not_retired(world: World) -> None:
    """Its gate says that access can be taken away."""
    with world.database.write() as session:
        catalog.amend(session, X, {"gate": "org"}, "ours", None, NOW)
    world.sweep()
    world.refuse(X)
    world.sweep(4)
    assert (world.beta().status, world.beta().platforms["anthropic"].state) == ("active", "refused")


def test_every_target_that_took_it_must_refuse_it(world: World) -> None:
    """One that still takes it keeps it alive."""
    world.sweep(target="a")
    world.sweep(target="b")
    world.refuse(X)
    world.sweep(4, target="a")
    assert (world.beta().status, world.beta().platforms["anthropic"].state) == (
        "active",
        "supported",
    )
    world.sweep(3, target="b")
    assert world.beta().status == "retired"


def test_another_key_starts_again(world: World) -> None:
    """Nothing was accepted before with it, so nothing can be retired by it."""
    world.sweep(3)
    world.identity = "two"
    world.refuse(X)
    world.sweep(5)
    assert world.beta().status == "active"
    assert world.beta().platforms["anthropic"].state == "refused"


def test_inconclusive_sweeps_change_nothing_and_three_are_told(world: World) -> None:
    """`target.unhealthy` once, and `target.recovered` when it works again."""
    world.sweep()
    before = world.beta()
    world.key = "nonsense"
    world.sweep(2)
    assert world.events() == []
    world.sweep(4)
    assert world.events() == ["target.unhealthy"]
    assert world.health() == "unhealthy"
    assert world.beta() == before
    world.key = "sk-ant-good"
    world.sweep()
    assert world.events() == ["target.unhealthy", "target.recovered"]
    assert world.health() == "ok"


def test_a_blind_upstream_is_told_at_once(world: World) -> None:
    """Its acceptances count for nothing."""
    world.refuse(X)
    world.sweep()
    world.simulator.patch({"mode": "blind"})
    world.sweep(4)
    assert world.events() == ["target.blind"]
    assert world.beta().platforms["anthropic"].state == "refused"


def test_a_mass_change_waits_for_an_operator(world: World) -> None:
    """A plan that is lost looks like the death of everything."""
    world.sweep()
    world.simulator.patch({"mode": "refusing"})
    world.sweep(5)
    assert world.events() == ["target.unhealthy"]
    assert all(world.beta(name).status == "active" for name in (X, Y, *CROWD))
    with world.database.write() as session:
        targets.confirm(session, "t")
    world.sweep(3)
    assert world.beta().status == "retired"


def test_a_sweep_that_began_before_the_last_ended_is_not_counted(world: World) -> None:
    """It is stored all the same."""
    done = world.sweep()
    late = replace(done.report, started_at=done.report.started_at - timedelta(hours=1))
    plan = targets.Plan(
        name="t", platform="anthropic", api=None, model="claude-haiku-4-5", endpoint="count_tokens",
        identity="one", thresholds=Thresholds(), every=timedelta(hours=1),
        confirm_every=timedelta(minutes=2),
    )  # fmt: skip
    with world.database.write() as session:
        number = targets.begin(session, "t", "asked", world.now)
        assert targets.record(session, plan, number, late, world.now) == ()
    with world.database.read() as session:
        assert not targets.sweep(session, number).counted


def test_after_a_refusal_it_is_asked_again_soon(world: World) -> None:
    """Every two minutes until it is decided, then every hour."""
    waits = []
    for step in range(5):
        if step == 1:
            world.refuse(X)
        world.sweep()
        with world.database.read() as session:
            due = targets.statuses(session)[0].next_sweep_at
        assert due
        waits.append(round((due - world.now) / timedelta(minutes=1)))
    assert waits == [60, 2, 2, 60, 60]


def test_observations_are_kept_and_thinned_out(world: World) -> None:
    """After 90 days one a day is left."""
    world.sweep(3)
    with world.database.read() as session:
        found = targets.observations(session, X)
    assert [item["verdict"] for _, item in found] == ["accepted"] * 3
    with world.database.write() as session:
        assert targets.prune(session, world.now + timedelta(days=80)) == 0
        gone = targets.prune(session, world.now + timedelta(days=100))
    assert gone == 2 * len({X, Y, *CROWD})
    with world.database.read() as session:
        assert len(targets.observations(session, X)) == 1


def test_every_event_equals_a_change(world: World) -> None:
    """Laid over each other in order, the events give what is known."""
    world.sweep()
    world.refuse(X)
    world.sweep(3)
    with world.database.read() as session:
        events = catalog.events(session, catalog.EventFilter(ascending=True, betas=(X,)), 1000)
        known = catalog.snapshot(session).betas[X]
    state: dict[str, Any] = {}
    for event in events:
        if event.type == "feature.current_changed":
            continue
        for key, value in (event.after or {}).items():
            if key == "platforms" and "platforms" in state:
                for platform, members in value.items():
                    state["platforms"][platform].update(members)
            else:
                state[key] = value
    assert (state["status"], state["basis"]) == (known.status, known.basis)
    assert state["platforms"]["anthropic"]["state"] == known.platforms["anthropic"].state
    assert state["platforms"]["anthropic"]["pending"] == known.platforms["anthropic"].pending
