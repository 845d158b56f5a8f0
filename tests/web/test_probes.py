"""Targets, sweeps and diagnosis over HTTP: a real service, a real scheduler, a simulated upstream."""

from __future__ import annotations

from typing import Any

import pytest

from registry import simulator
from registry.config import Target
from tests.waiting import until
from tests.web.conftest import DYING, GONE, LIVE, Service

REFUSAL = (
    '{"type":"error","error":{"type":"invalid_request_error","message":"Unexpected value(s) '
    f'`{DYING}` for the `anthropic-beta` header. Please consult our documentation."}}}}'
)
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_beta_dies_and_is_found_out(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduler, official SDK, HTTP, lifecycle, changelog and header, the whole way once."""
    monkeypatch.setenv("OUR_KEY", "sk-ant-ours")
    world = simulator.create_simulator(
        {"betas": [{"beta": "*-20*"}, {"beta": "never-*", "do": "refuse"}]}
    )
    with simulator.running(world) as upstream:
        target = Target.model_validate(
            {"name": "ours", "platform": "anthropic", "base_url": upstream, "api_key_env": "OUR_KEY",
             "every": "1s", "confirm_every": "1s"}
        )  # fmt: skip
        service: Service = start(
            targets=[target], scheduler=True, sources=[], secret_key="a-secret-of-the-tests"
        )

        def state() -> dict[str, Any]:
            found: dict[str, Any] = service.get(f"/v1/betas/{LIVE}").json()
            return found

        until(lambda: state()["platforms"]["anthropic"]["basis"] == "probed", "the first sweep")
        assert state()["platforms"]["anthropic"]["target"] == "ours"
        assert service.get(f"/v1/header?beta={LIVE}&target=ours").status_code == 200
        world.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
        until(lambda: state()["platforms"]["anthropic"]["pending"], "the first refusal")
        shown_there = service.get("/matrix", headers={"Accept": "text/html"})
        assert (shown_there.status_code, " of 3: " in shown_there.text) == (200, True)
        until(lambda: state()["status"] == "retired", "the verdict")
        until(lambda: service.get(f"/v1/header?beta={LIVE}").status_code == 422, "the refusal")
        retired = service.get(f"/v1/changelog?type=beta.retired&beta={LIVE}").json()["items"]
        assert [event["backfill"] for event in retired] == [False]
        seen = service.get(f"/v1/betas/{LIVE}/observations?limit=3").json()
        assert seen["items"][0]["verdict"] == "refused"
        assert set(seen["items"][0]) == set(
            "target sweep at verdict http_status message request_id model endpoint".split()  # noqa: SIM905
        )
        assert seen["next"]
        (shown,) = service.get("/v1/targets", "read").json()["items"]
        assert (shown["health"], shown["every"], shown["platform"]) == ("ok", "1s", "anthropic")
        asked = service.call("POST", "/v1/targets/ours/sweeps", "write", json={"betas": [LIVE]})
        assert asked.status_code == 202
        place = asked.headers["location"]
        done = until(
            lambda: (s := service.get(place, "read").json())["outcome"] == "ok" and s, "the sweep"
        )
        assert (done["trigger"], done["refused"]) == ("asked", 1)
        assert service.get("/v1/sweeps?target=ours&limit=2", "read").json()["next"]
        assert "sk-ant-ours" not in service.get("/metrics").text
        assert service.get("/readyz").json()["probing"] == "on: ours"


@ONE_DATABASE
def test_a_mass_change_is_answered_over_http(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is locked, says what to answer, and goes on after the answer; nothing has died."""
    monkeypatch.setenv("OUR_KEY", "sk-ant-ours")
    world = simulator.create_simulator(
        {"betas": [{"beta": "*-20*"}, {"beta": "never-*", "do": "refuse"}]}
    )
    with simulator.running(world) as upstream:
        target = Target.model_validate(
            {"name": "ours", "platform": "anthropic", "base_url": upstream, "api_key_env": "OUR_KEY",
             "every": "1s", "confirm_every": "1s", "confirm_spread": "1s"}
        )  # fmt: skip
        service: Service = start(
            targets=[target], scheduler=True, sources=[], secret_key="a-secret-of-the-tests"
        )

        def shown() -> dict[str, Any]:
            (found,) = service.get("/v1/targets", "read").json()["items"]
            return dict(found)

        until(lambda: service.get("/v1/targets", "read").json()["items"], "the target")
        until(lambda: shown()["health"] == "ok", "the first sweep")
        answers = {"answer": "new-baseline"}
        early = service.call("POST", "/v1/targets/ours/confirm", "write", json=answers)
        assert early.status_code == 409
        world.patch({"mode": "refusing"})
        locked = until(lambda: (s := shown())["locked"] and s, "the lock")
        assert LIVE in locked["locked"]["betas"]
        assert "probe ours --new-baseline" in locked["detail"]
        wrong = service.call("POST", "/v1/targets/ours/confirm", "write", json={"answer": "maybe"})
        assert wrong.status_code == 422
        done = service.call("POST", "/v1/targets/ours/confirm", "write", json=answers)
        assert (done.status_code, done.json()["answer"]) == (200, "new-baseline")
        until(lambda: shown()["health"] == "ok", "the recovery")
        assert shown()["locked"] is None
        assert service.get("/v1/changelog?type=beta.retired").json()["items"] == []


@ONE_DATABASE
@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        ("GET", "/v1/targets", None, 401),
        ("GET", "/v1/sweeps", None, 401),
        ("GET", "/v1/sweeps/7", "read", 404),
        ("GET", "/v1/sweeps/x", "read", 422),
        ("GET", "/v1/sweeps/99999999999999999999", "read", 404),
        ("POST", "/v1/targets/none/sweeps", "read", 403),
        ("POST", "/v1/targets/none/sweeps", "write", 503),
        ("POST", "/v1/targets/none/confirm", "write", 404),
        ("GET", "/v1/betas/none-2026-01-01/observations", None, 404),
    ],
)
def test_refusals(service: Service, method: str, path: str, scope: str | None, status: int) -> None:
    """Without a scheduler nothing would sweep, and that is said."""
    answer = service.call(method, path, scope)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@ONE_DATABASE
