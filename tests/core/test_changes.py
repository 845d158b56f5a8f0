"""The rules of evidence: claims in, what is known and what changed out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.changes import Derived, derive_feature, diff
from registry.core.claims import is_no_beta
from registry.core.facts import UNDATED, Beta, Claim, Event, to_json
from registry.core.lifecycle import Standing
from registry.core.places import Place
from tests.factories import NOW, claim

X = "thing-2026-01-01"
Y = "thing-2026-05-05"


def derived(*claims: Claim, now: datetime = NOW) -> Derived:
    """Derive the beta X from claims about it."""
    return derive_feature({X: claims}, now, {X: NOW})[X]


def known(*claims: Claim, now: datetime = NOW) -> Beta:
    """Return what is known of X."""
    return derived(*claims, now=now).beta


def says(status: str, on: str, source: str = "catalog", **more: Any) -> Claim:
    """A source states a status on a day."""
    return claim(X, "status", status, on=on, source=source, **more)


def listed(on: str, value: bool = True, version: str = "1.0.0") -> Claim:
    """The SDK holds the name, or its newest list does not."""
    return claim(X, "listed", value, on=on, source="sdk", basis="sdk", version=version)


STATUS_CASES: list[tuple[str, list[Claim], str, str]] = [
    ("nothing is known", [], "unverified", "inferred"),
    ("the SDK lists it", [listed("2026-01-01")], "active", "sdk"),
    ("the SDK's newest list lost it", [listed("2026-01-01"), listed("2026-02-01", False)],
     "unverified", "sdk"),
    ("a declared status", [says("ga", "2026-03-01")], "ga", "declared"),
    ("of two declared, the newer", [says("active", "2026-01-01"), says("retired", "2026-02-01", "docs")],
     "retired", "declared"),
    ("of the same day, the release notes",
     [says("active", "2026-02-01"), says("ga", "2026-02-01", "release-notes")], "ga", "declared"),
    ("a claim of the future waits", [says("retired", "2027-01-01"), says("active", "2026-01-01")],
     "active", "declared"),
    ("low confidence proves nothing", [says("active", "2026-01-01", confidence="low")],
     "unverified", "declared"),
    ("LiteLLM proves no status",
     [claim(X, "platforms.anthropic.state", "supported", source="litellm", basis="litellm")],
     "unverified", "litellm"),
    ("the operator outweighs a newer claim",
     [says("deprecated", "2026-01-01", "operator", basis="operator"), says("ga", "2026-06-01")],
     "deprecated", "operator"),
    ("a retirement found by probing outweighs what is declared",
     [says("retired", "2026-05-01", "probe", basis="probed"), says("active", "2026-06-01")],
     "retired", "probed"),
    ("an SDK deprecation counts among the declared",
     [says("active", "2026-01-01"), says("deprecated", "2026-02-01", "sdk", basis="sdk")],
     "deprecated", "sdk"),
    ("an SDK deprecation of a ga beta changes nothing",
     [says("ga", "2026-01-01"), says("deprecated", "2026-02-01", "sdk", basis="sdk")], "ga", "declared"),
    ("accepted by a target",
     [claim(X, "platforms.anthropic.state", "supported", source="probe", basis="probed")],
     "active", "probed"),
    ("an announced end makes it deprecated",
     [says("active", "2026-01-01"), claim(X, "sunset_on", "2027-01-31")], "deprecated", "declared"),
    ("an end that has passed retires it",
     [says("active", "2026-01-01"), claim(X, "sunset_on", "2026-11-22")], "retired", "declared"),
]  # fmt: skip


@pytest.mark.parametrize(("_why", "claims", "status", "basis"), STATUS_CASES)
def test_the_first_rule_that_applies_gives_the_status(
    _why: str, claims: list[Claim], status: str, basis: str
) -> None:
    """Each line is one rule of evidence, and holds in any order of the claims."""
    for order in (claims, claims[::-1]):
        beta = known(*order)
        assert (beta.status, beta.basis) == (status, basis)


def test_an_sdk_deprecation_of_a_ga_beta_sets_only_its_day() -> None:
    """`deprecated_on` tells it; the status stays."""
    beta = known(says("ga", "2026-01-01"), says("deprecated", "2026-02-01", "sdk", basis="sdk"))
    assert (beta.status, beta.deprecated_on) == ("ga", date(2026, 2, 1))


def test_the_day_of_the_end_itself_still_works() -> None:
    """`sunset_on` has passed on the day after it."""
    end = claim(X, "sunset_on", "2026-11-23")
    assert known(says("active", "2026-01-01"), end).status == "deprecated"
    day_after = datetime(2026, 11, 24, 0, 1, tzinfo=UTC)
    assert known(says("active", "2026-01-01"), end, now=day_after).status == "retired"


def test_a_retirement_is_never_in_the_future() -> None:
    """A day to come is a sunset, not a retirement."""
    assert known(says("ga", "2026-01-01"), claim(X, "retired_on", "2027-01-01")).retired_on is None


def test_a_word_that_expires_no_longer_counts() -> None:
    """`until` ends the operator's word by itself."""
    word = says(
        "retired", "2026-01-01", "operator", basis="operator", until=NOW + timedelta(days=1)
    )
    assert known(word, says("active", "2026-01-01")).status == "retired"
    later = NOW + timedelta(days=2)
    assert known(word, says("active", "2026-01-01"), now=later).status == "active"


