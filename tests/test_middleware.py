"""The official SDK with our middleware against the simulator, and plain HTTP with our transport."""

# ruff: noqa: E501 - a table of addresses is read line by line

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from registry.client import (
    Invalid,
    Registry,
    async_middleware,
    async_transport,
    middleware,
    transport,
)
from registry.client.guard import Call, make_guard
from registry.client.places import of_client
from registry.core.addresses import place_of_url
from registry.core.facts import PlatformState
from registry.core.places import Place
from registry.core.wire import snapshot_to_json
from registry.simulator import Simulator, create_simulator, running
from tests.factories import beta, snapshot
from tests.stub import Usages
from tests.test_simulator import BODY, CLIENTS, HEADERS
from tests.waiting import until

LIVE, OTHER, ADDED = "live-2026-01-01", "other-2026-02-02", "added-2026-03-03"
GONE, RENAMED, STRANGE = "gone-2024-12-01", "renamed-2026-04-04", "strange-2026-05-05"
THERE = ("renamed-a-2026-04-05", "renamed-b-2026-04-06")
RENAMING = ("bedrock", "vertex")

_signed: dict[str, Any] = {
    "aws_access_key": "AKIAFAKE",
    "aws_secret_key": "fake",
    "aws_region": "us-east-1",
}
_here: dict[str, Any] = {"max_retries": 0, "timeout": 10}
ASYNC_CLIENTS: dict[str, Callable[[str], Any]] = {
    "anthropic": lambda url: anthropic.AsyncAnthropic(api_key="sk-ant-f", base_url=url, **_here),
    "aws": lambda url: anthropic.AsyncAnthropicAWS(
        **_signed, workspace_id="wrkspc_1", base_url=url, **_here
    ),
    "google-cloud": lambda url: anthropic.AsyncAnthropicGoogleCloud(
        token_provider=_token, base_url=f"{url}/google-cloud", **_here
    ),
    "bedrock invoke": lambda url: anthropic.AsyncAnthropicBedrock(**_signed, base_url=url, **_here),
    "bedrock mantle": lambda url: anthropic.AsyncAnthropicBedrockMantle(
        **_signed, base_url=f"{url}/anthropic", **_here
    ),
    "vertex": lambda url: anthropic.AsyncAnthropicVertex(
        region="global", project_id="p", access_token="fake", base_url=f"{url}/v1", **_here
    ),
    "foundry": lambda url: anthropic.AsyncAnthropicFoundry(
        api_key="fake", base_url=f"{url}/anthropic", **_here
    ),
}


async def _token() -> str:
    return "ya29.fake"


def facts() -> Any:
    """What the registry knows: one beta of each kind."""
    names = {
        name: PlatformState(state="supported", names=THERE, accepted=True) for name in RENAMING
    }
    return snapshot(
        beta(LIVE, body_fields=("live_field", "shared"), essential=()),
        beta(OTHER, body_fields=("shared",), essential=()),
        beta(ADDED),
        beta(
            GONE,
            "retired",
            state="refused",
            accepted=False,
            body_fields=("old.deep", "shared", "vital"),
            tool_types=("gone_20241201",),
            essential=("vital",),
        ),
        beta(RENAMED, platforms=names),
    )


class Recorder(Simulator):
    """A simulator that keeps what it was sent, word for word."""

    raw: list[tuple[dict[str, str], Any]]

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        self.raw.append((dict(headers), json.loads(body) if body else None))
        return super().answer(method, path, headers, body)


class Stage:
    """One server for all: the simulator, and under `/registry` what a registry answers."""

    def __init__(self) -> None:
        self.usages = Usages()
        self.app = self.fresh()

    def fresh(self) -> Recorder:
        """A simulator that takes all betas but the retired one."""
        made = create_simulator({"betas": [{"beta": [LIVE, OTHER, ADDED, RENAMED, *THERE]}]})
        made.__class__ = Recorder
        assert isinstance(made, Recorder)
        made.raw = []
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mine = scope["type"] != "http" or not scope["path"].startswith("/registry")
        if mine:
            await self.app(scope, receive, send)
            return
        await self.usages({**scope, "path": scope["path"].removeprefix("/registry")}, receive, send)


