"""The page of alerts: who hears of what, what was sent and how it went, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from registry.alerts import Delivery, Subscription
from registry.alerts.deliveries import STATUSES
from registry.core.errors import Invalid, RegistryError
from registry.core.facts import rfc3339
from registry.web.dashboard.asking import Asked
from registry.web.dashboard.pages import Pages
from registry.web.dashboard.tools import posted
from registry.web.errors import status_of

__all__ = ["routes"]

Form = Annotated[dict[str, str], Depends(posted)]

SHOWN: Final = 50
MUTES: Final = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
DONE: Final = {
    "test": "The test was sent; its delivery stands below.",
    "mute": "Muted.",
    "unmute": "It is heard again.",
    "enable": "Enabled again.",
    "remove": "Removed, with its deliveries.",
    "redeliver": "It is sent again, under its id.",
    "acknowledge": "Noted that somebody has seen to it.",
}
_FIELDS: Final = ("name", "channel", "url", "types", "betas", "features", "platforms", "schedule")


def routes(pages: Pages) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_reading(pages))
    router.include_router(_changing(pages))
    return router


def _reading(pages: Pages) -> APIRouter:
    router = APIRouter(dependencies=[Depends(pages.reader)])
    alerts = pages.context.alerts

    @router.get("/alerts")
    def show(request: Request) -> Response:
        return _page(pages, request)

    @router.get("/alerts/deliveries/{number}")
    def show_delivery(request: Request, number: str) -> Response:
        locked = not pages.may(request)
        found = None if locked else alerts.delivery(number)
        return pages.show(request, "delivery.html", delivery=found, locked=locked)

    return router


def _page(
    pages: Pages,
    request: Request,
    *,
    form: dict[str, str] | None = None,
    problem: RegistryError | None = None,
    made: tuple[Subscription, str | None] | None = None,
) -> Response:
    """Show the page; `made` is a new subscription with its secret, shown this once."""
    alerts, locked = pages.context.alerts, not pages.may(request)
    asked = Asked(request, ("subscription", "status", "before", "done"))
    number = asked.number("subscription", 0) or None
    statuses = asked.words("status", STATUSES)
    before = asked.text("before", 64) or None

    def read() -> list[Delivery]:
        return alerts.deliveries(SHOWN + 1, before=before, subscription=number, statuses=statuses)

    found = None if locked else pages.tried(alerts.subscriptions)
    return pages.show(
        request,
        "alerts.html",
        status=status_of(problem) if problem else 200,
        asked=asked,
        locked=locked,
        subscriptions=found,
        names={item.id: item.name for item in (found.value or ())} if found else {},
        deliveries=None if locked else pages.tried(read),
        statuses=STATUSES,
        done=DONE.get(asked.text("done")),
        form={field: (form or {}).get(field, "") for field in _FIELDS},
        problem=problem.detail if problem else None,
        made=made,
        shown=SHOWN,
        notices=asked.notices,
    )


def _changing(pages: Pages) -> APIRouter:
    router = APIRouter()
    alerts, clock = pages.context.alerts, pages.context.clock

    def act(path: str, done: str, change: Callable[[str, dict[str, str]], Any]) -> None:
        """Add a button: a guarded form, one change, and the way back with a sentence."""

        @router.post(path)
        def press(request: Request, number: str, form: Form) -> Response:
            pages.sessions.allow_change(request, form)
            change(number, form)
            return pages.go(f"/alerts?done={done}")

    def mute(number: str, form: dict[str, str]) -> None:
        lasts = MUTES.get(form.get("for", ""))
        if lasts is None:
            raise Invalid(f"Mute for one of {', '.join(MUTES)}.")
        alerts.amend(_number(number), {"muted_until": rfc3339(clock() + lasts)})

    one = "/alerts/subscriptions/{number}"
    act(f"{one}/test", "test", lambda number, form: alerts.test(_number(number)))
    act(f"{one}/mute", "mute", mute)
    act(f"{one}/unmute", "unmute",
        lambda number, form: alerts.amend(_number(number), {"muted_until": None}))  # fmt: skip
    act(f"{one}/enable", "enable",
        lambda number, form: alerts.amend(_number(number), {"disabled_reason": None}))  # fmt: skip
    act(f"{one}/remove", "remove", lambda number, form: alerts.remove(_number(number)))
    sent = "/alerts/deliveries/{number}"
    act(f"{sent}/redeliver", "redeliver", lambda number, form: alerts.redeliver(number))
    act(f"{sent}/acknowledge", "acknowledge", lambda number, form: alerts.acknowledge(number))

    @router.post("/alerts")
    def subscribe(request: Request, form: Form) -> Response:
        pages.sessions.allow_change(request, form)
        try:
            made = alerts.subscribe(_wanted(form))
        except RegistryError as error:
            return _page(pages, request, form=form, problem=error)
        return _page(pages, request, made=made)

    return router


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid("A subscription has a number.")
    return int(text)


def _wanted(form: dict[str, str]) -> dict[str, Any]:
    """Read the form of a new subscription into what the API takes."""
    lists = ("types", "betas", "features", "platforms")
    words = {
        key: [word.strip() for word in form.get(key, "").split(",") if word.strip()]
        for key in lists
    }
    wanted: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "channel": form.get("channel", "webhook"),
        "url": form.get("url", "").strip(),
        "filter": {key: value for key, value in words.items() if value},
        "only_if_used": "only_if_used" in form,
        "schedule": form.get("schedule", "immediate"),
    }
    return wanted