@pytest.mark.parametrize(
    ("day", "status", "disputed", "accepted"),
    [("2026-11-20", "retired", False, None), ("2026-11-22", "deprecated", True, True)],
)
def test_what_was_accepted_before_an_end_does_not_speak_against_it(
    day: str, status: str, disputed: bool, accepted: bool | None
) -> None:
    """Past its sunset it is retired; disputed only where a target accepted it since."""
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    standing = Standing(target="t", state="supported", accepted_at=at, checked_at=at)
    made = [says("active", "2026-01-01"), claim(X, "sunset_on", "2026-11-21")]
    found = derive_feature({X: made}, NOW, {X: NOW}, {X: [standing]})[X].beta
    assert (found.status, bool(found.disputed), found.accepted) == (status, disputed, accepted)


def test_restored_is_told_for_the_day_on_which_it_happens() -> None:
    """Whatever the status before was, and whenever that began."""
    for before in ("active", "ga", "deprecated"):
        dead = says("retired", "2026-11-20", "target:t", basis="probed")
        then = derived(says(before, "2026-01-01"), dead)
        now = derived(says(before, "2026-01-01"))
        kinds = {event.type: event for event in diff(then.beta, now, NOW, backfill=False)}
        assert kinds["beta.restored"].effective_on == NOW.date()


def test_another_target_that_says_the_same_is_no_event() -> None:
    """Who was asked last is no change of what is known."""
    made = [says("active", "2026-01-01")]
    one, two = (
        derive_feature({X: made}, NOW, {X: NOW}, {
            X: [Standing(target=name, platform="bedrock", state="supported", checked_at=NOW)]
        })[X]
        for name in ("a", "b")
    )  # fmt: skip
    assert one.beta.platforms["bedrock"].target != two.beta.platforms["bedrock"].target
    assert diff(one.beta, two, NOW, backfill=False) == []


def test_sources_that_contradict_each_other_are_disputed() -> None:
    """In beta today and ga earlier by another source cannot both be right; lagging behind can."""
    assert known(says("ga", "2026-01-01", "docs"), says("active", "2026-06-01")).disputed
    assert known(says("active", "2026-01-01", "docs"), says("ga", "2026-06-01")).disputed is None


def test_nothing_is_inherited_as_support() -> None:
    """Where a place has no evidence of its own, nothing is known of it."""
    beta = known(
        claim(X, "platforms.anthropic.state", "supported"),
        claim(X, "platforms.aws.state", "refused"),
    )
    states = {name: (state.state, state.basis) for name, state in beta.platforms.items()}
    assert states == {
        "anthropic": ("supported", "declared"),
        "aws": ("refused", "declared"),
        **dict.fromkeys(("google-cloud", "bedrock", "vertex", "foundry"), ("unknown", "inferred")),
    }
    assert [str(fact.place) for fact in beta.places] == ["anthropic", "aws"]


