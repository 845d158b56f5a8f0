"""The real LiteLLM, in a process of its own, loads our export from the real service and filters by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest

from registry import auth, catalog
from registry.config import now
from registry.core.exports import COLUMNS, parse_litellm
from registry.db import Database
from registry.sources import collect
from registry.sources.catalog import CatalogSource
from registry.sources.litellm import LiteLLMSource

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PATH = "/v1/export/litellm.json"
GONE = "prompt-tools-2025-04-02"
ASK = """
import json, sys
from litellm import anthropic_beta_headers_manager as manager
names, providers = json.load(sys.stdin)
loaded = manager.reload_beta_headers_config()
found = {"loaded": loaded, "one": {}, "headers": {}, "body": {}}
for provider in providers:
    found["one"][provider] = {
        name: manager.filter_and_transform_beta_headers([name], provider) for name in names
    }
    headers, body = manager.update_request_with_filtered_beta(
        {"anthropic-beta": ", ".join(names)}, {"anthropic_beta": list(names)}, provider
    )
    found["headers"][provider] = headers.get("anthropic-beta")
    found["body"][provider] = body.get("anthropic_beta")
print("\\n" + json.dumps(found))
"""


def litellms_file() -> bytes:
    """The config in the installed package."""
    return (files("litellm") / "anthropic_beta_headers_config.json").read_bytes()


def sdk_names() -> tuple[str, ...]:
    """The names in the installed official SDK."""
    from anthropic.types.anthropic_beta_param import AnthropicBetaParam

    return tuple(get_args(get_args(AnthropicBetaParam)[1]))


def ask_litellm(url: str | None, names: list[str]) -> Any:
    """Let LiteLLM load the config (its own without a URL) and filter names for every provider."""
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    settings |= (
        {"LITELLM_ANTHROPIC_BETA_HEADERS_URL": url}
        if url
        else {"LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
    )
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps([names, list(COLUMNS)]), text=True,
        capture_output=True, check=False, timeout=300, env={**os.environ, **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Falling back to local backup" not in done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def service(
    database: Database, serve: Callable[..., httpx2.Client], tmp_path: Path
) -> httpx2.Client:
    """A registry that holds the bundled catalog and has read LiteLLM's file."""
    file = tmp_path / "litellm.json"
    file.write_bytes(litellms_file())
    with database.write() as session, httpx2.Client() as http:
        for source in (CatalogSource(), LiteLLMSource(str(file))):
            catalog.apply(session, collect(source, http, {}, now()), now(), now())
    return serve(database_url=database.url.render_as_string(hide_password=False))


def test_litellm_filters_as_our_export_promises(service: httpx2.Client) -> None:
    """Its loader takes the file whole, and every name comes out as the rules say."""
    url = f"{service.base_url}{PATH}"
    ours = parse_litellm(service.get(PATH).content)
    names = sorted({*sdk_names(), *ours.names})
    found = ask_litellm(url, names)
    assert found["loaded"] == ours.to_json()
    for provider in COLUMNS:
        column = ours.columns[provider]
        promised = {name: [sends] if (sends := column[name]) else [] for name in names}
        assert found["one"][provider] == promised
        together = sorted({sends for sends in column.values() if sends})
        assert found["headers"][provider] == ",".join(together)
        assert found["body"][provider] == together


def test_litellm_lets_through_what_is_alive(service: httpx2.Client) -> None:
    """Every name of the SDK that the API takes, and none that it refuses; its own file drops most.

    What its file lets through is held back only where it is known to be refused.
    """
    names = list(sdk_names())
    alive = {
        item["name"]
        for item in service.get("/v1/betas?limit=500").json()["items"]
        if item["name"] in names and (item["accepted"] or item["status"] != "retired")
    }
    ours = ask_litellm(f"{service.base_url}{PATH}", names)
    own = ask_litellm(None, names)
    passing = {name for name in names if ours["one"]["anthropic"][name]}
    before = {name for name in names if own["one"]["anthropic"][name]}
    assert passing == alive
    assert GONE not in passing
    assert before < passing
    for provider, place in COLUMNS.items():
        kept = [name for name in names if own["one"][provider][name]]
        dead = [name for name in kept if not ours["one"][provider][name]]
        asked = {"betas": dead} | ({"platform": place.platform, "api": place.api} if place else {})
        told = service.post("/v1/check", json=asked).json()["betas"]
        assert {item["verdict"] for item in told} <= {"refused", "retired"}


def test_litellm_reads_it_with_a_token_in_the_url(
    database: Database, serve: Callable[..., httpx2.Client], service: httpx2.Client
) -> None:
    """LiteLLM sends no headers of its own."""
    with database.write() as session:
        secret = auth.create(session, "gateway", "feed", now())[1]
    url = database.url.render_as_string(hide_password=False)
    closed = serve(database_url=url, public_read=False)
    assert closed.get(PATH).status_code == 401
    asked = f"{closed.base_url}{PATH}?token={secret}"
    found = ask_litellm(asked, [GONE])
    assert found["loaded"] == service.get(PATH).json()
