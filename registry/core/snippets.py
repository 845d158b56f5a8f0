"""An answer of `GET /v1/header` as something to paste: a variable, settings, a program, a command.

    snippet(answer, "python", model="claude-haiku-4-5")  ->  a program that sends exactly these betas

It hides how each platform's SDK and address are called, and where the betas go there. Whatever comes from
outside (model, endpoint) is quoted for the language it lands in. When nothing is to be sent, the snippet
sends no header at all: an empty one is refused upstream.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args
from urllib.parse import quote

from registry.core.errors import Invalid
from registry.core.facts import Json

__all__ = ["FORMATS", "Format", "snippet"]

Format = Literal["value", "env", "json", "claude-code", "python", "typescript", "curl"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

VARIABLE: Final = "ANTHROPIC_BETAS"
"""The variable from which Claude Code takes more betas, as a comma list."""

_GREETING: Final = {"role": "user", "content": "Hello"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Platform:
    """How one platform is called: the SDK's class, the TypeScript one and its package, and by curl."""

    python: str = "Anthropic"
    typescript: str = "Anthropic"
    package: str = "@anthropic-ai/sdk"
    base: str = "https://api.anthropic.com"
    headers: tuple[str, ...] = ("x-api-key: $ANTHROPIC_API_KEY",)
    model: str = "claude-haiku-4-5"
    version: str | None = None  # goes into the body where the platform wants it there


_BEARER: Final = "authorization: Bearer"
_GOOGLE: Final = f"{_BEARER} $(gcloud auth application-default print-access-token)"
_BEDROCK: Final = f"{_BEARER} $AWS_BEARER_TOKEN_BEDROCK"