def test_litellm_holding_a_name_back_is_no_refusal() -> None:
    """Its null is caution, not evidence against the platform; its renames are taken."""
    shared: Any = {"source": "litellm", "basis": "litellm"}
    beta = known(
        claim(X, "platforms.vertex.state", "refused", **shared),
        claim(X, "platforms.bedrock.state", "supported", **shared),
        claim(X, "platforms.bedrock.names", ["other-2026-01-01"], **shared),
    )
    assert beta.platforms["vertex"].state == "unknown"
    assert beta.platforms["bedrock"].names == ("other-2026-01-01",)


def test_first_and_last_seen_follow_time_and_not_versions() -> None:
    """A maintenance release of an old line can be the last that held a name."""
    beta = known(listed("2026-05-01", version="0.9.9"), listed("2026-01-01", version="2.0.0"))
    assert beta.first_seen
    assert beta.last_seen
    assert (beta.first_seen.version, beta.last_seen.version) == ("2.0.0", "0.9.9")


def test_the_announcement_is_dated_by_the_first_who_tells() -> None:
    """Later mentions do not move it."""
    early = claim(X, "announced_on", "2026-01-05", on="2026-01-05")
    late = claim(X, "announced_on", "2026-03-05", on="2026-03-05", source="release-notes")
    assert known(early, late).announced_on == known(late, early).announced_on == date(2026, 1, 5)


def test_a_feature_has_one_stated_current_and_knows_what_is_newer() -> None:
    """Of two that are stated, the stronger and newer counts."""
    found = derive_feature(
        {
            X: [claim(X, "current", True), says("active", "2026-01-01")],
            Y: [claim(Y, "current", True, source="operator", basis="operator")],
        },
        NOW,
        {},
    )
    assert (found[X].beta.current, found[Y].beta.current) == (False, True)
    assert (found[X].beta.newer, found[Y].beta.newer) == ((Y,), ())


def test_a_retired_beta_is_supported_nowhere_by_older_words() -> None:
    """Unless it is still accepted."""
    home = claim(X, "platforms.anthropic.state", "supported")
    dead = known(says("retired", "2026-06-01"), home, claim(X, "accepted", False))
    assert dead.platforms["anthropic"].state == "refused"
    kept = known(says("retired", "2026-06-01"), home, claim(X, "accepted", True))
    assert kept.platforms["anthropic"].state == "supported"


# --- Places ---------------------------------------------------------------------------------------

CONVERSE = Place(platform="bedrock", api="converse")
OPUS = Place(platform="vertex", model="claude-opus-4-7")


def state(value: str, on: str = "2026-01-01", basis: Any = "declared", **more: Any) -> Claim:
    """Somebody says of a state on Bedrock's converse, unless another place is named."""
    made: dict[str, Any] = {"place": CONVERSE, "source": "catalog"} | more
    return claim(X, "state", value, on=on, basis=basis, **made)


undated: Any = replace(state("supported"), at=UNDATED)

PLACE_CASES: list[tuple[str, list[Claim], str, str, bool]] = [
    ("declared", [state("supported")], "supported", "declared", False),
    ("a report makes a place refused", [state("refused", basis="reported")], "refused", "reported", False),
    ("the newest of two reports decides, and it is told",
     [state("refused", "2026-04-01", "reported"), state("supported", "2026-08-01", "reported")],
     "supported", "reported", True),
    ("a report is below what is declared, and is told",
     [state("supported", "2026-01-01"), state("refused", "2026-08-01", "reported")],
     "supported", "declared", True),
    ("what is declared without a day yields to a report",
     [undated, state("refused", "2026-04-01", "reported")], "refused", "reported", True),
    ("and to any dated declaration", [undated, state("refused", "2020-01-01")], "refused", "declared", False),
    ("an older word of the same source is no contradiction",
     [state("supported", "2026-01-01"), state("refused", "2026-02-01")], "refused", "declared", False),
    ("traffic outweighs what is declared",
     [state("supported", "2026-09-01"), state("refused", "2026-08-01", "traffic")],
     "refused", "traffic", True),
    ("LiteLLM's null is a hint", [state("refused", basis="litellm")], "unknown", "litellm", False),
    ("unknown says nothing", [state("supported"), state("unknown", "2026-09-01")],
     "supported", "declared", False),
    ("but for the operator", [state("supported"), state("unknown", basis="operator")],
     "unknown", "operator", False),
]  # fmt: skip


