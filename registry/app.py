"""The composition root: settings in, everything wired once."""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import httpx2
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from sqlalchemy.engine import make_url
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import __version__, config
from registry.alerts import Alerts, Rules
from registry.alerts.courier import Courier
from registry.config import Settings, Target
from registry.core.errors import Invalid, Unavailable
from registry.core.lifecycle import Thresholds
from registry.db import Database, Waits, is_current, upgrade
from registry.jobs import Live, Probe
from registry.probing import Limits
from registry.probing.platforms import ConfigError, Setup, Upstream
from registry.scheduler import Scheduler
from registry.sealing import Sealer
from registry.sources import Source
from registry.sources.catalog import CatalogSource
from registry.targets import Plan
from registry.web import (
    MAX_BODY,
    Context,
    access,
    api,
    dashboard,
    errors,
    exports,
    feeds,
    probes,
    report,
    schemas,
    stream,
    usage,
)
from registry.web import alerts as alerts_web
from registry.web.answers import JsonLine
from registry.web.header import HeaderEndpoint
from registry.web.uses import Uses

__all__ = [
    "about_probing",
    "create_app",
    "from_environment",
    "http_client",
    "make_alerts",
    "make_probes",
    "make_sources",
    "prepare",
    "secret_key",
    "setup_of",
    "targets_of",
    "waits_of",
]

THREADS: Final = 24
"""Threads for requests that do not use the database, beside those for the ones that do."""
WORKS: Final = 20
"""Connections for what a process does by itself: refreshing, jobs, sending, streams."""
START_SECONDS: Final = 10.0
"""How long a start waits for the first snapshot; without one, requests are answered with 503."""


def prepare(settings: Settings) -> None:
    """Bring an embedded database up to date; refuse a PostgreSQL schema that is not.

    Replicas must not race to migrate a shared database, so there an operator does it. Called once, by
    the parent process. Raises `Unavailable`, also where several settings do not fit together.
    """
    database = Database(settings.database_url, waits_of(settings))
    try:
        if database.is_sqlite:
            upgrade(settings.database_url)
            secret_key(settings)  # so that no two workers make it at once
        elif not is_current(database):
            raise Unavailable(
                "The database schema is out of date; run `beta-registry db upgrade`.",
                slug="database-unavailable",
            )
    finally:
        database.close()


def http_client() -> httpx2.Client:
    """Make the HTTP client of the sources; proxies and certificates come from the environment."""
    return httpx2.Client(
        timeout=httpx2.Timeout(30, connect=10),
        headers={"User-Agent": f"beta-registry/{__version__}"},
    )


def make_sources(settings: Settings) -> list[Source]:
    """Make the sources that are switched on. Offline, only a catalog that is a file is read."""
    wanted = ["catalog"] if settings.offline else settings.sources
    return [_make_source(name, settings) for name in wanted]


def _make_source(name: str, settings: Settings) -> Source:
    """Make one source; what it needs is imported only if it is read."""
    match name:
        case "catalog":
            return CatalogSource(None if settings.offline else settings.catalog_location)
        case "sdk":
            from registry.sources.sdk import SdkSource

            return SdkSource(**_given(index_url=_index(settings)))
        case "litellm":
            from registry.sources.litellm import LiteLLMSource

            return LiteLLMSource(
                **_given(location=settings.litellm_location, index_url=_index(settings))
            )
        case "release-notes":
            from registry.sources.release_notes import ReleaseNotesSource

            return ReleaseNotesSource(**_given(location=settings.release_notes_location))
        case _:
            from registry.sources.docs import DocsSource

            return DocsSource(**_given(location=settings.docs_location))


