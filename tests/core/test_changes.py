"""The rules of evidence: claims in, what is known and what changed out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.changes import Derived, derive_feature, diff
from registry.core.facts import Beta, Claim, Event, to_json
from registry.core.lifecycle import Standing
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


def test_what_anthropic_runs_inherits_and_others_do_not() -> None:
    """`aws` and `google-cloud` follow what is declared for `anthropic` until they have their own."""
    beta = known(
        claim(X, "platforms.anthropic.state", "supported"),
        claim(X, "platforms.aws.state", "refused"),
    )
    states = {name: (state.state, state.basis) for name, state in beta.platforms.items()}
    assert states == {
        "anthropic": ("supported", "declared"),
        "aws": ("refused", "declared"),
        "google-cloud": ("supported", "inferred"),
        "bedrock": ("unknown", "inferred"),
        "vertex": ("unknown", "inferred"),
        "foundry": ("unknown", "inferred"),
    }


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


CLAIMS = st.one_of(
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
    for event in events(before, after):
        assert event.before != event.after
        for key, value in event.after.items():
            if key == "platforms":
                for platform, members in value.items():
                    replayed["platforms"][platform].update(members)
            else:
                replayed[key] = value
    for key in volatile:
        replayed.pop(key), wanted.pop(key)
    assert replayed == wanted


@given(st.lists(CLAIMS, max_size=8))
def test_a_retirement_is_never_dated_in_the_future(claims: list[Claim]) -> None:
    """Whatever is claimed."""
    beta = known(*claims)
    assert beta.retired_on is None or beta.retired_on <= NOW.date()
