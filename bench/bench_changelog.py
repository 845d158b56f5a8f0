"""How fast a change reaches those who follow it: from the commit to a listener of the stream."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime

import httpx2

from bench.table import show
from registry import catalog
from registry.core.facts import Event
from registry.db import Database

PORT = 18433
EVENTS = 100


def run() -> None:
    """Start the service with two workers, follow its stream, record events, print the delays."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/registry.db"
        environment = {
            **os.environ,
            "BETA_REGISTRY_OFFLINE": "true",
            "BETA_REGISTRY_DATABASE_URL": url,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "registry.cli", "serve", "--port", str(PORT), "--workers", "2"],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_ready()
            delays = _follow(Database(url))
            feeds = {
                kind: _timed(f"/v1/changelog.{kind}?limit=200")
                for kind in ("atom", "json", "ics", "md")
            }
        finally:
            process.terminate()
            process.wait()
    ordered = sorted(delays)
    show(f"{EVENTS} events, from the commit to a listener of the stream", ("what", "figure"), [
        ("median", f"{ordered[EVENTS // 2] * 1000:.0f} ms"),
        ("p95", f"{ordered[int(EVENTS * 0.95)] * 1000:.0f} ms"),
        ("longest", f"{ordered[-1] * 1000:.0f} ms"),
        *((f"GET /v1/changelog.{kind}, 200 entries", f"{took * 1000:.0f} ms") for kind, took in feeds.items()),
    ])  # fmt: skip


def _wait_ready() -> None:
    for _ in range(600):
        try:
            if httpx2.get(f"http://127.0.0.1:{PORT}/readyz").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    sys.exit(f"The service did not start on port {PORT}.")


def _follow(database: Database) -> list[float]:
    seen: dict[int, float] = {}
    listening = threading.Event()

    def listen() -> None:
        url = f"http://127.0.0.1:{PORT}/v1/changelog/stream"
        with httpx2.stream("GET", url, timeout=60) as answer:
            listening.set()
            for line in answer.iter_lines():
                if line.startswith("id:"):
                    seen[int(line[3:])] = time.time()
                if len(seen) == EVENTS:
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    listening.wait(30)
    time.sleep(0.5)
    recorded: dict[int, float] = {}
    for number in range(EVENTS):
        with database.write() as session:
            now = datetime.now(UTC)
            writer = catalog.Writer(session, now)
            writer.record(
                Event(type="beta.changed", at=now, reason=f"Change {number}.", source="docs")
            )
            (event,) = writer.finish()
        recorded[event.id] = time.time()
        time.sleep(0.07)
    thread.join(30)
    database.close()
    return [seen[number] - at for number, at in recorded.items()]


def _timed(path: str) -> float:
    begun = time.perf_counter()
    httpx2.get(f"http://127.0.0.1:{PORT}{path}", timeout=30).raise_for_status()
    return time.perf_counter() - begun
