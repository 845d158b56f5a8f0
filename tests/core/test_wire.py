"""The wire format: what is printed can be read again, and rubbish is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.changes import snapshot_of
from registry.core.errors import Invalid
from registry.core.facts import PlaceFact
from registry.core.places import Place
from registry.core.placing import shown
from registry.core.wire import (
    beta_from_json,
    beta_to_json,
    snapshot_from_json,
    snapshot_to_json,
)
from registry.sources.catalog import bundled_catalog, parse_catalog
from tests import version_1
from tests.factories import NOW, beta, snapshot

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_the_whole_catalog_survives_the_wire() -> None:
    """Every beta that is known, and their snapshot."""
    as_of, claims = parse_catalog(bundled_catalog())
    whole = snapshot_of(claims, as_of, NOW)
    assert len(whole.betas) >= 99
    assert snapshot_from_json(snapshot_to_json(whole)) == whole
    for known in whole.betas.values():
        assert beta_from_json(beta_to_json(known)) == known


@given(JSON)
def test_rubbish_is_refused_in_a_sentence(data: Any) -> None:
    """Never another exception than `Invalid`."""
    for read in (beta_from_json, snapshot_from_json):
        with pytest.raises(Invalid):
            read(data)


@pytest.mark.parametrize(
    ("member", "wrong"),
    [("status", 1), ("release_date", "2026-02-30"), ("endpoints", "messages"),
     ("platforms", {"vertex": []}), ("accepted", "yes"), ("added_at", "yesterday"), ("name", 3)],
)  # fmt: skip
def test_a_wrong_member_is_named(member: str, wrong: Any) -> None:
    """So that whoever wrote it can mend it."""
    data = {**beta_to_json(beta("thing-2026-01-01")), member: wrong}
    with pytest.raises(Invalid, match=member):
        beta_from_json(data)


def test_members_of_a_later_version_are_ignored() -> None:
    """Extra members are welcome: an old client reads a new server."""
    whole = snapshot_to_json(snapshot(beta("thing-2026-01-01")))
    whole["betas"][0]["colour"] = "blue"
    assert len(snapshot_from_json({**whole, "more": 1}).betas) == 1


def test_an_unknown_word_costs_what_it_says_and_no_more() -> None:
    """A newer server may know more words; what is left out must not make a place wider."""
    known = shown(replace(beta("thing-2026-01-01"), places=(
        PlaceFact(place=Place(platform="vertex"), state="refused", source="docs"),
    )))  # fmt: skip
    data = beta_to_json(known)
    (fact,) = data["places"]
    assert (fact["platform"], fact["state"]) == ("vertex", "refused")
    for word in (
        {"platform": "moon"}, {"api": "grpc"}, {"state": "haunted"}, {"basis": "rumour"},
        {"status": "undead"}, {"platform": "anthropic", "hosting": "azure"},
    ):  # fmt: skip
        assert beta_from_json({**data, "places": [{**fact, **word}, fact]}) == known
    assert beta_from_json({**data, "status": "undead"}) == replace(known, status="unverified")
    moon = {**data["platforms"], "moon": {"state": "supported"}}
    assert beta_from_json({**data, "platforms": moon}) == known


def test_a_server_of_version_1_is_read_by_place() -> None:
    """What it guessed for other platforms is left out, and so is a platform of which nobody has heard."""
    old = beta_to_json(beta("thing-2026-01-01", state="unknown"))
    del old["places"]
    for state in old["platforms"].values():
        state |= {"state": "supported", "basis": "inferred"}
    old["platforms"]["vertex"] |= {"basis": "declared", "state": "refused"}
    old["exceptions"] = [
        {"platform": "foundry", "model": "claude-opus-5", "accepted": False, "source": "s"},
        {"platform": "moon", "accepted": True, "source": "s"},
    ]
    read = beta_from_json(old)
    assert [(str(fact.place), fact.state) for fact in read.places] == [
        ("vertex", "refused"),
        ("foundry for claude-opus-5", "refused"),
    ]
    assert read.platforms["aws"].state == "unknown"


VERSION_1: list[tuple[str, list[tuple[Place, str, Any]], tuple[str, str | None], str | None]] = [
    ("a report is declared", [(Place(platform="vertex"), "refused", "reported")],
     ("vertex", None), "refused"),
    ("the worst of Bedrock's APIs stands for all",
     [(Place(platform="bedrock", api="invoke"), "supported", "probed"),
      (Place(platform="bedrock", api="converse"), "refused", "reported")], ("bedrock", None), "refused"),
    ("one that agrees with the platform changes nothing",
     [(Place(platform="bedrock"), "supported", "declared"),
      (Place(platform="bedrock", api="mantle"), "supported", "traffic")], ("bedrock", None), None),
    ("a hosting of Foundry that refuses",
     [(Place(platform="foundry"), "supported", "declared"),
      (Place(platform="foundry", hosting="azure"), "refused", "reported")], ("foundry", None), "refused"),
    ("of regions that differ nothing is said",
     [(Place(platform="vertex", region="us-east5"), "refused", "probed"),
      (Place(platform="vertex", region="global"), "supported", "probed")], ("vertex", None), None),
    ("a model that is refused at one API is refused",
     [(Place(platform="bedrock"), "supported", "declared"),
      (Place(platform="bedrock", api="invoke", model="claude-opus-4-7"), "refused", "reported")],
     ("bedrock", "claude-opus-4-7"), "wrong_model"),
    ("and only that model",
     [(Place(platform="bedrock"), "supported", "declared"),
      (Place(platform="bedrock", api="invoke", model="claude-opus-4-7"), "refused", "reported")],
     ("bedrock", "claude-haiku-4-5"), None),
]  # fmt: skip


@pytest.mark.parametrize(("_why", "facts", "asked", "wanted"), VERSION_1)
def test_a_client_of_version_1_is_not_misled(
    _why: str,
    facts: list[tuple[Place, Any, Any]],
    asked: tuple[str, str | None],
    wanted: str | None,
) -> None:
    """What it has no words for is said in words that it has."""
    places = tuple(
        PlaceFact(place=place, state=state, basis=basis, accepted=state == "supported", source="s")
        for place, state, basis in facts
    )
    made = shown(replace(beta("thing-2026-01-01"), places=places, basis="reported"))
    data = snapshot_to_json(snapshot(made), 1)
    assert "places" not in data["betas"][0]
    known = version_1.read(json.loads(json.dumps(data)))["thing-2026-01-01"]
    assert version_1.drops(known, *asked) == wanted


def test_a_client_of_version_1_reads_the_whole_catalog() -> None:
    """And drops what is refused or over on a platform as a whole."""
    as_of, claims = parse_catalog(bundled_catalog())
    whole = snapshot_of(claims, as_of, NOW)
    betas = version_1.read(json.loads(json.dumps(snapshot_to_json(whole, 1))))
    assert set(betas) == set(whole.betas)
    for known in whole.betas.values():
        for fact in known.places:
            if fact.place.platform_wide and fact.state == "refused" and known.gate == "public":
                assert version_1.drops(betas[known.name], str(fact.place.platform))
