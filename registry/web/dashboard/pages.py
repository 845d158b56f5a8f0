"""What all pages share: who reads, what the frame shows, and what stands where the database is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlsplit

from sqlalchemy.orm import Session as Transaction
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from registry import auth
from registry.core.errors import Forbidden, Unavailable
from registry.core.facts import Event, Snapshot
from registry.core.wording import tell
from registry.web import Context
from registry.web.dashboard.rendering import HEADERS, Renderer
from registry.web.dashboard.sessions import Session, Sessions, is_from_here

__all__ = ["Pages", "Part"]

T = TypeVar("T")

NAVIGATION: Final = (
    ("/", "Overview"), ("/betas", "Betas"), ("/lifelines", "Lifelines"), ("/matrix", "Matrix"),
    ("/builder", "Builder"), ("/explain", "Explain"), ("/inventory", "Inventory"),
    ("/changelog", "Changelog"), ("/alerts", "Alerts"),
    ("/targets", "Targets"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[T]):
    """A part of a page that comes from the database, or why it is not there."""

    value: T | None = None
    problem: str | None = None
    locked: bool = False


class _Titles:
    """The titles of events, as `wording` tells them: each is told once for a snapshot."""

    def __init__(self, context: Context) -> None:
        self._live = context.live
        self._told: dict[int, str] = {}
        self._snapshot: Snapshot | None = None

    def of(self, event: Event) -> str:
        """Return the title of an event."""
        snapshot = self._live.snapshot
        if snapshot is not self._snapshot or len(self._told) > 5000:
            self._told, self._snapshot = {}, snapshot
        title = self._told.get(event.id)
        if title is None:
            title = self._told[event.id] = tell(event, snapshot).title
        return title


class Pages:
    """Makes pages for whoever asks; made once, used by all routes."""

    def __init__(self, context: Context, renderer: Renderer, sessions: Sessions) -> None:
        self.context, self.sessions = context, sessions
        self._renderer = renderer
        self._titles = _Titles(context)

    def reader(self, request: Request) -> None:
        """Let pass whoever may read: everybody where reads are public. Raises `Forbidden`."""
        if not self.context.public_read and self.sessions.read(request) is None:
            raise Forbidden("Sign in to read this.", slug="unauthenticated")

    def snapshot(self) -> Snapshot:
        """Return what is known, as it is in memory. Raises `Unavailable` before there is anything."""
        return self.context.live.current()

    def part(self, read: Callable[[Transaction], T]) -> Part[T]:
        """Read a part of a page from the database; a database that is away costs only that part."""

        def opened() -> T:
            with self.context.database.read() as session:
                return read(session)

        return self.tried(opened)

    def tried(self, read: Callable[[], T]) -> Part[T]:
        """Read a part of a page by a function that opens the database itself."""
        try:
            return Part(value=self.context.beside(read))
        except Unavailable as error:
            return Part(problem=error.detail)

    def held(
        self, request: Request, read: Callable[[Transaction], T], scope: auth.Scope = "read"
    ) -> Part[T]:
        """Read a part that only somebody who is signed in may see."""
        return self.part(read) if self.may(request, scope) else Part(locked=True)

    def may(self, request: Request, scope: auth.Scope = "read") -> bool:
        """Say whether whoever asks is signed in with this scope."""
        session = self.sessions.read(request)
        return session is not None and session.may(scope)

    def show(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> Response:
        """Answer with a page in the frame."""
        session = self.sessions.read(request)
        return self._renderer.page(
            request, template, self._frame(request, session) | values, status=status
        )

    def _frame(self, request: Request, session: Session | None) -> dict[str, Any]:
        now, live = self.context.clock(), self.context.live
        theme = request.cookies.get("theme")
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return {
            "navigation": NAVIGATION,
            "here": request.url.path,
            "back": here if request.method == "GET" else request.url.path,
            "theme": theme if theme in ("light", "dark") else "auto",
            "session": session,
            "sign_in_problem": self.sessions.problem,
            "now": now,
            "today": now.date(),
            "facts": live.snapshot,
            "away": live.problem,
            "probing": self.context.probing,
            "stream": f"/changelog/stream?since={live.snapshot.revision}"
            if live.snapshot
            else None,
            "notices": (),
            "title_of": self._titles.of,
        }

    def problem(self, request: Request, status: int, title: str, detail: str) -> Response | None:
        """Answer a refusal as a page, if a browser asks for one; 401 leads to the sign-in."""
        if request.url.path.startswith("/v1/") or "text/html" not in request.headers.get(
            "accept", ""
        ):
            return None
        if status == 401:
            return _redirect(
                f"/sign-in?next={quote(self._after_sign_in(request), safe='')}&ended=1"
            )
        return self.show(
            request, "problem.html", status=status, code=status, title=title, detail=detail
        )

    @staticmethod
    def _after_sign_in(request: Request) -> str:
        """Return the page to come back to: this one, or the one whose form was sent."""
        if request.method == "GET":
            return request.url.path + (f"?{request.url.query}" if request.url.query else "")
        before = urlsplit(request.headers.get("referer", ""))
        if is_from_here(request) and before.path:
            return before.path + (f"?{before.query}" if before.query else "")
        return "/"

    @staticmethod
    def go(path: str) -> Response:
        """Lead on to another page after a form was sent."""
        return _redirect(path)


def _redirect(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=HEADERS | {"Cache-Control": "no-store"})
