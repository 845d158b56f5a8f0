"""The simulator over real HTTP: every client of the official SDK, and every way in which it misbehaves."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from registry import simulator
from registry.simulator import FAULTS, Simulator, SimulatorError, create_simulator, running

ACCEPTED = "mcp-client-2025-11-20"
NEVER = "never-issued-2026-01-01"
BODY: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "Hi"}],
}
HEADERS = {"x-api-key": "sk-ant-x", "anthropic-version": "2023-06-01"}
EMPTY_WORLD: dict[str, Any] = {"betas": []}

Make = Callable[[str], Any]

_signed: dict[str, Any] = {
    "aws_access_key": "AKIAFAKE",
    "aws_secret_key": "fake",
    "aws_region": "us-east-1",
}
_here: dict[str, Any] = {"max_retries": 0, "timeout": 10}
CLIENTS: dict[str, Make] = {
    "anthropic": lambda url: anthropic.Anthropic(api_key="sk-ant-fake", base_url=url, **_here),
    "aws": lambda url: anthropic.AnthropicAWS(
        **_signed, workspace_id="wrkspc_1", base_url=url, **_here
    ),
    "aws, by prefix": lambda url: anthropic.AnthropicAWS(
        api_key="fake", workspace_id="wrkspc_1", base_url=f"{url}/aws", **_here
    ),
    "google-cloud": lambda url: anthropic.AnthropicGoogleCloud(
        token_provider=lambda: "ya29.fake",
        base_url=f"{url}/v1/projects/p/locations/global/workspaces/w/invoke",
        **_here,
    ),
    "google-cloud, by prefix": lambda url: anthropic.AnthropicGoogleCloud(
        token_provider=lambda: "ya29.fake", base_url=f"{url}/google-cloud", **_here
    ),
    "bedrock invoke": lambda url: anthropic.AnthropicBedrock(**_signed, base_url=url, **_here),
    "bedrock invoke, by key": lambda url: anthropic.AnthropicBedrock(
        api_key="fake", aws_region="us-east-1", base_url=f"{url}/bedrock", **_here
    ),
    "bedrock mantle": lambda url: anthropic.AnthropicBedrockMantle(
        **_signed, base_url=f"{url}/anthropic", **_here
    ),
    "bedrock mantle, by prefix": lambda url: anthropic.AnthropicBedrockMantle(
        api_key="fake", aws_region="us-east-1", base_url=f"{url}/mantle/anthropic", **_here
    ),
    "vertex": lambda url: anthropic.AnthropicVertex(
        region="global", project_id="p", access_token="fake", base_url=f"{url}/v1", **_here
    ),
    "vertex, by prefix": lambda url: anthropic.AnthropicVertex(
        region="global", project_id="p", access_token="fake", base_url=f"{url}/vertex/v1", **_here
    ),
    "foundry": lambda url: anthropic.AnthropicFoundry(
        api_key="fake", base_url=f"{url}/anthropic", **_here
    ),
    "foundry, by prefix": lambda url: anthropic.AnthropicFoundry(
        azure_ad_token_provider=lambda: "fake", base_url=f"{url}/foundry/anthropic", **_here
    ),
}
WITH_COUNTING = [name for name in CLIENTS if not name.startswith("bedrock invoke")]
# The SDK's own `count_tokens` under `beta` names the second one by itself.
WORLD: dict[str, Any] = {"betas": [{"beta": [ACCEPTED, "token-counting-2024-11-01"]}]}


class Served:
    """A simulator that is being served, with a plain client of it."""

    def __init__(self, app: Simulator, url: str) -> None:
        self.app, self.url = app, url
        self.http = httpx2.Client(base_url=url, timeout=10, headers=HEADERS)

    def count(
        self, *betas: str, path: str = "/v1/messages/count_tokens", **body: Any
    ) -> httpx2.Response:
        headers = [("anthropic-beta", beta) for beta in betas]
        return self.http.post(path, json={**BODY, **body}, headers=headers)


class Stage:
    """What the one server of this module serves: each test puts its own simulator on it."""

    app = create_simulator(WORLD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, str]]:
    found = Stage()
    with running(found) as url:
        yield found, url


@pytest.fixture
def served(stage: tuple[Stage, str]) -> Iterator[Served]:
    stage[0].app = create_simulator(WORLD, clock=lambda: 1000.0)
    found = Served(stage[0].app, stage[1])
    yield found
    found.http.close()


# ---------------------------------------------------------- the official SDK


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_creates_and_streams_messages(name: str, served: Served) -> None:
    """An accepted beta works on every platform, whole and streamed, and its platform is recognised."""
    app, url = served.app, served.url
    with CLIENTS[name](url) as client:
        message = client.beta.messages.create(**BODY, betas=[ACCEPTED])
        assert message.content[0].text == "Hi"
        seen = app.log[-1]
        platform, _, api = name.partition(",")[0].partition(" ")
        assert (seen["platform"], seen["api"] or "") == (platform, api)
        assert (seen["endpoint"], seen["betas"]) == ("messages", [ACCEPTED])
        events = list(client.beta.messages.create(**BODY, betas=[ACCEPTED], stream=True))
    assert [event.type for event in events][-1] == "message_stop"


@pytest.mark.parametrize("name", WITH_COUNTING)
def test_each_client_counts_tokens(name: str, served: Served) -> None:
    """Where the SDK has the call, an accepted beta is counted and a never-issued one named."""
    body = {key: value for key, value in BODY.items() if key != "max_tokens"}
    with CLIENTS[name](served.url) as client:
        counted = client.beta.messages.count_tokens(**body, betas=[ACCEPTED])
        assert counted.input_tokens > 0
        with pytest.raises(anthropic.BadRequestError, match=NEVER):
            client.beta.messages.count_tokens(**body, betas=[ACCEPTED, NEVER])


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_is_refused_a_never_issued_beta(name: str, served: Served) -> None:
    """The refusal names the beta, but for InvokeModel, whose old sentence names nothing."""
    sentence = "invalid beta flag" if name.startswith("bedrock invoke") else f"`{NEVER}`"
    with CLIENTS[name](served.url) as client, pytest.raises(anthropic.BadRequestError) as caught:
        client.beta.messages.create(**BODY, betas=[NEVER])
    assert sentence in caught.value.message


@pytest.mark.parametrize("name", ["anthropic", "aws", "google-cloud"])
def test_the_first_party_surface_lists(name: str, served: Served) -> None:
    """Models are listed and shown; read-only lists answer where their beta opens them."""
    served.app.patch({"gates": {"agents": [ACCEPTED]}})
    with CLIENTS[name](served.url) as client:
        assert [model.id for model in client.models.list()] == ["claude-haiku-4-5"]
        assert client.beta.models.retrieve("claude-opus-5", betas=[ACCEPTED]).id == "claude-opus-5"
        assert list(client.beta.files.list(betas=[ACCEPTED])) == []
        assert list(client.beta.skills.list()) == []
        headers = {"anthropic-beta": ACCEPTED}
        assert list(client.beta.agents.list(extra_headers=headers)) == []
        with pytest.raises(anthropic.NotFoundError):
            client.get("/v1/agents?beta=true", cast_to=object)
        with pytest.raises(anthropic.NotFoundError):
            client.beta.files.retrieve_metadata("file_011", betas=[ACCEPTED])


def test_a_stream_that_starts_with_an_error(served: Served) -> None:
    """A 200 whose stream starts with an error raises in the SDK, as event and as AWS frame."""
    app, url = served.app, served.url
    for name in ("anthropic", "bedrock invoke"):
        app.patch({"faults": {"queue": [{"fault": "stream_error"}]}})
        with (
            CLIENTS[name](url) as client,
            pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        ):
            list(client.beta.messages.create(**BODY, stream=True))


# ----------------------------------------------------- refusals and their kin


def test_all_refused_names_stand_in_request_order(served: Served) -> None:
    """Repeated headers and comma lists are one list; every refused name is in the captured sentence."""
    answer = served.count(f"z-2026-01-01, {ACCEPTED}", "a-2026-01-01,z-2026-01-01")
    request_id = answer.headers["request-id"]
    assert request_id.startswith("req_011")
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Unexpected value(s) `z-2026-01-01`, `a-2026-01-01` for the `anthropic-beta` "
                "header. Please consult our documentation at docs.claude.com or try again without the "
                "header.",
            },
            "request_id": request_id,
        },
    )


def test_an_empty_header_is_refused(served: Served) -> None:
    """An empty value is a 400 that quotes the empty string."""
    answer = served.count("")
    assert answer.status_code == 400
    assert "Unexpected value(s) `` for" in answer.json()["error"]["message"]


def test_wordings_are_chosen_by_platform(served: Served) -> None:
    """Historical sentences are selected by name, own ones by text."""
    served.app.patch({"wording": {"anthropic": "plain", "vertex": "No {names} here."}})
    assert "value(s) a for the anthropic-beta header" in served.count("a").text
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict"
    answer = served.count("a", "b", path=path, anthropic_version="vertex-2023-10-16")
    assert answer.json()["error"]["message"] == "No a, b here."
    assert answer.headers["request-id"].startswith("req_vrtx_")


def test_bedrock_invoke_reads_the_body_and_wraps_its_errors(served: Served) -> None:
    """InvokeModel takes betas from the body alone and answers `{"message"}` with its error type."""
    path = "/model/us.anthropic.claude-haiku-4-5-20251001-v1:0/invoke"
    body = {"anthropic_version": "bedrock-2023-05-31"}
    assert served.count(NEVER, path=path, **body).status_code == 200
    answer = served.count(path=path, anthropic_beta=[ACCEPTED, NEVER], **body)
    assert (answer.status_code, answer.json()) == (400, {"message": "invalid beta flag"})
    assert answer.headers["x-amzn-errortype"] == "ValidationException"
    served.app.patch({"wording": {"invoke": "platform"}})
    assert f"`{NEVER}`" in served.count(path=path, anthropic_beta=[NEVER], **body).json()["message"]


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    [
        ({}, 400, "The long context beta is not yet available for this subscription."),
        ({"error": "usage_credits"}, 429, "Usage credits are required"),
        ({"error": "permission"}, 403, "permission_error"),
        ({"error": "not_enrolled"}, 400, '"error_code": "organization_not_enrolled_in_beta"'),
        ({"error": {"status": 402, "type": "billing_error", "message": "Pay."}}, 402, "Pay."),
    ],
)
def test_restricted_betas(rule: dict[str, Any], status: int, text: str, served: Served) -> None:
    """A beta that exists but is not for this key says so in its own words."""
    served.app.set_script({"betas": [{"beta": "x", "do": "restrict", **rule}]})
    answer = served.count("x")
    assert (answer.status_code, text in answer.text) == (status, True)


def test_rules_are_scoped_and_the_last_one_decides(served: Served) -> None:
    """Platform, model, endpoint and key narrow a rule; patterns match names."""
    served.app.set_script(
        {
            "betas": [
                {"beta": "plan-*"},
                {"beta": "plan-b", "do": "refuse", "model": "claude-haiku-4-5"},
                {"beta": "plan-c", "do": "refuse", "endpoint": "messages"},
                {"beta": "plan-d", "do": "refuse", "key": "sk-ant-poor*"},
                {"beta": "plan-e", "do": "refuse", "platform": ["vertex", "aws"]},
            ]
        }
    )
    assert served.count("plan-a").status_code == 200
    assert served.count("plan-b", model="claude-haiku-4-5-20251001").status_code == 400
    assert served.count("plan-b", model="claude-opus-5").status_code == 200
    assert served.count("plan-c").status_code == 200
    assert served.count("plan-c", path="/v1/messages").status_code == 400
    assert served.count("plan-d").status_code == 200
    served.http.headers["x-api-key"] = "sk-ant-poor-1"
    assert served.count("plan-d").status_code == 400
    assert served.count("plan-e").status_code == 200
    assert served.count("plan-e", path="/aws/v1/messages").status_code == 400


def test_a_scripted_life(served: Served) -> None:
    """A beta dies at its moment, comes back, and a plan is lost for a while."""
    at = "1970-01-01T00:18:20Z"  # 100 s after the clock's 1000
    served.app.patch(
        {
            "timeline": [
                {"at": at, "beta": ACCEPTED, "do": "refuse"},
                {"at": 200, "beta": ACCEPTED, "do": "accept"},
                {"at": 300, "until": 400, "beta": "*", "do": "refuse"},
            ]
        }
    )
    found = []
    for _ in range(5):
        found.append(served.count(ACCEPTED).status_code)
        clock = served.http.post("/_simulator/clock", json={"advance": 100}).json()
    assert found == [200, 400, 200, 400, 200]
    assert clock == {"now": 1500.0, "elapsed": 500.0}


def test_modes(served: Served) -> None:
    """A blind gateway takes everything, a lost plan nothing, also for single requests."""
    served.app.patch({"mode": "blind"})
    assert [served.count(NEVER).status_code, served.count("").status_code] == [200, 200]
    served.app.patch({"mode": "refusing"})
    assert f"`{ACCEPTED}`" in served.count(ACCEPTED).text
    assert served.count().status_code == 200
    queue = [{"fault": "blind", "after": 1, "times": 2}]
    served.app.patch({"mode": "normal", "faults": {"queue": queue}})
    assert [served.count(NEVER).status_code for _ in range(4)] == [400, 200, 200, 400]


def test_company_of_betas(served: Served) -> None:
    """Conflicts and missing companions fail without naming the header."""
    clashes: list[dict[str, Any]] = [
        {"betas": ["a", "b"]},
        {"betas": ["c"], "unless": "a"},
        {"betas": ["d"], "unless_field": "tools", "message": "d requires tools."},
        {"betas": ["e"], "endpoint": "messages"},
    ]
    served.app.set_script({"betas": [{"beta": "?"}], "clashes": clashes})
    asked = [("a",), ("a", "b"), ("c",), ("c", "a"), ("d",), ("e",)]
    answers = [served.count(",".join(betas)) for betas in asked]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 200, 400, 200]
    assert not any("anthropic-beta" in answer.text for answer in answers)
    assert served.count("d", tools=[]).status_code == 200


def test_body_fields_need_their_beta(served: Served) -> None:
    """With the header gone, its fields are extra inputs."""
    served.app.patch({"body_fields": {"thinking.display": [ACCEPTED]}})
    answer = served.count(thinking={"display": "x"})
    assert answer.json()["error"]["message"] == "thinking.display: Extra inputs are not permitted"
    assert served.count(ACCEPTED, thinking={"display": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"headers": {"x-api-key": "wrong"}}, 401, "authentication_error"),
        ({"headers": {"x-api-key": ""}}, 401, "authentication_error"),
        ({"headers": {"x-api-key": "sk-ant-oat01-x"}}, 401, "authentication_error"),
        ({"headers": {"anthropic-version": ""}}, 400, "invalid_request_error"),
        ({"json": {**BODY, "model": "gpt-4"}}, 404, "not_found_error"),
        ({"json": {**BODY, "model": 4}}, 400, "invalid_request_error"),
        ({"json": {"model": "claude-haiku-4-5"}}, 400, "invalid_request_error"),
        ({"json": [1]}, 400, "invalid_request_error"),
        ({"json": {**BODY, "anthropic_beta": ["a"]}}, 400, "invalid_request_error"),
        ({"url": "/v1/nothing"}, 404, "not_found_error"),
        ({"url": "/"}, 404, "not_found_error"),
        ({"method": "DELETE"}, 405, "invalid_request_error"),
        ({"content": b" " * (simulator.MAX_BODY + 1), "json": None}, 413, "request_too_large"),
    ],
)
def test_bad_requests(change: dict[str, Any], status: int, kind: str, served: Served) -> None:
    """What is wrong with a request is told in the first party's shape."""
    request = {"method": "POST", "url": "/v1/messages/count_tokens", "json": BODY, **change}
    answer = served.http.request(**request)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


