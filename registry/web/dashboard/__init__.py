"""The dashboard: what the registry knows, in a browser.

    asking      what stands in a page's URL
    sessions    who is signed in, and the guards of what changes something
    pages       the frame, who may read, parts that the database gives
    reading, tools, inventory, alerts, operations    the pages
    pictures    charts, as SVG
    rendering, assets   templates and static files into safe answers

Everything works without JavaScript; `static/dashboard.js` and htmx only save page loads.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from registry import auth
from registry.catalog import EventFilter
from registry.core.errors import NotFound
from registry.web import Context
from registry.web.dashboard import alerts, inventory, operations, reading, tools
from registry.web.dashboard.assets import Assets
from registry.web.dashboard.pages import Pages
from registry.web.dashboard.rendering import WEB, Renderer
from registry.web.dashboard.sessions import Sessions
from registry.web.errors import PROBLEMS
from registry.web.stream import Guest, Streams, address, origin

__all__ = ["install", "make"]


def make(context: Context, key: Callable[[], bytes]) -> tuple[Pages, Assets]:
    """Make what the pages need; `key` returns the secret key of the settings, or raises `Unavailable`."""
    assets = Assets(WEB / "static")
    live = context.live

    def scope_of(digest: str) -> auth.Scope | None:
        live.confirm()
        return live.scope_of(digest)

    sessions = Sessions(key, scope_of, context.clock)
    return Pages(context, Renderer(assets), sessions), assets


def install(app: FastAPI, pages: Pages, assets: Assets, streams: Streams) -> None:
    """Add the pages to the application."""
    for module in (reading, tools, inventory, alerts, operations):
        app.include_router(module.routes(pages))

    @app.get("/static/{name:path}", include_in_schema=False)
    def static(request: Request, name: str) -> Response:
        return assets.answer(request, name)

    @app.get("/changelog/stream", include_in_schema=False, dependencies=[Depends(pages.reader)])
    async def stream(request: Request, since: str | None = None) -> Response:
        """Tell that something changed; the page then asks for itself anew, as whoever reads it."""
        after, _ = origin(request.headers.get("last-event-id"), since)
        session = pages.sessions.read(request)
        guest = Guest(
            kind="session" if session else "page",
            who=session.csrf if session else address(request),
            stays=lambda: pages.sessions.read(request) == session,
        )
        return await streams.answer(guest, after, EventFilter(ascending=True), lambda e: e.id)

    @app.get("/problems/{slug}", include_in_schema=False)
    def problem(request: Request, slug: str) -> Response:
        if slug not in PROBLEMS:
            raise NotFound("There is no problem of this name.")
        return pages.show(request, "explained-problem.html", slug=slug, meaning=PROBLEMS[slug])