def _index(settings: Settings) -> str | None:
    return settings.sdk_index_url or config.pip_index_url()


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def create_app(settings: Settings) -> ASGIApp:
    """Wire the whole service. Raises `RegistryError` when it cannot start."""
    _configure_logging(settings.log_format)
    # Two pools, so that requests that wait for the database never keep it from being asked for what is new.
    works = Database(settings.database_url, waits_of(settings), connections=WORKS)
    admin = settings.admin_token.get_secret_value() if settings.admin_token else None
    live = Live(works, admin, grace=settings.token_grace)
    database = Database(
        settings.database_url,
        waits_of(settings),
        connections=settings.database_connections,
        most=settings.database_requests,
        guard=access.confirming(live),
    )
    context = Context(
        alerts=make_alerts(settings, database),
        database=database,
        live=live,
        clock=config.now,
        public_read=settings.public_read,
        address=settings.address if settings.public_url else None,
        source_names=tuple(settings.sources),
        offline=settings.offline,
        probing=about_probing(settings),
        every={target.name: target.every for target in targets_of(settings)},
    )
    uses = Uses()

    streams = stream.Streams(works, live)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        threads = current_default_thread_limiter()
        threads.total_tokens = settings.database_requests + THREADS
        live.start()
        await run_in_threadpool(live.ask, START_SECONDS)
        uses.start(works, live, config.now)
        running = _works(settings, works) if settings.scheduler else []
        try:
            yield {"streams": streams}
        finally:
            streams.stop()
            uses.stop()
            for work in running:
                work.stop()
            live.stop()
            context.close()
            works.close()
            database.close()

    app = FastAPI(
        title="beta-registry",
        version=__version__,
        summary="Every Anthropic API beta, its life, and header strings that are valid now.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        default_response_class=JsonLine,
    )
    pages, assets = dashboard.make(context, lambda: secret_key(settings))
    errors.install(app, pages.problem)
    api.install(app, context)
    probes.install(app, context)
    alerts_web.install(app, context)
    feeds.install(app, context)
    stream.install(app, context, streams)
    exports.install(app, context)
    usage.install(app, context)
    report.install(app, context)
    dashboard.install(app, pages, assets, streams)
    _document(app)
    framework = access.Callers(errors.Bounded(app, MAX_BODY))
    return HeaderEndpoint(_Measured(framework, context), context, uses)


def from_environment() -> ASGIApp:
    """Make the application of one worker process; settings come from the environment."""
    return create_app(config.load())


_CLOUDS: Final = {
    "AWS_ACCESS_KEY_ID": ("bedrock", 'platform = "bedrock", api = "mantle"'),
    "GOOGLE_APPLICATION_CREDENTIALS": ("vertex", 'platform = "vertex"'),
    "ANTHROPIC_FOUNDRY_API_KEY": ("foundry", 'platform = "foundry"'),
}


def targets_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Target]:
    """Return the targets: those configured, else the Claude API where its key is in the environment."""
    if settings.targets or not environ.get("ANTHROPIC_API_KEY"):
        return list(settings.targets)
    return [
        Target(
            name="claude-api",
            platform="anthropic",
            base_url=environ.get("ANTHROPIC_BASE_URL") or None,
            api_key_env="ANTHROPIC_API_KEY",
        )
    ]


