"""The pages of the inventory: who uses what, how healthy that is, and how far a loss would reach."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import inventory
from registry.core.errors import Forbidden
from registry.core.facts import STATUSES
from registry.core.judgement import Judges, judges_of
from registry.core.names import PLATFORMS
from registry.web.dashboard import pictures
from registry.web.dashboard.asking import Asked
from registry.web.dashboard.pages import Pages
from registry.web.dashboard.rendering import HEADERS

__all__ = ["going_away", "routes", "used"]

_FILTERS: Final = ("q", "team", "service", "beta", "status", "environment", "platform")
SHOWN: Final = 100
USERS: Final = 12
DAYS: Final = 30


def routes(pages: Pages) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(pages.reader)])
    clock = pages.context.clock

    @router.get("/inventory")
    def show(request: Request) -> Response:
        judge, now = judges_of(pages.snapshot(), clock().date()), clock()
        asked = Asked(request, ("group_by", *_FILTERS, "after"))
        group, wanted = asked.word("group_by", inventory.GROUPS, "beta"), _wanted(asked)
        after = asked.text("after") or None

        def read(session: Session) -> dict[str, Any]:
            found = inventory.rows(session, judge, now, group, wanted, after, SHOWN + 1)
            return {
                "rows": found[:SHOWN],
                "older": found[SHOWN - 1].key if len(found) > SHOWN else None,
                "radius": inventory.radius(session, judge, now, wanted),
                # Counts of a whole organisation are too many to add up for a picture.
                "chart": _chart(inventory.daily(session, judge, now, wanted, DAYS))
                if wanted.betas or wanted.services or wanted.teams
                else None,
            }

        return pages.show(
            request,
            "inventory.html",
            asked=asked,
            group=group,
            groups=inventory.GROUPS,
            found=pages.held(request, read),
            statuses=(*STATUSES, "unknown"),
            platforms=PLATFORMS,
            notices=asked.notices,
        )

    @router.get("/inventory.csv")
    def export(request: Request) -> Response:
        if not pages.may(request):
            raise Forbidden("Sign in to export this.", slug="unauthenticated")
        wanted, judge = (
            _wanted(Asked(request, _FILTERS)),
            judges_of(pages.snapshot(), clock().date()),
        )
        with pages.context.database.read() as session:
            text = inventory.write_csv(session, judge, clock(), wanted)
        headers = {"Content-Disposition": 'attachment; filename="inventory.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=HEADERS | headers)

    @router.get("/inventory/services/{name:path}")
    def show_service(request: Request, name: str) -> Response:
        judge, now = judges_of(pages.snapshot(), clock().date()), clock()

        def read(session: Session) -> dict[str, Any]:
            wanted = inventory.Filter(services=(name,))
            return {
                "service": inventory.service(session, name, judge, now),
                "chart": _chart(inventory.daily(session, judge, now, wanted, DAYS)),
            }

        return pages.show(request, "service.html", name=name, found=pages.held(request, read))

    return router


def used(session: Session, name: str, judge: Judges, now: datetime) -> dict[str, Any]:
    """Return who uses a beta, for its own page."""
    wanted = inventory.Filter(betas=(name,))
    return {
        "radius": inventory.radius(session, judge, now, wanted),
        "users": inventory.users(session, judge, now, wanted, limit=USERS),
        "chart": _chart(inventory.daily(session, judge, now, wanted, DAYS)),
    }


def going_away(
    session: Session, judge: Judges, now: datetime
) -> list[tuple[inventory.Row, list[str]]]:
    """Return the betas in use that fail or will end where they are used, those of most services first.

    With each come some of these services.
    """
    wanted = inventory.Filter(statuses=STATUSES)
    found = inventory.rows(session, judge, now, "beta", wanted, limit=500)
    dying = [row for row in found if row.issue in ("retired", "refused", "deprecated")]
    worst = sorted(dying, key=lambda row: (-row.services, row.key or ""))[:10]
    names = inventory.some_users(session, [row.key for row in worst if row.key], now)
    return [(row, names.get(row.key or "", [])) for row in worst]


def _wanted(asked: Asked) -> inventory.Filter:
    return inventory.Filter(
        teams=asked.words("team"),
        services=asked.words("service"),
        betas=asked.words("beta"),
        statuses=asked.words("status", (*STATUSES, "unknown")),
        environments=asked.words("environment"),
        platforms=asked.words("platform", PLATFORMS),
        q=asked.text("q"),
    )


def _chart(days: Sequence[inventory.Day]) -> Any:
    """Draw calls by day; None where there were none."""
    if not any(day.count for day in days):
        return None
    total = sum(day.count for day in days)
    values = [(f"{day.on}", day.count) for day in days]
    return pictures.bars(values, f"{total:,} calls in {len(days)} days")