_PLATFORMS: Final[Mapping[str, _Platform]] = {
    "anthropic": _Platform(),
    "aws": _Platform(
        python="AnthropicAWS",
        typescript="AnthropicAws",
        package="@anthropic-ai/aws-sdk",
        base="https://aws-external-anthropic.$AWS_REGION.api.aws",
        headers=(
            "x-api-key: $ANTHROPIC_AWS_API_KEY",
            "anthropic-workspace-id: $ANTHROPIC_AWS_WORKSPACE_ID",
        ),
    ),
    "google-cloud": _Platform(
        python="AnthropicGoogleCloud",
        typescript="AnthropicGoogleCloud",
        package="@anthropic-ai/google-cloud-sdk",
        base="https://claude.googleapis.com/v1/projects/$ANTHROPIC_GOOGLE_CLOUD_PROJECT"
        "/locations/global/workspaces/$ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID/invoke",
        headers=(_GOOGLE,),
    ),
    "bedrock": _Platform(
        python="AnthropicBedrockMantle",
        typescript="AnthropicBedrockMantle",
        package="@anthropic-ai/bedrock-sdk",
        base="https://bedrock-mantle.$AWS_REGION.api.aws/anthropic",
        headers=(_BEDROCK,),
        model="anthropic.claude-haiku-4-5",
    ),
    "bedrock invoke": _Platform(
        python="AnthropicBedrock",
        typescript="AnthropicBedrock",
        package="@anthropic-ai/bedrock-sdk",
        base="https://bedrock-runtime.$AWS_REGION.amazonaws.com",
        headers=(_BEDROCK,),
        model="us.anthropic.claude-haiku-4-5-20251001-v1:0",
        version="bedrock-2023-05-31",
    ),
    "vertex": _Platform(
        python="AnthropicVertex",
        typescript="AnthropicVertex",
        package="@anthropic-ai/vertex-sdk",
        base="https://$CLOUD_ML_REGION-aiplatform.googleapis.com/v1/projects"
        "/$ANTHROPIC_VERTEX_PROJECT_ID/locations/$CLOUD_ML_REGION/publishers/anthropic/models",
        headers=(_GOOGLE,),
        model="claude-haiku-4-5@20251001",
        version="vertex-2023-10-16",
    ),
    "foundry": _Platform(
        python="AnthropicFoundry",
        typescript="AnthropicFoundry",
        package="@anthropic-ai/foundry-sdk",
        base="https://$ANTHROPIC_FOUNDRY_RESOURCE.services.ai.azure.com/anthropic",
        headers=("x-api-key: $ANTHROPIC_FOUNDRY_API_KEY",),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request to show. `path` is that of the API; the parts of it are safe in any language."""

    platform: _Platform
    header: str
    betas: tuple[str, ...]
    in_body: bool
    model: str
    path: str

    @property
    def value(self) -> str:
        return ",".join(self.betas)

    @property
    def counts(self) -> bool:
        return self.path == "/v1/messages/count_tokens"

    @property
    def reads(self) -> bool:
        """Say whether it is neither a message nor a count: then the snippet only reads."""
        return self.path not in ("/v1/messages", "/v1/messages/count_tokens")


def snippet(
    answer: Mapping[str, Json],
    format: str,
    *,
    model: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Print an answer of `GET /v1/header` (its JSON) in one of `FORMATS`, without a newline at the end.

    `model` and `endpoint` are those that were asked for; without them a small model and `messages`. Vertex
    and Bedrock's InvokeModel take nothing but messages, and Vertex counting, whatever is asked. `value`
    is empty when nothing is to be sent. Raises `Invalid` for a format that is none.
    """
    call = _call(answer, model, endpoint)
    match format:
        case "value":
            return call.value
        case "env":
            said = f"# Nothing to send: leave {VARIABLE} unset."
            return f"{VARIABLE}={call.value}" if call.betas else said
        case "json":
            return json.dumps(answer, ensure_ascii=False, indent=2)
        case "claude-code":
            return json.dumps({"env": {VARIABLE: call.value} if call.betas else {}}, indent=2)
        case "python":
            return _python(call)
        case "typescript":
            return _typescript(call)
        case "curl":
            return _curl(call)
    raise Invalid(f"{format[:40]!r} is not a format; use one of {', '.join(FORMATS)}.")


def _call(answer: Mapping[str, Json], model: str | None, endpoint: str | None) -> _Call:
    in_body = answer["placement"] == "body"
    platform = _PLATFORMS["bedrock invoke" if in_body else answer["platform"]]
    return _Call(
        platform=platform,
        header=answer["header"],
        betas=tuple(answer["value"].split(",")) if answer["value"] else (),
        in_body=in_body,
        model=model or platform.model,
        path=_path(endpoint or "messages", platform, in_body=in_body),
    )


def _path(endpoint: str, platform: _Platform, *, in_body: bool) -> str:
    """Return the API's path of an endpoint as people name it: `files`, `/v1/files`, `count_tokens`."""
    plain = endpoint.strip().strip("/").removeprefix("v1/").split("?")[0].replace(".", "/")
    if plain in ("count_tokens", "messages/count_tokens") and not in_body:
        return "/v1/messages/count_tokens"
    if plain in ("", "messages") or platform.version:
        return "/v1/messages"
    known = {"batches": "messages/batches"}.get(plain, plain)
    # Lone surrogates cannot be encoded; whoever sends one gets a question mark.
    return f"/v1/{quote(known.encode('utf-8', 'replace'), safe='/{}')}"


# --- Programs -------------------------------------------------------------------------------------


def _text(value: str) -> str:
    """Write text for Python, in ASCII. JSON's does, but for what it needs two escapes for."""
    return json.dumps(value) if value.isascii() else ascii(value)


def _python(call: _Call) -> str:
    client = call.platform.python
    opening = f"from anthropic import {client}\n\nclient = {client}()\n"
    if call.reads:
        options = (
            f'    options={{"headers": {json.dumps(_headers(call))}}},\n' if call.betas else ""
        )
        path = _text(call.path)
        return f"{opening}answer = client.get(\n    {path},\n    cast_to=object,\n{options})"
    messages = "client.beta.messages" if call.betas else "client.messages"
    method = "count_tokens" if call.counts else "create"
    lines = [f"model={_text(call.model)}"]
    lines += [] if call.counts else ["max_tokens=1024"]
    lines += [f"messages=[{json.dumps(_GREETING)}]"]
    lines += [f"betas={json.dumps(list(call.betas))}"] if call.betas else []
    return f"{opening}message = {messages}.{method}(\n{_indented(lines, 4, _note(call, '#'))})"


def _typescript(call: _Call) -> str:
    client, package = call.platform.typescript, call.platform.package
    opening = f'import {{ {client} }} from "{package}";\n\nconst client = new {client}();\n'
    if client == "Anthropic":
        opening = opening.replace("{ Anthropic }", "Anthropic")
    if call.reads:
        options = f", {{\n  headers: {json.dumps(_headers(call))},\n}}" if call.betas else ""
        return f"{opening}const answer = await client.get({json.dumps(call.path)}{options});"
    messages = "client.beta.messages" if call.betas else "client.messages"
    method = "countTokens" if call.counts else "create"
    lines = [f"model: {json.dumps(call.model)}"]
    lines += [] if call.counts else ["max_tokens: 1024"]
    lines += [f"messages: [{json.dumps(_GREETING)}]"]
    lines += [f"betas: {json.dumps(list(call.betas))}"] if call.betas else []
    body = _indented(lines, 2, _note(call, "//"))
    return f"{opening}const message = await {messages}.{method}({{\n{body}}});"


def _headers(call: _Call) -> dict[str, str]:
    return {call.header: call.value}


def _note(call: _Call, mark: str) -> str:
    """Say what the SDK does with the last line where Bedrock's InvokeModel wants betas in the body."""
    told = call.in_body and call.betas
    return f"  {mark} the SDK puts them into the body, as anthropic_beta" if told else ""


def _indented(lines: Sequence[str], width: int, note: str) -> str:
    printed = [f"{' ' * width}{line}," for line in lines]
    return "\n".join([*printed[:-1], printed[-1] + note]) + "\n"


# --- curl -----------------------------------------------------------------------------------------


def _curl(call: _Call) -> str:
    parts = [f'curl -sS "{_url(call)}"']
    parts += [f'-H "{header}"' for header in call.platform.headers]
    if not call.platform.version:
        parts += ["-H 'anthropic-version: 2023-06-01'"]
    if call.betas and not call.in_body:
        parts += [f"-H {shlex.quote(f'{call.header}: {call.value}')}"]
    if not call.reads:
        parts += ["-H 'content-type: application/json'", f"-d {shlex.quote(_body(call))}"]
    return " \\\n  ".join(parts)


def _url(call: _Call) -> str:
    """Return the address; in double quotes, where a model is percent-encoded and thus harmless."""
    base = call.platform.base
    model = quote(call.model.encode("utf-8", "replace"), safe="@:.-")
    if call.in_body:
        return f"{base}/model/{model}/invoke"
    if call.platform.version:
        return f"{base}/{'count-tokens' if call.counts else model}:rawPredict"
    return base + call.path


def _body(call: _Call) -> str:
    version = call.platform.version
    in_url = version is not None and not call.counts
    body: dict[str, Json] = {"anthropic_version": version} if version else {}
    body |= {} if in_url else {"model": call.model}
    body |= {} if call.counts else {"max_tokens": 1024}
    body |= {"messages": [_GREETING]}
    body |= {"anthropic_beta": list(call.betas)} if call.in_body and call.betas else {}
    return json.dumps(body)
