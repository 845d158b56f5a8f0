"""Alerts over HTTP: access, problems, secrets that are shown once, and who may change what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.world import bodies, listening, verify
from tests.waiting import until
from tests.web.conftest import LIVE, Service

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def subscribe(service: Service, url: str, scope: str = "write", **members: Any) -> Any:
    """Ask for a subscription."""
    body = {"name": "mine", "channel": "webhook", "url": url, **members}
    return service.call("POST", "/v1/subscriptions", scope, json=body)


def recorded(service: Service) -> Any:
    """Return the delivery that tells of the deprecation, once it is sent."""
    found = service.get("/v1/deliveries?status=sent", "read").json()["items"]
    return next((item for item in found if "deprecated" in item["title"]), None)


def test_the_whole_life_of_a_subscription(start: Any) -> None:
    """Made, tested, changed, rotated, listed, deleted; an event reaches it meanwhile."""
    service: Service = start(
        scheduler=True, sources=[], receivers_private=True, secret_key="k" * 16
    )
    with listening() as there:
        made = subscribe(service, f"http://127.0.0.1:{there.port}/T0ken")
        assert made.status_code == 201
        secret, location = made.json()["secret"], made.headers["location"]
        assert made.headers["cache-control"] == "no-store"
        assert made.json()["url"] == f"http://127.0.0.1:{there.port}/***"
        tested = service.call("POST", f"{location}/test", "write").json()
        assert (tested["status"], tested["last_status"]) == ("sent", 204)
        said = {"status": "deprecated", "reason": "told so"}
        service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=said)
        until(lambda: [b for b in bodies(there) if b["type"] == "beta.deprecated"], "the alert")
        verify(there, secret)
        alert = until(lambda: recorded(service), "its record")
        listed = service.get("/v1/deliveries?status=sent&limit=2", "read").json()
        assert listed["next"]
        following = service.get(
            f"/v1/deliveries?status=sent&cursor={listed['next']}", "read"
        ).json()
        assert {item["id"] for item in listed["items"]}.isdisjoint(
            item["id"] for item in following["items"]
        )
        again = service.call("POST", f"/v1/deliveries/{alert['id']}/redeliver", "write")
        assert again.status_code == 202
        until(
            lambda: len([b for b in bodies(there) if b["type"] == "beta.deprecated"]) == 2, "again"
        )
        shown = until(
            lambda: (found := service.get(f"/v1/deliveries/{alert['id']}", "read").json())["status"]
            == "sent" and found, "its record",
        )  # fmt: skip
        assert [entry["number"] for entry in shown["log"]] == [1, 2]
        assert service.call("POST", f"/v1/deliveries/{alert['id']}/acknowledge", "write").json()[
            "acknowledged_at"
        ]
        rotated = service.call("POST", f"{location}/rotate", "write").json()["secret"]
        assert rotated != secret
        everything = service.get("/v1/subscriptions", "read").text + shown.__repr__()
        for word in ("T0ken", secret, rotated):
            assert word not in everything
        muted = service.call("PATCH", location, "write", json={"muted_until": "2099-01-01"})
        assert muted.json()["muted_until"] == "2099-01-01T00:00:00Z"
        assert service.call("DELETE", location, "write").status_code == 204
        assert service.get(location, "read").status_code == 404


@ONE_DATABASE
def test_who_may_do_what(service: Service) -> None:
    """Reading needs `read`, changing `write`, whatever PUBLIC_READ says."""
    for path in ("/v1/subscriptions", "/v1/deliveries"):
        assert service.get(path).status_code == 401
        assert service.get(path, "report").status_code == 403
        assert service.get(path, "read").status_code == 200
    assert subscribe(service, "https://93.184.215.14/", scope="read").status_code == 403


@ONE_DATABASE
@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"url": "http://127.0.0.1:1/"}, "https"),
        ({"url": "https://127.0.0.1/"}, "127.0.0.1"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "169.254.169.254"),
        ({"url": "https://[::1]/"}, "::1"),
        ({"url": "file:///etc/passwd"}, "https"),
        ({"url": ""}, "url"),
        ({"channel": "apprise", "url": "json://127.0.0.1"}, "json"),
        ({"channel": "pigeon"}, "pigeon"),
        ({"filter": {"types": ["beta.dies"]}}, "beta.dies"),
        ({"filter": {"betas": ["x-2026-01-01"], "features": ["y"]}}, "nothing can match"),
        ({"timezone": "Mars/Olympus"}, "time zone"),
        ({"template": {"body": "$nothing"}}, "nothing"),
        ({"muted_until": "yesterday"}, "yesterday"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_is_a_clear_problem(start: Any, members: Any, says: str) -> None:
    """A problem document with one sentence; nothing is stored."""
    service: Service = start(secret_key="k" * 16)
    url = members.pop("url", "https://93.184.215.14/hook")
    answer = subscribe(service, url, **members)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert service.get("/v1/subscriptions", "read").json()["items"] == []


@ONE_DATABASE
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/subscriptions/999", 404),
        ("GET", "/v1/subscriptions/0", 422),
        ("GET", f"/v1/subscriptions/{2**70}", 422),
        ("POST", "/v1/subscriptions/999/test", 404),
        ("DELETE", "/v1/subscriptions/999", 404),
        ("GET", "/v1/deliveries/msg_none", 404),
        ("GET", f"/v1/deliveries/{'x' * 200}", 422),
        ("POST", "/v1/deliveries/msg_none/redeliver", 404),
        ("GET", "/v1/deliveries?cursor=rubbish", 422),
        ("GET", "/v1/deliveries?status=lost", 422),
        ("GET", "/v1/deliveries?limit=0", 422),
    ],
)
def test_what_is_not_there(service: Service, method: str, path: str, status: int) -> None:
    """Ids from the future and cursors of nobody are refused, not a defect."""
    assert service.call(method, path, "write").status_code == status


def test_without_a_key_nothing_secret_is_stored(start: Any, database: Any) -> None:
    """PostgreSQL needs the setting, and the answer names it; SQLite has a key beside it."""
    service: Service = start()
    answer = subscribe(service, "https://93.184.215.14/hook")
    if database.is_sqlite:
        assert answer.status_code == 201
    else:
        assert answer.status_code == 503
        assert "BETA_REGISTRY_SECRET_KEY" in answer.json()["detail"]
