"""The HTTP API of the exposure report and of imported logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import imports
from registry import report as exposure
from registry.core.batches import Mark
from registry.core.errors import Invalid
from registry.core.facts import to_json
from registry.core.names import PLATFORMS
from registry.inventory.exposure import report as make_report
from registry.web import Context, schemas
from registry.web.answers import answer
from registry.web.api import needs
from registry.web.usage import UsageReport

__all__ = ["install"]

Digest = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="Digest of the file's first record.")
]


class MarkItem(BaseModel):
    """A place up to which everything in the file has been counted."""

    line: int
    digest: str


class MarkList(schemas.Page):
    """The marks of a file."""

    items: list[MarkItem]


class CheckList(schemas.Page):
    """Checks of batches, each in hexadecimal."""

    items: list[str]


class ImportBatch(BaseModel):
    """Usage from a log, all or nothing, and the mark that it leaves."""

    number: Annotated[
        int, Field(ge=0, le=2**31 - 1, description="How many marks the file has before this one.")
    ]
    line: Annotated[int, Field(ge=1, le=2**53)]
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    checks: Annotated[
        str,
        Field(
            pattern="^(?:[0-9a-f]{2})*$",
            max_length=1_000_000,
            description="Two bytes of the digest after each record.",
        ),
    ] = ""
    requests: Annotated[int, Field(ge=0, le=2**53)] = 0
    reports: list[UsageReport] = Field(max_length=10_000)


def install(app: FastAPI, context: Context) -> None:
    """Add the routes to the application."""
    app.include_router(_imports(context))
    app.include_router(_report(context))


def _imports(context: Context) -> APIRouter:
    router = APIRouter(
        prefix="/v1/imports",
        dependencies=[Depends(needs(context, "report"))],
        responses=schemas.ERRORS,
        tags=["inventory"],
    )

    def session() -> Iterator[Session]:
        with context.database.write() as opened:
            yield opened

    # With the default scope the commit would come after the answer (FastAPI 0.165, tried).
    writing = Depends(session, scope="function")

    @router.get("/{file}", responses=schemas.shape(MarkList))
    def list_marks(request: Request, file: Digest) -> Response:
        """List how far a log has been imported, so that nothing is counted twice."""
        with context.database.read() as opened:
            found = imports.marks(opened, file)
        items = [mark._asdict() for mark in found]
        return answer(request, None, {"items": items, "next": None})

    @router.get("/{file}/checks", responses=schemas.shape(CheckList))
    def list_checks(
        request: Request, file: Digest, after: Annotated[int, Query(ge=0, le=2**53)] = 0
    ) -> Response:
        """List the checks of the batches that end after a line, the nearest first."""
        with context.database.read() as opened:
            found = imports.checks(opened, file, after)
        items = [item.hex() for item in found]
        return answer(request, None, {"items": items, "next": None})

    @router.post("/{file}", responses={200: {"model": imports.Imported}})
    def import_batch(
        request: Request, file: Digest, batch: ImportBatch, opened: Session = writing
    ) -> Response:
        """Record a part of a log once. 409: the log has been imported further meanwhile."""
        found = imports.record(
            opened,
            file=file,
            number=batch.number,
            mark=Mark(batch.line, batch.digest),
            checks=bytes.fromhex(batch.checks),
            requests=batch.requests,
            reports=[imports.report_of(report.model_dump()) for report in batch.reports],
            now=context.clock(),
        )
        context.live.usage_moved()
        return answer(request, None, to_json(found))

    return router


def _report(context: Context) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=schemas.ERRORS, tags=["inventory"])

    @router.get(
        "/report",
        dependencies=[Depends(needs(context, "read"))],
        responses=schemas.shape(exposure.Report),
    )
    def show_report(
        request: Request,
        days: Annotated[int, Query(ge=1, le=400, description="Today and the days before.")] = 7,
        team: Annotated[str | None, Query(max_length=128)] = None,
        platform: Annotated[str | None, Query(max_length=64)] = None,
        format: Annotated[str | None, Query(pattern="^(json|markdown)$")] = None,
    ) -> Response:
        """What would have failed, what is dead weight, and what each service should send instead.

        As JSON, or as Markdown with `format=markdown` or `Accept: text/markdown`.
        """
        if platform is not None and platform not in PLATFORMS:
            raise Invalid(f"{platform!r} is not a platform; use one of {', '.join(PLATFORMS)}.")
        snapshot = context.live.current()
        with context.database.read() as opened:
            made = make_report(
                opened, context.clock(), days=days, team=team, platform=platform, snapshot=snapshot
            )
        body = made.to_json()
        wanted = format or ("markdown" if _prefers_markdown(request) else "json")
        if wanted == "json":
            return answer(request, snapshot, body)
        text = exposure.markdown(body).encode("utf-8", "replace")
        return answer(request, snapshot, text, media_type="text/markdown; charset=utf-8")

    return router


def _prefers_markdown(request: Request) -> bool:
    accept = request.headers.get("accept", "").lower()
    return "text/markdown" in accept and "application/json" not in accept
