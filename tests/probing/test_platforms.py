"""One probe against the simulator over real HTTP: every platform, and everything a network does."""

from __future__ import annotations

import gzip
import itertools
import json
import shlex
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from registry.probing import platforms
from registry.probing.platforms import Answer, ConfigError, Setup, Upstream, cost_per_day
from registry.simulator import Simulator, read_script, running

BETA, OTHER, NEVER = "mcp-client-2025-11-20", "skills-2025-10-02", "never-issued-2026-01-01"
WORLD: dict[str, Any] = {"betas": [{"beta": [BETA, OTHER]}]}

AWS_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAFAKE", "AWS_SECRET_ACCESS_KEY": "s3cret-half"}
TOKEN = {"TOKEN": "ya29.secret"}
AWS_REGION = {"region": "us-east-1"}
VERTEX = {"region": "global", "project_id": "p", "api_key_env": "TOKEN"}
INVOKE = {"platform": "bedrock", "api": "invoke", "region": "us-east-1", "allow_paid": True}

# Name: the table, the environment, the path of the base URL, the endpoints.
CLOUDS: dict[str, tuple[dict[str, Any], dict[str, str], str, tuple[str, ...]]] = {
    "anthropic": (
        {"platform": "anthropic"},
        {"ANTHROPIC_API_KEY": "sk-ant-secret"},
        "",
        ("count_tokens", "models"),
    ),
    "anthropic, own variable": (
        {"platform": "anthropic", "api_key_env": "MINE"},
        {"MINE": " sk-ant-secret\n", "ANTHROPIC_API_KEY": "sk-ant-wrong"},
        "",
        ("count_tokens", "models"),
    ),
    "anthropic, token": (
        {"platform": "anthropic"},
        {"ANTHROPIC_AUTH_TOKEN": "sk-ant-secret"},
        "",
        ("count_tokens", "models"),
    ),
    "aws": (
        {"platform": "aws", "workspace_id": "wrkspc_1", **AWS_REGION},
        AWS_KEYS,
        "/aws",
        ("count_tokens", "models"),
    ),
    "aws, by key": (
        {"platform": "aws"},
        {"ANTHROPIC_AWS_API_KEY": "k-secret", "ANTHROPIC_AWS_WORKSPACE_ID": "wrkspc_1"},
        "/aws",
        ("count_tokens", "models"),
    ),
    "google-cloud": (
        {"platform": "google-cloud", "api_key_env": "TOKEN"},
        TOKEN,
        "/google-cloud",
        ("count_tokens", "models"),
    ),
    "bedrock mantle": (
        {"platform": "bedrock", "api": "mantle"},
        {**AWS_KEYS, "AWS_REGION": "eu-west-1"},
        "/mantle/anthropic",
        ("count_tokens",),
    ),
    "bedrock mantle, by key": (
        {"platform": "bedrock"},
        {"AWS_BEARER_TOKEN_BEDROCK": "k-secret"},
        "/mantle/anthropic",
        ("count_tokens",),
    ),
    "bedrock invoke": (INVOKE, AWS_KEYS, "/bedrock", ("messages",)),
    "bedrock invoke, by key": (
        INVOKE,
        {"AWS_BEARER_TOKEN_BEDROCK": "k-secret"},
        "/bedrock",
        ("messages",),
    ),
    "vertex": ({"platform": "vertex", **VERTEX}, TOKEN, "/vertex/v1", ("count_tokens",)),
    "foundry": (
        {"platform": "foundry"},
        {"ANTHROPIC_FOUNDRY_API_KEY": "k-secret"},
        "/foundry/anthropic",
        ("count_tokens",),
    ),
}
ASKED = [(name, endpoint) for name, row in CLOUDS.items() for endpoint in row[3]]
ASKED += [(name, "messages") for name in CLOUDS if not name.startswith("bedrock invoke")]
CLAUDE = {"ANTHROPIC_API_KEY": "sk-ant-secret"}