def about_probing(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Say whether probing is on, and what to add to switch it on."""
    found = targets_of(settings, environ)
    if found:
        where = "on" if settings.scheduler else "off in this process, which only serves"
        return f"{where}: {', '.join(target.name for target in found)}"
    hints = [
        f'{variable} is set, so add: targets = [{{name = "{name}", {toml}}}]'
        for variable, (name, toml) in _CLOUDS.items()
        if environ.get(variable)
    ]
    return ". ".join(["off: no target is configured and ANTHROPIC_API_KEY is not set", *hints])


def secret_key(settings: Settings) -> bytes:
    """Return the key for hashes and for what is stored encrypted; made once beside an embedded database.

    Raises `Unavailable` on PostgreSQL when it is not set: replicas must share it.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    url = make_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise Unavailable(
            "BETA_REGISTRY_SECRET_KEY is not set; give all replicas the same long random text, such as "
            "that of `openssl rand -hex 32`."
        )
    path = Path(f"{url.database}.key")
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    except OSError as error:
        raise Unavailable(
            f"The secret key cannot be written to {path} ({error.strerror}); make its folder writable, or "
            "set BETA_REGISTRY_SECRET_KEY."
        ) from None
    return path.read_text().strip().encode()


def make_probes(settings: Settings) -> list[Probe]:
    """Make the configured targets ready to sweep. Raises `RegistryError`."""
    found = targets_of(settings)
    key = secret_key(settings) if found else b""
    return [_make_probe(target, key) for target in found]


def setup_of(target: Target) -> Setup:
    """Return what probing needs of a configured target."""
    return Setup(
        **target.model_dump(
            include={
                "name", "platform", "api", "model", "endpoint", "base_url", "region", "project_id",
                "resource", "profile", "workspace_id", "ca_file", "headers", "api_key_env",
                "allow_paid",
            }
        ),
        timeout=target.timeout.total_seconds(),
    )  # fmt: skip


def _make_probe(target: Target, key: bytes) -> Probe:
    setup = setup_of(target)

    def connect() -> Upstream:
        try:
            return Upstream(setup)
        except ConfigError as error:
            raise Invalid(str(error)) from None

    def identify() -> str:
        try:
            with closing(Upstream(setup)) as upstream:
                credential = upstream.credential
        except ConfigError:
            return ""
        place = [
            setup.platform, setup.api, setup.base_url, setup.endpoint, setup.model, setup.region,
            setup.project_id, setup.resource, setup.workspace_id, sorted(setup.headers.items()),
            credential,
        ]  # fmt: skip
        return hmac.new(key, json.dumps(place).encode(), "sha256").hexdigest()

    plan = Plan(
        name=target.name,
        platform=target.platform,
        api=target.api or ("invoke" if target.platform == "bedrock" else None),
        model=target.model,
        endpoint=target.endpoint,
        identity="",
        thresholds=Thresholds(
            refusals_to_confirm=target.refusals_to_confirm,
            acceptances_to_recover=target.acceptances_to_recover,
        ),
        every=target.every,
        confirm_every=target.confirm_every,
        hosting=target.hosting,
        region=target.region,
    )
    limits = Limits(
        max_header_betas=target.max_header_betas,
        max_requests=target.max_requests,
        confirmations=target.confirmations,
        confirm_spread=target.confirm_spread.total_seconds(),
    )
    return Probe(plan=plan, limits=limits, connect=connect, identify=identify)


def make_alerts(settings: Settings, database: Database) -> Alerts:
    """Wire subscriptions and deliveries. The key is asked for when something is sealed or opened."""
    rules = Rules(
        allow_private=settings.receivers_private,
        apprise_schemes=frozenset(settings.apprise_schemes),
    )
    return Alerts(
        database, lambda: Sealer(secret_key(settings)), rules, config.now, settings.address
    )


def waits_of(settings: Settings) -> Waits:
    """Return the longest waits on the database."""
    return Waits(
        connect=settings.database_connect_timeout.total_seconds(),
        statement=settings.database_statement_timeout.total_seconds(),
        lock=settings.database_lock_timeout.total_seconds(),
        pool=settings.database_pool_timeout.total_seconds(),
        keepalive=settings.database_keepalive.total_seconds(),
        tcp_user=settings.database_tcp_user_timeout.total_seconds(),
    )


def _works(settings: Settings, database: Database) -> list[Scheduler | Courier]:
    """Start what works by itself in this process: the jobs, and the sending of alerts."""
    alerts = make_alerts(settings, database)
    sources = make_sources(settings)
    every = {source.name: settings.every(source.name) for source in sources}
    scheduler = Scheduler(
        database, sources, every, http_client(), config.now, probes=make_probes(settings),
        prune=[alerts.prune],
    )  # fmt: skip
    works: list[Scheduler | Courier] = [scheduler, Courier(alerts)]
    for work in works:
        work.start()
    return works


def _document(app: FastAPI) -> None:
    """Add what FastAPI cannot know to the OpenAPI document: the hot path and the problem shape."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            parts = document["components"]["schemas"]
            for model in (schemas.Problem, schemas.HeaderAnswer):
                parts[model.__name__] = model.model_json_schema()
            document["paths"]["/v1/header"] = {"get": schemas.header_operation()}
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


class _Measured:
    """Around the framework: what `/metrics` tells of each request."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._metrics = app, context.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.cell(route, status)[0] += 1
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _configure_logging(log_format: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if log_format == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A tick that finds the last one still at work is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
