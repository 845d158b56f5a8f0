"""A service with a few betas and a token of each scope, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from registry import auth, catalog
from registry.db import Database
from tests.factories import NOW, claim, finding

LIVE = "thing-2026-01-01"
DYING = "dying-2025-06-01"
DONE = "done-2025-01-01"
GONE = "gone-2024-12-01"
TWIN_A, TWIN_B = "twin-2026-02-02", "twin-2026-03-03"


@dataclass(frozen=True)
class Service:
    """A running service: its client, its database, and the tokens by scope."""

    http: httpx2.Client
    database: Database
    tokens: Mapping[Any, str]

    def get(self, path: str, scope: str | None = None, **more: Any) -> httpx2.Response:
        """Read a path, with the token of a scope if one is named."""
        return self.call("GET", path, scope, **more)

    def call(
        self, method: str, path: str, scope: str | None = None, **more: Any
    ) -> httpx2.Response:
        """Call the service, with the token of a scope if one is named."""
        headers = dict(more.pop("headers", {}))
        if scope:
            headers["Authorization"] = f"Bearer {self.tokens[scope]}"
        return self.http.request(method, path, headers=headers, **more)


def _claims() -> list[Any]:
    def said(name: str, **fields: Any) -> list[Any]:
        return [claim(name, field, value, source="docs") for field, value in fields.items()]

    return [
        *said(LIVE, status="active", gate="public", summary="Does a thing.", endpoints=["messages"],
              **{"platforms.anthropic.state": "supported"}),
        *said(DYING, status="deprecated", gate="public", deprecated_on="2026-03-01",
              sunset_on="2027-02-01", superseded_by=LIVE,
              **{"platforms.anthropic.state": "supported"}),
        *said(DONE, status="ga", ga_on="2025-08-01", header_effect="ignored"),
        *said(GONE, status="retired", retired_on="2025-09-01", accepted=False),
        *said(TWIN_A, status="active"),
        *said(TWIN_B, status="active"),
    ]  # fmt: skip


@pytest.fixture
def start(database: Database, serve: Callable[..., httpx2.Client]) -> Callable[..., Service]:
    """Start a service over the shared betas, with settings of the test's own."""

    def begin(**settings: Any) -> Service:
        with database.write() as session:
            catalog.apply(session, finding("docs", *_claims()), NOW, NOW)
            tokens = {scope: auth.create(session, scope, scope, NOW)[1] for scope in auth.SCOPES}
        url = database.url.render_as_string(hide_password=False)
        return Service(serve(database_url=url, **settings), database, tokens)

    return begin


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    """The service with its default settings."""
    return start()
