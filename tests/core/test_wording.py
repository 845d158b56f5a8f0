"""What events say: every type, with and without what is known, whatever text comes from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.facts import EVENT_TYPES, Beta, Event
from registry.core.judgement import Judgement
from registry.core.wording import headline, judged, plain, sentence, severity, tell
from tests.factories import NOW, beta, snapshot

X, Y = "thing-2026-01-01", "thing-2026-05-05"
DEAD = beta(X, "retired", state="refused", accepted=False, superseded_by=Y)


def event(type: Any, **more: Any) -> Event:
    """An event as of this morning."""
    facts = {"beta": X, "feature": "thing", "reason": "Somebody said so.", "source": "docs"} | more
    return Event(type=type, at=NOW.replace(hour=2, minute=41), **facts)


def on_bedrock(before: str, after: str, **more: Any) -> Event:
    """A turn on bedrock, found by a target."""
    pending = {"kind": after, "count": 2, "of": 3, "since": "2026-11-23T02:20:00Z"}
    facts: dict[str, Any] = {
        "platform": "bedrock",
        "target": "ours",
        "source": "target:ours",
        "effective_on": date(2026, 11, 23),
        "before": {"platforms": {"bedrock": {"state": before, "pending": pending}}},
        "after": {"platforms": {"bedrock": {"state": after, "pending": None}}},
    }
    return event(f"beta.{after}", **(facts | more))


def said(known: Beta | None, made: Event | None = None) -> Judgement | None:
    """What holds of a beta where an event happened."""
    known_to = snapshot(known, beta(Y)) if known is not None else None
    return judged(made or on_bedrock("supported", "refused"), known_to)


def check_grammar(text: str) -> None:
    """One line of sentences: a capital first, a stop last, nothing missing between."""
    assert text == " ".join(text.split())
    assert re.match(r"[A-Z`0-9\W]", text), text
    assert text[-1] in ".!?…", text
    assert not re.search(r"\bNone\b|\.\.| [.,:;]|: \.|\(\)|``|\{|\}", text), text


def test_the_title_of_the_contract() -> None:
    """Word for word."""
    told = headline(on_bedrock("supported", "refused"), said(beta(X)), services=3, instead=Y)
    assert told == f"`{X}` refused on bedrock since 02:41 UTC: 3 services fail. Replace by `{Y}`."


def test_a_sentence_says_what_since_when_how_we_know_what_instead_and_who() -> None:
    """All five, each in its place."""
    found = on_bedrock("supported", "refused", services=1, url="https://example.com/log")
    assert sentence(found, said(beta(X)), instead=Y) == (
        f"`{X}` has been refused on bedrock since 2026-11-23 02:41 UTC; it was supported before. "
        "Source: probing with target `ours`, after 3 answers alike in a row "
        f"(https://example.com/log). Use instead: `{Y}`. Affected: 1 service."
    )


@pytest.mark.parametrize(
    ("type", "more", "known", "title"),
    [
        ("beta.retired", {}, beta(X, "retired"), f"`{X}` retired since 02:41 UTC. Remove it."),
        ("beta.retired", {"services": 2, "effective_on": date(2026, 11, 1)},
         beta(X, "retired", accepted=True),
         f"`{X}` retired since 2026-11-01, accepted without effect: 2 services use it."),
        ("beta.deprecated", {"services": 1}, beta(X, "deprecated", sunset_on=date(2027, 2, 1)),
         f"`{X}` deprecated since 02:41 UTC, and ends on 2027-02-01: 1 service uses it."),
        ("beta.deprecated", {"effective_on": date(2026, 12, 1)}, None,
         f"`{X}` deprecated from 2026-12-01 on, with no end announced yet."),
        ("beta.ga", {}, beta(X, "ga", header_effect="ignored"),
         f"`{X}` generally available since 02:41 UTC. Remove the header: it does nothing any more."),
        ("beta.sunset_approaching", {"after": {"sunset_on": "2026-12-03", "days": 30}}, None,
         f"`{X}` ends in 10 days, on 2026-12-03."),
        ("beta.sunset_approaching", {"after": {"sunset_on": "2026-11-24", "days": 1}}, None,
         f"`{X}` ends tomorrow, on 2026-11-24."),
        ("beta.changed", {"after": {"sunset_on": None}}, None, f"`{X}` no longer has an end date."),
        ("beta.changed", {"after": {"body_fields": ["a"]}}, None, f"`{X}` changed: body fields."),
        ("feature.current_changed", {"before": {"current": X}, "after": {"current": None}}, None,
         f"The current beta of `thing` is no longer known; before it was `{X}`."),
        ("source.failed", {"beta": None}, None, "The source docs has failed since 02:41 UTC."),
    ],
)  # fmt: skip
def test_titles(type: Any, more: dict[str, Any], known: Beta | None, title: str) -> None:
    """One line each; the rest is left out where nothing is known."""
    made = event(type, **more)
    assert headline(made, said(known, made)) == title


@pytest.mark.parametrize("type", EVENT_TYPES)
@pytest.mark.parametrize("known", [None, DEAD, beta(X, gate="org", sunset_on=date(2027, 2, 1))])
def test_every_type_is_told_with_whatever_is_known(type: Any, known: Beta | None) -> None:
    """No type yields an empty or broken sentence; a bare event does not either."""
    bare = Event(type=type, at=NOW, reason="", source="")
    full = event(
        type, services=3, url="https://example.com", platform="vertex", target="ours",
        after={"sunset_on": "2026-12-01", "days": 30, "current": Y, "status": "active"},
    )  # fmt: skip
    for made in (bare, full, replace(full, after=["odd"], before="odd", effective_on=NOW.date())):
        holds = said(known, made)
        check_grammar(headline(made, holds))
        check_grammar(sentence(made, holds))
        assert severity(made, holds) in ("critical", "warning", "info")


_HOSTILE = st.text(st.characters(codec="utf-16", exclude_categories=[]), max_size=60)


@given(type=st.sampled_from(EVENT_TYPES), text=_HOSTILE, day=st.none() | st.dates())
def test_hostile_text_stays_on_one_line(type: Any, text: str, day: date | None) -> None:
    """No control, no mark of direction, no line break reaches a title or a sentence."""
    made = event(
        type, beta=text or None, reason=text, source=text, url=text, platform=text, target=text,
        feature=text, effective_on=day, after={"sunset_on": text, "status": text, "current": text},
    )  # fmt: skip
    for told in (headline(made, None), sentence(made, None)):
        assert told
        assert told == plain(told)


def test_marks_of_direction_and_controls_are_taken_out() -> None:
    """A name cannot be written backwards, nor a line broken."""
    assert plain("a\u202eb\u200fc\x00\nd\u2028e\ud800\ufffe") == "abc d e"
    told = headline(event("beta.retired", beta="<b>`x`\n# y"), None)
    assert told == "`<b>'x' # y` retired since 02:41 UTC. Remove it."


@pytest.mark.parametrize(
    ("made", "known", "level"),
    [
        (event("beta.retired"), DEAD, "critical"),
        (event("beta.retired", after={"accepted": True}), DEAD, "warning"),
        (event("beta.retired", backfill=True), DEAD, "info"),
        (event("beta.retired"), None, "critical"),
        (on_bedrock("supported", "refused"), beta(X), "critical"),
        (on_bedrock("supported", "refused"), beta(X, gate="org"), "critical"),
        (on_bedrock("unknown", "refused"), beta(X, gate="internal"), "info"),
        (on_bedrock("supported", "restricted"), beta(X), "warning"),
        (event("usage.refusing"), None, "critical"),
        (event("usage.at_risk"), DEAD, "critical"),
        (event("usage.at_risk"), beta(X, "retired", accepted=True), "warning"),
        (event("usage.at_risk"), beta(X, "deprecated"), "warning"),
        (event("usage.at_risk", platform="bedrock"), beta(X, state="refused"), "critical"),
        (event("usage.at_risk"), None, "warning"),
        (event("beta.sunset_approaching"), None, "warning"),
        (event("beta.delisted"), beta(X), "warning"),
        (event("beta.delisted"), DEAD, "info"),
        (event("beta.changed", after={"sunset_on": "2027-01-01"}), beta(X), "warning"),
        (event("beta.changed", after={"summary": "x"}), beta(X), "info"),
        (event("target.blind"), None, "warning"),
        (event("beta.ga"), beta(X, "ga"), "info"),
    ],
)  # fmt: skip
def test_severity(made: Event, known: Beta | None, level: str) -> None:
    """Critical is what fails now, a warning what is dated or may break."""
    assert severity(made, said(known, made)) == level


def test_what_to_use_instead_is_looked_up() -> None:
    """A stated successor, the end of its chain, else the feature's current beta; never itself."""
    z = "thing-2026-09-09"
    retired = event("beta.retired")
    chain = snapshot(
        beta(X, "retired", superseded_by=Y), beta(Y, "retired", superseded_by=z), beta(z)
    )
    assert tell(retired, chain).instead == z
    assert tell(retired, snapshot(beta(X, "retired"), beta(Y))).instead == Y
    assert tell(retired, snapshot(beta(X, "retired"))).instead is None
    assert tell(event("beta.refused", platform="bedrock"), snapshot(beta(X))).instead is None
    assert tell(event("beta.discovered"), chain).instead is None
    assert tell(retired, None).title == f"`{X}` retired since 02:41 UTC. Remove it."
