"""The client for other people's programs: what to send, resolved on this machine, always with an answer.

    betas = Registry("https://betas.example.com", service="checkout")
    betas.header("mcp-client", platform="vertex").headers   # {"anthropic-beta": "mcp-client-2025-11-20"}

    Anthropic(middleware=[middleware(betas, features=["mcp-client"])])        # the official SDK
    httpx2.Client(transport=transport(betas))                                 # without the SDK

It needs `httpx2` only. No call waits for the network and none breaks the caller's request, unless the policy
is `strict`: then a name that would fail raises `Invalid` before anything is sent.

    registry.py    `Registry`: answers, and what was learned from them
    header.py      one answer
    snapshot.py    the facts: fetched, kept fresh, kept on disk; the bundled catalog where there is none
    reporting.py   usage, counted and sent in batches
    worker.py      the one thread in the background
    guard.py       what to change in a request, whoever sends it; sdk.py and transports.py apply it
    places.py      which platform a client of the SDK, or a URL, leads to
"""

from registry.client.header import Header
from registry.client.registry import Registry
from registry.client.sdk import async_middleware, middleware
from registry.client.transports import async_transport, transport
from registry.core.errors import Invalid, RegistryError

__all__ = [
    "Header",
    "Invalid",
    "Registry",
    "RegistryError",
    "async_middleware",
    "async_transport",
    "middleware",
    "transport",
]
