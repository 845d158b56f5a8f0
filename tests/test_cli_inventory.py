"""The inventory's commands: against the local database and against a registry, with files nobody trusts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry import auth, catalog, inventory
from registry.core.errors import Invalid
from registry.db import Database
from registry.inventory import Item, Report
from registry.inventory.backstage import MAX_BYTES, read_components
from tests.factories import claim, finding
from tests.test_cli import run

LIVE, GONE = "thing-2026-01-01", "gone-2024-12-01"

CATALOG = """
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: checkout
  annotations: {github.com/project-slug: acme/checkout}
spec: {type: service, owner: "group:default/payments"}
---
kind: API
metadata: {name: not-a-service}
---
kind: Component
metadata: {name: billing, annotations: {backstage.io/source-location: "url:https://git/billing"}}
spec: {owner: "user:alice"}
"""


@pytest.fixture
def filled(sqlite_url: str) -> str:
    """A local database with one service that uses a live and a retired beta."""
    from registry.config import now

    database = Database(sqlite_url)
    with database.write() as session:
        made = [claim(LIVE, source="docs"), claim(GONE, "status", "retired", source="docs")]
        catalog.apply(session, finding("docs", *made), now(), now())
        items = (
            Item(beta=LIVE, count=3, path="a.py", line=7), Item(beta=GONE, model="claude-x"),
            Item(beta="made-up", region="r-1"),
        )  # fmt: skip
        inventory.record(session, Report(service="checkout", items=items), now())
    database.close()
    return sqlite_url


@pytest.fixture(params=["local", "remote"])
def ask(
    request: pytest.FixtureRequest, filled: str, serve: Callable[..., httpx2.Client]
) -> Callable[..., Any]:
    """Run a command on the local database, or against a service."""
    from registry.config import now

    database = Database(filled)
    with database.write() as session:
        _, secret = auth.create(session, "test", "write", now())
    database.close()
    env = {"BETA_REGISTRY_DATABASE_URL": filled}
    if request.param == "remote":
        url = str(serve(database_url=filled).base_url)
        env = {"BETA_REGISTRY_URL": url, "BETA_REGISTRY_TOKEN": secret}
    return lambda *words: run(*words, env=env)


def test_services_inventory_and_users_are_shown(ask: Callable[..., Any]) -> None:
    """As tables and as JSON, the same from both places."""
    assert "failing" in ask("services").stdout
    shown = ask("services", "show", "checkout").stdout
    assert f"a.py:7: {LIVE}" in shown
    assert "Remove it" in shown
    rows = json.loads(ask("inventory", "--group-by", "status", "--json").stdout)["items"]
    assert [row["key"] for row in rows] == ["active", "retired", "unknown"]
    who = json.loads(ask("betas", "who", LIVE, "--json").stdout)
    assert (who["items"][0]["service"], who["radius"]["services"]) == ("checkout", 1)
    assert "1 service of 0 teams" in ask("betas", "who", LIVE).stdout
    table = list(csv.DictReader(io.StringIO(ask("inventory", "--csv", "--beta", LIVE).stdout)))
    assert [row["locations"] for row in table] == ["a.py:7"]
    for words in (("services", "show", "nobody"), ("inventory", "--status", "dead")):
        wrong = ask(*words)
        assert (wrong.returncode, wrong.stderr.count("\n"), wrong.stdout) == (1, 1, "")


def test_tables_show_the_whole_place(ask: Callable[..., Any]) -> None:
    """In a column of its own; the list of services has it beside the issue."""
    place = "anthropic for claude-x"
    for words in (("services", "show", "checkout"), ("inventory",), ("betas", "who", GONE)):
        table = ask(*words).stdout
        assert ("PLACE" in table, place in table) == (True, True)
    assert f"{GONE} (retired on {place})" in ask("services").stdout
    assert "PLACE" not in ask("inventory", "--group-by", "team").stdout
    assert "anthropic in r-1" in ask("betas", "who", "made-up").stdout
    assert "PLACE" in ask("report").stdout


def test_owners_come_from_backstage(ask: Callable[..., Any]) -> None:
    """Components only, in any document of the file; what is known besides stays."""
    Path("catalog-info.yaml").write_text(CATALOG)
    assert ask("services", "import", "catalog-info.yaml").stdout == "2 services imported.\n"
    items = json.loads(ask("services", "--json").stdout)["items"]
    found = {item["name"]: item for item in items}
    assert (found["checkout"]["team"], found["checkout"]["health"]) == ("payments", "failing")
    assert found["checkout"]["repository"] == "https://github.com/acme/checkout"
    assert (found["billing"]["team"], found["billing"]["owner"]) == (None, "user:alice")
    assert found["billing"]["repository"] == "https://git/billing"


BOMB = "a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(10)) + "}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9)
)  # fmt: skip
ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "more than 1000 members"),
        ("[" * 100_000, "nested too deeply"),
        ("kind: {", "line 1"),
        ("kind: Component\nmetadata: {name: !!python/name:os.system ''}", "constructor"),
        ("\x00", "cannot be read"),
        ("x: 2001-99-99", "cannot be read"),
        ("kind: Component\nmetadata: [1]", "no metadata.name"),
        ("kind: Component\nmetadata: {name: [checkout]}", "no metadata.name"),
        ("#" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_a_hostile_file_is_one_sentence(content: str, words: str) -> None:
    """It names the file, and costs neither time nor memory."""
    with pytest.raises(Invalid, match=words) as caught:
        read_components(content.encode(), "c.yaml")
    assert "c.yaml" in caught.value.detail


def test_aliases_of_aliases_cost_nothing() -> None:
    """They are shared, and only a few texts are read."""
    text = f"{ALIASES}---\nkind: Component\nmetadata: &m {{name: one, self: *m}}\n"
    assert [item.name for item in read_components(text.encode(), "c.yaml")] == ["one"]
