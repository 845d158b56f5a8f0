"""The exports over real HTTP: shapes, access, and that each says what the registry says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from registry import catalog, exchange
from registry.core.exports import COLUMNS, parse_litellm
from registry.core.places import KNOWN_PLACES
from registry.db import Database
from registry.sources import collect
from registry.sources.litellm import LiteLLMSource
from tests.factories import NOW, claim, finding
from tests.waiting import until
from tests.web.conftest import DONE, DYING, GONE, LIVE, TWIN_A, TWIN_B, Service

URL = "/v1/export/litellm.json"
THEIRS: dict[str, Any] = {
    "description": "Theirs.",
    "anthropic": {LIVE: None, GONE: GONE, DONE: None, "mine-1": "mine-1"},
    "vertex_ai": {LIVE: "renamed-1", GONE: GONE},
    "vertex_ai_header_only": {DYING: DYING},
}
TWINS = {TWIN_A: TWIN_A, TWIN_B: TWIN_B}
"""What no test here is about."""


def sync(database: Database, tmp_path: Path, config: Any) -> None:
    """Let the source read LiteLLM's file."""
    file = tmp_path / "litellm.json"
    file.write_text(json.dumps(config))
    with database.write() as session:
        memo = catalog.source_memo(session, "litellm")
        with httpx2.Client() as http:
            found = collect(LiteLLMSource(str(file)), http, memo, NOW)
        catalog.apply(session, found, NOW, NOW)


def test_litellm_gets_our_word_and_its_own(
    start: Callable[..., Service], database: Database, tmp_path: Path
) -> None:
    """Nothing is read when it asks: LiteLLM's words were kept when its file was."""
    sync(database, tmp_path, THEIRS)
    (tmp_path / "litellm.json").unlink()
    answer = start().get(URL, follow_redirects=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    made = parse_litellm(answer.content)
    assert made.description == "Theirs."
    assert set(made.columns) == set(COLUMNS)
    assert made.columns["anthropic"] == {LIVE: LIVE, DYING: DYING, DONE: None, GONE: None,
                                         "mine-1": "mine-1", "renamed-1": "renamed-1", **TWINS}  # fmt: skip
    assert made.columns["vertex_ai"][LIVE] == "renamed-1"
    assert made.columns["vertex_ai"][GONE] is None
    assert made.header_only["vertex_ai"] == {DYING: DYING}


def test_an_unchanged_file_leaves_its_words_known(
    start: Callable[..., Service], database: Database, tmp_path: Path
) -> None:
    """A second run that finds the same remembers what the first one read."""
    sync(database, tmp_path, THEIRS)
    sync(database, tmp_path, THEIRS)
    made = parse_litellm(start().get(URL).content)
    assert made.columns["vertex_ai"][LIVE] == "renamed-1"


def test_without_litellms_file_there_is_an_export_too(service: Service) -> None:
    """What nobody knows passes for anthropic, and nowhere else; the description says so."""
    made = parse_litellm(service.get(URL).content)
    assert made.columns["anthropic"][LIVE] == LIVE
    assert set(made.columns["databricks"].values()) == {None}
    assert "has not been read" in str(made.description)


def test_a_change_is_seen_at_the_next_read(service: Service) -> None:
    """The config is kept only as long as the snapshot."""
    before = service.get(URL)
    assert service.get(URL, headers={"If-None-Match": before.headers["etag"]}).status_code == 304
    changed = {"status": "retired", "accepted": False, "reason": "told so"}
    assert service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=changed).status_code == 200
    until(
        lambda: parse_litellm(service.get(URL).content).columns["anthropic"][LIVE] is None,
        "the export without the retired beta",
    )


def test_an_import_by_hand_is_weak_evidence(database: Database) -> None:
    """Its names are unverified, its words are repeated, and a smaller file replaces it."""
    theirs = parse_litellm(json.dumps(THEIRS).encode())
    with database.write() as session:
        catalog.apply(session, finding("docs", claim(LIVE, source="docs")), NOW, NOW)
        events = exchange.apply_litellm(session, theirs, NOW)
        known = catalog.snapshot(session).betas
        assert all(event.backfill for event in events)
        assert (known[LIVE].status, known[GONE].status) == ("active", "unverified")
        many: dict[str, str | None] = {f"many-2026-01-{day:02}": None for day in range(1, 29)}
        exchange.apply_litellm(session, parse_litellm(_only(many)), NOW)
        exchange.apply_litellm(session, parse_litellm(_only({"few-1": "few-1"})), NOW)
        words = exchange.litellm_words(session)
    assert words is not None
    assert words.columns == {"anthropic": {"few-1": "few-1"}}


