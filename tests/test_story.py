"""The whole way once: upstream retires a beta, and everybody who should hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def test_a_beta_dies_upstream_and_the_right_people_hear_of_it(
    start: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service reports its use; the simulator retires the beta; a signed webhook names the service."""
    with scene(start, monkeypatch, every="1s") as (service, world, there):
        secret = service.call("POST", "/v1/subscriptions", "write", json={
            "name": "payments", "channel": "webhook", "url": f"http://127.0.0.1:{there.port}/",
            "filter": {"types": ["beta.retired", "beta.refused"]}, "only_if_used": True,
        }).json()["secret"]  # fmt: skip
        report = {
            "service": "checkout", "environment": "production", "source": "client",
            "items": [{"beta": LIVE, "count": 7}],
        }  # fmt: skip
        assert service.call("POST", "/v1/usages", "report", json=report).status_code < 300
        until(lambda: platform(service)["basis"] == "probed", "the first sweep")
        world.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
        body = until(lambda: [b for b in bodies(there) if b["data"]["event"]], "the webhook")[0]

        assert body["type"] == "beta.retired"
        data = body["data"]
        assert (data["severity"], data["event"]["beta"]) == ("critical", LIVE)
        assert f"`{LIVE}` retired" in data["title"]
        assert [item["service"] for item in data["affected"]] == ["checkout"]
        assert data["action"]["do"] == "remove"
        assert (data["proof"]["target"], data["proof"]["refusals"]) == ("ours", 3)
        assert data["proof"]["request_id"]
        assert any("count_tokens" in command for command in data["confirm"])
        verify(there, secret)

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
    assert shown[0]["services"] == 1


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
