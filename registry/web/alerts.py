"""The HTTP API of alerts: subscriptions and deliveries."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from starlette.responses import Response

from registry.alerts import Delivery, Subscription
from registry.alerts.deliveries import STATUSES
from registry.core.facts import Json, to_json
from registry.web import Context, schemas
from registry.web.answers import answer, read_cursor, write_cursor
from registry.web.api import Cursor, Limit, Words, moment, needs, words

__all__ = ["delivery_json", "install", "subscription_json"]

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Id = Annotated[str, Path(max_length=64, examples=["msg_0193c1f0a2b4d1e2f3a4b5c6"])]


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    app.include_router(_subscriptions(context))
    app.include_router(_deliveries(context))


def _subscriptions(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1/subscriptions", responses=schemas.ERRORS, tags=["alerts"])
    alerts = context.alerts
    read = [Depends(needs(context, "read"))]
    write = [Depends(needs(context, "write"))]
    one = schemas.shape(schemas.Subscription)

    @router.get("", dependencies=read, responses=schemas.shape(schemas.SubscriptionList))
    def list_subscriptions(request: Request) -> Response:
        """List who hears of what; addresses are masked."""
        items = [subscription_json(item) for item in alerts.subscriptions()]
        return answer(request, context.live.snapshot, {"items": items, "next": None})

    @router.get("/{number}", dependencies=read, responses=one)
    def show_subscription(request: Request, number: Number) -> Response:
        """Show one subscription."""
        shown = subscription_json(alerts.subscription(number))
        return answer(request, context.live.snapshot, shown)

    @router.post("", status_code=201, dependencies=write,
                 responses={201: {"model": schemas.NewSubscription}})  # fmt: skip
    def subscribe(request: Request, body: schemas.Subscribe) -> Response:
        """Subscribe. The `secret` of a webhook is in this answer and nowhere else."""
        made, secret = alerts.subscribe(body.model_dump(exclude_unset=True))
        shown = {**subscription_json(made), "secret": secret}
        headers = {"Location": f"/v1/subscriptions/{made.id}", "Cache-Control": "no-store"}
        return answer(request, None, shown, status=201, headers=headers)

    @router.patch("/{number}", dependencies=write, responses=one)
    def amend_subscription(
        request: Request, number: Number, body: schemas.AmendSubscription
    ) -> Response:
        """Change some members; `muted_until` mutes, `"disabled_reason": null` enables again."""
        made = alerts.amend(number, body.model_dump(exclude_unset=True))
        return answer(request, None, subscription_json(made))

    @router.delete("/{number}", status_code=204, dependencies=write)
    def delete_subscription(number: Number) -> Response:
        """Delete a subscription and its deliveries."""
        alerts.remove(number)
        return Response(status_code=204)

    @router.post("/{number}/test", dependencies=write, responses=schemas.shape(schemas.Delivery))
    def test_subscription(request: Request, number: Number) -> Response:
        """Send a test now; the answer tells how it went."""
        return answer(request, None, delivery_json(alerts.test(number)))

    @router.post("/{number}/rotate", dependencies=write, responses={200: {"model": schemas.Secret}})
    def rotate_secret(request: Request, number: Number) -> Response:
        """Make a new secret; for a day both sign."""
        headers = {"Cache-Control": "no-store"}
        return answer(request, None, {"secret": alerts.rotate(number)}, headers=headers)

    return router


def _deliveries(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1/deliveries", responses=schemas.ERRORS, tags=["alerts"])
    alerts = context.alerts
    read = [Depends(needs(context, "read"))]
    write = [Depends(needs(context, "write"))]
    one = schemas.shape(schemas.Delivery)

    @router.get("", dependencies=read, responses=schemas.shape(schemas.DeliveryPage))
    def list_deliveries(
        request: Request,
        subscription: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        status: Words = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """List deliveries, newest first."""
        before = read_cursor(cursor, str) if cursor else None
        found = alerts.deliveries(
            limit + 1, before=before, subscription=subscription,
            statuses=words(status, STATUSES, "status of a delivery"),
        )  # fmt: skip
        more = write_cursor(found[limit - 1].id) if len(found) > limit else None
        items = [delivery_json(item) for item in found[:limit]]
        return answer(request, context.live.snapshot, {"items": items, "next": more})

    @router.get("/{number}", dependencies=read, responses=one)
    def show_delivery(request: Request, number: Id) -> Response:
        """Show one delivery with the log of its attempts."""
        return answer(request, context.live.snapshot, delivery_json(alerts.delivery(number)))

    @router.post("/redeliver", status_code=202, dependencies=write,
                 responses={202: {"model": schemas.Count}})  # fmt: skip
    def redeliver_range(request: Request, body: schemas.Redeliver) -> Response:
        """Attempt all deliveries of a range again, each under its id."""
        count = alerts.redeliver_range(
            statuses=words(body.status, STATUSES, "status of a delivery") or ("failed", "dead"),
            subscription=body.subscription,
            since=moment(body.since) if body.since else None,
            until=moment(body.until) if body.until else None,
        )
        return answer(request, None, {"count": count}, status=202)

    @router.post("/{number}/redeliver", status_code=202, dependencies=write,
                 responses={202: {"model": schemas.Delivery}})  # fmt: skip
    def redeliver(request: Request, number: Id) -> Response:
        """Attempt a delivery again, under its id."""
        return answer(request, None, delivery_json(alerts.redeliver(number)), status=202)

    @router.post("/{number}/acknowledge", dependencies=write, responses=one)
    def acknowledge(request: Request, number: Id) -> Response:
        """Note that somebody has seen to it."""
        return answer(request, None, delivery_json(alerts.acknowledge(number)))

    return router


def subscription_json(item: Subscription) -> dict[str, Json]:
    """Print a subscription in the shape of the contract."""
    shown: dict[str, Any] = to_json(item)
    return shown


def delivery_json(item: Delivery) -> dict[str, Json]:
    """Print a delivery in the shape of the contract."""
    shown: dict[str, Any] = to_json(asdict(item))
    return shown
