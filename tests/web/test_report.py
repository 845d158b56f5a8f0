"""The exposure report and imports over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from registry.config import now
from registry.core.facts import rfc3339
from tests.web.conftest import GONE, LIVE, Service

FILE, ONE = "f" * 64, "1" * 64


def batch(**more: Any) -> dict[str, Any]:
    """A batch with one report."""
    items = [{"beta": LIVE, "count": 10}, {"beta": GONE, "count": 4}]
    report = {"service": "shop", "source": "gateway", "items": items,
              "window": {"start": rfc3339(now()), "stop": rfc3339(now())}}  # fmt: skip
    checks = b"ab".hex()
    return {"number": 0, "line": 7, "digest": ONE, "checks": checks, "reports": [report], **more}


def test_a_batch_counts_once_and_the_report_tells_of_it(service: Service) -> None:
    """Recorded, refused as a repeat, listed as a mark, and told as JSON and Markdown."""
    path = f"/v1/imports/{FILE}"
    assert service.get(path, "report").json()["items"] == []
    done = service.call("POST", path, "report", json=batch())
    assert (done.status_code, done.json()["items"]) == (200, 2)
    again = service.call("POST", path, "report", json=batch())
    assert (again.status_code, again.json()["type"]) == (409, "/problems/import-moved")
    assert service.get(path, "report").json()["items"] == [{"line": 7, "digest": ONE}]
    assert service.get(f"{path}/checks?after=6", "report").json()["items"] == ["6162"]
    assert service.get(f"{path}/checks?after=7", "report").json()["items"] == []

    found = service.get("/v1/report?days=7", "read")
    body = found.json()
    assert (body["days"], body["requests"]["total"], body["requests"]["failing"]) == (7, 10, 4)
    assert body["findings"][0]["beta"] == GONE
    assert body["changes"][0]["value_after"] == LIVE
    assert found.headers["etag"]
    for more in ({"params": {"format": "markdown"}}, {"headers": {"Accept": "text/markdown"}}):
        text = service.get("/v1/report", "read", **more)
        assert text.headers["content-type"] == "text/markdown; charset=utf-8"
        assert text.text.startswith("# Exposure to betas")
    assert service.get("/v1/report?platform=vertex", "read").json()["services"]["total"] == 0


@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        ("GET", "/v1/report", None, 401),
        ("GET", "/v1/report", "report", 403),
        ("GET", f"/v1/imports/{FILE}", None, 401),
        ("POST", f"/v1/imports/{FILE}", "read", 403),
        ("GET", "/v1/report?days=0", "read", 422),
        ("GET", "/v1/report?days=x", "read", 422),
        ("GET", "/v1/report?format=pdf", "read", 422),
        ("GET", "/v1/report?platform=mars", "read", 422),
        ("GET", "/v1/imports/xyz", "report", 422),
        ("POST", f"/v1/imports/{FILE}", "report", 422),
    ],
)
def test_who_may_and_what_is_refused(
    service: Service, method: str, path: str, scope: str | None, status: int
) -> None:
    """With a problem document, whatever is wrong."""
    found = service.call(method, path, scope)
    assert found.status_code == status
    assert found.headers["content-type"] == "application/problem+json"


def test_bad_batches_change_nothing(service: Service) -> None:
    """A wrong source, a wrong digest, checks that are no base64, a time from the future."""
    future = batch()
    future["reports"][0]["window"]["stop"] = "2999-01-01T00:00:00Z"
    client = batch()
    client["reports"][0]["source"] = "client"
    for bad in (future, client, batch(digest="x"), batch(checks="*"), batch(number=-1)):
        assert service.call("POST", f"/v1/imports/{FILE}", "report", json=bad).status_code == 422
    assert service.get(f"/v1/imports/{FILE}", "report").json()["items"] == []
