"""What LiteLLM and Renovate are told: our evidence first, then LiteLLM's own word, then caution."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.errors import Invalid, NotFound
from registry.core.exports import (
    COLUMNS,
    LiteLLM,
    allowlist,
    differences,
    dump_litellm,
    litellm,
    parse_litellm,
    read_litellm,
    renovate,
)
from registry.core.facts import Exception_, PlaceFact, PlatformState
from registry.core.names import is_well_formed, parse
from registry.core.places import KNOWN_PLACES, place_of
from tests.factories import beta, snapshot

X, Y, Z = "thing-2026-01-01", "other-2026-02-02", "alien-2026-03-03"
BEDROCK = ("bedrock", "bedrock_converse", "bedrock_mantle")
SCHEMA = {
    "version": str, "isDeprecated": bool, "isStable": bool, "releaseTimestamp": str,
    "changelogUrl": str, "sourceUrl": str, "sourceDirectory": str, "digest": str,
}  # fmt: skip
"""Members of a release, and their types, as Renovate's documentation lists them."""


def on(state: Any = "unknown", basis: Any = "declared", **more: Any) -> PlatformState:
    """What is known on one platform."""
    accepted = {"supported": True, "refused": False}.get(state)
    return PlatformState(**{"state": state, "basis": basis, "accepted": accepted, **more})


def row(name: str, *betas: Any, theirs: Any = None, targets: Any = None) -> dict[str, str | None]:
    """What each provider sends for one name."""
    shot = snapshot(*betas, targets=targets or {})
    made = litellm(shot, read_litellm(theirs) if theirs else None)
    return {provider: made.columns[provider][name] for provider in COLUMNS}


def test_our_evidence_comes_first() -> None:
    """Whatever LiteLLM says, where we know a platform our word stands."""
    platforms = {"foundry": on("refused"), "bedrock": on("supported"), "vertex": on("restricted")}
    theirs = {"anthropic": {X: None}, "azure_ai": {X: X}, "bedrock": {X: None}, "vertex_ai": {}}
    found = row(X, beta(X, platforms=platforms), theirs=theirs)
    assert found == {"anthropic": X, "azure_ai": None, "bedrock": X, "bedrock_converse": X,
                     "bedrock_mantle": X, "vertex_ai": X, "databricks": None}  # fmt: skip


def test_litellms_word_is_repeated_where_we_have_none() -> None:
    """What only LiteLLM or usage says is no evidence of ours."""
    nothing = {"anthropic": on(), "foundry": on("supported", "litellm"), "bedrock": on(),
               "vertex": on("supported", "usage"), "aws": on()}  # fmt: skip
    theirs = {"anthropic": {X: Y}, "azure_ai": {X: None}, "bedrock": {X: "renamed-1"},
              "databricks": {X: X}}  # fmt: skip
    found = row(X, beta(X, "unverified", platforms=nothing), theirs=theirs)
    assert found == {"anthropic": Y, "azure_ai": None, "bedrock": "renamed-1", "databricks": X,
                     "bedrock_converse": None, "bedrock_mantle": None, "vertex_ai": None}  # fmt: skip


def test_where_nobody_knows_it_passes_for_anthropic_only() -> None:
    """The API itself says what it does not take; a gateway's silence says nothing."""
    unknown = beta(X, "unverified", state="unknown")
    assert row(X, unknown) == {**dict.fromkeys(COLUMNS), "anthropic": X}


def test_retired_names_are_held_back_and_accepted_ga_names_pass() -> None:
    """A retired one that is still taken does no harm."""
    theirs = {provider: {X: X} for provider in COLUMNS}
    dead = beta(X, "retired", state="unknown", accepted=False, retired_on=date(2026, 5, 5))
    assert set(row(X, dead, theirs=theirs).values()) == {None}
    taken = beta(X, "retired", state="unknown", accepted=True, header_effect="ignored")
    assert row(X, taken)["anthropic"] == X
    assert row(X, taken, theirs=theirs)["databricks"] == X
    ga = beta(X, "ga", state="unknown", accepted=True)
    assert row(X, ga, theirs={"anthropic": {X: None}})["anthropic"] == X


def test_a_probe_speaks_only_for_the_api_that_it_asked() -> None:
    """Of Bedrock's APIs the others keep LiteLLM's word."""
    theirs = {provider: {X: None} for provider in BEDROCK}
    for asked, provider in (("invoke", "bedrock"), ("converse", "bedrock_converse"),
                            ("mantle", "bedrock_mantle")):  # fmt: skip
        fact = PlaceFact(place=place_of(platform="bedrock", api=asked), state="supported",
                         basis="probed", target="t")  # fmt: skip
        known = beta(X, platforms={"bedrock": on()}, places=(fact,))
        found = row(X, known, theirs=theirs)
        assert {name for name in BEDROCK if found[name] == X} == {provider}


