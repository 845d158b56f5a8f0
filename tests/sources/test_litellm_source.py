"""LiteLLM's beta config: a weak word on what each provider takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry.core.facts import Finding
from registry.sources import SourceError, collect
from registry.sources.litellm import LiteLLMSource
from tests.factories import NOW, field_of
from tests.sources.index_server import Index, wheel

TOOLS = "advanced-tool-use-2025-11-20"
CONFIG = {
    "description": "Made by hand.",
    "provider_aliases": {"azure": "azure_ai"},
    "anthropic": {TOOLS: TOOLS, "files-api-2025-04-14": "files-api-2025-04-14"},
    "bedrock": {TOOLS: "tool-search-tool-2025-10-19", "files-api-2025-04-14": None},
    "vertex_ai": {TOOLS: "tool-search-tool-2025-10-19"},
}


def read(tmp_path: Path, http: httpx2.Client, config: Any) -> Finding:
    """Read a config from a file."""
    file = tmp_path / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return collect(LiteLLMSource(str(file)), http, {}, NOW)


def said(found: Finding, name: str) -> dict[str, Any]:
    """What is said of one beta."""
    return {field_of(claim): claim.value for claim in found.claims if claim.beta == name}


def test_support_and_renames_per_provider(tmp_path: Path, http: httpx2.Client) -> None:
    """One name may be another elsewhere; all of it is weaker than any other word."""
    found = read(tmp_path, http, CONFIG)
    assert said(found, TOOLS)["names on bedrock (invoke)"] == ["tool-search-tool-2025-10-19"]
    assert said(found, TOOLS)["platforms.vertex.names"] == ["tool-search-tool-2025-10-19"]
    assert {claim.basis for claim in found.claims} == {"litellm"}


def test_the_newest_wheel_is_read_by_range(index: Index, http: httpx2.Client) -> None:
    """And a second run reads the page only."""
    body = wheel({"litellm/anthropic_beta_headers_config.json": json.dumps(CONFIG)})
    old = wheel({"litellm/anthropic_beta_headers_config.json": "{}"})
    index.add("litellm", "litellm-1.9.0-py3-none-any.whl", old, "2026-01-01")
    index.add("litellm", "litellm-1.10.0-py3-none-any.whl", body, "2026-02-01")
    source = LiteLLMSource(index_url=index.url)
    first = collect(source, http, {}, NOW)
    assert said(first, TOOLS)
    assert {claim.version for claim in first.claims} == {"1.10.0"}
    index.paths.clear()
    assert collect(source, http, first.memo, NOW).unchanged
    assert len(index.paths) == 1


@pytest.mark.parametrize(
    "rubbish",
    ["", "{", "[]", "3", '{"anthropic": []}', "{}", "[" * 100_000],
    ids=["empty", "cut", "list", "number", "column", "nothing", "nested"],
)
def test_rubbish_is_refused_in_a_sentence(
    tmp_path: Path, http: httpx2.Client, rubbish: str
) -> None:
    """It changes nothing."""
    with pytest.raises(SourceError):
        read(tmp_path, http, rubbish)
