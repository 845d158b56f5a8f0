"""The HTTP API under `/v1`, but for `/v1/header` (see `header.py`).

A read of betas, features, header, check or snapshot is answered from the snapshot in memory, so that it
goes on while the database is away. Events, evidence and sources read the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date as Date  # noqa: N812 - `date` is a word of the routes below
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from prometheus_client import generate_latest
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import catalog, inventory
from registry.core import resolution
from registry.core.errors import Invalid, NotFound, RegistryError
from registry.core.facts import (
    EVENT_TYPES,
    STATES,
    STATUSES,
    Beta,
    Event,
    Json,
    Snapshot,
    parse_time,
    rfc3339,
    to_json,
)
from registry.core.names import PLATFORMS
from registry.core.spelling import did_you_mean
from registry.core.wire import beta_to_json, snapshot_to_json
from registry.db import Database, is_current
from registry.web import Context, errors, schemas
from registry.web.access import holds, needs
from registry.web.answers import answer, page, read_cursor, write_cursor

__all__ = [
    "MAX_ID",
    "Asked",
    "Cursor",
    "Limit",
    "Name",
    "Words",
    "changelog",
    "event_json",
    "find_events",
    "holds",
    "install",
    "known_beta",
    "moment",
    "named",
    "needs",
    "since_of",
    "words",
]

MAX_ID: Final = 2**62
"""Larger than any event's id, and small enough for both databases."""

Limit = Annotated[int, Query(ge=1, le=500, description="Items a page.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")]
Words = Annotated[list[str] | None, Query(description="Repeatable, or a comma list.")]
Name = Annotated[str, Path(max_length=200, examples=["mcp-client-2025-11-20"])]


def install(app: FastAPI, context: Context) -> None:
    """Add all routes to the application."""
    app.include_router(_reads(context))
    app.include_router(_operator(context))
    app.include_router(_health(context))


def words(
    values: Sequence[str] | None, allowed: tuple[str, ...] | None, what: str
) -> tuple[str, ...]:
    """Split comma lists, and refuse a word that is none of the allowed ones."""
    given = tuple(word for value in values or () for word in value.split(",") if word)
    for word in given:
        if allowed is not None and word not in allowed:
            raise Invalid(f"{word[:60]!r} is not a {what}; use {', '.join(allowed)}.")
    return given


# --- Reads ----------------------------------------------------------------------------------------