class Recorder(Simulator):
    """A simulator that keeps what it was sent, word for word."""

    def __init__(self) -> None:
        super().__init__(read_script(WORLD), time.time)
        self.raw: list[tuple[dict[str, str], bytes]] = []

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        self.raw.append((dict(headers), body))
        return super().answer(method, path, headers, body)


class Stage:
    """What the one server of this module serves: each test puts its own simulator on it."""

    app: Recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Upstreams:
    """A simulator that is being served, and how to ask it as a target."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.app, self.url, self.made = Recorder(), url, list[Upstream]()
        stage.app = self.app

    def cloud(self, name: str, **more: Any) -> Upstream:
        table, environ, path, _ = CLOUDS[name]
        return self.make(environ, **{"base_url": self.url + path, **table, **more})

    def make(self, environ: Mapping[str, str] = CLAUDE, **table: Any) -> Upstream:
        table = {"platform": "anthropic", "base_url": self.url, "timeout": 20.0, **table}
        made = Upstream(Setup(name="t", **table), environ)
        self.made.append(made)
        return made

    def fault(self, fault: str, **more: Any) -> None:
        self.app.patch({"faults": {"queue": [{"fault": fault, **more}]}})


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, str]]:
    found = Stage()
    found.app = Recorder()
    with running(found) as url:
        yield found, url


@pytest.fixture
def served(stage: tuple[Stage, str]) -> Iterator[Upstreams]:
    found = Upstreams(*stage)
    yield found
    for upstream in found.made:
        upstream.close()


def betas_sent(headers: Mapping[str, str], body: bytes) -> tuple[str | None, list[str] | None]:
    listed = json.loads(body).get("anthropic_beta") if body else None
    return headers.get("anthropic-beta"), listed


def failure(answer: Answer) -> str:
    """Return the one sentence of an answer that never came."""
    assert (answer.status, answer.headers, answer.body) == (None, {}, b"")
    assert answer.error is not None
    assert answer.error.endswith(".")
    assert "\n" not in answer.error
    return answer.error


# ------------------------------------------------------------------- every platform


@pytest.mark.parametrize(("name", "endpoint"), ASKED)
def test_each_platform_is_asked(name: str, endpoint: str, served: Upstreams) -> None:
    """The control is accepted, a never-issued name refused, and exactly the names given arrive."""
    upstream = served.cloud(name, allow_paid=True)
    assert upstream.endpoints == CLOUDS[name][3]
    answers = [upstream.send(betas, endpoint) for betas in ([], [BETA, OTHER], [BETA, NEVER])]
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert [answer.error for answer in answers] == [None] * 3
    invoke = name.startswith("bedrock invoke")
    assert (b"invalid beta flag" if invoke else NEVER.encode()) in answers[2].body
    assert upstream.placement == ("body" if invoke else "header")
    assert [entry["betas"] for entry in served.app.log] == [[], [BETA, OTHER], [BETA, NEVER]]
    platform, _, api = name.partition(",")[0].partition(" ")
    api = api or ("mantle" if platform == "bedrock" else "")
    seen = served.app.log[-1]
    assert (seen["platform"], seen["api"] or "", seen["endpoint"]) == (platform, api, endpoint)
    raw = [betas_sent(headers, body) for headers, body in served.app.raw]
    both = (None, [BETA, OTHER]) if invoke else (f"{BETA},{OTHER}", None)
    assert raw[:2] == [(None, None), both]
    assert answers[2].headers["content-type"] == "application/json"
    assert answers[0].seconds > 0


@pytest.mark.parametrize("name", ["anthropic", "aws", "google-cloud"])
def test_lists_are_read(name: str, served: Upstreams) -> None:
    """A list call of another endpoint carries the betas; anything but a list is not sent."""
    served.app.patch({"gates": {"agents": [BETA]}})
    upstream = served.cloud(name, endpoint="list")
    assert upstream.endpoints == ("list",)
    assert upstream.send([BETA], "list", "/v1/agents?beta=true").status == 200
    assert upstream.send([], "list", "/v1/agents?beta=true").status == 404
    assert {entry["method"] for entry in served.app.log} == {"GET"}
    paths = (None, "", "https://example.com/v1/files", "//example.com/v1/files", "/v1/../x", "/x")
    for path in paths:
        assert "cannot be asked at list" in failure(upstream.send([], "list", path))
    assert served.app.count == 2


def test_messages_are_as_short_as_can_be(served: Upstreams) -> None:
    """A message asks for one token, and only where the table allows to pay."""
    served.cloud("anthropic", endpoint="messages", allow_paid=True).send([], "messages")
    body = json.loads(served.app.raw[0][1])
    assert body == {
        "model": "claude-haiku-4-5",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert "messages" in failure(served.cloud("anthropic").send([], "messages"))
    assert served.app.count == 1


def test_the_environment_adds_no_beta(served: Upstreams, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ANTHROPIC_CUSTOM_HEADERS`, which the SDK sends everywhere, cannot spoil a control."""
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"anthropic-beta: {NEVER}\nx-team: a")
    for name in ("anthropic", "aws", "bedrock mantle", "bedrock invoke", "vertex", "foundry"):
        upstream = served.cloud(name, allow_paid=True)
        for betas in ([], [BETA]):
            assert upstream.send(betas, upstream.endpoints[0]).status == 200
    assert [entry["betas"] for entry in served.app.log] == [[], [BETA]] * 6
    assert served.app.raw[0][0]["x-team"] == "a"


