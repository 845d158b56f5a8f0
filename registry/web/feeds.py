"""The changelog in the forms that people's programs follow: Atom, JSON Feed, iCalendar, Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response

from registry import catalog
from registry.core.judgement import Judges, judges_of
from registry.core.names import PLATFORMS
from registry.core.places import KNOWN_PLACES
from registry.web import Context, formats, schemas
from registry.web.answers import answer
from registry.web.api import Asked, Words, find_events, needs, words

__all__ = ["install"]

_FEEDS: Final[dict[str, tuple[str, Callable[[formats.Feed], bytes]]]] = {
    "atom": ("application/atom+xml; charset=utf-8", formats.atom),
    "json": ("application/feed+json; charset=utf-8", formats.json_feed),
    "md": (
        "text/markdown; charset=utf-8",
        lambda feed: formats.markdown(feed.events, feed.snapshot, feed.base),
    ),
}


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    router = APIRouter(
        prefix="/v1",
        tags=["changelog"],
        dependencies=[Depends(needs(context, "read", public=True, in_url=True))],
        responses=schemas.ERRORS,
    )
    for ending, what in (("atom", "an Atom feed"), ("json", "a JSON Feed"), ("md", "Markdown")):
        router.get(
            f"/changelog.{ending}",
            summary=f"The changelog as {what}",
            name=f"changelog_{ending}",
            responses=_shape(_FEEDS[ending][0]),
        )(_feed_route(context, ending))
    _add_calendar(router, context)
    app.include_router(router)


def _shape(media_type: str) -> dict[int | str, dict[str, object]]:
    return {
        200: {"description": "The document.", "content": {media_type.partition(";")[0]: {}}},
        304: {"description": "Not changed since `If-None-Match`."},
    }


def _feed_route(context: Context, ending: str) -> Callable[..., Response]:
    media_type, write = _FEEDS[ending]

    def show(request: Request, asked: Annotated[Asked, Depends()]) -> Response:
        """The newest events first; the ids of entries never change."""
        body = write(_feed(context, request, asked))
        return answer(request, context.live.snapshot, body, media_type=media_type)

    return show


def _feed(context: Context, request: Request, asked: Asked) -> formats.Feed:
    found, more = find_events(context.database, asked)
    with context.database.read() as session:
        first = catalog.events(session, catalog.EventFilter(ascending=True), 1)
    base = context.address or _base(request)
    query = [pair for pair in parse_qsl(request.url.query) if pair[0] not in ("token", "cursor")]
    here = f"{base}{request.url.path}"
    return formats.Feed(
        events=found,
        snapshot=context.live.snapshot,
        base=base,
        link=_with_query(here, query),
        older=_with_query(here, [*query, ("cursor", more)]) if more else None,
        born=first[0].at if first else None,
    )


def _with_query(path: str, query: list[tuple[str, str]]) -> str:
    # A token is never repeated in what we write: a feed is passed on more lightly than its address.
    return f"{path}?{urlencode(query)}" if query else path


def _base(request: Request) -> str:
    """Return the address by which the caller knows us; nothing if its Host header makes none."""
    try:
        return str(request.base_url).rstrip("/")
    except ValueError:
        return ""


def _add_calendar(router: APIRouter, context: Context) -> None:
    @router.get("/changelog.ics", summary="The announced ends of betas as a calendar",
                responses=_shape("text/calendar"))  # fmt: skip
    def show_calendar(
        request: Request, beta: Words = None, feature: Words = None, platform: Words = None
    ) -> Response:
        """Coming dates and those of the last 30 days; a date that moves keeps its UID."""
        snapshot = context.live.current()
        places = words(platform, PLATFORMS, "platform")
        with context.database.read() as session:
            found = catalog.calendar(
                session, words(beta, None, "beta"), words(feature, None, "feature")
            )
        judges = judges_of(snapshot, context.clock().date())
        kept = {name: ending for name, ending in found.items() if _matters(judges, name, places)}
        body = formats.calendar(kept, snapshot, context.clock().date())
        media_type = "text/calendar; charset=utf-8"
        return answer(request, snapshot, body, media_type=media_type)


def _matters(judges: Judges, name: str, platforms: tuple[str, ...]) -> bool:
    """Say whether a beta's end matters on any of the platforms: not where it is refused anyway."""
    here = [place for place in KNOWN_PLACES.values() if place.platform in platforms]
    return not platforms or any(judges.there(name, place).state != "refused" for place in here)
