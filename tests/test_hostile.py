"""No false death and no missed one, whatever stands in between: short, seeded lives with a hostile upstream.

The upstream (`tests/hostile`) shares no code with the simulator or with probing. Where only the sweep and the
table of the lifecycle decide, a life is without HTTP and database (`Folded`). Long lives, by the whole way, are
measured by `make bench B=verdicts`.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from registry.db import Database
from registry.probing import Limits
from tests.hostile import kinds, server
from tests.hostile import world as w
from tests.hostile.folded import Folded, searched
from tests.hostile.kinds import KINDS
from tests.hostile.server import Server
from tests.hostile.trial import BETAS, Trial, one_authority
from tests.hostile.world import FAULTS, Fleet, Said

SOME = BETAS[:24]
FEW = BETAS[:12]
"""Fewer betas make a sweep quicker; more than six, or than five of the few, are a mass change."""

Make = Callable[..., Trial]


@pytest.fixture
def whole(sqlite_url: str) -> Iterator[Make]:
    """Make a trial with a registry on a database of its own."""
    with closing(Database(sqlite_url)) as database:
        yield lambda **given: Trial(database, **{"names": FEW, **given})


def folded(**given: Any) -> Folded:
    return Folded(**{"names": SOME, **given})


def lived(trial: Trial, name: str) -> Trial:
    KINDS[name].live(trial)
    return trial


def assert_never_wrong(trial: Trial) -> None:
    assert trial.tally.notes == []
    assert (trial.tally.false_deaths, trial.tally.false_refusals) == (0, 0)
    assert trial.retired() <= trial.dead


def test_the_upstream_is_of_another_make() -> None:
    """What it answers, and how, is written without a line of the product."""
    for module in (w, server):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        plain = [
            it.name for node in ast.walk(tree) if isinstance(node, ast.Import) for it in node.names
        ]
        assert not [name for name in named + plain if name.startswith("registry")]


# --- 1. Nothing is recorded that the guards have not passed ---------------------------------------


@pytest.mark.parametrize("budget", [60, 14])
@pytest.mark.parametrize("wording", kinds.WORDINGS, ids=lambda wording: wording.__name__)
def test_an_upstream_that_refuses_everything_turns_nothing(wording: w.Wording, budget: int) -> None:
    """However it names what it refuses, and also when the budget of requests ends first."""
    t = folded(limits=Limits(max_requests=budget))
    t.settle()
    t.world.wording, t.world.dead = wording, set(SOME)
    t.sweeps(8)
    assert set(t.states().values()) == {"supported"}
    t.recover(t.honest)
    assert_never_wrong(t)


@pytest.mark.parametrize("wording", [w.first_only, w.unnamed])
def test_a_registry_before_an_upstream_that_refuses_everything_tells_no_death(
    whole: Make, wording: w.Wording
) -> None:
    """The whole way: no beta is retired or refused, and the target is not called healthy."""
    t = whole()
    t.settle()
    t.world.wording, t.world.dead = wording, set(FEW)
    t.sweeps(5)
    assert [kind for kind, beta, _ in t.events if beta and kind != "beta.supported"] == []
    assert t.health() == "unhealthy"
    assert_never_wrong(t)


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("budget", [60, 20])
def test_those_that_die_without_being_named_are_all_found(count: int, budget: int) -> None:
    """Also within a budget that one search needs more than: it goes on in the next sweep."""
    t = folded(limits=Limits(max_requests=budget))
    t.settle()
    t.world.wording = w.unnamed
    assert t.die(*t.chance.sample(SOME, count))
    assert_never_wrong(t)


@pytest.mark.parametrize("wording", kinds.WORDINGS, ids=lambda wording: wording.__name__)
@pytest.mark.parametrize(
    "victims",
    [["files-api-2025-04-14"], ["mcp-client-2025-03-13", "mcp", "cache-client-2025-04-15"]],
)
def test_a_death_is_found_in_any_wording(wording: w.Wording, victims: list[str]) -> None:
    """Lists that are cut, foreign, echoed or in another language lead to nobody else's death."""
    t = folded(names=BETAS)
    t.settle()
    t.world.wording = wording
    assert t.die(*victims, within=6)
    assert_never_wrong(t)