def test_a_pasted_refusal_is_explained(service: Service) -> None:
    """What is refused, what is known of it, what to send instead, and how to confirm it."""
    body = {"status": 400, "body": REFUSAL, "betas_sent": [LIVE, DYING, GONE]}
    found = service.call("POST", "/v1/diagnose", json=body).json()
    assert (found["verdict"], found["reason"], found["refused"]) == ("refused", None, [DYING])
    assert found["betas"][0]["use_instead"] == LIVE
    assert found["send_instead"] == {"value": LIVE, "omit": False, "body": None}
    assert len(found["confirm"]) == 3
    assert found["explanation"]
    assert found["advice"]
    alone = {"status": 400, "body": REFUSAL, "betas_sent": [DYING]}
    assert service.call("POST", "/v1/diagnose", json=alone).json()["send_instead"]["omit"] is True


@ONE_DATABASE
@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        ({"status": None}, "inconclusive", "network"),
        ({"status": 529, "body": "Overloaded"}, "inconclusive", "overload"),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, "inconclusive", "server"),
        (
            {"status": 400, "body": '{"message":"invalid beta flag"}', "betas_sent": [LIVE]},
            "refused",
            None,
        ),
        ({"status": 200, "body": '{"input_tokens": 8}'}, "accepted", None),
    ],
)
def test_answers_and_look_alikes(
    service: Service, body: dict[str, Any], verdict: str, reason: str | None
) -> None:
    """The same classification as the prober's."""
    found = service.call("POST", "/v1/diagnose", json=body).json()
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    if body.get("betas_sent"):
        assert found["refused"] == [LIVE]


@ONE_DATABASE
def test_secrets_in_pasted_text_are_masked(service: Service) -> None:
    """They come back nowhere."""
    text = f"curl -H 'x-api-key: sk-ant-api03-abcdefghijklmnop' said {REFUSAL}"
    answer = service.call("POST", "/v1/diagnose", json={"status": 400, "body": text})
    assert "abcdefghijklmnop" not in answer.text


@ONE_DATABASE
@pytest.mark.parametrize(
    "body",
    [
        {"status": 1000},
        {"status": "x"},
        {"body": "x" * 1_200_000},
        {"nonsense": 1},
        {"platform": "nope"},
        {"platform": "vertex", "hosting": "azure"},
        {"platform": "anthropic", "api": "invoke"},
        {"hosting": "nope"},
    ],
)
def test_bad_pastes_are_refused(service: Service, body: dict[str, Any]) -> None:
    """With a sentence."""
    answer = service.call("POST", "/v1/diagnose", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) < 500
