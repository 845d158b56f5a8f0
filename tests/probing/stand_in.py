"""Probes of the simulator without HTTP: the same answers, fast enough for thousands of sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.simulator import Simulator

MODEL = "claude-haiku-4-5"


@dataclass
class Reply:
    """An answer as it came."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None


@dataclass
class StandIn:
    """Sends to a simulator in this process; `unnamed` speaks as Bedrock's InvokeModel."""

    simulator: Simulator
    endpoints: tuple[str, ...] = ("count_tokens", "models")
    key: str = "sk-ant-good"
    unnamed: bool = False
    sent: list[tuple[str, ...]] = field(default_factory=list)

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Reply:
        """Send one request."""
        self.sent.append(tuple(betas))
        headers = [("authorization", f"Bearer {self.key}"), ("anthropic-version", "2026-10-21")]
        headers.append(("content-type", "application/json"))
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        if self.unnamed:
            url = f"/bedrock/model/anthropic.{MODEL}-v1:0/invoke"
            body |= {"anthropic_version": "bedrock-2023-05-31"}
            if betas:
                body["anthropic_beta"] = list(betas)
            return self._answer("POST", url, headers, json.dumps(body).encode())
        if betas:
            headers.append(("anthropic-beta", ",".join(betas)))
        if endpoint in ("models", "list"):
            return self._answer("GET", path or "/v1/models", headers, b"")
        if endpoint == "count_tokens":
            del body["max_tokens"]
        url = "/v1/messages/count_tokens" if endpoint == "count_tokens" else "/v1/messages"
        return self._answer("POST", url, headers, json.dumps({"model": MODEL, **body}).encode())

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Reply:
        found = self.simulator.answer(method, path, headers, body)
        if found.end == "closed" or found.delay or found.end == "open":
            return Reply(None, error="The connection was closed before an answer came.")
        content = b" " * min(found.fill, 4096) if found.fill else found.content
        if found.end == "cut":
            return Reply(None, error="The answer broke off.")
        return Reply(found.status, dict(found.headers), content)