@pytest.mark.parametrize("name", ["429", "529", "500", "reset", "403", "404", "400 field", "refuses all",
                                  "refuses unnamed", "restricts", "429 credits", "accepts all"])  # fmt: skip
@pytest.mark.parametrize("seed", [1, 3, 10])
def test_noise_moves_nothing_and_hides_nothing(name: str, seed: int) -> None:
    """A fifth of the requests get an answer that has nothing to do with what they ask."""
    assert_never_wrong(lived(Folded(seed=seed), f"noise: {name}"))


# --- 2. A mass change locks the target -------------------------------------------------------------


def test_a_mass_change_is_passed_by_no_smaller_sweep(whole: Make) -> None:
    """Services report, operators ask for single betas: the lock holds until an operator decides."""
    t = lived(whole(), "plan loses most, services report")
    assert_never_wrong(t)
    assert t.tally.alerts == 1


def test_an_operator_believes_a_mass_change(whole: Make) -> None:
    t = whole()
    t.settle()
    victims = FEW[3:10]
    t.world.dead |= set(victims)
    t.sweeps(4)
    assert set(t.states().values()) == {"supported"}
    t.dead |= set(victims)
    t.believe()
    t.sweeps(5)
    assert t.retired() == set(victims)
    assert t.health() == "ok"


def test_an_operator_sets_a_new_baseline(whole: Make) -> None:
    """The key changed: states stay, nothing retires, and a later death of another beta is found."""
    t = whole()
    t.settle()
    t.world.dead |= set(FEW[3:10])
    t.sweeps(4)
    t.new_baseline()
    t.sweeps(4)
    assert set(t.states().values()) == {"supported"}
    assert t.health() == "ok"
    assert t.die(FEW[0], within=6)
    assert_never_wrong(t)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_random_refusals_are_no_mass_change(share: float) -> None:
    """A share of the requests refuses betas at random; a beta that really died is found all the same."""
    t = lived(Folded(seed=1), f"flapping: all, {share:.0%}")
    assert_never_wrong(t)
    assert t.tally.outcomes["mass_change"] == 0


# --- 3. Targets that are not configured any more ---------------------------------------------------


@pytest.mark.parametrize("name", ["a target is removed", "a target is renamed"])
def test_a_target_that_is_gone_speaks_for_nothing(whole: Make, name: str) -> None:
    assert_never_wrong(lived(whole(), name))


# --- 4. One bad beta -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*FAULTS, "restricts"])
@pytest.mark.parametrize("wording", [w.named, w.unnamed])
def test_one_bad_beta_does_not_blind_the_rest(fault: str, wording: w.Wording) -> None:
    """One beta gets a fault whenever it is sent; another one dies, and is found as fast as ever."""
    t = folded()
    t.settle()
    t.world.wording = wording
    kinds.poison(t, fault)
    t.sweeps(2)
    victim = next(name for name in SOME if name not in t.suspects)
    assert t.die(victim, within=4)
    assert set(t.tally.outcomes) <= {"ok", "partial"}
    t.recover(t.honest)
    assert_never_wrong(t)


@pytest.mark.parametrize(
    "fault", ["500", "404", "400 needs a tool", "reset", "431", "403 workspace"]
)
def test_what_can_never_be_proved_costs_little(fault: str) -> None:
    """A beta that fails whenever it is sent is remembered; it costs no search in each sweep."""
    t = Folded()
    t.settle()
    kinds.poison(t, fault)
    t.sweeps(5)
    t.stay(24)
    assert sum(t.tally.quiet_requests) <= 24 * 4 + 4
    assert_never_wrong(t)


