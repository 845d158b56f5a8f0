"""The HTTP API of the inventory: services, their usage, who uses what, and all of it as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import inventory
from registry.core.errors import Invalid
from registry.core.facts import STATUSES, to_json
from registry.core.health import HEALTHS
from registry.core.judgement import Judges, judges_of
from registry.core.names import PLATFORMS
from registry.web import Context, schemas
from registry.web.answers import answer, read_cursor, write_cursor
from registry.web.api import Cursor, Limit, Name, Words, moment, needs, words

__all__ = ["install"]

Text = Annotated[str | None, Field(max_length=2000)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]


# --- Shapes ---------------------------------------------------------------------------------------


class Window(BaseModel):
    """The time of which a report speaks."""

    start: str = Field(max_length=64)
    stop: str = Field(max_length=64)


class UsageItem(BaseModel):
    """That a beta was seen: how often, and where."""

    beta: str = Field(max_length=1000)
    count: Count = 1
    accepted: Count | None = None
    refused: Count | None = None
    api: Text = None
    hosting: Text = None
    region: Text = None
    model: Text = None
    endpoint: Text = None
    path: str | None = Field(None, max_length=10_000)
    line: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    url: Text = None
    owner: Text = Field(None, description="Who owns the file, from CODEOWNERS.")


class UsageReport(BaseModel):
    """What one service tells: `client` and `gateway` add up, a `scan` replaces the one before."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "service": "checkout",
                "environment": "production",
                "source": "client",
                "platform": "vertex",
                "window": {"start": "2026-11-23T12:00:00Z", "stop": "2026-11-23T12:01:00Z"},
                "items": [{"beta": "mcp-client-2025-11-20", "count": 40, "refused": 2}],
            }
        }
    )

    service: str = Field(max_length=1000)
    environment: str = Field("default", max_length=1000)
    instance: str | None = Field(None, max_length=1000)
    source: str = Field("client", max_length=64)
    platform: str | None = Field(None, max_length=64)
    window: Window | None = None
    items: list[UsageItem] = Field(max_length=inventory.MAX_ITEMS)


class ServiceDefaults(BaseModel):
    """What `/v1/header?service=` takes where the call says nothing, beside platform and model."""

    model_config = ConfigDict(extra="forbid")

    api: Text = None
    hosting: Text = None
    region: Text = None
    endpoint: Text = None
    policy: Text = None
    on_unknown: Text = None
    on_unproven: Text = None
    on_restricted: Text = None
    betas: list[str] = Field(default_factory=list, max_length=100)


class DeclareService(BaseModel):
    """A service as its people describe it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "team": "payments",
                "owner": "alice@example.com",
                "contacts": ["#payments"],
                "repository": "https://github.com/example/checkout",
                "tier": "1",
                "platform": "vertex",
                "defaults": {"policy": "filter", "betas": ["mcp-client-2025-11-20"]},
            }
        },
    )

    team: Text = None
    owner: Text = None
    contacts: list[str] = Field(default_factory=list, max_length=20)
    repository: Text = None
    tier: Text = None
    platform: Text = None
    model: Text = None
    defaults: ServiceDefaults = Field(default_factory=ServiceDefaults)


class ServicePage(schemas.Page):
    """A page of services."""

    items: list[inventory.Service]


class InventoryPage(schemas.Page):
    """A page of the inventory."""

    items: list[inventory.Row]


class UserPage(schemas.Page):
    """A page of a beta's users, and how far its loss would reach."""

    items: list[inventory.Affected]
    radius: inventory.Radius


ServiceName = Annotated[str, Path(max_length=1000, examples=["checkout"])]
Search = Annotated[str, Query(max_length=200, description="Text in service, beta or team.")]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="A repeat with the same key adds nothing (24 h)."),
]


# --- Routes ---------------------------------------------------------------------------------------


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    app.include_router(_services(context))
    app.include_router(_usage(context))
    app.include_router(_exports(context))


