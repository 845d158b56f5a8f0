"""The lifecycle of a beta at a target: the table, and what no sequence of observations can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.lifecycle import (
    TABLE,
    Observed,
    Standing,
    Thresholds,
    advance,
    is_mass_change,
    pending,
    platform_state,
    retirement,
    would_turn,
)
from tests.factories import NOW

SHORT: dict[str, Observed] = {
    "a": "accepted", "r": "refused", "s": "restricted", "m": "model_unsupported",
    "-": "inconclusive", "x": "mixed",
}  # fmt: skip
LONG = Thresholds(refusals_to_confirm=3, acceptances_to_recover=2)


def live(verdicts: str, standing: Standing | None = None) -> list[str]:
    """Return the states after each verdict."""
    standing = standing or Standing()
    states: list[str] = []
    for day, letter in enumerate(verdicts):
        standing, _ = advance(standing, SHORT[letter], LONG, NOW + timedelta(days=day))
        states.append(standing.state)
    return states


@pytest.mark.parametrize(
    ("verdicts", "states"),
    [
        ("a", "supported"),
        ("r", "refused"),
        ("s", "restricted"),
        ("-", "unknown"),
        ("arr", "supported"),
        ("arrr", "refused"),
        ("arrarr", "supported"),
        ("arrarrr", "supported"),
        ("arrarrrrrrr", "supported"),
        ("arrarrrrrrrr", "refused"),
        ("arraaaaarrr", "supported"),
        ("arraaaaaarrr", "refused"),
        ("axrrr", "supported"),
        ("axrrrrrrrr", "refused"),
        ("arrx", "supported"),
        ("x", "unknown"),
        ("xa", "supported"),
        ("xrrrrrrr", "unknown"),
        ("xrrrrrrrr", "refused"),
        ("arrrx", "refused"),
        ("arrrxaa", "supported"),
        ("arrraarrr", "supported"),
        ("ar-r-r", "refused"),
        ("arrs", "supported"),
        ("arrsss", "restricted"),
        ("ra", "refused"),
        ("raa", "supported"),
        ("rara", "refused"),
        ("ra-a", "supported"),
        ("sr", "restricted"),
        ("saa", "supported"),
        ("ammm", "refused"),
    ],
)
def test_what_it_takes_to_turn(verdicts: str, states: str) -> None:
    """Consecutive conclusive sweeps; inconclusive ones do not interrupt."""
    assert live(verdicts)[-1] == states


def day(number: int) -> datetime:
    """The moment of one verdict of a row."""
    return NOW + timedelta(days=number)


@pytest.mark.parametrize(
    ("verdicts", "known"),
    [
        ("a", {"state": "supported", "since": 0, "accepted_at": 0}),
        ("ar", {"state": "supported", "since": 0, "accepted_at": 0, "toward": "refused", "count": 1,
                "of": 3, "count_since": 1}),
        ("arr", {"state": "supported", "since": 0, "accepted_at": 0, "toward": "refused", "count": 2,
                 "of": 3, "count_since": 1}),
        ("arrr", {"state": "refused", "since": 3, "accepted_at": 0}),
        ("m", {"state": "refused", "since": 0, "model_bound": True}),
        ("ammm", {"state": "refused", "since": 3, "accepted_at": 0, "model_bound": True}),
        ("mr", {"state": "refused", "since": 0}),
        ("ra", {"state": "refused", "since": 0, "accepted_at": 1, "toward": "supported", "count": 1,
                "of": 2, "count_since": 1, "mixed_since": 1}),
        ("raa", {"state": "supported", "since": 2, "accepted_at": 2, "mixed_since": 1, "of": 8}),
        ("raar", {"state": "supported", "since": 2, "accepted_at": 2, "mixed_since": 1,
                  "toward": "refused", "count": 1, "of": 8, "count_since": 3}),
        ("ax", {"state": "supported", "since": 0, "accepted_at": 1, "mixed_since": 1, "of": 8}),
        ("axa", {"state": "supported", "since": 0, "accepted_at": 2, "mixed_since": 1, "of": 8, "calm": 1}),
        ("axaaaa", {"state": "supported", "since": 0, "accepted_at": 5, "mixed_since": 1, "of": 8,
                    "calm": 4}),
        ("axaaaaa", {"state": "supported", "since": 0, "accepted_at": 6}),
        ("ara", {"state": "supported", "since": 0, "accepted_at": 2, "mixed_since": 2, "of": 8}),
        ("araar", {"state": "supported", "since": 0, "accepted_at": 3, "mixed_since": 2, "calm": 1,
                   "toward": "refused", "count": 1, "of": 8, "count_since": 4}),
        ("araax", {"state": "supported", "since": 0, "accepted_at": 4, "mixed_since": 2, "of": 8}),
        ("araarrrrrrrr", {"state": "refused", "since": 11, "accepted_at": 3}),
        ("x", {"accepted_at": 0, "mixed_since": 0, "of": 8}),
        ("xr", {"accepted_at": 0, "mixed_since": 0, "toward": "refused", "count": 1, "of": 8,
                "count_since": 1}),
        ("sss", {"state": "restricted", "since": 0}),
    ],
)  # fmt: skip
def test_all_that_is_kept_of_a_row_of_verdicts(verdicts: str, known: dict[str, Any]) -> None:
    """Days stand for moments; whatever is not named is as in a new standing."""
    standing = Standing()
    for number, letter in enumerate(verdicts):
        before = standing.state
        standing, turned = advance(standing, SHORT[letter], LONG, day(number))
        assert turned is (standing.state != before)
    moments = {"since", "accepted_at", "count_since", "mixed_since"}
    given = {key: day(value) if key in moments else value for key, value in known.items()}
    assert standing == Standing(checked_at=day(len(verdicts) - 1), **given)


def test_what_is_left_of_a_standing() -> None:
    """Of another identity: the state alone; without its run: all but the run."""
    full = Standing(
        state="supported", since=day(0), toward="refused", count=2, of=8, count_since=day(2),
        accepted_at=day(1), checked_at=day(3), mixed_since=day(1), calm=3, excused=True,
    )  # fmt: skip
    kept = Standing(state="supported", since=day(0), checked_at=day(3))
    assert full.reset() == replace(kept, stale=True)
    assert full.settled() == replace(
        kept, accepted_at=day(1), mixed_since=day(1), calm=3, excused=True
    )
    calm = replace(kept, mixed_since=day(1), calm=4)
    assert (calm.calmer(), replace(kept, calm=2).calmer()) == (kept, kept)
    assert calm.contradicted(day(9)) == replace(kept, mixed_since=day(1))


@pytest.mark.parametrize(
    ("state", "turning"),
    [("unknown", "arsmx"), ("supported", "rsmx"), ("refused", "asx"), ("restricted", "armx")],
)
def test_what_speaks_against_a_state(state: Any, turning: str) -> None:
    """What agrees with it, and what says nothing, needs no second look at the controls."""
    found = [letter for letter in "arsmx-" if would_turn(Standing(state=state), SHORT[letter])]
    assert "".join(found) == turning


def test_every_transition_is_in_the_table() -> None:
    """States times what can be spoken for."""
    states = ("unknown", "supported", "refused", "restricted")
    assert set(TABLE) == {(now, to) for now in states for to in states[1:]}


@given(st.text("ars-m", max_size=40))
def test_inconclusive_observations_change_nothing(verdicts: str) -> None:
    """With or without them, everything else is the same."""
    told = [letter for letter in verdicts if letter != "-"]
    standing, without = Standing(), Standing()
    for letter in verdicts:
        standing, _ = advance(standing, SHORT[letter], LONG, NOW)
    for letter in told:
        without, _ = advance(without, SHORT[letter], LONG, NOW)
    assert standing == without


@given(st.text("ars-m", max_size=60))
def test_no_state_turns_below_its_threshold(verdicts: str) -> None:
    """The verdicts before a turn all speak for the new state."""
    standing, run = Standing(), 0
    speaks = {"a": "supported", "r": "refused", "m": "refused", "s": "restricted"}
    last = ""
    for letter in verdicts:
        before = standing
        if letter != "-":
            run = run + 1 if speaks[letter] == last != "" else 1
            last = speaks[letter]
        standing, turned = advance(standing, SHORT[letter], LONG, NOW)
        assert turned == (standing.state != before.state)
        assert turned <= would_turn(before, SHORT[letter])
        if turned and before.state != "unknown":
            need = 2 if standing.state == "supported" else 3
            assert run >= need
        shown = pending(standing)
        assert shown is None or shown["count"] < shown["of"]  # type: ignore[operator]
        assert shown is None or shown["kind"] == "mixed" or shown["count"]


def test_a_run_is_pending() -> None:
    """It says what it speaks for, how far it is, and since when."""
    standing, _ = advance(Standing(), "accepted", LONG, day(0))
    assert pending(standing) is None
    standing, _ = advance(standing, "refused", LONG, day(1))
    assert pending(standing) == {"kind": "refused", "count": 1, "of": 3, "since": day(1)}
    back, _ = advance(Standing(state="refused", since=day(0)), "accepted", LONG, day(2))
    assert pending(back) == {"kind": "supported", "count": 1, "of": 2, "since": day(2)}


def test_another_identity_proves_nothing_from_before() -> None:
    """The state is still shown; it turns by the same thresholds, and nothing was accepted before."""
    standing, _ = advance(Standing(), "accepted", LONG, NOW)
    fresh = standing.reset()
    assert (fresh.state, fresh.stale, fresh.accepted_at) == ("supported", True, None)
    after = fresh
    for turns in (False, False, True):
        assert (after.state, after.stale) == ("supported", True)
        after, turned = advance(after, "refused", LONG, NOW)
        assert turned is turns
    assert (after.state, after.stale) == ("refused", False)
    assert retirement("public", (), [after]) is None
    again, turned = advance(fresh, "accepted", LONG, NOW)
    assert (again.stale, turned, again.accepted_at) == (False, False, NOW)


def test_since_is_when_the_state_began() -> None:
    """Neither a run that comes to nothing nor an answer that agrees moves it; a turn does."""
    days = [NOW + timedelta(days=day) for day in range(8)]
    standing, turned = advance(Standing(), "accepted", LONG, days[0])
    assert (standing.since, turned) == (days[0], True)
    for day, verdict in enumerate(("accepted", "refused", "accepted"), start=1):
        standing, turned = advance(standing, verdict, LONG, days[day])  # type: ignore[arg-type]
        assert (standing.since, standing.checked_at, turned) == (days[0], days[day], False)
    standing = Standing(state="supported", since=days[0], accepted_at=days[0])
    for day, turns in ((4, False), (5, False), (6, True)):
        standing, turned = advance(standing, "refused", LONG, days[day])
        assert (turned, standing.since) == (turns, days[6] if turns else days[0])
        assert standing.count_since == (None if turns else days[4])
    same, turned = advance(standing, "refused", LONG, days[7])
    assert (same.since, same.checked_at, turned) == (days[6], days[7], False)
    bound, turned = advance(standing, "model_unsupported", LONG, days[7])
    assert (bound.model_bound, turned, bound.state) == (True, False, "refused")


def test_what_an_operator_excused_moves_nothing_until_it_is_accepted() -> None:
    """`--new-baseline`: this key or plan does not have it, and that is no news."""
    excused = replace(Standing(state="supported").reset(), excused=True)
    for verdict in ("refused", "restricted", "model_unsupported"):
        assert advance(excused, verdict, LONG, NOW) == (excused, False)
        assert not would_turn(excused, verdict)
    assert not is_mass_change([excused] * 60, ["refused"] * 60)
    back, turned = advance(excused, "accepted", LONG, NOW)
    assert (back.excused, back.stale, turned) == (False, False, False)


def test_mixed_answers_are_shown() -> None:
    """From the first contradiction until five sweeps agree."""
    standing, _ = advance(Standing(), "accepted", LONG, NOW)
    standing, _ = advance(standing, "mixed", LONG, NOW)
    assert pending(standing) == {"kind": "mixed", "count": 0, "of": 8, "since": NOW}
    later = NOW + timedelta(hours=1)
    standing, _ = advance(standing, "refused", LONG, later)
    assert pending(standing) == {"kind": "mixed", "count": 1, "of": 8, "since": NOW}
    for _ in range(6):
        assert pending(standing)
        standing, _ = advance(standing, "accepted", LONG, later)
    assert pending(standing) is None


def standing(state: Any = "refused", **more: Any) -> Standing:
    """A standing that had accepted before."""
    return replace(
        Standing(target="t", platform="anthropic", model="m", endpoint="count_tokens", state=state,
                 accepted_at=NOW, checked_at=NOW),
        **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "endpoints", "standings", "dead"),
    [
        ("public", (), [standing()], True),
        ("unknown", ("messages",), [standing()], True),
        ("public", ("files",), [standing()], False),
        ("public", ("files",), [standing(endpoint="files")], True),
        ("org", (), [standing()], False),
        ("internal", (), [standing()], False),
        ("public", (), [standing(accepted_at=None)], False),
        ("public", (), [standing(platform="bedrock")], False),
        ("public", (), [standing(platform="google-cloud")], True),
        ("public", (), [standing(model_bound=True)], False),
        ("public", (), [standing(stale=True)], False),
        ("public", (), [standing("restricted")], False),
        ("public", (), [standing(), standing("supported", target="u")], False),
        ("public", (), [standing(), standing(target="u")], True),
        ("public", (), [standing(), standing("supported", platform="vertex")], True),
        ("public", (), [], False),
        ("public", ("messages",), [standing(endpoint="models")], False),
        ("public", ("messages",), [standing(endpoint="count_tokens")], True),
        ("public", ("count_tokens",), [standing(endpoint="messages")], False),
    ],
)  # fmt: skip
def test_when_a_refusal_is_a_retirement(
    gate: str, endpoints: tuple[str, ...], standings: list[Standing], dead: bool
) -> None:
    """Rule 4: accepted before, refused now, everywhere that Anthropic runs the API."""
    assert (retirement(gate, endpoints, standings) is not None) is dead


def test_what_several_targets_say_of_a_platform() -> None:
    """A reliable acceptance wins, else the newest conclusive word."""
    old, new = NOW, NOW + timedelta(days=1)
    yes = standing("supported", target="a", checked_at=old)
    no = standing("refused", target="b", checked_at=new)
    assert platform_state([yes, no]) == yes
    assert platform_state([replace(yes, reliable=False), no]) == no
    assert platform_state([standing("unknown")]) is None
    first = standing("refused", target="z", checked_at=old)
    assert platform_state([first, no]) == platform_state([no, first]) == no
    never = standing("refused", target="z", checked_at=None)
    assert platform_state([never, no]) == no
    assert platform_state([never]) == never
    strict = standing("refused", platform="vertex", endpoint="count_tokens")
    assert platform_state([strict]) is None
    assert platform_state([replace(strict, endpoint="messages")]) is not None


@pytest.mark.parametrize(
    ("held", "turning", "mass"),
    [(60, 15, False), (60, 16, True), (8, 5, False), (8, 6, True), (4, 4, False), (0, 0, False)],
)
def test_a_mass_change_is_more_than_five_and_a_quarter(held: int, turning: int, mass: bool) -> None:
    """Those that were not accepted before do not count; stale ones do."""
    standings = [standing("supported", stale=True)] * held + [standing("refused")] * 50
    more: list[Observed] = ["refused"] * 50
    verdicts: list[Observed] = ["refused"] * turning
    verdicts += ["accepted"] * (held - turning)
    assert is_mass_change(standings, [*verdicts, *more]) is mass


def test_each_standing_has_its_verdict() -> None:
    """A verdict too few would hide a turn."""
    with pytest.raises(ValueError, match="shorter"):
        is_mass_change([standing("supported")] * 2, ["refused"])
