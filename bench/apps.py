"""The three applications that the hot path is compared by: raw ASGI, the product, an ordinary route.

Started by a server as `bench.apps:raw` or, with a factory, `bench.apps:product` and `:ordinary`.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from registry import config
from registry.app import create_app
from registry.core.resolution import Ask, resolve
from registry.db import Database
from registry.jobs import Live

QUERY = "feature=mcp-client&beta=files-api-2025-04-14"
_BODY = json.dumps(
    {"value": "mcp-client-2025-11-20,files-api-2025-04-14", "pad": "x" * 400}
).encode()
_START: Any = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_BODY)).encode()),
        (b"etag", b'"4c49264cb2e8cb56ff6e1e508b57b582"'),
        (b"vary", b"Accept, Authorization"),
        (b"cache-control", b"no-cache"),
        (b"beta-registry-as-of", b"2026-11-24T01:59:01Z"),
    ],
}
_SENT: Any = {"type": "http.response.body", "body": _BODY}


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a constant body with the product's headers: the fastest that a server can be."""
    if scope["type"] == "http":
        await send(_START)
        await send(_SENT)
    else:
        await _lifespan(receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def product() -> ASGIApp:
    """The whole service as it is served."""
    app = create_app(config.load())
    logging.getLogger().setLevel(logging.WARNING)
    return app


def ordinary() -> ASGIApp:
    """The same answer from an ordinary FastAPI route: parsed, resolved and printed every time."""
    live = Live(Database(config.load().database_url))
    live.refresh()
    app = FastAPI()

    @app.get("/v1/header")
    def header(beta: str = "", feature: str = "", platform: str = "anthropic") -> dict[str, Any]:
        asked = [("feature", name) for name in feature.split(",") if name]
        asked += [("beta", name) for name in beta.split(",") if name]
        ask = Ask(requested=tuple(asked), platform=platform)
        return resolve(live.current(), ask, config.now().date()).to_json()

    return app
