"""One sweep against the simulator: what it counts, what it refuses to believe, what it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from registry.core.lifecycle import Standing
from registry.probing import Candidate, Limits, Report, sweep
from registry.simulator import Simulator, create_simulator
from tests.factories import NOW
from tests.probing.stand_in import MODEL, StandIn

NAMES = [f"feature{n}-2026-01-01" for n in range(60)]


def simulator(**script: Any) -> Simulator:
    """A world in which all names are accepted."""
    return create_simulator({"betas": [{"beta": "feature*"}], **script}, clock=lambda: 0.0)


def known(name: str, state: Any = "supported", **more: Any) -> Candidate:
    """A candidate whose state is known."""
    standing = Standing(target="t", state=state, checked_at=NOW, accepted_at=NOW)
    return Candidate(name=name, standing=standing, **more)


def run(sender: StandIn, candidates: list[Candidate], **more: Any) -> Report:
    """Sweep once, without waiting."""
    limits = more.pop("limits", Limits())
    return sweep(
        sender, candidates, limits, platform="bedrock" if sender.unnamed else "anthropic",
        model=MODEL, clock=lambda: datetime.now(UTC), pause=lambda _seconds: None,
        names_refused=not sender.unnamed, **more,
    )  # fmt: skip


def verdicts(report: Report) -> dict[str, str]:
    """What was found of each beta."""
    return {item.beta: item.verdict for item in report.observations}


@pytest.mark.parametrize("unnamed", [False, True])
@pytest.mark.parametrize("new", [0, 1, 2])
def test_what_a_sweep_costs(unnamed: bool, new: int) -> None:
    """Naming: 3 and one for each new refusal; unnamed: 4 when nothing is new."""
    rules = [{"beta": "feature*"}] + [{"beta": name, "do": "refuse"} for name in NAMES[:new]]
    sender = StandIn(simulator(betas=rules), unnamed=unnamed,
                     endpoints=("messages",) if unnamed else ("count_tokens",))  # fmt: skip
    report = run(sender, [known(name) for name in NAMES])
    assert report.outcome == "ok", report.detail
    assert list(verdicts(report).values()).count("refused") == new
    assert len(report.observations) == 60
    if not unnamed:
        assert report.requests - report.controls == 3 + new
    elif not new:
        assert report.requests <= 4
    assert (report.controls > 0) == (new > 0)


def test_known_refusals_cost_nothing_more() -> None:
    """They are named again with all the others."""
    rules = [{"beta": "feature*"}] + [{"beta": name, "do": "refuse"} for name in NAMES[:5]]
    sender = StandIn(simulator(betas=rules))
    candidates = [known(name, "refused" if name in NAMES[:5] else "supported") for name in NAMES]
    assert run(sender, candidates).requests == 3


def test_each_new_refusal_is_confirmed_alone() -> None:
    """One that is accepted alone is not refused, whatever the crowd was told."""
    rules = [{"beta": "feature*"}, {"beta": NAMES[3], "do": "refuse"}]
    sender = StandIn(simulator(betas=rules))
    report = run(sender, [known(name) for name in NAMES])
    assert (NAMES[3],) in sender.sent
    assert verdicts(report)[NAMES[3]] == "refused"


@pytest.mark.parametrize("unnamed", [False, True])
def test_a_blind_gateway_proves_nothing(unnamed: bool) -> None:
    """The never-issued name is accepted."""
    sender = StandIn(simulator(mode="blind"), unnamed=unnamed, endpoints=("messages",))
    report = run(sender, [known(name) for name in NAMES])
    assert (report.outcome, report.observations) == ("blind", ())
    assert "never-issued" in report.detail


def test_a_mass_refusal_is_not_believed() -> None:
    """So many are asked alone, twice, as it takes to know, and no more."""
    sender = StandIn(simulator(mode="refusing"))
    report = run(sender, [known(name) for name in NAMES])
    assert report.outcome == "mass_change"
    assert "did the key or the plan change?" in report.detail
    assert (report.observations, len(report.lost)) == ((), 60)
    assert report.requests <= 60
    confirmed = run(sender, [known(name) for name in NAMES[:6]], confirmed=True)
    assert confirmed.outcome == "ok"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"fault": "overloaded", "times": 9}, ""),
        ({"fault": "rate_limited", "times": 9}, ""),
        ({"fault": "html_502", "times": 9}, ""),
        ({"fault": "empty_200", "times": 9}, ""),
        ({"fault": "html_200", "times": 9}, ""),
        ({"fault": "closed", "times": 9}, "closed"),
        ({"fault": "cut", "times": 9}, "broke off"),
        ({"fault": "redirect", "times": 9}, ""),
        ({"fault": "billing", "times": 1}, ""),
        ({"fault": "forbidden", "times": 1}, ""),
        ({"fault": "generic_400", "times": 1}, "without betas is not accepted"),
        ({"fault": "error_in_200", "times": 9}, ""),
        ({"fault": "stream_error", "times": 9}, ""),
    ],
)
def test_faults_make_it_inconclusive_in_words(fault: dict[str, Any], says: str) -> None:
    """Nothing is observed, and the detail is a sentence."""
    report = run(StandIn(simulator(faults={"queue": [fault]})), [known(name) for name in NAMES])
    assert (report.outcome, report.observations) == ("inconclusive", ())
    assert says in report.detail
    assert len(report.detail) > 10


@pytest.mark.parametrize("fault", ["overloaded", "rate_limited", "closed", "html_503"])
def test_a_passing_fault_is_waited_out(fault: str) -> None:
    """One retry is enough."""
    world = simulator(faults={"queue": [{"fault": fault, "after": 1}]})
    report = run(StandIn(world), [known(name) for name in NAMES])
    assert (report.outcome, report.requests) == ("ok", 4)


def test_a_wrong_key_says_so() -> None:
    """And one request is enough to know."""
    report = run(StandIn(simulator(), key="nonsense"), [known(NAMES[0])])
    assert (report.outcome, report.requests) == ("inconclusive", 1)
    assert "key" in report.detail.lower()


def test_an_endpoint_that_is_not_there_is_followed_by_the_next() -> None:
    """`auto` is count_tokens, then models."""
    world = simulator(
        faults={"queue": [{"fault": "answer", "status": 404, "body": "nothing here", "times": 2}]}
    )
    report = run(StandIn(world), [known(name) for name in NAMES])
    assert (report.outcome, report.endpoint) == ("ok", "models")


def test_conflicting_betas_never_share_a_request() -> None:
    """Known conflicts are kept apart; an unknown one is found by splitting."""
    pair = NAMES[:2]
    world = simulator(clashes=[{"betas": pair}])
    candidates = [
        known(pair[0], conflicts=frozenset({pair[1]})), known(pair[1], conflicts=frozenset({pair[0]})),
        *(known(name) for name in NAMES[2:]),
    ]  # fmt: skip
    sender = StandIn(world)
    report = run(sender, candidates)
    assert not any(set(pair) <= set(sent) for sent in sender.sent)
    assert set(verdicts(report).values()) == {"accepted"}
    unknown = run(StandIn(world), [known(name) for name in NAMES])
    assert set(verdicts(unknown).values()) == {"accepted"}


def test_a_restricted_beta_is_no_refused_one() -> None:
    """Another plan would have it."""
    rules = [{"beta": "feature*"}, {"beta": NAMES[7], "do": "restrict", "error": "long_context"}]
    report = run(StandIn(simulator(betas=rules)), [known(name) for name in NAMES])
    found = verdicts(report)
    assert found.pop(NAMES[7]) == "restricted"
    assert set(found.values()) == {"accepted"}


def test_out_of_budget_what_was_proven_counts() -> None:
    """And the rest is left for the next sweep."""
    rules = [{"beta": "feature*"}] + [{"beta": name, "do": "refuse"} for name in NAMES[:30]]
    blank = [Candidate(name=name, standing=Standing()) for name in NAMES]
    report = run(StandIn(simulator(betas=rules)), blank, limits=Limits(max_requests=12))
    assert report.outcome == "partial"
    assert report.requests <= 12
    assert "left for later" in report.detail
    found = verdicts(report)
    assert all(found[name] == "accepted" for name in NAMES[30:])
    assert 0 < list(found.values()).count("refused") < 30


def test_a_gateway_that_goes_blind_in_the_middle_is_noticed() -> None:
    """The controls are repeated before a recovery is believed."""
    world = simulator(
        betas=[{"beta": "feature*"}, {"beta": NAMES[0], "do": "refuse"}],
        faults={"queue": [{"fault": "blind", "after": 1, "times": 99}]},
    )
    candidates = [known(NAMES[0], "refused"), known(NAMES[1])]
    assert run(StandIn(world), candidates).outcome == "blind"


def test_the_control_name_is_new_each_time() -> None:
    """No list and no cache can know it."""
    sender = StandIn(simulator())
    for _ in range(3):
        run(sender, [known(NAMES[0])])
    controls = [name for sent in sender.sent for name in sent if name.startswith("never-issued-")]
    assert len(set(controls)) == 3


def test_the_header_is_split_at_its_bounds() -> None:
    """In number, with room for the control name."""
    sender = StandIn(simulator())
    run(sender, [known(name) for name in NAMES], limits=Limits(max_header_betas=25))
    assert max(map(len, sender.sent)) <= 25


@pytest.mark.parametrize("unnamed", [False, True])
def test_those_believed_refused_are_checked_again(unnamed: bool) -> None:
    """Named ones every time, unnamed ones in turn."""
    names = NAMES[:3]
    found = set()
    for turn in range(3):
        sender = StandIn(simulator(), unnamed=unnamed, endpoints=("messages",))
        report = run(sender, [known(name, "refused") for name in names], turn=turn)
        found |= {name for name, verdict in verdicts(report).items() if verdict == "accepted"}
    assert found == set(names)
