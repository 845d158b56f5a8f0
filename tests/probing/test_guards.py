"""What one sweep tells, and what it keeps to itself, when the upstream is at its worst."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.lifecycle import Standing, is_against, would_turn
from registry.probing import Aside, Candidate, Limits, Memory, Report, sweep
from registry.probing.grouping import halving
from tests.factories import NOW
from tests.probing.stand_in import MODEL, Reply
from tests.probing.test_grouping import feed
from tests.probing.upstreams import (
    CONTROL,
    Ask,
    Scripted,
    accepted,
    failure,
    naming,
    refusing,
    unnamed,
)

NAMES = [f"feature{n}-2026-01-01" for n in range(60)]
X, Y = NAMES[7], NAMES[9]


def held(name: str, count: int = 0, **more: Any) -> Candidate:
    """A beta that is supported, and was refused in so many sweeps since."""
    turning = {"toward": "refused", "count": count, "of": 3} if count else {}
    facts = {"state": "supported", "checked_at": NOW, "accepted_at": NOW} | turning | more
    return Candidate(name=name, standing=Standing(target="t", **facts))  # type: ignore[arg-type]


def run(sender: Scripted, candidates: list[Candidate] | None = None, **more: Any) -> Report:
    """Sweep once over the 60; waiting takes no time."""
    given: dict[str, Any] = {"limits": Limits(), "rng": random.Random(1)} | more
    candidates = [held(name) for name in NAMES] if candidates is None else candidates
    return sweep(
        sender, candidates, given.pop("limits"), platform="anthropic", model=MODEL,
        clock=lambda: NOW, pause=sender.pause, **given,
    )  # fmt: skip


def verdicts(report: Report) -> dict[str, str]:
    """What was told of each."""
    return {item.beta: item.verdict for item in report.observations}


def against(report: Report) -> set[str]:
    """The betas told to be refused."""
    return {item.beta for item in report.observations if is_against(item.verdict)}


# --- The sweep that decides -----------------------------------------------------------------------


def deciding(*names: str) -> list[Candidate]:
    """The 60, of which these were refused in two sweeps already."""
    return [held(name, 2 if name in names else 0) for name in NAMES]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("named", [True, False])
def test_a_decision_takes_five_lone_refusals_on_new_connections_over_15_seconds(
    seed: int, named: bool
) -> None:
    """Each over a connection that carries nothing else, at moments that are drawn."""
    sender = Scripted(refusing({X}, named=named))
    report = run(sender, deciding(X), rng=random.Random(seed), names_refused=named)
    alone = sender.alone(X)
    assert len(alone) == 5
    assert len({ask.connection for ask in alone}) == 5
    others = {ask.connection for ask in sender.asked if ask.betas != (X,)}
    assert not others & {ask.connection for ask in alone[1:]}
    assert alone[-1].seconds - alone[0].seconds >= 15
    gaps = {round(b.seconds - a.seconds, 3) for a, b in itertools.pairwise(alone)}
    assert len(gaps) == 4
    (told,) = [item for item in report.observations if item.beta == X]
    assert (report.outcome, told.verdict, told.confirmations) == ("ok", "refused", 5)


@pytest.mark.parametrize("which", range(5))
def test_one_acceptance_among_them_makes_it_mixed(which: int) -> None:
    """Told as such; nothing more is asked of it."""
    seen: list[Ask] = []

    def answer(ask: Ask) -> Reply:
        if ask.betas == (X,):
            seen.append(ask)
            if len(seen) == which + 1:
                return accepted()
        return refusing({X})(ask)

    report = run(Scripted(answer), deciding(X))
    assert verdicts(report)[X] == "mixed"
    assert X in report.detail
    assert len(seen) == which + 1


def test_a_strict_alternation_decides_nothing() -> None:
    """Whatever the parity with which a sweep begins."""
    for seed in range(20):
        count = [seed % 2]

        def answer(ask: Ask, count: list[int] = count) -> Reply:
            count[0] += 1
            return refusing({X} if count[0] % 2 else ())(ask)

        report = run(Scripted(answer), deciding(X), rng=random.Random(seed))
        assert verdicts(report).get(X) in ("mixed", "accepted")


def test_order_and_parity_are_drawn_anew() -> None:
    """Two sweeps of the same target do not ask in the same order, nor with the same number of requests."""
    senders = [Scripted(refusing({X})) for _ in range(12)]
    for seed, sender in enumerate(senders):
        run(sender, deciding(X), rng=random.Random(seed))
    assert len({sender.asked[2].betas for sender in senders}) == 12
    assert len({len(sender.asked) for sender in senders}) == 2


def test_what_the_budget_does_not_confirm_is_not_told() -> None:
    """Of ten that would turn, with room for some: each that is told has its five."""
    dead = set(NAMES[:12])
    report = run(Scripted(refusing(dead)), deciding(*dead))
    assert report.outcome == "partial"
    assert 0 < len(against(report)) < 12
    assert {item.confirmations for item in report.observations if item.beta in dead} == {5}
    assert report.requests <= 60


@pytest.mark.parametrize("seed", range(30))
def test_refused_and_restricted_in_turn_decides_only_what_was_confirmed(seed: int) -> None:
    """Answers that speak for two states are no confirmation of one."""
    rng = random.Random(seed)

    def answer(ask: Ask) -> Reply:
        if ask.betas == (X,) and rng.random() < 0.5:
            return failure(400, "Fast mode is not enabled for your organization.")
        return refusing({X})(ask)

    sender = Scripted(answer)
    report = run(sender, deciding(X), rng=rng)
    told = {item.beta: item for item in report.observations}.get(X)
    assert told is None or told.verdict == "restricted" or told.confirmations >= 5
    if told is not None and told.verdict == "refused":
        assert len(sender.alone(X)) >= 5


def test_a_process_that_ends_decides_nothing() -> None:
    """A pause that is cut short would confirm without any spread."""
    sender = Scripted(refusing({X}))
    report = sweep(
        sender, deciding(X), Limits(), platform="anthropic", model=MODEL, clock=lambda: NOW,
        pause=lambda _seconds: True,
    )  # fmt: skip
    assert (report.outcome, report.observations) == ("inconclusive", ())
    assert "stopped" in report.detail


def test_from_unknown_a_refusal_takes_five_too() -> None:
    """The first conclusive answer decides, so it must be one."""
    sender = Scripted(refusing({X}))
    report = run(sender, [Candidate(name=name, standing=Standing()) for name in NAMES])
    assert (verdicts(report)[X], len(sender.alone(X))) == ("refused", 5)
    assert report.outcome == "ok"


@pytest.mark.parametrize("few", [1, 4])
def test_a_refusal_that_names_others_counts_where_something_else_passes(few: int) -> None:
    """Alone it is X's, whatever it names; but where nothing passes, it is nobody's."""

    def answer(ask: Ask, dead: frozenset[str]) -> Reply:
        bad = dead.intersection(ask.betas) or [n for n in ask.betas if n.startswith(CONTROL)]
        return naming(["gateway-flag"]) if bad else accepted()

    some = [held(name, 2) for name in (X, *NAMES[:few])]
    told = run(Scripted(lambda ask: answer(ask, frozenset({X}))), some)
    assert (verdicts(told)[X], against(told)) == ("refused", {X})
    none = run(Scripted(lambda ask: answer(ask, frozenset(NAMES))), some)
    assert against(none) == set()


def test_what_is_accepted_without_its_header_speaks_for_nothing() -> None:
    """One server drops the header: what it accepts is no contradiction, as the never-issued name tells."""
    lone = itertools.count()
    drops: set[int] = set()

    def answer(ask: Ask) -> Reply:
        if ask.betas == (X,) and next(lone) == 2:
            drops.add(ask.connection)
        return accepted() if ask.connection in drops else refusing({X})(ask)

    sender = Scripted(answer)
    report = run(sender, deciding(X))
    told = {item.beta: item for item in report.observations}[X]
    assert (report.outcome, told.verdict, told.confirmations) == ("ok", "refused", 5)
    assert report.memory.wary > 0


def test_a_refused_beta_that_was_coming_back_is_confirmed_too() -> None:
    """Its refusal ends a run of acceptances, so it is asked alone like any that moves something."""
    back = held(X, state="refused", toward="supported", count=1, of=2)
    others = [held(name) for name in NAMES if name != X]
    sender = Scripted(refusing({X}))
    assert verdicts(run(sender, [back, *others]))[X] == "refused"
    assert sender.alone(X)


# --- Nothing passes the guards --------------------------------------------------------------------

ANSWERS: dict[str, Callable[[], Reply]] = {
    "accepted": accepted,
    "unnamed": unnamed,
    "overloaded": lambda: failure(529, "Overloaded", "overloaded_error"),
    "rate": lambda: failure(429, "slow", "rate_limit_error"),
    "billing": lambda: failure(400, "Your credit balance is too low to access the Anthropic API."),
    "forbidden": lambda: failure(403, "Forbidden", "permission_error"),
    "html": lambda: Reply(502, {}, b"<html>Bad gateway</html>"),
    "reset": lambda: Reply(None, error="It broke off."),
    "missing": lambda: failure(404, "Not found", "not_found_error"),
    "tool": lambda: failure(400, "tools: the code_execution tool is required"),
}


@given(
    seed=st.integers(0, 10_000),
    dead=st.sets(st.sampled_from(NAMES), max_size=60),
    named=st.booleans(),
    first_only=st.booleans(),
    noise=st.sampled_from([0.0, 0.1, 0.4]),
    counts=st.sampled_from([0, 1, 2]),
    budget=st.integers(8, 60),
    wanted=st.sets(st.sampled_from(NAMES), max_size=5),
)
@settings(max_examples=150)
def test_whatever_comes_only_what_was_confirmed_is_told(
    seed: int, dead: set[str], named: bool, first_only: bool, noise: float, counts: int,
    budget: int, wanted: set[str],
) -> None:  # fmt: skip
    """No sweep tells what it did not confirm alone, with controls at both ends, within its budget."""
    rng = random.Random(seed)
    upstream = refusing(dead, named=named, first_only=first_only)

    def answer(ask: Ask) -> Reply:
        if rng.random() < noise:
            return ANSWERS[rng.choice(sorted(ANSWERS))]()
        return upstream(ask)

    sender = Scripted(answer)
    candidates = [held(name, counts if name in dead else 0) for name in NAMES]
    report = run(sender, candidates, rng=rng, limits=Limits(max_requests=budget), wanted=wanted)
    assert len(sender.asked) == report.requests <= budget
    known = {item.name: item.standing for item in candidates}
    turned = against(report)
    for name in turned:
        assert len(sender.alone(name)) >= (5 if counts == 2 else 1)
    if any(would_turn(known[item.beta], item.verdict) for item in report.observations):
        *_, plain, control = [ask for ask in sender.asked if not noise or len(ask.betas) < 2]
        assert noise or (plain.betas == () and control.betas[0].startswith(CONTROL))
        assert report.controls >= 2
    assert len(turned) <= 15
    if not noise:
        assert turned <= dead
        assert "mixed" not in verdicts(report).values()
        if counts == 2 and len(dead) > 15 and not wanted:
            assert not turned


@pytest.mark.parametrize("first_only", [True, False])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_when_all_are_refused_nothing_is(first_only: bool, named: bool, count: int) -> None:
    """Whether all are named, the first only, or none: it is a mass change, confirmed by lone requests."""
    sender = Scripted(refusing(NAMES, named=named, first_only=first_only))
    report = run(sender, [held(name, count) for name in NAMES])
    assert (report.outcome, report.observations) == ("mass_change", ())
    assert "did the key or the plan change?" in report.detail
    assert set(report.lost) == set(NAMES)
    assert report.controls == 2


def test_a_smaller_sweep_sees_a_mass_change_too() -> None:
    """What was asked for turns, so the others are asked before anything is told of it."""
    report = run(Scripted(refusing(NAMES[:40])), wanted=NAMES[:2])
    assert (report.outcome, report.observations) == ("mass_change", ())
    quiet = Scripted(refusing(()))
    assert set(verdicts(run(quiet, wanted=NAMES[:2]))) == set(NAMES[:2])


@pytest.mark.parametrize("seed", range(10))
def test_random_refusals_are_no_mass_change_and_hide_no_death(seed: int) -> None:
    """A fifth of all betas, at random in each request; only the dead one is refused time and again."""
    rng = random.Random(seed)

    def answer(ask: Ask) -> Reply:
        bad = [n for n in ask.betas if n == X or n.startswith(CONTROL) or rng.random() < 0.2]
        return naming(bad) if bad else accepted()

    reports = [run(Scripted(answer), deciding(X), rng=rng) for _ in range(3)]
    assert {report.outcome for report in reports} <= {"ok", "partial"}
    assert "refused" in {verdicts(report).get(X) for report in reports}


def test_a_locked_target_tells_nothing() -> None:
    """However few are refused now; and it costs no confirmation."""
    for dead in ((), NAMES[:2], NAMES):
        report = run(Scripted(refusing(dead)), deciding(*NAMES[:2]), locked=True)
        assert (report.outcome, report.observations) == ("mass_change", ())


def test_what_an_operator_believes_is_confirmed_once_each() -> None:
    """So that the death of all 60 is decided in three sweeps."""
    sender = Scripted(refusing(NAMES[:50]))
    report = run(sender, deciding(*NAMES[:50]), confirmed=NAMES[:50])
    assert (report.outcome, len(against(report))) == ("ok", 50)


@pytest.mark.parametrize("state", ["refused", "excused"])
def test_what_is_known_to_be_refused_costs_nothing_more(state: str) -> None:
    """Even when it is all there is: naming all of it is no surprise then."""
    facts = {"state": "refused"} if state == "refused" else {"excused": True, "stale": True}
    sender = Scripted(refusing(NAMES))
    report = run(sender, [held(name, **facts) for name in NAMES])
    assert (report.outcome, report.requests) == ("ok", 2)
    assert set(verdicts(report).values()) == {"refused"}


# --- The search -----------------------------------------------------------------------------------


def test_an_unnamed_search_stays_below_its_bound() -> None:
    """On average over 1,000 draws, with both controls: log2 C(60, d) + 2d + 4, for d from 1 to 8."""
    for dead in range(1, 9):
        total = 0
        for seed in range(1000):
            bad = set(random.Random(seed * 31 + dead).sample(NAMES, dead))
            total += 2 + feed(halving(NAMES, {}), bad, named=False)
        assert total / 1000 <= math.log2(math.comb(60, dead)) + 2 * dead + 4


def test_a_search_goes_on_where_it_stopped() -> None:
    """Of 14 dead the budget finds some; the next sweep begins with those left open, and ends it."""
    dead = set(random.Random(3).sample(NAMES, 14))
    first = run(Scripted(refusing(dead, named=False)), names_refused=False)
    assert first.outcome == "partial"
    assert first.memory.open
    assert dead - against(first) <= set(first.memory.open)
    after = [held(name, 1 if name in against(first) else 0) for name in NAMES]
    sender = Scripted(refusing(dead, named=False))
    second = run(sender, after, names_refused=False, memory=first.memory)
    asked_first = next(ask for ask in sender.asked if len(ask.betas) > 1)
    assert set(asked_first.betas) <= set(first.memory.open)
    assert against(first) | against(second) == dead


@pytest.mark.parametrize("refused", [1, 4, 8, 23])
def test_one_of_many_refused_that_revives_is_found_soon(refused: int) -> None:
    """Within four sweeps, and then it is asked in every one; the cost stays small."""
    dead = [held(name, state="refused") for name in NAMES[:refused]]
    living = [held(name) for name in NAMES[refused:]]
    found = []
    for turn in range(4):
        sender = Scripted(refusing(NAMES[1:refused], named=False))
        report = run(sender, dead + living, names_refused=False, turn=turn)
        assert report.requests - report.controls <= 3 + math.ceil(refused / 4)
        found.append(verdicts(report).get(NAMES[0]))
    assert "accepted" in found
    dead[0] = held(NAMES[0], state="refused", toward="supported", count=1, of=2)
    for turn in range(4):
        sender = Scripted(refusing(NAMES[1:refused], named=False))
        report = run(sender, dead + living, names_refused=False, turn=turn)
        assert verdicts(report)[NAMES[0]] == "accepted"


# --- One bad beta ---------------------------------------------------------------------------------

POISON = {
    "500": lambda: failure(500, "boom", "api_error"),
    "403": lambda: failure(403, "Forbidden", "permission_error"),
    "reset": lambda: Reply(None, error="It broke off."),
    "429": lambda: failure(429, "slow down", "rate_limit_error", **{"retry-after": "3600"}),
    "billing": lambda: failure(400, "Your credit balance is too low to access the Anthropic API."),
    "html": lambda: Reply(200, {}, b"<html>Hello</html>"),
    "431": lambda: Reply(431, {}, b"Request header fields too large"),
    "404": lambda: failure(404, "Not found", "not_found_error"),
    "tool": lambda: failure(400, "tools: the code_execution tool is required"),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", sorted(POISON))
def test_one_bad_beta_does_not_blind_the_rest(kind: str, named: bool) -> None:
    """It is put aside with its answer; the death of another is told, and costs nothing more soon."""

    def answer(ask: Ask) -> Reply:
        return POISON[kind]() if Y in ask.betas else refusing({X}, named=named)(ask)

    memory, costs = Memory(), []
    for count in (0, 1, 2, 0):
        candidates = [held(name, count if name == X else 0) for name in NAMES]
        report = run(
            Scripted(answer), candidates, memory=memory, names_refused=named,
            rng=random.Random(count),
        )  # fmt: skip
        assert report.outcome == "ok", report.detail
        assert verdicts(report)[X] == "refused"
        assert {verdicts(report)[name] for name in NAMES if name not in (X, Y)} == {"accepted"}
        assert Y in report.detail
        memory = report.memory
        costs.append(report.requests)
    assert memory.aside[Y].strikes == 3
    rested = Scripted(lambda ask: POISON[kind]() if Y in ask.betas else refusing(())(ask))
    report = run(rested, memory=memory, names_refused=named)
    assert report.requests == 3
    assert Y in report.detail
    old = Memory(aside={Y: Aside(strikes=9, asked_at=NOW - timedelta(days=1, minutes=1))})
    again = Scripted(refusing(()))
    report = run(again, memory=old)
    assert verdicts(report)[Y] == "accepted"
    assert report.memory.aside == {}


def test_when_nothing_passes_any_more_no_beta_is_to_blame() -> None:
    """The plain control fails too, so the sweep ends and says why."""

    def answer(ask: Ask) -> Reply:
        return accepted() if ask.number == 0 else failure(500, "boom", "api_error")

    report = run(Scripted(answer))
    assert (report.outcome, report.observations) == ("inconclusive", ())
    assert report.requests <= 8


@pytest.mark.parametrize("limit", [10, 25, 59])
def test_the_length_of_a_header_is_learned(limit: int) -> None:
    """Where groups fail whose parts pass; a day later it is tried again."""

    def answer(ask: Ask) -> Reply:
        if len(ask.betas) > limit:
            return Reply(431, {}, b"Request header fields too large")
        return refusing(())(ask)

    first = run(Scripted(answer))
    assert set(verdicts(first).values()) == {"accepted"}
    sender = Scripted(answer)
    second = run(sender, memory=first.memory)
    assert max(len(ask.betas) for ask in sender.asked) <= limit
    assert second.requests <= 3 + 60 // (limit // 2)
    third = run(Scripted(refusing(())), memory=second.memory)
    assert third.memory.max_names is not None


def test_no_length_is_learned_from_an_answer_that_does_not_repeat() -> None:
    """A few requests with many betas fail, and their parts pass; asked once more, all of it passes."""
    failing = itertools.count()

    def answer(ask: Ask) -> Reply:
        if len(ask.betas) > 50 and next(failing) < 3:
            return Reply(431, {}, b"Request header fields too large")
        return refusing(())(ask)

    assert run(Scripted(answer)).memory.max_names is None


def test_a_restriction_that_names_nothing_costs_no_search_twice() -> None:
    """It is asked alone, apart from the others."""

    def answer(ask: Ask) -> Reply:
        if X in ask.betas:
            return failure(403, "This beta is not supported in your workspace.", "permission_error")
        return refusing(())(ask)

    first = run(Scripted(answer))
    assert (verdicts(first)[X], first.memory.apart) == ("restricted", (X,))
    after = [held(name, state="restricted") if name == X else held(name) for name in NAMES]
    assert run(Scripted(answer), after, memory=first.memory).requests <= 4


# --- Endpoints ------------------------------------------------------------------------------------


def moved(ask: Ask) -> Reply:
    """count_tokens is gone; the models answer whatever the header says."""
    return (
        failure(404, "Not found", "not_found_error")
        if ask.endpoint == "count_tokens"
        else accepted()
    )


def test_a_proven_endpoint_is_not_left_on_one_answer() -> None:
    """Three sweeps in a row must not find it."""
    sender = Scripted(refusing(()), endpoints=("count_tokens", "models"))
    memory = run(sender).memory
    assert memory.endpoint == "count_tokens"
    outcomes = []
    for _ in range(3):
        report = run(Scripted(moved, endpoints=("count_tokens", "models")), memory=memory)
        memory = report.memory
        outcomes.append((report.outcome, report.endpoint))
    assert outcomes == [
        ("inconclusive", "count_tokens"), ("inconclusive", "count_tokens"), ("blind", "models"),
    ]  # fmt: skip


def test_a_single_404_is_asked_again() -> None:
    """It neither ends the sweep nor moves it to another endpoint."""
    sender = Scripted(
        lambda ask: moved(ask) if ask.number == 0 else refusing(())(ask),
        endpoints=("count_tokens", "models"),
    )
    report = run(sender)
    assert (report.outcome, report.endpoint) == ("ok", "count_tokens")


def test_a_404_about_the_model_says_so() -> None:
    """It is no reason to ask elsewhere, where no model is asked for."""
    sender = Scripted(
        lambda ask: failure(404, f"model: {MODEL}", "not_found_error")
        if ask.endpoint == "count_tokens" else accepted(),
        endpoints=("count_tokens", "models"),
    )  # fmt: skip
    report = run(sender)
    assert (report.outcome, report.endpoint) == ("inconclusive", "count_tokens")
    assert f"model {MODEL} is not found" in report.detail
