"""Middleware for the official SDK (`anthropic` 2.12), for all its clients, synchronous and not.

    client = Anthropic(middleware=[middleware(betas, features=["mcp-client"])])

The SDK runs middleware once for each attempt, inside its own retries and before a request is signed, so
that this works on every platform. The platform is known from the client that sends. Answers that stream
go on streaming: the body of a success is never touched.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Unpack

from registry.client.guard import Call, Guard, Options, Plan, make_guard, wants_body
from registry.client.places import Given, of_client, sending_client
from registry.client.registry import Registry
from registry.core.judgement import HOME
from registry.core.places import Place
from registry.core.resolution import HEADER

__all__ = ["async_middleware", "middleware"]

log: Final = logging.getLogger("registry.client")

Middleware = Callable[[Any, Callable[[Any], Any]], Any]
AsyncMiddleware = Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]


def middleware(registry: Registry | str, **options: Unpack[Options]) -> Middleware:
    """Make the middleware for `Anthropic(middleware=[...])` and its sisters of the other platforms.

    What can be set is told by `registry.client.guard.Options`.
    """
    guard = make_guard(registry, **options)
    senders = _Senders(guard.given)

    def beta_registry(request: Any, call_next: Callable[[Any], Any]) -> Any:
        plan = guard.plan(lambda: _read(request, senders.look_up(call_next)))
        if plan is None:
            return call_next(request)
        response = _send(guard, plan, request, call_next)
        again = _learn(guard, plan, response)
        if again is None:
            return response
        response = _send(guard, again, request, call_next)
        _learn(guard, again, response)
        return response

    return beta_registry


def async_middleware(registry: Registry | str, **options: Unpack[Options]) -> AsyncMiddleware:
    """Make the middleware for `AsyncAnthropic(middleware=[...])` and its sisters; see `middleware`."""
    guard = make_guard(registry, **options)
    senders = _Senders(guard.given)

    async def beta_registry(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        plan = guard.plan(lambda: _read(request, senders.look_up(call_next)))
        if plan is None:
            return await call_next(request)
        response = await _send_async(guard, plan, request, call_next)
        again = await _learn_async(guard, plan, response)
        if again is None:
            return response
        response = await _send_async(guard, again, request, call_next)
        await _learn_async(guard, again, response)
        return response

    return beta_registry


# --- Sending and learning -------------------------------------------------------------------------


def _send(guard: Guard, plan: Plan, request: Any, call_next: Callable[[Any], Any]) -> Any:
    try:
        return call_next(_rewritten(guard, plan, request))
    except BaseException:
        guard.unanswered(plan)
        raise


async def _send_async(
    guard: Guard, plan: Plan, request: Any, call_next: Callable[[Any], Awaitable[Any]]
) -> Any:
    try:
        return await call_next(_rewritten(guard, plan, request))
    except BaseException:
        guard.unanswered(plan)
        raise


def _learn(guard: Guard, plan: Plan, response: Any) -> Plan | None:
    http = getattr(response, "http_response", None)
    if http is None:  # another middleware answered by itself
        return None
    wanted = wants_body(http.status_code, complete=http.is_closed)
    return guard.learn(plan, http.status_code, http.headers, http.read() if wanted else b"")


async def _learn_async(guard: Guard, plan: Plan, response: Any) -> Plan | None:
    http = getattr(response, "http_response", None)
    if http is None:
        return None
    wanted = wants_body(http.status_code, complete=http.is_closed)
    return guard.learn(plan, http.status_code, http.headers, await http.aread() if wanted else b"")


# --- The SDK's request ----------------------------------------------------------------------------

_Sender = tuple[Place, str | None]
"""Where a client leads, and the betas that it sends by itself (`default_headers`)."""


class _Senders:
    """Remembers what is known of each client: a middleware may be shared by several."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._known: weakref.WeakKeyDictionary[Any, _Sender] = weakref.WeakKeyDictionary()
        self._told = False

    def look_up(self, call_next: Callable[..., Any]) -> _Sender:
        """Tell where a request leads, by what the SDK would call next."""
        client = sending_client(call_next)
        if client is None:
            if self._given.place is None and not self._told:
                self._told = True
                log.warning("The platform cannot be told; name it: middleware(..., platform=...).")
            return self._given.place or HOME, None
        known = self._known.get(client)
        if known is None:
            known = self._given.complete(of_client(client)), _header(client.default_headers)
            self._known[client] = known
        return known


def _read(request: Any, sender: _Sender) -> Call:
    """Read what matters of the SDK's request."""
    place, default = sender
    own = _headers(request)
    named = any(name.lower() == HEADER for name in own)
    body = request.options.json_data
    return Call(
        path=request.url,
        header=_header(own) if named else default,
        body=body if isinstance(body, dict) else None,
        place=place,
    )


def _headers(request: Any) -> Mapping[str, Any]:
    given = request.options.headers
    return given if isinstance(given, Mapping) else {}


def _header(headers: Mapping[str, Any]) -> str | None:
    """Read the header; None where it is absent or to be omitted, which the SDK marks by an object."""
    values = [value for name, value in headers.items() if name.lower() == HEADER]
    texts = [value for value in values if isinstance(value, str)]
    return ",".join(texts) if texts else None


def _rewritten(guard: Guard, plan: Plan, request: Any) -> Any:
    """Return the request as planned: the same object if nothing changes, else a copy.

    Not `request.copy()`, which copies every message deeply; of the old request nothing is changed here.
    """
    if not plan.changed:
        return request
    try:
        changed = copy.copy(request)
        changed.options = request.options.model_copy()
        if plan.body is not None:
            changed.options.json_data = dict(plan.body)
        others = {k: v for k, v in _headers(request).items() if k.lower() != HEADER}
        changed.options.headers = {**others, HEADER: plan.value or _omit()}
    except Exception as error:
        guard.registry.excuse("changing a request", error)
        return request
    return changed


def _omit() -> Any:
    """Return the SDK's mark for a header that is left out, also where the client has a default."""
    from anthropic import omit

    return omit