def test_clouds_tell_a_wrong_key_in_their_way(served: Served) -> None:
    """Bedrock and Vertex refuse a credential before Anthropic's code sees it."""
    served.app.patch({"keys": {"*": ["good"]}})
    answer = served.count(path="/model/claude-haiku-4-5/invoke")
    assert (answer.status_code, set(answer.json())) == (403, {"message"})
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-haiku-4-5:rawPredict"
    assert served.count(path=path).json()["error"]["status"] == "UNAUTHENTICATED"


def test_the_rate_limit_follows_the_clock(served: Served) -> None:
    """So many requests a window, then a 429 that says how long to wait."""
    served.app.patch({"rate_limit": {"requests": 2, "seconds": 30}})
    answers = [served.count() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["retry-after"] == "30"
    served.app.advance(30)
    assert served.count().status_code == 200


# ------------------------------------------------------------------ the default


def test_the_default_world_takes_the_current_betas() -> None:
    """Without a script, what the bundled catalog calls current is accepted, and nothing else."""
    app = create_simulator()
    with running(app) as url:
        served = Served(app, url)
        assert served.count(ACCEPTED, "files-api-2025-04-14").status_code == 200
        assert served.count(NEVER).status_code == 400
        assert served.count("structured-outputs-2025-09-17").status_code == 400
        names = "tool-search-tool-2025-10-19", "advanced-tool-use-2025-11-20"
        path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-5:rawPredict"
        answer = served.count(*names, path=path, anthropic_version="vertex-2023-10-16")
        assert "`advanced-tool-use-2025-11-20` for" in answer.text
        served.http.close()


# ---------------------------------------------------------------------- faults


def _fault(served: Served, kind: str, **more: Any) -> httpx2.Response:
    served.app.patch({"faults": {"queue": [{"fault": kind}], **more}})
    return served.count()


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "text"),
    [
        ("rate_limited", 429, "application/json", "rate_limit_error"),
        ("overloaded", 529, "application/json", "overloaded_error"),
        ("error_500", 500, "application/json", "api_error"),
        ("billing", 400, "application/json", "credit balance"),
        ("forbidden", 403, "application/json", "Request not allowed"),
        ("html_502", 502, "text/html", "Bad Gateway"),
        ("html_503", 503, "text/html", "Service Temporarily Unavailable"),
        ("html_504", 504, "text/html", "Gateway Time-out"),
        ("text_503", 503, "text/plain", "no healthy upstream"),
        ("html_200", 200, "text/html", "Sign in"),
        ("error_in_200", 200, "application/json", "overloaded_error"),
        ("stream_error", 200, "text/event-stream; charset=utf-8", "event: error"),
        ("truncated", 200, "application/json", '{"inpu'),
    ],
)
def test_wrong_answers(
    kind: str, status: int, content_type: str, text: str, served: Served
) -> None:
    """Each fault looks as it does in the wild, and strikes once."""
    answer = _fault(served, kind)
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert text in answer.text
    assert ("retry-after" in answer.headers) == (status == 429)
    assert served.count().json() == {"input_tokens": 8}


