"""The dashboard with 500 betas and 10,000 services: time to first byte, and bytes of the first load.

Beside each page stands a bare template of as many bytes, asked in turn with it.
"""

from __future__ import annotations

import gzip
import logging
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import jinja2
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from bench.table import show
from registry import auth, catalog, inventory
from registry.app import create_app, prepare
from registry.config import Settings
from registry.core.facts import Claim, Finding
from registry.core.names import PLATFORMS
from registry.db import Database
from registry.models import UsageCountRow, UsageRow
from registry.serving import load_catalog

BETAS = 500
SERVICES = 10_000
ROUNDS = 100
PAGES = ("/", "/betas", "/lifelines", "/matrix", "/inventory", "/changelog")
FORMS = {"Accept": "text/html", "Accept-Encoding": "gzip"}


def run() -> None:
    """Measure both in one run, each request right after the other."""
    logging.disable(logging.WARNING)
    rows, sizes = [], {}
    with _registry() as http:
        bodies = {path: http.get(path, headers=FORMS).text for path in PAGES}
        with _bare(bodies) as plain:
            for path in PAGES:
                ours, theirs = _times(http, plain, path)
                rows.append(
                    (path, f"{len(bodies[path]):,}", _ms(ours, 50), _ms(ours, 95), _ms(theirs, 50),
                     _ms(theirs, 95))
                )  # fmt: skip
        for path in PAGES:
            sizes[path] = _first_load(http, path)
    columns = ("page", "bytes of HTML", "p50", "p95", "bare p50", "bare p95")
    show(
        f"Time to first byte, {BETAS} betas, {SERVICES:,} services, signed in, gzip, {ROUNDS} requests each",
        columns,
        rows,
    )
    show(
        "First load, compressed: HTML, style sheet, scripts, icon",
        ("page", "bytes"),
        [(path, f"{size:,}") for path, size in sizes.items()],
    )


def _times(http: httpx2.Client, plain: httpx2.Client, path: str) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    theirs: list[float] = []
    for client, times in [(http, ours), (plain, theirs)] * ROUNDS:
        begun = time.perf_counter()
        with client.stream("GET", path, headers=FORMS) as answer:
            times.append(time.perf_counter() - begun)
            assert answer.status_code == 200, path
            answer.read()
    return ours, theirs


def _ms(times: list[float], percent: int) -> str:
    return f"{statistics.quantiles(times, n=100)[percent - 1] * 1000:.1f} ms"


def _first_load(http: httpx2.Client, path: str) -> int:
    """Return the bytes that travel for one page and everything it names."""
    page = http.get(path, headers=FORMS)
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    return sum(_travels(http, name) for name in (path, *sorted(files)))


def _travels(http: httpx2.Client, path: str) -> int:
    with http.stream("GET", path, headers=FORMS) as answer:
        return len(b"".join(answer.iter_raw()))


@contextmanager
def _registry() -> Iterator[httpx2.Client]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            database_url=f"sqlite:///{Path(folder) / 'bench.db'}",
            sources=["catalog"],
            scheduler=False,
        )
        prepare(settings)
        known = load_catalog(settings)
        database = Database(settings.database_url)
        with database.write() as session:
            finding = Finding(source="docs", claims=tuple(_claims(BETAS - known)))
            catalog.apply(session, finding, datetime.now(UTC), datetime.now(UTC))
            token = auth.create(session, "bench", "read", datetime.now(UTC))[1]
        _use(database)
        database.close()
        with _serving(lambda: create_app(settings)) as http:
            http.post("/sign-in", data={"token": token})
            yield http


def _use(database: Database) -> None:
    """Let every service use two betas, each counted on 30 days."""
    now = datetime.now(UTC)
    hour, numbers = int(now.timestamp()) // 3600, range(1, SERVICES + 1)
    with database.read() as session:
        names = sorted(catalog.snapshot(session).betas)
    made = [inventory.Declaration(name=f"service-{n}", team=f"team-{n % 50}") for n in numbers]
    usages = [
        {"id": 2 * n + place, "service": f"service-{n}", "environment": "production",
         "beta": names[(n * 7 + place) % len(names)], "source": "client", "platform": "anthropic",
         "instance": "", "models": [], "first_seen": now, "last_seen": now, "count_30d": 150,
         "accepted_30d": 150, "refused_30d": 0}
        for n in numbers for place in (0, 1)
    ]  # fmt: skip
    counts = [
        {"usage": usage["id"], "hour": hour - 24 * day, "count": 5, "accepted": 5, "refused": 0}
        for usage in usages for day in range(30)
    ]  # fmt: skip
    with database.write() as session:
        inventory.declare(session, made, "api", now)
        session.execute(sa.insert(UsageRow), usages)
        session.execute(sa.insert(UsageCountRow), counts)


def _claims(count: int) -> Iterator[Claim]:
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    for number in range(count):
        day = begin + timedelta(days=number)
        facts = {
            "status": ("active", "deprecated", "ga", "retired")[number % 4],
            "summary": f"What feature number {number} of many is good for, in a sentence.",
            "announced_on": day.date().isoformat(),
            **{f"platforms.{p}.state": ("supported", "refused")[number % 2] for p in PLATFORMS},
        }
        for field, value in facts.items():
            yield Claim(
                beta=f"feature-{number % 200}-{day.date()}", field=field, value=value, source="docs",
                basis="declared", at=day,
            )  # fmt: skip


@contextmanager
def _bare(bodies: dict[str, str]) -> Iterator[httpx2.Client]:
    """Serve templates that print as many bytes from a list of rows, compressed alike."""
    template = jinja2.Environment(autoescape=True).from_string(
        "<!doctype html>{% for row in rows %}<p>{{ row }}</p>{% endfor %}"
    )
    rows = {
        path: [body[i : i + 200] for i in range(0, len(body), 207)] for path, body in bodies.items()
    }
    app = FastAPI()

    @app.get("/{path:path}")
    def page(request: Request) -> Response:
        body = gzip.compress(template.render(rows=rows[request.url.path]).encode(), 4)
        return Response(body, media_type="text/html", headers={"Content-Encoding": "gzip"})

    with _serving(lambda: app) as http:
        yield http


@contextmanager
def _serving(make: Callable[[], object]) -> Iterator[httpx2.Client]:
    options = {"port": 0, "log_config": None, "access_log": False, "lifespan": "on"}
    server = uvicorn.Server(uvicorn.Config(make(), **options))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        yield http
    server.should_exit = True
    thread.join()