def _services(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1/services", responses=schemas.ERRORS, tags=["inventory"])
    read = [Depends(needs(context, "read"))]

    @router.get("", dependencies=read, responses=schemas.shape(ServicePage))
    def list_services(
        request: Request,
        team: Words = None,
        beta: Words = None,
        environment: Words = None,
        platform: Words = None,
        health: Words = None,
        q: Search = "",
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """List services with what they use and how healthy that is."""
        wanted = inventory.ServiceFilter(
            teams=words(team, None, "team"),
            betas=words(beta, None, "beta"),
            environments=words(environment, None, "environment"),
            platforms=words(platform, PLATFORMS, "platform"),
            healths=words(health, HEALTHS, "health"),
            q=_text(q),
        )
        after, now = _place(cursor) or "", context.clock()
        with context.database.read() as session:
            found = inventory.services(session, _judge(context), now, wanted, after, limit + 1)
        more = write_cursor(found[limit - 1].name) if len(found) > limit else None
        body = {"items": [to_json(item) for item in found[:limit]], "next": more}
        return answer(request, context.live.snapshot, body)

    @router.get("/{name:path}", dependencies=read, responses=schemas.shape(inventory.Service))
    def show_service(request: Request, name: ServiceName) -> Response:
        """Show one service, with the places of its betas in the code."""
        with context.database.read() as session:
            found = inventory.service(session, name, _judge(context), context.clock())
        return answer(request, context.live.snapshot, to_json(found))

    @router.put(
        "/{name:path}",
        dependencies=[Depends(needs(context, "write"))],
        responses={201: {"model": inventory.Service}, **schemas.shape(inventory.Service)},
    )
    def declare_service(request: Request, name: ServiceName, body: DeclareService) -> Response:
        """Declare a service, in place of what was declared before."""
        now = context.clock()
        with context.database.write() as session:
            new = inventory.declare(session, [_declaration(name, body)], "api", now)
            found = inventory.service(session, name, _judge(context), now)
        return answer(request, None, to_json(found), status=201 if new else 200)

    return router


def _declaration(name: str, body: DeclareService) -> inventory.Declaration:
    more = body.defaults
    return inventory.Declaration(
        name=name, team=body.team or None, owner=body.owner or None,
        contacts=tuple(body.contacts), repository=body.repository or None, tier=body.tier or None,
        defaults=inventory.Defaults(
            platform=body.platform or None, model=body.model or None, betas=tuple(more.betas),
            **{name: text or None for name, text in more.model_dump(exclude={"betas"}).items()},
        ),
    )  # fmt: skip


def _usage(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=schemas.ERRORS, tags=["inventory"])
    read = [Depends(needs(context, "read"))]

    def session() -> Iterator[Session]:
        with context.database.write() as opened:
            yield opened

    # With the default scope the commit would come after the answer (FastAPI 0.165, tried).
    writing = Depends(session, scope="function")

    @router.post(
        "/usages",
        dependencies=[Depends(needs(context, "report"))],
        responses={200: {"model": inventory.Recorded}},
    )
    def report_usage(
        request: Request, body: UsageReport, key: Key = None, opened: Session = writing
    ) -> Response:
        """Report usage. The answer says what was kept, what is unknown and what is at risk."""
        context.live.ask()  # what was declared just now shall count
        snapshot = context.live.current()
        found = inventory.record(opened, _report(body), context.clock(), key, snapshot=snapshot)
        context.live.usage_moved()
        return answer(request, None, to_json(found))

    @router.get("/inventory", dependencies=read, responses=schemas.shape(InventoryPage))
    def list_inventory(
        request: Request,
        group_by: Annotated[str, Query(pattern=f"^({'|'.join(inventory.GROUPS)})$")] = "beta",
        team: Words = None,
        service: Words = None,
        beta: Words = None,
        status: Words = None,
        environment: Words = None,
        platform: Words = None,
        q: Search = "",
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """Who uses what, grouped; the last 30 days count."""
        wanted = _filter(team, service, beta, status, environment, platform, q)
        with context.database.read() as session:
            found = inventory.rows(
                session, _judge(context), context.clock(), group_by, wanted, _place(cursor),
                limit + 1,
            )  # fmt: skip
        more = write_cursor(found[limit - 1].key or "") if len(found) > limit else None
        body = {"items": [to_json(item) for item in found[:limit]], "next": more}
        return answer(request, context.live.snapshot, body)

    @router.get("/betas/{name}/usages", dependencies=read, responses=schemas.shape(UserPage))
    def list_users(
        request: Request,
        name: Name,
        team: Words = None,
        environment: Words = None,
        platform: Words = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """Who uses a beta, with owners and places in the code; names not in the registry too."""
        wanted = _filter(team, None, [name], None, environment, platform, "")
        after, now = _pair(cursor), context.clock()
        with context.database.read() as session:
            found = inventory.users(session, _judge(context), now, wanted, after, limit + 1)
            radius = inventory.radius(session, _judge(context), now, wanted)
        last = found[limit - 1] if len(found) > limit else None
        body = {
            "items": [to_json(item) for item in found[:limit]],
            "next": write_cursor([last.service, last.environment]) if last else None,
            "radius": to_json(radius),
        }
        return answer(request, context.live.snapshot, body)

    return router


def _exports(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1/export", responses=schemas.ERRORS, tags=["exports"])

    @router.get("/inventory.csv", dependencies=[Depends(needs(context, "read", in_url=True))])
    def export_inventory(
        request: Request,
        team: Words = None,
        service: Words = None,
        beta: Words = None,
        status: Words = None,
        environment: Words = None,
        platform: Words = None,
        q: Search = "",
    ) -> Response:
        """Every usage of the last 30 days as CSV; no cell can be taken for a formula."""
        wanted = _filter(team, service, beta, status, environment, platform, q)
        with context.database.read() as session:
            text = inventory.write_csv(session, _judge(context), context.clock(), wanted)
        headers = {"Content-Disposition": 'attachment; filename="inventory.csv"'}
        return answer(
            request, context.live.snapshot, text.encode(), media_type="text/csv; charset=utf-8",
            headers=headers,
        )  # fmt: skip

    return router


# --- Reading what was sent ------------------------------------------------------------------------


def _judge(context: Context) -> Judges:
    return judges_of(context.live.current(), context.clock().date())


def _filter(
    team: list[str] | None, service: list[str] | None, beta: list[str] | None,
    status: list[str] | None, environment: list[str] | None, platform: list[str] | None, q: str,
) -> inventory.Filter:  # fmt: skip
    return inventory.Filter(
        teams=words(team, None, "team"),
        services=words(service, None, "service"),
        betas=words(beta, None, "beta"),
        statuses=words(status, (*STATUSES, "unknown"), "status"),
        environments=words(environment, None, "environment"),
        platforms=words(platform, PLATFORMS, "platform"),
        q=_text(q),
    )


def _text(q: str) -> str:
    """Refuse what no database compares alike, such as a NUL."""
    if not q.isprintable():
        raise Invalid("q: use printable characters.")
    return q


def _place(cursor: str | None) -> str | None:
    place: str | None = read_cursor(cursor, str) if cursor else None
    return place


def _pair(cursor: str | None) -> tuple[str, str]:
    if not cursor:
        return "", ""
    pair = read_cursor(cursor, list)
    if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise Invalid("The cursor cannot be read; hand back `next` of the page before, unchanged.")
    return pair[0], pair[1]


def _report(body: UsageReport) -> inventory.Report:
    return inventory.Report(
        service=body.service,
        environment=body.environment,
        instance=body.instance,
        source=body.source,  # type: ignore[arg-type]  # `record` checks it
        platform=body.platform,
        window=_window(body.window),
        items=tuple(inventory.Item(**item.model_dump()) for item in body.items),
    )


def _window(window: Window | None) -> tuple[datetime, datetime] | None:
    return (moment(window.start), moment(window.stop)) if window else None