def test_a_null_of_litellms_is_a_hint_only() -> None:
    """What a source says of all of Bedrock's APIs outweighs it."""
    theirs: Any = {"bedrock": {X: X}, "bedrock_converse": {X: None}}
    for state, expected in ((on("supported"), X), (on("refused"), None), (on(), None)):
        found = row(X, beta(X, platforms={"bedrock": state}), theirs=theirs)
        assert found["bedrock_converse"] == expected


def test_what_one_model_refuses_is_not_held_back() -> None:
    """The filter does not know the model."""
    model = Exception_(platform="foundry", model="claude-3", accepted=False, source="docs")
    assert row(X, beta(X, exceptions=(model,)))["azure_ai"] == X


def test_one_beta_by_many_names_goes_by_one() -> None:
    """A comma would end up in a list; the other names stand in the column by themselves."""
    many = {"vertex": on("supported", names=(Y, Z)), "bedrock": on("supported", names=(Z,))}
    known = beta(X, platforms=many)
    assert row(X, known)["vertex_ai"] == Y
    assert row(X, known, theirs={"vertex_ai": {X: Z}})["vertex_ai"] == Z
    assert row(X, known)["bedrock"] == Z
    assert row(Z, known)["vertex_ai"] == Z
    assert row(Z, known)["azure_ai"] is None
    (difference,) = (
        item for item in differences(snapshot(known), None, read_litellm({"vertex_ai": {}}))
        if (item.name, item.provider) == (X, "vertex_ai")
    )  # fmt: skip
    assert Z in difference.why


def test_exceptions_for_the_header_are_kept() -> None:
    """What goes into the header and not into the body stays so, unless it fails there anyway."""
    theirs = {"vertex_ai": {X: None, Y: None}, "vertex_ai_header_only": {X: X, Y: Y}}
    known = snapshot(beta(X), beta(Y, platforms={"vertex": on("refused")}))
    made = litellm(known, read_litellm(theirs)).to_json()
    assert made["vertex_ai"] == {Y: None, X: None}
    assert made["vertex_ai_header_only"] == {Y: None, X: X}


def test_every_known_name_stands_in_every_column() -> None:
    """Ours and LiteLLM's, also for a provider that we do not know."""
    theirs = {"description": "Theirs.", "provider_aliases": {"azure": "azure_ai"},
              "anthropic": {Z: Z}, "newcomer": {Y: Y}}  # fmt: skip
    made = litellm(snapshot(beta(X)), read_litellm(theirs)).to_json()
    assert (made["description"], made["provider_aliases"]) == ("Theirs.", {"azure": "azure_ai"})
    for provider in (*COLUMNS, "newcomer"):
        assert set(made[provider]) == {X, Y, Z}
    assert made["newcomer"] == {Y: Y, X: None, Z: None}


def test_an_alias_of_a_provider_is_followed() -> None:
    """And is gone where the column itself is told."""
    read = read_litellm({"provider_aliases": {"azure_ai": "azure"}, "azure": {X: Y}})
    assert read.columns["azure_ai"] == {X: Y}
    assert read.aliases == {}


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ([], "one JSON object"),
        ({}, "no provider column"),
        ({"anthropic": []}, "`anthropic` is a list"),
        ({"anthropic": "x"}, "`anthropic` is 'x'"),
        ({"anthropic": {X: 3}}, f"`anthropic.{X}` is a number"),
        ({"anthropic": {X: True}}, f"`anthropic.{X}` is a boolean"),
        ({"anthropic": {X: ["a"]}}, f"`anthropic.{X}` is a list"),
        ({"anthropic": {X: ""}}, f"`anthropic.{X}` is ''"),
        ({"anthropic": {X: "a\r\nb: c"}}, f"`anthropic.{X}` is"),
        ({"anthropic": {"a b": None}}, "`anthropic.a b` is not the name"),
        ({"anthropic": {}, "vertex_ai_header_only": [X]}, "`vertex_ai_header_only` is a list"),
        ({"anthropic": {}, "newcomer": 3}, "`newcomer` is a number"),
        ({"anthropic": {}, "description": {}}, "`description` is an object"),
        ({"anthropic": {}, "provider_aliases": []}, "`provider_aliases` is a list"),
        ({"anthropic": {}, "provider_aliases": {"a": None}}, "`provider_aliases.a` is null"),
    ],
)
def test_a_wrong_type_is_refused_by_its_key(document: Any, key: str) -> None:
    """It would pass LiteLLM's checks, and break its requests."""
    with pytest.raises(Invalid) as caught:
        parse_litellm(json.dumps(document).encode())
    assert key in caught.value.detail
    assert caught.value.detail.count("\n") == 0


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000])
def test_rubbish_is_refused_in_a_sentence(text: bytes) -> None:
    """With what it is."""
    with pytest.raises(Invalid, match="cannot be used: it is"):
        parse_litellm(text)


NAMES = st.sampled_from([X, Y, Z, "a b", "", "undated"])
VALUES = st.one_of(st.none(), NAMES, st.integers(), st.lists(NAMES, max_size=1), st.just("a,b"))
COLUMN = st.one_of(st.dictionaries(NAMES, VALUES), VALUES)
KEYS = st.sampled_from(
    [*COLUMNS, "newcomer", "vertex_ai_header_only", "description", "provider_aliases"]
)


