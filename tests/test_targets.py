"""From a sweep's report to state and events, on both databases: the rules of evidence for probing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from registry import catalog, jobs, targets
from registry.core.errors import Conflict, NotFound
from registry.core.facts import Beta
from registry.core.lifecycle import Thresholds
from registry.core.resolution import Ask, resolve
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

    def plan(self, target: str = "t", platform: str = "anthropic") -> targets.Plan:
        """A target with the key of the moment."""
        return targets.Plan(
            name=target, platform=platform, api=None, model="claude-haiku-4-5",
            endpoint="count_tokens", identity=self.identity, thresholds=Thresholds(),
            every=timedelta(hours=1), confirm_every=timedelta(minutes=2),
        )  # fmt: skip

    def sweep(
        self, times: int = 1, target: str = "t", platform: str = "anthropic", **more: Any
    ) -> Any:
        """Sweep, and return what the last one did."""
        probe = jobs.Probe(plan=self.plan(target, platform), limits=Limits(), connect=self.connect,
                           identify=lambda: self.identity)  # fmt: skip
        done = None
        for _ in range(times):
            self.now += timedelta(minutes=1)
            done = jobs.probe(self.database, probe, self.clock, lambda _seconds: None, **more)
        return done

    def reconcile(self, *names: str) -> None:
        """Let these be all targets that are configured."""
        self.now += timedelta(minutes=1)
        with self.database.write() as session:
            targets.reconcile(session, [self.plan(name) for name in names], self.now)

    def statuses(self) -> list[targets.TargetStatus]:
        """How all targets stand."""
        with self.database.read() as session:
            return targets.statuses(session)

    def status(self, name: str = "t") -> targets.TargetStatus:
        """How one target stands."""
        return next(item for item in self.statuses() if item.name == name)

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


def test_a_turn_takes_back_nothing_that_another_target_said(world: World) -> None:
    """Names of targets may differ by case alone, or hold what is a wildcard to a database."""
    alike = ["eu-1", "eu_1", "EU-1", "EU_1", "eu.1"]
    for name in alike:
        world.sweep(target=name)
    with world.database.read() as session:
        made = catalog.evidence(session, X, world.now)
    standing = [e.claim.source for e in made if e.claim.basis == "probed" and not e.withdrawn_at]
    assert sorted(standing) == sorted(f"target:{name}" for name in alike)
    world.refuse(X)
    world.sweep(3, target="eu_1")
    with world.database.read() as session:
        made = catalog.evidence(session, X, world.now)
    gone = [e.claim.source for e in made if e.withdrawn_at]
    assert gone == ["target:eu_1"]


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
    assert (world.events(), world.health()) == (["target.unhealthy"], "unhealthy")
    world.sweep()
    assert world.events() == ["target.unhealthy", "target.recovered"]
    assert world.health() == "ok"


def test_a_blind_upstream_is_told_after_three_sweeps(world: World) -> None:
    """Its acceptances count for nothing from the first."""
    world.refuse(X)
    world.sweep()
    world.simulator.patch({"mode": "blind"})
    world.sweep(2)
    assert world.events() == []
    world.sweep(2)
    assert world.events() == ["target.blind"]
    assert world.beta().platforms["anthropic"].state == "refused"


def lock(world: World) -> None:
    """Let everything be refused."""
    world.sweep()
    world.simulator.patch({"mode": "refusing"})
    world.sweep(5)
    assert world.events() == ["target.unhealthy"]
    assert all(world.beta(name).status == "active" for name in (X, Y, *CROWD))


def test_a_mass_change_waits_for_an_operator(world: World) -> None:
    """A plan that is lost looks like the death of everything; believed, it is decided in three sweeps."""
    lock(world)
    assert "--believe" in world.status().detail
    assert "--new-baseline" in world.status().detail
    with world.database.write() as session:
        targets.confirm(session, "t")
    world.sweep(3)
    assert {world.beta(name).status for name in (X, Y, *CROWD)} == {"retired"}
    assert (world.health(), world.status().locked) == ("ok", None)


def test_a_new_key_or_plan_is_a_new_baseline(world: World) -> None:
    """States stay, nothing retires, and what is accepted again speaks as before."""
    lock(world)
    with world.database.write() as session:
        targets.new_baseline(session, "t", world.now)
    world.sweep(5)
    beta = world.beta()
    assert (beta.status, beta.platforms["anthropic"].state) == ("active", "supported")
    assert world.events() == ["target.unhealthy", "target.recovered"]
    assert (world.health(), world.status().locked) == ("ok", None)
    world.refuse()
    world.sweep(2)
    world.refuse(X)
    world.sweep(3)
    assert world.beta().status == "retired"
    assert world.beta(Y).status == "active"


def test_a_lock_stays_whatever_is_swept(world: World) -> None:
    """Smaller sweeps neither lift nor pass it, and neither does a whole one in which all is well again."""
    lock(world)
    world.sweep(4, wanted=[X])
    assert world.beta().status == "active"
    world.refuse(X)
    world.sweep(4, wanted=[X])
    world.sweep(4)
    assert world.status().locked
    assert world.events() == ["target.unhealthy"]
    assert world.beta().platforms["anthropic"].pending is None


def test_small_sweeps_make_no_mass_change_pass(world: World) -> None:
    """Each asks about two, as services report them; together they would be all."""
    world.sweep()
    world.simulator.patch({"mode": "refusing"})
    names = [X, Y, *CROWD]
    for start in range(0, len(names), 2):
        world.sweep(3, wanted=names[start : start + 2])
    assert world.events() == ["target.unhealthy"]
    assert {world.beta(name).status for name in names} == {"active"}


def test_no_report_passes_the_guard_by_another_way(world: World) -> None:
    """What is recorded is guarded where it is recorded, whoever made the report."""
    done = world.sweep()
    refused = tuple(
        replace(item, verdict="refused", confirmations=5) for item in done.report.observations
    )
    for turn in range(1, 4):
        at = world.now + timedelta(minutes=turn)
        forged = replace(done.report, started_at=at, ended_at=at, observations=refused)
        with world.database.write() as session:
            number = targets.begin(session, "t", "asked", at)
            targets.record(session, world.plan(), number, forged, at)
            assert targets.sweep(session, number).outcome == "mass_change"
    assert world.status().locked
    assert world.beta().status == "active"


def test_nothing_to_answer_is_said(world: World) -> None:
    """Neither answer is taken where no mass change waits."""
    world.sweep()
    with world.database.write() as session, pytest.raises(Conflict, match="No mass change"):
        targets.confirm(session, "t")
    with world.database.write() as session, pytest.raises(Conflict, match="No mass change"):
        targets.new_baseline(session, "t", world.now)


# --- Targets come and go --------------------------------------------------------------------------


def test_a_target_that_is_not_configured_speaks_for_nothing(world: World) -> None:
    """Neither its states nor its health; what it alone kept alive is judged by the others."""
    world.sweep(target="a")
    world.sweep(target="b")
    world.refuse(X)
    world.sweep(4, target="a")
    assert world.beta().platforms["anthropic"].target == "b"
    with world.database.write() as session:
        waiting = targets.begin(session, "b", "asked", world.now, queue=True, betas=[X])
    world.reconcile("a")
    beta = world.beta()
    assert (beta.status, beta.platforms["anthropic"].state) == ("retired", "refused")
    assert world.beta(Y).platforms["anthropic"].target == "a"
    gone = world.status("b")
    assert (gone.health, bool(gone.removed_at), gone.next_sweep_at) == ("never", True, None)
    with world.database.write() as session:
        assert targets.sweep(session, waiting).outcome == "inconclusive"
        assert targets.queued(session) == []
        with pytest.raises(NotFound, match="not configured any more"):
            targets.begin(session, "b", "asked", world.now)
        assert list(catalog.snapshot(session).targets) == ["a"]
    world.reconcile("a")
    world.sweep(2, target="a")
    assert world.beta().status == "retired"


def test_what_only_a_removed_target_said_is_not_known_any_more(world: World) -> None:
    """Its platform goes back to what is declared; a retirement that it found stays found."""
    world.sweep(target="t")
    world.refuse(X)
    world.sweep(3, target="t")
    events = world.events()
    world.reconcile()
    assert world.beta(Y).platforms["anthropic"].basis != "probed"
    assert world.beta(Y).platforms["anthropic"].target is None
    assert world.beta(X).status == "retired"
    assert world.events() == events
    world.reconcile("t")
    assert world.status("t").removed_at is None
    assert world.beta(Y).platforms["anthropic"].target == "t"


def test_a_target_by_another_name_takes_its_history_over(world: World) -> None:
    """The same identity: its states, sweeps, observations and evidence go on under the new name."""
    world.sweep(target="old")
    world.refuse(X)
    world.sweep(2, target="old")
    world.reconcile("new")
    assert [item.name for item in world.statuses()] == ["new"]
    platform = world.beta().platforms["anthropic"]
    assert (platform.state, platform.target) == ("supported", "new")
    assert platform.pending
    world.sweep(target="new")
    assert world.beta().status == "retired"
    with world.database.read() as session:
        made = catalog.evidence(session, Y, world.now)
        assert {item["target"] for _, item in targets.observations(session, X)} == {"new"}
        assert not targets.sweeps(session, "old")
    assert "target:old" not in {item.claim.source for item in made}


def test_another_identity_by_another_name_takes_nothing_over(world: World) -> None:
    """Another key is another target."""
    world.sweep(target="old")
    world.identity = "two"
    world.reconcile("new")
    assert [(item.name, bool(item.removed_at)) for item in world.statuses()] == [
        ("new", False), ("old", True),
    ]  # fmt: skip
    assert world.beta().platforms["anthropic"].target is None


def test_a_sweep_of_a_target_that_was_removed_meanwhile_is_not_counted(world: World) -> None:
    """It is stored."""
    done = world.sweep(target="t")
    world.reconcile()
    at = world.now + timedelta(minutes=1)
    late = replace(done.report, started_at=at, ended_at=at)
    with world.database.write() as session:
        assert targets.record(session, world.plan(), done.id, late, at) == ()
        assert not targets.sweep(session, done.id).counted


# --- Where it was observed ------------------------------------------------------------------------


def test_a_refusal_by_count_tokens_of_vertex_says_nothing_of_messages(world: World) -> None:
    """It is stricter there: neither the platform's state nor the header for messages follows."""
    world.sweep(platform="vertex")
    world.refuse(X)
    world.sweep(5, platform="vertex")
    with world.database.read() as session:
        standing = targets.standings_of(session, "t")[X]
        snapshot = catalog.snapshot(session)
    assert standing.state == "refused"
    assert world.beta().platforms["vertex"].state != "refused"
    assert "beta.refused" not in world.events()
    ask = Ask(requested=(("beta", X),), platform="vertex")
    assert resolve(snapshot, ask, NOW.date()).value == X