@pytest.mark.parametrize(("_why", "claims", "wanted", "basis", "disputed"), PLACE_CASES)
def test_the_best_evidence_of_a_place_counts_there(
    _why: str, claims: list[Claim], wanted: str, basis: str, disputed: bool
) -> None:
    """Each line is one rule, and holds in any order of the claims."""
    for order in (claims, claims[::-1]):
        (fact,) = known(*order).places
        assert (fact.place, fact.state, fact.basis) == (CONVERSE, wanted, basis)
        assert bool(fact.disputed) == disputed


@pytest.mark.parametrize("platform", ["anthropic", "bedrock"])
@pytest.mark.parametrize("gate", ["public", "org", "internal", None])
def test_a_report_from_without_is_no_refusal_where_only_some_have_access(
    platform: Any, gate: str | None
) -> None:
    """On what Anthropic runs, that somebody is refused a gated beta is no news."""
    made = [state("refused", basis="reported", place=Place(platform=platform))]
    beta = known(*made, *([claim(X, "gate", gate)] if gate else []))
    closed = platform == "anthropic" and gate in ("org", "internal")
    assert beta.places[0].state == ("unknown" if closed else "refused")


def test_an_end_at_one_place_acts_only_there() -> None:
    """Ga, a sunset and a retirement hold where their source states them."""
    beta = known(
        says("active", "2026-01-01"),
        claim(X, "sunset_on", "2026-11-01", place=CONVERSE),
        claim(X, "status", "ga", place=OPUS),
        claim(X, "ga_on", "2026-05-01", place=OPUS),
        claim(X, "sunset_on", "2027-01-01", place=Place(platform="foundry", hosting="azure")),
    )
    assert (beta.status, beta.sunset_on, beta.ga_on) == ("active", None, None)
    found = {str(fact.place): (fact.status, fact.retired_on, fact.ga_on) for fact in beta.places}
    assert found == {
        "bedrock (converse)": ("retired", date(2026, 11, 1), None),
        "vertex for claude-opus-4-7": ("ga", None, date(2026, 5, 1)),
        "foundry (hosted by Azure)": ("deprecated", None, None),
    }


def test_a_target_speaks_for_its_own_place() -> None:
    """Its platform, API and region; its model only where it is bound to it."""
    east: Any = {"target": "e", "platform": "bedrock", "api": "mantle", "region": "us-east-1",
                 "model": "claude-opus-4-7", "endpoint": "count_tokens", "checked_at": NOW}  # fmt: skip
    strict: Any = {
        "target": "v",
        "platform": "vertex",
        "endpoint": "count_tokens",
        "checked_at": NOW,
    }
    cases = [
        (Standing(state="supported", **east), "bedrock (mantle) in us-east-1"),
        (Standing(state="refused", **east), "bedrock (mantle) in us-east-1"),
        (Standing(state="refused", model_bound=True, **east),
         "bedrock (mantle) in us-east-1 for claude-opus-4-7"),
        (Standing(state="supported", **strict), "vertex"),
        (Standing(state="refused", **strict), "vertex on count_tokens"),
        (Standing(target="f", platform="foundry", hosting="azure", state="supported"),
         "foundry (hosted by Azure)"),
    ]  # fmt: skip
    for standing, place in cases:
        (fact,) = derive_feature({X: []}, NOW, {}, {X: [standing]})[X].beta.places
        assert (str(fact.place), fact.state, fact.basis) == (place, standing.state, "probed")


def test_what_a_target_said_counts_only_while_it_is_configured() -> None:
    """Its claim alone, without a standing, is history."""
    said = state("supported", basis="probed", source="target:gone")
    assert known(said).places == ()