@settings(max_examples=200)
@given(document=st.dictionaries(KEYS, COLUMN))
def test_whatever_litellm_says_the_export_is_valid(document: Any) -> None:
    """Every value is a sendable name or null, every column whole, and it is read back as it was."""
    made = litellm(snapshot(beta(X), beta(Y, "retired")), read_litellm(document, lenient=True))
    assert parse_litellm(dump_litellm(made).encode()) == made
    for provider in COLUMNS:
        assert set(made.columns[provider]) >= {X, Y}
        for value in made.columns[provider].values():
            assert value is None or all(map(is_well_formed, value.split(",")))


def test_differences_are_those_that_change_a_request() -> None:
    """A name that is missing and one that is null are the same to LiteLLM."""
    known = snapshot(beta(X), beta(Y, state="refused"))
    theirs = read_litellm({"anthropic": {Y: Y}, "azure_ai": {X: X, Y: None}, "newcomer": {Z: Z}})
    found = {(item.name, item.provider): item for item in differences(known, None, theirs)}
    assert (X, "azure_ai") not in found
    assert (Y, "vertex_ai") not in found
    refused = found[Y, "anthropic"]
    assert (refused.theirs, refused.ours, refused.own) == (Y, None, True)
    assert "is refused on anthropic" in refused.why
    assert found[X, "anthropic"].missing
    assert found[Z, "newcomer"].ours is None
    assert differences(known, None, litellm(known)) == ()


def test_the_later_of_two_files_counts() -> None:
    """The older one fills the gaps."""
    old = LiteLLM(columns={"anthropic": {X: X, Y: Y}}, description="Old.")
    new = LiteLLM(columns={"anthropic": {X: None}, "databricks": {Z: Z}})
    both = old.updated(new)
    assert both.columns == {"anthropic": {X: None, Y: Y}, "databricks": {Z: Z}}
    assert both.description == "Old."


# --- Allow lists ---------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", KNOWN_PLACES)
def test_an_allow_list_holds_every_name_once(slug: str) -> None:
    """Taken, refused, or nobody knows; and what differs by model."""
    model = Exception_(model="claude-3", accepted=False, source="docs")
    known = snapshot(
        beta(X, exceptions=(model,)),
        beta(Y, "retired", state="unknown"),
        beta(Z, state="unknown"),
        beta("renamed-2026-01-01", platforms={"vertex": on("supported", names=("other-name",))}),
    )
    made = allowlist(known, KNOWN_PLACES[slug])
    names = [*made["allow"], *made["deny"], *made["unproven"]]
    assert sorted(names) == sorted({*known.betas, "other-name"})
    assert (X in made["allow"], made["deny"], Z in made["unproven"]) == (True, [Y], True)
    assert made["models"] == {"claude-3": {"deny": [X]}}
    wanted = {"renamed-2026-01-01": ["other-name"]} if slug == "vertex" else {}
    assert made["rename"] == wanted


# --- Renovate -------------------------------------------------------------------------------------


def test_renovate_reads_dates_as_versions() -> None:
    """Each release has the members that Renovate documents, and no other."""
    betas = [
        beta("thing-2025-01-01", "retired", announced_on=date(2025, 1, 16)),
        beta("thing-2025-06-01", "deprecated", docs_url="https://docs.example.com/old"),
        beta("thing-2026-01-01", current=True, docs_url="https://docs.example.com/new"),
        beta("thing-20260601", "unverified"),
        beta("thing-2026-02-30"),
        beta("thing"),
    ]
    found = renovate(snapshot(*betas), "thing")
    assert set(found) == {"releases", "homepage", "tags"}
    assert (found["homepage"], found["tags"]) == (
        "https://docs.example.com/new", {"latest": "2026-01-01"},
    )  # fmt: skip
    for release in found["releases"]:
        assert all(isinstance(value, SCHEMA[key]) for key, value in release.items())
        assert parse(f"thing-{release['version']}").feature == "thing"
    by_version = {release["version"]: release for release in found["releases"]}
    assert {version: one["isDeprecated"] for version, one in by_version.items()} == {
        "2025-01-01": True, "2025-06-01": True, "2026-01-01": False, "20260601": False,
        "2026-02-30": False,
    }  # fmt: skip
    assert by_version["2025-01-01"]["releaseTimestamp"] == "2025-01-16T00:00:00Z"
    assert by_version["2025-06-01"]["changelogUrl"] == "https://docs.example.com/old"
    assert not by_version["20260601"]["isStable"]
    assert "releaseTimestamp" not in by_version["2026-02-30"]


def test_a_feature_that_is_none_is_not_found() -> None:
    """With names that are near."""
    with pytest.raises(NotFound, match="Did you mean thing"):
        renovate(snapshot(beta(X)), "thingy")


def test_a_feature_without_dates_has_no_versions() -> None:
    """Renovate then changes nothing."""
    assert renovate(snapshot(beta("undated")), "undated") == {"releases": []}
