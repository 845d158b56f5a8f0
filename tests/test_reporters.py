"""Those who report usage against the real service: the client, the scan and the import of logs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from registry.client import Registry, transport
from tests.waiting import until
from tests.web.conftest import DYING, GONE, LIVE, Service, start

__all__ = ["start"]


def users(service: Service, beta: str) -> dict[str, Any]:
    """Who uses a beta, by service."""
    items = service.get(f"/v1/betas/{beta}/usages", "read").json()["items"]
    return {item["service"]: item for item in items}


def placed(service: Service, name: str) -> list[dict[str, Any]]:
    """Where a service was seen with its betas, each part that is known."""
    betas = service.get(f"/v1/services/{name}", "read").json()["betas"]
    return [
        {part: word for part, word in item["place"].items() if word}
        for beta in betas
        for item in beta["places"]
    ]


def url_of(service: Service) -> str:
    """Where the service runs."""
    return str(service.http.base_url).rstrip("/")


def run(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line against the service, with a token that can only report."""
    command = [sys.executable, "-m", "registry.cli", "--url", url_of(service),
               "--token", service.tokens["report"], *arguments]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_client_reports_what_it_used(start: Callable[..., Service]) -> None:
    """Counts and refusals arrive; the beta's page and the inventory know the service."""
    service = start()
    with Registry(
        url_of(service), token=service.tokens["report"], service="checkout",
        environment="production", cache=False,
    ) as betas:  # fmt: skip
        assert betas.wait(60)
        answer = betas.header(LIVE)
        assert answer.headers == {"anthropic-beta": LIVE}
        refusal = {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": f"Unexpected value(s) `{LIVE}` for the `anthropic-beta` header.",
            },
        }
        assert betas.observe(answer, 400, {}, json.dumps(refusal)) == (LIVE,)
    until(lambda: users(service, LIVE).get("checkout"), "its usage")
    found = users(service, LIVE)["checkout"]
    assert (found["environment"], found["platform"]) == ("production", "anthropic")
    assert service.get(f"/v1/betas/{LIVE}").json()["services"] == 1
    assert service.get("/v1/services/checkout", "read").json()["health"] == "failing"


def test_a_scan_reports_lines_and_owners(start: Callable[..., Service], tmp_path: Path) -> None:
    """A later scan replaces an earlier one."""
    service = start()
    code = tmp_path / "shop"
    (code / "src").mkdir(parents=True)
    (code / "CODEOWNERS").write_text("* @ada\n")
    (code / "src" / "chat.py").write_text(f'\nBETAS = ["{DYING}", "{GONE}"]\n')
    done = run(service, "scan", str(code), "--report", "--service", "shop")
    assert done.returncode == 3, done.stderr
    found = users(service, DYING)["shop"]
    place = found["locations"][0]
    assert (place["path"], place["line"]) == ("shop/src/chat.py", 2)
    (code / "src" / "chat.py").write_text(f'BETAS = ["{DYING}"]\n')
    assert run(service, "scan", str(code), "--report", "--service", "shop").returncode == 2
    assert users(service, GONE) == {}
    assert users(service, DYING)["shop"]["locations"][0]["line"] == 1


def test_a_log_is_imported_and_reported_on(start: Callable[..., Service], tmp_path: Path) -> None:
    """What fails stands in the exposure report."""
    service = start()
    log = tmp_path / "access.jsonl"
    rows = [{"anthropic_beta": GONE, "service": "finder", "status": 400} for _ in range(7)]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for _ in range(2):
        done = run(service, "usage", "import", str(log))
        assert done.returncode == 0, done.stderr
    assert users(service, GONE)["finder"]["count_24h"] == 7
    report: httpx2.Response = service.get("/v1/report?days=7", "read")
    assert GONE in report.text


CONVERSE = {"platform": "bedrock", "api": "converse", "region": "eu-west-1", "model": "claude-x"}


def test_the_client_tells_where_it_sends(start: Callable[..., Service]) -> None:
    """What it was asked with, and what the middle of a program knows of a request."""
    service = start()
    with Registry(
        url_of(service), token=service.tokens["report"], service="checkout", cache=False
    ) as betas:
        betas.header(LIVE, platform="foundry", hosting="azure", region="swedencentral")
    with Registry(
        url_of(service), token=service.tokens["report"], service="search", cache=False
    ) as betas:
        url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/claude-x/converse"
        fake = httpx2.MockTransport(lambda _: httpx2.Response(200, json={}))
        with httpx2.Client(transport=transport(betas, fake)) as http:
            body = {"additionalModelRequestFields": {"anthropic_beta": [LIVE]}}
            assert http.post(url, json=body).is_success
    assert placed(service, "checkout") == [
        {
            "platform": "foundry",
            "hosting": "azure",
            "region": "swedencentral",
            "endpoint": "messages",
        }
    ]
    assert placed(service, "search") == [{**CONVERSE, "endpoint": "messages"}]


def test_a_scan_tells_what_it_is_for(start: Callable[..., Service], tmp_path: Path) -> None:
    """Its options say it."""
    service = start()
    (tmp_path / "chat.py").write_text(f'BETAS = ["{LIVE}"]\n')
    options = [word for part, text in CONVERSE.items() for word in (f"--{part}", text)]
    done = run(service, "scan", str(tmp_path), "--report", "--service", "shop", *options)
    assert done.returncode in (0, 2, 3), done.stderr
    assert placed(service, "shop") == [CONVERSE]


def test_a_log_tells_where_requests_went(start: Callable[..., Service], tmp_path: Path) -> None:
    """By its own words, by addresses, or by what the command is told."""
    service, log = start(), tmp_path / "access.jsonl"
    row = {
        "service": "finder", "operation": "Converse", "region": "eu-west-1", "modelId": "claude-x",
        "input": {"inputBodyJson": {"additionalModelRequestFields": {"anthropic_beta": [LIVE]}}},
    }  # fmt: skip
    path = "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/claude-x:rawPredict"
    url = f"https://europe-west1-aiplatform.googleapis.com{path}"
    rows = [row, {"service": "other", "anthropic_beta": LIVE, "url": url}]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = run(service, "usage", "import", str(log))
    assert done.returncode == 0, done.stderr
    assert placed(service, "finder") == [CONVERSE]
    assert placed(service, "other") == [
        {
            "platform": "vertex",
            "region": "europe-west1",
            "model": "claude-x",
            "endpoint": "messages",
        }
    ]
    listed = tmp_path / "betas.txt"
    listed.write_text(f"{LIVE} 3\n")
    given = ("--platform", "foundry", "--hosting", "azure", "--region", "swedencentral")
    done = run(service, "usage", "import", str(listed), "--service", "lists", *given)
    assert done.returncode == 0, done.stderr
    assert placed(service, "lists") == [
        {"platform": "foundry", "hosting": "azure", "region": "swedencentral"}
    ]
    wrong = run(service, "usage", "import", str(listed), "--service", "lists", "--api", "invoke")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
