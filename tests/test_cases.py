"""What happened to people in public, asked of the real service with the bundled catalog: no case may come back.

`data/cases.jsonl` holds a request or a paste, its day and thread, and what the registry must say of it. `why`
stands where the expectation is not what the thread wished for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from click.testing import CliRunner

from registry.cli import cli
from tests.surfaces import running

CASES: Final[list[dict[str, Any]]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "cases.jsonl").read_text("utf-8").splitlines()
]


def of(kind: str) -> Any:
    """The cases of a kind, for a test that takes a `case`."""
    found = [pytest.param(case, id=case["id"]) for case in CASES if case["kind"] == kind]
    return pytest.mark.parametrize("case", found)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A registry that holds the bundled catalog and nothing else."""
    with running(tmp_path_factory.mktemp("cases")) as surfaces:
        yield surfaces.http


@of("header")
def test_what_is_sent(service: httpx2.Client, case: dict[str, Any]) -> None:
    """Under `filter`: what upstream refused is dropped, what it took stays."""
    found = service.get("/v1/header", params=case["input"]).json()
    sent = set(found["value"].split(","))
    expect = case["expect"]
    assert not sent & set(expect["drop"])
    assert sent >= set(expect["keep"])
    spoken_of = {item["requested"] for item in found["dropped"]}
    spoken_of |= {item["requested"] for item in found["betas"] if item["warnings"]}
    assert spoken_of >= {*expect["drop"], *expect.get("told", [])}


@of("check")
def test_what_is_said_of_a_value(service: httpx2.Client, case: dict[str, Any]) -> None:
    """The verdict, and the words that help."""
    found = service.post("/v1/check", json=case["input"]).json()
    expect = case["expect"]
    assert found["betas"][0]["verdict"] in expect["verdict"]
    assert found["valid"] is expect.get("valid", found["valid"])
    for words in expect.get("says", []):
        assert words in json.dumps(found).lower()


@of("diagnose")
def test_what_an_answer_means(service: httpx2.Client, case: dict[str, Any]) -> None:
    """Command line and HTTP say the same of the same paste; the registry's own knowledge stands in it."""
    found = service.post(
        "/v1/diagnose", json={"status": None, "headers": {}, "body": case["input"]}
    ).json()
    expect = case["expect"]
    assert found["verdict"] == expect["verdict"]
    for key in ("reason", "platform", "refused"):
        assert found[key] == expect.get(key, found[key])
    assert set(expect.get("hints", [])) <= set(found.get("hints", []))
    assert set(expect.get("betas", [])) <= {item["name"] for item in found["betas"]}
    said = f"{found['explanation']} {found['advice']}"
    for words in [*expect.get("says", []), *expect.get("suspect", [])]:
        assert words in said
    if suspects := set(expect.get("suspect", [])):
        assert found["send_instead"]["value"]
        assert not suspects & set(found["send_instead"]["value"].split(","))
    if "omit" in expect:
        assert found["send_instead"]["omit"] is expect["omit"]
    told = CliRunner().invoke(
        cli, ["diagnose", "--json", "--url", str(service.base_url)], input=case["input"]
    )
    assert {**json.loads(told.stdout), "services": None} == {**found, "services": None}