@pytest.mark.parametrize(
    ("said", "length", "count"),
    [("431", 300, None), ("400 too large", 300, None), ("413", 300, None), ("reset", 300, None),
     ("400 too many", None, 8)],
)  # fmt: skip
def test_limits_of_the_header_are_learned(said: str, length: int | None, count: int | None) -> None:
    """Where a header of all betas is too long, they are sent in parts, and soon without trying more."""
    t = folded()
    t.settle()
    kinds.limit(t, said, length=length, count=count)
    t.sweeps(6)
    t.stay(6)
    assert max(t.tally.quiet_requests) <= 8
    assert t.die(SOME[7], within=6)
    assert_never_wrong(t)


# --- 5. What holds for one endpoint or one model only ------------------------------------------------


def test_a_refusal_by_the_count_of_tokens_on_vertex_is_none_of_the_platform(whole: Make) -> None:
    """Vertex counts tokens more strictly than it serves messages: what it refuses there stays usable."""
    t = whole(platform="vertex", endpoint="count_tokens")
    t.dead.add(FEW[0])
    t.world.dead.add(FEW[0])
    t.settle()
    t.dead.add(FEW[1])
    t.world.dead.add(FEW[1])
    t.sweeps(4)
    assert {t.states()[FEW[0]], t.states()[FEW[1]]} == {"refused"}
    assert {t.platform_state(name, "vertex") for name in FEW[:2]}.isdisjoint({"refused"})
    assert [kind for kind, beta, _ in t.events if kind in ("beta.refused", "beta.retired")] == []


def test_a_refusal_for_one_model_is_none_of_the_platform(whole: Make) -> None:
    """Also when it refused for all models before, and then for one only."""
    t = whole()
    t.settle()
    victim, other = FEW[0], FEW[1]
    said = w.error(400, f"The `{victim}` beta is not supported for this model.")
    t.limited.add(victim)
    t.world.poison[victim] = said
    t.sweeps(5)
    assert t.platform_state(victim, "anthropic") != "refused"
    assert t.retired() == set()
    assert [kind for kind, beta, _ in t.events if kind in ("beta.refused", "beta.retired")] == []
    assert t.die(other, within=4)


# --- 6. A single 404; health that does not flutter --------------------------------------------------


def test_a_single_404_moves_nothing(whole: Make) -> None:
    """On whichever request of a sweep it comes: no alert, and never another endpoint."""
    t = lived(whole(), "a single 404 now and then")
    assert_never_wrong(t)
    assert t.tally.alerts == 0
    assert {asked.path for asked in t.asked} == {"/v1/messages/count_tokens"}


def test_a_404_about_the_model_is_told_and_moves_nothing(whole: Make) -> None:
    """No other endpoint is tried for it, and no beta turns."""
    t = whole()
    t.settle()
    t.asked.clear()
    t.world.noise = [(1.0, lambda _asked: FAULTS["404 model"])]
    done = [t.sweep() for _ in range(5)][-1]
    assert done.report.outcome == "inconclusive"
    assert "model" in done.report.detail
    assert {asked.path for asked in t.asked} == {"/v1/messages/count_tokens"}
    assert_never_wrong(t)


@pytest.mark.parametrize(
    "name", ["the endpoint is withdrawn", "a dead beta behind what strips the header"]
)
def test_where_it_was_observed_is_part_of_what_was_observed(whole: Make, name: str) -> None:
    assert_never_wrong(lived(whole(), name))


@pytest.mark.parametrize("balance", ["request", "sticky"])
def test_health_does_not_flutter(whole: Make, balance: w.Balance) -> None:
    """Half of the servers strip the header: the target is blind, and is not called so again and again."""
    t = whole(names=FEW[:6], seed=2)
    t.settle()
    t.world.fleet = Fleet(0.5, balance, strips=True, seed=2)
    t.sweeps(30)
    assert t.tally.alerts <= 3
    assert_never_wrong(t)


# --- 7. Canaries and round robins ---------------------------------------------------------------------