def test_a_beta_is_shown_by_platform_as_its_places_allow() -> None:
    """Parts speak for a platform of which nothing else is known, if they agree; else nobody knows."""
    invoke = Place(platform="bedrock", api="invoke")
    both = [state("supported"), state("supported", place=invoke)]
    assert known(*both).platforms["bedrock"].state == "supported"
    differ = known(state("refused"), state("supported", place=invoke))
    assert differ.platforms["bedrock"].state == "unknown"
    assert [(item.api, item.accepted) for item in differ.exceptions] == [
        ("converse", False),
        ("invoke", True),
    ]


def test_a_refusal_at_a_narrower_place_names_it_and_is_no_news_of_the_platform() -> None:
    """A model or a region that refuses is a change; an API of Bedrock is a place of its own."""
    general = [claim(X, "platforms.vertex.state", "supported")]
    (event,) = events(general, [*general, state("refused", place=OPUS)])
    assert (event.type, event.platform) == ("beta.changed", "vertex")
    assert event.reason == "Refused on vertex for claude-opus-4-7, declared; was unknown."
    (event,) = events(
        general, [*general, state("refused", place=Place(platform="vertex", region="eu"))]
    )
    assert event.type == "beta.changed"
    (event,) = events(BEFORE, [*BEFORE, state("refused")])
    assert (event.type, event.reason) == (
        "beta.refused", "Refused on bedrock (converse), declared; was unknown.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "is_none"),
    [("bash_20241022", True), ("text_editor_20250124", True), ("bedrock-2023-05-31", True),
     ("beta-feature-name", True), ("some-new-beta-2026-01-01", True),
     ("claude-sonnet-4-5-20250929", True), ("2023-06-01", True),
     ("claude-code-20250219", False), (X, False), ("output-128k-2025-02-19", False)],
)  # fmt: skip
def test_tool_types_version_fields_and_placeholders_are_no_betas(name: str, is_none: bool) -> None:
    """Whatever source lists them."""
    assert is_no_beta(name) == is_none


# --- Events ---------------------------------------------------------------------------------------


def events(before: list[Claim], after: list[Claim]) -> list[Event]:
    """Return the events between two sets of claims."""
    return diff(known(*before), derived(*after), NOW, backfill=False)


BEFORE = [says("active", "2026-01-01")]
EVENT_CASES: list[tuple[list[Claim], list[str]]] = [
    (BEFORE, []),
    ([says("ga", "2026-02-01")], ["beta.ga"]),
    ([says("retired", "2026-02-01")], ["beta.retired"]),
    ([says("deprecated", "2026-02-01")], ["beta.deprecated"]),
    ([*BEFORE, claim(X, "superseded_by", Y)], ["beta.superseded"]),
    ([*BEFORE, claim(X, "platforms.vertex.state", "refused")], ["beta.refused"]),
    ([*BEFORE, claim(X, "platforms.vertex.state", "supported")], ["beta.supported"]),
    ([*BEFORE, claim(X, "platforms.vertex.state", "restricted")], ["beta.restricted"]),
    ([*BEFORE, claim(X, "summary", "New words.")], ["beta.changed"]),
    ([*BEFORE, listed("2026-01-01"), listed("2026-02-01", False)], ["beta.delisted"]),
]


@pytest.mark.parametrize(("after", "types"), EVENT_CASES)
def test_each_kind_of_change_is_its_event(after: list[Claim], types: list[str]) -> None:
    """One turn is one event of the right type."""
    assert [event.type for event in events(BEFORE, after)] == types


def test_a_retired_beta_that_comes_back_is_restored() -> None:
    """Not merely changed."""
    (event,) = events([says("retired", "2026-01-01")], [says("active", "2026-02-01")])
    assert (event.type, event.before["status"], event.after["status"]) == (
        "beta.restored", "retired", "active",
    )  # fmt: skip


def test_a_new_beta_is_one_event_with_all_that_is_known() -> None:
    """Whoever replays the changelog starts from it."""
    (event,) = diff(None, derived(*BEFORE), NOW, backfill=True)
    assert (event.type, event.backfill, event.after["status"]) == (
        "beta.discovered",
        True,
        "active",
    )