def test_empty_answers_and_redirects(served: Served) -> None:
    """An empty 200, and a redirect to a page for people."""
    assert _fault(served, "empty_200").content == b""
    assert _fault(served, "redirect").headers["location"] == "/_simulator/login"
    assert "Sign in" in served.http.get("/_simulator/login").text


@pytest.mark.parametrize("kind", ["cut", "closed"])
def test_broken_connections(kind: str, served: Served) -> None:
    """A connection ends in mid-body or at once, and the next request works."""
    with pytest.raises(httpx2.RemoteProtocolError):
        _fault(served, kind)
    assert served.count().status_code == 200


def test_slow_answers(served: Served) -> None:
    """A slow answer outlasts the client's patience."""
    served.http.timeout = httpx2.Timeout(0.2)
    with pytest.raises(httpx2.ReadTimeout):
        _fault(served, "slow", slow_seconds=60)
    served.http.timeout = httpx2.Timeout(10)
    assert _fault(served, "slow", slow_seconds=0.01).status_code == 200


def test_huge_and_endless_answers(served: Served) -> None:
    """A huge body says how long it is; an endless one does not, and ends when the client goes."""
    answer = _fault(served, "huge", huge_bytes=200_000)
    assert (answer.headers["content-length"], len(answer.content)) == ("200000", 200_000)
    served.app.patch({"faults": {"queue": [{"fault": "endless"}]}})
    with served.http.stream("POST", "/v1/messages", json=BODY) as endless:
        assert "content-length" not in endless.headers
        parts = endless.iter_raw()
        assert sum(len(next(parts)) for _ in range(100)) > 0
    assert served.count().status_code == 200


