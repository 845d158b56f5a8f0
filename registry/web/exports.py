"""What other programs read: the catalog, LiteLLM's beta config, allow lists, Renovate's datasource.

They take `?token=`, because those programs send no headers, and none of them is ever redirected. LiteLLM
gives up after five seconds and then uses a file of its own, so its config is rendered once a snapshot and
answered from memory, also while the database is away.
"""

from __future__ import annotations

from typing import Annotated

import yaml
from fastapi import APIRouter, Depends, FastAPI, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from registry.core.errors import NotFound, Unavailable
from registry.core.exports import LiteLLM, allowlist, dump_litellm, envoy, litellm, renovate
from registry.core.facts import Snapshot
from registry.core.places import KNOWN_PLACES
from registry.exchange import litellm_words
from registry.jobs import export_catalog
from registry.web import Context, schemas
from registry.web.answers import answer
from registry.web.api import needs

__all__ = ["install"]


class Release(BaseModel):
    """One beta of a feature; `version` is its date as the name has it."""

    version: str
    isDeprecated: bool  # noqa: N815 - Renovate's words
    isStable: bool  # noqa: N815
    releaseTimestamp: str | None = None  # noqa: N815
    changelogUrl: str | None = None  # noqa: N815


class Releases(BaseModel):
    """What Renovate's custom datasource reads."""

    releases: list[Release]
    homepage: str | None = None
    tags: dict[str, str] | None = None


class AllowList(BaseModel):
    """Names by what is known of them at one place; the three lists together are every known name."""

    format: str
    place: str
    allow: list[str]
    deny: list[str]
    unproven: list[str]
    rename: dict[str, list[str]]
    models: dict[str, dict[str, list[str]]]
    as_of: str
    revision: int


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    router = APIRouter(
        prefix="/v1/export",
        dependencies=[Depends(needs(context, "read", public=True, in_url=True))],
        responses=schemas.ERRORS,
        tags=["exports"],
    )
    rendered = _Rendered(context)

    @router.get("/catalog.json")
    def export_all(request: Request) -> Response:
        """Every claim that counts; `beta-registry import` reads it without loss."""
        body = export_catalog(context.database).encode()
        return answer(request, context.live.snapshot, body)

    @router.get("/litellm.json")
    def export_litellm(request: Request) -> Response:
        """LiteLLM's beta config; LITELLM_ANTHROPIC_BETA_HEADERS_URL is the URL of this."""
        snapshot = context.live.current()
        return answer(request, snapshot, rendered.config(snapshot))

    @router.get("/renovate/{feature}.json", responses=schemas.shape(Releases))
    def export_renovate(
        request: Request, feature: Annotated[str, Path(max_length=200, examples=["mcp-client"])]
    ) -> Response:
        """The dates of a feature as versions, for a custom datasource of Renovate's."""
        snapshot = context.live.current()
        return answer(request, snapshot, renovate(snapshot, feature))

    @router.get("/allowlist/{place}.json", responses=schemas.shape(AllowList))
    def export_allowlist(
        request: Request, place: Annotated[str, Path(max_length=40, examples=["bedrock-invoke"])]
    ) -> Response:
        """Every known name for gateways at a place: taken there, refused there, or nobody knows."""
        found = KNOWN_PLACES.get(place)
        if found is None:
            known = ", ".join(KNOWN_PLACES)
            raise NotFound(f"{place[:40]!r} is not a place; use one of {known}.")
        snapshot = context.live.current()
        return answer(request, snapshot, allowlist(snapshot, found))

    @router.get("/envoy-ai-gateway.yaml")
    def export_envoy(request: Request) -> Response:
        """Backends of Envoy AI Gateway that hold back what Bedrock and Vertex refuse; for `kubectl apply`."""
        snapshot = context.live.current()
        text = yaml.safe_dump_all(envoy(snapshot), sort_keys=False)
        return answer(request, snapshot, text.encode(), media_type="application/yaml")

    app.include_router(router)


class _Rendered:
    """LiteLLM's config for the newest snapshot. Every run of a source makes a new one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words: LiteLLM | None = None
        self._made: tuple[Snapshot | None, bytes] = (None, b"")

    def config(self, snapshot: Snapshot) -> bytes:
        """Return it. Two threads may both render, and then both are right."""
        of, body = self._made
        if of is not snapshot:
            body = dump_litellm(litellm(snapshot, self._said())).encode()
            self._made = (snapshot, body)
        return body

    def _said(self) -> LiteLLM | None:
        """Return LiteLLM's words, or those known last while the database is away."""

        def read() -> LiteLLM | None:
            with self._context.database.read() as session:
                return litellm_words(session)

        try:
            self._words = self._context.beside(read)
        except Unavailable:
            if self._words is None:
                raise
        return self._words
