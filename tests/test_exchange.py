"""Exchanging facts with gateways on the command line, as its users run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.test_cli import run

MCP, GONE, MINE = "mcp-client-2025-11-20", "prompt-tools-2025-04-02", "mine-2026-01-01"
THEIRS = {"anthropic": {GONE: GONE, MINE: MINE}, "vertex_ai": {MCP: MCP}, "databricks": {MCP: MCP}}


@pytest.fixture
def local() -> str:
    """A database with the bundled catalog, where the command line looks for one."""
    found = run("sync", "catalog")
    assert found.returncode == 0, found.stderr
    return "registry"


@pytest.fixture
def theirs() -> str:
    """A gateway's config."""
    Path("theirs.json").write_text(json.dumps(THEIRS))
    return "theirs.json"


def rows(*arguments: str) -> dict[tuple[str, str], Any]:
    """The differences that a command prints as JSON, by name and provider."""
    found = run("--json", *arguments)
    assert found.returncode == 0, found.stderr
    items = json.loads(found.stdout)["items"]
    return {(item["name"], item["provider"]): item for item in items}


def test_without_a_database_the_bundled_catalog_is_exported() -> None:
    """And nothing is made on the disk."""
    found = run("export", "litellm")
    assert json.loads(found.stdout)["anthropic"][MCP] == MCP
    assert list(Path().iterdir()) == []


def test_every_difference_has_its_reason(local: str, theirs: str) -> None:
    """Before anybody points a gateway at us."""
    found = rows("export", "litellm", "--diff", theirs)
    assert found[GONE, "anthropic"]["ours"] is None
    assert "was retired on 2026-08-17" in found[GONE, "anthropic"]["why"]
    assert found[MCP, "anthropic"]["missing"]
    assert all(item["why"] for item in found.values())
    table = run("export", "litellm", "--diff", theirs).stdout
    assert "NAME" in table
    assert f"{len(found)} differences" in table


def test_a_dry_run_changes_nothing_and_an_import_repeats_their_words(
    local: str, theirs: str
) -> None:
    """Where we have evidence, ours stands."""
    shown = rows("import", "--format", "litellm", "--dry-run", theirs)
    assert shown == rows("export", "litellm", "--diff", theirs)
    done = run("import", "--format", "litellm", theirs)
    assert (done.returncode, "Imported: 3 names" in done.stdout) == (0, True)
    assert "Theirs will be repeated." in done.stdout
    made = json.loads(run("export", "litellm").stdout)
    assert made["databricks"][MCP] == MCP
    assert made["anthropic"][MINE] == MINE
    assert made["anthropic"][GONE] is None
    kept = rows("export", "litellm", "--diff", theirs)
    assert all(item["own"] or item["missing"] for item in kept.values())
    shown_beta = json.loads(run("betas", "show", MINE, "--json").stdout)
    assert shown_beta["status"] == "unverified"


def test_a_remote_registry_is_compared_too(
    local: str, theirs: str, serve: Callable[..., httpx2.Client]
) -> None:
    """Its export and its snapshot are read; the result is the same."""
    url = str(serve(database_url="sqlite:///beta-registry.db").base_url)
    here = rows("export", "litellm", "--diff", theirs)
    there = rows("--url", url, "export", "litellm", "--diff", theirs)
    assert {key: item["ours"] for key, item in there.items()} == {
        key: item["ours"] for key, item in here.items()
    }
    assert run("--url", url, "export", "litellm").stdout == run("export", "litellm").stdout


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "it is not JSON (line 1)"),
        ("[]", "not one JSON object"),
        ('{"anthropic": {"a-1": 3}}', "`anthropic.a-1` is a number"),
        ('{"vertex_ai": []}', "`vertex_ai` is a list"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(config: str, says: str) -> None:
    """In one line, whatever was to be done with it."""
    Path("wrong.json").write_text(config)
    for command in (["export", "litellm", "--diff"], ["import", "--format", "litellm"]):
        found = run(*command, "wrong.json")
        assert (found.returncode, found.stderr.count("\n")) == (1, 1)
        assert says in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [["export", "--diff", "x.json"], ["import", "--dry-run", "x.json"],
     ["export", "litellm", "--diff", "x.json", "-o", "y.json"], ["header", "--format", "yaml"],
     ["export", "litellm", "--diff", "nowhere.json"]],
)  # fmt: skip
def test_what_does_not_go_together_is_told(arguments: list[str]) -> None:
    """One line, exit code 1."""
    Path("x.json").write_text("{}")
    found = run(*arguments)
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("form", "says"),
    [("value", MCP), ("env", f"ANTHROPIC_BETAS={MCP}"), ("json", '"placement": "header"'),
     ("claude-code", f'"ANTHROPIC_BETAS": "{MCP}"'), ("python", f'betas=["{MCP}"]'),
     ("typescript", f'betas: ["{MCP}"]'), ("curl", f"anthropic-beta: {MCP}")],
)  # fmt: skip
def test_headers_ready_to_paste(form: str, says: str) -> None:
    """Each format of `header --format`."""
    assert says in run("header", "mcp-client", "--format", form).stdout


def test_nothing_to_send_is_printed_as_nothing() -> None:
    """A value that is empty is no line."""
    assert run("header", "--format", "value").stdout == ""
    assert run("header", "--format", "env").stdout.startswith("#")
