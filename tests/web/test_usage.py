"""The inventory over HTTP: reports, services, who uses what, and header calls that count."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from tests.waiting import until
from tests.web.conftest import DYING, GONE, LIVE, Service

PROBLEM = "application/problem+json"


def report(to: Service, *items: dict[str, Any] | str, **more: Any) -> Any:
    """Report usage; returns the answer."""
    made = [item if isinstance(item, dict) else {"beta": item, "count": 1} for item in items]
    headers = more.pop("headers", {})
    body = {"service": "checkout", "environment": "prod", "source": "client", "items": made} | more
    return to.call("POST", "/v1/usages", "report", json=body, headers=headers)


def test_a_report_says_what_became_of_it(service: Service) -> None:
    """What was kept, what is unknown, what is at risk and what to do."""
    answer = report(service, LIVE, {"beta": DYING, "count": 3, "refused": 1, "path": "a.py",
                                    "line": 3, "url": "https://x/a.py#L3"}, "odd-1", "no name")  # fmt: skip
    assert answer.status_code == 200
    found = answer.json()
    assert (found["items"], found["betas"], found["unknown"]) == (3, 3, ["odd-1"])
    assert [(risk["beta"], risk["issue"], risk["use_instead"]) for risk in found["at_risk"]] == [
        (DYING, "deprecated", LIVE)
    ]
    assert found["not_kept"] == [{"beta": "no name", "reason": "malformed"}]
    assert service.get("/v1/betas/odd-1").status_code == 404
    assert service.get(f"/v1/betas/{DYING}").json()["services"] == 1
    assert service.get("/v1/betas?q=dying").json()["items"][0]["services"] == 1


def test_a_repeat_with_its_key_adds_nothing_and_another_report_is_refused(service: Service) -> None:
    """422 with a problem of its own."""
    key = {"Idempotency-Key": "k-1"}
    assert report(service, LIVE, headers=key).json()["repeated"] is False
    assert report(service, LIVE, headers=key).json()["repeated"] is True
    other = report(service, DYING, headers=key)
    assert (other.status_code, other.headers["content-type"]) == (422, PROBLEM)
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert service.get("/v1/inventory", "read").json()["items"][0]["count_30d"] == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"items": "x"}, "items"),
        ({"items": [{"count": 1}]}, "beta"),
        ({"items": [{"beta": LIVE, "count": -1}]}, "count"),
        ({"items": [{"beta": LIVE, "count": 1e30}]}, "count"),
        ({"items": [{"beta": LIVE, "count": True}]}, "count"),
        ({"items": [{"beta": LIVE, "line": -1}]}, "line"),
        ({"items": [{"beta": LIVE, "path": "a", "url": "javascript:x"}]}, "https://"),
        ({"items": [{"beta": LIVE}] * 20_001}, "items"),
        ({"window": {"start": "yesterday", "stop": "today"}}, "no time"),
        ({"window": {"start": "2999-01-01", "stop": "2999-01-02"}}, "future"),
        ({"window": {"start": "2001-01-01", "stop": "2001-01-02"}}, "400 days"),
        ({"source": "guess"}, "client, scan or gateway"),
        ({"platform": "azure"}, "not a platform"),
        ({"service": "a\u0000b"}, "printable"),
        ({"service": ["x"]}, "service"),
        ({"environment": "\ud800"}, "environment"),
    ],
)
def test_a_wrong_report_is_one_sentence(service: Service, more: Any, words: str) -> None:
    """422, a problem document, and nothing is kept."""
    body = {"service": "checkout", "items": [{"beta": LIVE}]} | more
    # As text of its own: the client would refuse to send a lone surrogate.
    answer = service.call("POST", "/v1/usages", "report", content=json.dumps(body),
                          headers={"Content-Type": "application/json"})  # fmt: skip
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert words in answer.json()["detail"]
    assert service.get("/v1/services", "read").json()["items"] == []


def test_usage_needs_tokens(service: Service) -> None:
    """`report` reports and reads nothing; reading needs `read`, declaring `write`; exports take `feed`."""
    body = {"service": "a", "items": []}
    codes = {
        scope: service.call("POST", "/v1/usages", scope, json=body).status_code
        for scope in (None, "read", "feed", "report", "write", "admin")
    }
    assert codes == {None: 401, "read": 403, "feed": 403, "report": 200, "write": 200, "admin": 200}
    for path in ("/v1/services", "/v1/services/a", "/v1/inventory", f"/v1/betas/{LIVE}/usages"):
        found = [service.get(path, scope).status_code for scope in (None, "report", "read")]
        assert found == [401, 403, 200]
    assert service.call("PUT", "/v1/services/a", "read", json={}).status_code == 403
    export = "/v1/export/inventory.csv"
    assert service.get(export).status_code == 401
    assert service.get(f"{export}?token={service.tokens['feed']}").status_code == 200
    assert service.get(f"{export}?token={service.tokens['report']}").status_code == 403


def test_a_service_is_declared_shown_and_listed(service: Service) -> None:
    """201 when it is new, 200 after that; its shape is that of the contract."""
    body = {"team": "red", "owner": "alice", "contacts": ["#red"], "platform": "vertex",
            "repository": "https://x/y", "tier": "1"}  # fmt: skip
    assert service.call("PUT", "/v1/services/org/checkout", "write", json=body).status_code == 201
    assert service.call("PUT", "/v1/services/org/checkout", "write", json=body).status_code == 200
    report(service, GONE, {"beta": LIVE, "count": 4, "path": "a.py", "line": 3},
           service="org/checkout")  # fmt: skip
    found = service.get("/v1/services/org/checkout", "read").json()
    assert {key: found[key] for key in body} == body
    assert (found["environments"], found["health"]) == (["prod"], "failing")
    betas = {beta["name"]: beta for beta in found["betas"]}
    assert set(betas) == {GONE, LIVE}
    assert (betas[LIVE]["count_24h"], betas[LIVE]["refused_24h"]) == (4, 0)
    assert betas[LIVE]["locations"] == [{"path": "a.py", "line": 3, "url": None}]
    assert (betas[GONE]["status"], betas[GONE]["issue"]) == ("retired", "retired")
    for query, count in (("team=red", 1), ("team=blue", 0), ("health=failing", 1), ("health=ok", 0),
                         (f"beta={LIVE}", 1), ("q=CHECK", 1), ("platform=vertex", 1)):  # fmt: skip
        listed = service.get(f"/v1/services?{query}", "read").json()["items"]
        assert len(listed) == count, query
    assert service.get("/v1/services?health=sick", "read").status_code == 422
    missing = service.get("/v1/services/nobody", "read")
    assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)
    wrong = service.call("PUT", "/v1/services/x", "write", json={"platform": "azure"})
    assert (wrong.status_code, "azure" in wrong.json()["detail"]) == (422, True)
    assert service.call("PUT", "/v1/services/x", "write", json={"teem": "y"}).status_code == 422


def test_lists_come_in_pages(service: Service) -> None:
    """`next` leads on, and the pages hold everything once."""
    for number in range(5):
        report(service, LIVE, DYING, service=f"s{number}")
    for path, key in (
        ("/v1/services?limit=2", "name"),
        ("/v1/inventory?group_by=service&limit=2", "key"),
        (f"/v1/betas/{LIVE}/usages?limit=2", "service"),
    ):
        names: list[str] = []
        cursor = ""
        while True:
            page = service.get(f"{path}&cursor={cursor}", "read").json()
            names += [item[key] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert names == [f"s{number}" for number in range(5)], path
        assert service.get(f"{path}&cursor=rubbish", "read").status_code == 422


def test_the_inventory_is_grouped_and_filtered(service: Service) -> None:
    """By beta, service, team or status; a word that is none is refused."""
    service.call("PUT", "/v1/services/checkout", "write", json={"team": "red"})
    report(service, {"beta": LIVE, "count": 2}, GONE, "odd-1", platform="vertex")
    report(service, LIVE, service="other")
    keys = {
        by: [row["key"] for row in service.get(f"/v1/inventory?group_by={by}", "read").json()["items"]]
        for by in ("beta", "service", "team", "status")
    }  # fmt: skip
    assert keys == {
        "beta": [GONE, "odd-1", LIVE], "service": ["checkout", "other"], "team": [None, "red"],
        "status": ["active", "retired", "unknown"],
    }  # fmt: skip
    (row,) = service.get("/v1/inventory?beta=" + LIVE, "read").json()["items"]
    assert (row["services"], row["betas"], row["count_30d"], row["status"]) == (2, 1, 3, "active")
    (row,) = service.get("/v1/inventory?status=unknown", "read").json()["items"]
    assert (row["key"], row["status"]) == ("odd-1", "unknown")
    for wrong in ("group_by=owner", "status=dead", "platform=azure", "limit=501", "cursor=%00",
                  "q=%00"):  # fmt: skip
        assert service.get(f"/v1/inventory?{wrong}", "read").status_code == 422, wrong


def test_the_users_of_a_beta_and_its_radius(service: Service) -> None:
    """Names that the registry does not know have users too."""
    report(service, {"beta": "odd-1", "count": 2, "path": "a.py", "line": 1}, source="scan")
    found = service.get("/v1/betas/odd-1/usages", "read").json()
    assert found["items"][0]["locations"] == [{"path": "a.py", "line": 1, "url": None}]
    assert found["radius"]["services"] == 1
    assert service.get(f"/v1/betas/{LIVE}/usages", "read").json()["items"] == []


def test_the_csv_holds_every_usage_and_no_formula(service: Service) -> None:
    """As a file, with filters."""
    report(service, LIVE, service="=HYPERLINK(1)", environment="@x")
    report(service, DYING)
    answer = service.get("/v1/export/inventory.csv", "read")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["service"], row["environment"], row["beta"]) for row in table] == [
        ("'=HYPERLINK(1)", "'@x", LIVE), ("checkout", "prod", DYING),
    ]  # fmt: skip
    only = service.get(f"/v1/export/inventory.csv?beta={DYING}", "read").text
    assert len(only.splitlines()) == 2


def test_events_name_the_affected_to_those_with_a_token_only(service: Service) -> None:
    """Everybody sees how many."""
    report(service, LIVE)
    patch = {"status": "deprecated", "reason": "told"}
    service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=patch)
    path = f"/v1/changelog?type=beta.deprecated&beta={LIVE}"
    (public,) = service.get(path).json()["items"]
    assert (public["services"], "affected" in public) == (1, False)
    (named,) = service.get(path, "read").json()["items"]
    assert (named["services"], named["affected"]) == (1, ["checkout"])
    report(service, GONE)
    (risk,) = service.get("/v1/changelog?type=usage.at_risk", "read").json()["items"]
    assert (risk["beta"], risk["affected"]) == (GONE, ["checkout"])
    assert "checkout" not in service.get("/v1/changelog").text


@pytest.mark.parametrize("scope", ["report", "write"])
def test_header_calls_count_as_usage(service: Service, scope: str) -> None:
    """Also those that are answered from the memo, with 304, with text, or with an error."""
    path = f"/v1/header?beta={LIVE}&service=web&environment=prod&platform=vertex&on_unknown=pass"
    first = service.get(path, scope)
    for _ in range(4):
        service.get(path, scope)
    service.get(path, scope, headers={"If-None-Match": first.headers["etag"]})
    service.get(path, scope, headers={"Accept": "text/plain"})
    assert service.get(f"/v1/header?beta={GONE}&service=web", scope).status_code == 422
    service.get("/v1/header?feature=thing&service=web", scope)

    def counts() -> dict[str, int]:
        items = service.get("/v1/inventory?service=web", "read").json()["items"]
        return {row["key"]: row["count_30d"] for row in items}

    until(lambda: sum(counts().values()) == 9, "the count")
    assert counts() == {LIVE: 8, GONE: 1}
    (risk,) = service.get("/v1/changelog?type=usage.at_risk", "read").json()["items"]
    assert (risk["beta"], risk["affected"]) == (GONE, ["web"])


def test_header_calls_without_a_token_change_nothing(service: Service) -> None:
    """No service comes into being, none is seen anew or at risk, nothing is told; they are counted apart."""
    report(service, LIVE)
    (before,) = service.get("/v1/services", "read").json()["items"]
    events = service.get("/v1/changelog").json()["items"]
    for name in ("checkout", "new-1", "new-2"):
        for query in (f"beta={GONE}&policy=advise", f"beta={GONE}", f"feature=thing&beta={DYING}"):
            for accept in ("application/json", "text/plain"):
                path = f"/v1/header?{query}&service={name}"
                service.get(path, headers={"Accept": accept})
    service.get(f"/v1/header?beta={LIVE}&service=checkout", "report")

    def count() -> int:
        (row,) = service.get("/v1/inventory?service=checkout", "read").json()["items"]
        assert row["key"] == LIVE
        return int(row["count_30d"])

    # What comes without a token was first, so it would be there by now.
    until(lambda: count() == 2, "the call with a token")
    (after,) = service.get("/v1/services", "read").json()["items"]
    assert (after["name"], after["health"]) == ("checkout", before["health"])
    assert [beta["name"] for beta in after["betas"]] == [LIVE]
    assert service.get("/v1/changelog").json()["items"] == events
    metrics = service.get("/metrics").text
    assert "beta_registry_anonymous_uses_total 18.0" in metrics
    answer = service.get(f"/v1/header?beta={LIVE}&service=checkout")
    assert "token of scope report" in answer.headers["beta-registry-usage"]
    known = service.get(f"/v1/header?beta={LIVE}&service=checkout", "report")
    assert "beta-registry-usage" not in known.headers


def test_a_services_defaults_apply_to_its_header_calls(service: Service) -> None:
    """What the call says outweighs them; a change of them is seen within a second."""
    body: dict[str, Any] = {
        "platform": "bedrock", "defaults": {"api": "invoke", "policy": "filter", "betas": [LIVE, GONE]},
    }  # fmt: skip
    before = service.get(f"/v1/header?beta={LIVE}&service=web", "report").json()
    assert before["placement"] == "header"
    service.call("PUT", "/v1/services/web", "write", json=body)

    def ask() -> Any:
        return service.get("/v1/header?service=web&on_unknown=pass", "report").json()

    until(lambda: ask().get("placement") == "body", "the service's platform")
    found = ask()
    assert (found["platform"], found["value"]) == ("bedrock", LIVE)
    assert [item["requested"] for item in found["dropped"]] == [GONE]
    path = f"/v1/header?service=web&platform=anthropic&beta={LIVE}"
    said = service.get(path, "report").json()
    assert (said["platform"], said["value"]) == ("anthropic", LIVE)
    strict = service.get("/v1/header?service=web&policy=strict", "report")
    assert strict.status_code == 422
    assert service.get("/v1/header?service=another", "report").json()["omit"] is True


def test_a_services_defaults_are_told_to_those_with_a_token_only(service: Service) -> None:
    """Without one a declared service answers like any other name, also after it answered with one."""
    body = {"platform": "vertex", "model": "claude-x", "defaults": {"betas": [LIVE]}}
    service.call("PUT", "/v1/services/web", "write", json=body)
    pasted = {"status": 400, "body": "x", "betas_sent": [LIVE]}

    def ask() -> Any:
        return service.get("/v1/header?service=web", "report").json()

    until(lambda: ask().get("platform") == "vertex", "the service's platform")
    known = ask()
    assert known["value"] == LIVE
    told = service.call("POST", "/v1/diagnose", "report", json={**pasted, "service": "web"}).json()
    assert told["platform"] == "vertex"
    for accept in ("application/json", "text/plain"):
        web, other = (
            service.get(f"/v1/header?service={name}", headers={"Accept": accept})
            for name in ("web", "nobody")
        )
        assert (web.status_code, web.text) == (other.status_code, other.text)
    hidden, none = (
        service.call("POST", "/v1/diagnose", json={**pasted, "service": name}).json()
        for name in ("web", "nobody")
    )
    assert hidden == none


@pytest.mark.parametrize("name", ["%00", "%20x", "x" * 200, "%ED%A0%80", "a%0Ab"])
def test_a_header_call_for_no_name_of_a_service_is_refused(service: Service, name: str) -> None:
    """422, as everywhere."""
    answer = service.get(f"/v1/header?beta={LIVE}&service={name}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


def test_diagnose_with_a_service_counts_the_affected(service: Service) -> None:
    """Its platform is taken where the answer does not tell; without a service nothing is counted."""
    report(service, LIVE, platform="vertex")
    report(service, LIVE, service="b", platform="bedrock")
    service.call("PUT", "/v1/services/checkout", "write", json={"platform": "vertex"})
    body = {
        "status": 400,
        "body": '{"type":"error","error":{"type":"invalid_request_error","message":'
        f'"Unexpected value(s) `{LIVE}` for the `anthropic-beta` header."}}}}',
    }
    assert service.call("POST", "/v1/diagnose", json=body).json()["services"] is None
    asked = {**body, "service": "checkout", "platform": "vertex"}
    assert service.call("POST", "/v1/diagnose", json=asked).json()["services"] == 1