def test_captured_answers_are_replayed(served: Served) -> None:
    """A queue entry can state the whole answer."""
    entry = {"fault": "answer", "status": 500, "headers": {"x-why": "gateway"}, "body": "oh no"}
    served.app.patch({"faults": {"queue": [entry]}})
    answer = served.count()
    assert (answer.status_code, answer.headers["x-why"], answer.text) == (500, "gateway", "oh no")


def _outcomes(script: dict[str, Any], requests: int) -> list[str | None]:
    app = create_simulator(script, clock=lambda: 0.0)
    for _ in range(requests):
        app.answer("GET", "/v1/models", list(HEADERS.items()), b"")
    return [entry["fault"] for entry in app.log]


def test_chance_is_decided_by_the_seed() -> None:
    """The same seed draws the same faults, another one others, at about their rate."""
    faults = {"probability": dict.fromkeys(FAULTS, 0.2 / len(FAULTS))}
    scripts = [{"betas": [], "faults": {**faults, "seed": seed}} for seed in (1, 1, 2)]
    first, same, other = (_outcomes(script, 2000) for script in scripts)
    assert first == same != other
    assert 300 < sum(fault is not None for fault in first) < 500
    assert {fault for fault in first if fault} == set(FAULTS)


# --------------------------------------------------------------------- control