def test_extra_headers_are_sent(served: Upstreams) -> None:
    """The table's headers reach the upstream, signed too."""
    for name in ("anthropic", "aws"):
        assert served.cloud(name, headers={"x-gateway": "g"}).send([], "models").status == 200
        assert served.app.raw[-1][0]["x-gateway"] == "g"


def test_a_wrong_key_is_an_answer(served: Upstreams) -> None:
    """The answer is handed on as it came, and nothing of the key in it."""
    answer = served.make({"ANTHROPIC_API_KEY": "sk-wrong"}).send([], "count_tokens")
    assert (answer.status, answer.error) == (401, None)
    assert json.loads(answer.body)["error"]["type"] == "authentication_error"
    assert answer.headers["request-id"].startswith("req_")


def test_credentials_identify_the_login() -> None:
    """The same login gives the same text, another one another, a renewed AWS token the same."""

    def credential(environ: Mapping[str, str], **table: Any) -> str:
        return Upstream(Setup(name="t", **table), environ).credential

    claude = {"platform": "anthropic"}
    assert credential({"ANTHROPIC_API_KEY": "a"}, **claude) == "a"
    bedrock = {"platform": "bedrock", **AWS_REGION}
    renewed = {**AWS_KEYS, "AWS_SESSION_TOKEN": "new"}
    assert credential(AWS_KEYS, **bedrock) == credential(renewed, **bedrock) == "AKIAFAKE"
    assert credential({"AWS_BEARER_TOKEN_BEDROCK": "b", **AWS_KEYS}, **bedrock) == "b"


def test_an_aws_profile_signs(
    served: Upstreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile outweighs keys in the environment, and brings its region."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-3\n")
    login = "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = work-secret\n"
    (tmp_path / "credentials").write_text(login)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    upstream = served.cloud("bedrock mantle", profile="work", region=None)
    assert upstream.credential == "AKIAWORK work"
    assert upstream.send([], "count_tokens").status == 200
    signed = served.app.raw[-1][0]["authorization"]
    assert "Credential=AKIAWORK/" in signed
    with pytest.raises(
        ConfigError, match=r"AWS finds no login \(ProfileNotFound\): set AWS_BEARER"
    ):
        served.cloud("bedrock mantle", profile="play")
    with pytest.raises(ConfigError, match="AWS finds no login: set AWS_BEARER"):
        Upstream(Setup(name="t", platform="bedrock", region="us-east-1"), {})