def _only(column: dict[str, str | None]) -> bytes:
    return json.dumps({"anthropic": column}).encode()


def test_the_later_words_count(database: Database, tmp_path: Path) -> None:
    """A file imported today outweighs the one that was read before, until that is read anew."""
    sync(database, tmp_path, {"anthropic": {LIVE: None, DONE: DONE}})
    with database.write() as session:
        exchange.apply_litellm(session, parse_litellm(_only({LIVE: LIVE})), NOW)
        words = exchange.litellm_words(session)
    assert words is not None
    assert words.columns["anthropic"] == {LIVE: LIVE, DONE: DONE}


@pytest.mark.parametrize("path", [URL, "/v1/export/catalog.json", "/v1/export/renovate/thing.json"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_may_read(start: Callable[..., Service], path: str) -> None:
    """Everybody where reads are public; else a token of scope feed, report or read, in the URL too."""
    service = start(public_read=False)
    assert service.get(path).status_code == 401
    assert service.get(f"{path}?token=wrong").status_code == 401
    for scope in ("feed", "read", "report"):
        assert service.get(f"{path}?token={service.tokens[scope]}").status_code == 200
    assert service.get(path, "read").status_code == 200


def test_renovate_gets_the_dates(service: Service) -> None:
    """An unknown feature is a problem document."""
    found = service.get("/v1/export/renovate/dying.json").json()
    assert [(one["version"], one["isDeprecated"]) for one in found["releases"]] == [
        ("2025-06-01", True)
    ]
    lost = service.get("/v1/export/renovate/thin.json")
    assert (lost.status_code, lost.json()["type"]) == (404, "/problems/not-found")
    assert "thing" in lost.json()["detail"]
    assert service.get("/v1/export/renovate/%F0%9F%98%80%00.json").status_code == 404


@pytest.mark.parametrize("slug", KNOWN_PLACES)
def test_an_allow_list_says_what_the_header_does(service: Service, slug: str) -> None:
    """What `filter` sends is allowed or unproven there, what it drops is denied; an unknown place is 404."""
    made = service.get(f"/v1/export/allowlist/{slug}.json").json()
    place = KNOWN_PLACES[slug]
    parts = {"platform": place.platform, "api": place.api, "hosting": place.hosting}
    query = "&".join(f"{key}={value}" for key, value in parts.items() if value)
    names = [*made["allow"], *made["deny"], *made["unproven"]]
    found = service.get(f"/v1/header?policy=filter&beta={','.join(names)}&{query}").json()
    assert {d["requested"] for d in found["dropped"] if d["reason"] != "ga"} == set(made["deny"])
    lost = service.get("/v1/export/allowlist/azure.json")
    assert (lost.status_code, "foundry-azure" in lost.json()["detail"]) == (404, True)


def test_envoys_backends_deny_what_the_header_drops(service: Service) -> None:
    """One document a backend, with the list of its place; a backend without refusals has no filter."""
    found = service.get("/v1/export/envoy-ai-gateway.yaml")
    assert found.headers["content-type"].startswith("application/yaml")
    backends = {
        made["spec"]["schema"]["name"]: made["spec"] for made in yaml.safe_load_all(found.text)
    }
    for schema, slug in (("AWSAnthropic", "bedrock-invoke"), ("GCPAnthropic", "vertex")):
        denied = service.get(f"/v1/export/allowlist/{slug}.json").json()["deny"]
        filters = backends[schema].get("headerValueFilters", [])
        assert [made["values"] for made in filters] == ([denied] if denied else [])
        assert all(
            (made["name"], made["mode"]) == ("anthropic-beta", "Denylist") for made in filters
        )


def test_an_export_imports_without_loss(service: Service) -> None:
    """The catalog's route still is what it was."""
    assert service.get("/v1/export/catalog.json").json()["format"] == "beta-registry/catalog-2"
