"""A stand-in for a registry that takes usage reports, over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class Usages:
    """Takes `POST /v1/usages` and keeps what it took; gives the snapshot that it was given, if any."""

    url = ""

    def __init__(self) -> None:
        self.status, self.held = 200, False
        self.snapshot: Any = None
        self.reports: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def items(self) -> list[dict[str, Any]]:
        """All items reported so far."""
        return [item for report in self.reports for item in report["items"]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = JSONResponse({"detail": "not here"}, status_code=404)
        if request.url.path == "/v1/usages":
            body = await request.json()
            while self.held:
                await asyncio.sleep(0.02)
            self.headers.append(dict(request.headers))
            if self.status == 200:
                self.reports.append(body)
            answer = JSONResponse({"detail": "no such thing"}, status_code=self.status)
        elif request.url.path == "/v1/snapshot" and self.snapshot:
            answer = JSONResponse(self.snapshot)
        await answer(scope, receive, send)