@pytest.mark.parametrize("balance", ["alternate", "alternate connections"])
@pytest.mark.parametrize("seed", range(4))
def test_strict_alternation_turns_nothing(balance: w.Balance, seed: int) -> None:
    """Every other request, or connection, comes to a server that refuses a living beta."""
    t = folded(seed=seed)
    t.settle()
    kinds.canary(t, 0.5, balance)
    t.sweeps(30)
    t.recover(t.honest)
    assert_never_wrong(t)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("balance", ["request", "connection"])
def test_a_canary_turns_nothing_and_hides_no_death(balance: w.Balance, share: float) -> None:
    t = folded(seed=5)
    t.settle()
    kinds.canary(t, share, balance)
    t.sweeps(40)
    assert t.die(*t.pick())
    assert_never_wrong(t)


def test_a_canary_that_is_one_server_for_a_while_is_given_back(whole: Make) -> None:
    """One server for all that comes within 90 s looks like a death for some sweeps; two are enough to mend it."""
    t = whole(seed=3)
    t.settle()
    kinds.canary(t, 0.9, "sticky")
    t.sweeps(25)
    t.honest()
    t.sweeps(2)
    assert t.retired() == set()
    assert set(t.states().values()) == {"supported"}


def test_the_sweep_that_decides_asks_five_times_alone(sqlite_url: str, tmp_path: Path) -> None:
    """Over real HTTP: on as many new connections, spread over at least 15 seconds."""
    with closing(Server()) as upstream, closing(Database(sqlite_url)) as database:
        t = Trial(database, upstream, one_authority(tmp_path / "ca.pem"), names=SOME)
        t.settle()
        (victim,) = t.pick()
        t.dead.add(victim)
        t.world.dead.add(victim)
        t.sweeps(2)
        assert t.states()[victim] == "supported"
        t.asked.clear()
        t.sweep()
        assert t.states()[victim] == "refused"
        alone = [asked for asked in t.asked if asked.betas == (victim,)]
        assert len({asked.connection for asked in alone}) >= 5
        assert alone[-1].at - alone[0].at >= 15
        gaps = [b.at - a.at for a, b in pairwise(alone)]
        assert len({round(gap, 1) for gap in gaps}) > 1  # jittered


@pytest.mark.parametrize("spared", range(5))
def test_one_acceptance_among_them_decides_nothing(spared: int) -> None:
    """Each fifth of the lone requests is accepted: the beta is not turned."""
    t = folded()
    t.settle()
    (victim,) = t.pick()
    t.world.dead.add(victim)
    alone = itertools.count()

    def answer(asked: w.Asked) -> Said:
        lone = asked.betas == (victim,)
        return w.accepted(asked) if lone and next(alone) % 5 == spared else t.world.answer(asked)

    t.intercept = answer
    t.sweeps(12)
    assert_never_wrong(t)


def test_every_sweep_draws_its_order_anew() -> None:
    """What is sent together stands in another order each time, so that no parity is met forever."""
    t = folded()
    t.settle()
    t.asked.clear()
    t.sweeps(4)
    orders = {
        tuple(n for n in asked.betas if n in SOME) for asked in t.asked if len(asked.betas) > 20
    }
    assert len(orders) >= 4


# --- 8. Another key ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacks", [0, 2, 9])
def test_a_new_key_proves_no_death(whole: Make, lacks: int) -> None:
    """Of a key that lacks betas, nothing turns in its first sweep, and of one that lacks many, ever."""
    t = whole()
    t.settle()
    t.events.clear()
    t.key = "sk-ant-another"
    lost = set(t.chance.sample(FEW, lacks))
    t.world.dead |= lost
    t.sweep()
    assert set(t.states().values()) == {"supported"}
    assert {kind for kind, beta, _ in t.events if beta} <= {"beta.changed"}  # a refusal is pending
    t.sweeps(4)
    assert t.retired() == set()
    turned = {name for name, state in t.states().items() if state != "supported"}
    assert turned == (lost if lacks == 2 else set())


# --- 9. Quiet --------------------------------------------------------------------------------------------


