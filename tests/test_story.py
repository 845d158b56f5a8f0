"""The whole way once: upstream retires a beta, and everybody who should hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import feedparser  # type: ignore[import-untyped]
import icalendar
import pytest

from registry import simulator
from registry.config import Target
from tests.alerts.receiver import Receiver
from tests.alerts.world import bodies, listening, verify
from tests.waiting import until
from tests.web.conftest import DYING, LIVE, Service, start

__all__ = ["start"]


@contextmanager
def scene(
    start: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
    every: str,
) -> Iterator[tuple[Service, simulator.Simulator, Receiver]]:
    """A service that probes a simulated upstream, and a receiver of webhooks."""
    monkeypatch.setenv("OUR_KEY", "sk-ant-ours")
    world = simulator.create_simulator(
        {"betas": [{"beta": "*-20*"}, {"beta": "never-*", "do": "refuse"}]}
    )
    with simulator.running(world) as upstream, listening() as there:
        target = Target.model_validate(
            {"name": "ours", "platform": "anthropic", "base_url": upstream, "api_key_env": "OUR_KEY",
             "every": every, "confirm_every": "1s"}
        )  # fmt: skip
        service = start(
            targets=[target],
            scheduler=True,
            sources=[],
            secret_key="k" * 16,
            receivers_private=True,
        )
        yield service, world, there


def used(service: Service, name: str, on: str, hours_ago: int = 0, **counts: int) -> None:
    """A service reports its use of the living beta on a platform."""
    at = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
    report = {
        "service": name, "environment": "production", "source": "client", "platform": on,
        "window": {"start": at, "stop": at}, "items": [{"beta": LIVE, **counts}],
    }  # fmt: skip
    assert service.call("POST", "/v1/usages", "report", json=report).status_code < 300


def answers(service: Service, name: str, on: str) -> dict[str, Any]:
    """What every surface says of the beta as a service uses it on a platform."""

    def items(path: str) -> list[Any]:
        found: list[Any] = service.get(path, "read").json()["items"]
        return found

    query = {"betas": [LIVE], "platform": on}
    checked = service.call("POST", "/v1/check", json=query).json()["betas"][0]
    [listed] = [item for item in items("/v1/services") if item["name"] == name]
    shown = service.get(f"/v1/services/{name}", "read").json()
    [user] = [item for item in items(f"/v1/betas/{LIVE}/usages") if item["service"] == name]
    report = service.get(f"/v1/report?platform={on}", "read").json()
    [row] = items(f"/v1/inventory?beta={LIVE}&service={name}")
    states = [item["key"] for item in items(f"/v1/inventory?group_by=status&service={name}")]
    return {
        "header": service.get(f"/v1/header?beta={LIVE}&platform={on}").status_code,
        "check": checked["verdict"],
        "services": (listed["health"], listed["betas"][0]["verdict"]),
        "service": (shown["health"], shown["betas"][0]["verdict"], shown["betas"][0]["fails"]),
        "usages": (user["verdict"], user["health"]),
        "inventory": (row["verdict"], states),
        "report": [(item["verdict"], item["requests"]) for item in report["findings"]],
        "failing": (report["requests"]["failing"], report["requests"]["total"]),
        "health": {word: report["services"][word] for word in ("failing", "at_risk", "ok")},
    }


def test_a_beta_dies_upstream_and_the_right_people_hear_of_it(
    start: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It dies on one platform and lives on at another: a signed webhook names the one service that fails.

    What was accepted before it died does not count against that, on any surface.
    """
    with scene(start, monkeypatch, every="1s") as (service, world, there):
        lives_on = {"platforms": {"vertex": {"state": "supported"}}, "reason": "seen to work"}
        assert service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=lives_on).is_success
        secret = service.call("POST", "/v1/subscriptions", "write", json={
            "name": "payments", "channel": "webhook", "url": f"http://127.0.0.1:{there.port}/",
            "filter": {"types": ["beta.retired", "beta.refused"]}, "only_if_used": True,
        }).json()["secret"]  # fmt: skip
        used(service, "checkout", "anthropic", hours_ago=2, count=900, accepted=900)
        used(service, "search", "vertex", count=40, accepted=40)
        until(lambda: platform(service)["basis"] == "probed", "the first sweep")
        world.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
        body = until(lambda: [b for b in bodies(there) if b["data"]["event"]], "the webhook")[0]

        assert body["type"] == "beta.retired"
        data = body["data"]
        assert (data["severity"], data["event"]["beta"]) == ("critical", LIVE)
        assert f"`{LIVE}` retired" in data["title"]
        assert "1 service fails" in data["title"]
        assert [item["service"] for item in data["affected"]] == ["checkout"]
        assert data["affected"][0]["verdict"] == "refused"
        assert data["action"]["do"] == "remove"
        assert (data["proof"]["target"], data["proof"]["refusals"]) == ("ours", 3)
        assert data["proof"]["request_id"]
        commands = [command for command in data["confirm"] if "count_tokens" in command]
        assert all("$OUR_KEY" in command for command in commands)
        assert not any("api.anthropic.com" in command for command in data["confirm"])
        assert commands
        verify(there, secret)

        used(service, "checkout", "anthropic", count=12, refused=12)
        assert answers(service, "checkout", "anthropic") == {
            "header": 422,
            "check": "refused",
            "services": ("failing", "refused"),
            "service": ("failing", "refused", True),
            "usages": ("refused", "failing"),
            "inventory": ("refused", ["retired"]),
            "report": [("refused", 912)],
            "failing": (912, 912),
            "health": {"failing": 1, "at_risk": 0, "ok": 0},
        }
        assert answers(service, "search", "vertex") == {
            "header": 200,
            "check": "ok",
            "services": ("ok", "ok"),
            "service": ("ok", "ok", False),
            "usages": ("ok", "ok"),
            "inventory": ("ok", ["active"]),
            "report": [],
            "failing": (0, 40),
            "health": {"failing": 0, "at_risk": 0, "ok": 1},
        }

    feed = feedparser.parse(service.get("/v1/changelog.atom?type=beta.retired").text)
    assert not feed.bozo
    assert LIVE in feed.entries[0].title
    items = service.get("/v1/changelog.json?type=beta.retired").json()["items"]
    assert LIVE in items[0]["title"]
    assert LIVE in service.get("/v1/changelog.md?type=beta.retired").text
    calendar = icalendar.Calendar.from_ical(service.get("/v1/changelog.ics").content)
    ends = {str(event["summary"]): event.decoded("dtstart") for event in calendar.walk("VEVENT")}
    assert any(DYING in summary for summary in ends)
    refused = service.get(f"/v1/header?beta={LIVE}")
    assert refused.status_code == 422
    shown: Any = service.get(f"/v1/changelog?beta={LIVE}&type=beta.retired", "read").json()["items"]
    assert (shown[0]["services"], shown[0]["affected"]) == (1, ["checkout"])


