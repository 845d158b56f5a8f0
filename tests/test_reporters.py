"""Those who report usage against the real service: the client, the scan and the import of logs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from registry.client import Registry
from tests.waiting import until
from tests.web.conftest import DYING, GONE, LIVE, Service, start

__all__ = ["start"]


def users(service: Service, beta: str) -> dict[str, Any]:
    """Who uses a beta, by service."""
    items = service.get(f"/v1/betas/{beta}/usages", "read").json()["items"]
    return {item["service"]: item for item in items}


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
