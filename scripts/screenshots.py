"""Render every page of the dashboard with demo data: `make screenshots`.

The upstream is the simulator, and time is told by this script: a month of sweeps happens in seconds. Each
page is drawn in light, dark and at the width of a phone, into `docs/screenshots` or the folder named.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright
from sqlalchemy.orm import Session

from registry import auth, catalog, inventory, jobs, simulator, targets
from registry.alerts.deliveries import Load
from registry.app import create_app, make_alerts, make_probes, make_sources, prepare
from registry.config import Settings, Target
from registry.db import Database

ROOT = Path(__file__).parent.parent
SHOWN = ("overview-light", "lifelines-dark")
"""The pictures that the documents show; only these are kept in the repository."""

DEAD, REFUSED, PENDING = "computer-use-2025-01-24", "skills-2025-10-02", "mcp-client-2025-11-20"
EXPLAIN = (
    "anthropic.BadRequestError: Error code: 400 - {'type': 'error', 'error': {'type': "
    "'invalid_request_error', 'message': 'Unexpected value(s) `computer-use-2025-01-24` for the "
    "`anthropic-beta` header. Please consult our documentation.'}, 'request_id': 'req_011CVd3x'}"
)
PAGES = {
    "overview": "/",
    "betas": "/betas?status=active&status=deprecated",
    "beta": f"/betas/{PENDING}",
    "lifelines": "/lifelines?status=ga&status=deprecated&status=retired",
    "matrix": "/matrix?q=mcp",
    "builder": "/builder?feature=mcp-client&feature=context-management&beta=skills-2025-10-02"
    "&model=claude-haiku-4-5&policy=advise",
    "builder-invalid": f"/builder?feature=compact&beta={DEAD}",
    "explain": "/explain",
    "inventory": "/inventory",
    "service": "/inventory/services/checkout",
    "changelog": "/changelog",
    "alerts": "/alerts",
    "targets": "/targets",
    "sign-in": "/sign-in?ended=1",
    "problem": "/betas/mcp-clinet-2025-11-20",
}


class _Clock:
    """Time as this script tells it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def _settings(folder: str, upstream: str) -> Settings:
    common = {"api_key_env": "BETA_REGISTRY_DEMO_KEY", "endpoint": "count_tokens"}
    os.environ["BETA_REGISTRY_DEMO_KEY"] = "sk-ant-demo"
    found = [
        {"name": "claude-api", "platform": "anthropic", "base_url": upstream, "every": "6h"},
        {"name": "foundry-eu", "platform": "foundry", "base_url": f"{upstream}/foundry/anthropic"},
    ]
    return Settings(
        database_url=f"sqlite:///{Path(folder) / 'demo.db'}",
        sources=["catalog"],
        targets=[Target.model_validate(item | common) for item in found],
        scheduler=False,
        receivers_private=True,
    )


def _live_a_month(settings: Settings, world: simulator.Simulator, receiver: str) -> str:
    """Let a month pass: sweeps, a death, a refusal on one platform, one that is being confirmed."""
    now = datetime.now(UTC).replace(microsecond=0)
    clock = _Clock(now - timedelta(days=30))
    database = Database(settings.database_url)
    with httpx2.Client() as http:
        for source in make_sources(settings):
            jobs.sync(database, source, http, clock)
    probes = {probe.plan.name: probe for probe in make_probes(settings)}
    with database.write() as session:
        targets.ensure(session, [probe.plan for probe in probes.values()], clock())

    def sweep(times: int, *names: str) -> None:
        for _ in range(times):
            clock.now += timedelta(hours=13, minutes=7)
            for name in names or probes:
                jobs.probe(database, probes[name], clock, lambda _seconds: None)

    alerts = make_alerts(settings, database)
    for wanted in _subscriptions(receiver):
        alerts.subscribe(wanted)
    sweep(12)
    _refuse(world, DEAD)
    sweep(4, "claude-api")
    clock.now = now - timedelta(days=20)
    with database.write() as session:
        day = (now + timedelta(days=26)).date().isoformat()
        catalog.amend(
            session,
            "context-management-2025-06-27",
            {"status": "deprecated", "sunset_on": day},
            "told by our account team",
            None,
            clock(),
        )
    sweep(20)
    _refuse(world, REFUSED)
    sweep(4)
    clock.now = now - timedelta(minutes=31)
    _refuse(world, PENDING)
    jobs.probe(database, probes["claude-api"], clock, lambda _seconds: None)
    with database.write() as session:
        _use(session, now)
    while claims := alerts.advance(Load(room=100, slow_room=100)):
        alerts.record([alerts.attempt(claim) for claim in claims])
    with database.write() as session:
        token = auth.create(session, "demo", "admin", now)[1]
    database.close()
    return token


