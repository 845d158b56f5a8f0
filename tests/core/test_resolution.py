"""What to send. The big table reads: a beta that stands so, asked for under a policy, ends so."""

from __future__ import annotations

import tracemalloc
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import Invalid, NotFound, RegistryError
from registry.core.facts import Exception_, Link, PlatformState
from registry.core.resolution import (
    Ask,
    Resolver,
    check,
    feature,
    features,
    resolve,
)
from registry.core.spelling import did_you_mean
from tests.factories import TODAY, beta, snapshot

X = "thing-2026-01-01"
Y = "thing-2026-05-05"


def ask(*names: str, **more: Any) -> Ask:
    """Ask for betas by name, or for a feature as `feature:NAME`."""
    items = (name.split(":", 1) if ":" in name else ("beta", name) for name in names)
    return Ask(requested=tuple((kind, text) for kind, text in items), **more)


def outcome(found: Any) -> str:
    """Say in a word what became of the one beta that was asked for."""
    if found.dropped:
        return f"dropped {found.dropped[0].reason}"
    codes = [warning.code for warning in found.sent[0].warnings]
    return f"sent {'+'.join(codes)}".strip()


def run(known: Any, **more: Any) -> str:
    """Resolve the one beta; an error is told by the reason of the first invalid one."""
    try:
        return outcome(resolve(snapshot(known), ask(X, **more), TODAY))
    except Invalid as error:
        return f"error {error.extra['invalid'][0]['reason']}"


