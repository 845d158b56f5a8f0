"""Which platform a request leads to: by the SDK's client that sends it, or by its URL.

The classes and hosts are those of the SDK, 2.12.0. What none of them tells is taken for the Claude API, as
a gateway in front of it would be; where that is wrong, name the platform.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Spot", "endpoint_of", "of_client", "of_url", "sending_client"]

Spot = tuple[str, str | None]
"""A platform, and on Bedrock which of its two APIs."""

_CLASSES: Final[dict[str, Spot]] = {
    "AnthropicAWS": ("aws", None),
    "AnthropicGoogleCloud": ("google-cloud", None),
    "AnthropicBedrock": ("bedrock", "invoke"),
    "AnthropicBedrockMantle": ("bedrock", "mantle"),
    "AnthropicVertex": ("vertex", None),
    "AnthropicFoundry": ("foundry", None),
}

_HOSTS: Final = tuple(
    (re.compile(pattern), spot)
    for pattern, spot in (
        (r"bedrock-runtime(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?", ("bedrock", "invoke")),
        (r"bedrock-mantle\.[a-z0-9-]+\.api\.aws", ("bedrock", "mantle")),
        (r"aws-external-anthropic\.[a-z0-9-]+\.api\.aws", ("aws", None)),
        (r"claude\.googleapis\.com", ("google-cloud", None)),
        (r"([a-z0-9-]+-)?aiplatform(\.[a-z0-9.-]+)?\.googleapis\.com", ("vertex", None)),
        (r"[a-z0-9-]+\.(services\.ai|openai|cognitiveservices)\.azure\.com", ("foundry", None)),
    )
)
_INVOKE: Final = re.compile(r"/model/[^/]+/invoke(-with-response-stream)?")
_VERTEX: Final = re.compile(r"/publishers/anthropic/models/")


def of_client(client: object) -> Spot:
    """Tell the platform by a client of the SDK, subclasses included."""
    for kind in type(client).__mro__:
        spot = _CLASSES.get(kind.__name__.removeprefix("Async"))
        if spot is not None:
            return spot
    return of_url(str(getattr(client, "base_url", "")))


def of_url(url: str) -> Spot:
    """Tell the platform by a URL: its host, else a path that only one platform has."""
    rest = url.partition("://")[2]
    authority, _, path = rest.partition("/")
    host = authority.rpartition("@")[2].partition(":")[0].lower()
    for pattern, spot in _HOSTS:
        if pattern.fullmatch(host):
            return spot
    if _INVOKE.search(f"/{path}"):
        return "bedrock", "invoke"
    return ("vertex", None) if _VERTEX.search(f"/{path}") else ("anthropic", None)


def endpoint_of(path: str) -> str:
    """Return `messages` for creating, counting and batching messages, else the path after `/v1/`."""
    if _INVOKE.search(path) or _VERTEX.search(path):
        return "messages"
    plain = path.partition("?")[0].rstrip("/").rpartition("/v1/")[2]
    return "messages" if plain.split("/")[0] == "messages" else plain


def sending_client(call_next: Callable[..., Any]) -> Any | None:
    """Return the client that sends, given what the SDK hands to a middleware to call next.

    The SDK (2.12) tells a middleware no client, but `call_next` is the rest of a chain of functions whose
    innermost one belongs to it: each holds the next one as `call_next`, and the last the client as
    `self`. None where the chain is built otherwise, such as by a wrapper of one's own.
    """
    function: Any = call_next
    for _ in range(100):
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
        if code is None or not cells:
            return None
        held = dict(zip(code.co_freevars, cells, strict=True))
        if "self" in held:
            return held["self"].cell_contents
        if "call_next" not in held:
            return None
        function = held["call_next"].cell_contents
    return None