@contextmanager
def google_login(folder: Path, status: int) -> Iterator[Path]:
    """Serve Google's token endpoint, and write the file of a service account that uses it."""

    async def token(request: Request) -> Response:
        answer = {"access_token": "ya29.minted", "expires_in": 3600, "token_type": "Bearer"}
        return JSONResponse(answer if status == 200 else {"error": "invalid_grant"}, status)

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with running(Starlette(routes=[Route("/token", token, methods=["POST"])])) as url:
        about = {"type": "service_account", "project_id": "p", "client_email": "a@b.c"}
        secret = {"private_key": key.decode(), "private_key_id": "1", "token_uri": f"{url}/token"}
        (folder / "login.json").write_text(json.dumps(about | secret))
        yield folder / "login.json"


@pytest.mark.parametrize("platform", ["vertex", "google-cloud"])
@pytest.mark.parametrize("status", [200, 400])
def test_google_logins_make_tokens(
    platform: str,
    status: int,
    served: Upstreams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file's content is the credential; its tokens are sent, or the sentence says what to do."""
    table = {"api_key_env": None, "project_id": "p", "region": "global"}
    with google_login(tmp_path, status) as file:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        monkeypatch.setitem(CLOUDS[platform][1], "GOOGLE_APPLICATION_CREDENTIALS", str(file))
        upstream = served.cloud(platform, **table)
        answers = [upstream.send([], "count_tokens") for _ in range(2)]
    assert upstream.credential == f"{file.read_text()} p"
    if status == 200:
        assert [answer.status for answer in answers] == [200, 200]
        assert served.app.raw[-1][0]["authorization"] == "Bearer ya29.minted"
    else:
        assert "Google gave no access token (RefreshError): run `gcloud" in failure(answers[0])


# ------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [
        ("html_200", 200, b"<!DOCTYPE html>"),
        ("empty_200", 200, b""),
        ("html_502", 502, b"<html>"),
        ("redirect", 302, b""),
        ("truncated", 200, b'{"input'),
        ("overloaded", 529, b'{"type": "error"'),
    ],
)
def test_odd_answers_are_handed_on(
    fault: str, status: int, start: bytes, served: Upstreams
) -> None:
    """What the SDK would make of an answer plays no part, and it is asked for once."""
    served.fault(fault)
    answer = served.make().send([], "count_tokens")
    assert (answer.status, answer.error) == (status, None)
    assert answer.body.startswith(start)
    assert served.app.count == 1


@pytest.mark.parametrize("fault", ["huge", "endless"])
def test_long_answers_are_cut(fault: str, served: Upstreams) -> None:
    """Two MiB are kept, and the connection is not used again."""
    served.fault(fault)
    upstream = served.make()
    answer = upstream.send([], "count_tokens")
    assert (answer.status, len(answer.body)) == (200, 2 * 1024 * 1024)
    assert answer.error == "The answer is longer than 2 MiB: base_url leads to no Claude API."
    assert upstream.send([], "count_tokens").status == 200


@pytest.mark.parametrize("fault", ["cut", "closed"])
def test_broken_answers_are_none(fault: str, served: Upstreams) -> None:
    """An answer that did not come whole is no answer."""
    served.fault(fault)
    upstream = served.make()
    assert "broke off before its answer was whole" in failure(upstream.send([], "count_tokens"))
    assert upstream.send([], "count_tokens").status == 200


