"""The client beside LiteLLM's filter, and what middleware and transport add to a request.

Resolution: three names each, ours with reasons and warnings, LiteLLM's without, in turn in one process.
Overhead: the same request with and without ours, in turn, through a transport that answers in process, so
that nothing but the program itself is timed.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import anthropic
import httpx2
from litellm.anthropic_beta_headers_manager import (
    _load_beta_headers_config,
    filter_and_transform_beta_headers,
)

from bench.table import show
from registry.client import Registry, middleware, transport

ROUNDS: Final = 9
NAMES: Final = ("context-management-2025-06-27", "files-api-2025-04-14", "mcp-client-2025-11-20")
BODY: Final[dict[str, Any]] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "Hi"}],
}
ANSWER: Final[dict[str, Any]] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def run() -> None:
    """Measure and print both tables."""
    _resolution()
    _overhead()


def _in_turn(variants: Sequence[Callable[[], int]]) -> list[list[float]]:
    """Run the variants in turn; returns the microseconds a unit of each, round by round."""
    found: list[list[float]] = [[] for _ in variants]
    for variant in variants:
        variant()
    for _ in range(ROUNDS):
        for place, variant in enumerate(variants):
            started = time.process_time()
            units = variant()
            found[place].append((time.process_time() - started) / units * 1e6)
    return found


def _known_to_litellm() -> list[str]:
    column: dict[str, str | None] = _load_beta_headers_config()["anthropic"]
    return [name for name, outgoing in column.items() if outgoing is not None]


def _resolution() -> None:
    client = Registry(cache=False)
    triples = list(itertools.permutations(_known_to_litellm(), 3))[::7][:1000]
    lists, one = [list(triple) for triple in triples], list(NAMES)
    times = 20_000

    def ours() -> int:
        for _ in range(times):
            _ = client.header(*NAMES).value
        return times

    def theirs() -> int:
        for _ in range(times):
            filter_and_transform_beta_headers(one, "anthropic")
        return times

    def ours_distinct() -> int:
        client._store.held.memo.clear()  # every question is new
        for triple in triples:
            _ = client.header(*triple).value
        return len(triples)

    def theirs_distinct() -> int:
        for names in lists:
            filter_and_transform_beta_headers(names, "anthropic")
        return len(lists)

    found = _in_turn([theirs, ours, theirs_distinct, ours_distinct])
    rows = []
    for title, other, mine in (("a repeated question", 0, 1), ("1,000 distinct questions", 2, 3)):
        pairs = zip(found[mine], found[other], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        us, them = statistics.median(found[mine]), statistics.median(found[other])
        rows.append((title, f"{them:.2f}", f"{us:.2f}", f"{ratio:.2f}"))
    show(
        "Three names, one local resolution, µs",
        ("question", "LiteLLM, no reasons", "client, with reasons", "ratio"),
        rows,
    )


def _overhead() -> None:
    reply = httpx2.MockTransport(lambda request: httpx2.Response(200, json=ANSWER))
    registry = Registry(cache=False)
    times = 100
    rows = []
    for title, body in (("short body", BODY), ("400 messages, 1 MB", _long())):
        plain, idle, guarded, added = (_sdk(reply, chain) for chain in _chains(registry))
        bare, wrapped = _http(reply), _http(transport(registry, reply))

        def sdk(client: Any, body: dict[str, Any] = body) -> Callable[[], int]:
            def send() -> int:
                for _ in range(times):
                    client.beta.messages.create(**body, betas=list(NAMES))
                return times

            return send

        def http(client: httpx2.Client, body: dict[str, Any] = body) -> Callable[[], int]:
            headers = {"anthropic-beta": ",".join(NAMES)}

            def send() -> int:
                for _ in range(times):
                    client.post("/v1/messages", json=body, headers=headers)
                return times

            return send

        sent = [sdk(plain), sdk(idle), sdk(guarded), sdk(added), http(bare), http(wrapped)]
        found = _in_turn(sent)
        for what, mine, base in (
            ("any middleware, the SDK's part", 1, 0),
            ("ours, nothing to change", 2, 1),
            ("ours, one feature added", 3, 1),
            ("transport", 5, 4),
        ):
            pairs = zip(found[mine], found[base], strict=True)
            more = statistics.median(a - b for a, b in pairs)
            without = statistics.median(found[base])
            rows.append((f"{what}: {title}", f"{without:.0f}", f"{more:.0f}"))
    show("Overhead a request, µs, in process", ("variant", "without", "added"), rows)


def _long() -> dict[str, Any]:
    text = "word " * 500
    turns = [{"role": role, "content": text} for role in ("user", "assistant") * 200]
    return {**BODY, "messages": turns}


def _chains(registry: Registry) -> list[list[Any]]:
    added = middleware(registry, features=["interleaved-thinking-2025-05-14"])
    return [[], [_idle], [middleware(registry)], [added]]


def _idle(request: Any, call_next: Callable[[Any], Any]) -> Any:
    """A middleware that does nothing: what the SDK itself spends on having one."""
    return call_next(request)


def _sdk(reply: httpx2.MockTransport, chain: list[Any]) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", middleware=chain, http_client=httpx2.Client(transport=reply), max_retries=0
    )


def _http(through: httpx2.BaseTransport) -> httpx2.Client:
    return httpx2.Client(transport=through, base_url="https://api.anthropic.com")