class _Receiver(BaseHTTPRequestHandler):
    """Takes every message."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _subscriptions(receiver: str) -> list[dict[str, Any]]:
    """Return who hears of what: one receiver that answers, one that is not there."""
    dying = {"types": ["beta.retired", "beta.refused", "beta.deprecated"]}
    return [
        {"name": "platform team", "channel": "webhook", "url": f"{receiver}/hooks/betas"},
        {
            "name": "payments on call", "channel": "webhook", "url": "http://127.0.0.1:9/hook",
            "filter": dying, "schedule": "daily", "team": "payments",
        },
    ]  # fmt: skip


_TEAMS: dict[str, str] = {
    "checkout": "payments", "fraud-score": "payments", "search-api": "search",
    "doc-indexer": "search", "support-bot": "support",
}  # fmt: skip


def _use(session: Session, now: datetime) -> None:
    """Let services use betas for four weeks."""
    made = [inventory.Declaration(name=name, team=team) for name, team in _TEAMS.items()]
    inventory.declare(session, made, "api", now)
    for day in range(28, -1, -1):
        at = now - timedelta(days=day, minutes=5)
        for place, name in enumerate(_TEAMS):
            count = 400 + 37 * ((day * 7 + place * 13) % 11)
            items = [inventory.Item(beta=PENDING, count=count, accepted=count)]
            if place % 2 == 0:
                refused = count if day == 0 else 0
                items.append(inventory.Item(beta=REFUSED, count=count, accepted=count - refused,
                                            refused=refused))  # fmt: skip
            if place == 1:
                items.append(inventory.Item(beta=DEAD, count=3, path="src/agent.py", line=41))
            inventory.record(
                session,
                inventory.Report(service=name, environment="production", platform="anthropic",
                                 window=(at - timedelta(minutes=1), at), items=tuple(items)),
                at,
            )  # fmt: skip


def _refuse(world: simulator.Simulator, beta: str) -> None:
    gone = [*world.shape().get("timeline", []), {"at": 0, "beta": beta, "do": "refuse"}]
    world.patch({"timeline": gone})


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """Run the service with a month of demo data; yields its URL and a token of scope admin."""
    logging.disable(logging.WARNING)
    world = simulator.create_simulator()
    with tempfile.TemporaryDirectory() as folder, simulator.running(world) as upstream:
        settings = _settings(folder, upstream)
        prepare(settings)
        with _receiver() as receiver:
            token = _live_a_month(settings, world, receiver)
        config = uvicorn.Config(create_app(settings), port=0, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", token
        finally:
            server.should_exit = True
            thread.join(timeout=20)


def main() -> None:
    """Draw the pages into a folder."""
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "docs" / "screenshots"
    wanted = sys.argv[2:] or list(PAGES)
    folder.mkdir(parents=True, exist_ok=True)
    with demo() as (url, token), sync_playwright() as playwright:
        browser = launch(playwright)
        for form, options in {
            "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
            "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
            "phone": {"color_scheme": "light", "viewport": {"width": 375, "height": 740}},
        }.items():
            _draw_all(browser, url, token, form, options, folder, wanted)
        browser.close()


def launch(playwright: Any) -> Browser:
    """Start the browser that is installed."""
    path = os.environ.get("BETA_REGISTRY_TEST_BROWSER") or shutil.which("chromium")
    if path is None:
        sys.exit(
            "No Chromium: apt-get install chromium, or set BETA_REGISTRY_TEST_BROWSER to its path."
        )
    browser: Browser = playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox", "--disable-gpu"]
    )
    return browser


def _draw_all(
    browser: Browser,
    url: str,
    token: str,
    form: str,
    options: dict[str, Any],
    folder: Path,
    wanted: list[str],
) -> None:
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("Token").fill(token)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    for name in wanted:
        page.goto(PAGES[name])
        if name == "explain":
            page.get_by_label("What came back").fill(EXPLAIN)
            page.get_by_role("button", name="Explain").click()
        _draw(page, folder / f"{name}-{form}.png")
    context.close()


def _draw(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    size = page.viewport_size or {"width": 1280}
    tall = min(page.evaluate("document.documentElement.scrollHeight"), 1700)
    shown = path.parent == ROOT / "docs" / "screenshots"
    clip: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": 620 if shown else tall}
    page.screenshot(path=path, full_page=True, clip=clip, animations="disabled")


if __name__ == "__main__":
    main()