def test_the_first_refusals_anywhere_lead_to_a_proven_alert(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sweep would come in an hour; what services report starts one, and the proof follows."""
    with scene(start, monkeypatch, every="1h") as (service, world, there):
        until(lambda: platform(service)["basis"] == "probed", "the first sweep")
        service.call("POST", "/v1/subscriptions", "write", json={
            "name": "all", "channel": "webhook", "url": f"http://127.0.0.1:{there.port}/",
            "filter": {"types": ["usage.refusing", "beta.retired"]},
        })  # fmt: skip
        world.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
        report = {
            "service": "checkout", "environment": "production", "source": "gateway",
            "platform": "anthropic", "items": [{"beta": LIVE, "count": 9, "refused": 9}],
        }  # fmt: skip
        assert service.call("POST", "/v1/usages", "report", json=report).json()["sweeps"] == [
            "ours"
        ]

        def told() -> list[str]:
            return [body["type"] for body in bodies(there) if body["data"]["event"]]

        until(lambda: "beta.retired" in told(), "the proof")
        assert told() == ["usage.refusing", "beta.retired"]
        proven = bodies(there)[-1]["data"]
        assert proven["affected"][0]["refused_24h"] == 9
        assert proven["proof"]["refusals"] == 3


def platform(service: Service) -> dict[str, Any]:
    """What is known of the living beta on the Claude API."""
    found: dict[str, Any] = service.get(f"/v1/betas/{LIVE}").json()["platforms"]["anthropic"]
    return found