@pytest.fixture(scope="module")
def _stage() -> Iterator[tuple[Stage, str]]:
    stage = Stage()
    with running(stage) as url:
        yield stage, url


class World:
    """What a test talks to: the upstream, the registry, and the client under test."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.url, self.usages = url, stage.usages
        stage.app, stage.usages.snapshot = stage.fresh(), snapshot_to_json(facts())
        stage.usages.reports.clear()
        self.app = stage.app
        self.registry = Registry(f"{url}/registry", service="shop", cache=False, flush="1h")
        assert self.registry.wait(60)

    def client(self, name: str = "anthropic", **options: Any) -> Any:
        """A client of the SDK with the middleware."""
        made = CLIENTS[name](self.url)
        return made.with_options(middleware=[middleware(self.registry, **options)])

    @property
    def sent(self) -> list[str]:
        """The betas of the last request, as upstream understood them."""
        names: list[str] = self.app.log[-1]["betas"]
        return names

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the last request."""
        return self.app.raw[-1][0]

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = self.app.raw[-1][1]
        return body

    def reported(self) -> dict[str, tuple[Any, ...]]:
        """What was reported of each beta: count, accepted, refused."""
        self.registry.close()
        return {
            item["beta"]: (item["count"], item["accepted"], item["refused"])
            for item in self.usages.items
        }


@pytest.fixture
def world(_stage: tuple[Stage, str]) -> Iterator[World]:
    """A fresh world on the shared server."""
    made = World(*_stage)
    yield made
    made.registry.close()


def expected(name: str, *betas: str) -> list[str]:
    """The names that these betas have on a platform."""
    there = name.partition(",")[0].partition(" ")[0] in RENAMING
    found: list[str] = []
    for item in betas:
        found += THERE if there and item == RENAMED else (item,)
    return found


# --- All clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client(name: str, world: World) -> None:
    """Betas are merged after the caller's own, renamed and placed; streams stream; all is counted."""
    with world.client(name, features=["added"]) as client:
        message = client.beta.messages.create(**BODY, betas=[LIVE, RENAMED])
        assert message.content[0].text == "Hi"
        assert world.sent == expected(name, LIVE, RENAMED, ADDED)
        client.messages.create(**BODY)
        assert world.sent == [ADDED]
        events = list(client.beta.messages.create(**BODY, betas=[LIVE], stream=True))
        assert (world.sent, events[-1].type) == ([LIVE, ADDED], "message_stop")
        with client.messages.stream(**BODY) as stream:
            assert "".join(stream.text_stream) == "Hi"
        raw = client.messages.with_raw_response.create(**BODY)
        assert raw.parse().content[0].text == "Hi"
    if name.startswith("bedrock invoke"):
        assert world.body["anthropic_beta"] == [ADDED]
        assert "anthropic-beta" not in world.headers
    else:
        assert world.headers["anthropic-beta"] == ADDED
        assert "anthropic_beta" not in world.body
    assert world.reported() == {LIVE: (2, 2, 0), RENAMED: (1, 1, 0), ADDED: (5, 5, 0)}
    platform = name.partition(",")[0].partition(" ")[0]
    assert {report["platform"] for report in world.usages.reports} == {platform}


