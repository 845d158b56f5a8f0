"""Refusals as problem documents (RFC 9457): one shape for every error, with a stable `type`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    RegistryError,
    Unavailable,
)
from registry.web.answers import write_line

__all__ = [
    "MEDIA_TYPE",
    "PROBLEMS",
    "Bounded",
    "describe",
    "install",
    "problem",
    "status_of",
    "tell_operator",
]

log = logging.getLogger("registry.web")

MEDIA_TYPE: Final = "application/problem+json"

PROBLEMS: Final[dict[str, str]] = {
    "not-found": "What was named does not exist.",
    "invalid-request": "The request cannot be used as it stands.",
    "malformed-name": "A beta name is 1 to 128 letters, digits, '.', '_' or '-'.",
    "invalid-beta": "At least one beta cannot be sent as asked. `invalid` says which and why, "
    "`would_send` what can be sent instead.",
    "ambiguous-feature": "Several betas of the feature are alive and none is stated as current; "
    "`choices` lists them. Ask for one by its full name.",
    "idempotency-key-reused": "The Idempotency-Key came with another report before.",
    "import-moved": "The log has been imported further meanwhile. Read it again from its start: its "
    "marks say what is left.",
    "unauthenticated": "A token is needed and none, or no valid one, came with the request.",
    "forbidden": "The token's scope does not allow this.",
    "conflict": "The request contradicts what is stored.",
    "exists": "What should be added is there already.",
    "unavailable": "Something this needs is away; try again later.",
    "database-unavailable": "The database is away or out of date; reads go on from memory.",
    "too-large": "The request is larger than is accepted.",
    "request-timeout": "The request was not complete in time.",
    "method-not-allowed": "The resource does not take this method.",
    "internal": "A defect of this service. Please report it with the time of the request.",
}
"""Every problem type, with what it means; served as pages under `/problems/<slug>`."""

_STATUS: Final[dict[type[RegistryError], int]] = {
    NotFound: 404,
    Invalid: 422,
    Conflict: 409,
    Forbidden: 403,
    Unavailable: 503,
}

_NO_JSON: Final = "The body is not valid JSON; send an object as application/json."

_HTTP_SLUGS: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}


def status_of(error: RegistryError) -> int:
    """Return the HTTP status of a refusal."""
    if error.slug == "unauthenticated":
        return 401
    if error.slug == "too-large":
        return 413
    return next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)


def describe(
    status: int, slug: str, detail: str, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the members of a problem document."""
    title = PROBLEMS.get(slug, detail)
    document = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
    return {**document, **(extra or {})}


def problem(
    status: int,
    slug: str,
    detail: str,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the response of a refusal."""
    body = write_line(describe(status, slug, detail, extra))
    more = dict(headers or {})
    if status == 401:
        more["WWW-Authenticate"] = 'Bearer realm="beta-registry"'
    if status == 503:
        more["Retry-After"] = "5"
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=more)


QUIET_SECONDS: Final = 10.0
_told: dict[str, float] = {}


def tell_operator(error: RegistryError) -> None:
    """Log what of a refusal is not for everybody, the same words at most every `QUIET_SECONDS`."""
    moment = time.monotonic()
    if error.inside is None or _told.get(error.inside, -QUIET_SECONDS) > moment - QUIET_SECONDS:
        return
    if len(_told) > 100:
        _told.clear()
    _told[error.inside] = moment
    log.warning("%s", error.inside)


AsPage = Callable[[Request, int, str, str], Response | None]
"""Makes a page of a refusal for a browser (status, title, detail), or None for everybody else."""


def install(app: FastAPI, as_page: AsPage) -> None:
    """Render every error of the application as a problem document, or as a page for a browser."""

    def tell(
        request: Request,
        status: int,
        slug: str,
        detail: str,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        page = as_page(request, status, PROBLEMS.get(slug, "This cannot be done."), detail)
        return page or problem(status, slug, detail, extra, headers)

    @app.exception_handler(RegistryError)
    def _refusal(request: Request, error: RegistryError) -> Response:
        tell_operator(error)
        return tell(request, status_of(error), error.slug, error.detail, error.extra)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return tell(request, 422, "invalid-request", _sentence(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # what FastAPI says of a body that it cannot parse at all
            return tell(request, 422, "invalid-request", _NO_JSON)
        slug = _HTTP_SLUGS.get(error.status_code, "invalid-request")
        detail = {
            404: f"There is nothing at {request.url.path}; see /openapi.json for what there is.",
            405: f"{request.url.path} does not take {request.method}.",
        }.get(error.status_code, str(error.detail))
        return tell(request, error.status_code, slug, detail, headers=error.headers)

    @app.exception_handler(Exception)
    def _defect(request: Request, _error: Exception) -> Response:
        return tell(
            request, 500, "internal", "Something failed that should not; the log has the details."
        )


class Bounded:
    """Around the framework: refuses a larger body, as a problem document and not as plain text."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max = app, max_bytes
        self._detail = f"The body is larger than {max_bytes:,} bytes; send it in parts."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        stated = dict(scope.get("headers", [])).get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > self._max:
            await problem(413, "too-large", self._detail)(scope, receive, send)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, bounded, send)


def _sentence(error: RequestValidationError) -> str:
    """Say the first thing that is wrong with a request, and where."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["type"] == "json_invalid":
        return _NO_JSON
    place = f"{first['loc'][0]} {where}".strip() if first["loc"] else "request"
    return f"{place[:200]}: {first['msg'].removeprefix('Value error, ')}."