def test_another_platforms_blindness_is_no_news_of_a_beta(whole: Make) -> None:
    t = whole(names=FEW[:6])
    t.settle()
    t.platform = "aws"
    t.settle(
        "elsewhere",
    )
    t.events.clear()
    t.world.fleet = Fleet(1.0, "request", strips=True)
    t.sweeps(6, "elsewhere")
    assert t.health("elsewhere") == "blind"
    assert [event for event in t.events if event[1]] == []


# --- 10. The search where refusals name nothing ------------------------------------------------------------


@pytest.mark.parametrize("dead", range(1, 9))
def test_the_search_takes_as_many_requests_as_it_must(dead: int) -> None:
    """On average within log2 C(60, d) + 2 d + 4; here over 100 draws, in `make bench` over 1,000."""
    mean, _ = searched(dead, 100)
    assert mean <= math.log2(math.comb(60, dead)) + 2 * dead + 4


def test_one_of_many_refused_that_revives_is_found_soon() -> None:
    t = lived(Folded(), "unnamed, 1 of 20 refused revives")
    assert t.tally.sweeps_to_revival[0] <= 6
    assert_never_wrong(t)


# --- 11. No answer to one beta stops a sweep ---------------------------------------------------------------

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "upstream-responses.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
PLAN = (
    (429, "Usage credits are required for long context requests"),
    (429, "Extra usage is required for long context requests."),
    (403, "This beta is not supported in your workspace."),
    (400, "This beta is not supported in your workspace."),
    (403, "This feature is not available in your workspace."),
    (400, "One or more beta features are not available to your organization."),
    (403, "Your account does not have access to the requested beta feature"),
    (403, "You do not have access to this feature."),
    (400, "The long context beta is not yet available for this subscription."),
    (400, "This beta requires an Enterprise plan."),
    (400, "Zero data retention organizations cannot use this beta."),
    (403, "Your administrator has disabled beta features for this workspace."),
    (400, "Your organization must accept the beta terms before using this feature."),
    (402, "Upgrade your plan to use long context."),
    (429, "You have exceeded the long context usage included in your plan."),
)  # fmt: skip


ODD, VICTIM = BETAS[11], BETAS[40]


def assert_only_itself(t: Folded) -> None:
    """Whatever one of sixty is answered, another's death is found in three sweeps, and none is cut short."""
    assert t.die(VICTIM, within=3)
    assert set(t.tally.outcomes) == {"ok"}
    others = {state for name, state in t.states().items() if name not in (ODD, VICTIM)}
    assert others == {"supported"}
    assert_never_wrong(t)


def said_in(sample: dict[str, Any]) -> Said:
    """The captured answer; the betas that it names become the one that it is given to."""
    if sample["status"] is None:
        return Said(act="reset")
    body = sample["body"]
    for name in sample["refused"]:
        body = body.replace(name, ODD) if "-" in name else body
    headers = tuple((key, text) for key, text in sample["headers"].items() if key != "content-type")
    return Said(sample["status"], body.encode(), headers=headers)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["id"] for sample in SAMPLES])
def test_no_captured_answer_to_one_beta_stops_a_sweep(sample: dict[str, Any]) -> None:
    """Each labelled answer, given to one beta of sixty: alone, and whatever it is sent with."""
    t = Folded()
    t.settle()
    if sample["verdict"] == "accepted":
        t.world.success[ODD] = said_in(sample)
    else:
        t.world.poison[ODD] = said_in(sample)
    (t.dead if sample["verdict"] in ("refused", "model_unsupported") else t.limited).add(ODD)
    assert_only_itself(t)


@pytest.mark.parametrize(("status", "message"), PLAN)
def test_no_word_about_the_plan_stops_a_sweep(status: int, message: str) -> None:
    """Wordings that name no beta, given to one of sixty."""
    kind = {403: "permission_error", 429: "rate_limit_error", 402: "billing_error"}.get(status)
    t = Folded()
    t.settle()
    t.world.poison[ODD] = w.error(status, message, kind or "invalid_request_error")
    t.limited.add(ODD)
    assert_only_itself(t)
