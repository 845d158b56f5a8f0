"""The pages of whoever runs the registry: targets and sweeps, signing in, and the theme."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import catalog, targets
from registry.core.errors import Forbidden, RegistryError
from registry.jobs import ask_sweep
from registry.web.dashboard.asking import Asked
from registry.web.dashboard.pages import Pages
from registry.web.dashboard.sessions import COOKIE, LASTS, is_from_here, local_path
from registry.web.dashboard.tools import posted
from registry.web.errors import status_of

__all__ = ["routes"]

Form = Annotated[dict[str, str], Depends(posted)]

SWEEPS: Final = 50
YEAR: Final = 365 * 86400


def routes(pages: Pages) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_targets(pages))
    router.include_router(_signing(pages))
    return router


def _targets(pages: Pages) -> APIRouter:
    router = APIRouter()
    context = pages.context

    @router.get("/targets", dependencies=[Depends(pages.reader)])
    def show_targets(request: Request) -> Response:
        asked = Asked(request, ("target", "before", "done"))
        wanted, before = asked.text("target", 64) or None, asked.number("before", 0) or None

        def read(session: Session) -> list[targets.Sweep]:
            return targets.sweeps(session, wanted, SWEEPS + 1, before)

        return pages.show(
            request,
            "targets.html",
            asked=asked,
            targets=pages.held(request, targets.statuses),
            sweeps=pages.held(request, read),
            sources=pages.held(request, lambda s: catalog.sources(s, context.source_names, 1)),
            every=context.every,
            offline=context.offline,
            done=asked.word("done", ("sweep", "confirm")),
            wanted=wanted,
            page=SWEEPS,
            notices=asked.notices,
        )

    @router.post("/targets/{name}/sweep")
    def sweep(request: Request, name: str, form: Form) -> Response:
        pages.sessions.allow_change(request, form)
        ask_sweep(context.database, context.clock, name)
        return pages.go("/targets?done=sweep")

    @router.post("/targets/{name}/confirm")
    def confirm(request: Request, name: str, form: Form) -> Response:
        pages.sessions.allow_change(request, form)
        with context.database.write() as session:
            targets.confirm(session, name)
        return pages.go("/targets?done=confirm")

    @router.post("/targets/{name}/new-baseline")
    def new_baseline(request: Request, name: str, form: Form) -> Response:
        pages.sessions.allow_change(request, form)
        with context.database.write() as session:
            targets.new_baseline(session, name, context.clock())
        return pages.go("/targets?done=confirm")

    return router


def _signing(pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/sign-in")
    def ask(request: Request) -> Response:
        asked = Asked(request, ("next", "ended"))
        return pages.show(
            request,
            "sign-in.html",
            next=local_path(asked.text("next", 2000)),
            ended=bool(asked.text("ended")),
            problem=None,
        )

    @router.post("/sign-in")
    def sign_in(request: Request, form: Form) -> Response:
        address = request.client.host if request.client else ""
        following = local_path(form.get("next"))
        try:
            if not is_from_here(request):
                raise Forbidden("This form is not from this page; load it again.")
            cookie = pages.sessions.open(form.get("token", ""), address)
        except RegistryError as error:
            return pages.show(
                request, "sign-in.html", status=429 if error.slug == "slow" else status_of(error),
                next=following, ended=False, problem=error.detail,
            )  # fmt: skip
        answer = pages.go(following)
        answer.set_cookie(
            COOKIE, cookie, max_age=int(LASTS.total_seconds()), httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request, form: Form) -> Response:
        pages.sessions.allow_change(request, form, "read")
        answer = pages.go("/")
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer

    @router.post("/theme")
    def set_theme(request: Request, form: Form) -> Response:
        answer = pages.go(local_path(form.get("next")))
        wanted = form.get("to")
        answer.set_cookie(
            "theme", wanted if wanted in ("light", "dark") else "auto", max_age=YEAR,
            samesite="lax", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    return router