@pytest.mark.parametrize("name", ASYNC_CLIENTS)
def test_every_asynchronous_client(name: str, world: World) -> None:
    """The same for the other half of the SDK, a refusal too."""

    async def program() -> None:
        made = ASYNC_CLIENTS[name](world.url)
        guarded = async_middleware(world.registry, features=["added"])
        async with made.with_options(middleware=[guarded]) as client:
            message = await client.beta.messages.create(**BODY, betas=[LIVE, RENAMED])
            assert message.content[0].text == "Hi"
            assert world.sent == expected(name, LIVE, RENAMED, ADDED)
            stream = await client.beta.messages.create(**BODY, betas=[LIVE], stream=True)
            assert [event.type async for event in stream][-1] == "message_stop"
            assert world.sent == [LIVE, ADDED]
            world.app.patch({"wording": {"invoke": "platform"}})
            with pytest.raises(anthropic.BadRequestError):
                await client.beta.messages.create(**BODY, betas=[GONE], stream=True)

    asyncio.run(program())
    assert world.reported() == {
        LIVE: (2, 2, 0), RENAMED: (1, 1, 0), ADDED: (3, 2, 0), GONE: (1, 0, 1),
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CLIENTS if not name.startswith("bedrock inv")])
def test_counting_tokens_counts_too(name: str, world: World) -> None:
    """A configured feature goes to every request for messages; SDK and we add to one header."""
    world.app.patch({"betas": [{"beta": "*"}]})
    with world.client(name, features=["added"]) as client:
        client.beta.messages.count_tokens(
            model=BODY["model"], messages=BODY["messages"], betas=[LIVE]
        )
    assert world.sent[0] == LIVE
    assert world.sent[-1] == ADDED


# --- Merging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ({"betas": [LIVE, OTHER]}, [LIVE, OTHER, ADDED]),
        ({"extra_headers": {"Anthropic-Beta": f" {LIVE} ,,{OTHER}"}}, [LIVE, OTHER, ADDED]),
        ({"extra_headers": {"anthropic-beta": f"{LIVE},{LIVE}"}}, [LIVE, ADDED]),
        ({"betas": [LIVE], "extra_body": {"anthropic_beta": [OTHER]}}, [LIVE, OTHER, ADDED]),
        ({"extra_body": {"anthropic_beta": LIVE}}, [LIVE, ADDED]),
        ({"betas": []}, [ADDED]),
        ({"betas": [ADDED]}, [ADDED]),
        ({"betas": [STRANGE]}, [STRANGE, ADDED]),
        ({"betas": ["live"]}, [LIVE, ADDED]),
        ({"betas": ["added-2025-01-01"]}, ["added-2025-01-01"]),
    ],
)
@pytest.mark.parametrize("name", ["anthropic", "bedrock invoke"])
def test_the_callers_betas_are_merged(
    sent: dict[str, Any], arrives: list[str], name: str, world: World
) -> None:
    """In whatever way they come; a version that the caller chose is not doubled by another one."""
    world.app.patch({"betas": [{"beta": "*"}]})
    world.client(name, features=["added"]).beta.messages.create(**BODY, **sent)
    assert world.sent == arrives


@pytest.mark.parametrize("name", ["anthropic", "vertex", "bedrock invoke", "foundry"])
def test_default_headers_of_the_client_are_merged(name: str, world: World) -> None:
    """Betas that stand in `default_headers` are the caller's too, until a request names its own."""
    client = world.client(name, features=["added"]).with_options(
        default_headers={"Anthropic-Beta": OTHER}
    )
    client.messages.create(**BODY)
    assert world.sent == [OTHER, ADDED]
    client.beta.messages.create(**BODY, betas=[LIVE])
    assert world.sent == [LIVE, ADDED]


@pytest.mark.parametrize("name", ["anthropic", "bedrock invoke"])
@pytest.mark.parametrize("policy", ["advise", "filter"])
def test_an_empty_header_is_left_out(name: str, policy: str, world: World) -> None:
    """Upstream refuses an empty one, the client's default included."""
    client = world.client(name, policy=policy)
    client.beta.messages.create(**BODY, betas=[])
    assert "anthropic-beta" not in world.headers
    if policy == "filter":
        client.with_options(default_headers={"anthropic-beta": GONE}).messages.create(**BODY)
        assert "anthropic-beta" not in world.headers
        assert "anthropic_beta" not in world.body


def test_a_request_that_is_right_is_not_touched(world: World) -> None:
    """Neither copied nor changed: the very same object goes on; without betas nothing is even asked."""
    seen: list[tuple[Any, Any]] = []
    requests: list[Any] = []

    def before(request: Any, call_next: Any) -> Any:
        requests.append(request)
        return call_next(request)

    def after(request: Any, call_next: Any) -> Any:
        seen.append((requests[-1], request))
        return call_next(request)

    chain = [before, middleware(world.registry), after]
    client = CLIENTS["anthropic"](world.url).with_options(middleware=chain)
    client.beta.messages.create(**BODY, betas=[LIVE, STRANGE[:0] or OTHER])
    client.messages.create(**BODY)
    assert all(one is other for one, other in seen)


