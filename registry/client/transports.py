"""`httpx2` transports for programs that call the API without the official SDK.

    httpx2.Client(transport=transport(betas, features=["mcp-client"]))

Only where requests are not signed: a transport sees a request when it is complete, and a signature (AWS)
covers headers and body. Such a request goes out as it is, and is counted; use the middleware there.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final, Unpack

import httpx2

from registry.client.guard import Call, Guard, Options, Plan, make_guard, wants_body
from registry.client.registry import Registry
from registry.core.addresses import model_of, place_of_url
from registry.core.resolution import HEADER

__all__ = ["async_transport", "transport"]

log: Final = logging.getLogger("registry.client")

MAX_BODY: Final = 4 * 1024 * 1024
"""Largest body that is read for its model and its `anthropic_beta`. A larger one is sent as it is."""


def transport(
    registry: Registry | str,
    inner: httpx2.BaseTransport | None = None,
    **options: Unpack[Options],
) -> httpx2.BaseTransport:
    """Wrap a transport (a plain one if none is given). The options are those of `middleware`."""
    return _Transport(_Reader(make_guard(registry, **options)), inner or httpx2.HTTPTransport())


def async_transport(
    registry: Registry | str,
    inner: httpx2.AsyncBaseTransport | None = None,
    **options: Unpack[Options],
) -> httpx2.AsyncBaseTransport:
    """Wrap an asynchronous transport; see `transport`."""
    return _AsyncTransport(
        _Reader(make_guard(registry, **options)), inner or httpx2.AsyncHTTPTransport()
    )


class _Reader:
    """Plans what an `httpx2` request becomes."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._told = False

    def plan(self, request: httpx2.Request) -> Plan | None:
        """Plan a request; None where it is none of the API's, or betas play no part in it."""
        plan = self.guard.plan(lambda: self._read(request))
        if plan is not None and plan.changed and _is_signed(request) and not self._told:
            self._told = True
            log.warning(
                "Signed requests are sent as they are; use the middleware of the SDK there."
            )
        return plan

    def _read(self, request: httpx2.Request) -> Call | None:
        path = request.url.raw_path.decode("ascii", "replace")
        values = request.headers.get_list(HEADER)
        is_message = request.method == "POST" and ("/messages" in path or "/models/" in path)
        if not values and not is_message and model_of(path) is None:
            return None
        return Call(
            path=path,
            header=",".join(values) if values else None,
            body=_body(request),
            place=self.guard.given.complete(place_of_url(str(request.url))),
        )

    def send(self, plan: Plan | None, request: httpx2.Request) -> httpx2.Request:
        """Return the request as planned: the same object if nothing changes."""
        if plan is None or not plan.changed or _is_signed(request):
            return request
        gone = {HEADER, "content-length"} if plan.body is not None else {HEADER}
        headers = [(k, v) for k, v in request.headers.multi_items() if k.lower() not in gone]
        if plan.value:
            headers.append((HEADER, plan.value))
        more: dict[str, Any] = (
            {"stream": request.stream} if plan.body is None else {"content": _written(plan)}
        )
        return httpx2.Request(
            request.method, request.url, headers=headers, extensions=request.extensions, **more
        )


def _is_signed(request: httpx2.Request) -> bool:
    return request.headers.get("authorization", "").startswith("AWS4-")


def _body(request: httpx2.Request) -> dict[str, Any] | None:
    """Read a JSON body that is at hand; one that streams is not touched."""
    if not isinstance(request.stream, httpx2.ByteStream):
        return None
    content = request.read()
    if len(content) > MAX_BODY:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _written(plan: Plan) -> bytes:
    return json.dumps(plan.body, ensure_ascii=False, separators=(",", ":")).encode()


class _Transport(httpx2.BaseTransport):
    def __init__(self, reader: _Reader, inner: httpx2.BaseTransport) -> None:
        self._reader, self._inner = reader, inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        plan = self._reader.plan(request)
        response = self._send(plan, request)
        again = self._learn(plan, response)
        if again is not None and not _is_signed(request):
            response = self._send(again, request)
            self._learn(again, response)
        return response

    def _send(self, plan: Plan | None, request: httpx2.Request) -> httpx2.Response:
        try:
            return self._inner.handle_request(self._reader.send(plan, request))
        except BaseException:
            if plan is not None:
                self._reader.guard.unanswered(plan)
            raise

    def _learn(self, plan: Plan | None, response: httpx2.Response) -> Plan | None:
        if plan is None:
            return None
        body = response.read() if wants_body(response.status_code, complete=False) else b""
        return self._reader.guard.learn(plan, response.status_code, response.headers, body)

    def close(self) -> None:
        self._inner.close()


class _AsyncTransport(httpx2.AsyncBaseTransport):
    def __init__(self, reader: _Reader, inner: httpx2.AsyncBaseTransport) -> None:
        self._reader, self._inner = reader, inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        plan = self._reader.plan(request)
        response = await self._send(plan, request)
        again = await self._learn(plan, response)
        if again is not None and not _is_signed(request):
            response = await self._send(again, request)
            await self._learn(again, response)
        return response

    async def _send(self, plan: Plan | None, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._inner.handle_async_request(self._reader.send(plan, request))
        except BaseException:
            if plan is not None:
                self._reader.guard.unanswered(plan)
            raise

    async def _learn(self, plan: Plan | None, response: httpx2.Response) -> Plan | None:
        if plan is None:
            return None
        wanted = wants_body(response.status_code, complete=False)
        body = await response.aread() if wanted else b""
        return self._reader.guard.learn(plan, response.status_code, response.headers, body)

    async def aclose(self) -> None:
        await self._inner.aclose()