PLACES = st.sampled_from(
    [
        Place(platform="bedrock"),
        Place(platform="bedrock", api="converse"),
        Place(platform="bedrock", api="invoke", region="us-east-1"),
        Place(platform="foundry", hosting="azure"),
        Place(platform="anthropic", model="claude-opus-4-7"),
        Place(model="claude-haiku-4-5"),
    ]
)
CLAIMS = st.one_of(
    st.builds(
        lambda place, state, basis, on: claim(X, "state", state, place=place, basis=basis, on=on),
        PLACES,
        st.sampled_from(["supported", "refused", "restricted", "unknown"]),
        st.sampled_from(["declared", "reported", "litellm", "operator", "traffic"]),
        st.dates(date(2026, 1, 1), date(2026, 6, 1)).map(str),
    ),
    st.builds(
        lambda place, field, day: claim(X, field, str(day), place=place),
        PLACES,
        st.sampled_from(["sunset_on", "retired_on", "ga_on", "deprecated_on"]),
        st.dates(date(2026, 1, 1), date(2028, 1, 1)),
    ),
    st.builds(
        lambda place, status: claim(X, "status", status, place=place),
        PLACES,
        st.sampled_from(["active", "ga", "retired"]),
    ),
    st.builds(
        says,
        st.sampled_from(["active", "deprecated", "ga", "retired"]),
        st.dates(date(2025, 1, 1), date(2027, 1, 1)).map(str),
        st.sampled_from(["catalog", "docs", "release-notes"]),
    ),
    st.builds(
        lambda p, s: claim(X, f"platforms.{p}.state", s),
        st.sampled_from(["anthropic", "aws", "bedrock"]),
        st.sampled_from(["supported", "refused", "restricted"]),
    ),
    st.builds(
        lambda f, d: claim(X, f, str(d)),
        st.sampled_from(["sunset_on", "retired_on", "ga_on", "announced_on"]),
        st.dates(date(2025, 1, 1), date(2028, 1, 1)),
    ),
    st.builds(listed, st.dates(date(2025, 1, 1), date(2026, 1, 1)).map(str), st.booleans()),
    st.builds(lambda n: claim(X, "superseded_by", n), st.sampled_from([Y, "other-2026-01-01"])),
)


@given(st.lists(CLAIMS, max_size=8), st.lists(CLAIMS, max_size=8))
def test_events_laid_over_the_old_state_give_the_new_one(
    before: list[Claim], after: list[Claim]
) -> None:
    """Every change is told, and nothing else: the events are the difference."""
    volatile = ("first_seen", "last_seen", "added_at", "changed_at", "services", "newer", "current")
    replayed, wanted = to_json(known(*before)), to_json(known(*after))
    for side in (replayed, wanted):
        side["places"] = {at(fact): told(fact) for fact in side["places"] if says_something(fact)}
    for event in events(before, after):
        assert event.before != event.after
        for fact in event.before.get("places", ()):
            del replayed["places"][at(fact)]
        for key, value in event.after.items():
            if key == "platforms":
                for platform, members in value.items():
                    replayed["platforms"][platform].update(members)
            elif key == "places":
                replayed["places"] |= {at(fact): fact for fact in value}
            else:
                replayed[key] = value
    for key in (*volatile, "exceptions"):
        replayed.pop(key), wanted.pop(key)
    assert replayed == wanted


def at(fact: Any) -> tuple[Any, ...]:
    """The place of a printed fact."""
    return tuple(fact[part] for part in PARTS)


def says_something(fact: Any) -> bool:
    """Whether a printed fact holds more than that somebody spoke of its place."""
    rest = {key: value for key, value in told(fact).items() if key not in ("state", "basis")}
    return fact["state"] != "unknown" or any(
        value not in (None, []) for key, value in rest.items() if key not in PARTS
    )


PARTS = ("platform", "api", "hosting", "region", "model", "endpoint")


def told(fact: Any) -> Any:
    """A printed fact without who said or found it last, and when."""
    untold = ("source", "url", "at", "target", "checked_at", "since")
    return {key: value for key, value in fact.items() if key not in untold}


@given(st.lists(CLAIMS, max_size=8))
def test_a_retirement_is_never_dated_in_the_future(claims: list[Claim]) -> None:
    """Whatever is claimed."""
    beta = known(*claims)
    assert beta.retired_on is None or beta.retired_on <= NOW.date()