# status, what else is known, and what becomes of it under strict, filter and advise
CASES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("active", {}, "sent", "sent", "sent"),
    ("active", {"state": "unknown"}, "sent unproven", "sent unproven", "sent unproven"),
    ("active", {"state": "restricted"}, "sent restricted", "sent restricted", "sent restricted"),
    ("active", {"state": "refused"}, "error refused", "dropped refused", "sent refused"),
    ("active", {"state": "refused", "gate": "org"}, "error refused", "dropped refused", "sent refused"),
    ("active", {"superseded_by": Y}, "sent superseded", "sent superseded", "sent superseded"),
    ("active", {"disputed": "why"}, "sent disputed", "sent disputed", "sent disputed"),
    ("deprecated", {}, "sent deprecated", "sent deprecated", "sent deprecated"),
    ("deprecated", {"state": "refused"}, "error refused", "dropped refused",
     "sent refused+deprecated"),
    ("ga", {}, "sent not_needed", "sent not_needed", "sent not_needed"),
    ("ga", {"header_effect": "ignored"}, "sent not_needed", "dropped ga", "sent not_needed"),
    ("ga", {"header_effect": "changes_response"}, "sent changes_response", "sent changes_response",
     "sent changes_response"),
    ("ga", {"state": "refused"}, "error refused", "dropped refused", "sent refused+not_needed"),
    ("retired", {"state": "unknown"}, "error retired", "dropped retired", "sent retired+unproven"),
    ("retired", {"state": "unknown", "accepted": False}, "error retired", "dropped retired",
     "sent retired+unproven"),
    ("retired", {"state": "unknown", "accepted": True, "header_effect": "ignored"},
     "sent no_effect+unproven", "sent no_effect+unproven", "sent no_effect+unproven"),
    ("retired", {"accepted": True}, "sent deprecated", "sent deprecated", "sent deprecated"),
    ("retired", {"state": "supported"}, "error retired", "dropped retired", "sent retired"),
    ("unverified", {}, "error unknown", "sent unknown", "sent unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "known", "strict", "filter_", "advise"), CASES)
def test_the_table_of_cases(
    status: str, known: dict[str, Any], strict: str, filter_: str, advise: str
) -> None:
    """Each line of the table holds for every policy."""
    subject = beta(X, status, **known)
    got = [run(subject, policy=policy) for policy in ("strict", "filter", "advise")]
    assert got == [strict, filter_, advise]


@pytest.mark.parametrize(
    ("policy", "on_unknown", "expected"),
    [
        ("strict", None, "error unknown"),
        ("strict", "pass", "sent unknown"),
        ("strict", "drop", "dropped unknown"),
        ("filter", None, "sent unknown"),
        ("filter", "error", "error unknown"),
        ("filter", "drop", "dropped unknown"),
        ("advise", None, "sent unknown"),
        ("advise", "drop", "dropped unknown"),
    ],
)
def test_on_unknown_overrides_the_policy(
    policy: str, on_unknown: str | None, expected: str
) -> None:
    """A name that the registry does not know follows `on_unknown`, else the policy's default."""
    assert run(beta(Y), policy=policy, on_unknown=on_unknown) == expected


def test_order_is_kept_and_duplicates_are_gone() -> None:
    """The value lists what was asked for, in order, once."""
    known = snapshot(beta("b-2026-01-01"), beta("a-2026-01-01"))
    found = resolve(known, ask("b-2026-01-01", "a-2026-01-01", "b-2026-01-01"), TODAY)
    assert found.value == "b-2026-01-01,a-2026-01-01"


def test_nothing_asked_omits_the_header() -> None:
    """No beta, no header: an empty one would be refused upstream."""
    assert resolve(snapshot(beta(X)), ask(), TODAY).to_json() == {
        "header": "anthropic-beta",
        "value": "",
        "omit": True,
        "platform": "anthropic",
        "placement": "header",
        "body": None,
        "body_in": None,
        "betas": [],
        "dropped": [],
        "revision": 7,
    }


def test_the_answer_has_the_shape_of_the_contract() -> None:
    """One sent, one dropped, with every key that was promised."""
    known = snapshot(beta(X), beta(Y, "retired", state="unknown", body_fields=("field",)))
    found = resolve(known, ask(X, Y, policy="filter"), TODAY).to_json()
    assert found["betas"] == [{"name": X, "requested": X, "status": "active", "warnings": []}]
    (dropped,) = found["dropped"]
    assert dropped.keys() == {"requested", "reason", "detail", "use_instead", "body_fields"}
    assert (dropped["reason"], dropped["body_fields"]) == ("retired", ["field"])
    assert dropped["use_instead"] == X


def test_strict_says_what_is_invalid_and_what_would_be_sent() -> None:
    """The error carries the items and the whole answer under `filter`."""
    known = snapshot(beta(X), beta(Y, "retired", state="unknown"))
    with pytest.raises(Invalid) as caught:
        resolve(known, ask(X, Y, "malformed name"), TODAY)
    extra = caught.value.extra
    assert caught.value.slug == "invalid-beta"
    assert [item["reason"] for item in extra["invalid"]] == ["retired", "malformed"]
    assert extra["would_send"] == resolve(known, ask(X, Y, "malformed name", policy="filter"),
                                          TODAY).to_json()  # fmt: skip
    assert extra["would_send"]["value"] == X


def test_one_beta_can_have_several_names_elsewhere() -> None:
    """A rename is one entry for each name sent, and merges with one asked for by that name."""
    renamed = PlatformState(state="supported", names=("tool-a", "tool-b"), accepted=True)
    known = snapshot(beta(X, platforms={"vertex": renamed}))
    found = resolve(known, ask(X, "tool-b", platform="vertex"), TODAY)
    assert found.value == "tool-a,tool-b"
    assert [item.requested for item in found.sent] == [X, X]


@pytest.mark.parametrize(
    ("api", "placement", "body"),
    [(None, "body", {"anthropic_beta": [X]}), ("invoke", "body", {"anthropic_beta": [X]}),
     ("converse", "body", {"anthropic_beta": [X]}), ("mantle", "header", None)],
)  # fmt: skip
def test_bedrock_invoke_takes_betas_in_the_body(api: str | None, placement: str, body: Any) -> None:
    """InvokeModel has no header for them; the Anthropic-shaped endpoint has."""
    found = resolve(snapshot(beta(X)), ask(X, platform="bedrock", api=api), TODAY).to_json()
    assert (found["placement"], found["body"], found["value"]) == (placement, body, X)


def test_the_later_of_two_that_exclude_each_other_goes() -> None:
    """The relation holds in both directions, and only on its endpoint."""
    known = snapshot(beta(X, conflicts_with=(Link(Y, "messages"),)), beta(Y))
    found = resolve(known, ask(Y, X, policy="filter"), TODAY)
    assert (found.value, found.dropped[0].reason) == (Y, "conflict")
    elsewhere = resolve(known, ask(Y, X, policy="filter", endpoint="files"), TODAY)
    assert elsewhere.value == f"{Y},{X}"


def test_a_missing_companion_is_a_warning() -> None:
    """What a beta needs and was not asked for is said, and nothing is added."""
    known = snapshot(beta(X, requires=(Link("companion-2026-01-01"),)))
    found = resolve(known, ask(X), TODAY)
    assert [warning.code for warning in found.sent[0].warnings] == ["companion_missing"]


@pytest.mark.parametrize(
    "model", ["claude-old-1", "us.anthropic.claude-old-1-20250101-v1:0", "claude-old-1@20250101"]
)
def test_a_known_refusal_by_model_is_invalid_in_every_spelling(model: str) -> None:
    """Cloud ids of the model mean the same."""
    refusal = Exception_(model="claude-old-1", accepted=False, source="t")
    known = beta(X, exceptions=(refusal,))
    assert run(known, model=model) == "error wrong_model"
    assert run(known, model="claude-new-2") == "sent"
    assert run(known) == "sent place_dependent"


def test_absence_from_the_lists_is_a_warning_only() -> None:
    """The lists of models and endpoints are never complete."""
    known = beta(X, models=("claude-3-*",), endpoints=("messages",))
    assert run(known, model="claude-new-9") == "sent model_not_listed"
    assert run(known, model="claude-3-5-haiku") == "sent"
    assert run(known, endpoint="files") == "sent endpoint_not_listed"
    assert run(known, endpoint="/v1/messages") == "sent"


def test_an_exception_of_a_platform_outweighs_the_general_status() -> None:
    """Ga in general and still beta on Foundry: there it needs the header."""
    known = snapshot(beta(X, "ga", exceptions=(Exception_(platform="foundry", status="active"),)))
    here = resolve(known, ask("feature:thing"), TODAY)
    there = resolve(known, ask("feature:thing", platform="foundry"), TODAY)
    assert (here.value, here.dropped[0].reason) == ("", "ga")
    assert there.value == X


def features_of(*betas: Any, **more: Any) -> str:
    """Resolve the feature `thing` among these betas."""
    try:
        found = resolve(snapshot(*betas), ask("feature:thing", **more), TODAY)
    except Invalid as error:
        return error.slug if "invalid" not in error.extra else error.extra["invalid"][0]["reason"]
    return found.value or f"dropped {found.dropped[0].reason}"


def test_a_feature_is_sent_as_its_current_beta() -> None:
    """Stated, else the only live one here, else an error or nothing to send."""
    assert features_of(beta(X), beta(Y, current=True)) == Y
    assert features_of(beta(X), beta(Y, "retired")) == X
    assert features_of(beta(X), beta(Y, state="refused")) == X
    assert features_of(beta(X), beta(Y)) == "ambiguous-feature"
    assert features_of(beta(X, current=True, state="refused"), beta(Y)) == Y
    assert features_of(beta(X, "ga"), beta(Y, "retired")) == "dropped ga"
    assert features_of(beta(X, "retired", state="unknown")) == "retired"
    assert features_of(beta(X, state="refused")) == "refused"
    assert features_of(beta(X, "unverified")) == "unknown"
    assert features_of(beta("other-2026-01-01")) == "unknown"
    assert features_of(beta("other-2026-01-01"), policy="filter") == "dropped unknown"


def test_an_ambiguous_feature_lists_its_choices() -> None:
    """The error names the live betas, in order."""
    with pytest.raises(Invalid) as caught:
        resolve(snapshot(beta(Y), beta(X)), ask("feature:thing"), TODAY)
    assert caught.value.extra["choices"] == [X, Y]


def test_what_is_deprecated_is_reported_for_the_response_headers() -> None:
    """Days and successor, for each deprecated beta that is sent."""
    ends = date(2027, 1, 31)
    known = snapshot(beta(X, "deprecated", sunset_on=ends, superseded_by=Y), beta(Y))
    (item,) = resolve(known, ask(X, Y), TODAY).deprecations
    assert (item.beta, item.sunset_on, item.use_instead) == (X, ends, Y)


def test_successors_are_followed_to_one_that_works() -> None:
    """A chain of retired ones ends at the live one, and never turns in a circle."""
    dead = {"state": "unknown"}
    z = "thing-2026-09-09"
    known = snapshot(
        beta(X, "retired", superseded_by=Y, **dead),
        beta(Y, "retired", superseded_by=z, **dead),
        beta(z),
    )
    found = resolve(known, ask(X, policy="filter"), TODAY)
    assert found.dropped[0].use_instead == z
    circle = snapshot(
        beta(X, "retired", superseded_by=Y, **dead), beta(Y, "retired", superseded_by=X, **dead)
    )
    assert resolve(circle, ask(X, policy="filter"), TODAY).dropped[0].use_instead is None


@pytest.mark.parametrize(
    "wrong",
    [{"platform": "azure"}, {"api": "invoke"}, {"platform": "bedrock", "api": "x"}, {"policy": "lax"},
     {"on_unknown": "shrug"}, {"hosting": "azure"}, {"platform": "foundry", "hosting": "x"},
     {"on_unproven": "x"}, {"on_restricted": "x"}],
)  # fmt: skip
def test_a_word_that_is_none_lists_those_that_are(wrong: dict[str, str]) -> None:
    """One sentence says what can be used."""
    with pytest.raises(Invalid, match=r"use|leave"):
        resolve(snapshot(beta(X)), ask(X, **wrong), TODAY)


def test_a_target_gives_the_place() -> None:
    """Platform, API and model of a target count where nothing else is asked."""
    target = {"platform": "bedrock", "api": "mantle", "model": "claude-old-1", "endpoint": "auto"}
    refusal = Exception_(model="claude-old-1", accepted=False)
    known = snapshot(beta(X, exceptions=(refusal,)), targets={"ours": target})
    found = resolve(known, ask(X, target="ours", policy="advise"), TODAY).to_json()
    assert (found["platform"], found["placement"]) == ("bedrock", "header")
    assert found["betas"][0]["warnings"][0]["code"] == "wrong_model"
    with pytest.raises(NotFound, match="ours"):
        resolve(known, ask(X, target="theirs"), TODAY)


def test_a_misspelt_name_is_answered_with_the_likely_one() -> None:
    """Typos, a wrong date, a feature where a beta is wanted and the other way round."""
    known = ["mcp-client-2025-11-20", "files-api-2025-04-14"]
    assert did_you_mean("mcp-clinet-2025-11-20", known) == ("mcp-client-2025-11-20",)
    assert did_you_mean("mcp-client-2025-11-21", known)[0] == "mcp-client-2025-11-20"
    dates = ["mcp-client-2026-09-15", "mcp-client-2025-11-20", "mcp-client-2025-04-04"]
    assert did_you_mean("MCP-Client-2025-11-20", dates)[0] == "mcp-client-2025-11-20"
    assert did_you_mean("mcp-client-2025-04-05", dates)[0] == "mcp-client-2025-04-04"
    assert did_you_mean("flies-api", known) == ("files-api-2025-04-14",)
    assert did_you_mean("MCPclient-2025-11-20", known) == ("mcp-client-2025-11-20",)
    assert did_you_mean("nothing-like-it-2025-11-20", known) == ()
    assert did_you_mean("x" * 65536, known) == ()
    assert did_you_mean("", known) == ()
    with pytest.raises(Invalid, match="as a feature"):
        resolve(snapshot(beta(X)), ask("thing"), TODAY)
    with pytest.raises(Invalid, match="as a beta"):
        resolve(snapshot(beta(X)), ask(f"feature:{X}"), TODAY)


VERDICTS = [
    (beta(X), "ok", True),
    (beta(X, "deprecated"), "deprecated", True),
    (beta(X, "ga"), "not_needed", True),
    (beta(X, "ga", header_effect="changes_response"), "changes_response", True),
    (beta(X, "retired", accepted=True, header_effect="ignored"), "no_effect", True),
    (beta(X, "retired"), "retired", False),
    (beta(X, "retired", state="unknown"), "retired", False),
    (beta(X, state="refused"), "refused", False),
    (beta(X, state="refused", gate="org"), "refused", False),
    (beta(X, state="restricted"), "restricted", True),
    (beta(X, state="unknown"), "unproven", True),
    (beta(X, "unverified"), "unknown", True),
    (beta(Y), "unknown", True),
]


@pytest.mark.parametrize(("known", "verdict", "valid"), VERDICTS)
def test_check_gives_a_verdict_on_each_name(known: Any, verdict: str, valid: bool) -> None:
    """`valid` is false only if a request would fail."""
    found = check(snapshot(known), value=f" {X} ,, ", today=TODAY)
    assert (found["valid"], found["betas"][0]["verdict"]) == (valid, verdict)
    assert found["betas"][0].keys() >= {
        "name", "verdict", "use_instead", "alternatives", "detail", "warnings",
    }  # fmt: skip


def test_check_reads_what_is_malformed_without_failing() -> None:
    """A malformed member makes the value invalid and is left out of the corrected one."""
    found = check(snapshot(beta(X)), value=f"{X},bad name,{X}", today=TODAY)
    assert (found["valid"], found["value"]) == (False, X)
    assert [item["verdict"] for item in found["betas"]] == ["ok", "malformed"]


def test_names_that_nobody_knows_take_no_memory() -> None:
    """A resolver lives as long as its snapshot, in other people's programs; names are whatever comes."""
    resolver = Resolver(snapshot(beta(X), beta(Y)))

    def look(number: int) -> None:
        model = f"m{number % 40}" + "x" * (number % 3) * 200
        names = tuple(("beta", f"n{number}-{i}") for i in range(50))
        resolver.resolve(Ask(requested=(("beta", X), *names), policy="filter", model=model), TODAY)

    for number in range(50):
        look(number)
    tracemalloc.start()
    try:
        for number in range(50, 150):
            look(number)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 1_000_000


def test_features_group_the_betas() -> None:
    """Every feature with its current beta, its live ones and all of them."""
    known = snapshot(beta(Y), beta(X, "retired"), beta("other-2026-01-01", "ga"))
    assert features(known) == [
        {"feature": "other", "current": None, "choices": [], "betas": ["other-2026-01-01"]},
        {"feature": "thing", "current": Y, "choices": [Y], "betas": [X, Y]},
    ]
    with pytest.raises(NotFound, match="thing"):
        feature(known, "thign")


KNOWN = snapshot(
    beta(X, conflicts_with=(Link(Y),)),
    beta(Y, "deprecated"),
    beta("gone-2025-01-01", "retired", state="unknown"),
    beta("done-2025-01-01", "ga", header_effect="ignored"),
)
TEXTS = st.one_of(
    st.sampled_from([*KNOWN.betas, "thing", "gone", "done", ""]), st.text(max_size=200)
)
ASKS = st.builds(
    Ask,
    requested=st.lists(
        st.tuples(st.sampled_from(["beta", "feature"]), TEXTS), max_size=8
    ).map(tuple),
    platform=st.sampled_from([None, "anthropic", "bedrock", "vertex"]),
    model=st.none() | st.text(max_size=40),
    policy=st.sampled_from(["strict", "filter", "advise"]),
    on_unknown=st.sampled_from([None, "error", "pass", "drop"]),
)  # fmt: skip


@given(ASKS)
def test_any_request_ends_in_an_answer_or_a_refusal(asked: Ask) -> None:
    """Nothing but our own errors is raised, and every answer is a header that can be written."""
    try:
        found = resolve(KNOWN, asked, TODAY)
    except RegistryError:
        return
    names = [item.name for item in found.sent]
    assert len(names) == len(set(names))
    assert all("," not in name and name.strip() for name in names)


@given(ASKS)
def test_what_filter_sends_passes_filter_unchanged(asked: Ask) -> None:
    """Resolving the answer once more changes nothing."""
    try:
        first = resolve(KNOWN, asked, TODAY)
    except RegistryError:
        return
    if asked.policy != "filter":
        return
    again = ask(*(f"beta:{item.name}" for item in first.sent), policy="filter", on_unknown="pass",
                platform=asked.platform, model=asked.model)  # fmt: skip
    assert resolve(KNOWN, again, TODAY).value == first.value


SHARED = Resolver(KNOWN)


@given(ASKS)
def test_what_is_remembered_changes_no_answer(asked: Ask) -> None:
    """A resolver that answered many requests before answers as one that answered none."""

    def ended(resolver: Resolver) -> Any:
        try:
            return resolver.resolve(asked, TODAY)
        except RegistryError as error:
            return error.detail, error.extra

    assert ended(SHARED) == ended(Resolver(KNOWN))