def test_the_script_is_read_and_changed_over_http(served: Served) -> None:
    """PUT replaces, PATCH merges, GET shows what PUT takes, and the log tells what was asked."""
    script = served.http.get("/_simulator/script").json()
    assert served.http.put("/_simulator/script", json=script).json() == script
    served.count(ACCEPTED)
    served.http.patch("/_simulator/script", json={"mode": "refusing"})
    served.count(ACCEPTED)
    log = served.http.get("/_simulator/log").json()
    assert [entry["status"] for entry in log["requests"]] == [200, 400]
    assert log["requests"][0]["betas"] == [ACCEPTED]
    assert "sk-ant" not in json.dumps(log)
    assert served.http.delete("/_simulator/log").json() == {"total": 2, "requests": []}
    assert served.http.get("/_simulator").json()["vertex"] == "/vertex/v1"


def test_a_patch_keeps_the_queue(served: Served) -> None:
    """What is queued stays queued when something else changes."""
    served.app.patch({"faults": {"queue": [{"fault": "overloaded", "times": 2}]}})
    assert served.count().status_code == 529
    served.app.patch({"mode": "blind", "rate_limit": None})
    assert [served.count().status_code for _ in range(2)] == [529, 200]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ({"bates": []}, "The script is wrong at bates: Unexpected keyword argument."),
        (
            {"betas": [{"beta": "a", "do": "kill"}]},
            "betas.0.do: Input should be 'accept', 'refuse'",
        ),
        ({"betas": [{"beta": "a", "error": "x"}]}, "betas.0: 'x' is none of long_context"),
        ({"betas": [{"beta": "a", "platform": "azure"}]}, "betas.0.platform"),
        ({"betas": [{"beta": "a", "at": "2026-01-01T00:00:00"}]}, "betas.0.at"),
        ({"wording": {"anthropic": "shrot"}}, "'shrot' is none of claude"),
        ({"wording": {"azure": "short"}}, "'azure' is no platform"),
        ({"keys": {"azure": ["*"]}}, "'azure' is no platform"),
        ({"faults": {"queue": [{"fault": "fire"}]}}, "faults.queue.0: 'fire' is none of"),
        ({"faults": {"queue": [{"fault": "cut", "times": 0}]}}, "times is at least 1"),
        ({"faults": {"queue": [{"fault": "answer", "headers": {"a": "b\n"}}]}}, "cannot be sent"),
        ({"faults": {"queue": [{"fault": "answer", "status": 99}]}}, "99 is no final HTTP status"),
        ({"faults": {"probability": {"fire": 0.1}}}, "'fire' is none of"),
        ({"faults": {"probability": {"cut": 0.9, "slow": 0.9}}}, "chances lie in 0..1"),
        ({"faults": {"slow_seconds": -1}}, "not negative"),
        ({"faults": {"redirect_to": "no where"}}, "'no where' is no address"),
    ],
)
def test_script_errors_are_one_sentence(
    script: dict[str, Any], sentence: str, served: Served
) -> None:
    """A wrong script says where and why, and changes nothing."""
    before = served.app.script
    answer = served.http.put("/_simulator/script", json=script)
    said = answer.json()["error"]
    assert answer.status_code == 400
    assert sentence in said
    assert "\n" not in said
    assert served.app.script == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/script", b"[]"),
        ("PATCH", "/script", b"{"),
        ("PATCH", "/script", b'{"a":' * 900 + b"{}" + b"}" * 900),
        ("POST", "/clock", b'{"advance": "x"}'),
        ("POST", "/clock", b'{"advance": -1}'),
        ("POST", "/clock", b'{"advance": NaN}'),
        ("GET", "/nothing", b""),
        ("POST", "", b"{}"),
    ],
)
def test_bad_control_requests(method: str, path: str, body: bytes, served: Served) -> None:
    """What cannot be done is refused."""
    answer = served.http.request(method, f"/_simulator{path}", content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_scripts_are_loaded_from_files(tmp_path: Path) -> None:
    """TOML and JSON say the same; a file that cannot be read is named."""
    toml = tmp_path / "world.toml"
    toml.write_text('mode = "blind"\n[[betas]]\nbeta = "a"\nat = 2026-01-01T00:00:00Z\n')
    shape = {"mode": "blind", "betas": [{"beta": "a", "at": "2026-01-01T00:00:00Z"}]}
    (tmp_path / "world.json").write_text(json.dumps(shape))
    assert simulator.load_script(toml) == simulator.load_script(tmp_path / "world.json")
    toml.write_text("mode = ")
    for path in (toml, tmp_path / "missing.json"):
        with pytest.raises(SimulatorError, match=path.name):
            simulator.load_script(path)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(SimulatorError, match=r"list\.json is wrong"):
        simulator.load_script(tmp_path / "list.json")


# ---------------------------------------------------------------------- robust

_paths = st.one_of(
    st.text(max_size=80).map(lambda text: f"/{text}"),
    st.lists(
        st.sampled_from(
            ["v1", "anthropic", "aws", "messages", "count_tokens", "batches", "models", "agents", "x1",
             "model", "invoke", "vertex", "projects", "p", "locations", "l", "publishers", "",
             "organizations", "count-tokens:rawPredict", "workspaces", "claudeOrganization"]
        )
    ).map(lambda parts: "/" + "/".join(parts)),
)  # fmt: skip
_latin = st.text(st.characters(max_codepoint=255), max_size=40)
_headers = st.lists(
    st.tuples(
        st.sampled_from(["anthropic-beta", "x-api-key", "authorization", "anthropic-version", "api-key"]),
        _latin,
    ),
    max_size=6,
)  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["model", "messages", "max_tokens", "anthropic_beta", "stream", "thinking"]), inner
    ),
    max_leaves=10,
)  # fmt: skip
_bodies = st.one_of(st.binary(max_size=60), _json.map(lambda value: json.dumps(value).encode()))


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "WHAT"]),
    path=_paths,
    headers=_headers,
    body=_bodies,
)
def test_it_never_fails_by_itself(
    method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Whatever is asked, the answer is one that was meant."""
    app = create_simulator({"betas": [{"beta": "a*"}], "body_fields": {"thinking.x": ["a"]}})
    answer = app.answer(method, path, headers, body)
    assert answer.status < 500
    json.dumps(list(app.log))


def test_deep_and_odd_bodies(served: Served) -> None:
    """Nesting and numbers beyond the parser's limits are a bad request."""
    for body in (
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b'{"model":"\\ud800"}',
    ):
        answer = served.http.post("/v1/messages", content=body)
        assert answer.status_code == 400


def test_a_taken_port_is_told() -> None:
    """A port that is in use is one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SimulatorError, match=f"Cannot listen on 127.0.0.1 port {port}"):
            simulator.run("127.0.0.1", port)


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    """`run` says where it serves, and stops when told."""
    (tmp_path / "world.json").write_text(json.dumps(WORLD))
    code = "from registry.simulator import run; run('127.0.0.1', 0, 'world.json')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3].rstrip(";")
        served = Served(create_simulator(EMPTY_WORLD), url)
        assert served.count(ACCEPTED).status_code == 200
        served.http.close()
        process.terminate()