def _reads(context: Context) -> APIRouter:
    router = APIRouter(
        prefix="/v1",
        dependencies=[Depends(needs(context, "read", public=True))],
        responses=schemas.ERRORS,
    )
    live = context.live

    @router.get("/betas", responses=schemas.shape(schemas.BetaPage), tags=["betas"])
    def list_betas(
        request: Request,
        status: Words = None,
        feature: Words = None,
        topic: Words = None,
        platform: Words = None,
        state: Words = None,
        released_after: Date | None = None,
        released_before: Date | None = None,
        changed_since: str | None = None,
        q: Annotated[
            str, Query(max_length=200, description="Text in name, topic or summary.")
        ] = "",
        sort: Annotated[str, Query(pattern=_SORT, description="`-` in front reverses.")] = "name",
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """List betas."""
        snapshot = live.current()
        tests = [
            _one_of("status", words(status, STATUSES, "status")),
            _one_of("feature", words(feature, None, "feature")),
            _one_of("topic", words(topic, None, "topic")),
            _on_platform(words(platform, PLATFORMS, "platform"), words(state, STATES, "state")),
            _released(released_after, released_before),
            _changed(moment(changed_since) if changed_since else None),
            _mentions(q),
        ]
        found = [beta for beta in snapshot.betas.values() if all(test(beta) for test in tests)]
        order = _order(sort.removeprefix("-"))
        users = live.users(context.clock())
        body = page(
            found, order, cursor, limit, lambda beta: with_users(beta, users),
            descending=sort.startswith("-"),
        )  # fmt: skip
        return answer(request, snapshot, body)

    @router.get("/betas/{name}", responses=schemas.shape(schemas.Beta), tags=["betas"])
    def show_beta(request: Request, name: Name) -> Response:
        """Show one beta."""
        snapshot = live.current()
        beta = known_beta(snapshot, name)
        return answer(request, snapshot, with_users(beta, live.users(context.clock())))

    @router.get(
        "/betas/{name}/evidence", responses=schemas.shape(schemas.EvidencePage), tags=["betas"]
    )
    def list_evidence(
        request: Request, name: Name, cursor: Cursor = None, limit: Limit = 100
    ) -> Response:
        """List what is claimed about a beta, newest first; `decides` marks what counts."""
        snapshot = live.current()
        known_beta(snapshot, name)
        with context.database.read() as session:
            made = catalog.evidence(session, name, context.clock())
        start = read_cursor(cursor, int) if cursor else 0
        shown = made[start : start + limit] if start >= 0 else []
        more = write_cursor(start + limit) if len(made) > start + limit else None
        return answer(
            request, snapshot, {"items": [evidence_json(item) for item in shown], "next": more}
        )

    @router.get("/features", responses=schemas.shape(schemas.FeaturePage), tags=["betas"])
    def list_features(request: Request, cursor: Cursor = None, limit: Limit = 100) -> Response:
        """List features with their current beta."""
        snapshot = live.current()
        found = resolution.features(snapshot)
        body = page(found, lambda item: (item["feature"], ""), cursor, limit, lambda item: item)
        return answer(request, snapshot, body)

    @router.get("/features/{feature}", responses=schemas.shape(schemas.Feature), tags=["betas"])
    def show_feature(
        request: Request, feature: Annotated[str, Path(max_length=200, examples=["mcp-client"])]
    ) -> Response:
        """Show one feature."""
        snapshot = live.current()
        return answer(request, snapshot, resolution.feature(snapshot, feature))

    @router.post("/check", responses=schemas.shape(schemas.Checked), tags=["header"])
    def check(request: Request, asked: schemas.Check) -> Response:
        """Judge a header value. Nothing is stored or logged."""
        snapshot = live.current()
        body = resolution.check(
            snapshot,
            value=asked.value,
            betas=asked.betas,
            platform=asked.platform,
            api=asked.api,
            hosting=asked.hosting,
            region=asked.region,
            model=asked.model,
            endpoint=asked.endpoint,
            target=asked.target,
            body=asked.body,
            today=context.clock().date(),
        )
        return answer(request, snapshot, body)

    @router.get("/snapshot", responses=schemas.shape(schemas.Snapshot), tags=["clients"])
    def show_snapshot(
        request: Request,
        format: Annotated[
            int, Query(ge=1, le=999, description="2 has `places`; 1 is for older clients.")
        ] = 1,
    ) -> Response:
        """Everything that resolution needs, for clients that resolve by themselves.

        Whoever asks for a later format than there is gets the latest.
        """
        snapshot = live.current()
        return answer(request, snapshot, snapshot_to_json(snapshot, min(format, 2)))

    @router.get("/changelog", responses=schemas.shape(schemas.EventPage), tags=["changelog"])
    def list_events(
        request: Request,
        asked: Annotated[Asked, Depends()],
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> Response:
        """List events. Ids grow in the order in which changes became visible."""
        found, more = find_events(context.database, asked, order)
        names = named(context.database, found) if holds(context, request, "read") else None
        body = {"items": [event_json(event, names) for event in found], "next": more}
        return answer(request, live.snapshot, body)

    return router


_SORTS: dict[str, Callable[[Beta], str]] = {
    "name": lambda beta: "",
    "release_date": lambda beta: str(beta.release_date or ""),
    "feature": lambda beta: beta.feature,
    "status": lambda beta: beta.status,
    "status_since": lambda beta: str(beta.status_since or ""),
    "changed_at": lambda beta: rfc3339(beta.changed_at) if beta.changed_at else "",
    "added_at": lambda beta: rfc3339(beta.added_at) if beta.added_at else "",
    "sunset_on": lambda beta: str(beta.sunset_on or ""),
}
_SORT = f"^-?({'|'.join(_SORTS)})$"


def _order(sort: str) -> Callable[[Beta], tuple[str, str]]:
    return lambda beta: (_SORTS[sort](beta), beta.name)


def _one_of(member: str, words: tuple[str, ...]) -> Callable[[Beta], bool]:
    return lambda beta: not words or getattr(beta, member) in words


def _on_platform(platforms: tuple[str, ...], states: tuple[str, ...]) -> Callable[[Beta], bool]:
    if not platforms and not states:
        return lambda beta: True
    wanted = states or ("supported",)
    return lambda beta: any(
        known.state in wanted
        for platform, known in beta.platforms.items()
        if not platforms or platform in platforms
    )


def _released(after: Date | None, before: Date | None) -> Callable[[Beta], bool]:
    if after is None and before is None:
        return lambda beta: True
    first, last = after or Date.min, before or Date.max
    return lambda beta: beta.release_date is not None and first <= beta.release_date <= last


def _changed(since: datetime | None) -> Callable[[Beta], bool]:
    return lambda beta: since is None or (beta.changed_at is not None and beta.changed_at >= since)


def _mentions(q: str) -> Callable[[Beta], bool]:
    wanted = q.lower()
    return lambda beta: wanted in f"{beta.name}\n{beta.topic}\n{beta.summary}".lower()


def known_beta(snapshot: Snapshot, name: str) -> Beta:
    """Return a beta of the snapshot. Raises `NotFound`, with names that are near."""
    beta = snapshot.betas.get(name)
    if beta is not None:
        return beta
    near = did_you_mean(name, snapshot.betas)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise NotFound(f"{name} is not in the registry.{hint}")


def evidence_json(item: catalog.Evidence) -> Json:
    claim = to_json(item.claim)
    del claim["beta"], claim["until"]
    said = {part: word for part, word in claim.pop("place").items() if word is not None}
    return {
        "id": item.id,
        **claim,
        "place": said,
        "at": to_json(item.claim.at) if item.claim.day else None,
        "until": to_json(item.claim.until),
        "observed_at": rfc3339(item.observed_at),
        "withdrawn_at": to_json(item.withdrawn_at),
        "decides": item.decides,
    }


class Asked:
    """Which events a caller asks for, checked. `since` is an event's id (exclusive) or a date."""

    def __init__(
        self,
        since: Annotated[
            str | None, Query(max_length=64, description="An id (exclusive) or a date.")
        ] = None,
        type: Words = None,
        beta: Words = None,
        feature: Words = None,
        platform: Words = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> None:
        after, begin = since_of(since)
        self.cursor, self.limit = cursor, limit
        self.filter = catalog.EventFilter(
            after=after,
            from_=begin,
            types=words(type, EVENT_TYPES, "type of event"),
            betas=words(beta, None, "beta"),
            features=words(feature, None, "feature"),
            platforms=words(platform, PLATFORMS, "platform"),
        )


def find_events(
    database: Database, asked: Asked, order: str = "desc"
) -> tuple[list[Event], str | None]:
    """Return one page of events, and the cursor of the next page if there is one."""
    ascending = order == "asc"
    place = read_cursor(asked.cursor, int) if asked.cursor else None
    # Beyond any id there is nothing, and no database takes a larger number.
    place = None if place is None else max(0, min(place, MAX_ID))
    after = asked.filter.after
    wanted = replace(
        asked.filter,
        after=max(after or 0, place or 0) if ascending else after,
        before=None if ascending else place,
        ascending=ascending,
    )
    with database.read() as session:
        found = catalog.events(session, wanted, asked.limit + 1)
    more = write_cursor(found[asked.limit - 1].id) if len(found) > asked.limit else None
    return found[: asked.limit], more


def changelog(database: Database, *, order: str = "desc", **asked: Any) -> dict[str, Json]:
    """Return one page of events as JSON; the arguments are the parameters of the call."""
    found, more = find_events(database, Asked(**asked), order)
    return {"items": [event_json(event) for event in found], "next": more}


def named(database: Database, events: Sequence[Event]) -> Mapping[int, Sequence[str]]:
    """Return the names of who is affected, by event: for those who may know them."""
    with database.read() as session:
        return inventory.names_affected(session, events)


def event_json(event: Event, names: Mapping[int, Sequence[str]] | None = None) -> Json:
    """Print an event in the shape of the contract; `names` are those of the affected, by event."""
    shown: dict[str, Json] = to_json(event)
    return shown if names is None else {**shown, "affected": list(names.get(event.id, ()))}


def with_users(beta: Beta, users: Mapping[str, int]) -> dict[str, Json]:
    """Print a beta with the number of services that use it now."""
    return {**beta_to_json(beta), "services": users.get(beta.name, 0)}


def moment(text: str) -> datetime:
    """Read a time or date given by a caller. Raises `Invalid`."""
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise Invalid(
            f"{text[:60]!r} is no time; write 2026-11-23 or 2026-11-23T12:00:00Z."
        ) from None


def since_of(text: str | None) -> tuple[int | None, datetime | None]:
    """Read `since`: digits are an event's id, anything else must be a date or time."""
    if text is None or text == "":
        return None, None
    if text.isascii() and text.isdigit():
        return min(int(text), MAX_ID), None
    return None, moment(text)


# --- The operator ---------------------------------------------------------------------------------


def _operator(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=schemas.ERRORS)

    def session() -> Iterator[Session]:
        with context.database.write() as opened:
            yield opened

    # With the default scope the commit would come after the answer (FastAPI 0.165, tried).
    writing = Depends(session, scope="function")
    write = [Depends(needs(context, "write"))]

    @router.post("/betas", status_code=201, dependencies=write, tags=["betas"],
                 responses={201: {"model": schemas.Beta}})  # fmt: skip
    def add_beta(request: Request, body: schemas.NewBeta, opened: Session = writing) -> Response:
        """Add a beta that no source knows."""
        facts = body.model_dump(exclude={"name", "reason"}, exclude_unset=True)
        beta = catalog.add(opened, body.name, facts, body.reason, context.clock())
        location = {"Location": f"/v1/betas/{beta.name}"}
        return answer(request, None, beta_to_json(beta), status=201, headers=location)

    @router.patch("/betas/{name}", dependencies=write, tags=["betas"],
                  responses=schemas.shape(schemas.Beta))  # fmt: skip
    def amend_beta(
        request: Request, name: Name, body: schemas.Amendment, opened: Session = writing
    ) -> Response:
        """Declare facts by the operator's word (a JSON merge patch); null withdraws one."""
        patch = body.model_dump(exclude={"reason", "until"}, exclude_unset=True)
        if not patch:
            raise Invalid("Name at least one fact to declare, such as `status`.")
        until = moment(body.until) if body.until else None
        if until is not None and until <= context.clock():
            raise Invalid("`until` must be in the future.")
        beta = catalog.amend(opened, name, patch, body.reason, until, context.clock())
        return answer(request, None, beta_to_json(beta))

    @router.get("/sources", dependencies=[Depends(needs(context, "read"))], tags=["operations"],
                responses=schemas.shape(schemas.SourceList))  # fmt: skip
    def list_sources(request: Request) -> Response:
        """List the sources with their last runs and what these cost."""
        with context.database.read() as opened:
            found = catalog.sources(opened, context.source_names)
        items = [_source(item, context.offline) for item in found]
        return answer(request, context.live.snapshot, {"items": items, "next": None})

    return router


def _source(item: catalog.SourceStatus, offline: bool) -> Json:
    if offline and item.name != "catalog":
        state = "disabled"
    elif item.error:
        state = "failed"
    else:
        state = "ok" if item.succeeded_at else "never"
    return {"state": state, **to_json(item)}


# --- Health ---------------------------------------------------------------------------------------


def _health(context: Context) -> APIRouter:
    router = APIRouter(tags=["operations"])

    # These two wait for no thread: they answer whatever the others wait for.
    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        text = generate_latest(context.metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4")

    @router.get("/readyz", responses={503: {"description": "Not ready; `detail` says why."}})
    def readyz(request: Request) -> Response:
        """Say whether requests can be answered from fresh facts, and whether probing is on."""
        problem = _not_ready(context)
        snapshot, age = context.live.snapshot, context.live.age
        body: dict[str, Any] = {
            "status": "ready" if problem is None else "not ready",
            "detail": problem,
            "probing": context.probing,
            "betas": len(snapshot.betas) if snapshot else 0,
            "revision": snapshot.revision if snapshot else None,
            "refreshed_seconds_ago": round(age, 1) if snapshot else None,
        }
        return answer(request, snapshot, body, status=200 if problem is None else 503)

    return router


def _not_ready(context: Context) -> str | None:
    """Say what keeps the service from being ready; the answer waits little, whatever the database does."""
    live = context.live
    if live.snapshot is None or live.problem:
        return live.problem or "The first snapshot is not loaded yet."
    try:
        if not context.beside(lambda: is_current(context.database)):
            return "The database is out of date; run `beta-registry db upgrade`."
    except RegistryError as error:
        errors.tell_operator(error)
        return error.detail
    except Exception:  # whatever ails the database, this page must say it
        errors.log.exception("The database cannot be used.")
        return "The database cannot be used; the log of the service says why."
    return live.problem