def test_the_callers_objects_are_not_changed(world: World) -> None:
    """What was handed to the SDK is the same afterwards."""
    extra = {"anthropic_beta": [GONE], "old": {"deep": 1, "kept": 2}, "shared": True}
    before = json.dumps(extra)
    client = world.client("bedrock invoke", policy="filter")
    client.messages.create(**BODY, extra_body=extra)
    assert json.dumps(extra) == before
    assert world.body["old"] == {"kept": 2}


# --- Policies -------------------------------------------------------------------------------------


def test_advise_removes_nothing_and_warns_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The request fails as it would have; the log says why."""
    client = world.client()
    for _ in range(2):
        with pytest.raises(anthropic.BadRequestError, match=GONE):
            client.beta.messages.create(**BODY, betas=[LIVE, GONE])
    assert world.sent == [LIVE, GONE]
    assert caplog.text.count(f"{GONE} is sent (retired") == 1
    assert caplog.text.count(f"{GONE} was refused by anthropic") == 1


def test_filter_drops_a_beta_with_its_fields(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Header and body travel as a pair, but a field that another beta needs stays."""
    client = world.client(policy="filter")
    fields = {"old": {"deep": 1}, "shared": 1, "live_field": 1}
    client.beta.messages.create(**BODY, betas=[LIVE, GONE], extra_body=fields)
    assert world.sent == [LIVE]
    assert {key: world.body.get(key) for key in fields} == {
        "old": None,
        "shared": 1,
        "live_field": 1,
    }
    client.beta.messages.create(**BODY, betas=[GONE], extra_body=fields)
    assert "shared" not in world.body
    assert caplog.text.count(f"{GONE} is not sent (refused") == 1


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"vital": 1}, "vital"),
        ({"tools": [{"type": "gone_20241201", "name": "t"}]}, "gone_20241201"),
    ],
)
def test_what_a_request_cannot_do_without_stays(
    more: dict[str, Any], field: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A beta whose field or tool would be missed is kept, and its refusal returned with advice."""
    client = world.client(policy="filter", retry_refused=True)
    fields = {"old": {"deep": 1}, **more}
    for _ in range(2):
        with pytest.raises(anthropic.BadRequestError, match=GONE):
            client.beta.messages.create(**BODY, betas=[GONE, LIVE], extra_body=fields)
    assert world.sent == [GONE, LIVE]
    assert {key: world.body.get(key) for key in fields} == fields
    assert [entry["status"] for entry in world.app.log] == [400, 400]
    assert caplog.text.count(f"{GONE} is kept") == 1
    assert field in caplog.text


def test_essential_fields_are_dropped_where_that_is_wanted(world: World) -> None:
    """`drop_essential` is the caller's word."""
    client = world.client(policy="filter", drop_essential=True)
    tools = [{"type": "gone_20241201", "name": "t"}, {"name": "mine", "input_schema": {}}]
    client.beta.messages.create(**BODY, betas=[GONE, LIVE], extra_body={"vital": 1, "tools": tools})
    assert world.sent == [LIVE]
    assert ("vital" in world.body, world.body["tools"]) == (False, tools[1:])


def test_a_field_without_its_beta_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Also where no beta is sent at all; what is sent stays as it is."""
    for policy in ("advise", "filter"):
        world.client(policy=policy).messages.create(**BODY, extra_body={"live_field": 1})
        assert world.body["live_field"] == 1
        assert "anthropic-beta" not in world.headers
    assert (
        caplog.text.count(
            f"live_field is sent without its beta (beta_missing on anthropic): add {LIVE}"
        )
        == 1
    )


def test_converse_takes_betas_in_a_member_of_the_body(world: World) -> None:
    """`additionalModelRequestFields` holds the list, and the fields that go with a dropped beta."""
    guard = make_guard(world.registry, policy="filter")
    place = Place(platform="bedrock", api="converse")
    inner = {"anthropic_beta": [GONE, LIVE], "live_field": 1, "old": {"deep": 1}}
    body = {"messages": [], "additionalModelRequestFields": inner}
    call = Call(path="/model/claude-x/converse", header=None, body=body, place=place)
    plan = guard.plan(lambda: call)
    assert plan is not None
    left = {"live_field": 1, "anthropic_beta": [LIVE]}
    assert plan.body == {"messages": [], "additionalModelRequestFields": left}
    assert (plan.value, plan.changed) == ("", True)
    assert inner["anthropic_beta"] == [GONE, LIVE]


@pytest.mark.parametrize(
    "options", [{"api": "x", "platform": "bedrock"}, {"platform": "mars"}, {"on_unproven": "maybe"},
                {"platform": "vertex", "hosting": "azure"}],
)  # fmt: skip
def test_words_that_are_none(options: dict[str, Any], world: World) -> None:
    """Arguments that can never work are told at once."""
    with pytest.raises(Invalid):
        middleware(world.registry, **options)


def test_strict_raises_before_anything_is_sent(world: World) -> None:
    """One sentence that names the beta; the SDK neither retries nor wraps it."""
    client = world.client(policy="strict").with_options(max_retries=3)
    with pytest.raises(Invalid, match=GONE):
        client.beta.messages.create(**BODY, betas=[GONE])
    assert world.app.log == type(world.app.log)()


def test_unknown_names_pass(world: World) -> None:
    """A beta that is newer than our facts is not held back."""
    world.app.patch({"betas": [{"beta": "*"}]})
    world.client(policy="filter").beta.messages.create(**BODY, betas=[STRANGE])
    assert world.sent == [STRANGE]


# --- Refusals -------------------------------------------------------------------------------------


def test_a_refusal_is_reported_at_once(world: World) -> None:
    """What the registry does not know yet, it learns within seconds from the first failing request."""
    world.app.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
    with pytest.raises(anthropic.BadRequestError):
        world.client().beta.messages.create(**BODY, betas=[LIVE, OTHER])
    until(lambda: world.usages.items)
    counted = {item["beta"]: (item["count"], item["refused"]) for item in world.usages.items}
    assert counted == {LIVE: (1, 1), OTHER: (1, None)} or counted == {LIVE: (1, 1), OTHER: (1, 0)}


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_request_is_sent_once_more_if_wanted(stream: bool, world: World) -> None:
    """Without the refused names and their fields; a 400 means that nothing ran."""
    world.app.patch({"timeline": [{"at": 0, "beta": LIVE, "do": "refuse"}]})
    client = world.client(policy="filter", retry_refused=True)
    fields = {"live_field": 1, "shared": 1}
    answer = client.beta.messages.create(
        **BODY, betas=[LIVE, OTHER], extra_body=fields, stream=stream
    )
    assert stream is False or list(answer)[-1].type == "message_stop"
    assert world.sent == [OTHER]
    assert (world.body.get("live_field"), world.body.get("shared")) == (None, 1)
    assert [entry["status"] for entry in world.app.log] == [400, 200]
    assert world.reported() == {LIVE: (1, 0, 1), OTHER: (2, 1, 0)}


@pytest.mark.parametrize(
    ("options", "fault", "times"),
    [
        ({"policy": "filter"}, "refusing", 1),
        ({"retry_refused": True}, "refusing", 1),
        ({"policy": "filter", "retry_refused": True}, "billing", 1),
        ({"policy": "filter", "retry_refused": True}, "refusing", 2),
    ],
)
def test_it_is_sent_again_only_then(
    options: dict[str, Any], fault: str, times: int, world: World
) -> None:
    """Not by default, not under `advise`, not for another error; and once, whatever comes back."""
    queue = [{"fault": fault}, {"fault": "billing", "times": 9}]
    world.app.patch({"faults": {"queue": queue}})
    with pytest.raises(anthropic.BadRequestError):
        world.client(**options).beta.messages.create(**BODY, betas=[LIVE])
    assert len(world.app.log) == times


@pytest.mark.parametrize(
    "fault", ["rate_limited", "overloaded", "error_500", "html_502", "billing"]
)
def test_other_errors_say_nothing_about_betas(fault: str, world: World) -> None:
    """They are counted as uses, neither accepted nor refused, an SDK retry as a use of its own."""
    world.app.patch({"faults": {"queue": [{"fault": fault, "times": 2}], "retry_after": 0.01}})
    with pytest.raises(anthropic.APIStatusError):
        world.client().with_options(max_retries=0).beta.messages.create(**BODY, betas=[LIVE])
    assert world.reported() == {LIVE: (1, None, None)}


def test_an_upstream_that_is_down(world: World) -> None:
    """The SDK's own error reaches the caller, after the SDK's own retries."""
    client = world.client(features=["added"]).with_options(
        base_url="http://127.0.0.1:9", max_retries=1
    )
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**BODY)
    assert world.reported() == {ADDED: (2, None, None)}


def test_unnamed_refusals_of_a_single_beta(world: World) -> None:
    """Bedrock's "invalid beta flag" names nothing; with one beta it can only be that one."""
    client = world.client("bedrock invoke")
    for betas in ([GONE], [GONE, LIVE]):
        with pytest.raises(anthropic.BadRequestError, match="invalid beta flag"):
            client.beta.messages.create(**BODY, betas=betas)
    assert world.reported() == {GONE: (2, 0, 1), LIVE: (1, None, None)}


def test_a_registry_that_is_down_breaks_nothing(world: World) -> None:
    """The bundled catalog answers, and requests go out."""
    with Registry("http://127.0.0.1:9", service="shop", cache=False) as alone:
        client = CLIENTS["anthropic"](world.url).with_options(
            middleware=[middleware(alone, features=["mcp-client"])]
        )
        world.app.patch({"betas": [{"beta": "*"}]})
        client.beta.messages.create(**BODY, betas=[STRANGE])
    assert world.sent == [STRANGE, "mcp-client-2025-11-20"]


def test_an_error_of_our_own_breaks_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A body that is no object, options nobody foresaw: the request goes on as it was, told once."""
    caplog.set_level(logging.DEBUG)
    guarded = middleware(world.registry, features=["added"])
    for strange in (object(), None, 7):
        assert guarded(strange, lambda request: request) is strange
    assert caplog.text.count("planning a request failed") == 1


# --- Which platform -------------------------------------------------------------------------------


def test_features_go_to_messages_only(world: World) -> None:
    """A request for models or files gets no configured feature; its own betas are looked after."""
    client = world.client(features=["added"], policy="filter")
    client.models.list()
    assert "anthropic-beta" not in world.headers
    client.beta.models.list(betas=[LIVE, GONE])
    assert world.headers["anthropic-beta"] == LIVE


class MyVertex(anthropic.AnthropicVertex):
    """A subclass, as programs have them."""


def test_places() -> None:
    """Classes first, then hosts and paths; a gateway counts as the Claude API."""
    mine = MyVertex(region="global", project_id="p", access_token="f", base_url="http://x/v1")
    assert of_client(mine) == Place(platform="vertex", region="global")
    foundry = anthropic.Anthropic(api_key="k", base_url="https://r.services.ai.azure.com/anthropic")
    assert of_client(foundry) == Place(platform="foundry")
    bedrock = anthropic.AnthropicBedrock(
        aws_region="eu-west-1", aws_access_key="a", aws_secret_key="s"
    )
    assert of_client(bedrock) == Place(platform="bedrock", api="invoke", region="eu-west-1")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://api.anthropic.com/v1/messages", Place(platform="anthropic")),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/model/x%3A0/invoke", Place(platform="bedrock", api="invoke", region="eu-west-1", model="x:0")),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/model/x/converse-stream", Place(platform="bedrock", api="converse", region="us-gov-west-1", model="x")),
        ("https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages", Place(platform="bedrock", api="mantle", region="us-east-1")),
        ("https://aws-external-anthropic.us-east-1.api.aws/v1/messages", Place(platform="aws", region="us-east-1")),
        ("https://claude.googleapis.com/v1/x", Place(platform="google-cloud")),
        ("https://us-east5-aiplatform.googleapis.com/v1/projects/p", Place(platform="vertex", region="us-east5")),
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/models/claude-x@1:rawPredict", Place(platform="vertex", region="global", model="claude-x@1")),
        ("https://aiplatform.eu.rep.googleapis.com/v1", Place(platform="vertex")),
        ("https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict", Place(platform="vertex", region="us-east5")),
        ("https://r.openai.azure.com/anthropic/v1/messages", Place(platform="foundry")),
        ("https://gateway.example.com:8443/model/claude/invoke", Place(platform="bedrock", api="invoke", model="claude")),
        ("https://gateway.example.com/model/claude/converse", Place(platform="bedrock", api="converse", model="claude")),
        ("https://gateway.example.com/model/claude/invoked", Place(platform="anthropic")),
        ("https://amazonaws.com.example.com/v1/messages", Place(platform="anthropic")),
        ("", Place(platform="anthropic")),
    ],
)  # fmt: skip
def test_places_by_address(url: str, place: Place) -> None:
    """Host and path tell platform, API, region and model, as far as they do."""
    assert place_of_url(url) == place


def test_a_chain_that_tells_no_client(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Then the platform is what was named, else the Claude API, with a line that says so."""

    def hide(request: Any, call_next: Any) -> Any:
        return guarded(request, Hidden(call_next))

    class Hidden:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __call__(self, request: Any) -> Any:
            return self.inner(request)

    for platform, arrives in ((None, [RENAMED]), ("vertex", list(THERE))):
        guarded = middleware(world.registry, platform=platform)
        client = CLIENTS["vertex"](world.url).with_options(middleware=[hide])
        client.beta.messages.create(**BODY, betas=[RENAMED])
        assert world.sent == arrives
    assert caplog.text.count("The platform cannot be told") == 1


# --- Transports -----------------------------------------------------------------------------------


def post(world: World, path: str, betas: Sequence[str] = (), **options: Any) -> httpx2.Response:
    """Post a message through the transport."""
    body = options.pop("body", {})
    wrapped = transport(world.registry, **options)
    with httpx2.Client(transport=wrapped, headers=HEADERS, base_url=world.url) as http:
        return http.post(
            path, json={**BODY, **body}, headers=[("anthropic-beta", name) for name in betas]
        )


def test_the_transport(world: World) -> None:
    """Merged, renamed, placed and counted as by the middleware; other requests pass."""
    answer = post(world, "/v1/messages", [LIVE, RENAMED], features=["added"])
    assert (answer.json()["content"][0]["text"], world.sent) == ("Hi", [LIVE, RENAMED, ADDED])
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-haiku-4-5:rawPredict"
    body = {"anthropic_version": "vertex-2023-10-16"}
    post(world, path, [RENAMED], body=body)
    assert world.sent == list(THERE)
    body = {"anthropic_version": "bedrock-2023-05-31"}
    path = "/bedrock/model/claude-haiku-4-5/invoke"
    answer = post(world, path, [LIVE], body={**body, "anthropic_beta": [OTHER]}, features=["added"])
    assert (answer.status_code, world.sent) == (200, [LIVE, OTHER, ADDED])
    assert "anthropic-beta" not in world.headers
    post(world, "/v1/messages", [GONE], policy="filter", body={"old": {"deep": 1}})
    assert (world.sent, world.body.get("old")) == ([], None)
    with httpx2.Client(transport=transport(world.registry, features=["added"])) as http:
        assert http.get(f"{world.url}/_simulator").status_code == 200
    assert "anthropic-beta" not in world.headers
    assert world.reported()[LIVE] == (1, 1, 0)  # on either of two platforms


def test_the_transport_learns_and_streams(world: World) -> None:
    """A refusal is readable by the caller and learned; a success is not read here."""
    refused = post(world, "/v1/messages", [GONE, LIVE])
    assert GONE in refused.json()["error"]["message"]
    again = post(world, "/v1/messages", [STRANGE, LIVE], policy="filter", retry_refused=True)
    assert (again.status_code, world.sent) == (200, [LIVE])
    pieces = iter([b"one", b"two"])
    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=_Pieces(pieces)))
    with (
        httpx2.Client(transport=transport(world.registry, inner)) as http,
        http.stream(
            "POST", f"{world.url}/v1/messages", headers={"anthropic-beta": LIVE}
        ) as running,
    ):
        assert next(pieces) == b"one"
        assert running.read() == b"two"
    assert world.reported()[GONE] == (1, 0, 1)


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces


