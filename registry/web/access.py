"""Who may do what over HTTP: one rule for the framework's routes, the hot path and the dashboard.

    admit       a request's headers to a scope, by the tokens in memory
    needs       the same, as a dependency of a route
    Callers     remembers who asks while a request lasts
    confirming  asks the database, in the transaction that writes, whether that token still lives

A read trusts tokens that the database confirmed within seconds, and older ones only while it does not
answer (`jobs.Live`). A write never trusts memory alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import cast

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from registry import auth
from registry.core.errors import Forbidden, Unavailable
from registry.jobs import Live
from registry.web import Context

__all__ = ["Callers", "admit", "claim", "confirming", "has_token", "holds", "needs", "scope_held"]


@dataclass(slots=True)
class _Caller:
    """Who sent a request: the hash of the token by which it was let in, and the scope it needed."""

    digest: str | None = None
    wanted: auth.Scope = "read"


_caller: ContextVar[_Caller | None] = ContextVar("caller", default=None)


class Callers:
    """Around the framework: every request has a caller, whom its threads see too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        before = _caller.set(_Caller())
        try:
            await self._app(scope, receive, send)
        finally:
            _caller.reset(before)


def claim(digest: str, wanted: auth.Scope) -> None:
    """Note by which token this request was let in, and for what, so that its writes can be confirmed."""
    caller = _caller.get()
    if caller is not None:
        caller.digest, caller.wanted = digest, wanted


def confirming(live: Live) -> Callable[[Session], None]:
    """Make the guard of a database: a transaction writes only for a token that lives now.

    It raises `Forbidden`. What no token asked for passes, and so does the token of the settings, which the
    database does not know.
    """

    def confirm(session: Session) -> None:
        caller = _caller.get()
        if caller is None or caller.digest is None or live.is_set(caller.digest):
            return
        auth.require(auth.scope_now(session, caller.digest), caller.wanted)

    return confirm


def admit(
    live: Live,
    authorizations: Iterable[str],
    wanted: auth.Scope,
    *,
    public: bool = False,
    open_to_all: bool = False,
    token: str | None = None,
) -> str | None:
    """Let a request pass, by its `Authorization` headers and a token from its URL; never waits.

    `public` says that it asks for something that `PUBLIC_READ` covers, `open_to_all` that no token is needed
    for it. Returns the hash of its token, None for nobody in particular. Raises `Forbidden`, or `Unavailable`
    where the tokens in memory are too old to tell.
    """
    sent = list(authorizations)
    if not sent and token is None:
        if open_to_all:
            return None
        auth.require(None, wanted)
    if len(sent) > 1:
        raise Forbidden("Send one Authorization header, not several.", slug="unauthenticated")
    secret = auth.bearer(sent[0]) if sent else token
    digest = auth.digest(secret) if secret else ""
    auth.require(live.scope_of(digest) if secret else None, wanted, public=public)
    return digest


def needs(
    context: Context, scope: auth.Scope, *, public: bool = False, in_url: bool = False
) -> Callable[[Request], None]:
    """Make the dependency that lets only tokens with `scope` pass; everybody where reads are public.

    `in_url` also takes `?token=`, for programs that cannot send headers (feeds, exports).
    """
    wanted: auth.Scope = "feed" if in_url else scope
    live, open_to_all = context.live, public and context.public_read

    def check(request: Request) -> None:
        sent = request.headers.getlist("authorization")
        token = request.query_params.get("token") if in_url else None
        if sent or token is not None:
            live.confirm()
        digest = admit(live, sent, wanted, public=public, open_to_all=open_to_all, token=token)
        if digest is not None:
            claim(digest, wanted)

    return check


def holds(context: Context, request: Request, scope: auth.Scope) -> bool:
    """Say whether the request carries a living token that allows `scope`."""
    try:
        return admit(context.live, request.headers.getlist("authorization"), scope) is not None
    except (Forbidden, Unavailable):
        return False


def has_token(request: Request) -> bool:
    """Say whether a request that was let in came with a token: a bad one is always refused."""
    return "authorization" in request.headers


def scope_held(live: Live, request: Request) -> tuple[str | None, auth.Scope | None]:
    """Return the hash of the token that came with a request, also in its URL, and the scope that it gives now.

    While nobody can tell, the scope is the one known last.
    """
    sent = request.headers.get("authorization")
    secret = auth.bearer(sent) if sent else request.query_params.get("token")
    digest = auth.digest(secret) if secret else None
    held = live.tokens.get(digest) if digest else None
    return digest, cast("auth.Scope | None", held)
