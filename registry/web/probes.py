"""The HTTP API of probing: targets, sweeps, observations, and what a pasted answer means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from starlette.responses import Response

from registry import inventory, targets
from registry.core.diagnosis import diagnose
from registry.core.errors import Unavailable
from registry.core.facts import Json, to_json
from registry.core.names import PLATFORMS
from registry.core.places import check_place
from registry.inventory import Defaults
from registry.jobs import ask_sweep
from registry.web import Context, schemas
from registry.web.access import has_token, needs
from registry.web.answers import answer, read_cursor, write_cursor
from registry.web.api import Cursor, Limit, Name, known_beta

__all__ = ["install"]

Number = Annotated[int, Path(ge=1)]


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    app.include_router(_public(context))
    app.include_router(_operations(context))


def _public(context: Context) -> APIRouter:
    router = APIRouter(
        prefix="/v1",
        dependencies=[Depends(needs(context, "read", public=True))],
        responses=schemas.ERRORS,
    )

    @router.get(
        "/betas/{name}/observations",
        responses=schemas.shape(schemas.ObservationPage),
        tags=["betas"],
    )
    def list_observations(
        request: Request, name: Name, cursor: Cursor = None, limit: Limit = 100
    ) -> Response:
        """List what sweeps learned of a beta, newest first."""
        snapshot = context.live.current()
        known_beta(snapshot, name)
        before = read_cursor(cursor, int) if cursor else None
        with context.database.read() as session:
            found = targets.observations(session, name, limit + 1, before)
        more = write_cursor(found[limit - 1][0]) if len(found) > limit else None
        items = [item for _, item in found[:limit]]
        return answer(request, snapshot, {"items": items, "next": more})

    @router.post("/diagnose", responses=schemas.shape(schemas.Diagnosis), tags=["header"])
    def diagnose_answer(request: Request, pasted: schemas.Diagnose) -> Response:
        """Say what an upstream answer means for betas. Nothing is stored or logged.

        What a service has declared counts only with a token: it would show in the answer.
        """
        check_place(pasted.platform, pasted.api, pasted.hosting, pasted.region)
        snapshot = context.live.current()
        declared = context.live.services if has_token(request) else {}
        defaults = declared.get(pasted.service or "", Defaults())
        body = diagnose(
            snapshot,
            status=pasted.status,
            headers=pasted.headers,
            body=pasted.body,
            platform=pasted.platform or defaults.platform,
            api=pasted.api,
            hosting=pasted.hosting,
            region=pasted.region,
            betas_sent=pasted.betas_sent,
            model=pasted.model or defaults.model,
            endpoint=pasted.endpoint or defaults.endpoint,
            today=context.clock().date(),
        )
        if pasted.service:
            body["services"] = _users_of(context, body["refused"], body["platform"])
        return answer(request, snapshot, body)

    return router


def _users_of(context: Context, betas: Sequence[str], platform: str | None) -> int | None:
    """Count the services that use any of these betas on a platform; None while nobody can say."""
    place = platform if platform in PLATFORMS else None

    def count() -> int:
        with context.database.read() as session:
            return inventory.count_users(session, betas, context.clock(), platform=place)

    try:
        return context.beside(count)
    except Unavailable:
        return None


def _operations(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=schemas.ERRORS, tags=["operations"])
    read = [Depends(needs(context, "read"))]
    write = [Depends(needs(context, "write"))]

    @router.get("/targets", dependencies=read, responses=schemas.shape(schemas.TargetList))
    def list_targets(request: Request) -> Response:
        """List the targets with their health and last sweep."""
        with context.database.read() as session:
            found = targets.statuses(session)
        items = [target_json(item, context.every.get(item.name)) for item in found]
        return answer(request, context.live.snapshot, {"items": items, "next": None})

    @router.get("/sweeps", dependencies=read, responses=schemas.shape(schemas.SweepPage))
    def list_sweeps(
        request: Request,
        target: Annotated[str | None, Query(max_length=64)] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """List sweeps, newest first."""
        before = read_cursor(cursor, int) if cursor else None
        with context.database.read() as session:
            found = targets.sweeps(session, target, limit + 1, before)
        more = write_cursor(found[limit - 1].id) if len(found) > limit else None
        items = [to_json(item) for item in found[:limit]]
        return answer(request, context.live.snapshot, {"items": items, "next": more})

    @router.get("/sweeps/{number}", dependencies=read, responses=schemas.shape(schemas.Sweep))
    def show_sweep(request: Request, number: Number) -> Response:
        """Show one sweep; `outcome` is `queued` or `running` until it ends."""
        with context.database.read() as session:
            found = targets.sweep(session, number)
        return answer(request, context.live.snapshot, to_json(found))

    @router.post(
        "/targets/{name}/sweeps",
        status_code=202,
        dependencies=write,
        responses={202: {"model": schemas.Sweep}},
    )
    def start_sweep(
        request: Request, name: str, body: schemas.StartSweep | None = None
    ) -> Response:
        """Ask for a sweep now; follow it at `Location`. 503 where no process lives that would do it."""
        wanted = body.betas if body else []
        snapshot = context.live.current()
        for beta in wanted:
            known_beta(snapshot, beta)
        asked = ask_sweep(context.database, context.clock, name, wanted)
        location = {"Location": f"/v1/sweeps/{asked.id}"}
        return answer(request, None, to_json(asked), status=202, headers=location)

    @router.post("/targets/{name}/confirm", dependencies=write, status_code=200)
    def confirm_target(
        request: Request, name: str, body: schemas.Confirm | None = None
    ) -> Response:
        """Answer a mass change: these betas died, or the key or the plan changed."""
        given = body.answer if body else "believe"
        with context.database.write() as session:
            if given == "believe":
                targets.confirm(session, name)
            else:
                targets.new_baseline(session, name, context.clock())
        return answer(request, None, {"name": name, "confirmed": True, "answer": given})

    return router


def target_json(item: targets.TargetStatus, every: timedelta | None) -> dict[str, Any]:
    """Print a target in the shape of the contract."""
    shown: dict[str, Json] = to_json(item)
    return {**shown, "every": write_duration(every) if every else None}


def write_duration(duration: timedelta) -> str:
    """Print a time as settings write it: `90s`, `2m`, `1h`, `1d`."""
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
