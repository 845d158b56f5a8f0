"""Snippets are valid in their language, whatever stands in them, and the programs really send the betas."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.errors import Invalid
from registry.core.names import PLATFORMS
from registry.core.resolution import Ask, resolve
from registry.core.snippets import FORMATS, snippet
from tests.factories import TODAY, beta, snapshot

A, B = "thing-2026-01-01", "other_20250124"
PLACES = [
    *((platform, None) for platform in PLATFORMS if platform != "bedrock"),
    ("bedrock", "invoke"),
    ("bedrock", "mantle"),
]
HOSTILE = "x'\"`$(id)\\\n;&|<>{}%s😀\u2028"


def answer(*names: str, platform: str = "anthropic", api: str | None = None) -> dict[str, Any]:
    """What the registry answers for these names."""
    ask = Ask(requested=tuple(("beta", name) for name in names), platform=platform, api=api)
    return resolve(snapshot(beta(A), beta(B)), ask, TODAY).to_json()


def called(text: str) -> dict[str, Any]:
    """The keyword arguments of the last call of a Python snippet."""
    call = ast.parse(text).body[-1].value  # type: ignore[attr-defined]
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords
            if keyword.arg != "cast_to"}  # fmt: skip


def bash(text: str) -> list[str]:
    """The words of a curl command as bash reads them, without running anything of it."""
    show = 'curl() { printf "%s\\0" "$@"; }; gcloud() { :; }\n' + text
    done = subprocess.run(["bash", "-c", show], capture_output=True, check=True, env={})
    return done.stdout.decode().split("\0")[:-1]


def test_values_variables_and_settings() -> None:
    """The formats that carry only names."""
    found = answer(A, B)
    assert snippet(found, "value") == f"{A},{B}"
    assert snippet(found, "env") == f"ANTHROPIC_BETAS={A},{B}"
    assert json.loads(snippet(found, "claude-code")) == {"env": {"ANTHROPIC_BETAS": f"{A},{B}"}}
    assert json.loads(snippet(found, "json")) == found


@pytest.mark.parametrize(("platform", "api"), PLACES)
def test_programs_place_the_betas(platform: str, api: str | None) -> None:
    """In the header, or in the body where Bedrock's InvokeModel takes them."""
    found = answer(A, B, platform=platform, api=api)
    assert called(snippet(found, "python"))["betas"] == [A, B]
    assert f'betas: ["{A}", "{B}"]' in snippet(found, "typescript")
    words = bash(snippet(found, "curl"))
    body = json.loads(words[words.index("-d") + 1])
    header = f"anthropic-beta: {A},{B}"
    assert (header in words, body.get("anthropic_beta")) == (
        (False, [A, B]) if api == "invoke" else (True, None)
    )


@pytest.mark.parametrize(("platform", "api"), PLACES)
@pytest.mark.parametrize("form", FORMATS)
def test_nothing_to_send_sends_no_header(platform: str, api: str | None, form: str) -> None:
    """An empty header is refused upstream, so there is none."""
    found = answer(platform=platform, api=api)
    text = snippet(found, form)
    if form == "env":
        assert text.startswith("#")
    elif form == "claude-code":
        assert json.loads(text) == {"env": {}}
    elif form != "json":
        assert "anthropic-beta" not in text
        assert "anthropic_beta" not in text
        assert "betas" not in text
        assert ".beta." not in text


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [("/v1/messages", "messages"), ("count_tokens", "messages/count_tokens"), ("files", "files"),
     ("messages.count_tokens", "messages/count_tokens"), ("batches", "messages/batches"),
     ("v1/organizations/plugins?x=1", "organizations/plugins")],
)  # fmt: skip
def test_endpoints_by_any_of_their_names(endpoint: str, path: str) -> None:
    """Each leads to its path; what is neither message nor count is read."""
    found = answer(A)
    words = bash(snippet(found, "curl", endpoint=endpoint))
    assert words[1].endswith(f"/v1/{path}")
    assert ("-d" in words) == (path in ("messages", "messages/count_tokens"))
    text = snippet(found, "python", endpoint=endpoint)
    assert A in text
    assert ("count_tokens(" in text) == path.endswith("count_tokens")


@settings(max_examples=40)
@given(model=st.text(min_size=1), endpoint=st.text(), place=st.sampled_from(PLACES))
def test_whatever_is_asked_is_only_quoted(
    model: str, endpoint: str, place: tuple[str, str | None]
) -> None:
    """Python parses, and holds the model letter for letter; JSON is read back."""
    found = answer(A, platform=place[0], api=place[1])
    text = snippet(found, "python", model=model, endpoint=endpoint)
    assert called(text).get("model", model) == model
    assert text.isascii()
    for form in FORMATS:
        assert snippet(found, form, model=model, endpoint=endpoint)


@pytest.mark.parametrize(("platform", "api"), PLACES)
@pytest.mark.parametrize("endpoint", ["messages", "files/../$(touch hurt)", "count_tokens"])
def test_the_shell_runs_nothing_that_was_asked(
    platform: str, api: str | None, endpoint: str
) -> None:
    """A hostile model reaches curl as text."""
    model = f"$(touch hurt){HOSTILE}"
    text = snippet(answer(A, platform=platform, api=api), "curl", model=model, endpoint=endpoint)
    words = bash(text)
    assert not Path("hurt").exists()
    if "-d" in words:
        assert json.loads(words[words.index("-d") + 1]).get("model", model) == model


@pytest.mark.skipif(shutil.which("node") is None, reason="node reads JavaScript")
@pytest.mark.parametrize("endpoint", ["messages", "count_tokens", "files"])
def test_node_reads_the_typescript(endpoint: str) -> None:
    """The snippet is plain JavaScript, too."""
    Path("snippet.mjs").write_text(
        snippet(answer(A, platform="bedrock"), "typescript", model=HOSTILE, endpoint=endpoint)
    )
    done = subprocess.run(["node", "--check", "snippet.mjs"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_format_that_is_none_is_refused() -> None:
    """With those that are."""
    with pytest.raises(Invalid, match="use one of value, env"):
        snippet(answer(A), "yaml")


class _Upstream(BaseHTTPRequestHandler):
    """Keeps the last request, and answers with a message."""

    seen: dict[str, Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).seen = {"path": self.path, "headers": self.headers, "body": body}
        said = json.dumps({"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                           "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
                           "usage": {"input_tokens": 1, "output_tokens": 1}}).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[str]:
    """An API of our own; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("api", [None, "invoke", "mantle"])
def test_the_official_sdk_sends_what_the_snippet_says(api: str | None, upstream: str) -> None:
    """Run as it stands, with only addresses and keys of our own."""
    keys = {"ANTHROPIC_API_KEY": "k", "AWS_REGION": "r", "AWS_BEARER_TOKEN_BEDROCK": "k"}
    bases = {f"ANTHROPIC_{name}BASE_URL": upstream for name in ("", "BEDROCK_", "BEDROCK_MANTLE_")}
    found = answer(A, B, platform="bedrock" if api else "anthropic", api=api)
    subprocess.run([sys.executable, "-c", snippet(found, "python")], check=True, timeout=120,
                   env={**os.environ, **keys, **bases})  # fmt: skip
    seen = _Upstream.seen
    if api == "invoke":
        assert seen["body"]["anthropic_beta"] == [A, B]
        assert seen["path"].endswith("/invoke")
    else:
        assert seen["headers"]["anthropic-beta"] == f"{A},{B}"