def test_signed_requests_pass_the_transport(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A signature covers what we would change: nothing is changed, and that is told."""
    http = httpx2.Client(transport=transport(world.registry, policy="filter"))
    client = anthropic.AnthropicAWS(
        **_signed, workspace_id="wrkspc_1", base_url=world.url, http_client=http, **_here
    )
    with pytest.raises(anthropic.BadRequestError):
        client.beta.messages.create(**BODY, betas=[GONE])
    assert world.sent == [GONE]
    assert "use the middleware" in caplog.text
    http.close()


def test_the_asynchronous_transport(world: World) -> None:
    """The same rules."""

    async def program() -> list[int]:
        wrapped = async_transport(
            world.registry, features=["added"], policy="filter", retry_refused=True
        )
        async with httpx2.AsyncClient(
            transport=wrapped, headers=HEADERS, base_url=world.url
        ) as http:
            beta_header = {"anthropic-beta": f"{STRANGE},{LIVE}"}
            good = await http.post("/v1/messages", json=BODY, headers=beta_header)
            world.app.patch({"faults": {"queue": [{"fault": "refusing"}]}})
            emptied = await http.post("/v1/messages", json=BODY, headers={"anthropic-beta": LIVE})
            assert world.sent == []
            return [good.status_code, emptied.status_code]

    assert asyncio.run(program()) == [200, 200]
    assert world.reported()[STRANGE] == (1, 0, 1)


# --- The README -----------------------------------------------------------------------------------


def test_the_snippets_of_the_readme_run(world: World) -> None:
    """Word for word but for the registry's address, one after the other, warnings as errors."""
    text = (Path(__file__).parent.parent / "README.md").read_text()
    section = text.partition("## In your programs\n")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    assert code.count("import") >= 4
    code = code.replace("http://127.0.0.1:8000", f"{world.url}/registry")
    world.usages.snapshot = None
    world.app.patch({"betas": [{"beta": "*"}]})
    env = {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": world.url}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nprint(message.content[0].text, answer)"],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "Hi mcp-client-2025-11-20\n", done.stderr
    assert world.sent == ["files-api-2025-04-14", "mcp-client-2025-11-20"]
    assert {item["beta"] for item in world.usages.items} == {*world.sent}


@pytest.mark.parametrize(
    ("said", "told", "place"),
    [
        ({"hosting": "azure"}, Place(platform="foundry"), Place(platform="foundry", hosting="azure")),
        ({"hosting": "azure"}, Place(platform="vertex"), Place(platform="vertex")),
        ({"api": "mantle"}, Place(platform="bedrock"), Place(platform="bedrock", api="mantle")),
        ({"api": "mantle"}, Place(platform="bedrock", api="invoke"), Place(platform="bedrock", api="invoke")),
        ({"region": "eu-west-1"}, Place(platform="aws"), Place(platform="aws", region="eu-west-1")),
        ({"platform": "vertex"}, Place(platform="anthropic"), Place(platform="vertex")),
        ({}, Place(platform="foundry"), Place(platform="foundry")),
    ],
)  # fmt: skip
def test_what_is_said_completes_what_the_address_tells(
    said: dict[str, Any], told: Place, place: Place
) -> None:
    """No address of Foundry tells who hosts a model; a platform that is named is the place."""
    with Registry() as registry:
        assert make_guard(registry, **said).given.complete(told) == place