def test_states_turn_by_their_thresholds_after_another_key(world: World) -> None:
    """They are shown as before meanwhile."""
    world.sweep(2)
    world.identity = "two"
    world.refuse(X)
    for state in ("supported", "supported", "refused"):
        world.sweep()
        assert world.beta().platforms["anthropic"].state == state
    assert world.beta().status == "active"


def test_restored_is_told_for_the_day_of_it(world: World) -> None:
    """Not for the day on which the beta was announced."""
    world.sweep()
    world.refuse(X)
    world.sweep(3)
    world.refuse()
    world.sweep(2)
    with world.database.read() as session:
        (event,) = catalog.events(session, catalog.EventFilter(types=("beta.restored",)), 5)
    assert event.effective_on == world.now.date()


def test_no_event_tells_that_another_target_was_asked_last(world: World) -> None:
    """Two targets agree; that one of another platform goes blind changes nothing that is known."""
    for _ in range(3):
        world.sweep(target="a")
        world.sweep(target="b")
    world.sweep(target="v", platform="foundry")
    world.simulator.patch({"mode": "blind"})
    world.sweep(4, target="v", platform="foundry")
    with world.database.read() as session:
        found = catalog.events(session, catalog.EventFilter(types=("beta.changed",)), 1000)
    assert not [event for event in found if event.reason.endswith(": target.")]
    assert world.events() == ["target.blind"]


def test_half_the_servers_dropping_the_header_is_told_about_once(world: World) -> None:
    """13 alerts in 60 sweeps are noise; health follows several sweeps in a row."""
    world.sweep(2)
    rng = random.Random(5)
    for _ in range(60):
        world.simulator.patch({"mode": "blind" if rng.random() < 0.5 else "normal"})
        world.sweep()
    assert len([kind for kind in world.events() if kind.startswith("target.")]) <= 4
    assert world.beta().status == "active"


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
