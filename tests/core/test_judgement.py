"""One beta at one place: which fact decides, what is told first, and what to use instead."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.facts import BASES, STATES, STATUSES, Beta, Link, PlaceFact
from registry.core.judgement import (
    FAILS,
    VERDICTS,
    Judge,
    Judges,
    companions,
    with_conflicts,
)
from registry.core.places import KNOWN_PLACES, Place, place_of
from tests.factories import TODAY, beta, snapshot

X, Y, Z = "thing-2026-01-01", "thing-2026-05-05", "thing-2026-09-09"
VERTEX = place_of(platform="vertex")


def fact(
    where: str = "", state: Any = "supported", on: str | None = None, **more: Any
) -> PlaceFact:
    """A declared fact at `platform[/api or hosting][@region][#model][:endpoint]`."""
    return PlaceFact(place=place(where), state=state, at=day(on), **more)


def day(text: str | None) -> datetime | None:
    """The first moment of a day."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def place(text: str) -> Place:
    """Read the short form of a place."""
    text, _, endpoint = text.partition(":")
    text, _, model = text.partition("#")
    text, _, region = text.partition("@")
    platform, _, kind = text.partition("/")
    parts = {"api" if platform == "bedrock" else "hosting": kind} if kind else {}
    return place_of(platform=platform, region=region, model=model, endpoint=endpoint, **parts)


def thing(*facts: PlaceFact, name: str = X, status: Any = "active", **more: Any) -> Beta:
    """A beta of which nothing is known but these facts."""
    made = beta(name, status, state="unknown", **more)
    return Beta(**{**{key: getattr(made, key) for key in made.__slots__}, "places": facts})


def judged(subject: Beta, where: str, *others: Beta, **more: Any) -> Any:
    """Judge it at a place."""
    betas = {item.name: item for item in (subject, *others)}
    return Judge(betas, place(where), **more).beta(subject.name)