def test_a_slow_answer_is_given_up(served: Upstreams) -> None:
    """Nothing for longer than the time-out is no answer."""
    served.app.patch({"faults": {"slow_seconds": 60, "queue": [{"fault": "slow"}]}})
    upstream = served.make(timeout=0.3)
    said = failure(upstream.send([], "count_tokens"))
    assert "gave no whole answer within 0.3 s" in said
    assert "timeout" in said


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """Serve bytes that never end, far too slowly to be waited for and far too fast to time out singly."""
    over = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(start)
            while not over.wait(0.05):
                try:
                    peer.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"]
)
def test_dripping_bytes_are_given_up(start: bytes, served: Upstreams) -> None:
    """The time-out is that of the whole exchange, whether head or body drips."""
    with dripping(start) as url:
        said = failure(served.make(base_url=url, timeout=0.5).send([], "count_tokens"))
    assert "gave no whole answer within 0.5 s" in said


def test_what_speaks_no_http(served: Upstreams) -> None:
    """Bytes that are no HTTP are no answer."""
    with dripping(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as url:
        assert "speaks no HTTP" in failure(served.make(base_url=url).send([], "count_tokens"))


def test_nobody_listens(served: Upstreams) -> None:
    """A refused port is told with its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = served.make(base_url=f"http://127.0.0.1:{port}").send([], "count_tokens")
    assert failure(answer).startswith(f"Nothing listens at 127.0.0.1:{port}: correct base_url")


def test_an_unknown_host(served: Upstreams) -> None:
    """A name that DNS does not know is told (`.invalid` never exists, RFC 2606)."""
    answer = served.make(base_url="http://nonexistent.invalid").send([], "count_tokens")
    assert "DNS does not know the host of nonexistent.invalid:80" in failure(answer)


def test_tls_where_there_is_none(served: Upstreams) -> None:
    """TLS to a port of plain HTTP is told."""
    upstream = served.make(base_url=served.url.replace("http:", "https:"))
    assert "does not speak TLS as expected" in failure(upstream.send([], "count_tokens"))


def test_proxies_are_honoured(served: Upstreams) -> None:
    """The proxy of the environment carries the request, but for hosts that are excepted."""
    proxied = {**CLAUDE, "HTTP_PROXY": served.url.removeprefix("http://")}
    far = {"base_url": "http://api.invalid"}
    assert served.make(proxied, **far).send([], "count_tokens").status == 200
    assert served.app.raw[-1][0]["host"] == "api.invalid"
    for excepted in ("*", "invalid", "a.b, .invalid"):
        answer = served.make({**proxied, "no_proxy": excepted}, **far).send([], "count_tokens")
        assert "DNS does not know the host of api.invalid:80: correct base_url" in failure(answer)
    wrong = {**CLAUDE, "http_proxy": "gopher://u:secret@x"}
    said = failure(served.make(wrong, **far).send([], "count_tokens"))
    assert "HTTP_PROXY" in said
    assert "secret" not in said
    gone = {**CLAUDE, "ALL_PROXY": "http://nonexistent.invalid:3128"}
    said = failure(served.make(gone, **far).send([], "count_tokens"))
    assert "nonexistent.invalid:3128: correct HTTPS_PROXY or HTTP_PROXY" in said


def test_a_proxy_that_refuses(served: Upstreams) -> None:
    """What a proxy answers to CONNECT is told."""
    proxied = {**CLAUDE, "HTTPS_PROXY": f"http://u:secret@{served.url.removeprefix('http://')}"}
    said = failure(served.make(proxied, base_url="https://api.invalid").send([], "count_tokens"))
    assert "The proxy at 127.0.0.1:" in said
    assert "secret" not in said


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression_that_nobody_asked_for(
    encoding: str, served: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is undone, up to the limit."""
    squeeze = gzip.compress if encoding == "gzip" else zlib.compress

    async def answer(request: Request) -> Response:
        content = b"{}" if not served.app.count else b" " * 50_000_000
        served.app.count += 1
        return Response(squeeze(content), headers={"content-encoding": encoding})

    route = Route("/v1/messages/count_tokens", answer, methods=["POST"])
    with running(Starlette(routes=[route])) as url:
        upstream = served.make(base_url=url)
        assert upstream.send([], "count_tokens").body == b"{}"
        bomb = upstream.send([], "count_tokens")
        upstream.close()
    assert (len(bomb.body), bomb.status) == (2 * 1024 * 1024, 200)
    assert bomb.error is not None


def test_names_that_no_header_carries(served: Upstreams) -> None:
    """They are not sent, and nothing else in their place."""
    for name in ("", "a,b", "a b", "a\nb", "é", "x" * 129):
        assert "cannot be sent" in failure(served.make().send([name], "count_tokens"))
    assert served.app.count == 0


# -------------------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("table", "environ", "sentence"),
    [
        ({}, {}, "no key was found: set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or name"),
        ({"api_key_env": "MINE"}, CLAUDE, "api_key_env names MINE, which is not set"),
        ({}, {"ANTHROPIC_API_KEY": "sk-ant-\x00secret"}, "ANTHROPIC_API_KEY holds what no header"),
        ({"platform": "azure"}, {}, "platform 'azure' is unknown: write one of anthropic, aws,"),
        ({"platform": "bedrock invoke"}, {}, "platform 'bedrock invoke' is unknown"),
        ({"api": "invoke"}, CLAUDE, "api means nothing on platform anthropic: remove it."),
        ({"resource": "r"}, CLAUDE, "resource means nothing on platform anthropic"),
        ({"model": ""}, CLAUDE, "model is empty"),
        ({"timeout": 0.0}, CLAUDE, "timeout is no time"),
        ({"headers": {"Anthropic-Beta": "x"}}, CLAUDE, "headers holds Anthropic-Beta"),
        ({"headers": {"x-portkey-anthropic-beta": "x"}}, CLAUDE, "headers holds x-portkey"),
        ({"headers": {"x-a": "secret\n"}}, CLAUDE, "headers.x-a cannot be sent"),
        ({"headers": {"x a": "b"}}, CLAUDE, "headers.x a cannot be sent"),
        ({"base_url": "api.anthropic.com"}, CLAUDE, "base_url is no address of an API"),
        ({"base_url": "ftp://x"}, CLAUDE, "base_url is no address of an API"),
        ({"base_url": "https://x/?key=secret"}, CLAUDE, "base_url is no address of an API"),
        ({"base_url": "https://x:y:z"}, CLAUDE, "base_url is no address of an API"),
        ({"base_url": "https://u:secret@x"}, CLAUDE, "base_url holds a user or password"),
        ({}, {**CLAUDE, "ANTHROPIC_BASE_URL": "x"}, "base_url is no address of an API"),
        ({"ca_file": "/nowhere.pem"}, CLAUDE, "ca_file is '/nowhere.pem', where no certificate"),
        ({}, {**CLAUDE, "SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE is '/nowhere.pem'"),
        ({"endpoint": "messages"}, CLAUDE, "costs money: write allow_paid = true"),
        ({"platform": "aws", **AWS_REGION}, AWS_KEYS, "platform aws needs workspace_id: state it, or"),
        (
            {"platform": "aws", "workspace_id": "w"},
            AWS_KEYS,
            "platform aws needs region: state it, or set AWS_REGION or AWS_DEFAULT_REGION.",
        ),
        ({"platform": "aws"}, {"AWS_ACCESS_KEY_ID": "A"}, "AWS_SECRET_ACCESS_KEY belong together"),
        ({"platform": "aws", "profile": "a", "api_key_env": "B"}, {}, "exclude each other"),
        ({"platform": "bedrock"}, {"AWS_BEARER_TOKEN_BEDROCK": "b"}, "platform bedrock needs region"),
        ({**INVOKE, "endpoint": "count_tokens"}, AWS_KEYS, "endpoint count_tokens is not there in Bedrock"),
        ({**INVOKE, "endpoint": "models"}, AWS_KEYS, "endpoint models is not there on Bedrock's InvokeModel"),
        ({**INVOKE, "allow_paid": False}, AWS_KEYS, 'write allow_paid = true, or api = "mantle"'),
        (
            {**INVOKE, "profile": "a"},
            {"AWS_BEARER_TOKEN_BEDROCK": "b"},
            "no profile while AWS_BEARER_TOKEN_BEDROCK is set",
        ),
        ({"platform": "vertex", **VERTEX, "region": None}, TOKEN, "needs region: state it, or set CLOUD_ML"),
        ({"platform": "vertex", **VERTEX, "project_id": None}, TOKEN, "needs project_id"),
        ({"platform": "vertex", **VERTEX, "endpoint": "list"}, TOKEN, "endpoint list is not there on"),
        (
            {"platform": "vertex", "region": "global", "project_id": "p"},
            {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"},
            "no Google login was found in /nowhere.json: run `gcloud auth application-default login`",
        ),
        ({"platform": "google-cloud", "api_key_env": "TOKEN"}, TOKEN, "needs project_id"),
        (
            {"platform": "google-cloud", "api_key_env": "TOKEN", "project_id": "p"},
            TOKEN,
            "needs workspace_id: state it, or set ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID",
        ),
        ({"platform": "foundry", "resource": "r"}, {}, "set ANTHROPIC_FOUNDRY_API_KEY, or name"),
        (
            {"platform": "foundry", "resource": "r", "base_url": "https://x"},
            {"ANTHROPIC_FOUNDRY_API_KEY": "k"},
            "base_url and resource name the same thing",
        ),
        ({"platform": "foundry"}, {"ANTHROPIC_FOUNDRY_API_KEY": "k"}, "platform foundry needs resource"),
        ({"platform": "foundry", "endpoint": "models"}, {}, "endpoint models is not there on platform"),
    ],
)  # fmt: skip
def test_tables_that_cannot_work(
    table: dict[str, Any], environ: dict[str, str], sentence: str
) -> None:
    """One sentence names the target, the key and what to write; nothing secret is in it."""
    with pytest.raises(ConfigError) as caught:
        Upstream(Setup(**{"name": "my-target", "platform": "anthropic", **table}), environ)
    said = str(caught.value)
    assert said.startswith("Target 'my-target': ")
    assert sentence in said
    assert "secret" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("table", "environ", "address"),
    [
        ({}, CLAUDE, "https://api.anthropic.com/v1/messages/count_tokens"),
        ({}, {**CLAUDE, "ANTHROPIC_BASE_URL": "https://gw/x"}, "https://gw/x/v1/messages/count_tokens"),
        (
            {"platform": "aws", "workspace_id": "w", **AWS_REGION},
            AWS_KEYS,
            "https://aws-external-anthropic.us-east-1.api.aws/v1/messages/count_tokens",
        ),
        (
            {"platform": "bedrock", **AWS_REGION},
            AWS_KEYS,
            "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages/count_tokens",
        ),
        (
            {"platform": "foundry"},
            {"ANTHROPIC_FOUNDRY_API_KEY": "k", "ANTHROPIC_FOUNDRY_RESOURCE": "r"},
            "https://r.services.ai.azure.com/anthropic/v1/messages/count_tokens",
        ),
        (
            {"platform": "google-cloud", "api_key_env": "TOKEN", "project_id": "p", "workspace_id": "w"},
            TOKEN,
            "https://claude.googleapis.com/v1/projects/p/locations/global/workspaces/w/invoke/v1/messages"
            "/count_tokens",
        ),
        (
            {"platform": "vertex", **VERTEX},
            TOKEN,
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/models"
            "/count-tokens:rawPredict",
        ),
    ],
)  # fmt: skip
def test_addresses_without_a_base_url(
    table: dict[str, Any], environ: dict[str, str], address: str
) -> None:
    """Where none is stated, the platform's own address is used."""
    upstream = Upstream(Setup(**{"name": "t", "platform": "anthropic", **table}), environ)
    assert address in shlex.split(upstream.curl([], "count_tokens"))


# ---------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(("name", "endpoint"), ASKED)
def test_curl_says_the_same(name: str, endpoint: str, served: Upstreams) -> None:
    """The command asks what the probe asks, with variables where the secrets are."""
    _, environ, path, _ = CLOUDS[name]
    upstream = served.cloud(name, allow_paid=True, headers={"X-Gateway-Key": "gw-secret"})
    text = upstream.curl([BETA, NEVER], endpoint)
    assert not [
        secret
        for secret in environ.values()
        if secret.strip() in text and secret not in ("eu-west-1", "wrkspc_1")
    ]
    assert "secret" not in text
    assert "\n" not in text
    upstream.send([BETA, NEVER], endpoint)
    sent_headers, sent_body = served.app.raw[-1]
    words = shlex.split(text)
    assert words[0] == "curl"
    values = dict.fromkeys(("-X", "-d", "--max-time"), "")
    headers = dict[str, str]()
    for flag, value in itertools.pairwise(words):
        if flag == "-H":
            header, _, content = value.partition(": ")
            headers[header] = content
        elif flag in values:
            values[flag] = value
    assert values["-X"] == served.app.log[-1]["method"]
    assert next(word for word in words if word.startswith("http")).startswith(served.url + path)
    assert values["-d"] == sent_body.decode()
    assert headers.get("anthropic-beta") == sent_headers.get("anthropic-beta")
    assert headers["x-gateway-key"] == "$X_GATEWAY_KEY"
    signed = sent_headers.get("authorization", "").startswith("AWS4")
    assert ("--aws-sigv4" in words) == signed
    if signed:
        assert "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" in words
        service = words[words.index("--aws-sigv4") + 1]
        assert f"/{service.split(':')[3]}/aws4_request" in sent_headers["authorization"]
    own = {"authorization", "api-key", "x-api-key"} & set(sent_headers)
    for header in set() if signed else own:
        assert headers[header].removeprefix("Bearer ").startswith("$")


def test_curl_of_lists_and_of_nothing(served: Upstreams) -> None:
    """Betas are left out where there are none; what cannot be asked is refused."""
    upstream = served.make(ca_file=None)
    text = upstream.curl([], "list", "/v1/files?beta=true")
    assert f"{served.url}/v1/files?beta=true" in shlex.split(text)
    assert "anthropic-beta" not in text
    with pytest.raises(ConfigError, match="cannot be asked at messages"):
        upstream.curl([], "messages")
    assert served.app.count == 0


def test_nothing_shows_a_secret(served: Upstreams) -> None:
    """Neither the set-up nor the upstream shows its secrets when printed."""
    upstream = served.make(headers={"x-a": "gw-secret"})
    upstream.send([], "count_tokens")
    for shown in (upstream, upstream._setup, upstream._login, upstream._wire):
        assert "secret" not in repr(shown)


def test_cost() -> None:
    """Only messages cost, and the sentence says how many and how much."""

    def cost(**table: Any) -> str | None:
        return cost_per_day(Setup(name="t", **table), 3, 24.0)

    assert cost(platform="anthropic") is None
    assert cost(platform="bedrock", api="invoke", endpoint="auto") == cost(
        platform="anthropic", endpoint="messages"
    )
    assert cost(platform="bedrock") is None
    said = cost_per_day(Setup(name="t", platform="anthropic", endpoint="messages"), 60, 720.0)
    assert said is not None
    assert "up to 43200 messages a day to claude-haiku-4-5" in said
    assert "$0.65 a day" in said


def test_the_sdk_is_loaded_late() -> None:
    """Reading a table does not wait for the SDK."""
    code = (
        "import sys; from registry.probing.platforms import Setup, Upstream;"
        "Upstream(Setup(name='t', platform='anthropic'), {'ANTHROPIC_API_KEY': 'k'});"
        "sys.exit('anthropic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert platforms.MAX_BODY == 2 * 1024 * 1024