# facts (where, state, day, basis), the place asked, the verdict
CHOICES: list[tuple[str, list[tuple[str, str, str | None, str]], str, str]] = [
    ("nothing is inherited", [("anthropic", "supported", "2026-01-01", "declared")], "aws", "unproven"),
    ("probing outweighs words", [("vertex", "supported", "2026-05-01", "declared"),
                                 ("vertex", "refused", "2026-04-01", "probed")], "vertex", "refused"),
    ("a declaration outweighs a report", [("vertex", "supported", "2026-05-01", "declared"),
                                          ("vertex", "refused", "2026-06-01", "reported")], "vertex", "ok"),
    ("one without a day does not", [("vertex", "supported", None, "declared"),
                                    ("vertex", "refused", "2026-06-01", "reported")], "vertex", "refused"),
    ("the newest report decides", [("vertex", "refused", "2026-04-01", "reported"),
                                   ("vertex", "supported", "2026-08-01", "reported")], "vertex", "ok"),
    ("a narrower, newer report counts", [("vertex", "supported", "2026-05-01", "declared"),
                                         ("vertex#claude-x-1", "refused", "2026-06-01", "reported")],
     "vertex#claude-x-1", "wrong_model"),
    ("an older one does not", [("vertex", "supported", "2026-07-01", "declared"),
                               ("vertex#claude-x-1", "refused", "2026-06-01", "reported")],
     "vertex#claude-x-1", "ok"),
    ("a model is known by its cloud's id", [("bedrock", "supported", "2026-05-01", "declared"),
                                            ("bedrock#claude-x-1", "refused", "2026-04-01", "declared")],
     "bedrock/invoke#us.anthropic.claude-x-1-20260101-v1:0", "wrong_model"),
    ("an unknown model is no such model", [("vertex", "supported", "2026-05-01", "declared"),
                                           ("vertex#claude-x-1", "refused", "2026-06-01", "declared")],
     "vertex", "ok"),
    ("one API of Bedrock says nothing of another", [("bedrock/invoke", "refused", "2026-05-01", "probed")],
     "bedrock/mantle", "unproven"),
    ("Bedrock as a whole speaks for each API", [("bedrock", "refused", "2026-05-01", "declared")],
     "bedrock/converse", "refused"),
    ("hosted by Azure", [("foundry/azure", "refused", "2026-05-01", "declared"),
                         ("foundry/anthropic", "supported", "2026-05-01", "declared")],
     "foundry/azure", "refused"),
    ("hosted by Anthropic", [("foundry/azure", "refused", "2026-05-01", "declared"),
                             ("foundry/anthropic", "supported", "2026-05-01", "declared")],
     "foundry/anthropic", "ok"),
    ("nobody says who hosts it", [("foundry/azure", "refused", "2026-05-01", "declared")],
     "foundry", "unproven"),
    ("one region", [("vertex@us-east5", "refused", "2026-05-01", "reported")], "vertex@us-east5", "refused"),
    ("another region", [("vertex@us-east5", "refused", "2026-05-01", "reported")], "vertex@global",
     "unproven"),
    ("one endpoint", [("anthropic", "supported", "2026-05-01", "declared"),
                      ("anthropic:files", "refused", "2026-05-01", "declared")],
     "anthropic:files", "wrong_endpoint"),
    ("count_tokens says nothing of messages", [("vertex:messages.count_tokens", "refused", "2026-05-01",
                                                "probed")], "vertex", "unproven"),
    ("the operator's word", [("vertex", "refused", "2026-05-01", "probed"),
                             ("vertex", "supported", "2026-01-01", "operator")], "vertex", "ok"),
    ("a hint is not proof of refusal's end", [("vertex", "refused", "2026-05-01", "reported"),
                                              ("vertex", "supported", "2026-06-01", "litellm")], "vertex",
     "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "facts", "where", "verdict"), CHOICES)
def test_which_fact_decides(
    why: str, facts: list[tuple[str, str, str | None, str]], where: str, verdict: str
) -> None:
    """Each line, in whatever order the facts come."""
    made = [fact(at, state, on, basis=basis) for at, state, on, basis in facts]
    assert judged(thing(*made), where).verdict == verdict, why
    assert judged(thing(*reversed(made)), where).verdict == verdict, why


RETIRED: list[tuple[str, list[PlaceFact], dict[str, Any], str, str, list[str]]] = [
    ("declared, no place, nothing newer", [fact("vertex", "supported", "2026-02-01")], {},
     "vertex", "retired", []),
    ("newer support of its own", [fact("vertex", "supported", "2026-07-01")], {},
     "vertex", "ok", ["retired_elsewhere"]),
    ("support without a day", [fact("vertex", "supported")], {}, "vertex", "retired", []),
    ("a hint", [fact("vertex", "supported", "2026-07-01", basis="litellm")], {}, "vertex", "retired", []),
    ("found by probing: not for clouds", [], {"basis": "probed"}, "bedrock/invoke", "unproven",
     ["retired_elsewhere"]),
    ("found by probing: where Anthropic runs it", [], {"basis": "probed"}, "aws", "retired", ["unproven"]),
    ("the operator's", [fact("vertex", "supported", "2026-07-01")], {"basis": "operator"}, "vertex",
     "retired", []),
    ("at one place only", [fact("vertex", "unknown", "2026-07-01", status="retired")],
     {"status": "active"}, "vertex", "retired", ["unproven"]),
    ("and elsewhere not", [fact("vertex", "unknown", "2026-07-01", status="retired")],
     {"status": "active"}, "anthropic", "unproven", []),
    ("accepted, and a source says that it does nothing", [],
     {"accepted": True, "header_effect": "ignored"}, "anthropic", "no_effect", ["unproven"]),
    ("accepted, and nobody says what it does", [], {"accepted": True}, "anthropic", "deprecated",
     ["unproven"]),
    ("refused comes first", [fact("vertex", "refused", "2026-07-01")], {}, "vertex", "refused",
     ["retired"]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "facts", "more", "where", "verdict", "codes"), RETIRED)
def test_where_a_retirement_holds(
    why: str,
    facts: list[PlaceFact],
    more: dict[str, Any],
    where: str,
    verdict: str,
    codes: list[str],
) -> None:
    """Each line says the verdict and all that is told beside it."""
    known: dict[str, Any] = {"status": "retired", "retired_on": date(2026, 6, 1)} | more
    found = judged(thing(*facts, **known), where)
    assert (found.verdict, [item.code for item in found.warnings]) == (verdict, codes), why


@pytest.mark.parametrize(
    ("sunset", "stale", "verdict"),
    [
        ("2026-11-01", True, "retired"),
        ("2026-11-01", False, "deprecated"),
        ("2026-12-01", True, "deprecated"),
    ],
)
def test_old_facts_drop_what_has_passed_its_sunset(sunset: str, stale: bool, verdict: str) -> None:
    """With fresh facts the snapshot decides (rule 7); an end may hold at one place only."""
    end = date.fromisoformat(sunset)
    here = thing(fact("vertex"), status="deprecated", sunset_on=end)
    stale_on = TODAY if stale else None
    assert judged(here, "vertex", stale_on=stale_on).verdict == verdict
    there = thing(fact("vertex", sunset_on=end), fact("anthropic"), status="deprecated")
    assert judged(there, "vertex", stale_on=stale_on).verdict == verdict
    assert judged(there, "anthropic", stale_on=stale_on).verdict == "deprecated"


def test_a_needless_one_that_some_models_refuse_can_go() -> None:
    """Without a model; with one its own verdict counts."""
    facts = fact("vertex", on="2026-05-01"), fact("vertex#claude-x-1", "refused", "2026-05-01")
    known = thing(*facts, status="ga")
    assert judged(known, "vertex").needless
    assert not judged(known, "vertex#claude-y-2").needless
    assert judged(known, "vertex#claude-x-1").verdict == "wrong_model"


INSTEAD: list[tuple[str, list[Beta], str | None, list[str]]] = [
    ("nothing is known of another", [], None, []),
    ("a proven one", [thing(fact("vertex"), name=Y)], Y, []),
    ("the newest proven one", [thing(fact("vertex"), name=Y), thing(fact("vertex"), name=Z)], Z, [Y]),
    ("a proven one before an unproven newer one", [thing(fact("vertex"), name=Y), thing(name=Z)], Y, [Z]),
    ("nothing without evidence or a statement", [thing(name=Y)], None, [Y]),
    ("never one that is refused", [thing(fact("vertex", "refused"), name=Y)], None, []),
    ("never one that is retired", [thing(name=Y, status="retired")], None, []),
    ("never one that needs a companion", [thing(fact("vertex"), name=Y, requires=(Link(Z),))], None, [Y]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "others", "instead", "listed"), INSTEAD)
def test_what_to_use_instead(
    why: str, others: list[Beta], instead: str | None, listed: list[str]
) -> None:
    """One is picked by evidence; the other live ones are listed."""
    found = judged(thing(fact("vertex", "refused")), "vertex", *others)
    assert (found.use_instead, [item.name for item in found.alternatives]) == (instead, listed), why


def test_a_stated_successor_is_taken_and_said_to_be_unproven() -> None:
    """Where nothing proves it; a refused one is never named."""
    dead = thing(fact("vertex", "refused"), superseded_by=Y)
    found = judged(dead, "vertex", thing(name=Y))
    assert found.use_instead == Y
    assert "replacement_unproven" in [item.code for item in found.warnings]
    assert judged(dead, "vertex", thing(fact("vertex", "refused"), name=Y)).use_instead is None


def test_a_feature_says_when_it_stands_for_another_version() -> None:
    """The stated one is dead here: the only live one is sent, and that is told."""
    new = thing(fact("vertex", "refused"), fact("anthropic"), name=Y, current=True)
    old = thing(fact("vertex"), fact("anthropic"))
    betas = {X: old, Y: new}
    here, home = Judge(betas, VERTEX).feature("thing"), Judge(betas, place("anthropic"))
    assert (here.names, [item.code for item in here.warnings]) == ((X,), ["other_version"])
    assert home.feature("thing").names == (Y,)


def test_a_feature_without_effect_sends_nothing() -> None:
    """A dead beta is current nowhere, also where its header is still taken."""
    dead = thing(status="retired", accepted=True, header_effect="ignored")
    assert Judge({X: dead}, VERTEX).beta(X).names == (X,)
    assert Judge({X: dead}, VERTEX).feature("thing").names == ()


def test_companions_and_conflicts() -> None:
    """The later of two that exclude each other; a companion may be among those sent."""
    one = thing(fact("vertex"), requires=(Link("mate-2026-01-01"),), conflicts_with=(Link("foe"),))
    foe = beta("foe")
    judge = Judge({X: one, "foe": foe}, VERTEX)
    pair = with_conflicts([judge.beta("foe"), judge.beta(X)], VERTEX)
    assert [item.verdict for item in pair] == ["ok", "conflict"]
    (alone,) = companions([judge.beta(X)], VERTEX)
    assert [item.code for item in alone.warnings] == ["companion_missing"]
    (paired,) = companions([judge.beta(X)], VERTEX, ["mate-2026-01-01"])
    assert paired.warnings == ()


PLACES = st.sampled_from(
    ["anthropic", "aws", "bedrock/invoke", "bedrock/mantle", "foundry", "foundry/azure", "vertex",
     "vertex@us-east5", "vertex#claude-x-1", "anthropic:files"]
)  # fmt: skip
FACTS = st.builds(
    fact,
    PLACES,
    st.sampled_from(STATES),
    st.sampled_from([None, "2026-01-01", "2026-06-06"]),
    basis=st.sampled_from(BASES),
    status=st.sampled_from([None, *STATUSES]),
)
BETAS = st.builds(
    thing,
    FACTS,
    FACTS,
    FACTS,
    status=st.sampled_from(STATUSES),
    accepted=st.sampled_from([None, True, False]),
    superseded_by=st.sampled_from([None, X, Y]),
    header_effect=st.sampled_from(["ignored", "unknown", "changes_response"]),
)


@given(BETAS, PLACES, BETAS)
def test_any_facts_give_one_verdict_and_its_reasons(subject: Beta, where: str, other: Beta) -> None:
    """The verdict is the first in order of all that holds, and nothing is told twice."""
    second = Beta(**{**{k: getattr(other, k) for k in other.__slots__}, "name": Y})
    found = judged(subject, where, second)
    codes = [item.code for item in found.warnings]
    told = [VERDICTS.index(code) for code in codes if code in VERDICTS]
    assert all(VERDICTS.index(found.verdict) < index for index in told)
    assert found.fails == (found.verdict in FAILS)
    assert found.detail.endswith((".", "?"))
    assert len(codes) == len(set(codes))
    if found.use_instead:
        instead = judged(second, where)
        assert not instead.fails


@given(BETAS, PLACES)
def test_facts_of_another_place_change_nothing(subject: Beta, where: str) -> None:
    """What is known of a place that this one is not in leaves its verdict as it is."""
    away = fact("google-cloud", "refused", "2026-09-09", basis="probed")
    more = Beta(**{**{k: getattr(subject, k) for k in subject.__slots__},
                   "places": (*subject.places, away)})  # fmt: skip
    assert judged(more, where).verdict == judged(subject, where).verdict


def test_whatever_words_came_with_a_usage_it_is_judged() -> None:
    """Words that are none count as not said; a name that nobody knows is unknown at once."""
    judges = Judges(snapshot(thing(fact("vertex"))), TODAY)
    assert judges(X, "vertex", "claude-x-1", api="invoke", region="\x00").verdict == "ok"
    assert judges(X, "azure").place.platform == "anthropic"
    assert judges(X, "bedrock").place == KNOWN_PLACES["bedrock-invoke"]
    assert judges("never-2020-01-01").verdict == "unknown"
    assert judges("two words").verdict == "malformed"


def test_a_model_that_a_source_names_is_not_told_as_unlisted() -> None:
    """The list of models tells what was announced; evidence for the very model says more."""
    known = thing(
        fact("bedrock", "supported", "2026-05-01"),
        fact("bedrock#claude-x-5", "supported", "2026-06-01"),
        models=("claude-x-1",),
    )
    assert (
        judged(known, "bedrock/invoke#anthropic.claude-x-5-v1:0").warning("model_not_listed")
        is None
    )
    assert judged(known, "bedrock/invoke#claude-x-4").warning("model_not_listed") is not None


def test_a_narrower_declaration_that_does_not_decide_is_a_dispute() -> None:
    """A page without a day does not outweigh a dated one; that they contradict is told all the same."""
    known = thing(
        fact("bedrock", "supported", "2026-05-01"),
        fact("bedrock/converse", "refused", None, url="https://docs.example/undated"),
    )
    found = judged(known, "bedrock/converse")
    assert found.verdict == "ok"
    told = found.warning("disputed").detail
    assert "refused on bedrock (converse) (declared, without a day)" in told
    assert judged(known, "bedrock/invoke").warning("disputed") is None
    narrow = thing(
        fact("bedrock", "supported", "2026-05-01"),
        fact("bedrock#claude-x-1", "refused", "2026-05-01"),
    )
    assert judged(narrow, "bedrock/invoke#claude-x-1").warning("disputed") is None


def test_a_feature_whose_current_version_is_refused_obeys_the_one_replacement() -> None:
    """Without evidence for another version none is picked: the refusal is told, and what else there is."""
    stated = thing(fact("foundry/azure", "refused", "2026-05-01"), current=True)
    unproven = thing(name=Y, requires=(Link(beta="companion-2026-01-01"),))
    betas = {one.name: one for one in (stated, unproven)}
    found = Judge(betas, place("foundry/azure")).feature("thing")
    assert (found.name, found.verdict, found.use_instead) == (X, "refused", None)
    assert [one.name for one in found.alternatives] == [Y]
    assert Judge(betas, place("foundry/azure")).current(betas.values()) is None
    proven = thing(fact("foundry/azure", "supported", "2026-05-01"), name=Y)
    betas = {one.name: one for one in (stated, proven)}
    found = Judge(betas, place("foundry/azure")).feature("thing")
    assert (found.name, found.verdict) == (Y, "ok")
    assert found.warning("other_version") is not None


def test_no_replacement_for_other_models() -> None:
    """computer-use: the newer tool is announced for other models than the older one."""
    here = "vertex#claude-x-1"
    old = thing(fact("vertex"), superseded_by=Y, models=("claude-x-1",))
    new = thing(fact("vertex"), name=Y, models=("claude-x-2",))
    found = judged(old, here, new)
    assert (found.verdict, found.use_instead) == ("ok", None)
    assert [one.name for one in found.alternatives] == [Y]
    assert judged(old, "vertex#claude-x-2", new).use_instead == Y
    unlisted = thing(fact("vertex"), superseded_by=Y)
    found = judged(unlisted, here, new)
    assert found.use_instead == Y
    assert found.warning("replacement_unproven") is not None
